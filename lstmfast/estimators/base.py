"""What every estimator shares: arguments and their validation, the way through `fit`, fitted attributes."""

import math
import warnings
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._core import ACTIVATIONS, CELLS, RECURRENT_ACTIVATIONS
from ..config import effective_n_threads
from ..layers.parameters import check_dtype, check_size
from ..network import POOLINGS, Network
from ..optimizers import SCHEDULES, SOLVERS, Optimizer
from ..sequences import as_numbers, check_finite, check_sequences, check_tokens
from ..training import History, Options, Trainer
from .saving import check_fields, save

_OPTIMIZER_ARGUMENTS = (
    "solver", "alpha", "l1_ratio", "clip_norm", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon",
)  # fmt: skip
_TRAINING_ARGUMENTS = (
    "learning_rate", "learning_rate_init", "batch_size", "max_iter", "tol", "n_iter_no_change", "shuffle", "max_time",
    "dropout", "recurrent_dropout", "verbose", "early_stopping",
)  # fmt: skip


def _positive(closed="neither"):
    return Interval(Real, 0, None, closed=closed)


_SHARE = Interval(Real, 0, 1, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")


class RecurrentEstimator(BaseEstimator):
    """Base of the estimators. A subclass says what its targets are:

    - ``_check_targets(y, reset)``: y -> targets (n, ...) for the loss; with reset, sets what it learns (``classes_``).
    - ``_make_loss()``, ``_validation_score(outputs, targets)``
    - ``_decision_class``: from `lstmfast.decisions`, made of what the estimator learned of its targets
    """

    _parameter_constraints: ClassVar = {
        "hidden_layer_sizes": ["array-like", Integral],
        "cell": [StrOptions(set(CELLS))],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "recurrent_activation": [StrOptions(set(RECURRENT_ACTIVATIONS))],
        "bidirectional": ["boolean"],
        "pooling": [StrOptions(set(POOLINGS))],
        "dense_layer_sizes": ["array-like", Integral],
        "embedding_dim": [_COUNT, None],
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
        "batch_size": [_COUNT],
        "max_iter": [_COUNT],
        "tol": [_positive("left")],
        "n_iter_no_change": [_COUNT],
        "shuffle": ["boolean"],
        "max_time": [_positive(), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [Integral, None],
        "dtype": "no_validation",  # check_dtype
        "callbacks": [callable, "array-like", None],
    }

    def __init__(
        self, hidden_layer_sizes=(64,), *, cell="lstm", activation="tanh", recurrent_activation="sigmoid",
        bidirectional=False, pooling="last", dense_layer_sizes=(), embedding_dim=None, embedding_weights=None,
        dropout=0.0, recurrent_dropout=0.0, alpha=1e-4, l1_ratio=0.0, solver="adam", learning_rate="constant",
        learning_rate_init=1e-3, momentum=0.9, nesterovs_momentum=True, beta_1=0.9, beta_2=0.999, epsilon=1e-8,
        clip_norm=1.0, batch_size=32, max_iter=200, tol=1e-4, n_iter_no_change=10, shuffle=True, max_time=None,
        early_stopping=False, validation_fraction=0.1, warm_start=False, random_state=None, verbose=0, n_jobs=None,
        dtype="float32", callbacks=None,
    ):  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.cell = cell
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dense_layer_sizes = dense_layer_sizes
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
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.callbacks = callbacks

    # ---- fitting ----

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        """Train on sequences X and their targets y.

        Parameters
        ----------
        X : sequences
            ndarray of shape (n, T, F); or a list of arrays of shape (T_i, F), or (T_i,) with one feature; or anything
            two-dimensional of shape (n, T): n univariate series.
        y : array-like of shape (n,) or (n, n_outputs)
            Targets.
        sample_weight : array-like of shape (n,), default=None
            Weights of the sequences; not negative, not all 0.
        X_val, y_val : as X and y, default=None
            Validation data. Scored after each epoch; with `early_stopping` they decide when to stop.

        Returns
        -------
        self : object
            Fitted estimator. If fit raises an error, the estimator is as it was before.

        Raises
        ------
        ValueError, TypeError
            If an argument is out of range, or X, y or the weights are not as described; the message says what is wrong.
        """
        return self._change(lambda draft: draft._fit(X, y, sample_weight, X_val, y_val))

    def _change(self, action):
        """Run an action on a copy, and take over what it did: an error in it leaves this estimator untouched.

        An interrupt or an error in a callback comes after training began; then the weights of the last whole batch
        are kept, and it goes on to the caller.
        """
        draft = object.__new__(type(self))
        vars(draft).update(vars(self))
        try:
            action(draft)
        finally:
            if getattr(draft, "_history", None) is not getattr(self, "_history", None):
                vars(self).update(vars(draft))
        if self.stop_reason_ == "diverged":
            warnings.warn(
                f"Training diverged in epoch {self.n_iter_ + 1}: the loss or its gradient is not finite. The last "
                "finite weights are kept. Lower learning_rate_init, set clip_norm, or scale X and y.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _fit(self, X, y, sample_weight, X_val, y_val):
        going_on = self.warm_start and hasattr(self, "_network")
        sequences, targets, weights = self._check_data(
            X, y, sample_weight, reset=True, going_on=going_on, same_targets=going_on
        )
        random_state = check_random_state(self.random_state)
        rng = _generator(random_state)
        validation = self._check_validation(X_val, y_val)
        if self.early_stopping and validation is None:
            held_out = self._hold_out(targets, len(sequences), random_state)
            validation = sequences.take(held_out), targets[held_out]
            sequences, targets, weights = sequences.take(~held_out), targets[~held_out], weights[~held_out]
            if not weights.any():
                raise ValueError("sample_weight is zero for every sequence that early_stopping leaves for training")
        network = self._copy_network(sequences) if going_on else self._new_network(sequences, targets, weights, rng)
        self._train(network, sequences, targets, weights, rng, History(), self.max_iter, validation, going_on)

    def _partial_fit(self, X, y, sample_weight, *, targets_known):
        going_on = hasattr(self, "_network")
        sequences, targets, weights = self._check_data(
            X, y, sample_weight, reset=not going_on, going_on=going_on, same_targets=going_on or targets_known
        )
        if going_on:
            rng, network, history = self._rng, self._copy_network(sequences), self._history.copy()
        else:
            rng, history = _generator(check_random_state(self.random_state)), History()
            network = self._new_network(sequences, targets, weights, rng)
        self._train(network, sequences, targets, weights, rng, history, 1, None, going_on)

    def _check_data(self, X, y, sample_weight, *, reset, going_on, same_targets):
        """Everything that can be wrong with arguments and data, before anything costly is done."""
        self._check_arguments()
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        if going_on:
            self._n_tokens = self._network.config["n_tokens"]
        else:
            self._n_tokens = None if self.embedding_weights is None else len(self.embedding_weights)
        sequences = self._check_sequences(X, reset)
        if self.embedding_dim is not None and self._n_tokens is None:
            self._n_tokens = int(sequences.steps.max()) + 1
        targets = self._pair_targets(sequences, y, reset=not same_targets)
        return sequences, targets, self._check_weights(sample_weight, targets)

    def _pair_targets(self, sequences, y, reset):
        """Targets as the loss takes them, one for each sequence."""
        targets = self._check_targets(y, reset=reset)
        check_consistent_length(sequences, targets)
        return targets

    def _check_sequences(self, X, reset):
        """X for training; `_n_tokens` tokens are known, or None: as many as there are."""
        if self.embedding_dim is None:
            return check_sequences(X, dtype=np.dtype(self.dtype), estimator=self, reset=reset)
        return check_tokens(X, estimator=self, reset=reset, n_tokens=self._n_tokens)

    def _check_arguments(self):
        self._validate_params()
        self._layer_sizes()
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

    def _callbacks(self):
        return [] if self.callbacks is None else [self.callbacks] if callable(self.callbacks) else list(self.callbacks)

    def _check_weights(self, sample_weight, targets):
        return check_weights(
            np.ones(len(targets)) if sample_weight is None else sample_weight, "sample_weight", targets
        )

    def _check_validation(self, X_val, y_val):
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; only one of them was given")
        if X_val is None:
            return None
        sequences = self._check_sequences(X_val, False)
        return sequences, self._pair_targets(sequences, y_val, reset=False)

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

    def _network_config(self, sequences):
        hidden, dense = self._layer_sizes()
        return {
            "n_features": self.embedding_dim or sequences.n_features, "n_tokens": self._n_tokens,
            "hidden_layer_sizes": list(hidden), "dense_layer_sizes": list(dense), "n_outputs": self._decision.n_outputs,
            "bidirectional": bool(self.bidirectional), "pooling": self.pooling, "dtype": check_dtype(self.dtype).name,
            "cell": self.cell, "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
        }  # fmt: skip

    def _new_network(self, sequences, targets, weights, rng):
        network = Network(**self._network_config(sequences))
        network.initialize(rng)
        if self.embedding_weights is not None:
            network.embedding.weight = self.embedding_weights
        bias = self._make_loss().initial_bias(targets, weights)
        if bias is not None:
            network.dense[-1].bias = bias
        return network

    def _copy_network(self, sequences):
        """This estimator's network, to be trained further without touching the original."""
        asked, there = self._network_config(sequences), self._network.config
        for name, value in asked.items():
            if name not in ("dtype", "n_outputs") and value != there[name]:
                raise ValueError(
                    f"the weights to go on from belong to a network with {name}={there[name]}, not {value}; fit with "
                    "warm_start=False to start anew"
                )
        return self._network.copy(asked["dtype"])

    def _train(self, network, sequences, targets, weights, rng, history, max_iter, validation, going_on):
        optimizer = Optimizer(network, **{name: getattr(self, name) for name in _OPTIMIZER_ARGUMENTS})
        if going_on:
            optimizer.go_on_from(self._optimizer)
        options = Options(
            **{name: getattr(self, name) for name in _TRAINING_ARGUMENTS}
            | {"max_iter": max_iter, "early_stopping": self.early_stopping and validation is not None},
            callbacks=self._callbacks(), n_threads=effective_n_threads(self.n_jobs),
        )  # fmt: skip

        def validation_score():
            return self._validation_score(self._validation_outputs(network, validation[0]), validation[1])

        trainer = Trainer(
            network, optimizer, self._make_loss(), options, rng, history, validation_score if validation else None
        )
        self._network, self._optimizer, self._rng, self._history = network, optimizer, rng, history
        try:
            trainer.run(sequences, targets, weights)
        finally:
            self._set_attributes()

    def _validation_outputs(self, network, sequences):
        return network.outputs(sequences, n_threads=effective_n_threads(self.n_jobs))

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

    def _restore(self, fitted, network, history):
        """Become the fitted estimator that a file describes; an error where its parts are not what they should be."""
        check_fields(fitted, ("n_features_in_", "_input_kind", *self._decision_class.fields), ("feature_names_in_",))
        for name, value in fitted.items():
            setattr(self, name, value)
        if self._input_kind not in ("2d", "sequences"):
            raise ValueError(f"unknown kind of X, {self._input_kind!r}")
        check_size(self.n_features_in_, "n_features_in_")
        n_features = 1 if self._input_kind == "2d" else self.n_features_in_
        if network.embedding is not None and n_features == 1:
            n_features = self.embedding_dim
        if network.config["n_features"] != n_features:
            raise ValueError("the network does not have the features of the estimator")
        names = fitted.get("feature_names_in_")
        if names is not None and (
            np.shape(names) != (self.n_features_in_,) or not all(isinstance(n, str) for n in names)
        ):
            raise ValueError("feature_names_in_ must be one string a feature")
        self._decision.check()
        if network.dense[-1].output_size != self._decision.n_outputs:
            raise ValueError("the network does not have the outputs of the estimator")
        self._network, self._history = network, History.from_lists(history)
        self._optimizer = Optimizer(network, **{name: getattr(self, name) for name in _OPTIMIZER_ARGUMENTS})
        self._rng = _generator(check_random_state(self.random_state))
        self._set_attributes()

    # ---- using a fitted estimator ----

    @property
    def layers_(self):
        check_is_fitted(self, "_network")
        return [*self._network.layers, *self._network.dense]

    @property
    def _decision(self):
        return self._decision_class(*[getattr(self, name) for name in self._decision_class.fields])

    @property
    def _n_features_out(self):
        return self._network.dense[-1].input_size

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_network")

    def _check_fitted_input(self, X):
        check_is_fitted(self)
        n_tokens = self._network.config["n_tokens"]
        if n_tokens is not None:
            return check_tokens(X, estimator=self, reset=False, n_tokens=n_tokens)
        return check_sequences(X, dtype=self._network.dtype, estimator=self, reset=False)

    def _outputs(self, X, hidden=False):
        sequences = self._check_fitted_input(X)
        return self._network.outputs(sequences, hidden=hidden, n_threads=effective_n_threads(self.n_jobs))

    def transform(self, X):
        """What the output layer sees of each sequence: features for another model.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        features : ndarray of shape (n, d)
            The last dense layer's outputs, or the pooled recurrent ones if there is none.
        """
        return self._outputs(X, hidden=True)

    def predict_steps(self, X):
        """Output after every step: for a decision before the sequence ends.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        y : ndarray of shape (n, T, n_outputs), or for a list a list of arrays (T_i, n_outputs)
            Probabilities of a classifier, values of a regressor; the last step's is what the whole sequence gets.

        Raises
        ------
        ValueError
            If the estimator is bidirectional.
        """
        sequences = self._check_fitted_input(X)
        n_threads = effective_n_threads(self.n_jobs)
        return sequences.group(self._network.step_outputs(sequences, self._decision.activation, n_threads))

    def stream(self, n=1):
        """n live sequences on these weights, advanced a step at a time.

        Parameters
        ----------
        n : int, default=1
            Number of sequences.

        Returns
        -------
        stream : lstmfast._core.Stream
            ``stream.step(x)`` takes x of shape (F,) or (n, F) and returns the output after this step, as
            `predict_steps` does; ``stream.step(x, out=y)`` allocates nothing. ``stream.state`` can be read and
            assigned; ``stream.reset(rows)`` starts sequences anew; ``stream.copy()`` gives an independent twin.

        Raises
        ------
        ValueError
            If the estimator is bidirectional.
        """
        check_is_fitted(self)
        return self._network.stream(n, self._decision.activation, effective_n_threads(self.n_jobs))

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def check_weights(weights, name, targets):
    """weights as float64, one for each target; ValueError if they are not finite, not negative and not all 0.

    Only their ratios count. The largest becomes 1, so that no sum of them overflows or vanishes.
    """
    n = len(targets)
    if isinstance(weights, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be a masked array; set the weight of what shall not count to 0")
    weights = np.asarray(weights)
    if weights.dtype.kind not in "fiub" or weights.shape != (n,):
        raise ValueError(
            f"{name} must be numbers of shape ({n},), one a sequence, got shape {weights.shape} of {weights.dtype}"
        )
    weights = weights.astype(np.float64)
    good = np.isfinite(weights) & (weights >= 0)
    if not good.all():
        index = int(np.argmin(good))
        raise ValueError(f"{name} must be finite and not negative, got {weights[index]} at index {index}")
    if not weights.any():
        raise ValueError(f"{name} is zero for every sequence; at least one must be positive")
    return weights / weights.max()


def _generator(random_state):
    return np.random.default_rng(random_state.randint(2**31 - 1, size=4))
