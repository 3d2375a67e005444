"""Write onnx.npz: what ONNX Runtime computes, in float32 and forward only, for the cells and activations that ONNX has.

    python make_onnx.py         (needs onnx, onnxruntime and numpy; the tests that read the file need numpy only)

Legend: n sequences, T steps, F features, H hidden units, D directions.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

SIZES = 3, 5, 2, 3  # n, T, F, H
# Our kinds: ONNX's operator, our gates, the order that ONNX has them in, the operator's attributes
OPERATORS = {
    "lstm": ("LSTM", "ifgo", "iofg", {}),
    "lstm-peephole": ("LSTM", "ifgo", "iofg", {}),
    "lstm-coupled": ("LSTM", "fgo", "iofg", {"input_forget": 1}),
    "gru": ("GRU", "rzn", "zrn", {"linear_before_reset": 1}),
    "gru-reset-before": ("GRU", "rzn", "zrn", {"linear_before_reset": 0}),
    "rnn": ("RNN", "h", "h", {}),
}
# Our activations: ONNX's name and its alpha and beta, if it has them
ACTIVATIONS = {
    "tanh": ("Tanh", [], []),
    "relu": ("Relu", [], []),
    "sigmoid": ("Sigmoid", [], []),
    "identity": ("Affine", [1.0], [0.0]),
    "softsign": ("Softsign", [], []),
    "elu": ("Elu", [1.0], []),
    "hard_sigmoid": ("HardSigmoid", [1 / 6], [0.5]),
}
#   activation, recurrent activation, clip; every second one bidirectional, ragged and with initial states
ALL_ACTIVATIONS = (
    ("tanh", "sigmoid", 0.5),
    ("relu", "hard_sigmoid", None),
    ("sigmoid", "sigmoid", None),
    ("identity", "sigmoid", 0.75),
    ("softsign", "hard_sigmoid", None),
    ("elu", "sigmoid", None),
)
SOME_ACTIVATIONS = (("tanh", "sigmoid", None), ("tanh", "sigmoid", 0.5), ("elu", "hard_sigmoid", None))
CASES = {
    **dict.fromkeys(("lstm", "gru", "rnn"), ALL_ACTIVATIONS),
    **dict.fromkeys(("lstm-peephole", "lstm-coupled", "gru-reset-before"), SOME_ACTIVATIONS),
}


def draw(rng, *shape):
    """Normal numbers rounded to multiples of 2^-10: float32 holds them, and what we compute from them, exactly."""
    return np.round(rng.normal(size=shape) * 1024).astype(np.float32) / 1024


def make_parameters(rng, kind):
    _, gates, _, _ = OPERATORS[kind]
    _, _, F, H = SIZES
    columns = len(gates) * H
    parameters = {
        "kernel": draw(rng, F, columns),
        "recurrent_kernel": draw(rng, H, columns),
        "bias": draw(rng, columns),
    }
    if kind == "gru":
        parameters["recurrent_bias"] = draw(rng, H)
    if kind == "lstm-peephole":
        parameters["peephole"] = draw(rng, 3, H)
    return parameters


def theirs(kind, parameters):
    """The inputs W, R, B and P (or "") of ONNX's operator, of one direction."""
    _, gates, order, _ = OPERATORS[kind]

    def blocks(array):
        by_gate = dict(zip(gates, np.split(array.T, len(gates)), strict=True))
        if kind == "lstm-coupled":  # ONNX's f = 1 - i is our i = 1 - f, where σ(-z) = 1 - σ(z); it skips its own f
            by_gate |= {"i": -by_gate["f"], "f": np.zeros_like(by_gate["f"])}
        return np.concatenate([by_gate[gate] for gate in order])

    bias = blocks(parameters["bias"])
    recurrent_bias = np.zeros_like(bias)
    if kind == "gru":
        recurrent_bias[-len(parameters["recurrent_bias"]) :] = parameters["recurrent_bias"]
    peephole = parameters["peephole"][[0, 2, 1]].ravel() if kind == "lstm-peephole" else None  # theirs: i, o, f
    return blocks(parameters["kernel"]), blocks(parameters["recurrent_kernel"]), np.r_[bias, recurrent_bias], peephole


