"""What the tests of gradients share: central differences, and networks as tests/reference.py takes them."""

import numpy as np

DIFFERENCES_RTOL = 1e-7
STEP = 1e-5  # error about STEP^2 from the third derivative, 1e-16 / STEP from rounding: both some 1e-10 here
N_DIRECTIONS = 3  # in which all parameters take part


# ---- central differences --------------------------------------------------------------------------------------------
def slope(value, array, direction, step=1e-6, changed=lambda: None):
    """The slope of value() where an array that it reads moves in a direction; `changed` is called after each move."""
    start, values = array.copy(), []
    for sign in (1, -1):
        array[...] = start + sign * step * direction
        changed()
        values.append(value())
    array[...] = start
    changed()
    return (values[0] - values[1]) / (2 * step)


def central_differences(value, array, **options):
    """The slopes of value() along each entry of an array; options as of `slope`."""
    slopes, direction = np.empty(array.shape), np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        direction[index] = 1
        slopes[index] = slope(value, array, direction, **options)
        direction[index] = 0
    return slopes


def check_gradient(network, value, gradient, n_elements=None):
    """The flat gradient of value() against central differences: of so many parameters alone (None: of all), and along
    N_DIRECTIONS."""
    rng, n = np.random.default_rng(1), len(gradient)
    directions = [np.arange(n) == place for place in rng.permutation(n)[:n_elements]]
    directions += [rng.choice([-1.0, 1.0], n) / np.sqrt(n) for _ in range(N_DIRECTIONS)]
    move = {"step": STEP, "changed": network.parameters_changed}
    slopes = [slope(value, network.parameters, direction, **move) for direction in directions]
    expected = [gradient @ direction for direction in directions]
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=DIFFERENCES_RTOL * np.abs(gradient).max())


# ---- networks -------------------------------------------------------------------------------------------------------
def draw_parameters(network, seed, scale):
    """All are drawn: biases too, so that no relu sits on its kink."""
    rng = np.random.default_rng(seed)
    for array in network.named_parameters().values():
        array[...] = rng.normal(scale=scale / (np.sqrt(len(array)) if array.ndim == 2 else 2), size=array.shape)
    network.parameters_changed()


def flat_gradient(network):
    """A copy of the gradient of all parameters, with the tables' rows in their places."""
    flat = np.zeros_like(network.parameters)
    flat[: network.n_dense] = network.gradients
    for table in network.tables:
        network.rows_of(table, flat)[table.rows] = table.row_grads
    return flat


def idle_parameters(network, gradient):
    """Names of those whose gradient is 0; no two parameters are equal."""
    parameters = network.named_parameters()
    parts = {name: gradient[np.isin(network.parameters, array.ravel())] for name, array in parameters.items()}
    return [name for name, part in parts.items() if np.abs(part).max() < 1e-12]


def masks_of(masks, s):
    """Of `stack.Masks`, those of sequence s as tests/reference.py takes them; None of None."""
    if masks is None:
        return None
    layers = [
        {"input": None if inputs is None else inputs[s]}
        | dict(zip(("forward", "backward"), [] if h is None else h[:, s], strict=False))
        for inputs, h in zip(masks.inputs, masks.recurrent, strict=True)
    ]
    others = {"conv": masks.conv, "dense": masks.dense}
    return {"layers": layers} | {
        name: [None if mask is None else mask[s] for mask in part] for name, part in others.items()
    }
