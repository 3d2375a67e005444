"""How much memory something takes at its peak, where the system tells (Linux)."""

import contextlib
import ctypes
import gc
from pathlib import Path

N_CALLS = 3


def peak_rise(build):
    """Bytes by which the resident memory rises above what it was before, while something is built and called.

    What a library has kept from earlier work, code and pools of threads, is there before. None where unknown.

    Parameters
    ----------
    build : callable
        Returns the callable to be called.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)  # or what was freed before could be used again unseen
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident now
        before = _resident("VmRSS")
    except OSError:
        return None
    call = build()
    for _ in range(N_CALLS):
        call()
    return max(0, _resident("VmHWM") - before)


def _resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
