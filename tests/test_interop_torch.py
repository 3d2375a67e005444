"""lstmfast.interop with PyTorch: files of golden/make_torch_models.py, and PyTorch itself where it is installed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from golden.make_torch_models import CASES
from interop_models import VARIANTS, fitted, outputs, sequences
from numpy.testing import assert_allclose
from sklearn.base import clone

import lstmfast
from lstmfast.interop import from_torch, to_torch

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def golden():
    """{name: (state_dict, x, y)}"""
    cases = {}
    with np.load(GOLDEN / "torch_models.npz") as data:
        for name in CASES:
            start = f"{name}/state/"
            state = {key.removeprefix(start): data[key] for key in data.files if key.startswith(start)}
            cases[name] = state, data[f"{name}/x"], data[f"{name}/y"]
    return cases


@pytest.mark.parametrize("name", CASES)
def test_from_torch_computes_what_torch_does(golden, name):
    (state, x, y), (_, arguments, _, _, pooling) = golden[name], CASES[name]
    model = from_torch(state, pooling=pooling, nonlinearity=arguments.get("nonlinearity", "tanh"))
    assert model.dtype == "float64"
    assert_allclose(outputs(model, x), y, rtol=0, atol=1e-12)
    single = from_torch(state, pooling=pooling, nonlinearity=model.activation, dtype="float32")
    assert_allclose(outputs(single, x), y, rtol=1e-5, atol=2e-6)
    logits = from_torch(state, pooling=pooling, nonlinearity=model.activation, estimator="classifier")
    z = np.hstack([np.zeros_like(y), y]) if y.shape[1] == 1 else y  # one logit
    expected = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert_allclose(logits.predict_proba(x), expected, atol=1e-12)


def test_a_safetensors_file_reads_like_the_mapping(golden):
    state, x, _ = golden["rnn_tanh"]
    from_file = from_torch(GOLDEN / "torch_model.safetensors")
    assert (from_file.predict(x) == from_torch(state).predict(x)).all()


def test_what_comes_out_is_a_fitted_estimator(golden, tmp_path):
    state, x, _ = golden["lstm"]
    model = from_torch(state, estimator="classifier", classes=["yes", "no"])
    probabilities = model.predict_proba(x)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.n_features_in_ == 2
    assert [len(layer.bias) for layer in model.layers_] == [12, 2]
    assert (model.predict_steps(x)[:, -1] == probabilities).all()
    stream = model.stream()
    for step in x[0]:
        last = stream.step(step)
    assert (last == probabilities[0]).all()
    model.save(tmp_path / "model")
    for copy in (lstmfast.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert (copy.predict_proba(x) == probabilities).all()
    assert (lstmfast.runtime.load(tmp_path / "model").predict(x) == model.predict(x)).all()
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="2 features"):
        model.predict(x[..., :1])


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_training_goes_on_from_the_weights(golden, how):
    state, x, y = golden["gru"]
    model = from_torch(state, pooling="mean")
    model.set_params(max_iter=1, learning_rate_init=1e-6, warm_start=True)
    before = model.predict(x)
    (model.partial_fit if how == "partial_fit" else model.fit)(x, y + 1)
    moved = np.abs(model.predict(x) - before).max()
    assert 0 < moved < 1e-3
    assert model.n_iter_ == 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(cell, variant, tmp_path):
    X, activation = sequences(), "relu" if cell == "rnn" else "tanh"
    model = fitted(classifier=True, n_outputs=3, cell=cell, activation=activation, **VARIANTS[variant])
    to_torch(model, tmp_path / "model.safetensors")
    arguments = {"pooling": model.pooling, "estimator": "classifier", "classes": model.classes_}
    for source in (to_torch(model), tmp_path / "model.safetensors"):
        back = from_torch(source, nonlinearity=activation if cell == "rnn" else "tanh", **arguments)
        assert_allclose(back.predict_proba(X), model.predict_proba(X), atol=1e-12)
        assert back.hidden_layer_sizes == tuple(np.atleast_1d(model.hidden_layer_sizes))


def test_one_logit_and_multilabel(golden):
    state, x, y = golden["lstm_no_bias"]
    yes_no = from_torch(state, estimator="classifier", classes=["yes", "no"])  # one logit: that of "no"
    assert yes_no.predict(x).tolist() == np.where(y[:, 0] > 0, "no", "yes").tolist()
    state, x, y = golden["lstm"]
    labels = from_torch(state, estimator="classifier", multilabel=True)
    assert_allclose(labels.predict_proba(x), 1 / (1 + np.exp(-y)))
    assert labels.predict(x).tolist() == (y > 0).astype(int).tolist()


def state_dict(prefix="lstm.", features=2, units=3, gates=4, **changes):
    shapes = {"weight_ih_l0": (gates * units, features), "weight_hh_l0": (gates * units, units)}
    shapes |= {"bias_ih_l0": gates * units, "bias_hh_l0": gates * units}
    state = {prefix + name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    state |= {"fc.weight": np.zeros((2, units), np.float32), "fc.bias": np.zeros(2, np.float32)} | changes
    return {name: array for name, array in state.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"norm.weight": np.zeros(3)}, ValueError, r"belong to no LSTM, .*: norm.weight of shape \(3,\)"),
        ({"fc.weight": None}, ValueError, "belong to no .*: fc.bias"),
        ({"lstm.weight_hh_l0": None}, ValueError, "missing entries: lstm.weight_hh_l0"),
        ({"lstm.bias_hh_l0": None}, ValueError, "missing entries: lstm.bias_hh_l0"),
        ({"lstm.weight_ih_l0_reverse": np.zeros((12, 2))}, ValueError, "missing entries: lstm.weight_hh_l0_reverse"),
        ({"lstm.weight_ih_l2": np.zeros((12, 3))}, ValueError, "missing entries: lstm.weight_ih_l1, .*"),
        ({"lstm.weight_hr_l0": np.zeros((2, 3))}, ValueError, "proj_size"),
        ({"lstm.weight_hh_l0": np.zeros((15, 3))}, ValueError, r"lstm.weight_hh_l0 must have shape \(G H, H\)"),
        ({"lstm.weight_ih_l0": np.zeros((9, 2))}, ValueError, r"weight_ih_l0 must have shape \(12, 2\), got \(9, 2\)"),
        ({"lstm.bias_ih_l0": np.zeros(3)}, ValueError, r"lstm.bias_ih_l0 must have shape \(12,\), got \(3,\)"),
        ({"fc.bias": np.zeros(3)}, ValueError, r"fc.bias must have shape \(2,\), got \(3,\)"),
        ({"fc.weight": np.zeros((2, 4))}, ValueError, "'fc.weight' takes 4 inputs, but 'lstm.l0' below has 3 outputs"),
        ({"fc.weight": np.zeros((2, 3), np.float16)}, TypeError, "fc.weight must hold float32 or float64 .* float16"),
        ({"fc.weight": np.zeros((2, 3), int)}, TypeError, "fc.weight must hold float32 or float64 .* int64"),
        ({"fc.weight": [[1.0, 2.0], [3.0]]}, TypeError, "fc.weight cannot be read as an array"),
        ({"fc.weight": np.full((2, 3), np.nan)}, ValueError, r"fc.weight contains NaN"),
        (state_dict("other."), ValueError, "several recurrent modules, 'lstm.', 'other.'"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named(changes, error, message):
    with pytest.raises(error, match=message):
        from_torch(state_dict(**changes))


@pytest.mark.parametrize(
    ("state", "arguments", "error", "message"),
    [
        ([1, 2], {}, TypeError, "got list; of a module pass"),
        ({}, {}, ValueError, "no entry of a recurrent layer, such as weight_ih_l0, among none"),
        ({"fc.weight": np.zeros((2, 3))}, {}, ValueError, "among fc.weight"),
        (state_dict(), {"nonlinearity": "elu"}, ValueError, "nonlinearity must be 'tanh' or 'relu', got 'elu'"),
        (state_dict(), {"estimator": "both"}, ValueError, "estimator must be one of .*, got 'both'"),
        (state_dict(), {"classes": ["a", "b"]}, ValueError, "a regressor has no classes"),
        (state_dict(), {"estimator": "classifier", "classes": ["a"]}, ValueError, "classes must be 2 different labels"),
        (state_dict(), {"pooling": "sum"}, ValueError, "pooling must be one of"),
        (state_dict(), {"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64'"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(state, arguments, error, message):
    with pytest.raises(error, match=message):
        from_torch(state, **arguments)


def test_a_file_that_is_no_safetensors(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK" + bytes(100))
    with pytest.raises(ValueError, match=r"model.pt is not a safetensors file: .* torch.load"):
        from_torch(path)
    with pytest.raises(FileNotFoundError):
        from_torch(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "lstm-peephole"}, "PyTorch has no layer with cell='lstm-peephole'"),
        ({"cell": "gru-reset-before"}, "cell='gru-reset-before'"),
        ({"cell": "rnn", "activation": "elu"}, "activation='elu'"),
        (
            {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
            "activation='relu', recurrent_activation='hard_",
        ),
    ],
)
def test_to_torch_names_what_torch_does_not_have(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_torch(fitted(**arguments), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_to_torch_wants_a_fitted_estimator():
    with pytest.raises(TypeError, match="expected an LSTMClassifier or LSTMRegressor, got dict"):
        to_torch({})
    with pytest.raises(ValueError, match="not fitted"):
        to_torch(lstmfast.LSTMRegressor())


# ---- PyTorch itself ----


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_loads_what_to_torch_gives(cell, variant, dtype):
    torch = pytest.importorskip("torch")
    from torch import nn

    model = fitted(cell=cell, dtype=dtype, **VARIANTS[variant])
    sizes, n_directions = np.atleast_1d(model.hidden_layer_sizes).tolist(), 1 + model.bidirectional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            kind, options = getattr(nn, cell.upper()), {"batch_first": True, "bidirectional": model.bidirectional}
            if len(set(sizes)) == 1:
                self.rnn = kind(3, sizes[0], len(sizes), **options)
            else:
                inputs = [3, *(n_directions * units for units in sizes)]
                self.rnn = nn.ModuleList(kind(*pair, 1, **options) for pair in zip(inputs, sizes, strict=False))
            size = n_directions * sizes[-1]
            if model.dense_layer_sizes:
                self.dense = nn.ModuleList()
                for units in model.dense_layer_sizes:
                    self.dense.append(nn.Linear(size, units))
                    size = units
            self.head = nn.Linear(size, 2)

        def forward(self, x):
            for layer in self.rnn if isinstance(self.rnn, nn.ModuleList) else [self.rnn]:
                x, h = layer(x)
            h = h[0] if cell == "lstm" else h
            last = torch.cat([h[-2], h[-1]], 1) if model.bidirectional else h[-1]
            z = {"last": last, "mean": x.mean(1), "max": x.amax(1)}[model.pooling]
            for layer in getattr(self, "dense", []):
                z = layer(z).relu()
            return self.head(z)

    module = Model().to(getattr(torch, dtype))
    state = {name: torch.from_numpy(array) for name, array in to_torch(model).items()}
    module.load_state_dict(state, strict=True)
    X = sequences().astype(dtype)
    expected = module(torch.from_numpy(X)).detach().numpy()
    assert_allclose(outputs(model, X), expected, rtol=1e-6, atol=1e-6 if dtype == "float64" else 5e-6)
    # Tensors that need gradients are read too.
    back = from_torch(dict(module.named_parameters()), pooling=model.pooling)
    assert (back.predict(X) == model.predict(X)).all()


def test_half_precision_is_refused():
    torch = pytest.importorskip("torch")
    state = torch.nn.LSTM(2, 3).bfloat16().state_dict()
    with pytest.raises(TypeError, match=r"weight_ih_l0 cannot be read as an array: .*BFloat16"):
        from_torch(state)
