"""`explain`, of every estimator, and `attention`, of those that can pool by it."""

import warnings
from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .. import _core
from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..explanations import TRACES, integrated_gradients, linear_score, occlusion, on_vectors, traces
from ..sequences import as_numbers, check_finite, is_list
from ..thread_choice import ThreadChoice
from ..workspace import Workspace

_CONSTRAINTS = {
    "method": [StrOptions({"integrated_gradients", "occlusion", *TRACES})],
    "window": [Interval(Integral, 1, None, closed="left")],
}


class Explaining:
    """What explains a fitted estimator. A subclass says

    - ``_explained_sequences(X)``: X as the network reads it, and by ``_own_steps`` which of these steps are X's,
    - ``_coefficients(sequences, target)``: yields for each sequence those of the outputs whose sum is explained;
      ValueError for a target that there is not,
    - ``_explained_config``: what is different in the network that is explained.
    """

    _own_steps = slice(None)
    _explained_config: ClassVar = {}

    @of_one_fit
    def explain(self, X, method="integrated_gradients", *, target=None, baseline=None, window=1):
        """How much each value of a sequence adds to the output, or what the recurrent units do at each step.

        Parameters
        ----------
        X : sequences
            As in `fit`; of a language model the texts to go on with, of a recommender the histories, of a translator
            the sources.
        method : {"integrated_gradients", "occlusion", "gates", "states"}, default="integrated_gradients"
            "integrated_gradients" (Sundararajan et al. 2017): attributions, which add up to how far the output is from
            that of the baseline; of a token's vector their sum. "occlusion" (Zeiler & Fergus 2014): by how much the
            output falls when the value gives way to the baseline's. "gates", "states": activations of the units.
        target : default=None
            Which output. Of a classifier a label: explained is its score before softmax or sigmoid; None: that of the
            label with the highest one. Of a regressor a column of y; None: the sum of all. Of a tagger a label, whose
            scores of all steps are added up, or a pair of a step and a label (or None); None: the scores of the labels
            that `predict` gives (with a CRF, of its emissions). Of a language model and a recommender the next token or
            item, whose score before softmax is explained; None: the most probable one. Of a translator a list of
            targets, whose log-probabilities are explained; None: what `predict` writes. Of a transformer a feature;
            None: how similar the features are to those of X, as a dot product (Crabbe & van der Schaar 2022).
        baseline : array-like, default=None
            What stands for no information: one number, F numbers (the features of a step), or sequences shaped like X.
            None: 0, and of tokens the vector 0.
        window : int, default=1
            Of "occlusion": steps that are taken away together. A value gets the mean of all windows that it is in.

        Returns
        -------
        explanations : array or list of arrays, shaped like X
            Of "integrated_gradients" and "occlusion", in float64: a number for each value, or token.
            Of "gates" a list that holds for each sequence a list with an array (T_i, n_gates, H) for each recurrent
            layer: i, f, g, o of an LSTM, r, z, n of a GRU, h of an RNN. Of a bidirectional layer (T_i, n_gates, 2H),
            the forward units first. Of "states" likewise (T_i, H): c of an LSTM, h of a GRU or RNN. A language model
            and a recommender have one step more, the beginning; a translator has an encoder, whose last step is the
            source's end, and a decoder, which begins with it.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or is given to a method that has no use for it.

        Warns
        -----
        ConvergenceWarning
            If integrated gradients of a sequence miss the change of its output by more than 1 %.

        Examples
        --------
        >>> import numpy as np
        >>> from lstmfast import LSTMRegressor
        >>> X = np.random.default_rng(0).normal(size=(50, 4, 2))
        >>> regressor = LSTMRegressor(8, max_iter=5, random_state=0).fit(X, X[:, 1, 0])
        >>> attributions = regressor.explain(X)
        >>> attributions.shape
        (50, 4, 2)
        >>> change = regressor.predict(X) - regressor.predict(np.zeros((1, 4, 2)))
        >>> np.allclose(attributions.sum(axis=(1, 2)), change, rtol=0.01)
        True
        """
        check_is_fitted(self)
        validate_parameter_constraints(_CONSTRAINTS, {"method": method, "window": window}, "explain")
        _check_use(method, target, baseline, window)
        sequences = self._explained_sequences(X)
        if method in TRACES:
            return list(self._traces(sequences, method))
        by_feature = self._reading_stack(self._network).embedding is None
        results, gaps = [], []
        for score, x, reference in self._to_explain(sequences, target, baseline):
            if method == "occlusion":
                results.append(occlusion(score, x, reference, window, by_feature))
            else:
                attributions, gap = integrated_gradients(score, x, reference)
                results.append(attributions if by_feature else attributions.sum(axis=1, keepdims=True))
                gaps.append(gap)
        wide = np.array(gaps) > 0.01
        if wide.any():
            warnings.warn(
                f"Attributions of {wide.sum()} sequences do not add up to the change of the output: those "
                f"of X[{np.argmax(gaps)}] miss {max(gaps):.1%} of it",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self._shaped_like(X, sequences, results)

    def _to_explain(self, sequences, target, baseline):
        """Yields for each sequence its Score, its vectors and what takes their place."""
        vectors, baselines = self._vectors(sequences), self._baseline_vectors(sequences, baseline)
        parts = sequences.split(vectors), sequences.split(baselines)
        for score, x, given in zip(self._explained_scores(sequences, target), *parts, strict=True):
            reference = x.copy()
            reference[self._own_steps] = given[self._own_steps]
            yield score, x, reference

    @staticmethod
    def _reading_stack(network):
        """The layers that read X."""
        return network.stack

    def _vectors(self, sequences):
        """Steps as the first recurrent layer sees them, (n_steps, F) of float64."""
        embedding = self._reading_stack(self._network).embedding
        steps = sequences.steps if embedding is None else embedding.forward(sequences.steps[:, 0])
        return steps.astype(np.float64)

    def _baseline_vectors(self, sequences, baseline):
        """What takes the place of `_vectors`."""
        embedding = self._reading_stack(self._network).embedding
        shape = len(sequences.steps), sequences.n_features if embedding is None else embedding.embedding_dim
        if baseline is None:
            return np.zeros(shape)
        numbers = all(np.ndim(entry) == 0 for entry in baseline) if is_list(baseline) else np.ndim(baseline) < 2
        if numbers and embedding is None:
            values = as_numbers(baseline, "baseline").astype(np.float64)
            if values.shape not in ((), shape[1:]):
                raise ValueError(
                    f"baseline must be a number, {shape[1]} numbers, one a feature, or shaped like X, got shape "
                    f"{values.shape}"
                )
            check_finite(values, "baseline")
            return np.broadcast_to(values, shape)
        try:
            given = self._explained_sequences(baseline)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"baseline is read as X is, but: {error}") from error
        if len(given) != len(sequences):
            raise ValueError(f"baseline must have a sequence for each of {len(sequences)} in X, got {len(given)}")
        wrong = np.flatnonzero(given.lengths != sequences.lengths)
        if len(wrong):
            i = wrong[0]
            n_steps = sequences.lengths[i], given.lengths[i]
            raise ValueError(
                f"baseline must be as long as X: X[{i}] has {n_steps[0]} steps, baseline[{i}] {n_steps[1]}"
            )
        return self._vectors(given)

    def _explained_scores(self, sequences, target):
        """Yields for each sequence the Score that is explained."""
        network = on_vectors(self._network, self._reading_stack, **self._explained_config)
        threads = ThreadChoice(effective_n_threads(self.n_jobs))
        for coefficients in self._coefficients(sequences, target):
            yield linear_score(network, coefficients, threads)

    def _shaped_like(self, X, sequences, results):
        """What was found for each sequence, an array (T_i, F), or (T_i, 1) for tokens, as X is shaped."""
        return sequences.like_input(np.concatenate(results))

    def _traces(self, sequences, method):
        """Yields for each sequence a list with an array for each recurrent layer."""
        stack = self._network.copy(n_frozen_layers=0).stack  # frozen layers keep nothing
        n_threads = effective_n_threads(self.n_jobs)
        for steps in sequences.split(sequences.steps):
            record = stack.forward(
                _core.Batch(np.array([len(steps)])), steps, masks=stack.no_masks(), training=True, all_steps=False,
                workspace=Workspace(), n_threads=n_threads,
            )  # fmt: skip
            yield traces(stack, record, method)


