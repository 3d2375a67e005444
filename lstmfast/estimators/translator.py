"""LSTMTranslator."""

import numpy as np
from sklearn.utils._param_validation import StrOptions, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..encoder_decoder import EncoderDecoder
from ..examples import PairExamples
from ..explanations import on_vectors, traces, translation_score
from ..saved_model import check_fields
from ..sequence_pairs import SequencePairs
from ..thread_choice import ThreadChoice
from ..tokens import check_choice
from ..vocabulary import END, LEVELS, Vocabulary, framed
from .base import COUNT
from .checkpoint import Checkpoint
from .generative import TokenEstimator
from .sharing import shares_parameters, shares_texts

_SIDES = "sources", "targets"
_SEARCH_CONSTRAINTS = {"beam_width": [COUNT], "max_length": [COUNT, None]}


class _Attention:
    """What `translator.attention` is: the argument, a bool, that can be called like the method of that name."""

    def __init__(self, translator):
        self._translator = translator

    def __bool__(self):
        return bool(vars(self._translator)["attention"])

    def __eq__(self, other):
        return vars(self._translator)["attention"] == other

    __hash__ = None

    def __call__(self, sources, targets=None):
        return self._translator.attention_weights(sources, targets)

    def __repr__(self):
        return repr(vars(self._translator)["attention"])


