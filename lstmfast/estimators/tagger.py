"""LSTMTagger."""

from numbers import Integral

import numpy as np
from sklearn.model_selection import ShuffleSplit

from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..network import Network
from ..pooling import NO_POOLING
from ..sequences import StepValues
from .classifier import LSTMClassifier, check_labels
from .sharing import shares_parameters
from .supervised import check_weights


@shares_parameters(without=("pooling",))
class LSTMTagger(LSTMClassifier):
    """Give each step of a sequence a label, with an LSTM network.

    Recurrent layers, dense layers and a softmax at each step; trained on the mean cross-entropy of all steps. With
    ``bidirectional=True`` a label may depend on what comes after its step. With ``crf=True`` a linear-chain conditional
    random field (Lafferty, McCallum & Pereira 2001) takes the place of the softmax: labels depend on each other too.

    Parameters
    ----------
    {parameters}
    class_weight : dict, "balanced" or None, default=None
        Weight of each label in the loss; "balanced": inversely proportional to its frequency. Not with a CRF.
    crf : bool, default=False
        Train on the likelihood of whole label sequences; `predict` then finds the most probable one (Viterbi), and
        `predict_proba` gives marginal probabilities.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    {input_attributes}
    {attributes}

    See Also
    --------
    LSTMClassifier : One label for a sequence.

    Examples
    --------
    Is a number larger than the one before it?

    >>> import numpy as np
    >>> from lstmfast import LSTMTagger
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=rng.integers(2, 9)) for _ in range(200)]
    >>> y = [["first", *np.where(np.diff(x) > 0, "up", "down")] for x in X]
    >>> tagger = LSTMTagger(16, max_iter=60, learning_rate_init=0.01, random_state=0).fit(X, y)
    >>> tagger.predict([np.array([0.0, 1.0, 2.0, -1.0])])
    [array(['first', 'up', 'up', 'down'], dtype='<U5')]
    """

    _parameter_constraints = LSTMClassifier._parameter_constraints | {"crf": ["boolean"]}

    def __init__(self, *arguments, crf=False, class_weight=None, **parameters):
        super().__init__(*arguments, class_weight=class_weight, **parameters)
        self.crf = crf

    def _network_config(self, sequences):
        return super()._network_config(sequences) | {"pooling": NO_POOLING, "crf": bool(self.crf)}

    def _is_multilabel(self, y):
        return False

    def _pair_targets(self, sequences, y, reset):
        arrays = self._label_arrays(y, sequences.lengths)
        flat = [label for array in arrays for label in array.tolist()]
        return StepValues(self._check_targets(flat, reset), sequences.offsets)

    def _label_arrays(self, y, lengths):
        """Arrays of labels, of a y that has as many sequences as X and as long ones."""
        if isinstance(y, str) or not hasattr(y, "__len__"):
            raise TypeError(f"y must be a list of label sequences, one a sequence of X, got {type(y).__name__}")
        y = list(y)
        if len(y) != len(lengths):
            raise ValueError(f"y must have a label sequence for each of the {len(lengths)} sequences, got {len(y)}")
        arrays = [self._label_array(entry, i) for i, entry in enumerate(y)]
        for i, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
            if len(array) != length:
                raise ValueError(f"y[{i}] has {len(array)} labels, but X[{i}] has {length} steps")
        return arrays

    def _label_array(self, entry, i):
        if isinstance(entry, str) or not hasattr(entry, "__len__"):
            raise TypeError(f"y[{i}] must be a sequence of labels, got {type(entry).__name__}")
        array = np.asarray(entry, dtype=object if isinstance(entry, list | tuple) else None)
        if array.ndim != 1:
            raise ValueError(f"y[{i}] must be one-dimensional, one label a step, got shape {array.shape}")
        return array

    def _check_weights(self, sample_weight, targets):
        by_step = sample_weight is not None and any(np.ndim(weight) > 0 for weight in sample_weight)
        if self.crf and (self.class_weight is not None or by_step):
            raise ValueError(
                "a CRF weighs whole sequences: crf=True goes with neither class_weight nor weights of steps"
            )
        weights = _step_weights(sample_weight, np.diff(targets.offsets))
        return StepValues(super()._check_weights(weights, targets.values), targets.offsets)

    def _validation_outputs(self, network, sequences):
        return network.labels(sequences, n_threads=effective_n_threads(self.n_jobs))

    def _validation_score(self, outputs, targets):
        return float((outputs == targets.values).mean())

    def _hold_out(self, targets, n, random_state):
        return super()._hold_out(None, n, random_state)

    def _splitter(self, targets, size, random_state):
        return ShuffleSplit(1, test_size=size, random_state=random_state)

    def _by_sequence(self, X, method, **options):
        """What a method of the network gives for each step, as a list with an array for each sequence."""
        sequences = self._check_fitted_input(X)
        return sequences.split(method(self._network, sequences, n_threads=effective_n_threads(self.n_jobs), **options))

    @of_one_fit
    def predict(self, X):
        """Label of each step.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        y : list of ndarrays of shape (T_i,)
        """
        return [self.classes_[numbers] for numbers in self._by_sequence(X, Network.labels)]

    @of_one_fit
    def predict_proba(self, X):
        """Probability of each label at each step.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        probabilities : list of ndarrays of shape (T_i, n_classes)
            Columns in the order of `classes_`.
        """
        return self._by_sequence(X, Network.label_probabilities)

    @of_one_fit
    def predict_log_proba(self, X):
        """Logarithm of the probabilities, likewise."""
        if not self.crf:  # exact also where they come near their smallest value
            return [self._decision.predict_log_proba(outputs) for outputs in self._by_sequence(X, Network.outputs)]
        with np.errstate(divide="ignore"):
            return [np.log(probabilities) for probabilities in self.predict_proba(X)]

    @of_one_fit
    def transform(self, X):
        """What the output layer sees of each step: a list of arrays (T_i, d)."""
        return self._by_sequence(X, Network.outputs, hidden=True)

    @of_one_fit
    def score(self, X, y, sample_weight=None):
        """Share of steps whose label is right.

        Parameters
        ----------
        X : sequences
        y : list of label sequences
        sample_weight : array-like of shape (n,), or list of arrays of shape (T_i,), default=None
            Weights of sequences or of steps.

        Returns
        -------
        score : float
            Labels that no training sequence had are never right.
        """
        predicted = self.predict(X)
        lengths = [len(labels) for labels in predicted]
        truth = self._label_arrays(y, lengths)
        labels = check_labels([label for array in truth for label in array.tolist()])
        if (labels.dtype.kind in "UO") != (self.classes_.dtype.kind in "UO"):  # "1" is not 1
            raise TypeError(f"y must hold labels of the kind that was learned, {self.classes_}, got {labels.item(0)!r}")
        right = np.concatenate([p == t for p, t in zip(predicted, truth, strict=True)])
        weights = check_weights(_step_weights(sample_weight, lengths), "sample_weight", right)
        return float(np.average(right, weights=weights))

    def _coefficients(self, sequences, target):
        step, label = target if isinstance(target, tuple) and len(target) == 2 else (slice(None), target)
        if label is None:
            numbers = self._network.labels(sequences, n_threads=effective_n_threads(self.n_jobs))
        else:
            numbers = np.full(len(sequences.steps), self._label_number(label))
        for i, numbers_of_steps in enumerate(sequences.split(numbers)):
            length = len(numbers_of_steps)
            if not isinstance(step, slice) and not (isinstance(step, Integral) and -length <= step < length):
                raise ValueError(
                    f"target must be a label, or a step and a label, got step {step!r} of {length} in X[{i}]"
                )
            coefficients = np.zeros((length, len(self.classes_)))
            coefficients[np.arange(length)[step], numbers_of_steps[step]] = 1
            yield coefficients

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = None  # a stratified split has no meaning here
        return tags


def _step_weights(sample_weight, lengths):
    """A weight for each step, of weights of sequences or of steps; not checked further."""
    if sample_weight is None:
        return np.ones(sum(lengths))
    if len(sample_weight) != len(lengths):
        raise ValueError(f"sample_weight must have {len(lengths)} entries, one a sequence, got {len(sample_weight)}")
    if all(np.ndim(weight) == 0 for weight in sample_weight):
        return np.repeat(np.asarray(sample_weight), lengths)
    for i, (weight, length) in enumerate(zip(sample_weight, lengths, strict=True)):
        if np.shape(weight) != (length,):
            raise ValueError(f"sample_weight[{i}] must have shape ({length},), a weight a step, got {np.shape(weight)}")
    return np.concatenate([np.asarray(weight) for weight in sample_weight])
