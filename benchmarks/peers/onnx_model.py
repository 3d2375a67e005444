"""A case as an ONNX model, for the libraries that run those."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .cases import weights

OPSET = 17  # LSTM has been the same since 14, apart from types
GATE_ORDER = (0, 3, 1, 2)  # i, o, f, g


def build(case, *, state=False, ragged=False):
    """The model's bytes. Input "x" (T, B, I), output "h" (directions, B, H): the top layer's last output.

    With `state`, for one layer: inputs "h0" and "c0", output "c", all shaped like "h". With `ragged`: input "lengths",
    int32 (B,).
    """
    nodes, constants, y = [], [], "x"
    for i, directions in enumerate(weights(case)["layers"]):
        arrays = {
            f"w{i}": _gates([given["kernel"].T for given in directions]),
            f"r{i}": _gates([given["recurrent_kernel"].T for given in directions]),
            f"b{i}": np.pad(_gates([given["bias"] for given in directions]), ((0, 0), (0, 4 * case.hidden))),
        }
        constants += [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        is_top = i == case.layers - 1
        nodes.append(
            helper.make_node(
                "LSTM", [y, *arrays, "lengths" if ragged else "", *(["h0", "c0"] if state else [])],
                ["", "h", *(["c"] if state else [])] if is_top else [f"y{i}"],
                hidden_size=case.hidden, direction="bidirectional" if case.bidirectional else "forward",
            )
        )  # fmt: skip
        if not is_top:
            # (T, directions, B, H) to (T, B, directions * H)
            constants.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), f"shape{i}"))
            nodes.append(helper.make_node("Transpose", [f"y{i}"], [f"by_row{i}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"by_row{i}", f"shape{i}"], [f"joined{i}"]))
            y = f"joined{i}"

    def value(name, *shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    h_shape = (case.directions, case.batch, case.hidden)
    graph = helper.make_graph(
        nodes, "lstm", [value("x", case.steps, case.batch, case.inputs),
                        *([value("lengths", case.batch, kind=TensorProto.INT32)] if ragged else []),
                        *(value(name, *h_shape) for name in (("h0", "c0") if state else ()))],
        [value(name, *h_shape) for name in (("h", "c") if state else ("h",))], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return model.SerializeToString()


def _gates(arrays):
    """Arrays whose first axis is 4H, one a direction, with ONNX's order of gates."""
    return np.stack([np.concatenate([np.split(array, 4)[gate] for gate in GATE_ORDER]) for array in arrays])
