"""What every estimator shares: arguments and their validation, the way through `fit`, fitted attributes."""

import copy
import math
import os
import warnings
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, _clone_parametrized
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._core import ACTIVATIONS, CELLS, RECURRENT_ACTIVATIONS
from .._version import __version__
from ..concurrency import of_one_fit, only_fit
from ..config import effective_n_threads
from ..layers.parameters import check_dtype, check_size
from ..network import Network
from ..optimizers import SCHEDULES, SOLVERS, Optimizer
from ..persistence import VersionWarning
from ..pooling import POOLINGS
from ..sequences import as_numbers, check_finite
from ..training import History, Options, Trainer
from ..transfer import take_over
from ..workspace import out_of_memory
from .explaining import Explaining
from .saving import load, save

_OPTIMIZER_ARGUMENTS = (
    "solver", "alpha", "l1_ratio", "clip_norm", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon",
)  # fmt: skip
_TRAINING_ARGUMENTS = (
    "learning_rate", "learning_rate_init", "max_iter", "tol", "n_iter_no_change", "shuffle", "max_time",
    "dropout", "recurrent_dropout", "verbose", "early_stopping",
)  # fmt: skip


def _positive(closed="neither"):
    return Interval(Real, 0, None, closed=closed)


_SHARE = Interval(Real, 0, 1, closed="left")
COUNT = Interval(Integral, 1, None, closed="left")


