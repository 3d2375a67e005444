"""Arguments, weights, numeric limits and pickles of every estimator (rows 43 to 67 and 95 of the table in
tests/README.md). What is wrong with an argument: test_estimator_faults.py, whose lists these tests take."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from every_estimator import EXAMPLES
from sklearn.exceptions import ConvergenceWarning
from test_estimator_faults import BAD_PARAMETERS
from test_faults_inputs import state_of

import lstmfast
from lstmfast import VersionWarning
from lstmfast.__main__ import main
from lstmfast.optimizers import Optimizer

KINDS = list({example.kind: name for name, example in EXAMPLES.items()}.values())  # one example of each estimator
ABSENT = {  # arguments that some estimators do not have
    "pooling": ("LSTMTagger", "LSTMLanguageModel", "LSTMRecommender", "LSTMTranslator"),
    "bidirectional": ("LSTMLanguageModel", "LSTMRecommender"),
}


@pytest.mark.parametrize("name", KINDS)
def test_bad_arguments_are_refused_43_to_52(name):
    example = EXAMPLES[name]
    estimator = example.fitted()
    parameters, state = estimator.get_params(), state_of(estimator)
    for _, argument, value, message in BAD_PARAMETERS:
        if argument not in parameters:
            assert example.kind in ABSENT[argument] or (example.kind, argument) == ("LSTMTranslator", "bidirectional")
            continue
        with pytest.raises((TypeError, ValueError), match=message):
            estimator.set_params(**{argument: value}).fit(*example.fit)
        assert state_of(estimator) == state, (argument, value)
        estimator.set_params(**{argument: parameters[argument]})
    with pytest.raises(ValueError, match="Invalid parameter 'unknown'"):
        estimator.set_params(unknown=1)
    for argument, value in (
        ("n_jobs", 10**6),
        ("n_jobs", -5),
        ("batch_size", 10**6),
        ("hidden_layer_sizes", np.int64(5)),
    ):
        estimator.set_params(**{argument: value})  # capped, or accepted
    assert estimator.fit(*example.fit).n_iter_ == 2


@pytest.mark.parametrize("name", ["classifier_convolutions_attention", "transformer"])
@pytest.mark.parametrize(
    "layers", [5, (5,), (5, 0), ((5, 0),), ((5, 2, 1),), ((5, 2.5),), (("a", 2),), ((True, 2),), "ab"]
)
def test_bad_convolutions_43(name, layers):
    example = EXAMPLES[name]
    with pytest.raises((TypeError, ValueError), match="conv_layers"):
        example.estimator(conv_layers=layers).fit(*example.fit)


@pytest.mark.parametrize("name", EXAMPLES)
def test_arguments_changed_after_fit_54(name):
    """Predictions use what was fitted; what cannot be is said."""
    example = EXAMPLES[name]
    estimator = example.fitted()
    expected = example.answers(estimator)
    changes = {"hidden_layer_sizes": (7, 7), "cell": "rnn", "activation": "relu", "dtype": "float64", "alpha": 0.5}
    for method, value in example.answers(estimator.set_params(**changes)).items():
        np.testing.assert_array_equal(value, expected[method])


@pytest.mark.parametrize("name", EXAMPLES)
def test_weights_that_are_overwritten_55_56(name):
    example = EXAMPLES[name]
    estimator = example.fitted()
    expected = example.answers(estimator)
    layers = [layer for layer in estimator.layers_ if hasattr(layer, "arrays")]
    assert layers
    for layer in layers:
        for parameter, array in layer.arrays.items():
            for wrong in (array[:-1], np.zeros((*array.shape, 1)), np.full(array.shape, np.nan), None, "a", array + 1j):
                with pytest.raises((TypeError, ValueError), match=parameter):
                    setattr(layer, parameter, wrong)
            with pytest.raises(ValueError, match="read-only"):
                getattr(layer, parameter)[...] = 0
            with pytest.raises(AttributeError):
                delattr(layer, parameter)
            setattr(layer, parameter, np.asfortranarray(array, dtype=np.float64))  # the same values
    with pytest.raises(AttributeError):
        estimator.layers_ = []
    for method, value in example.answers(estimator).items():
        np.testing.assert_array_equal(value, expected[method])


@pytest.mark.parametrize("name", KINDS)
def test_divergence_leaves_finite_weights_62(name):
    example = EXAMPLES[name]
    arguments = {
        "learning_rate_init": 1e30,
        "clip_norm": None,
        "solver": "sgd",
        "momentum": 0.0,
        "activation": "identity",
    }
    with pytest.warns(ConvergenceWarning, match="Training diverged in epoch 1"):
        estimator = example.estimator(**arguments).fit(*example.fit)
    assert estimator.stop_reason_ == "diverged"
    assert np.isfinite(estimator._network.parameters).all()


@pytest.mark.parametrize("name", KINDS)
def test_clipping_keeps_exploding_gradients_finite_63(name):
    example = EXAMPLES[name]
    estimator = example.estimator(clip_norm=1e-3, learning_rate_init=1.0, solver="sgd", max_iter=5).fit(*example.fit)
    assert estimator.stop_reason_ != "diverged"
    assert np.isfinite(estimator._network.parameters).all()


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "rmsprop"])
def test_steps_are_counted_in_64_bits_64(solver):
    network = EXAMPLES["classifier"].fitted()._network
    optimizer = Optimizer(
        network, solver=solver, alpha=0.0, l1_ratio=0.0, clip_norm=None, momentum=0.9, nesterovs_momentum=True,
        beta_1=0.9, beta_2=0.999, epsilon=1e-8,
    )  # fmt: skip
    before = network.parameters.copy()
    network.gradients[...] = 1
    optimizer.n_steps = 2**31 - 2
    for _ in range(3):
        optimizer.step(network, 1e-3, 1.0)
    assert optimizer.n_steps == 2**31 + 1
    assert np.isfinite(network.parameters).all()
    assert (network.parameters < before).all()


@pytest.mark.parametrize("name", EXAMPLES)
def test_any_errstate_of_the_caller_66(name):
    example = EXAMPLES[name]
    expected = example.answers(example.fitted())
    with np.errstate(all="raise"):
        answers = example.answers(example.fitted())
    for method, value in answers.items():
        np.testing.assert_array_equal(value, expected[method])


@pytest.mark.parametrize("name", KINDS)
def test_pickles_of_another_release_95(name):
    estimator = EXAMPLES[name].fitted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin = pickle.loads(pickle.dumps(estimator))  # the same release
    assert state_of(twin) == state_of(pickle.loads(pickle.dumps(twin)))
    state = estimator.__getstate__()
    for version in ("0.0.1", None):
        other = dict(state, _lstmfast_version=version)
        if version is None:
            del other["_lstmfast_version"]
        with pytest.warns(VersionWarning, match=rf"pickled by lstmfast {version or 'another release'} and is read by"):
            object.__new__(type(estimator)).__setstate__(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(parameters=state["parameters"][:-1]), "parameters do not fit a network"),
        (lambda state: state.update(parameters=state["parameters"] * np.nan), "parameters must be finite"),
        (lambda state: state["config"].update(hidden_layer_sizes=[6]), "parameters do not fit a network"),
        (lambda state: state["config"].update(hidden_layer_sizes=[-5]), "hidden_size must be"),
        (lambda state: state["config"].update(dtype="float16"), "float16"),
        (lambda state: state["config"].update(cell="no cell"), "no cell"),
    ],
)
def test_pickled_networks_that_were_edited_95(change, message):
    network = EXAMPLES["classifier"].fitted()._network
    state = {name: value.copy() for name, value in network.__getstate__().items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        object.__new__(type(network)).__setstate__(state)


def test_importing_changes_no_floating_point_state_65():
    code = "import sys, lstmfast, lstmfast._core, lstmfast.runtime; sys.exit(sys.float_info.min / 2 == 0)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04" + bytes(600), pickle.dumps({"a": 1})])
def test_the_command_line_refuses_other_files_91(tmp_path, capsys, content):
    (tmp_path / "model").write_bytes(content)
    for command in (["info"], ["predict"]):
        assert main([*command, str(tmp_path / "model")]) == 2
        assert "not an lstmfast model (pickle files are never loaded)" in capsys.readouterr().err
    for pretrained in (str(tmp_path / "model"), tmp_path / "model"):
        with pytest.raises(lstmfast.ModelFormatError, match="not an lstmfast model"):
            EXAMPLES["classifier"].estimator(pretrained=pretrained).fit(*EXAMPLES["classifier"].fit)
