"""LSTMRecommender."""

import numpy as np
from sklearn.utils._param_validation import StrOptions, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from .. import language
from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..examples import Corpus
from ..losses import SampledSoftmax
from ..pooling import NO_POOLING
from ..saved_model import check_fields
from ..vocabulary import END, UNKNOWN, Vocabulary, framed
from .base import COUNT
from .checkpoint import Checkpoint
from .generative import TokenEstimator
from .sharing import shares_parameters, shares_texts

# Scores of this many histories and items are held at once.
BLOCK_SCORES = 1 << 22


@shares_parameters(without=("bidirectional",))
class LSTMRecommender(TokenEstimator):
    """Recommend the next item of a history: of purchases, films, songs, clicks.

    An embedding of items, recurrent layers and a softmax over all items after each step (GRU4Rec, Hidasi et al. 2016,
    with the cross-entropy of Hidasi & Karatzoglou 2018), trained to predict each item of each history from those before
    it. Every history begins with the same start, from which its first item is predicted: so there are recommendations
    for an empty one too.

    Parameters
    ----------
    {parameters}
    embedding_dim : int, default=32
        Size of the vector that stands for an item.
    n_samples : int or None, default=None
        Not None: train on a sampled softmax, over the items of a minibatch and this many others, drawn anew each time,
        the more frequent ones more often. A step then does not pay for the number of items, which is worth it from some
        ten thousand on; the loss is estimated. `alpha` does not reach the weights of the output layer then.
    handle_unknown : {"ignore", "error"}, default="ignore"
        What to do with items that `fit` has not seen. "ignore": a history counts as if they were not in it, and as the
        last item of one that is scored they are a miss. "error": raise a ValueError.

    Attributes
    ----------
    items_ : ndarray of shape (n_items,)
        The items, sorted.
    {attributes}

    Notes
    -----
    `validation_scores_` are mean log-likelihoods of the items of held-out histories. `batch_size` counts histories.

    References
    ----------
    B. Hidasi, A. Karatzoglou, L. Baltrunas and D. Tikk, "Session-based recommendations with recurrent neural networks",
    ICLR 2016. B. Hidasi and A. Karatzoglou, "Recurrent neural networks with top-k gains for session-based
    recommendations", CIKM 2018.

    Examples
    --------
    >>> from lstmfast import LSTMRecommender
    >>> histories = [["tent", "stove", "gas"], ["pen", "ink"], ["tent", "stove", "gas", "pen", "ink"]] * 8
    >>> model = LSTMRecommender(16, max_iter=40, learning_rate_init=0.02, random_state=0).fit(histories)
    >>> model.recommend([["tent"], ["pen"]], k=1)
    array([['stove'],
           ['ink']], dtype=object)
    >>> model.score(histories, k=1)
    1.0
    """

    _first_choice = END + 1  # the first item

    _parameter_constraints = TokenEstimator._parameter_constraints | {
        "n_samples": [COUNT, None],
        "handle_unknown": [StrOptions({"ignore", "error"})],
    }

    def __init__(self, *arguments, n_samples=None, handle_unknown="ignore", **parameters):
        super().__init__(*arguments, **parameters)
        self.n_samples = n_samples
        self.handle_unknown = handle_unknown

    @shares_texts
    def fit(self, histories, y=None, *, histories_val=None, checkpoint=None, resume=False):
        """Learn which item follows.

        Parameters
        ----------
        histories : list of sequences of items
            Items are str or integers, first to last. A history may be empty, but not all of them.
        y : None
            Ignored; for scikit-learn's sake.
        histories_val : as histories, default=None
            {validation}
        {checkpoint}

        {fitted}
        """
        validation = None if histories_val is None else (histories_val, "histories_val")
        kept = Checkpoint(checkpoint, resume)
        return self._change(lambda draft: draft._fit((histories, "histories"), validation, kept))

    def _learn(self, data):
        histories, name = data
        self._vocabulary = Vocabulary.learn(histories, "token", name=name)

    def _encode(self, data):
        """Histories with something to learn: empty ones are not worth a place among those held out."""
        sequences = framed(self._known(*data), end=False)
        learnable = sequences.lengths > 1
        if not learnable.any():
            raise ValueError(f"{data[1]} hold no item that fit has seen: at least one history must")
        return sequences.take(learnable)

    def _explained_sequences(self, X):
        return framed(self._known(X), end=False)

    def _shaped_like(self, X, sequences, results):
        shaped = []
        for ids, values in zip(self._vocabulary.encode(X), super()._shaped_like(X, sequences, results), strict=True):
            shaped.append(np.zeros(len(ids)))  # unknown items count as if they were not there
            shaped[-1][ids != UNKNOWN] = values
        return shaped

    def _known(self, histories, name="histories", keep_last=False):
        """Ids of each history without unknown items; keep_last: but the last one may be unknown."""
        encoded = self._vocabulary.encode(histories, name)
        for i, ids in enumerate(encoded):
            known = ids != UNKNOWN
            if known.all():
                continue
            if self.handle_unknown == "error":
                at = int(np.argmin(known))
                raise ValueError(
                    f"{name}[{i}][{at}] is {list(histories[i])[at]!r}, an item that fit has not seen; leave it out, "
                    'or set handle_unknown="ignore"'
                )
            known[-1] |= keep_last
            encoded[i] = ids[known]
        return encoded

    def _network_config(self):
        n_tokens = self._vocabulary.n_tokens
        return super()._network_config() | {
            "n_features": int(self.embedding_dim), "n_tokens": n_tokens, "n_outputs": n_tokens, "pooling": NO_POOLING,
            "n_samples": None if self.n_samples is None else int(self.n_samples),
        }  # fmt: skip

    def _make_loss(self):
        return super()._make_loss() if self.n_samples is None else SampledSoftmax(self._rng)

    def _examples(self, sequences, network):
        return Corpus(sequences, network, self.batch_size, None, cut=False)

    def _log_likelihoods(self, network, sequences):
        return language.log_likelihoods(network, sequences, effective_n_threads(self.n_jobs))

    @property
    def items_(self):
        check_is_fitted(self, "_network")
        return np.sort(self._vocabulary.tokens)

    # ---- files ----

    def _fitted(self):
        return {"items": self._vocabulary.tokens}

    def _restore_fitted(self, fitted, network):
        check_fields(fitted, ["items"])
        self._vocabulary = Vocabulary("token", fitted["items"])
        self._vocabulary.check()
        config, n_tokens = network.config, self._vocabulary.n_tokens
        if (config["n_tokens"], config["n_outputs"], config["pooling"]) != (n_tokens, n_tokens, NO_POOLING):
            raise ValueError("the network does not have the items of the estimator")

    # ---- using a fitted model ----

    @of_one_fit
    def recommend(self, histories, k=10, *, exclude_seen=False):
        """The most probable next items.

        Parameters
        ----------
        histories : as in `fit`
            They may be empty.
        k : int, default=10
            How many, at most the number of items.
        exclude_seen : bool, default=False
            Leave out the items of the history itself. By default nothing is left out.

        Returns
        -------
        items : ndarray of shape (n, k)
            The best first; of equally probable ones that which was more frequent in `fit`.

        Raises
        ------
        ValueError, TypeError
            If there are not k items to recommend, or an argument is not as described.
        """
        check_is_fitted(self)
        validate_parameter_constraints({"k": [COUNT], "exclude_seen": ["boolean"]},
                                       {"k": k, "exclude_seen": exclude_seen}, "recommend")  # fmt: skip
        known, tokens = self._known(histories), self._vocabulary.tokens
        for i, ids in enumerate(known):
            n_left = len(tokens) - (len(np.unique(ids)) if exclude_seen else 0)
            if k > n_left:
                left = "the history leaves" if exclude_seen else "there are"
                raise ValueError(f"k={k} items are wanted for histories[{i}], but {left} {n_left}")
        result = np.empty((len(known), k), tokens.dtype)
        for rows, scores in self._scores(known, exclude_seen):
            worst = np.partition(scores, -k, axis=1)[:, -k]
            for row, values, least in zip(rows, scores, worst, strict=True):
                best = np.flatnonzero(values >= least)
                result[row] = tokens[best[np.argsort(-values[best], kind="stable")[:k]]]
        return result

    def _scores(self, histories, exclude_seen):
        """Pairs (rows, scores of all items (n, n_items)) that together hold all histories of ids."""
        network, n_threads = self._network, effective_n_threads(self.n_jobs)
        hidden = network.outputs(framed(histories, end=False), hidden=True, last=True, n_threads=n_threads)
        size = max(1, BLOCK_SCORES // self._vocabulary.n_tokens)
        for start in range(0, len(histories), size):
            rows = range(start, min(start + size, len(histories)))
            scores = network.dense[-1].forward(hidden[start : rows.stop], n_threads)[:, END + 1 :]
            if exclude_seen:
                for values, row in zip(scores, rows, strict=True):
                    values[histories[row] - END - 1] = -np.inf
            yield rows, scores

    def _ranks(self, histories, exclude_seen):
        """Rank, from 1, of each history's last item given the rest; infinite for an unknown item."""
        check_is_fitted(self)
        encoded = self._known(histories, keep_last=True)
        for i, ids in enumerate(encoded):
            if not len(ids):
                raise ValueError(f"histories[{i}] is empty: it has no last item to predict")
        targets = np.array([ids[-1] for ids in encoded]) - END - 1
        ranks = np.empty(len(encoded))
        for rows, scores in self._scores([ids[:-1] for ids in encoded], False):
            for row, values in zip(rows, scores, strict=True):
                target, own = targets[row], values[targets[row]]
                better = values > own
                better[: max(target, 0)] |= values[: max(target, 0)] == own
                if exclude_seen:
                    better[encoded[row][:-1] - END - 1] = False
                ranks[row] = 1 + better.sum()
        ranks[targets < 0] = np.inf
        return ranks

    @of_one_fit
    def score(self, histories, k=10, *, exclude_seen=False):
        """Hit rate: the share of histories whose last item is among the k recommended for the rest.

        Parameters
        ----------
        histories : as in `fit`
            None of them empty.
        k : int, default=10
        exclude_seen : bool, default=False
            Let items of the rest, other than the last item itself, not compete.

        Returns
        -------
        score : float
        """
        validate_parameter_constraints({"k": [COUNT]}, {"k": k}, "score")
        return float((self._ranks(histories, exclude_seen) <= k).mean())

    @of_one_fit
    def mean_reciprocal_rank(self, histories, k=None, *, exclude_seen=False):
        """Mean of 1 / rank of each history's last item among all items, given the rest.

        Parameters
        ----------
        histories, exclude_seen : as in `score`
        k : int, default=None
            Ranks beyond k count 0, as in MRR@k. None: all count.

        Returns
        -------
        mrr : float
        """
        validate_parameter_constraints({"k": [COUNT, None]}, {"k": k}, "mean_reciprocal_rank")
        ranks = self._ranks(histories, exclude_seen)
        return float(np.where(ranks <= (np.inf if k is None else k), 1 / ranks, 0).mean())
