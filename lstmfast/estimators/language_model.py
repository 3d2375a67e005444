"""LSTMLanguageModel."""

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..config import effective_n_threads
from ..examples import Corpus
from ..language import LanguageModel, log_likelihoods, saved_vocabulary
from ..pooling import NO_POOLING
from ..sequences import Sequences
from ..vocabulary import END, LEVELS, Vocabulary, framed
from .base import COUNT
from .checkpoint import Checkpoint
from .generative import TokenEstimator
from .sharing import shares_parameters, shares_texts


@shares_parameters(without=("bidirectional",))
class LSTMLanguageModel(LanguageModel, TokenEstimator):
    """Learn which token follows, of characters, words or tokens of any kind; score texts and write new ones.

    An embedding, recurrent layers and a softmax over the vocabulary at each step (Mikolov et al. 2010), trained by
    truncated backpropagation through time (Williams & Peng 1990): `batch_size` texts are read side by side, `bptt`
    tokens a gradient step, and their hidden state is handed on from one step to the next. A text's end is a token too,
    which the model learns to predict and from which every text begins.

    Parameters
    ----------
    {parameters}
    level : {"char", "word", "token"}, default="char"
        What a token is. "char": a character. "word": a run of letters, digits and underscores, or a single other
        character that is not white space. "token": texts are lists of str, or lists of integers, taken as they are.
    bptt : int, default=64
        Tokens of each text in a gradient step; no gradient flows further back.
    max_features : int or None, default=None
        Size of the vocabulary, the most frequent tokens. Others are unknown tokens.
    min_frequency : int, default=1
        How often a token must occur to be in the vocabulary.
    lowercase : bool, default=False
        Turn texts into lower case.
    embedding_dim : int, default=32
        Size of the vector that stands for a token.

    Attributes
    ----------
    vocabulary_ : dict of str or int to int
        The id of each token. 0 stands for unknown tokens, 1 for a text's end.
    {attributes}

    Notes
    -----
    `batch_size` texts are read at once. Where there are fewer, long ones are cut into pieces of at least `bptt` tokens,
    so that a single long text becomes `batch_size` of them; each starts from state 0.

    With `warm_start` the vocabulary stays as it is.

    `validation_scores_` are mean log-likelihoods. With `early_stopping`, whole texts are held out; of a single text
    its end.

    The softmax is computed in blocks: memory does not grow with texts times vocabulary.

    Unknown tokens are scored as one token, whose probability is learned from the tokens that `min_frequency` and
    `max_features` leave out; where they leave out none, it is close to 0. `generate` never writes them.

    References
    ----------
    T. Mikolov et al., "Recurrent neural network based language model", Interspeech 2010. R. J. Williams and J. Peng,
    "An efficient gradient-based algorithm for on-line training of recurrent network trajectories", Neural Computation
    2, 1990.

    Examples
    --------
    >>> from lstmfast import LSTMLanguageModel
    >>> texts = ["the cat sat on the mat", "the dog sat on the log"] * 8
    >>> model = LSTMLanguageModel(32, level="word", max_iter=60, learning_rate_init=0.01, random_state=0).fit(texts)
    >>> model.generate("the cat", temperature=0)
    'the cat sat on the mat'
    >>> model.perplexity(["the cat sat on the mat"]) < model.perplexity(["mat the on sat cat the"])
    True
    """

    _first_choice = END  # `generate` never writes the unknown token

    _parameter_constraints = TokenEstimator._parameter_constraints | {
        "level": [StrOptions(set(LEVELS))],
        "bptt": [COUNT],
        "max_features": [COUNT, None],
        "min_frequency": [COUNT],
        "lowercase": ["boolean"],
    }

    def __init__(
        self, *arguments, level="char", bptt=64, max_features=None, min_frequency=1, lowercase=False, **parameters
    ):
        super().__init__(*arguments, **parameters)
        self.level = level
        self.bptt = bptt
        self.max_features = max_features
        self.min_frequency = min_frequency
        self.lowercase = lowercase

    @shares_texts
    def fit(self, texts, y=None, *, texts_val=None, checkpoint=None, resume=False):
        """Learn a vocabulary and to predict the next token.

        Parameters
        ----------
        texts : list of str, or of lists of tokens
            A text may be empty, but not all of them.
        y : None
            Ignored; for scikit-learn's sake.
        texts_val : as texts, default=None
            {validation}
        {checkpoint}

        {fitted}
        """
        validation = None if texts_val is None else (texts_val, "texts_val")
        kept = Checkpoint(checkpoint, resume)
        return self._change(lambda draft: draft._fit((texts, "texts"), validation, kept))

    def _learn(self, data):
        texts, _ = data
        self._vocabulary = Vocabulary.learn(
            texts, self.level, max_features=self.max_features, min_frequency=self.min_frequency,
            lowercase=self.lowercase,
        )  # fmt: skip

    def _encode(self, data):
        """Ids of each text, between two ends; data are the texts and what errors call them."""
        return framed(self._vocabulary.encode(*data))

    def _explained_sequences(self, X):
        return framed(self._vocabulary.encode(X), end=False)

    def _copy_network(self, asked, network):
        for name in ("level", "lowercase"):
            there = getattr(self._vocabulary, name)
            if getattr(self, name) != there:
                raise ValueError(
                    f"the vocabulary to go on with has {name}={there!r}, not {getattr(self, name)!r}; fit with "
                    "warm_start=False to start anew"
                )
        return super()._copy_network(asked, network)

    def _network_config(self):
        n_tokens = self._vocabulary.n_tokens
        return super()._network_config() | {
            "n_features": int(self.embedding_dim), "n_tokens": n_tokens, "n_outputs": n_tokens, "pooling": NO_POOLING,
        }  # fmt: skip

    def _examples(self, sequences, network):
        return Corpus(sequences, network, self.batch_size, self.bptt)

    def _split(self, sequences, random_state):
        if len(sequences) > 1:
            return super()._split(sequences, random_state)
        n_kept = min(int(len(sequences.steps) * (1 - self.validation_fraction)), len(sequences.steps) - 1)
        if n_kept < 2:
            raise ValueError("early_stopping leaves nothing of this text to train on; pass texts_val")
        parts = sequences.steps[:n_kept], sequences.steps[n_kept - 1 :]
        return tuple(Sequences(steps, np.array([0, len(steps)])) for steps in parts)

    def _log_likelihoods(self, network, sequences):
        return log_likelihoods(network, sequences, self._n_threads)

    @property
    def vocabulary_(self):
        check_is_fitted(self, "_network")
        return {token: id for id, token in enumerate(self._vocabulary.tokens.tolist(), END + 1)}

    # ---- files ----

    def _fitted(self):
        return {name: getattr(self._vocabulary, name) for name in Vocabulary.fields}

    def _restore_fitted(self, fitted, network):
        self._vocabulary = saved_vocabulary(fitted, network)

    # ---- for LanguageModel ----

    def _check_fitted(self):
        check_is_fitted(self)

    @property
    def _n_threads(self):
        return effective_n_threads(self.n_jobs)
