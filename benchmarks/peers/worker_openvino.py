"""OpenVINO's worker."""

from itertools import cycle

import numpy as np
import openvino

from .cases import data
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
    x, h = time_major(case), zeros(case)
    request = bind(compile_model(build(case), threads), {"x": x, "h": h})

    def infer():
        request.infer(share_outputs=True)

    def start_and_wait():
        request.start_async()
        request.wait()

    ways = {}
    for name, run in {"infer": infer, "start_async, wait": start_and_wait}.items():
        h.data[...] = 0
        run()
        ways[name] = run, check_outputs(h.data)
    return ways


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

    return {way: stepper(way) for way in ("infer", "start_async, wait")}


if __name__ == "__main__":
    serve(lambda: f"OpenVINO {openvino.__version__.split('-')[0]}", {"inference": inference, "step": step})
