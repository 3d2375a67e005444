"""Speed of every cell beside the standard LSTM: `python -m benchmarks.cells`.

Rates in multiply-adds a second, forward, and forward with backward, on one thread, as shares of the LSTM's in the same
rounds.
"""

import argparse
import statistics
import time

import numpy as np

from lstmfast import _core
from lstmfast.layers import recurrent_layer
from lstmfast.workspace import Workspace

CASES = [(cell, "tanh") for cell in _core.CELLS] + [("lstm", "relu"), ("lstm", "softsign")]


def multiply_adds(layer):
    """Of one step forward: the entries of its matrices."""
    return sum(array.size for array in layer.directions[0].arrays.values() if array.ndim == 2 and len(array) > 3)


def prepare(cell, activation, n, steps, inputs, units):
    """(layer, forward, forward with backward)."""
    layer = recurrent_layer(cell, inputs, units, activation=activation, random_state=0)
    x = np.random.default_rng(0).standard_normal((n * steps, inputs), np.float32)
    dh = np.ones((1, n, units), np.float32)
    batch, workspace, training = _core.Batch(np.full(n, steps)), Workspace(), Workspace()

    def forward():
        layer.run(batch, x, sequence=False, workspace=workspace)

    def backward():
        tape = layer.run(batch, x, sequence=False, training=True, workspace=training)[-1]
        layer.run_backward(tape, dh=dh, input_gradient=False)

    return layer, forward, backward


def seconds(call, duration):
    """Least time of a call over some seconds."""
    times, started = [], time.perf_counter()
    while time.perf_counter() - started < duration or len(times) < 3:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return min(times)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cells", description=__doc__)
    parser.add_argument("--shape", default="64,100,64,128", metavar="B,T,I,H", help="default: 64,100,64,128")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each cell (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a turn (default: 0.1)")
    arguments = parser.parse_args()
    shape = [int(size) for size in arguments.shape.split(",")]
    prepared = [prepare(*case, *shape) for case in CASES]
    times = [([], []) for _ in CASES]
    for _ in range(arguments.rounds):
        for (_, *calls), record in zip(prepared, times, strict=True):
            for call, values in zip(calls, record, strict=True):
                values.append(seconds(call, arguments.seconds))
    rates = [
        [multiply_adds(layer) / statistics.median(values) for values in record]
        for (layer, *_), record in zip(prepared, times, strict=True)
    ]
    print("| cell | activation | parameters | multiply-adds a step | forward | with backward |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (cell, activation), (layer, *_), rate in zip(CASES, prepared, rates, strict=True):
        parameters = sum(array.size for array in layer.directions[0].arrays.values())
        shares = [f"{own / reference:.2f}" for own, reference in zip(rate, rates[0], strict=True)]
        print(f"| {cell} | {activation} | {parameters} | {multiply_adds(layer)} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