@shares_parameters
class LSTMTranslator(TokenEstimator):
    """Learn to turn one text into another: words into their pronunciation, dates into a standard form, sentences into
    another language.

    An encoder of recurrent layers reads the source; a decoder of as many, which starts from the encoder's final state
    (Sutskever et al. 2014), writes the target token by token and looks at the encoder's outputs through additive
    attention (Bahdanau et al. 2015). It does so with its output, after the recurrent layers (Luong et al. 2015, here
    without input feeding): so it reads a whole target at once while it is trained.

    Parameters
    ----------
    {parameters}
    level : {"char", "word", "token"} or pair of these, default="word"
        What a token is. "char": a character. "word": a run of letters, digits and underscores, or a single other
        character that is not white space. "token": texts are lists of str, or lists of integers, taken as they are.
        A pair: that of sources and that of targets.
    embedding_dim : int, default=32
        Size of the vector that stands for a token, in the source and in the target.
    bidirectional : bool, default=False
        Let a second set of units read each source backwards. The decoder starts from the mean of the two final states.
    attention : bool, default=True
        Let the decoder look at all the encoder's outputs. Without, all it knows of a source is the encoder's final
        state.
    max_features : int or None, default=None
        Size of each vocabulary, the most frequent tokens. Others are unknown tokens.
    min_frequency : int, default=1
        How often a token must occur in the sources, or targets, to be in their vocabulary.
    lowercase : bool, default=False
        Turn sources and targets into lower case.

    Attributes
    ----------
    source_vocabulary_, target_vocabulary_ : dict of str or int to int
        The id of each token. 0 stands for unknown tokens, 1 for the end.
    {attributes}

    Notes
    -----
    `loss_` is the mean over all tokens of the targets, their ends included; `validation_scores_` are the same mean of
    log-likelihoods, without dropout or penalty. `batch_size` counts pairs.

    Each recurrent layer of the encoder stands in `layers_` before those of the decoder.

    References
    ----------
    I. Sutskever, O. Vinyals and Q. V. Le, "Sequence to sequence learning with neural networks", NIPS 2014.
    D. Bahdanau, K. Cho and Y. Bengio, "Neural machine translation by jointly learning to align and translate",
    ICLR 2015. M.-T. Luong, H. Pham and C. D. Manning, "Effective approaches to attention-based neural machine
    translation", EMNLP 2015.

    Examples
    --------
    Writing numbers backwards:

    >>> from lstmfast import LSTMTranslator
    >>> sources = [str(i) for i in range(200)]
    >>> targets = [source[::-1] for source in sources]
    >>> translator = LSTMTranslator(32, level="char", max_iter=60, learning_rate_init=0.01, random_state=0)
    >>> translator = translator.fit(sources[::2] + sources[1::4], targets[::2] + targets[1::4])
    >>> translator.predict(["123", "47"])
    ['321', '74']
    >>> translator.attention(["123"])[0].shape
    (3, 3)
    """

    _network_class = EncoderDecoder

    _parameter_constraints = TokenEstimator._parameter_constraints | {
        "level": [StrOptions(set(LEVELS)), tuple, list],
        "attention": ["boolean"],
        "max_features": [COUNT, None],
        "min_frequency": [COUNT],
        "lowercase": ["boolean"],
    }

    def __init__(
        self, *arguments, level="word", attention=True, max_features=None, min_frequency=1, lowercase=False,
        **parameters,
    ):  # fmt: skip
        super().__init__(*arguments, **parameters)
        self.level = level
        self.attention = attention
        self.max_features = max_features
        self.min_frequency = min_frequency
        self.lowercase = lowercase

    # scikit-learn reads and sets arguments as attributes, and the method that shows the attention has the same name.

    @property
    def attention(self):
        """The argument; called with sources, `attention_weights` of them."""
        return _Attention(self)

    @attention.setter
    def attention(self, value):
        vars(self)["attention"] = value

    def get_params(self, deep=True):
        """The arguments by name; see scikit-learn's `BaseEstimator`."""
        return super().get_params(deep) | {"attention": vars(self)["attention"]}

    # ---- fitting ----

    @shares_texts
    def fit(self, sources, targets, *, sources_val=None, targets_val=None, checkpoint=None, resume=False):
        """Learn two vocabularies, and to write targets.

        Parameters
        ----------
        sources, targets : lists of n str, or of n lists of tokens
            A target for each source. Some of them may be empty, but not all of either.
        sources_val, targets_val : as sources and targets, default=None
            {validation}
        {checkpoint}

        {fitted}
        """
        if (sources_val is None) != (targets_val is None):
            raise ValueError("sources_val and targets_val go together; only one of them was given")
        validation = None if sources_val is None else (sources_val, targets_val, "_val")
        kept = Checkpoint(checkpoint, resume)
        return self._change(lambda draft: draft._fit((sources, targets, ""), validation, kept))

    def _check_arguments(self):
        super()._check_arguments()
        self._levels()

    def _levels(self):
        """Level of the sources, and of the targets."""
        levels = (self.level,) * 2 if isinstance(self.level, str) else tuple(self.level)
        if len(levels) != 2:
            raise ValueError(f"level must be one level or two, those of sources and targets, got {self.level!r}")
        for level in levels:
            check_choice(level, "each of level", LEVELS)
        return levels

    def _learn(self, data):
        *sides, _ = data
        self._vocabularies = tuple(
            Vocabulary.learn(
                texts, level, max_features=self.max_features, min_frequency=self.min_frequency,
                lowercase=self.lowercase, name=name,
            )
            for texts, level, name in zip(sides, self._levels(), _SIDES, strict=True)
        )  # fmt: skip

    def _encode(self, data):
        sources, targets, label = data
        source_ids, target_ids = (
            vocabulary.encode(texts, name + label)
            for vocabulary, texts, name in zip(self._vocabularies, (sources, targets), _SIDES, strict=True)
        )
        if len(source_ids) != len(target_ids):
            raise ValueError(
                f"each source needs one target, got {len(source_ids)} sources{label} and {len(target_ids)} "
                f"targets{label}"
            )
        return SequencePairs(framed(source_ids), framed(target_ids))

    def _network_config(self):
        config = super()._network_config()
        n_source_tokens, n_target_tokens = (vocabulary.n_tokens for vocabulary in self._vocabularies)
        return config | {
            "n_source_tokens": n_source_tokens, "n_target_tokens": n_target_tokens,
            "embedding_dim": int(self.embedding_dim), "attention": bool(self.attention),
        }  # fmt: skip

    def _examples(self, pairs, network):
        return PairExamples(pairs, self.batch_size)

    def _log_likelihoods(self, network, pairs):
        return network.log_likelihoods(pairs, effective_n_threads(self.n_jobs))

    @property
    def source_vocabulary_(self):
        return self._dictionary(0)

    @property
    def target_vocabulary_(self):
        return self._dictionary(1)

    def _dictionary(self, side):
        check_is_fitted(self, "_network")
        return {token: id for id, token in enumerate(self._vocabularies[side].tokens.tolist(), END + 1)}

    # ---- explanations ----

    _own_steps = slice(1, -1)

    @staticmethod
    def _reading_stack(network):
        return network.encoder

    def _explained_sequences(self, X):
        return framed(self._vocabularies[0].encode(X, "sources"))

    def _explained_targets(self, sources, target):
        """Framed targets: those given, or what `predict` writes."""
        if target is None:
            return framed(self._network.translate(sources, n_threads=effective_n_threads(self.n_jobs)))
        ids = self._vocabularies[1].encode(target, "target")
        if len(ids) != len(sources):
            raise ValueError(f"target must have a target for each of {len(sources)} sources, got {len(ids)}")
        return framed(ids)

    def _explained_scores(self, sequences, target):
        network, threads = (
            on_vectors(self._network, self._reading_stack),
            ThreadChoice(effective_n_threads(self.n_jobs)),
        )
        targets = self._explained_targets(sequences, target)
        for length, ids in zip(sequences.lengths.tolist(), targets.split(targets.steps), strict=True):
            yield translation_score(network, length, ids, threads)

    def _traces(self, sequences, method):
        network, targets = self._network.copy(n_frozen_layers=0), self._explained_targets(sequences, None)
        for i in range(len(sequences)):
            pair = SequencePairs(sequences.take([i]), targets.take([i]))
            record = network.training_pass(pair, effective_n_threads(self.n_jobs))
            yield [
                *traces(network.encoder, record.encoder, method), *traces(network.decoder, record.decoder, method),
            ]  # fmt: skip

    # ---- files ----

    def _fitted(self):
        fields = [{name: getattr(vocabulary, name) for name in Vocabulary.fields} for vocabulary in self._vocabularies]
        return dict(zip(_SIDES, fields, strict=True))

    def _restore_fitted(self, fitted, network):
        check_fields(fitted, _SIDES)
        for side in _SIDES:
            check_fields(fitted[side], Vocabulary.fields)
        self._vocabularies = tuple(Vocabulary(**fitted[side]) for side in _SIDES)
        for vocabulary in self._vocabularies:
            vocabulary.check()
        n_tokens = tuple(vocabulary.n_tokens for vocabulary in self._vocabularies)
        if (network.config["n_source_tokens"], network.config["n_target_tokens"]) != n_tokens:
            raise ValueError("the network does not have the tokens of the vocabularies")

    # ---- using a fitted translator ----

    def _translate(self, sources, beam_width, max_length):
        """(framed sources, arrays of ids of their translations)"""
        check_is_fitted(self)
        given = {"beam_width": beam_width, "max_length": max_length}
        validate_parameter_constraints(_SEARCH_CONSTRAINTS, given, "predict")
        sources = framed(self._vocabularies[0].encode(sources, "sources"))
        n_threads = effective_n_threads(self.n_jobs)
        return sources, self._network.translate(sources, beam_width, max_length, n_threads)

    @of_one_fit
    def predict(self, sources, beam_width=1, max_length=None):
        """The most probable target of each source, or nearly so.

        Parameters
        ----------
        sources : list of n str, or of n lists of tokens
            Tokens that `fit` has not seen are taken for the unknown token. A source may be empty.
        beam_width : int, default=1
            1: each token is the most probable one after those before it. More: a beam search, which follows so many
            beginnings of a target at once and returns the most probable target it finds. It takes about so many times
            as long.
        max_length : int or None, default=None
            Most tokens of a target. None: twice those of its source, and 10.

        Returns
        -------
        targets : list of n str, or at level "token" of n lists of tokens
            At level "word" words have a space between them. A target may be empty. Unknown tokens are never written.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.

        Notes
        -----
        A beam search compares log-probabilities, ends included, without a correction for length: a wide beam may prefer
        short targets. It stops when no beginning can overtake the best target that has ended. If it is wide enough for
        all beginnings, no target of up to `max_length` tokens is more probable than the one it returns.
        """
        return [self._vocabularies[1].decode(ids) for ids in self._translate(sources, beam_width, max_length)[1]]

    @of_one_fit
    def attention_weights(self, sources, targets=None):
        """Where the decoder looked while it wrote each token; `attention` can be called in its place.

        Parameters
        ----------
        sources : as in `predict`
        targets : as in `fit`, default=None
            None: what `predict` writes.

        Returns
        -------
        weights : list of n ndarrays of shape (T_out, T_in)
            A row for each token of the target, a column for each of the source. A row adds up to at most 1; what is
            missing went to the source's end, which is a token of its own to the network. The row in which the target's
            end was written is left out.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or the translator was fitted with ``attention=False``.
        """
        check_is_fitted(self)
        if self._network.attention is None:
            raise ValueError("this translator was fitted with attention=False: it has no attention weights")
        if targets is None:
            framed_sources, found = self._translate(sources, 1, None)
            pairs = SequencePairs(framed_sources, framed(found))
        else:
            pairs = self._encode((sources, targets, ""))
        return self._network.attention_weights(pairs, effective_n_threads(self.n_jobs))

    @of_one_fit
    def score(self, sources, targets, beam_width=1, max_length=None):
        """Share of the sources whose translation is the target, token for token.

        Parameters
        ----------
        sources, targets : as in `fit`
            A target that holds an unknown token counts as missed.
        beam_width, max_length : as in `predict`

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        pairs = self._encode((sources, targets, ""))
        _, found = self._translate(sources, beam_width, max_length)
        truth = (ids[1:-1, 0] for ids in pairs.targets.split(pairs.targets.steps))
        return float(np.mean([np.array_equal(a, b) for a, b in zip(found, truth, strict=True)]))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
