"""Fuzz fit and predict: estimators and layers of any parameters on data of any shape, kind and layout.

    pip install atheris
    python tools/fuzz_fit.py --seconds 3600 tools/corpus/fit
    python tools/check_memory.py address --fuzz tools/fuzz_fit.py --seconds 3600 tools/corpus/fit

What is not accepted is a ValueError or a TypeError with a message. What is accepted gives finite numbers, and the same
bits for a sequence alone and in company. Anything else stops the run, with the input in a file crash-*;
`python tools/fuzz_fit.py crash-...` runs that again.
"""

import warnings

import numpy as np
from fuzzing import Choices, fuzz, refusals

SIZES = (1, 2, 3, 7, 8, 9, 16, 17, 33)
PARAMETERS = {
    "cell": (
        "lstm", "gru", "rnn", "lstm-peephole", "lstm-full-peephole", "lstm-coupled", "lstm-gated-recurrence",
        "lstm-cell-recurrent", "gru-reset-before",
    ),
    "activation": ("tanh", "relu", "sigmoid", "identity", "softsign", "hard_tanh", "elu"),
    "recurrent_activation": ("sigmoid", "hard_sigmoid"),
    "hidden_layer_sizes": ((3, 4), (17, 1, 9)),
    "bidirectional": (False, True),
    "pooling": ("last", "mean", "max", "attention"),
    "dense_layer_sizes": ((5,), 3, (9, 1)),
    "conv_layers": (((3, 2),), ((1, 1), (9, 5))),
    "dropout": (0.0, 0.5),
    "recurrent_dropout": (0.0, 0.5),
    "alpha": (1e-4, 0, 1e30),
    "l1_ratio": (0.0, 1.0),
    "solver": ("adam", "adamw", "sgd", "rmsprop"),
    "learning_rate": ("constant", "cosine", "one_cycle", "adaptive", "invscaling"),
    "learning_rate_init": (1e-3, 1e30, 1e-300),
    "clip_norm": (1.0, None, 1e-30),
    "batch_size": (32, 1, 2, 3, 10**9),
    "early_stopping": (False, True),
    "n_jobs": (1, 2, None),
    "dtype": ("float32", "float64"),
}  # fmt: skip
WRONG = {
    "cell": "no cell", "hidden_layer_sizes": (), "dense_layer_sizes": (0,), "conv_layers": ((2,),), "embedding_dim": 0,
    "dropout": 1.0, "recurrent_dropout": -1, "l1_ratio": 2, "learning_rate_init": np.nan, "clip_norm": 0,
    "batch_size": 0, "n_jobs": 0, "dtype": "float16",
}  # fmt: skip
KINDS = ("f4", "f8", "f2", "i4", "u1", ">f8", "?", "O", "g")
WRONG_KINDS = ("c8", "U3", "M8[s]", "S1")
NUMBERS = (0.0, 1.0, -1.0, 1e-40, 1e30, 1e300, np.nan, np.inf, -np.inf)
LAYOUTS = {
    "plain": lambda x: x,
    "fortran": np.asfortranarray,
    "reversed": lambda x: x[::-1],
    "every other": lambda x: np.repeat(x, 2, axis=0)[::2],
    "transposed": lambda x: x.T.copy().T,
    "read only": lambda x: (x.setflags(write=False), x)[1],
    "list": lambda x: x.tolist(),
    "misaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)
    if x.dtype != object and x.size else x,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
}  # fmt: skip


def array(choices, rng, shape):
    """An array of one of many kinds and layouts; integers where it stands for tokens."""
    kind = choices.pick(WRONG_KINDS if choices.seldom() and choices.seldom() else KINDS)
    x = rng.integers(0, 5, shape) if kind in ("i4", "u1", "?") else rng.normal(size=shape)
    if choices.seldom() and x.size:
        x = x.astype(float)
        x.flat[choices.number(x.size)] = choices.pick(NUMBERS)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = x.astype(kind)
    return LAYOUTS[choices.pick(list(LAYOUTS))](x)


