"""A fit that is kept in a file after each epoch, and taken up again from there."""

import os
import warnings
from contextlib import suppress
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from ..persistence import ModelFormatError, read_model, sha256, write_model
from ..saved_model import CHECKPOINT, CHECKPOINT_ARRAYS, check_fields, inconsistency
from ..training import LoopState
from .saving import contents, rebuild, stored_parameters

# Arguments without effect on where a fit goes from a checkpoint.
_FREE = {"max_time", "n_jobs", "verbose", "warm_start"}
_PLANNED = ("cosine", "one_cycle")  # schedules that depend on max_iter
_COUNTS = ("epoch", "step", "stale", "optimizer_steps", "seed")


class Checkpoint:
    """What the arguments `checkpoint` and `resume` of `fit` ask for.

    The file is a model file, of the model as an interrupt would leave it, with what training needs besides: numbers in
    the field "checkpoint" of its metadata, arrays under names such as "checkpoint.sound". Before a new one is written,
    the one before is renamed; so there is a whole one at every moment.

    Parameters
    ----------
    path : str, path-like or None
        None: nothing is kept.
    resume : bool

    Attributes
    ----------
    data : nested tuple of arrays, Sequences, StepValues and SequencePairs
        To be set before `begin`: what is trained and validated on.
    whole : callable
        The estimator that users see, of the one that is trained.
    """

    def __init__(self, path=None, resume=False):
        if path is None and resume:
            raise ValueError("resume=True needs a checkpoint to go on from: fit(..., checkpoint=path, resume=True)")
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"checkpoint must be a str or path-like, got {type(path).__name__}")
        self.whole = lambda estimator: estimator
        self._path = path if path is None else os.path.realpath(os.fsdecode(path))
        self._previous = f"{self._path}.previous"
        self._newest = None  # the file with this fit's last epoch
        self._found = self._read() if resume else None

    def seed(self, random_state):
        """The int from which the whole fit is made: drawn from `random_state`, unless there is a checkpoint."""
        if self._found:
            self._seed = self._found[1][CHECKPOINT]["seed"]
        elif isinstance(random_state, Integral):
            self._seed = int(random_state)
        else:
            self._seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self._seed

    def begin(self, estimator, trainer):
        """Bring a Trainer to where the fit was left; or keep its beginning.

        ValueError if the checkpoint is not one of this fit.
        """
        if self._path is None:
            return
        self._estimator, self._trainer, self._digest = estimator, trainer, _digest(self.data)
        if self._found is None:
            self.save()
        else:
            self._check_that_it_is_this_fit()
            with inconsistency(self._newest):
                _restore(trainer, *self._found)
        self._found = None  # its arrays need as much memory as all that is trained

    def save(self):
        """Keep the fit as it is now."""
        if self._path is None:
            return
        trainer, estimator = self._trainer, self.whole(self._estimator)
        metadata, model = contents(estimator, trainer.history, weights=trainer.loop.best_parameters)
        state, arrays = _state_of(trainer)
        metadata[CHECKPOINT] = state | {"seed": self._seed, "data": self._digest}
        if self._newest == self._path:
            os.replace(self._path, self._previous)
        elif self._newest is None:  # that of another fit
            with suppress(FileNotFoundError):
                os.unlink(self._previous)
        write_model(self._path, metadata, model | arrays)
        self._newest = self._path

    def _read(self):
        """(estimator, metadata, arrays) of the newest checkpoint that is whole; None if there is none."""
        damage = None
        for path in (self._path, self._previous):
            try:
                found = _read_checkpoint(path)
            except FileNotFoundError:  # killed before there was one, or after it was renamed
                continue
            except ModelFormatError as error:
                damage = damage or error
                continue
            if damage:
                warnings.warn(f"{damage}. The fit goes on from the checkpoint before, {path}.", stacklevel=4)
            self._newest = path
            return found
        if damage:
            raise damage
        return None

    def _check_that_it_is_this_fit(self):
        estimator, metadata, _ = self._found
        whole = self.whole(self._estimator)
        there = _identity(estimator, metadata["fitted"])
        here = _identity(whole, contents(whole, self._trainer.history)[0]["fitted"])
        differing = [
            f"{name.strip('_')} is {_short(here.get(name))}, but was {_short(there.get(name))}"
            for name in there | here if there.get(name) != here.get(name)
        ]  # fmt: skip
        if not differing and metadata[CHECKPOINT]["data"] != self._digest:
            differing = ["the data, their weights or the validation data are others"]
        epochs, max_iter = metadata[CHECKPOINT]["epoch"], self._trainer.options.max_iter
        if epochs > max_iter:
            differing.append(f"max_iter is {max_iter}, but it is {epochs} epochs old")
        if differing:
            raise ValueError(
                f"{self._newest} is a checkpoint of another fit: {'; '.join(differing)}. Fit with the same data and "
                "arguments, or start anew, without resume"
            )


