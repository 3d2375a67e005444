"""What the estimators share that learn to go on with sequences of tokens: language model, recommender, translator."""

import itertools
from typing import ClassVar

import numpy as np
from sklearn.utils import check_random_state

from ..config import effective_n_threads
from ..losses import SoftmaxCrossEntropy
from ..training import History
from ..vocabulary import UNKNOWN
from .base import COUNT, RecurrentEstimator, generator
from .explaining import one_hot
from .sharing import shares_parameters


@shares_parameters(without=("pooling", "conv_layers", "embedding_weights"))
class TokenEstimator(RecurrentEstimator):
    """Base of the estimators whose targets are tokens of their own data. A subclass says

    - ``_learn(data)``: sets its vocabulary,
    - ``_encode(data)``: data -> sequences with a length and ``take``,
    - ``_examples(sequences, network)``: what training goes through,
    - ``_log_likelihoods(network, sequences)``: of each token, a list of arrays,
    - ``_explained_sequences(X)``, as all do; language model and recommender also ``_first_choice``, the lowest id that
      may follow.
    """

    # They read `END`, the beginning of every sequence, before what X holds; the token after the last is explained.
    _own_steps = slice(1, None)
    _explained_config: ClassVar = {"pooling": "last"}

    _has_vocabulary = True
    _parameter_constraints = RecurrentEstimator._parameter_constraints | {"embedding_dim": [COUNT]}

    def __init__(self, *arguments, embedding_dim=32, **parameters):
        super().__init__(*arguments, **parameters)
        self.embedding_dim = embedding_dim

    def _fit(self, data, validation, checkpoint):
        """Fit on data, in whatever form ``_learn`` and ``_encode`` take it; validation likewise, or None."""
        going_on = self.warm_start and hasattr(self, "_network")
        self._check_arguments()
        random_state = check_random_state(checkpoint.seed(self.random_state))
        rng = generator(random_state)
        pretrained = None if going_on else self._pretrained_estimator()
        if pretrained is not None:  # with its vocabulary: what a token's number means comes with the weights
            self._restore_fitted(pretrained._fitted(), pretrained._network)
        if going_on or pretrained is not None:
            network = self._copy_network(self._network_config(), (pretrained or self)._network)
        else:
            self._learn(data)
            network = self._new_network(self._network_config(), rng)
        sequences = self._encode(data)
        validation = None if validation is None else self._encode(validation)
        if self.early_stopping and validation is None:
            sequences, validation = self._split(sequences, random_state)

        def validation_score():
            return float(np.concatenate(self._log_likelihoods(network, validation)).mean(dtype=np.float64))

        checkpoint.data = sequences, validation
        self._train(
            network, self._examples(sequences, network), rng, History(), self.max_iter,
            validation_score if validation is not None else None, going_on, checkpoint,
        )  # fmt: skip

    def _split(self, sequences, random_state):
        """(sequences to train on, sequences held out)"""
        held_out = self._hold_out(None, len(sequences), random_state)
        return sequences.take(~held_out), sequences.take(held_out)

    def _make_loss(self):
        return SoftmaxCrossEntropy()

    def _coefficients(self, sequences, target):
        ids = self._likely_ids(sequences) if target is None else itertools.repeat(self._id(target), len(sequences))
        return one_hot(ids, self._vocabulary.n_tokens)

    def _likely_ids(self, sequences):
        """Yields the most probable next id of each sequence."""
        for i in range(len(sequences)):  # one by one: a vocabulary can be large
            outputs = self._network.outputs(sequences.take([i]), last=True, n_threads=effective_n_threads(self.n_jobs))
            yield self._first_choice + outputs[0, self._first_choice :].argmax()

    def _id(self, token):
        """The id of a token that is asked for."""
        id = self._vocabulary.encode([[token]], "[target]")[0][0]
        if id == UNKNOWN:
            raise ValueError(f"target must be a token that fit has seen, got {token!r}")
        return id

    def _shaped_like(self, X, sequences, results):
        return [values[self._own_steps, 0] for values in results]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags
