"""What LSTMTransformer is where there is nothing to learn but X itself."""

import numpy as np

from ..autoencoder import Autoencoder
from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..layers.parameters import check_size
from ..losses import SoftmaxCrossEntropy, SquaredError
from ..sequences import StepValues
from .supervised import SequenceEstimator, check_weights


class Code:
    """What a network's outputs mean: nothing by themselves."""

    fields = ("_code_size",)

    def __init__(self, n_outputs):
        self.n_outputs = n_outputs

    def check(self):
        """ValueError or TypeError if this is no size."""
        check_size(self.n_outputs, "code_size")


class AutoencodingEstimator(SequenceEstimator):
    """Learns sequences as their own targets: y is taken for granted.

    The last of `dense_layer_sizes` is the code, and linear. Without any, it is as large as what the pooling gives.
    """

    _network_class = Autoencoder
    _decision_class = Code

    def _pair_targets(self, sequences, y, reset):
        if reset:
            self._code_size = self._sizes()["code_size"]
        steps = sequences.steps if self.embedding_dim is None else sequences.steps[:, 0]
        return StepValues(steps, sequences.offsets)

    def _check_weights(self, sample_weight, targets):
        lengths = np.diff(targets.offsets)
        weights = np.ones(len(lengths)) if sample_weight is None else sample_weight
        return StepValues(np.repeat(check_weights(weights, "sample_weight", lengths), lengths), targets.offsets)

    def _sizes(self):
        """Arguments of the network."""
        hidden, dense = self._layer_sizes()
        *dense, code_size = dense or [hidden[-1] * (2 if self.bidirectional else 1)]
        return {"dense_layer_sizes": dense, "code_size": code_size}

    def _network_config(self, sequences):
        config = super()._network_config(sequences) | self._sizes()
        del config["n_outputs"]
        return config

    def _start_outputs(self, network, targets, weights):
        bias = self._make_loss().initial_bias(targets.values, weights.values)
        if bias is not None:
            network.decoder.layers[-1].bias = bias

    def _make_loss(self):
        return SquaredError() if self.embedding_dim is None else SoftmaxCrossEntropy()

    def _hold_out(self, targets, n, random_state):
        return super()._hold_out(None, n, random_state)

    def _validation_outputs(self, network, sequences):
        return network.step_losses(sequences, n_threads=effective_n_threads(self.n_jobs))

    def _validation_score(self, outputs, targets):
        return -float(outputs.mean(dtype=np.float64))

    @property
    def _n_features_out(self):
        return self._network.config["code_size"]

    @of_one_fit
    def transform(self, X):
        """Code of each sequence (n, d)."""
        return self._outputs(X)

    @of_one_fit
    def reconstruct(self, X):
        """X, as the decoder makes it of the codes."""
        sequences = self._check_fitted_input(X)
        return sequences.like_input(self._network.reconstruct(sequences, effective_n_threads(self.n_jobs)))

    @of_one_fit
    def score(self, X, y=None, sample_weight=None):
        """Minus the mean loss of a step."""
        sequences = self._check_fitted_input(X)
        weights = self._check_weights(sample_weight, StepValues(sequences.steps, sequences.offsets))
        return -float(np.average(self._validation_outputs(self._network, sequences), weights=weights.values))
