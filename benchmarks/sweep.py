"""Cliffs: sizes at which a layer takes much longer than at the sizes next to them. `python -m benchmarks.sweep`."""

import argparse
import statistics
import time

import numpy as np

from lstmfast import _core
from lstmfast.layers import LSTM
from lstmfast.layers.initializers import BLANK
from lstmfast.workspace import Workspace

CLIFF = 1.5
ROUNDS, SURE_ROUNDS = 5, 25
TURN_SECONDS = 300e-6
N_SHOWN = 12


def prepare(shape, n_threads):
    """A call of one layer on B sequences of T steps, I inputs, H units, warmed up."""
    batch_size, steps, inputs, units = shape
    # Zero weights: what the arithmetic costs does not depend on the values.
    layer, x = LSTM(inputs, units, random_state=BLANK), np.ones((batch_size * steps, inputs), np.float32)
    batch, workspace = _core.Batch(np.full(batch_size, steps)), Workspace()

    def call():
        layer.run(batch, x, sequence=False, workspace=workspace, n_threads=n_threads)

    call()
    return call


def turn(call):
    """Median seconds of some calls."""
    taken, end = [], time.perf_counter() + TURN_SECONDS
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(shapes, n_threads, rounds):
    """Seconds of each shape: median over rounds, all shapes in each, so that neighbours are timed side by side."""
    seconds = [[turn(prepare(shape, n_threads)) for shape in shapes] for _ in range(rounds)]
    return np.median(seconds, 0)


def multiply_adds(shape):
    """Of the gates' products."""
    batch_size, steps, inputs, units = shape
    return batch_size * steps * (inputs + units) * 4 * units


def over_neighbours(seconds):
    """Each time over the shorter one of the sizes before and after."""
    padded = np.concatenate(([np.inf], seconds, [np.inf]))
    return seconds / np.minimum(padded[:-2], padded[2:])


def report(name, sizes, shapes, n_threads):
    """Print some sizes and every cliff; a cliff counts if it is there a second time, too."""
    seconds = measure(shapes, n_threads, ROUNDS)
    ratios, per = over_neighbours(seconds), [multiply_adds(shape) for shape in shapes] / seconds / 1e9

    def line(i):
        print(f"{sizes[i]:6} {seconds[i] * 1e6:10.1f} {per[i]:12.1f} {ratios[i]:16.2f}")

    b, t, i, h = ("*" if len({shape[k] for shape in shapes}) > 1 else shapes[0][k] for k in range(4))
    print(f"\n{name}, B,T,I,H = {b},{t},{i},{h}, threads: {n_threads}")
    print(f"{name:>6} {'us':>10} {'10^9 MAC/s':>12} {'over neighbours':>16}")
    for i in np.unique(np.linspace(0, len(sizes) - 1, N_SHOWN).astype(int)):
        line(i)
    cliffs = []
    for i in np.flatnonzero(ratios > CLIFF):
        around = slice(max(i - 1, 0), i + 2)
        again = over_neighbours(measure(shapes[around], n_threads, SURE_ROUNDS))[min(i, 1)]
        if again > CLIFF:
            ratios[i] = again
            cliffs.append(i)
    print(f"over {CLIFF} times a neighbour's: {len(cliffs)}")
    for i in cliffs:
        line(i)


def report_linearity(name, sizes, shapes, n_threads):
    """Print the time of each size over that of the one before, both for one unit of size; 1 is linear."""
    seconds = measure(shapes, n_threads, SURE_ROUNDS)
    each = seconds / sizes
    print(f"\nlinear in {name}? threads: {n_threads}")
    print(f"{name:>6} {'us':>10} {'us / ' + name:>12} {'over the one before':>20}")
    for size, total, one, ratio in zip(sizes, seconds, each, [1, *(each[1:] / each[:-1])], strict=True):
        print(f"{size:6} {total * 1e6:10.1f} {one * 1e6:12.2f} {ratio:20.2f}{'  <--' if ratio > CLIFF else ''}")


def main():
    """Sweep H and B one by one; T and B by doubling."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--threads", type=int, action="append", metavar="N", help="default: 1, and then 2")
    parser.add_argument("--units", type=int, default=520, metavar="H", help="up to so many (default: 520)")
    parser.add_argument("--sequences", type=int, default=300, metavar="B", help="up to so many (default: 300)")
    arguments = parser.parse_args()
    units, sequences = np.arange(1, arguments.units + 1), np.arange(1, arguments.sequences + 1)
    steps, batches = 25 * 2 ** np.arange(7), 2 ** np.arange(3, 12)
    for n_threads in arguments.threads or (1, 2):
        report("H", units, [(8, 20, 16, int(h)) for h in units], n_threads)
        report("B", sequences, [(int(b), 20, 16, 64) for b in sequences], n_threads)
        report_linearity("T", steps, [(8, int(t), 16, 64) for t in steps], n_threads)
        report_linearity("B", batches, [(int(b), 20, 16, 64) for b in batches], n_threads)


if __name__ == "__main__":
    main()
