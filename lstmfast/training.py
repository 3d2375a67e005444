"""The fit loop: batches, schedules, early stopping, callbacks, progress."""

import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from .optimizers import scheduled_rate
from .progress import progress_reporter
from .thread_choice import ThreadChoice
from .workspace import Workspace

STOP_REASONS = ("tol", "max_iter", "max_time", "early_stopping", "callback", "diverged", "interrupted", None)


@dataclass
class History:
    """What a fit leaves behind; grows over `partial_fit` and warm starts."""

    loss_curve: list = field(default_factory=list)
    grad_norm_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    stop_reason: str | None = None

    @classmethod
    def from_lists(cls, fields):
        """A history out of a file; ValueError if it is none."""
        history = cls(**fields)
        lists = history.loss_curve, history.grad_norm_curve, history.validation_scores
        if not all(isinstance(values, list | tuple) for values in lists):
            raise ValueError("a history holds lists")
        if not all(type(value) in (int, float) for values in lists for value in values):
            raise ValueError("a history holds numbers")
        if history.stop_reason not in STOP_REASONS:
            raise ValueError(f"unknown stop_reason {history.stop_reason!r}")
        history.loss_curve, history.grad_norm_curve, history.validation_scores = map(list, lists)
        return history

    def copy(self):
        """A history that can grow apart from this one."""
        return History(list(self.loss_curve), list(self.grad_norm_curve), list(self.validation_scores))


@dataclass
class Options:
    """How to train; each as the estimators' argument of that name. max_time in seconds."""

    learning_rate: str
    learning_rate_init: float
    max_iter: int
    tol: float
    n_iter_no_change: int
    shuffle: bool
    max_time: float | None
    dropout: float
    recurrent_dropout: float
    verbose: int
    callbacks: list
    n_threads: int
    early_stopping: bool = False