def pools_by_attention(estimator):
    """Whether `attention` is there."""
    return estimator.pooling == "attention"


class Attending(Explaining):
    """What also shows the steps that pooling="attention" looks at."""

    @available_if(pools_by_attention)
    @of_one_fit
    def attention(self, X):
        """Weights of a sequence's steps in the mean that pooling="attention" makes of them.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        weights : list of ndarrays of shape (T_i,)
            Those of a sequence sum to 1.
        """
        sequences, network = self._explained_sequences(X), self._network
        if network.pooling != "attention":
            raise ValueError(f"this estimator was fitted with pooling={network.pooling!r}: it has no attention")
        return sequences.split(network.attention(sequences, effective_n_threads(self.n_jobs)))


def _check_use(method, target, baseline, window):
    """ValueError for an argument that a method has no use for."""
    of_units = method in TRACES
    for name, useless in (
        ("target", of_units and target is not None),
        ("baseline", of_units and baseline is not None),
        ("window", method != "occlusion" and window != 1),
    ):
        if useless:
            raise ValueError(f"method={method!r} has no use for {name}; leave it out")


def check_column(target, n_columns, of):
    """A target that is the number of a column."""
    if isinstance(target, bool) or not isinstance(target, Integral) or not 0 <= target < n_columns:
        raise ValueError(f"target must be a column of {of}, an integer from 0 to {n_columns - 1}, got {target!r}")
    return int(target)


def one_hot(numbers, n_outputs):
    """Coefficients that choose one output each: yields an array (n_outputs,) for each number."""
    for number in numbers:
        coefficients = np.zeros(n_outputs)
        coefficients[number] = 1
        yield coefficients
