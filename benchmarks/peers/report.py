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


def timing(seconds, unit):
    """Median and spread in a unit of so many seconds."""
    low, middle, high = (_digits(value / unit) for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle} ({low} .. {high})"


def _digits(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def rate(flops, seconds):
    """GFLOP/s."""
    return flops / seconds / 1e9


def table(results, task, threads, unlimited=()):
    """A row a case.

    Parameters
    ----------
    results : list of compare.Result
    task : cases.Task
    threads : int
        As many as a library may use.
    unlimited : tuple of str
        Peers that are shown, but not compared with.
    """
    keys, unit = results[0].seconds, 1e-6 if task.short else 1e-3
    libraries = [library for library in task.libraries if any(library == key[0] for key in keys)]
    own = "lstmfast" in libraries
    compared = ratio(results[0], unlimited) is not None
    counts = sorted(n for library, n in keys if library == "sgemm")
    header = ["B,T,I,H", *libraries, *([f"{_best_peer(unlimited)} / lstmfast"] if compared else [])]
    header += [*(["lstmfast GFLOP/s"] if own else []), *(f"sgemm GFLOP/s, threads: {n}" for n in counts)]
    header += ["share of sgemm"] if own else []
    rows = [header]
    for result in results:
        row = [str(result.case)]
        row += [timing(result.seconds[library, result.best_threads(library)], unit) for library in libraries]
        sgemm = {n: rate(SGEMM_FLOPS, result.median("sgemm", n)) for n in counts}
        row += [f"{ratio(result, unlimited):.2f}"] if compared else []
        reached = rate(task.flops(result.case), result.best("lstmfast")) if own else None
        row += [*([f"{reached:.3g}"] if own else []), *(f"{sgemm[n]:.0f}" for n in counts)]
        row += [f"{reached / sgemm[threads]:.0%}"] if own else []
        rows.append(row)
    return _markdown(rows)


def settings(results, task):
    """What the times in the table were reached with: threads, and the way where a library has several."""
    libraries = [library for library in task.libraries if any(library == key[0] for key in results[0].seconds)]
    rows = [["threads, way", *libraries]]
    for result in results:
        row = [str(result.case)]
        for library in libraries:
            n = result.best_threads(library)
            way = result.ways[library, n]
            row.append(f"{n}, {way}" if way else str(n))
        rows.append(row)
    return _markdown(rows)


def memory(results, task):
    """Peak memory by library, MB; None where it is not known."""
    libraries = [library for library in task.libraries if results[0].memory.get(library) is not None]
    if not libraries:
        return None
    rows = [["peak memory, MB", *libraries]]
    rows += [[str(result.case), *(_digits(result.memory[name] / 1e6) for name in libraries)] for result in results]
    about = "Peak memory of a case above the idle process, MB, its data, weights and building included:"
    return f"{about}\n\n{_markdown(rows)}"


def limits(isa, libraries, unlimited):
    """Who keeps to an instruction set and who does not; None without one."""
    if isa is None:
        return None
    free = [library for library in libraries if library in unlimited]
    text = f"Limited to {isa}: {', '.join(library for library in libraries if library not in free)}."
    return f"{text} NOT limited, for want of a switch, and not compared with: {', '.join(free)}." if free else text


def _markdown(rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def _best_peer(unlimited):
    return "best limited peer" if unlimited else "best peer"


def ratio(result, unlimited=()):
    """The best peer's time over lstmfast's; None without either."""
    peers = {library for library, _ in result.seconds} - {"sgemm", "lstmfast", *unlimited}
    if not peers or not any(library == "lstmfast" for library, _ in result.seconds):
        return None
    return min(map(result.best, peers)) / result.best("lstmfast")


def summary(results, unlimited=()):
    """Geometric mean of the best peer's time over lstmfast's; None without a peer."""
    ratios = [ratio(result, unlimited) for result in results]
    if None in ratios:
        return None
    means = f"geometric mean {statistics.geometric_mean(ratios):.2f}, lowest {min(ratios):.2f}"
    return f"{_best_peer(unlimited).capitalize()} / lstmfast: {means}."
