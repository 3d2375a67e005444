"""OpenVINO's worker."""

from functools import partial
from itertools import cycle

import numpy as np
import openvino

from .cases import data, lengths
from .onnx_model import build
from .worker import check_outputs, check_steps, serve


def compile_model(model, threads):
    """One request at a time, as fast as it goes; float32, where the default may be bfloat16."""
    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
    }  # fmt: skip
    return core.compile_model(core.read_model(model), "CPU", settings)


def bind(compiled, tensors):
    """A request that reads and writes these tensors, by name."""
    request = compiled.create_infer_request()
    for name, tensor in tensors.items():
        request.set_tensor(name, tensor)
    return request


def zeros(case):
    """A place for h or c."""
    return openvino.Tensor(np.zeros((case.directions, case.batch, case.hidden), np.float32))


def time_major(case):
    """x (T, B, I): ONNX's operator takes no other order."""
    return openvino.Tensor(np.ascontiguousarray(data(case)[0].transpose(1, 0, 2)))


def inference(case, threads):
    """LSTM operators."""
    return infer_or_start(case, compile_model(build(case), threads), {"x": time_major(case)})


def ragged_inference(case, threads):
    """Padded, the operator's own lengths."""
    n_steps = openvino.Tensor(lengths(case).astype(np.int32))
    compiled = compile_model(build(case, ragged=True), threads)
    return infer_or_start(case, compiled, {"x": time_major(case), "lengths": n_steps})


def infer_or_start(case, compiled, inputs):
    """Two ways to call a model."""
    h = zeros(case)
    request = bind(compiled, {**inputs, "h": h})

    def infer():
        request.infer(share_outputs=True)

    def start_and_wait():
        request.start_async()
        request.wait()

    def way(run):
        h.data[...] = 0
        run()
        return run, check_outputs(h.data)

    return {"infer": lambda: way(infer), "start_async, wait": lambda: way(start_and_wait)}


def step(case, threads):
    """Two requests by turns: the states that one writes the other reads."""
    compiled, x = compile_model(build(case, state=True), threads), time_major(case)

    def stepper(way):
        states = [(zeros(case), zeros(case)) for _ in range(2)]
        requests = [
            bind(compiled, {"x": x, "h0": h0, "c0": c0, "h": h, "c": c}) for (h0, c0), (h, c) in (states, states[::-1])
        ]
        by_turns, turns = cycle(requests).__next__, [0]

        def infer():
            by_turns().infer(share_outputs=True)

        def start_and_wait():
            request = by_turns()
            request.start_async()
            request.wait()

        run = {"infer": infer, "start_async, wait": start_and_wait}[way]

        def counted():
            turns[0] += 1
            run()

        return run, check_steps(counted, lambda: states[turns[0] % 2][0].data)

    return {way: partial(stepper, way) for way in ("infer", "start_async, wait")}


if __name__ == "__main__":
    serve(
        lambda: f"OpenVINO {openvino.__version__.split('-')[0]}",
        {"inference": inference, "ragged-inference": ragged_inference, "step": step},
    )