def make_case(rng, kind, activation, recurrent_activation, clip, full):
    """full: bidirectional, ragged and with initial states; otherwise none of these."""
    import onnx  # here, because pytest imports this file in search of doctests
    import onnxruntime

    n, T, F, H = SIZES
    operator, _, _, attributes = OPERATORS[kind]
    directions = ("forward", "backward")[: 2 if full else 1]
    D = len(directions)
    parameters = {direction: make_parameters(rng, kind) for direction in directions}
    x = draw(rng, n, T, F)
    lengths = rng.permutation(np.r_[1, T, rng.integers(1, T + 1, n - 2)]) if full else np.full(n, T)
    states = "hc" if operator == "LSTM" else "h"
    first = {name: draw(rng, n, D, H) * full for name in states}

    # (1) the model: one operator, its inputs Z constants: X W R B sequence_lens initial_h initial_c P
    W, R, B, P = (
        None if values[0] is None else np.stack(values)
        for values in zip(*(theirs(kind, parameters[direction]) for direction in directions), strict=True)
    )
    inputs = {"X": x.swapaxes(0, 1), "W": W, "R": R, "B": B, "sequence_lens": lengths.astype(np.int32)}
    inputs |= {f"initial_{name}": state.swapaxes(0, 1) for name, state in first.items()}
    inputs |= {} if P is None else {"P": P}
    phi, sigma = ACTIVATIONS[activation], ACTIVATIONS[recurrent_activation]
    functions = {"LSTM": (sigma, phi, phi), "GRU": (sigma, phi), "RNN": (phi,)}[operator] * D
    attributes = attributes | {"activations": [name for name, _, _ in functions]}
    for k, name in [(1, "activation_alpha"), (2, "activation_beta")]:  # one after the other, of those that have one
        numbers = [number for function in functions for number in function[k]]
        attributes |= {name: numbers} if numbers else {}
    attributes |= {"hidden_size": H, "direction": "bidirectional" if full else "forward"}
    attributes |= {} if clip is None else {"clip": clip}
    outputs = ["Y", *(f"Y_{name}" for name in states)]
    node = onnx.helper.make_node(operator, list(inputs), outputs, **attributes)
    values = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in inputs.items()]
    shapes = [(T, D, n, H), (D, n, H), (D, n, H)]
    results = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in zip(outputs, shapes, strict=False)]
    graph = onnx.helper.make_graph([node], kind, [], results, values)  # 1 above: float
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)

    # (2) what it computes
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y, *last = session.run(None, {})

    def ours(state):
        """(n, D, H) -> (n, H) unless bidirectional."""
        return state if full else state[:, 0]

    cell = {"kind": kind, "activation": activation, "recurrent_activation": recurrent_activation}
    cell |= {} if clip is None else {"clip": clip}
    case = {f"cell/{name}": np.array(value) for name, value in cell.items()}
    case |= {"x": x, "lengths": lengths, "y": y.transpose(2, 0, 1, 3).reshape(n, T, D * H)}
    case |= {f"layers/0/{name}0": ours(state) for name, state in first.items() if full}
    case |= {f"layers/0/{name}": ours(s.swapaxes(0, 1)) for name, s in zip(states, last, strict=True)}
    for direction in directions:
        case |= {f"layers/0/{direction}/{name}": array for name, array in parameters[direction].items()}
    return case


def main():
    arrays = {}
    for kind, configurations in CASES.items():
        for k, (activation, recurrent_activation, clip) in enumerate(configurations):
            name = "-".join([kind, activation, recurrent_activation, *(["clip"] if clip else [])])
            case = make_case(np.random.default_rng(k), kind, activation, recurrent_activation, clip, full=k % 2 == 1)
            arrays |= {f"{name}/{key}": value for key, value in case.items()}
    path = Path(__file__).with_name("onnx.npz")
    np.savez_compressed(path, **arrays)
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnx", "onnxruntime", "numpy"))
    print(f"{path}: {sum(map(len, CASES.values()))} cases, {path.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
