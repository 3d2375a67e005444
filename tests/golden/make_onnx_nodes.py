"""Write onnx_nodes.npz: the ONNX project's own tests of the operators LSTM, GRU and RNN, all of them.

python make_onnx_nodes.py       (needs onnx and numpy; the tests that read the file need numpy only)
"""

import importlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np


def node_cases():
    """{name: (operator, attributes, inputs, outputs)}; inputs and outputs are dicts of arrays by ONNX's names."""
    from onnx.helper import get_attribute_value  # here, because pytest imports this file in search of doctests

    cases = {}

    def collect(node, inputs, outputs, name):
        attributes = {entry.name: get_attribute_value(entry) for entry in node.attribute}
        attributes = {key: value.decode() if isinstance(value, bytes) else value for key, value in attributes.items()}
        present = [dict(zip(filter(None, names), arrays, strict=True)) for names, arrays in
                   ((node.input, inputs), (node.output, outputs))]  # fmt: skip
        cases[name] = (node.op_type, attributes, *present)

    for operator in ("LSTM", "GRU", "RNN"):
        module = importlib.import_module(f"onnx.backend.test.case.node.{operator.lower()}")
        original, module.expect = module.expect, collect
        try:
            exporter = getattr(module, operator)
            for name in dir(exporter):
                if name.startswith("export"):
                    getattr(exporter, name)()
        finally:
            module.expect = original
    return cases


def main():
    arrays, cases = {}, node_cases()
    for name, (operator, attributes, inputs, outputs) in cases.items():
        arrays[f"{name}/node"] = np.array(json.dumps([operator, attributes]))
        arrays |= {f"{name}/inputs/{key}": array for key, array in inputs.items()}
        arrays |= {f"{name}/outputs/{key}": array for key, array in outputs.items()}
    path = Path(__file__).with_name("onnx_nodes.npz")
    np.savez_compressed(path, **arrays)
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnx", "numpy"))
    print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
