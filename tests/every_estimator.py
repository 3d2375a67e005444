"""Each estimator, small, with data to fit and things to ask of it: for tests of what holds for all of them.

The data come from integer arithmetic, not from a generator of random numbers: no release of NumPy changes them.
"""

import csv
import io
from contextlib import redirect_stdout
from dataclasses import dataclass, field

import numpy as np

import lstmfast
from lstmfast.__main__ import main

N_TOKENS, N_CLASSES = 7, 3


def numbers(*shape):
    """Multiples of 1/16 from -2 to 2, without a short period."""
    i = np.arange(1, 1 + np.prod(shape))
    return ((i * i * 7919 + i * 104_729) % 65 / 16 - 2).reshape(shape)


def tokens(*shape):
    i = np.arange(1, 1 + np.prod(shape))
    return (i * i * 31 + i * 17) % N_TOKENS if not shape else ((i * i * 31 + i // 3) % N_TOKENS).reshape(shape)


LENGTHS = (4, 1, 6, 3, 5, 2, 6, 1, 4, 3, 5, 2)
RAGGED = [numbers(sum(LENGTHS), 3)[sum(LENGTHS[:i]) :][:n] for i, n in enumerate(LENGTHS)]
EQUAL = numbers(12, 5, 3)
LABELS = np.arange(12) % N_CLASSES
NAMES = np.array(["no", "yes", "ja 日本"])[LABELS]
TAGS = [np.abs(x[:, 0] * 4).astype(int) % N_CLASSES for x in RAGGED]
TOKENS = [tokens(12, 6)[i, :n] for i, n in enumerate(LENGTHS)]
SERIES = np.arange(40) % 7 + np.arange(40) / 8 + numbers(40) / 4
TEXTS = ["to be or not to be", "be not", "or not to be", "to be", "be or be not"] * 2
ANSWERS = [text[::-1] for text in TEXTS]
HISTORIES = [["tent", "stove", "gas"], ["pen", "ink"], ["tent", "gas", "pen", "ink"], ["ink", "pen"]] * 3


@dataclass
class Example:
    """An estimator's class and arguments, what it is fitted on, and calls: method -> arguments."""

    kind: str
    fit: tuple
    calls: dict
    arguments: dict = field(default_factory=dict)

    def estimator(self, **arguments):
        """A new one."""
        shared = {"hidden_layer_sizes": 5, "max_iter": 2, "batch_size": 5, "random_state": 0, "n_jobs": 1}
        return getattr(lstmfast, self.kind)(**shared | self.arguments | arguments)

    def fitted(self, **arguments):
        return self.estimator(**arguments).fit(*self.fit)

    def answers(self, estimator):
        """What a fitted estimator says: method -> an array of numbers or of strings, sequences one after the other."""
        return {name: joined(getattr(estimator, name)(*arguments)) for name, arguments in self.calls.items()}


def joined(result):
    """A result as one array: of ragged lists and of tuples the parts behind each other."""
    if isinstance(result, str | float | int):
        return np.array([result])
    if isinstance(result, list | tuple) and not isinstance(result[0], str):
        return np.concatenate([np.asarray(part).ravel() for part in result])
    result = np.asarray(result)
    return result.astype(str) if result.dtype == object else result


def classifier(X=RAGGED, y=LABELS, calls=("predict_proba", "predict", "transform"), **arguments):
    return Example("LSTMClassifier", (X, y), dict.fromkeys(calls, (X,)), arguments)


def regressor(X=RAGGED, y=LABELS / 2, **arguments):
    return Example("LSTMRegressor", (X, y), {"predict": (X,), "transform": (X,)}, arguments)


STACK = {"hidden_layer_sizes": (5, 9), "bidirectional": True, "dense_layer_sizes": (4,)}
EXAMPLES = {
    "classifier": classifier(y=NAMES),
    "classifier_tokens": classifier(TOKENS, embedding_dim=4, pooling="mean"),
    "classifier_gru_stack": classifier(cell="gru", pooling="max", **STACK),
    "classifier_convolutions_attention": classifier(
        EQUAL, calls=("predict_proba", "attention"), conv_layers=((4, 3),), pooling="attention"
    ),
    "classifier_multilabel": classifier(y=np.eye(N_CLASSES, dtype=int)[LABELS], cell="rnn", activation="softsign"),
    "classifier_peephole": classifier(cell="lstm-peephole", dtype="float64"),
    "classifier_full_peephole": classifier(cell="lstm-full-peephole", n_frozen_layers=1),
    "classifier_coupled": classifier(cell="lstm-coupled", recurrent_activation="hard_sigmoid"),
    "classifier_gated_recurrence": classifier(cell="lstm-gated-recurrence"),
    "classifier_cell_recurrent": classifier(cell="lstm-cell-recurrent"),
    "classifier_gru_reset_before": classifier(cell="gru-reset-before"),
    "regressor_2d": regressor(EQUAL[:, :, 0]),
    "regressor_outputs": regressor(y=np.c_[LABELS, -LABELS], loss="huber"),
    "tagger": Example("LSTMTagger", (RAGGED, TAGS), {"predict": (RAGGED,), "predict_proba": (RAGGED,)}),
    "tagger_crf": Example(
        "LSTMTagger", (RAGGED, TAGS), {"predict": (RAGGED,), "predict_proba": (RAGGED,)}, {"crf": True}
    ),
    "forecaster": Example(
        "LSTMForecaster", (SERIES,), {"predict": (), "predict_interval": ()},
        {"window": 8, "horizon": 3, "calibration_fraction": 0.4},
    ),
    "forecaster_covariates": Example(
        "LSTMForecaster", (SERIES, numbers(40, 2)), {"predict": (None, numbers(3, 2))},
        {"window": 8, "horizon": 3, "strategy": "recursive", "differences": (1,)},
    ),
    "language_model": Example("LSTMLanguageModel", (TEXTS,), {"score": (TEXTS,), "generate": ("to", 12, 0.0)}),
    "recommender": Example("LSTMRecommender", (HISTORIES,), {"recommend": (HISTORIES, 2)}),
    "transformer": Example("LSTMTransformer", (RAGGED,), {"transform": (RAGGED,), "reconstruct": (RAGGED,)}),
    "transformer_supervised": Example("LSTMTransformer", (RAGGED, LABELS), {"transform": (RAGGED,)}),
    "translator": Example(
        "LSTMTranslator", (TEXTS, ANSWERS), {"predict": (TEXTS, 2), "attention_weights": (TEXTS[:2],)},
        {"level": "char"},
    ),
    "translator_without_attention": Example(
        "LSTMTranslator", (TEXTS, ANSWERS), {"predict": (TEXTS,), "score": (TEXTS, ANSWERS)},
        {"level": "char", "attention": False},
    ),
}  # fmt: skip


def predicted_table(model, data):
    """Probabilities that ``lstmfast predict`` writes for a table: (n, 2)."""
    with redirect_stdout(io.StringIO()) as output:
        assert main(["predict", str(model), str(data), "--proba"]) == 0
    rows = list(csv.DictReader(io.StringIO(output.getvalue())))
    return np.array([[float(row[f"proba_{label}"]) for label in ("no", "yes")] for row in rows])
