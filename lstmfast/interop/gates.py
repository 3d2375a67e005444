"""One direction's parameters: theirs to ours and back.

Other libraries keep two biases, of the input's and of the recurrent product. Only a GRU that resets after the product
needs both, and only for its candidate n; for all others the sum is as good.
"""

import numpy as np

# The order of the gates in the columns of our arrays.
GATES = {
    "lstm": "ifgo",
    "lstm-peephole": "ifgo",
    "lstm-coupled": "fgo",
    "gru": "rzn",
    "gru-reset-before": "rzn",
    "rnn": "h",
}


def reorder(array, given, wanted):
    """The blocks of the last axis, one a gate, in another order."""
    blocks = dict(zip(given, np.split(array, len(given), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted], axis=-1)


def our_parameters(cell, order, kernel, recurrent_kernel, bias, recurrent_bias):
    """Our parameters from matrices (inputs, gates H) and biases (gates H,), the gates in the order given."""
    kernel, recurrent_kernel, bias, recurrent_bias = (
        reorder(array, order, GATES[cell]) for array in (kernel, recurrent_kernel, bias, recurrent_bias)
    )
    parameters = {"kernel": kernel, "recurrent_kernel": recurrent_kernel}
    if cell != "gru":
        return parameters | {"bias": bias + recurrent_bias}
    n = slice(2 * len(recurrent_kernel), None)
    merged = bias.copy()
    merged[: n.start] += recurrent_bias[: n.start]
    return parameters | {"bias": merged, "recurrent_bias": recurrent_bias[n]}


def their_parameters(cell, order, parameters):
    """The inverse: kernel, recurrent kernel, bias and recurrent bias with the gates in the order wanted."""
    recurrent_bias = np.zeros_like(parameters["bias"])
    if cell == "gru":
        recurrent_bias[-len(parameters["recurrent_bias"]) :] = parameters["recurrent_bias"]
    arrays = (parameters["kernel"], parameters["recurrent_kernel"], parameters["bias"], recurrent_bias)
    return [reorder(array, GATES[cell], order) for array in arrays]
