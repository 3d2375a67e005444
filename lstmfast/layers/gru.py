"""The GRU layer."""

from .._core import Cell
from .recurrent import RecurrentLayer


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014).

    With x the input and h the output, per step::

        r, z = sigmoid(x W_r + h U_r + b_r), ...
        n = tanh(x W_n + b_n + r * (h U_n + b'))    or, with reset_after=False, tanh(x W_n + (r * h) U_n + b_n)
        h = (1 - z) * n + z * h

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
    recurrent_activation : {"sigmoid", "hard_sigmoid"}, default="sigmoid"
        Of the gates. "hard_sigmoid" is x / 6 + 1 / 2, cut to [0, 1].
    clip : float, default=None
        What goes into the gates and into n is clipped to [-clip, clip], as ONNX does it. None: it is not.
    reset_after : bool, default=True
        Whether the reset gate multiplies h U_n (as in PyTorch, and Keras by default) or h (Cho et al. 2014).
    dtype : {"float32", "float64"}, default="float32"
        Precision of parameters, states and outputs.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights.

    Attributes
    ----------
    kernel : ndarray of shape (F, 3H)
        Input weights W, gates in order r, z, n. Assignable; read-only in place.
    recurrent_kernel : ndarray of shape (H, 3H)
        Recurrent weights U.
    bias : ndarray of shape (3H,)
        b.
    recurrent_bias : ndarray of shape (H,)
        b'; only with reset_after.
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
    >>> from lstmfast.layers import GRU
    >>> layer = GRU(3, 5, random_state=0)
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
        recurrent_activation="sigmoid",
        clip=None,
        reset_after=True,
        dtype="float32",
        random_state=None,
    ):
        cell = Cell("gru" if reset_after else "gru-reset-before", activation, recurrent_activation, clip)
        super().__init__(cell, input_size, hidden_size, bidirectional, reverse, dtype, random_state)

    def _options(self):
        return {"reset_after": self.cell.name == "gru"}