class RecurrentEstimator(Explaining, BaseEstimator):
    """Base of the estimators: their shared arguments, and the way from prepared data to a fitted network.

    A subclass says

    - ``_network_class``, and by ``_network_config`` how to build it,
    - ``_make_loss()``, which may draw from ``self._rng``, the fit's Generator,
    - ``_fitted()`` and ``_restore_fitted(fields, network)``: what a file holds besides arguments, network and history.
    """

    _network_class = Network
    _has_vocabulary = False

    _parameter_constraints: ClassVar = {
        "hidden_layer_sizes": ["array-like", Integral],
        "cell": [StrOptions(set(CELLS))],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "recurrent_activation": [StrOptions(set(RECURRENT_ACTIVATIONS))],
        "bidirectional": ["boolean"],
        "pooling": [StrOptions(set(POOLINGS))],
        "dense_layer_sizes": ["array-like", Integral],
        "conv_layers": ["array-like"],
        "embedding_dim": [COUNT, None],
        "embedding_weights": ["array-like", None],
        "dropout": [_SHARE],
        "recurrent_dropout": [_SHARE],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "solver": [StrOptions(set(SOLVERS))],
        "learning_rate": [StrOptions(set(SCHEDULES))],
        "learning_rate_init": [_positive()],
        "momentum": [_SHARE],
        "nesterovs_momentum": ["boolean"],
        "beta_1": [_SHARE],
        "beta_2": [_SHARE],
        "epsilon": [_positive()],
        "clip_norm": [_positive(), None],
        "batch_size": [COUNT],
        "max_iter": [COUNT],
        "tol": [_positive("left")],
        "n_iter_no_change": [COUNT],
        "shuffle": ["boolean"],
        "max_time": [_positive(), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "pretrained": "no_validation",  # _pretrained_estimator
        "n_frozen_layers": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [Integral, None],
        "dtype": "no_validation",  # check_dtype
        "callbacks": [callable, "array-like", None],
    }

    def __init__(
        self, hidden_layer_sizes=(64,), *, cell="lstm", activation="tanh", recurrent_activation="sigmoid",
        bidirectional=False, pooling="last", dense_layer_sizes=(), conv_layers=(), embedding_dim=None,
        embedding_weights=None, dropout=0.0, recurrent_dropout=0.0, alpha=1e-4, l1_ratio=0.0, solver="adam",
        learning_rate="constant", learning_rate_init=1e-3, momentum=0.9, nesterovs_momentum=True, beta_1=0.9,
        beta_2=0.999, epsilon=1e-8, clip_norm=1.0, batch_size=32, max_iter=200, tol=1e-4, n_iter_no_change=10,
        shuffle=True, max_time=None, early_stopping=False, validation_fraction=0.1, pretrained=None, n_frozen_layers=0,
        warm_start=False, random_state=None, verbose=0, n_jobs=None, dtype="float32", callbacks=None,
    ):  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.cell = cell
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dense_layer_sizes = dense_layer_sizes
        self.conv_layers = conv_layers
        self.embedding_dim = embedding_dim
        self.embedding_weights = embedding_weights
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.solver = solver
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.clip_norm = clip_norm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.max_time = max_time
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.pretrained = pretrained
        self.n_frozen_layers = n_frozen_layers
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.callbacks = callbacks

    def __getstate__(self):
        return super().__getstate__() | {"_lstmfast_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        pickled_by = state.pop("_lstmfast_version", "another release")
        if pickled_by != __version__:
            warnings.warn(
                f"This {type(self).__name__} was pickled by lstmfast {pickled_by} and is read by {__version__}, which "
                "may not understand it. Files that save() writes can be read by every later release.",
                VersionWarning,
                stacklevel=2,
            )
        super().__setstate__(state)

    def __sklearn_clone__(self):
        # A clone of what was trained before would be untrained.
        bare = copy.copy(self)
        bare.pretrained = None
        twin = _clone_parametrized(bare)
        twin.pretrained = self.pretrained
        return twin

    # ---- fitting ----

    def _change(self, action):
        """Run an action on a copy, and take over what it did: an error in it leaves this estimator untouched.

        An interrupt or an error in a callback comes after training began; then the weights of the last whole batch
        are kept, and it goes on to the caller. Where memory runs out nothing is kept. RuntimeError if another thread
        is at it.
        """
        draft = object.__new__(type(self))
        with only_fit(self):
            vars(draft).update(vars(self))
            try:
                action(draft)
            except MemoryError as error:
                draft = self
                raise out_of_memory(error)  # noqa: B904 (its cause is set)
            finally:
                if getattr(draft, "_history", None) is not getattr(self, "_history", None):
                    self.__dict__ = vars(draft)  # whole: what the draft has lost, as feature names, is gone here too
        if self.stop_reason_ == "diverged":
            warnings.warn(
                f"Training diverged in epoch {self.n_iter_ + 1}: the loss or its gradient is not finite. The last "
                "finite weights are kept. Lower learning_rate_init, set clip_norm, or scale X and y.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _check_arguments(self):
        self._validate_params()
        self._layer_sizes()
        self._conv_layers()
        if self.embedding_weights is not None:
            weights = as_numbers(self.embedding_weights, "embedding_weights")
            if weights.ndim != 2 or weights.shape[1] != self.embedding_dim:
                raise ValueError(
                    f"embedding_weights must have shape (n_tokens, embedding_dim), got {weights.shape} with "
                    f"embedding_dim={self.embedding_dim}"
                )
            check_finite(np.ascontiguousarray(weights, np.float64), "embedding_weights")
        effective_n_threads(self.n_jobs)
        check_dtype(self.dtype)
        for name in ("alpha", "learning_rate_init", "epsilon", "clip_norm", "tol", "max_time"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value}")
        if not all(callable(callback) for callback in self._callbacks()):
            raise TypeError(f"callbacks must be callables, got {self.callbacks!r}")

    def _layer_sizes(self):
        """(recurrent, dense) layer sizes as tuples of int."""
        sizes = []
        for name in ("hidden_layer_sizes", "dense_layer_sizes"):
            given = getattr(self, name)
            given = [given] if np.ndim(given) == 0 else given
            sizes.append(tuple(check_size(size, f"each of {name}") for size in given))
        if not sizes[0]:
            raise ValueError("hidden_layer_sizes must name at least one recurrent layer, got ()")
        return sizes

    def _conv_layers(self):
        """[[filters, width], ...] as int."""
        layers = list(self.conv_layers)
        if any(np.shape(layer) != (2,) for layer in layers):
            raise ValueError(f"conv_layers must be pairs ((filters, width), ...), got {self.conv_layers!r}")
        return [[check_size(size, "filters and width in conv_layers") for size in layer] for layer in layers]

    def _callbacks(self):
        return [] if self.callbacks is None else [self.callbacks] if callable(self.callbacks) else list(self.callbacks)

    def _hold_out(self, targets, n, random_state):
        """A mask of the n sequences that has those kept for validation."""
        size = int(np.ceil(self.validation_fraction * n))
        if size < 1 or size >= n:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction} of {n} sequences leaves "
                f"{n - size} for training and {size} for validation; both need at least 1"
            )
        _, held_out = next(self._splitter(targets, size, random_state).split(np.zeros(n), targets))
        mask = np.zeros(n, bool)
        mask[held_out] = True
        return mask

    def _splitter(self, targets, size, random_state):
        return ShuffleSplit(1, test_size=size, random_state=random_state)

    def _network_config(self):
        """Arguments of the network that every kind has."""
        hidden, dense = self._layer_sizes()
        return {
            "hidden_layer_sizes": list(hidden), "dense_layer_sizes": list(dense),
            "bidirectional": bool(self.bidirectional), "dtype": check_dtype(self.dtype).name, "cell": self.cell,
            "activation": self.activation, "recurrent_activation": self.recurrent_activation,
            "n_frozen_layers": int(self.n_frozen_layers),
        }  # fmt: skip

    def _new_network(self, config, rng, pretrained=None):
        """A network with new weights, or those of a pretrained one where it has them."""
        network = self._network_class(**config)
        network.initialize(rng)
        if pretrained is not None:
            take_over(pretrained, network)
        return network

    def _copy_network(self, asked, network):
        """A fitted network, to be trained further without touching the original."""
        there, how = (
            network.config,
            "warm_start=False" if network is getattr(self, "_network", None) else "pretrained=None",
        )
        for name, value in asked.items():
            if name not in ("dtype", "n_outputs", "n_frozen_layers") and value != there[name]:
                raise ValueError(
                    f"the weights to go on from belong to a network with {name}={there[name]}, not {value}; fit with "
                    f"{how} to start anew"
                )
        return network.copy(dtype=asked["dtype"], n_frozen_layers=asked["n_frozen_layers"])

    def _can_start_from(self, other):
        """Whether the layers of another estimator mean here what they mean there: tokens must have the same numbers."""
        return isinstance(other, type(self)) if self._has_vocabulary else not other._has_vocabulary

    def _pretrained_estimator(self):
        """The fitted estimator that `pretrained` is or names; None for None."""
        pretrained = self.pretrained
        if pretrained is None:
            return None
        if isinstance(pretrained, str | os.PathLike):
            pretrained = load(pretrained)
        elif isinstance(pretrained, FrozenEstimator):
            pretrained = pretrained.estimator
        if not isinstance(pretrained, RecurrentEstimator) or not self._can_start_from(pretrained):
            kind = type(self).__name__ if self._has_vocabulary else "estimator without a vocabulary of its own"
            raise TypeError(f"pretrained must be a fitted {kind}, or a file of one, got {type(pretrained).__name__}")
        check_is_fitted(pretrained)
        return pretrained

    def _train(self, network, examples, rng, history, max_iter, validation_score, going_on, checkpoint):
        optimizer = Optimizer(network, **{name: getattr(self, name) for name in _OPTIMIZER_ARGUMENTS})
        if going_on:
            optimizer.go_on_from(self._optimizer)
        options = Options(
            **{name: getattr(self, name) for name in _TRAINING_ARGUMENTS}
            | {"max_iter": max_iter, "early_stopping": self.early_stopping and validation_score is not None},
            callbacks=self._callbacks(), n_threads=effective_n_threads(self.n_jobs),
        )  # fmt: skip
        self._network, self._optimizer, self._rng = network, optimizer, rng
        trainer = Trainer(network, optimizer, self._make_loss(), options, rng, history, validation_score)
        checkpoint.begin(self, trainer)
        self._history = history  # from here on an error leaves what has been learned: see _change
        try:
            trainer.run(examples, checkpoint.save)
        finally:
            self._set_attributes()

    def _set_attributes(self):
        history, network = self._history, self._network
        self.loss_curve_, self.grad_norm_curve_ = history.loss_curve, history.grad_norm_curve
        self.validation_scores_ = history.validation_scores or None
        self.best_validation_score_ = max(history.validation_scores, default=None)
        self.loss_, self.best_loss_ = (history.loss_curve or [math.nan])[-1], min(history.loss_curve, default=math.nan)
        self.stop_reason_ = history.stop_reason
        self.n_iter_ = len(history.loss_curve)
        self.n_outputs_ = network.dense[-1].output_size
        self.n_parameters_ = network.parameters.size
        self.n_layers_ = len(self.layers_)

    def _network_class_of(self, fitted):
        """Class of the network that goes with the fields of a file."""
        return self._network_class

    def _restore(self, fitted, network, history):
        """Become the fitted estimator that a file describes; an error where its parts are not what they should be."""
        self._restore_fitted(fitted, network)
        self._network, self._history = network, History.from_lists(history)
        self._optimizer = Optimizer(network, **{name: getattr(self, name) for name in _OPTIMIZER_ARGUMENTS})
        self._rng = generator(check_random_state(self.random_state))
        self._set_attributes()

    # ---- using a fitted estimator ----

    @property
    def layers_(self):
        check_is_fitted(self, "_network")
        return self._network.all_layers

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_network")

    @of_one_fit
    def save(self, path):
        """Write the fitted estimator to a file that `lstmfast.load` reads; nothing in it is ever executed.

        The file replaces an older one whole or not at all. Callbacks and a RandomState instance are not saved.

        Parameters
        ----------
        path : str or path-like
            Where to.

        Raises
        ------
        NotFittedError
            If there is nothing to save yet.
        OSError
            If the file cannot be written; an older one is then still whole.
        """
        check_is_fitted(self)
        save(self, path)


def generator(random_state):
    """A numpy Generator that a RandomState seeds."""
    return np.random.default_rng(random_state.randint(2**31 - 1, size=4))
