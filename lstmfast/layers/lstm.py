"""The LSTM layer and its variants."""

from .._core import Cell
from .recurrent import RecurrentLayer


class LSTM(RecurrentLayer):
    """Long short-term memory layer (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000).

    With x the input and h the output, per step::

        i, f, o = sigmoid(x W_i + h U_i + b_i), ...    g = tanh(x W_g + h U_g + b_g)
        c = f * c + i * g
        h = o * tanh(c)

    The variants, by `cell`; what is not named is as above:

    - "lstm-peephole": i and f add p * c of the step before, o adds p * c; one weight p a unit (Gers & Schmidhuber
      2000).
    - "lstm-full-peephole": i, f, g and o add c V, c of the step before, V a full matrix.
    - "lstm-coupled": i = 1 - f (Greff et al. 2015).
    - "lstm-gated-recurrence": g = tanh(x W_g + (h * i) U_g + b_g).
    - "lstm-cell-recurrent": g = tanh(c U_g + b_g), c of the step before.

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
    cell : {"lstm", "lstm-peephole", "lstm-full-peephole", "lstm-coupled", "lstm-gated-recurrence", \
"lstm-cell-recurrent"}, default="lstm"
        The variant.
    activation : {"tanh", "relu", "sigmoid", "identity", "softsign", "hard_tanh", "elu"}, default="tanh"
        Stands where tanh does above.
    recurrent_activation : {"sigmoid", "hard_sigmoid"}, default="sigmoid"
        Of the gates. "hard_sigmoid" is x / 6 + 1 / 2, cut to [0, 1].
    clip : float, default=None
        What goes into the gates and into g is clipped to [-clip, clip], as ONNX does it. None: it is not.
    dtype : {"float32", "float64"}, default="float32"
        Precision of parameters, states and outputs.
    random_state : None, int or numpy.random.Generator, default=None
        Source of the initial weights.

    Attributes
    ----------
    kernel : ndarray of shape (F, 4H)
        Input weights W, gates in order i, f, g, o. Assignable; read-only in place. Cell "lstm-coupled": (F, 3H),
        f, g, o; "lstm-cell-recurrent": (F, 3H), i, f, o.
    recurrent_kernel : ndarray of shape (H, 4H)
        Recurrent weights U. Cell "lstm-coupled": (H, 3H).
    bias : ndarray of shape (4H,)
        b. Cell "lstm-coupled": (3H,).
    peephole : ndarray of shape (3, H)
        Only of the cell "lstm-peephole": p of i, f, o.
    peephole_kernel : ndarray of shape (H, 4H)
        Only of the cell "lstm-full-peephole": V.
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
    >>> from lstmfast.layers import LSTM
    >>> layer = LSTM(3, 5, random_state=0)
    >>> y, (h, c) = layer.forward(np.ones((2, 4, 3), np.float32))
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
        cell="lstm",
        activation="tanh",
        recurrent_activation="sigmoid",
        clip=None,
        dtype="float32",
        random_state=None,
    ):
        if not str(cell).startswith("lstm"):
            raise ValueError(f"cell must be a variant of the LSTM, got {cell!r}; there are layers GRU and RNN")
        cell = Cell(cell, activation, recurrent_activation, clip)
        super().__init__(cell, input_size, hidden_size, bidirectional, reverse, dtype, random_state)

    def _options(self):
        return {"cell": self.cell.name}
