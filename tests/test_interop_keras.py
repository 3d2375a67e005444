"""lstmfast.interop with Keras: files of golden/make_keras_models.py, and Keras itself where it is installed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from golden.make_keras_models import CASES, IN_A_FILE, make_model
from interop_models import VARIANTS, fitted, outputs, sequences
from numpy.testing import assert_allclose

from lstmfast import LSTMClassifier
from lstmfast.interop import from_keras, to_keras

GOLDEN = Path(__file__).parent / "golden"


def load_case(name):
    with np.load(GOLDEN / "keras_models.npz") as data:
        n = sum(key.startswith(f"{name}/weights/") for key in data.files)
        weights = [data[f"{name}/weights/{k}"] for k in range(n)]
        return weights, data[f"{name}/config"].item(), data[f"{name}/x"], data[f"{name}/y"]


def check_same(model, x, y, tolerance):
    answers = outputs(model, x)
    if isinstance(model, LSTMClassifier) and y.shape[1] == 1:
        answers = answers[:, 1:]
    assert_allclose(answers, y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_from_keras_computes_what_keras_does(name):
    weights, config, x, y = load_case(name)
    for configuration in (config, json.loads(config), json.loads(config)["config"]):
        check_same(from_keras(weights, configuration), x, y, 1e-12)
    check_same(from_keras(weights, config, dtype="float32"), x, y, 1e-5)


def test_labels():
    weights, config, x, y = load_case("lstm_activations")
    model = from_keras(weights, config, classes=["c", "a", "b"])
    assert model.predict(x).tolist() == [["c", "a", "b"][k] for k in y.argmax(axis=1)]
    weights, config, x, y = load_case("lstm_above_bidirectional")  # two sigmoids
    assert from_keras(weights, config).predict(x).tolist() == (y > 0.5).astype(int).tolist()
    weights, config, x, y = load_case("lstm")  # logits
    model = from_keras(weights, config, estimator="classifier", classes=["no", "yes"])
    assert model.predict(x).tolist() == [["no", "yes"][k] for k in y.argmax(axis=1)]


@pytest.mark.parametrize("how", ["partial_fit", "fit"])
def test_directions_that_the_model_does_not_have_stay_out_of_training(how):
    weights, config, x, y = load_case("lstm_below_bidirectional")
    model = from_keras(weights, config).set_params(max_iter=1, learning_rate_init=1e-3, warm_start=True, alpha=0)
    before = model.predict(x)
    getattr(model, how)(x, y + 1)
    assert 0 < np.abs(model.predict(x) - before).max() < 0.1
    assert not model.layers_[0].backward_.kernel.any()


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru-reset-before", "rnn"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_have_the_shapes_of_keras(cell, variant):
    weights = to_keras(fitted(cell=cell, **VARIANTS[variant]))
    gates, per_direction = {"lstm": 4, "gru": 3, "gru-reset-before": 3, "rnn": 1}[cell], 3
    assert weights[0].shape == (3, gates * weights[1].shape[0])
    assert weights[2].shape == ((2, gates * len(weights[1])) if cell == "gru" else (gates * len(weights[1]),))
    settings = VARIANTS[variant]
    n_layers = len(np.atleast_1d(settings.get("hidden_layer_sizes", 5)))
    n_dense = 1 + len(settings.get("dense_layer_sizes", ()))
    assert len(weights) == n_layers * per_direction * (1 + settings.get("bidirectional", False)) + 2 * n_dense


def layer(kind, **config):
    return {"class_name": kind, "config": {"name": kind.lower(), **config}}


LSTM, DENSE = layer("LSTM", units=3), layer("Dense", units=2)
WEIGHTS = [np.zeros(shape, np.float32) for shape in [(2, 12), (3, 12), 12, (3, 2), 2]]
SEQUENCE = layer("LSTM", units=3, return_sequences=True)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([layer("Embedding"), LSTM], "layer 'embedding' is a Embedding, which cannot be read: sequences of tokens"),
        ([layer("Masking"), LSTM], "layer 'masking' is a Masking, .* as a list of arrays instead"),
        ([layer("Conv1D"), LSTM], "layer 'conv1d' is a Conv1D, which cannot be read: known are"),
        ([SEQUENCE, DENSE], "layer 'dense' is applied to every step"),
        ([SEQUENCE], "layer 'lstm' returns its sequence and nothing pools it"),
        ([LSTM, LSTM], "layer 'lstm' needs steps"),
        ([LSTM, layer("GlobalMaxPooling1D")], "must pool the steps of a recurrent layer"),
        ([layer("LSTM", units=3, go_backwards=True, return_sequences=True)], "turns the order of the steps"),
        ([layer("LSTM", units=3, stateful=True)], "layer 'lstm': stateful has no equivalent"),
        ([layer("LSTM", units=3, return_state=True)], "layer 'lstm': return_state has no equivalent"),
        ([layer("LSTM", units=3, activation="gelu")], "activation must be one of tanh, .*, got 'gelu'"),
        ([layer("LSTM", units=3, activation={"class_name": "PReLU"})], "activation must be one of tanh, .* got {'cl"),
        ([layer("LSTM", units=3, recurrent_activation="tanh")], "recurrent_activation must be sigmoid or hard_sigmoid"),
        ([layer("Bidirectional", merge_mode="sum", layer=LSTM)], "merge_mode must be 'concat', got 'sum'"),
        ([layer("Bidirectional", layer=DENSE)], "Bidirectional must hold an LSTM, GRU or SimpleRNN, got Dense"),
        ([layer("Bidirectional", layer=LSTM, backward_layer=LSTM)], "must be alike but for go_backwards"),
        ([LSTM, layer("Dense", units=2, activation="gelu")], "must be linear, softmax or sigmoid, got 'gelu'"),
        ([LSTM, DENSE, DENSE], "a dense layer below it must have relu, got 'linear'"),
        ([LSTM, layer("Activation", activation="relu")], "an Activation must follow a linear Dense layer"),
        ([layer("LSTM", units=4), DENSE], r"layer 'lstm': kernel must have shape \(2, 16\), got \(2, 12\)"),
        ([LSTM], "5 weight arrays given, but these layers have 3"),
        ([layer("Bidirectional", layer=LSTM), DENSE], "layer 'bidirectional' has 3 weight arrays, but only 2 are left"),
        ([DENSE], "layer 'dense' is applied to every step"),
        ([layer("GRU", units=4), layer("GRU", units=4)], "kernel must have shape"),
        ([LSTM, layer("Dense", units=3)], r"layer 'dense': kernel must have shape \(3, 3\), got \(3, 2\)"),
    ],
)
def test_a_layer_that_cannot_be_read_is_named(layers, message):
    with pytest.raises(ValueError, match=message):
        from_keras(WEIGHTS, {"layers": layers})


def test_layers_must_be_of_one_kind():
    weights = [np.zeros(shape) for shape in [(2, 12), (3, 12), 12, (3, 9), (3, 9), (2, 9)]]
    with pytest.raises(ValueError, match="must have one cell: 'lstm' has 'lstm', 'gru' 'gru'"):
        from_keras(weights, {"layers": [SEQUENCE, layer("GRU", units=3)]})


@pytest.mark.parametrize(
    ("weights", "config", "error", "message"),
    [
        (WEIGHTS, None, ValueError, "weights need the model's configuration"),
        (np.zeros(3), {}, TypeError, "expected the path of a .keras file or the list model.get_weights"),
        (WEIGHTS, 3, TypeError, "config must be model.get_config"),
        (WEIGHTS, "{", ValueError, "this is no configuration of a Keras model"),
        (WEIGHTS, {}, ValueError, "this is no configuration of a Keras model: KeyError"),
        (WEIGHTS, {"class_name": "MyModel", "config": {}}, ValueError, "a model of class 'MyModel'"),
        ("model.keras", {}, ValueError, "config is in the file"),
        ([np.zeros(3, np.float16)], {"layers": [LSTM]}, TypeError, r"weights\[0\] must hold float32 or float64"),
    ],
)
def test_a_wrong_argument_is_named(weights, config, error, message):
    with pytest.raises(error, match=message):
        from_keras(weights, config)


def test_branches_are_refused():
    weights, config, _, _ = load_case("lstm_activations")  # functional
    layers = json.loads(config)["config"]["layers"]
    layers.append({**json.loads(json.dumps(layers[-1])), "config": {**layers[-1]["config"], "name": "second"}})
    with pytest.raises(ValueError, match=r"layer 'second' takes .*no branches"):
        from_keras(weights, {"layers": layers})


def test_the_output_must_be_the_last_layer():
    weights, config, _, _ = load_case("lstm_activations")  # functional
    config = json.loads(config)["config"]
    config["output_layers"] = [[config["layers"][1]["config"]["name"], 0, 0]]
    with pytest.raises(ValueError, match="only that of the last layer is read"):
        from_keras(weights, config)


def test_a_file_needs_h5py(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"needs h5py .*from_keras\(model.get_weights\(\), model.get_config\(\)\)"):
        from_keras(GOLDEN / "keras_model.keras")


def test_a_file_reads_like_its_weights(tmp_path):
    pytest.importorskip("h5py")
    weights, config, x, _ = load_case(IN_A_FILE)
    from_file = from_keras(GOLDEN / "keras_model.keras")
    assert (from_file.predict_proba(x) == from_keras(weights, config).predict_proba(x)).all()
    path = tmp_path / "model.keras"
    path.write_bytes((GOLDEN / "keras_model.keras").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model.keras is not a valid .keras file: BadZipFile"):
        from_keras(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "lstm-peephole"}, "Keras has no layer with cell='lstm-peephole'"),
        ({"cell": "lstm-coupled", "activation": "relu"}, "cell='lstm-coupled'"),
    ],
)
def test_to_keras_names_what_keras_does_not_have(arguments, message):
    with pytest.raises(ValueError, match=message):
        to_keras(fitted(**arguments))


# ---- Keras itself ----

of_keras = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@of_keras
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("functional", [False, True])
def test_files_of_keras(name, functional, tmp_path):
    pytest.importorskip("keras")
    model = make_model(CASES[name], functional=functional)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 4, 2))
    check_same(from_keras(tmp_path / "model.keras"), x, model.predict(x, verbose=0), 1e-12)


@of_keras
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru-reset-before", "rnn"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_keras_sets_what_to_keras_gives(cell, variant):
    keras = pytest.importorskip("keras")
    keras.config.set_floatx("float64")
    names = [("tanh", "tanh"), ("elu", "elu"), ("hard_tanh", "hard_tanh"), ("identity", "linear"), ("relu", "relu")]
    ours, theirs = names[list(VARIANTS).index(variant)]
    gates = "hard_sigmoid" if cell == "gru" else "sigmoid"
    estimator = fitted(
        classifier=True, cell=cell, activation=ours, recurrent_activation=gates, **VARIANTS[variant]
    )  # fmt: skip

    def recurrent(units, top):
        options = {"activation": theirs, "return_sequences": not top or estimator.pooling != "last"}
        if cell == "rnn":
            layer = keras.layers.SimpleRNN(units, **options)
        elif cell == "lstm":
            layer = keras.layers.LSTM(units, recurrent_activation=gates, **options)
        else:
            layer = keras.layers.GRU(units, recurrent_activation=gates, reset_after=cell == "gru", **options)
        return keras.layers.Bidirectional(layer) if estimator.bidirectional else layer

    sizes = np.atleast_1d(estimator.hidden_layer_sizes).tolist()
    pooling = {
        "last": [],
        "mean": [keras.layers.GlobalAveragePooling1D()],
        "max": [keras.layers.GlobalMaxPooling1D()],
    }
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            *[recurrent(units, k == len(sizes) - 1) for k, units in enumerate(sizes)],
            *pooling[estimator.pooling],
            *[keras.layers.Dense(units, "relu") for units in estimator.dense_layer_sizes],
            keras.layers.Dense(estimator.n_outputs_, "softmax"),
        ]
    )
    model.set_weights(to_keras(estimator))
    X = sequences()
    assert_allclose(estimator.predict_proba(X), model.predict(X, verbose=0), atol=1e-12)
    back = from_keras(model.get_weights(), model.get_config(), classes=estimator.classes_)
    assert_allclose(back.predict_proba(X), estimator.predict_proba(X), atol=1e-12)
