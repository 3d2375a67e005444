"""The fit loop: batches, schedules, early stopping, callbacks, progress."""

import math
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from .optimizers import scheduled_rate
from .outputs import NotFiniteError
from .progress import progress_reporter
from .thread_choice import ThreadChoice
from .workspace import Workspace

# Weights of networks that have learnt something are smaller. From here on the loss of a last update is looked at.
LARGE_WEIGHT = 100
STOP_REASONS = ("tol", "max_iter", "max_time", "early_stopping", "callback", "diverged", "interrupted", None)


@dataclass
class History:
    """What a fit leaves behind; grows over `partial_fit` and warm starts."""

    loss_curve: list = field(default_factory=list)
    grad_norm_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    stop_reason: str | None = None

    def to_lists(self):
        """Fields for a file; a score that is not finite, for which JSON has no word, as a str."""
        scores = [score if math.isfinite(score) else repr(float(score)) for score in self.validation_scores]
        return vars(self) | {"validation_scores": scores}

    @classmethod
    def from_lists(cls, fields):
        """A history out of a file; ValueError if it is none."""
        history = cls(**fields)
        lists = history.loss_curve, history.grad_norm_curve, history.validation_scores
        if not all(isinstance(values, list | tuple) for values in lists):
            raise ValueError("a history holds lists")
        scores = [float(score) if score in ("nan", "inf", "-inf") else score for score in history.validation_scores]
        lists = *lists[:2], scores
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


