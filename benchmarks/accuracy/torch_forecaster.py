"""The network of `lstmfast.LSTMForecaster`, in PyTorch, on the same windows: `Recurrent`, and a linear layer."""

import numpy as np
import torch
from torch import nn

from lstmfast.series import Origins, Preparation

from .torch_training import Recurrent, train

__all__ = ["fit", "predict", "ways"]


def ways(settings):
    """Windows have one length, so there is nothing to pad or to pack."""
    return ("equal lengths",)


class Forecaster(nn.Module):
    """The next steps of a window; initialised PyTorch's way."""

    def __init__(self, n_features, n_outputs, settings):
        super().__init__()
        self.recurrent = Recurrent(n_features, settings)
        self.head = nn.Linear(self.recurrent.width, n_outputs)

    def forward(self, windows):
        """Outputs (n, n_outputs) of windows (T, n, F)."""
        _, last = self.recurrent(windows, None, "equal lengths")
        return self.head(last)


def prepare(settings):
    """How `LSTMForecaster` prepares series with these settings."""
    lags = settings.get("differences", ())
    return Preparation(
        window=settings["window"], horizon=settings["horizon"], direct=settings.get("strategy") != "recursive",
        lags=(lags,) if isinstance(lags, int) else lags, log=settings.get("log", False), scale=True,
    )  # fmt: skip


def read(preparation, values):
    """A Series without covariates."""
    values = values.reshape(len(values), -1)
    return preparation.series(preparation.levels(values, "y"), np.empty((len(values) + preparation.horizon, 0)))


def fit(values, settings, seed, way):
    """(network, preparation) of one training.

    Parameters
    ----------
    values : ndarray of shape (T,) or (T, d)
    settings : dict
        horizon, window, strategy, differences, log, hidden_layer_sizes (one layer), batch_size of `LSTMForecaster`, and
        those of `train`.
    seed : int
    way : str
        Of `ways`.
    """
    torch.manual_seed(seed)
    preparation = prepare(settings)
    series = read(preparation, values)
    training, _, _ = preparation.split(len(series.changes), 0, 0)
    inputs, targets = preparation.examples(series, training, training)
    windows = torch.from_numpy(inputs.swapaxes(0, 1).astype(np.float32))
    targets = torch.from_numpy(targets.reshape(len(targets), -1).astype(np.float32))
    model, size = Forecaster(windows.shape[2], targets.shape[1], settings), settings["batch_size"]

    def losses():
        for rows in torch.randperm(len(targets)).split(size):
            yield nn.functional.mse_loss(model(windows[:, rows]), targets[rows])

    train(model, losses, -(-len(targets) // size), settings)
    return model, preparation


@torch.inference_mode()
def predict(fitted, pasts):
    """Forecasts (n, horizon, d) after each of n pasts, by what `fit` returned."""
    model, preparation = fitted
    series = [read(preparation, past) for past in pasts]
    origins = Origins.join([preparation.origins(each, [len(each.changes)], preparation.horizon) for each in series])

    def network(inputs):
        return model(torch.from_numpy(inputs.swapaxes(0, 1).astype(np.float32))).numpy().astype(float)

    return preparation.values(preparation.forecast(origins, preparation.horizon, network))