def _read_checkpoint(path):
    """(estimator, metadata, arrays) of a file."""
    metadata, arrays = read_model(path)
    with inconsistency(path):
        if CHECKPOINT not in metadata:
            raise ValueError("it is a model without the state of its training, so no fit can go on from it")
        estimator, state = rebuild(metadata, arrays), metadata[CHECKPOINT]
        check_fields(state, (*_COUNTS, "best", "rate_divisor", "generator", "data"))
        if not all(type(state[name]) is int and state[name] >= 0 for name in _COUNTS):
            raise ValueError(f"{', '.join(_COUNTS)} must be integers from 0 on")
        if state["seed"] >= 2**32 or not state["rate_divisor"] >= 1:
            raise ValueError(f"no fit has seed={state['seed']} and rate_divisor={state['rate_divisor']}")
        if state["epoch"] != len(estimator._history.loss_curve):
            raise ValueError("the number of epochs is not that of the losses")
    return estimator, metadata, arrays


def _identity(estimator, fitted):
    """What must be the same in the fit that is to be resumed, by name."""
    free = _FREE if estimator.learning_rate in _PLANNED else _FREE | {"max_iter"}
    parameters = {name: value for name, value in stored_parameters(estimator).items() if name not in free}
    return {"estimator": type(estimator).__name__} | parameters | estimator._network.config | fitted


def _short(value):
    value = value["value"] if isinstance(value, dict) else value
    return text if len(text := repr(value)) <= 60 else f"{text[:57]}..."


def _digest(data):
    """SHA-256 of all arrays in nested data, with their types and shapes."""
    result = sha256()
    for array in _arrays_in(data):
        result.update(f"{array.dtype.str}{array.shape}".encode())
        result.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return result.hexdigest()


def _arrays_in(data):
    if isinstance(data, np.ndarray):
        yield data
        return
    fields = ("steps", "values", "offsets", "sources", "targets")
    parts = data if isinstance(data, tuple) else [getattr(data, name) for name in fields if hasattr(data, name)]
    for part in parts:
        yield from _arrays_in(part)


# ---- a Trainer's state in JSON and arrays ----


def _state_of(trainer):
    loop, optimizer = trainer.loop, trainer.optimizer
    state = {
        "epoch": loop.epoch, "step": loop.step, "stale": loop.stale, "rate_divisor": loop.rate_divisor,
        "best": float(loop.best).hex(),  # it may be infinite, which JSON has no word for
        "optimizer_steps": optimizer.n_steps, "generator": trainer.rng.bit_generator.state,
    }  # fmt: skip
    arrays = {"first": optimizer.first, "second": optimizer.second, "sound": trainer.sound_parameters}
    if loop.best_parameters is not None:  # these are the model's
        arrays["parameters"] = trainer.network.parameters
    return state, {f"{CHECKPOINT_ARRAYS}{name}": array for name, array in arrays.items()}


def _restore(trainer, estimator, metadata, arrays):
    """Put a checkpoint's state into a Trainer of the same fit; an error if the file's parts do not agree."""
    state, network, optimizer = metadata[CHECKPOINT], trainer.network, trainer.optimizer
    model, best = estimator._network.parameters, None

    def array(name, like):
        found = arrays[f"{CHECKPOINT_ARRAYS}{name}"]
        if found.shape != like.shape or found.dtype != like.dtype:
            raise ValueError(f"{name} must have shape {like.shape} of {like.dtype}, not {found.shape} of {found.dtype}")
        return found

    if f"{CHECKPOINT_ARRAYS}parameters" in arrays:
        best, model = model, array("parameters", model)
    sound = array("sound", model)
    if not (np.isfinite(model).all() and np.isfinite(sound).all()):  # moments of squares may be infinite
        raise ValueError("parameters must be finite")
    network.parameters[...] = model
    network.parameters_changed()
    trainer.sound_parameters = sound
    optimizer.first[...], optimizer.second[...] = array("first", optimizer.first), array("second", optimizer.second)
    optimizer.n_steps = state["optimizer_steps"]
    trainer.rng.bit_generator.state = state["generator"]
    trainer.loop = LoopState(
        epoch=state["epoch"], step=state["step"], stale=state["stale"], best=float.fromhex(state["best"]),
        rate_divisor=float(state["rate_divisor"]), best_parameters=best,
    )  # fmt: skip
    vars(trainer.history).update(vars(estimator._history))
    if trainer.history.stop_reason == "max_iter" and trainer.loop.epoch < trainer.options.max_iter:
        trainer.history.stop_reason = None  # max_iter has been raised