def data(choices, rng, n, n_features):
    """X: n sequences, in most cases."""
    if choices.number(2):
        lengths = [choices.number(12) for _ in range(n)] if choices.seldom() else 1 + rng.integers(0, 11, n)
        flat = choices.seldom()
        return [array(choices, rng, (length,) if flat else (length, n_features)) for length in lengths]
    steps = 1 + choices.number(11)
    right, wrong = [(n, steps, n_features), (n, steps)], [(n,), (n, 1, steps, 1), (n, 0, n_features), (n, steps, 0)]
    shapes = wrong if choices.seldom() else right
    return array(choices, rng, choices.pick(shapes))


def targets(choices, rng, X, estimator):
    """y of one of the kinds that estimators take, or not."""
    n = len(X) + (choices.seldom() and 1)
    if choices.seldom():
        estimator = "another"
    if estimator == "LSTMTagger":
        return [rng.integers(0, 3, np.shape(x)[0] if np.ndim(x) else 1) for x in X]
    if estimator == "LSTMRegressor":
        return rng.normal(size=choices.pick([n, (n, 2)]))
    return choices.pick([rng.integers(0, 3, n), rng.integers(0, 2, (n, 3)), rng.integers(0, 2, n).astype("U1")])


def assert_finite(values):
    """Of ragged lists, too; labels are not looked at."""
    for part in values if isinstance(values, list) else [values]:
        assert np.asarray(part).dtype.kind != "f" or np.isfinite(part).all()


def drawn_parameters(choices):
    """Parameters of an estimator, in most cases."""
    parameters = {"max_iter": 1 + choices.number(2), "random_state": 0, "hidden_layer_sizes": choices.pick(SIZES)}
    for _ in range(choices.number(5)):
        key = choices.pick(list(PARAMETERS))
        parameters[key] = choices.pick(PARAMETERS[key])
    if choices.seldom():
        key = choices.pick(list(WRONG))
        parameters[key] = WRONG[key]
    return parameters


def estimator_case(choices, rng):
    import lstmfast

    name = choices.pick(("LSTMClassifier", "LSTMRegressor", "LSTMTagger", "LSTMTransformer"))
    parameters = drawn_parameters(choices)
    if name == "LSTMTagger":
        parameters.pop("pooling", None)
        parameters["crf"] = choices.pick((False, True))
    X = data(choices, rng, 1 + choices.number(9), choices.pick((1, 3, 2, 17)))
    y = targets(choices, rng, X, name)
    model = getattr(lstmfast, name)(**parameters)
    model.fit(X) if name == "LSTMTransformer" else model.fit(X, y)
    use = model.transform if name == "LSTMTransformer" else model.predict
    together = use(X)
    assert_finite(together)
    alone = [use(X[i : i + 1])[0] for i in range(len(X))]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    use(data(choices, rng, 1 + choices.number(3), choices.pick((1, 3, 2))))


def fitted(choices, name, *data, **arguments):
    """One of the other estimators, of any parameters, fitted."""
    import lstmfast

    model = getattr(lstmfast, name)(**arguments)
    known = model.get_params()
    drawn = drawn_parameters(choices)
    return model.set_params(**{key: value for key, value in drawn.items() if key in known}).fit(*data)


def words(choices, rng, n):
    """n texts, in most cases."""
    alphabet = choices.pick(("ab ", "to be or ", "日本 é\0", " "))
    texts = ["".join(rng.choice(list(alphabet), rng.integers(12))) for _ in range(n)]
    if choices.seldom():
        texts[choices.number(n)] = choices.pick((None, 1.5, b"bytes", [], ["a", None]))
    return texts


def language_model_case(choices, rng):
    texts = words(choices, rng, 1 + choices.number(6))
    options = {"level": choices.pick(("char", "word", "no level")), "bptt": choices.pick((64, 1, 2, 0))}
    model = fitted(choices, "LSTMLanguageModel", texts, **options)
    model.score(texts)
    arguments = {"max_length": choices.number(9), "temperature": choices.pick((1.0, 0.0, 1e-30, np.nan, 1e30))}
    arguments |= {"top_k": choices.pick((None, 1, 3, 0, 10**9)), "random_state": 0}
    assert model.generate(texts[0], **arguments) == model.generate(texts[0], **arguments)


