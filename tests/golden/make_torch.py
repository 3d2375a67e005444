"""Write torch_lstm.npz: what PyTorch's nn.LSTM computes, in float64, for inputs that float32 holds exactly.

    python make_torch.py        (needs torch and numpy; the tests that read the file need numpy only)

Legend: n sequences, T steps, F features, H hidden units, D directions.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

#        name: (n, T, F, H), layers, bidirectional, ragged, initial states
CASES = {
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


def draw(rng, *shape, scale=1.0):
    """Normal numbers rounded to multiples of 2^-10: float32 holds them, and the sum of two biases, exactly."""
    return np.round(rng.normal(size=shape) * scale * 1024) / 1024


def ours(state, layer, n_directions):
    """PyTorch's (layers D, n, H) -> one layer's (n, H), or (n, 2, H) if bidirectional."""
    state = state[layer * n_directions : (layer + 1) * n_directions].detach().numpy().swapaxes(0, 1)
    return state[:, 0] if n_directions == 1 else state


def make_case(rng, sizes, n_layers, bidirectional, ragged, with_states):
    import torch  # here, because pytest imports this file in search of doctests
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(1)
    n, T, F, H = sizes
    D = 2 if bidirectional else 1
    lstm = torch.nn.LSTM(F, H, n_layers, batch_first=True, bidirectional=bidirectional, dtype=torch.float64)
    with torch.no_grad():
        for parameter in lstm.parameters():
            scale = 0.5 if parameter.ndim == 1 else 1.5 / np.sqrt(parameter.shape[1])
            parameter.copy_(torch.from_numpy(draw(rng, *parameter.shape, scale=scale)))

    x = torch.from_numpy(draw(rng, n, T, F)).requires_grad_()
    dy = torch.from_numpy(draw(rng, n, T, D * H))
    dh, dc = (torch.from_numpy(draw(rng, n_layers * D, n, H)) for _ in "hc")
    h0, c0 = (torch.from_numpy(draw(rng, n_layers * D, n, H) * with_states).requires_grad_() for _ in "hc")
    # not sorted, and both the shortest (1) and the longest (T) are there
    lengths = rng.permutation(np.r_[1, T, rng.integers(1, T + 1, n - 2)]) if ragged else np.full(n, T)

    if ragged:
        packed = pack_padded_sequence(x, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False)
        y, (h, c) = lstm(packed, (h0, c0))
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
    else:
        y, (h, c) = lstm(x, (h0, c0))
    ((y * dy).sum() + (h * dh).sum() + (c * dc).sum()).backward()

    given = {"x": x, "dy": dy}
    computed = {"y": y, "dx": x.grad}
    for k in range(n_layers):
        states = {"h0": h0, "c0": c0, "dh": dh, "dc": dc}
        given |= {f"layers/{k}/{name}": ours(state, k, D) for name, state in states.items()}
        states = {"h": h, "c": c, "dh0": h0.grad, "dc0": c0.grad}
        computed |= {f"layers/{k}/{name}": ours(state, k, D) for name, state in states.items()}
        for direction, suffix in [("forward", f"l{k}"), ("backward", f"l{k}_reverse")][:D]:
            w_ih, w_hh = getattr(lstm, f"weight_ih_{suffix}"), getattr(lstm, f"weight_hh_{suffix}")
            b_ih, b_hh = getattr(lstm, f"bias_ih_{suffix}"), getattr(lstm, f"bias_hh_{suffix}")
            parameters = {"kernel": w_ih.T, "recurrent_kernel": w_hh.T, "bias": b_ih + b_hh}
            given |= {f"layers/{k}/{direction}/{name}": value for name, value in parameters.items()}
            gradients = {"dkernel": w_ih.grad.T, "drecurrent_kernel": w_hh.grad.T, "dbias": b_ih.grad}
            computed |= {f"layers/{k}/{direction}/{name}": value for name, value in gradients.items()}

    def as_array(value):
        return np.ascontiguousarray(value.detach().numpy() if torch.is_tensor(value) else value)

    case = {"lengths": lengths.astype(np.int64)}
    for name, value in given.items():
        case[name] = as_array(value).astype(np.float32)
        assert np.array_equal(case[name], as_array(value)), f"{name} is not exact in float32"
    return case | {name: as_array(value) for name, value in computed.items()}


def main():
    arrays = {}
    for seed, (name, configuration) in enumerate(CASES.items()):
        case = make_case(np.random.default_rng(seed), *configuration)
        arrays |= {f"{name}/{key}": value for key, value in case.items()}
    path = Path(__file__).with_name("torch_lstm.npz")
    np.savez_compressed(path, **arrays)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    print(f"{path}: {len(CASES)} cases, {path.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
