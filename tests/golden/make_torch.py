"""Write torch_lstm.npz and torch_gru_rnn.npz: what PyTorch's nn.LSTM, nn.GRU and nn.RNN compute, in float64, for
inputs that float32 holds exactly.

    python make_torch.py        (needs torch and numpy; the tests that read the file need numpy only)

Legend: n sequences, T steps, F features, H hidden units, D directions.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

#   name: (n, T, F, H), layers, bidirectional, ragged, initial states
LSTM_CASES = {
    "single_number": ((1, 1, 1, 1), 1, False, False, False),
    "one_layer": ((3, 5, 2, 7), 1, False, False, False),
    "one_layer_states": ((2, 12, 5, 33), 1, False, False, True),
    "one_layer_ragged": ((4, 9, 3, 8), 1, False, True, False),
    "two_layers": ((4, 9, 3, 8), 2, False, False, True),
    "bidirectional": ((5, 6, 4, 17), 1, True, False, False),
    "bidirectional_ragged_states": ((5, 6, 4, 9), 1, True, True, True),
    "two_layers_bidirectional": ((3, 5, 2, 7), 2, True, False, False),
    "two_layers_bidirectional_ragged_states": ((7, 4, 1, 16), 2, True, True, True),
}
GRU_RNN_CASES = {
    f"{name}{suffix}": (*configuration, cell)
    for name, cell in {
        "gru": {"kind": "gru"},
        "rnn_tanh": {"kind": "rnn", "activation": "tanh"},
        "rnn_relu": {"kind": "rnn", "activation": "relu"},
    }.items()
    for suffix, configuration in {
        "_one_layer": ((2, 4, 3, 8), 1, False, False, False),
        "_ragged_states": ((4, 6, 1, 9), 1, False, True, True),
        "_two_layers_bidirectional_ragged_states": ((3, 4, 2, 3), 2, True, True, True),
    }.items()
}
FILES = {"torch_lstm.npz": LSTM_CASES, "torch_gru_rnn.npz": GRU_RNN_CASES}


def draw(rng, *shape, scale=1.0):
    """Normal numbers rounded to multiples of 2^-10: float32 holds them, and the sum of two biases, exactly."""
    return np.round(rng.normal(size=shape) * scale * 1024) / 1024


def ours(state, layer, n_directions):
    """PyTorch's (layers D, n, H) -> one layer's (n, H), or (n, 2, H) if bidirectional."""
    state = state[layer * n_directions : (layer + 1) * n_directions].detach().numpy().swapaxes(0, 1)
    return state[:, 0] if n_directions == 1 else state


def our_parameters(kind, w_ih, w_hh, b_ih, b_hh):
    """PyTorch's four arrays -> ours; so too for gradients, but for the bias, whose two parts have the same gradient."""
    parameters = {"kernel": w_ih.T, "recurrent_kernel": w_hh.T}
    if kind != "gru":
        return parameters | {"bias": b_ih + b_hh}
    H = len(w_hh.T)  # n, the last of the three gates, has a bias on either side of the reset gate
    bias = b_ih.clone()
    bias[: 2 * H] += b_hh[: 2 * H]
    return parameters | {"bias": bias, "recurrent_bias": b_hh[2 * H :]}


def make_case(rng, sizes, n_layers, bidirectional, ragged, with_states, cell=None):
    import torch  # here, because pytest imports this file in search of doctests
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(1)
    n, T, F, H = sizes
    D = 2 if bidirectional else 1
    kind, options = (cell or {}).get("kind", "lstm"), {"batch_first": True, "bidirectional": bidirectional}
    if kind == "rnn":
        options["nonlinearity"] = cell["activation"]
    module = getattr(torch.nn, kind.upper())(F, H, n_layers, **options, dtype=torch.float64)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.5 if parameter.ndim == 1 else 1.5 / np.sqrt(parameter.shape[1])
            parameter.copy_(torch.from_numpy(draw(rng, *parameter.shape, scale=scale)))

    x = torch.from_numpy(draw(rng, n, T, F)).requires_grad_()
    dy = torch.from_numpy(draw(rng, n, T, D * H))
    states = "hc" if kind == "lstm" else "h"
    dlast = [torch.from_numpy(draw(rng, n_layers * D, n, H)) for _ in states]
    first = [torch.from_numpy(draw(rng, n_layers * D, n, H) * with_states).requires_grad_() for _ in states]
    first_of_torch = tuple(first) if kind == "lstm" else first[0]
    # not sorted, and both the shortest (1) and the longest (T) are there
    lengths = rng.permutation(np.r_[1, T, rng.integers(1, T + 1, n - 2)]) if ragged else np.full(n, T)

    if ragged:
        packed = pack_padded_sequence(x, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False)
        y, last = module(packed, first_of_torch)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
    else:
        y, last = module(x, first_of_torch)
    last = last if kind == "lstm" else [last]
    ((y * dy).sum() + sum((s * ds).sum() for s, ds in zip(last, dlast, strict=True))).backward()

    given = {"x": x, "dy": dy}
    computed = {"y": y, "dx": x.grad}
    for k in range(n_layers):
        given |= {f"layers/{k}/{name}0": ours(s0, k, D) for name, s0 in zip(states, first, strict=True)}
        given |= {f"layers/{k}/d{name}": ours(ds, k, D) for name, ds in zip(states, dlast, strict=True)}
        computed |= {f"layers/{k}/{name}": ours(s, k, D) for name, s in zip(states, last, strict=True)}
        computed |= {f"layers/{k}/d{name}0": ours(s0.grad, k, D) for name, s0 in zip(states, first, strict=True)}
        for direction, suffix in [("forward", f"l{k}"), ("backward", f"l{k}_reverse")][:D]:
            arrays = [getattr(module, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            parameters = our_parameters(kind, *arrays)
            gradients = our_parameters(kind, *(array.grad for array in arrays)) | {"bias": arrays[2].grad}
            given |= {f"layers/{k}/{direction}/{name}": value for name, value in parameters.items()}
            computed |= {f"layers/{k}/{direction}/d{name}": value for name, value in gradients.items()}

    def as_array(value):
        return np.ascontiguousarray(value.detach().numpy() if torch.is_tensor(value) else value)

    case = {f"cell/{name}": np.array(value) for name, value in (cell or {}).items()}
    case["lengths"] = lengths.astype(np.int64)
    for name, value in given.items():
        case[name] = as_array(value).astype(np.float32)
        assert np.array_equal(case[name], as_array(value)), f"{name} is not exact in float32"
    return case | {name: as_array(value) for name, value in computed.items()}


def main():
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    for file_name, cases in FILES.items():
        arrays = {}
        for seed, (name, configuration) in enumerate(cases.items()):
            case = make_case(np.random.default_rng(seed), *configuration)
            arrays |= {f"{name}/{key}": value for key, value in case.items()}
        path = Path(__file__).with_name(file_name)
        np.savez_compressed(path, **arrays)
        print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
