"""Solvers and learning-rate schedules over the flat parameter array."""

import math

import numpy as np

from . import _core

SOLVERS = ("adam", "adamw", "sgd", "rmsprop")
SCHEDULES = ("constant", "cosine", "one_cycle", "adaptive", "invscaling")


class Optimizer:
    """Penalty, clipping and update of a network's parameters.

    One pass over the flat arrays finds the norm of the penalised gradient, one applies the step. Formulas and their
    sources stand with the code, in ``src/optimizers.h``.

    Parameters
    ----------
    network : Network
        What is trained.
    solver : {"adam", "adamw", "sgd", "rmsprop"}
        With "adamw" the L2 part of the penalty is decoupled weight decay.
    alpha, l1_ratio, clip_norm, momentum, nesterovs_momentum, beta_1, beta_2, epsilon
        As on the estimators.
    """

    def __init__(self, network, *, solver, alpha, l1_ratio, clip_norm, momentum, nesterovs_momentum, beta_1, beta_2,
                 epsilon):  # fmt: skip
        self.solver, self.clip_norm = solver, clip_norm
        self.l1, l2 = alpha * l1_ratio, alpha * (1 - l1_ratio)
        self.l2, decay = (0.0, l2) if solver == "adamw" else (l2, 0.0)
        self.options = {
            "momentum": momentum, "nesterov": nesterovs_momentum, "beta_1": beta_1, "beta_2": beta_2,
            "epsilon": epsilon, "decay": decay,
        }  # fmt: skip
        trained = network.parameters[: network.n_trained]
        self.first, self.second = np.empty_like(trained), np.empty_like(trained)
        self.reset()

    def reset(self):
        """Forget the moments."""
        self.n_steps, self.first[...], self.second[...] = 0, 0, 0

    def go_on_from(self, other):
        """Take over the moments of an earlier optimiser of the same network, if it had the same solver and trained the
        same layers."""
        if other.solver == self.solver and other.first.shape == self.first.shape:
            self.n_steps, self.first[...], self.second[...] = other.n_steps, other.first, other.second

    def penalise(self, network, n_threads=1):
        """Adds the penalty's gradient; returns the norm of the whole gradient and the penalty."""
        squared_norm, penalty = _core.penalised_gradient(
            network.parameters[: network.n_dense], network.gradients, network.n_penalised, self.l1, self.l2,
            network.float64, n_threads,
        )  # fmt: skip
        for table in network.tables:
            squared_norm += float(np.square(table.row_grads, dtype=np.float64).sum())
        return math.sqrt(squared_norm), penalty

    def step(self, network, learning_rate, norm, before=None, n_threads=1):
        """Update the parameters with the gradients that `penalise` found to have this norm.

        before : ndarray of shape (network.n_dense,), optional
            Gets the parameters, without the tables', that were there before.
        """
        clipped = self.clip_norm is not None and norm > self.clip_norm
        self.n_steps += 1

        def update(parameters, gradients, first, second, n_penalised, **options):
            _core.optimizer_step(
                "adam" if self.solver == "adamw" else self.solver,
                parameters, gradients, first, second, n_penalised, network.float64,
                scale=self.clip_norm / norm if clipped else 1.0, learning_rate=learning_rate, step=self.n_steps,
                **self.options, **options,
            )  # fmt: skip

        n = network.n_dense
        update(
            network.parameters[:n], network.gradients, self.first[:n], self.second[:n], network.n_penalised,
            before=before, n_threads=n_threads,
        )  # fmt: skip
        for table in network.tables:
            self._update_rows(network, table, update)
        network.parameters_changed()

    def _update_rows(self, network, table, update):
        """The rows of a table that have a gradient; the moments of the others wait (as in PyTorch's SparseAdam).
        They are not penalised: that would touch every row."""
        rows, gradients = table.rows, table.row_grads
        arrays = [network.rows_of(table, flat) for flat in (network.parameters, self.first, self.second)]
        values, first, second = (array[rows] for array in arrays)
        update(values.reshape(-1), gradients.reshape(-1), first.reshape(-1), second.reshape(-1), 0)
        for array, changed in zip(arrays, (values, first, second), strict=True):
            array[rows] = changed


def scheduled_rate(schedule, initial, step, total):
    """Learning rate of step 0, 1, ... of a fit that may take `total` steps.

    "cosine": half a cosine to 0 (Loshchilov & Hutter 2017, without restarts). "one_cycle": from initial / 25 up to
    initial over the first 30 %, then down to initial / 250 000, both along half a cosine (Smith & Topin 2018, in
    PyTorch's form). "invscaling": initial / sqrt(step + 1). "constant" and "adaptive": initial.
    """
    if schedule == "cosine":
        return initial * half_cosine(step / total)
    if schedule == "one_cycle":
        rising = 0.3 * total
        if step < rising:
            return initial * (1 - 0.96 * half_cosine(step / rising))
        lowest = 4e-6
        return initial * (lowest + (1 - lowest) * half_cosine((step - rising) / max(total - rising, 1)))
    if schedule == "invscaling":
        return initial / math.sqrt(step + 1)
    return initial


def half_cosine(progress):
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2
