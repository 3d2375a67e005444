"""LSTMClassifier."""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, column_or_1d

from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..decisions import Labels
from ..losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from .explaining import one_hot
from .sharing import shares_parameters
from .supervised import SequenceEstimator, check_weights


@shares_parameters
class LSTMClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, SequenceEstimator):
    """Classify sequences with an LSTM network.

    Recurrent layers (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000), pooling
    over steps, dense layers, softmax; trained on the cross-entropy by backpropagation through time. Sequences may
    differ in length: they are neither padded nor cut, and what is predicted for one does not depend on the others.

    Parameters
    ----------
    {parameters}
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced": inversely proportional to its frequency. Not for multilabel y.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; for a multilabel y the indices of its columns.
    {input_attributes}
    {attributes}

    See Also
    --------
    LSTMRegressor : The same for numbers.

    Examples
    --------
    Do the values of a sequence rise or fall? Sequences of different lengths.

    >>> import numpy as np
    >>> from lstmfast import LSTMClassifier
    >>> X = [np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0]), np.array([0.0, 1.0, 3.0, 5.0]), np.array([4.0, 3.0, 2.0])]
    >>> classifier = LSTMClassifier(8, max_iter=100, learning_rate_init=0.05, random_state=0)
    >>> classifier.fit(X, ["rise", "fall", "rise", "fall"]).predict([np.array([5.0, 4.0, 1.0])])
    array(['fall'], dtype='<U4')
    """

    _parameter_constraints = SequenceEstimator._parameter_constraints | {
        "class_weight": [dict, "array-like", str, None]
    }

    _decision_class = Labels

    def __init__(self, *arguments, class_weight=None, **parameters):
        super().__init__(*arguments, **parameters)
        self.class_weight = class_weight

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch on these data, going on from the weights and moments there are.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        classes : array-like of shape (n_classes,), default=None
            All labels that y will ever hold. Needed at the first call, for multilabel y too: its column indices.

        Returns
        -------
        self : object
        """
        return self._change(lambda draft: draft._partial_fit_classes(X, y, classes, sample_weight))

    def _partial_fit_classes(self, X, y, classes, sample_weight):
        if not hasattr(self, "_network"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(column_or_1d(check_labels(classes)))
            self._multilabel = self._is_multilabel(y)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes} are not those of the first call to partial_fit: {self.classes_}")
        self._partial_fit(X, y, sample_weight, targets_known=True)

    def _is_multilabel(self, y):
        return y is not None and type_of_target(y).startswith("multilabel")

    def _check_targets(self, y, reset):
        y = check_labels(y)
        kind = type_of_target(y, input_name="y")
        multilabel = kind == "multilabel-indicator"
        if multilabel:
            y = y.astype(self.dtype)
            classes = np.arange(y.shape[1])
        else:
            check_classification_targets(y)
            if kind == "multiclass-multioutput":
                raise ValueError(
                    "y with several multiclass columns is not supported: fit one classifier a column "
                    "(sklearn.multioutput.MultiOutputClassifier), or pass 0/1 indicators for multilabel targets"
                )
            y = column_or_1d(y, warn=True)
            classes = np.unique(y)
        if reset:
            self.classes_, self._multilabel = classes, multilabel
        elif multilabel != self._multilabel or not np.isin(classes, self.classes_).all():
            unknown = "indicators" if multilabel != self._multilabel else classes[~np.isin(classes, self.classes_)]
            raise ValueError(f"y holds {unknown}, which are not among the classes of the first fit: {self.classes_}")
        if multilabel and y.shape[1] != len(self.classes_):
            raise ValueError(f"y must have {len(self.classes_)} columns, one a label, got {y.shape[1]}")
        return y if multilabel else np.searchsorted(self.classes_, y)

    def _check_weights(self, sample_weight, targets):
        weights = super()._check_weights(sample_weight, targets)
        if self.class_weight is None:
            return weights
        if self._multilabel:
            raise ValueError("class_weight is for one label a sequence; weigh multilabel targets by sample_weight")
        of_class = compute_sample_weight(self.class_weight, self.classes_[targets])
        return check_weights(
            weights * check_weights(of_class, "class_weight", targets), "the product of weights", targets
        )

    def _make_loss(self):
        return SigmoidCrossEntropy() if self._multilabel else SoftmaxCrossEntropy()

    def _validation_score(self, outputs, targets):
        if self._multilabel:
            return float(((outputs > 0) == (targets > 0)).all(axis=1).mean())
        return float((outputs.argmax(axis=1) == targets).mean())

    def _splitter(self, targets, size, random_state):
        # Each class on both sides, where the numbers allow it.
        if not self._multilabel:
            counts = np.bincount(targets)
            counts = counts[counts > 0]
            if counts.min() >= 2 and len(counts) <= min(size, len(targets) - size):
                return StratifiedShuffleSplit(1, test_size=size, random_state=random_state)
        return super()._splitter(targets, size, random_state)

    @of_one_fit
    def predict(self, X):
        """Label of each sequence.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        y : ndarray of shape (n,), or (n, n_labels) of 0 and 1 for multilabel targets
        """
        outputs = self._outputs(X)
        return self._decision.predict(outputs)

    @of_one_fit
    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        probabilities : ndarray of shape (n, n_classes)
            Columns in the order of `classes_`. Rows sum to 1; for multilabel targets each entry stands alone.
        """
        outputs = self._outputs(X)
        return self._decision.predict_proba(outputs)

    @of_one_fit
    def predict_log_proba(self, X):
        """Logarithm of the probabilities, exact also where `predict_proba` comes near its smallest value.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        log_probabilities : ndarray of shape (n, n_classes)
        """
        outputs = self._outputs(X)
        return self._decision.predict_log_proba(outputs)

    def _coefficients(self, sequences, target):
        if target is None:
            outputs = self._network.outputs(sequences, n_threads=effective_n_threads(self.n_jobs))
            numbers = outputs.argmax(axis=1)
        else:
            numbers = np.full(len(sequences), self._label_number(target))
        return one_hot(numbers, len(self.classes_))

    def _label_number(self, target):
        """Where a label stands in `classes_`."""
        found = np.flatnonzero([label == target for label in self.classes_.tolist()])
        if np.ndim(target) or len(found) != 1:
            raise ValueError(f"target must be one of the labels, {self.classes_.tolist()}, got {target!r}")
        return found[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def check_labels(y):
    """y as an array whose labels are finite and can be compared."""
    if issparse(y):
        return y.toarray()
    if isinstance(y, np.ma.MaskedArray):
        raise ValueError("y must not be a masked array; leave out the sequences without a label")
    labels = np.ravel(np.asarray(y, dtype=object if isinstance(y, list | tuple) else None))
    kinds = sorted({type(label).__name__ for label in labels}) if labels.dtype == object else []
    if "NoneType" in kinds or len({isinstance(label, str) for label in labels if kinds}) > 1:
        raise TypeError(f"labels must be all strings or all numbers, got {', '.join(kinds)}")
    return check_array(y, ensure_2d=False, allow_nd=True, dtype=None, ensure_min_samples=0, ensure_min_features=0,
                       input_name="y")  # fmt: skip
