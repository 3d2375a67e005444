"""The tables, in Markdown."""

import os
import platform
import statistics
from pathlib import Path

from .worker_sgemm import FLOPS as SGEMM_FLOPS


def describe_machine():
    """The processor's name and the number of processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} CPUs"


def timing(seconds):
    """Median and spread in milliseconds."""
    low, middle, high = (f"{1e3 * value:.3g}" for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle} ({low} .. {high})"


def rate(flops, seconds):
    """GFLOP/s."""
    return flops / seconds / 1e9


def table(results, flops, threads):
    """A row a case.

    Parameters
    ----------
    results : list of compare.Result
    flops : callable
        Operations of a case.
    threads : int
        Those of lstmfast.
    """
    peers = sorted({library for library, _ in results[0].seconds} - {"sgemm", "lstmfast"})
    counts = sorted(n for library, n in results[0].seconds if library == "sgemm")
    header = ["B,T,I,H", f"lstmfast, threads: {threads}"]
    header += [column for peer in peers for column in (peer, "its threads", f"{peer} / lstmfast")]
    header += ["lstmfast GFLOP/s", *(f"sgemm GFLOP/s, threads: {n}" for n in counts), "share of sgemm"]
    rows = [header, ["---"] * len(header)]
    for result in results:
        own = result.median("lstmfast", threads)
        row = [str(result.case), timing(result.seconds["lstmfast", threads])]
        for peer in peers:
            best = result.best_threads(peer)
            row += [timing(result.seconds[peer, best]), str(best), f"{result.median(peer, best) / own:.2f}"]
        reached = rate(flops(result.case), own)
        sgemm = {n: rate(SGEMM_FLOPS, result.median("sgemm", n)) for n in counts}
        row += [f"{reached:.0f}", *(f"{sgemm[n]:.0f}" for n in counts), f"{reached / sgemm[threads]:.0%}"]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def summary(results, threads):
    """Geometric mean of the best peer's time over lstmfast's; None without a peer."""
    ratios = []
    for result in results:
        peers = [result.median(*key) for key in result.seconds if key[0] not in ("sgemm", "lstmfast")]
        if peers:
            ratios.append(min(peers) / result.median("lstmfast", threads))
    if not ratios:
        return None
    return f"Best peer / lstmfast: geometric mean {statistics.geometric_mean(ratios):.2f}, lowest {min(ratios):.2f}."
