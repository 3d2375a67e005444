"""ONNX Runtime's worker."""

from itertools import cycle

import numpy as np
import onnxruntime

from .cases import data, lengths
from .onnx_model import build
from .worker import check_outputs, check_steps, serve


def start_session(model, threads):
    """All graph optimisations, operators one after the other, each with `threads`, which spin as they do by default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # that there is no GPU is no news
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bind(session, inputs, outputs):
    """An IO binding of arrays by name: neither looks names up nor allocates when it runs."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, array)
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, array)
    return binding


def empty(case):
    """A place for h or c, zero."""
    zeros = np.zeros((case.directions, case.batch, case.hidden), np.float32)
    return onnxruntime.OrtValue.ortvalue_from_numpy(zeros)


def time_major(case):
    """x (T, B, I): the operator takes no other order."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(data(case)[0].transpose(1, 0, 2)))


def inference(case, threads):
    """LSTM operators."""
    return infer(case, start_session(build(case), threads), {"x": time_major(case)})


def ragged_inference(case, threads):
    """Padded, the operator's own lengths."""
    n_steps = onnxruntime.OrtValue.ortvalue_from_numpy(lengths(case).astype(np.int32))
    session = start_session(build(case, ragged=True), threads)
    return infer(case, session, {"x": time_major(case), "lengths": n_steps})


def infer(case, session, inputs):
    """A run of a model."""
    h = empty(case)
    binding = bind(session, inputs, {"h": h})

    def run():
        session.run_with_iobinding(binding)

    run()
    return run, check_outputs(h.numpy())


def step(case, threads):
    """Two bindings by turns: the states that one writes the other reads."""
    session, x = start_session(build(case, state=True), threads), time_major(case)
    states = [{name: empty(case) for name in "hc"} for _ in range(2)]
    bindings = [
        bind(session, {"x": x, "h0": before["h"], "c0": before["c"]}, after) for before, after in (states, states[::-1])
    ]
    by_turns, run_one, last = cycle(bindings).__next__, session.run_with_iobinding, {}

    def run():
        last["binding"] = binding = by_turns()
        run_one(binding)

    def h():
        return states[1 - bindings.index(last["binding"])]["h"].numpy()

    values = check_steps(run, h)
    return (lambda: run_one(by_turns())), values


if __name__ == "__main__":
    serve(
        lambda: f"ONNX Runtime {onnxruntime.__version__}",
        {"inference": inference, "ragged-inference": ragged_inference, "step": step},
    )
