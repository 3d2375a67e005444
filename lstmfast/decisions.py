"""From a network's outputs to what `predict` returns: what estimators and the light runtime share."""

import numpy as np

from . import _core
from .layers.parameters import check_size


class Labels:
    """Classes of a classifier.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels; with multilabel the column indices.
    multilabel : bool
        Whether each output stands for a label of its own.
    """

    fields = ("classes_", "_multilabel")  # as estimators and files name the parameters

    def __init__(self, classes, multilabel):
        self.classes, self.multilabel = classes, multilabel

    def check(self):
        """ValueError if these cannot be somebody's classes."""
        classes = self.classes
        if type(self.multilabel) is not bool or not isinstance(classes, np.ndarray) or classes.ndim != 1:
            raise ValueError("classes_ must be a one-dimensional array, with a flag for multilabel targets")
        if not np.array_equal(classes, np.arange(len(classes)) if self.multilabel else np.unique(classes)):
            raise ValueError(f"classes_ must be sorted and different, got {classes}")

    @property
    def n_outputs(self):
        return len(self.classes)

    @property
    def activation(self):
        return "sigmoid" if self.multilabel else "softmax"

    def predict(self, outputs):
        """Labels (n,), or (n, n_labels) of 0 and 1."""
        if self.multilabel:
            return (outputs > 0).astype(int)
        return self.classes[outputs.argmax(axis=1)]

    def predict_proba(self, outputs):
        """Probabilities (n, n_classes)."""
        probabilities = np.empty_like(outputs)
        float64 = outputs.dtype == np.float64
        _core.output_probabilities(self.multilabel, outputs, probabilities, self.n_outputs, float64)
        return probabilities

    @np.errstate(all="ignore")  # whatever the caller set: improbable classes underflow
    def predict_log_proba(self, outputs):
        """Logarithms of the probabilities, computed from the outputs."""
        if self.multilabel:
            return -np.logaddexp(0, -outputs)
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


class Numbers:
    """Targets of a regressor.

    Parameters
    ----------
    n_targets : int
        Columns of y.
    one_output : bool
        Whether y was one-dimensional.
    """

    fields = ("_n_targets", "_one_output")
    activation = None

    def __init__(self, n_targets, one_output):
        self.n_targets, self.one_output = n_targets, one_output

    def check(self):
        """ValueError or TypeError if these do not describe targets."""
        check_size(self.n_targets, "n_targets")
        if type(self.one_output) is not bool or self.one_output != (self.n_targets == 1):
            raise ValueError("one output makes y one-dimensional, several make it two-dimensional")

    @property
    def n_outputs(self):
        return self.n_targets

    def predict(self, outputs):
        """float64 of shape (n,) or (n, n_targets)."""
        values = outputs.astype(np.float64)
        return values[:, 0] if self.one_output else values
