"""nn.LSTM, nn.GRU and nn.RNN of PyTorch agree: outputs, states, all gradients, over hundreds of random configurations.

Needs PyTorch; without it tests/golden holds some of its results (test_layers.py, test_cells.py).
"""

import numpy as np
import pytest

from lstmfast.layers import recurrent_layer

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

# lstmfast's gates in PyTorch's order, and PyTorch's module.
KINDS = {
    "lstm": (torch.nn.LSTM, {}, "tanh"),
    "gru": (torch.nn.GRU, {}, "tanh"),
    "rnn": (torch.nn.RNN, {"nonlinearity": "tanh"}, "tanh"),
    "rnn relu": (torch.nn.RNN, {"nonlinearity": "relu"}, "relu"),
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65)
N_SEEDS = 100


def random_configuration(seed):
    rng = np.random.default_rng(seed)
    return rng, {
        "inputs": int(rng.choice(SIZES)), "units": int(rng.choice(SIZES)), "n": int(rng.integers(1, 14)),
        "steps": int(rng.integers(1, 12)), "bidirectional": bool(rng.integers(2)), "states": bool(rng.integers(2)),
    }  # fmt: skip


def set_weights(module, layer, rng):
    """Random weights in both. PyTorch's biases are two; ours are their sum, but for the GRU's candidate."""
    units = layer.hidden_size
    scale = units**-0.5
    for d, direction in enumerate(layer.directions):
        suffix = "_l0" + "_reverse" * d
        given = {
            name: rng.uniform(-scale, scale, getattr(module, name + suffix).shape).astype(layer.dtype)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        with torch.no_grad():
            for name, array in given.items():
                getattr(module, name + suffix).copy_(torch.from_numpy(array))
        direction.kernel, direction.recurrent_kernel = given["weight_ih"].T, given["weight_hh"].T
        bias, recurrent = given["bias_ih"], given["bias_hh"]
        if layer.cell.has_recurrent_bias:
            direction.recurrent_bias = recurrent[2 * units :]
            recurrent = np.concatenate([recurrent[: 2 * units], np.zeros(units, layer.dtype)])
        direction.bias = bias + recurrent


def close(actual, expected, dtype, what):
    """Relative to the largest expected number: small ones carry the rounding of large ones."""
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_agrees(kind, dtype):
    for seed in range(N_SEEDS):
        check(kind, dtype, seed)


def check(kind, dtype, seed):
    rng, sizes = random_configuration(seed)
    module_class, options, activation = KINDS[kind]
    cell, n, steps, units = kind.split()[0], sizes["n"], sizes["steps"], sizes["units"]
    layer = recurrent_layer(
        cell, sizes["inputs"], units, activation=activation, bidirectional=sizes["bidirectional"], dtype=dtype
    )
    module = module_class(
        sizes["inputs"], units, batch_first=True, bidirectional=sizes["bidirectional"], dtype=getattr(torch, dtype),
        **options,
    )  # fmt: skip
    set_weights(module, layer, rng)
    directions = len(layer.directions)

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    x, lengths = draw(n, steps, sizes["inputs"]), rng.integers(1, steps + 1, n)
    dy, n_states = draw(n, steps, directions * units), 2 if layer.cell.has_c else 1
    states = [draw(n, directions, units) * sizes["states"] for _ in range(n_states)]
    dstates = [draw(n, directions, units) for _ in range(n_states)]

    def ours(arrays):
        arrays = [array if directions == 2 else array[:, 0] for array in arrays]
        return tuple(arrays) if n_states == 2 else arrays[0]

    y, state = layer.forward(x, lengths, ours(states) if sizes["states"] else None, training=True)
    dx, dstate = layer.backward(dy, ours(dstates))

    x_t = torch.from_numpy(x).requires_grad_()
    states_t = [torch.from_numpy(np.ascontiguousarray(s.transpose(1, 0, 2))).requires_grad_() for s in states]
    packed = pack_padded_sequence(x_t, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False)
    packed_y, state_t = module(packed, tuple(states_t) if n_states == 2 else states_t[0])
    y_t, _ = pad_packed_sequence(packed_y, batch_first=True, total_length=steps)
    state_t = state_t if n_states == 2 else (state_t,)
    loss = (y_t * torch.from_numpy(dy)).sum()
    for s, ds in zip(state_t, dstates, strict=True):
        loss = loss + (s * torch.from_numpy(np.ascontiguousarray(ds.transpose(1, 0, 2)))).sum()
    loss.backward()

    what = f"{kind} {dtype} seed {seed} {sizes} "
    close(y, y_t.detach(), dtype, what + "y")
    close(dx, x_t.grad, dtype, what + "dx")
    state, dstate = (state, dstate) if n_states == 2 else ((state,), (dstate,))
    for k in range(n_states):
        close(state[k].reshape(n, directions, units), state_t[k].detach().permute(1, 0, 2), dtype, f"{what} state {k}")
        close(dstate[k].reshape(n, directions, units), states_t[k].grad.permute(1, 0, 2), dtype, f"{what} dstate {k}")
    for d, direction in enumerate(layer.directions):
        grad = {name: getattr(module, f"{name}_l0" + "_reverse" * d).grad for name in
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}  # fmt: skip
        close(direction.grads["kernel"], grad["weight_ih"].T, dtype, what + "kernel")
        close(direction.grads["recurrent_kernel"], grad["weight_hh"].T, dtype, what + "recurrent_kernel")
        close(direction.grads["bias"], grad["bias_ih"], dtype, what + "bias")
        if layer.cell.has_recurrent_bias:
            close(direction.grads["recurrent_bias"], grad["bias_hh"][2 * units :], dtype, what + "recurrent_bias")