@dataclass
class LoopState:
    """Where the fit loop stands between two epochs, beside network, optimiser, generator and history.

    epoch, step : int
        Epochs and gradient steps that are done.
    best : float
        Quality of the best epoch: minus its loss, or with `early_stopping` its validation score.
    stale : int
        Epochs since the best got better by `tol`.
    rate_divisor : float
        Of the schedule "adaptive".
    best_parameters : ndarray of shape (n_parameters,) or None
        With `early_stopping`, those of the best epoch.
    """

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    stale: int = 0
    rate_divisor: float = 1.0
    best_parameters: np.ndarray | None = None


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
        self.loop = LoopState()
        self._sound, self._sound_rows = network.parameters[: network.n_dense].copy(), []

    @property
    def sound_parameters(self):
        """The last parameters (n_parameters,) that are known to have a finite loss."""
        network, sound = self.network, self.network.parameters.copy()
        sound[: network.n_dense] = self._sound
        for table, rows, values in self._sound_rows:
            network.rows_of(table, sound)[rows] = values
        return sound

    @sound_parameters.setter
    def sound_parameters(self, values):
        network = self.network
        self._sound = values[: network.n_dense].copy()
        self._sound_rows = [(table, slice(None), network.rows_of(table, values).copy()) for table in network.tables]

    def run(self, examples, save=lambda: None):
        """Train until something says stop; sets `history.stop_reason`.

        examples : Examples, or what has its `n_batches` and `batches`
        save : callable
            Called after each whole epoch, when all that the next one depends on is in the Trainer's attributes.

        The network is usable after every way out, by an exception too: parameters are whole after each batch, and
        finite.
        """
        options, history, network, loop = self.options, self.history, self.network, self.loop
        self.started, self.total_steps = time.perf_counter(), options.max_iter * examples.n_batches
        try:
            with progress_reporter(options.verbose, options.max_iter, examples.n_batches, loop.epoch) as progress:
                while history.stop_reason is None:
                    if not self._epoch(examples, progress):
                        history.stop_reason = "diverged"
                        break
                    self._judge()
                    progress.epoch(history, self._rate())
                    self._decide()
                    if history.stop_reason is not None and self._overshot():
                        history.stop_reason = "diverged"
                    elif history.stop_reason != "max_time":  # no epoch to go on from: it may be cut short
                        save()
        except BaseException:  # Ctrl-C, or an error in a callback
            history.stop_reason = "interrupted"
            raise
        finally:
            if history.stop_reason == "diverged" or not np.isfinite(network.parameters).all():
                self.optimizer.reset()  # its moments would spoil the next fit
                network.parameters[...] = self.sound_parameters
            if loop.best_parameters is not None:
                network.parameters[...] = loop.best_parameters
            network.parameters_changed()

    def _rate(self):
        options = self.options
        rate = scheduled_rate(options.learning_rate, options.learning_rate_init, self.loop.step, self.total_steps)
        return rate / self.loop.rate_divisor

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
            self._batch_seen = batch
            seen, n_batches, self.loop.step = seen + batch.share, n_batches + 1, self.loop.step + 1
            progress.batch()
            if options.max_time is not None and time.perf_counter() - self.started >= options.max_time:
                history.stop_reason = "max_time"
                break
        if not np.isfinite(self.network.parameters).all():
            return False
        if self.validation_score is not None:
            try:
                history.validation_scores.append(self.validation_score())
            except NotFiniteError:
                return False
        history.loss_curve.append(total_loss / seen)
        history.grad_norm_curve.append(total_norm / n_batches)
        return True

    def _batch(self, batch):
        """Gradient and update; the parameters stay as they were if the gradient is not finite."""
        network = self.network
        loss, norm, penalty, n_threads = self._gradient(batch)
        if np.isfinite(norm + loss + penalty):
            # These parameters are now known to have a finite loss: they are kept, of tables the rows about to change.
            self._sound_rows = [(table, table.rows, table.arrays["weight"][table.rows]) for table in network.tables]
            self.optimizer.step(network, self._rate(), norm, before=self._sound, n_threads=n_threads)
        return loss, norm, penalty

    def _gradient(self, batch):
        """(loss, norm of the gradient, penalty, threads); the gradient is in the network."""
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
        return loss, norm, penalty, n_threads

    def _overshot(self):
        """Whether the last update, after which no loss was computed, went too far. Small weights are not looked at."""
        parameters = self.network.parameters
        if self.loop.best_parameters is not None or max(parameters.max(), -parameters.min()) < LARGE_WEIGHT:
            return False
        loss, norm, penalty, _ = self._gradient(self._batch_seen)
        return not np.isfinite(norm + loss + penalty)

    def _judge(self):
        """How good is this epoch, beside the best?"""
        options, history, loop = self.options, self.history, self.loop
        loop.epoch += 1
        quality = -history.loss_curve[-1]
        if options.early_stopping:
            quality = history.validation_scores[-1]
        loop.stale = 0 if quality > loop.best + options.tol else loop.stale + 1
        if quality > loop.best:
            loop.best = quality
            if options.early_stopping:
                loop.best_parameters = self.network.parameters.copy()

    def _decide(self):
        """Stop, go on more slowly, or go on."""
        options, history, loop = self.options, self.history, self.loop
        if self._callbacks_stop():
            history.stop_reason = "callback"
        elif history.stop_reason is None and loop.stale >= options.n_iter_no_change:
            slowest = self._rate() / 5 < 1e-6
            if options.learning_rate != "adaptive" or slowest:
                history.stop_reason = "early_stopping" if options.early_stopping else "tol"
            else:
                loop.rate_divisor, loop.stale = loop.rate_divisor * 5, 0
        if history.stop_reason is None and loop.epoch >= options.max_iter:
            history.stop_reason = "max_iter"

    def _callbacks_stop(self):
        history = self.history
        info = SimpleNamespace(
            epoch=self.loop.epoch,
            loss=history.loss_curve[-1],
            grad_norm=history.grad_norm_curve[-1],
            validation_score=history.validation_scores[-1] if history.validation_scores else None,
            learning_rate=self._rate(),
            elapsed=time.perf_counter() - self.started,
        )
        answers = [callback(info) for callback in self.options.callbacks]  # each is called, whatever the others say
        return any(isinstance(answer, bool | np.bool_) and answer for answer in answers)
