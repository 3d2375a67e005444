"""Gates and states that `explain` gives, against the reference, for every cell on every instruction set."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from reference import PARAMETERS, Cell, layer_forward
from test_explain_estimators import KINDS, SOURCES, TARGETS, TEXTS, X, Y, small

from lstmfast import LSTMClassifier, LSTMLanguageModel, LSTMTranslator, _core
from lstmfast.vocabulary import END


def reference_traces(kind, step):
    """(gates (G, H), state (H,)) of a step's cache in tests/reference.py."""
    if kind.startswith("lstm"):
        *_, i_value, f, g, o, c = step
        return np.stack((i_value, f.value, g.value, o.value)), c
    if kind.startswith("gru"):
        _, _, h_prev, r, z, _, n = step
        return np.stack((r.value, z.value, n.value)), (1 - z.value) * n.value + z.value * h_prev
    return step[1].value[None], step[1].value


def expected_traces(estimator, x):
    """(gates, states): for each layer (T, G, D H) and (T, D H)."""
    gates, states = [], []
    for layer in estimator._network.layers:
        cell = Cell(layer.cell.name, layer.cell.activation, layer.cell.recurrent_activation)
        parameters = [[direction.arrays[name] for name in PARAMETERS[cell.kind]] for direction in layer.directions]
        names = ["forward", "backward"][: len(parameters)]
        x, _, (_, _, caches) = layer_forward(x, dict(zip(names, parameters, strict=True)), cell=cell)
        both = []
        for (_, _, _, steps), order in zip(caches, (1, -1), strict=False):
            both.append([reference_traces(cell.kind, step) for step in steps][::order])
        gates.append(np.concatenate([[gate for gate, _ in steps] for steps in both], axis=2))
        states.append(np.concatenate([[state for _, state in steps] for steps in both], axis=1))
    return gates, states


TRACE = """
import pickle, sys
from lstmfast import _core
with open(sys.argv[1], "rb") as file:
    estimators, X = pickle.load(file)
found = [[estimator.explain(X, method) for method in ("gates", "states")] for estimator in estimators]
with open(sys.argv[2], "wb") as file:
    pickle.dump((_core.isa(), found), file)
"""


@pytest.fixture(scope="module")
def traced():
    """Estimators of every cell, with 1, 70 (more than four of the widest vectors) and 21 units, of both precisions; and
    for each what is expected of each sequence."""
    activations = {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}
    estimators = [
        small(LSTMClassifier, X, Y, cell=kind, max_iter=1, **parameters)
        for kind in KINDS
        for parameters in (
            {"hidden_layer_sizes": (70, 3), "dtype": "float64", **activations},
            {"hidden_layer_sizes": (1, 21), "bidirectional": True},
        )
    ]
    return estimators, [[expected_traces(e, x.astype(e.dtype)) for x in X] for e in estimators]


@pytest.mark.parametrize("isa", _core.available_isas())
def test_traces_on_every_instruction_set(isa, traced, tmp_path):
    estimators, expected = traced
    (tmp_path / "in").write_bytes(pickle.dumps((estimators, X)))
    environment = os.environ | {"LSTMFAST_ISA": isa, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", TRACE, tmp_path / "in", tmp_path / "out"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    used, found = pickle.loads((tmp_path / "out").read_bytes())
    assert used == isa
    for estimator, (gates, states), expected_of_sequences in zip(estimators, found, expected, strict=True):
        tolerance = 1e-12 if estimator.dtype == "float64" else 2e-6
        for ours, theirs in zip(zip(gates, states, strict=True), expected_of_sequences, strict=True):
            for layers, expected_layers in zip(ours, theirs, strict=True):
                for a, b in zip(layers, expected_layers, strict=True):
                    assert (a.shape, a.dtype) == (b.shape, estimator.dtype)
                    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_traces_of_other_estimators():
    language_model = small(LSTMLanguageModel, TEXTS, cell="lstm-coupled", hidden_layer_sizes=(5, 4))
    (gates,) = language_model.explain(["ab"], "gates")
    assert [trace.shape for trace in gates] == [(3, 4, 5), (3, 4, 4)]  # of the beginning, a and b
    np.testing.assert_array_equal(gates[0][:, 0], 1 - gates[0][:, 1])
    translator = small(LSTMTranslator, SOURCES, TARGETS, level="char", cell="gru", hidden_layer_sizes=(3,),
                       bidirectional=True)  # fmt: skip
    (written,) = translator.predict(["12"])
    ((encoder, decoder),) = translator.explain(["12"], "gates")
    assert encoder.shape == (3, 3, 6)
    assert decoder.shape == (len(written) + 1, 3, 3)
    ids = translator._vocabularies[0].encode(["12"])[0]
    vectors = translator._network.encoder.embedding.forward(np.append(ids, END))
    for name, direction, order, units in (("forward", 0, 1, slice(3)), ("backward", 1, -1, slice(3, 6))):
        layer = translator._network.encoder.layers[0].directions[direction]
        _, _, (_, _, ((_, _, _, steps),)) = layer_forward(
            vectors, {name: [layer.arrays[part] for part in PARAMETERS["gru"]]}, cell=Cell("gru")
        )
        expected = [reference_traces("gru", step)[0] for step in steps][::order]
        np.testing.assert_allclose(encoder[:, :, units], expected, atol=1e-6)
