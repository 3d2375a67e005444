"""The plain recurrent layer."""

from .._core import Cell
from .recurrent import RecurrentLayer


class RNN(RecurrentLayer):
    """Plain recurrent layer (Elman 1990).

    With x the input and h the output, per step::

        h = tanh(x W + h U + b)

    Parameters
    ----------
    input_size : int
        Features of a step, F.
    hidden_size : int
        Units, H.
    bidirectional : bool, default=False
        Add a second direction that reads each sequence backwards; outputs are concatenated, [forward, backward].
    reverse : bool, default=False
        Read each sequence backwards. Outputs stay in the order of the input.
    activation : {"tanh", "relu", "sigmoid", "identity", "softsign", "hard_tanh", "elu"}, default="tanh"
        Stands where tanh does above.
    clip : float, default=None
        What goes into the activation is clipped to [-clip, clip], as ONNX does it. None: it is not.
    dtype : {"float32", "float64"}, default="float32"
        Precision of parameters, states and outputs.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights.

    Attributes
    ----------
    kernel : ndarray of shape (F, H)
        Input weights W. Assignable; read-only in place.
    recurrent_kernel : ndarray of shape (H, H)
        Recurrent weights U.
    bias : ndarray of shape (H,)
        b.
    forward_, backward_ : Direction
        Instead of these, for a bidirectional layer: objects that hold them, one a direction.
    grads : dict
        Gradients of the last `backward`, keyed like the parameters; for a bidirectional layer
        ``{"forward_": ..., "backward_": ...}``.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive integer, both `bidirectional` and `reverse` are set, or another argument is none of
        its values.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.layers import RNN
    >>> layer = RNN(3, 5, random_state=0)
    >>> y, h = layer.forward(np.ones((2, 4, 3), np.float32))
    >>> y.shape, h.shape
    ((2, 4, 5), (2, 5))
    """

    def __init__(
        self,
        input_size,
        hidden_size,
        *,
        bidirectional=False,
        reverse=False,
        activation="tanh",
        clip=None,
        dtype="float32",
        random_state=None,
    ):
        cell = Cell("rnn", activation, clip=clip)
        super().__init__(cell, input_size, hidden_size, bidirectional, reverse, dtype, random_state)
