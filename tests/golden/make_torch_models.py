"""Write torch_models.npz and torch_model.safetensors: state_dicts of PyTorch models and what these compute, in float64.

python make_torch_models.py     (needs torch, safetensors and numpy; the tests that read the files do not need torch)
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

#   name: (class, its arguments, linear layers' outputs, nn.Linear's arguments, pooling), 2 features
CASES = {
    "lstm": ("LSTM", {"hidden_size": 3}, (2,), {}, "last"),
    "lstm_two_layers_bidirectional": (
        "LSTM",
        {"hidden_size": 3, "num_layers": 2, "bidirectional": True},
        (4, 2),
        {},
        "max",
    ),
    "lstm_no_bias": ("LSTM", {"hidden_size": 3, "bias": False}, (1,), {"bias": False}, "last"),
    "gru": ("GRU", {"hidden_size": 3, "num_layers": 2}, (2,), {}, "mean"),
    "gru_bidirectional": ("GRU", {"hidden_size": 3, "bidirectional": True}, (3,), {}, "last"),
    "rnn_relu": ("RNN", {"hidden_size": 4, "nonlinearity": "relu"}, (), {}, "last"),
    "rnn_tanh": ("RNN", {"hidden_size": 4, "nonlinearity": "tanh"}, (3, 3, 2), {}, "last"),
}


def make_model(kind, arguments, sizes, linear_arguments, pooling):
    """An nn.Module in float64, of names as people give them."""
    import torch  # here, because pytest imports this file in search of doctests
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = getattr(nn, kind)(2, batch_first=True, **arguments)
            size = arguments["hidden_size"] * (1 + arguments.get("bidirectional", False))
            parts = []
            for k, units in enumerate(sizes):
                parts += [nn.ReLU()] * (k > 0) + [nn.Linear(size, units, **linear_arguments)]
                size = units
            self.fc = nn.Sequential(*parts)

        def forward(self, x):
            y, h = self.encoder(x)
            h = h[0] if kind == "LSTM" else h
            if pooling == "last":
                z = torch.cat([h[-2], h[-1]], 1) if self.encoder.bidirectional else h[-1]
            else:
                z = y.mean(1) if pooling == "mean" else y.amax(1)
            return self.fc(z)

    return Model().double()


def main():
    import torch
    from safetensors.torch import save

    arrays = {}
    for seed, (name, case) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        model = make_model(*case)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.from_numpy(np.random.default_rng(seed).normal(size=parameter.shape)))
        x = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 5, 2)))
        arrays |= {f"{name}/state/{key}": value.numpy() for key, value in model.state_dict().items()}
        arrays |= {f"{name}/x": x.numpy(), f"{name}/y": model(x).detach().numpy()}
        if name == "rnn_tanh":  # the one with most linear layers: their order comes from the names
            Path(__file__).with_name("torch_model.safetensors").write_bytes(save(model.state_dict()))
    path = Path(__file__).with_name("torch_models.npz")
    np.savez_compressed(path, **arrays)
    print(
        f"{path}: {len(CASES)} cases, {path.stat().st_size} bytes, torch {version('torch')}, numpy {version('numpy')}"
    )


if __name__ == "__main__":
    main()