def translator_case(choices, rng):
    n = 1 + choices.number(5)
    sources, answers = words(choices, rng, n), words(choices, rng, n + (choices.seldom() and 1))
    options = {"level": choices.pick(("char", "word")), "attention": choices.pick((True, False))}
    model = fitted(choices, "LSTMTranslator", sources, answers, **options)
    beam = {"beam_width": choices.pick((1, 2, 5, 0)), "max_length": choices.pick((None, 3, 1, 0))}
    together = model.predict(sources, **beam)
    assert [model.predict([source], **beam)[0] for source in sources] == list(together)
    model.attention_weights(sources)


def recommender_case(choices, rng):
    items = choices.pick((["a", "b", "c", "d"], [1, 2, 3], ["a", 1, None]))
    histories = [[items[i] for i in rng.integers(0, len(items), rng.integers(6))] for _ in range(1 + choices.number(6))]
    model = fitted(choices, "LSTMRecommender", histories, n_samples=choices.pick((None, 1, 2, 10**9)))
    arguments = {"k": choices.pick((1, 2, 10, 0)), "exclude_seen": choices.pick((False, True))}
    together = model.recommend(histories, **arguments)
    for history, items in zip(histories, together, strict=True):
        np.testing.assert_array_equal(model.recommend([history], **arguments)[0], items)


def forecaster_case(choices, rng):
    n, horizon = choices.number(40), choices.pick((1, 2, 5, 0))
    shape = choices.pick([(n,), (n, 2), (n, 0)])
    y, future = array(choices, rng, shape), None
    past = () if choices.number(2) else (array(choices, rng, (n + (choices.seldom() and 1), 2)),)
    options = {"strategy": choices.pick(("direct", "recursive")), "window": choices.pick((3, 1, 8, 100))}
    options |= {"differences": choices.pick(((), (1,), (1, 3), (0,))), "log": choices.seldom(), "horizon": horizon}
    options["calibration_fraction"] = choices.pick((0.2, 0.0, 0.5, 1.0))
    model = fitted(choices, "LSTMForecaster", y, *past, **options)
    steps = choices.pick((horizon, 1, 7, 0))
    if past:
        future = array(choices, rng, (steps, 2))
    once, again = (model.predict(X=future, horizon=steps) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert_finite(once)
    model.predict_interval(X=future, horizon=steps, coverage=choices.pick((0.9, 0.5, 0.0, 1.0, np.nan)))


def layer_case(choices, rng):
    from lstmfast import layers

    kind = choices.pick((layers.LSTM, layers.GRU, layers.RNN))
    n_inputs, units, n, steps = choices.pick(SIZES), choices.pick(SIZES), choices.number(9), choices.number(12)
    options = {name: choices.pick(PARAMETERS[name]) for name in ("bidirectional", "dtype")}
    layer = kind(n_inputs, units, random_state=0, **options)
    x = array(choices, rng, (n, steps, n_inputs + (choices.seldom() and 1)))
    lengths = rng.integers(1, steps + 1, n) if steps and choices.number(2) else None
    if lengths is not None and n and choices.seldom():
        lengths[choices.number(n)] = choices.pick((0, -1, steps + 1, 2**40))
    state = None
    if choices.number(2):
        shape = (n, 2, units) if layer.bidirectional else (n, units)
        state = array(choices, rng, shape)
        if kind is layers.LSTM:
            state = state, array(choices, rng, shape)
    y, _ = layer.forward(x, lengths, state=state, training=True)
    dx, _ = layer.backward(array(choices, rng, y.shape))
    assert dx.shape == np.shape(x)


CASES = (
    estimator_case, estimator_case, layer_case, forecaster_case, language_model_case, translator_case, recommender_case,
)  # fmt: skip


def check(data):
    """Run one case."""
    choices = Choices(data)
    rng = np.random.default_rng(choices.number(256))
    with refusals():
        choices.pick(CASES)(choices, rng)


if __name__ == "__main__":
    fuzz(check, __doc__, ["lstmfast.sequences", "lstmfast.estimators", "lstmfast.layers", "lstmfast.network"])
