"""What the estimators share that learn a target y for each sequence of X, or for each of its steps."""

import copy

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..examples import Examples
from ..layers.parameters import check_size
from ..saved_model import check_fields, check_names
from ..sequences import check_sequences, check_tokens
from ..training import History
from .base import RecurrentEstimator, generator
from .checkpoint import Checkpoint
from .explaining import Attending
from .sharing import shares_texts


class SupervisedEstimator(Attending, RecurrentEstimator):
    """Training on a target for each sequence. A subclass says what its targets are:

    - ``_check_targets(y, reset)``: y -> targets (n, ...) for the loss; with reset, sets what it learns (``classes_``).
    - ``_make_loss()``, ``_validation_score(outputs, targets)``
    - ``_decision_class``: from `lstmfast.decisions`, made of what the estimator learned of its targets
    """

    @shares_texts
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, checkpoint=None, resume=False):
        """Train on sequences X and their targets y.

        Parameters
        ----------
        {sequences}
        y : array-like of shape (n,) or (n, n_outputs)
            Targets.
        {sample_weight}
        X_val, y_val : as X and y, default=None
            {validation}
        {checkpoint}

        {fitted}
        """
        kept = Checkpoint(checkpoint, resume)
        return self._change(lambda draft: draft._fit(X, y, sample_weight, X_val, y_val, kept))

    def _fit(self, X, y, sample_weight, X_val, y_val, checkpoint):
        going_on = self.warm_start and hasattr(self, "_network")
        sequences, targets, weights, source = self._check_data(
            X, y, sample_weight, reset=True, going_on=going_on, same_targets=going_on
        )
        random_state = check_random_state(checkpoint.seed(self.random_state))
        rng = generator(random_state)
        validation = self._check_validation(X_val, y_val)
        if self.early_stopping and validation is None:
            held_out = self._hold_out(targets, len(sequences), random_state)
            validation = sequences.take(held_out), targets[held_out]
            sequences, targets, weights = sequences.take(~held_out), targets[~held_out], weights[~held_out]
            if not weights.any():
                raise ValueError("sample_weight is zero for every sequence that early_stopping leaves for training")
        if going_on:
            network = self._copy_network(self._network_config(sequences), self._network)
        else:
            network = self._start_network(sequences, targets, weights, rng, source)
        self._train_on(
            network, sequences, targets, weights, rng, History(), self.max_iter, validation, going_on, checkpoint
        )

    def _partial_fit(self, X, y, sample_weight, *, targets_known):
        going_on = hasattr(self, "_network")
        sequences, targets, weights, source = self._check_data(
            X, y, sample_weight, reset=not going_on, going_on=going_on, same_targets=going_on or targets_known
        )
        if going_on:
            network = self._copy_network(self._network_config(sequences), self._network)
            rng, history = copy.deepcopy(self._rng), self._history.copy()
        else:
            rng, history = generator(check_random_state(self.random_state)), History()
            network = self._start_network(sequences, targets, weights, rng, source)
        self._train_on(network, sequences, targets, weights, rng, history, 1, None, going_on, Checkpoint())

    def _check_data(self, X, y, sample_weight, *, reset, going_on, same_targets):
        """Everything that can be wrong with arguments and data, before anything costly is done.

        Returns sequences, targets, weights and the network that `pretrained` gives, or None.
        """
        self._check_arguments()
        if y is None and X is not None:  # check_sequences says what is wrong with no X
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        source = None if going_on else self._pretrained_network()
        network = self._network if going_on else source
        if network is not None:
            self._n_tokens = network.config["n_tokens"]
        else:
            self._n_tokens = None if self.embedding_weights is None else len(self.embedding_weights)
        sequences = self._check_sequences(X, reset)
        if self.embedding_dim is not None and self._n_tokens is None:
            self._n_tokens = int(sequences.steps.max()) + 1
        targets = self._pair_targets(sequences, y, reset=not same_targets)
        return sequences, targets, self._check_weights(sample_weight, targets), source

    def _pretrained_network(self):
        pretrained = self._pretrained_estimator()
        if pretrained is not None and self.embedding_weights is not None:
            raise ValueError("embedding_weights and pretrained both say where the embedding starts; give one of them")
        return None if pretrained is None else pretrained._network

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

    def _network_config(self, sequences):
        return super()._network_config() | {
            "n_features": self.embedding_dim or sequences.n_features, "n_tokens": self._n_tokens,
            "n_outputs": self._decision.n_outputs, "pooling": self.pooling, "conv_layers": self._conv_layers(),
        }  # fmt: skip

    def _start_network(self, sequences, targets, weights, rng, source):
        network = self._new_network(self._network_config(sequences), rng, source)
        if self.embedding_weights is not None:
            network.embedding.weight = self.embedding_weights
        self._start_outputs(network, targets, weights)
        return network

    def _start_outputs(self, network, targets, weights):
        """Let training start from the best constant."""
        bias = self._make_loss().initial_bias(targets, weights)
        if bias is not None:
            network.dense[-1].bias = bias

    def _train_on(self, network, sequences, targets, weights, rng, history, max_iter, validation, going_on, checkpoint):
        def validation_score():
            return self._validation_score(self._validation_outputs(network, validation[0]), validation[1])

        examples = Examples(sequences, targets, weights, network.dtype, self.batch_size)
        checkpoint.data = sequences, targets, weights, validation
        self._train(
            network, examples, rng, history, max_iter, validation_score if validation else None, going_on, checkpoint
        )

    def _validation_outputs(self, network, sequences):
        return network.outputs(sequences, n_threads=effective_n_threads(self.n_jobs))

    def _fitted(self):
        names = ("n_features_in_", "feature_names_in_", "_input_kind", *self._decision_class.fields)
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _restore_fitted(self, fitted, network):
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
        if "feature_names_in_" in fitted:
            check_names(fitted["feature_names_in_"], self.n_features_in_)
        self._decision.check()
        if network.dense[-1].output_size != self._decision.n_outputs:
            raise ValueError("the network does not have the outputs of the estimator")

    @property
    def _decision(self):
        return self._decision_class(*[getattr(self, name) for name in self._decision_class.fields])


class SequenceEstimator(SupervisedEstimator):
    """Base of classifier, regressor and tagger: what they do, once fitted, with sequences that users give."""

    @property
    def _n_features_out(self):
        return self._network.dense[-1].input_size

    def _check_fitted_input(self, X):
        check_is_fitted(self)
        n_tokens = self._network.config["n_tokens"]
        if n_tokens is not None:
            return check_tokens(X, estimator=self, reset=False, n_tokens=n_tokens)
        return check_sequences(X, dtype=self._network.dtype, estimator=self, reset=False)

    def _explained_sequences(self, X):
        return self._check_fitted_input(X)

    def _outputs(self, X, hidden=False):
        sequences = self._check_fitted_input(X)
        return self._network.outputs(sequences, hidden=hidden, n_threads=effective_n_threads(self.n_jobs))

    @of_one_fit
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

    @of_one_fit
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

    @of_one_fit
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