class Trainer:
    """One run of the fit loop over one network.

    Parameters
    ----------
    network : Network
    optimizer : Optimizer
    loss : object of `lstmfast.losses`
    options : Options
    rng : numpy.random.Generator
        Order of the batches and dropout.
    history : History
        Appended to.
    validation_score : callable, optional
        Score of the network as it is now; the higher the better.
    """

    def __init__(self, network, optimizer, loss, options, rng, history, validation_score=None):
        self.network, self.optimizer, self.loss, self.options = network, optimizer, loss, options
        self.rng, self.history, self.validation_score = rng, history, validation_score
        self.workspace, self.threads = Workspace(), ThreadChoice(options.n_threads)
        self.rate_divisor = 1.0

    def run(self, examples):
        """Train until something says stop; sets `history.stop_reason`.

        examples : Examples, or what has its `n_batches` and `batches`

        The network is usable after every way out, by an exception too: parameters are whole after each batch, and
        finite.
        """
        options, history, network = self.options, self.history, self.network
        self.started, self.total_steps, self.step = time.perf_counter(), options.max_iter * examples.n_batches, 0
        best, best_parameters, stale, history.stop_reason = -np.inf, None, 0, None
        self.sound, self.sound_rows = network.parameters[: network.n_dense].copy(), []
        try:
            with progress_reporter(options.verbose, options.max_iter, examples.n_batches) as progress:
                for epoch in range(options.max_iter):
                    if not self._epoch(examples, progress):
                        history.stop_reason = "diverged"
                        break
                    quality = -history.loss_curve[-1]
                    if self.validation_score is not None:
                        history.validation_scores.append(self.validation_score())
                    if options.early_stopping:
                        quality = history.validation_scores[-1]
                    stale = 0 if quality > best + options.tol else stale + 1
                    if quality > best:
                        best = quality
                        if options.early_stopping:
                            best_parameters = network.parameters.copy()
                    progress.epoch(history, self._rate())
                    if self._should_stop(epoch, stale):
                        break
                    if stale >= options.n_iter_no_change:  # "adaptive": go on, more slowly
                        self.rate_divisor, stale = self.rate_divisor * 5, 0
        except BaseException:  # Ctrl-C, or an error in a callback
            history.stop_reason = "interrupted"
            raise
        finally:
            if history.stop_reason == "diverged" or not np.isfinite(network.parameters).all():
                self.optimizer.reset()  # its moments would spoil the next fit
                self._go_back()
            if best_parameters is not None:
                network.parameters[...] = best_parameters
            network.parameters_changed()

    def _go_back(self):
        self.network.parameters[: self.network.n_dense] = self.sound
        for table, rows, values in self.sound_rows:
            table.arrays["weight"][rows] = values

    def _rate(self):
        options = self.options
        rate = scheduled_rate(options.learning_rate, options.learning_rate_init, self.step, self.total_steps)
        return rate / self.rate_divisor

    def _epoch(self, examples, progress):
        """One pass over the data, cut short by max_time; False if it diverged."""
        options, history = self.options, self.history
        total_loss = total_norm = seen = 0.0
        n_batches = 0
        for batch in examples.batches(self.rng if options.shuffle else None):
            loss, norm, penalty = self._batch(batch)
            if not np.isfinite(norm + loss + penalty):
                return False
            total_loss += (loss + penalty) * batch.share
            total_norm += norm
            seen, n_batches, self.step = seen + batch.share, n_batches + 1, self.step + 1
            progress.batch()
            if options.max_time is not None and time.perf_counter() - self.started >= options.max_time:
                history.stop_reason = "max_time"
                break
        if not np.isfinite(self.network.parameters).all():
            return False
        history.loss_curve.append(total_loss / seen)
        history.grad_norm_curve.append(total_norm / n_batches)
        return True

    def _batch(self, batch):
        """Gradient and update; the parameters stay as they were if the gradient is not finite."""
        options, network = self.options, self.network
        masks = None
        if options.dropout > 0 or options.recurrent_dropout > 0:
            masks = network.draw_masks(self.rng, len(batch.rows), options.dropout, options.recurrent_dropout)
        with self.threads.measure(batch.n_steps) as n_threads:
            loss = network.loss_and_gradient(
                batch.sequences, batch.rows, self.loss, batch.targets, batch.weights, masks=masks, state=batch.state,
                workspace=self.workspace, n_threads=n_threads,
            )  # fmt: skip
        norm, penalty = self.optimizer.penalise(network, n_threads)
        if np.isfinite(norm + loss + penalty):
            # These parameters are now known to have a finite loss: they are kept, of tables the rows about to change.
            self.sound_rows = [(table, table.rows, table.arrays["weight"][table.rows]) for table in network.tables]
            self.optimizer.step(network, self._rate(), norm, before=self.sound, n_threads=n_threads)
        return loss, norm, penalty

    def _should_stop(self, epoch, stale):
        options, history = self.options, self.history
        if self._callbacks_stop(epoch):
            history.stop_reason = "callback"
        elif history.stop_reason is None and stale >= options.n_iter_no_change:
            slowest = self._rate() / 5 < 1e-6
            if options.learning_rate != "adaptive" or slowest:
                history.stop_reason = "early_stopping" if options.early_stopping else "tol"
        if history.stop_reason is None and epoch + 1 == options.max_iter:
            history.stop_reason = "max_iter"
        return history.stop_reason is not None

    def _callbacks_stop(self, epoch):
        history = self.history
        info = SimpleNamespace(
            epoch=epoch + 1,
            loss=history.loss_curve[-1],
            grad_norm=history.grad_norm_curve[-1],
            validation_score=history.validation_scores[-1] if history.validation_scores else None,
            learning_rate=self._rate(),
            elapsed=time.perf_counter() - self.started,
        )
        answers = [callback(info) for callback in self.options.callbacks]  # each is called, whatever the others say
        return any(isinstance(answer, bool | np.bool_) and answer for answer in answers)
