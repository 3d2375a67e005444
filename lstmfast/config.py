"""Threads to use, and what this installation is made of."""

import math
import os
import sys
from numbers import Integral

from . import _core
from ._version import __version__

QUOTA_FILE = "/sys/fs/cgroup/cpu.max"


def available_cpus():
    """CPUs that this process may use: its affinity, and its control group's quota rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open(QUOTA_FILE) as file:
            quota, period = file.read().split()
        return cpus if quota == "max" else max(1, min(cpus, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such control group: no quota
        return cpus


def effective_n_threads(n_jobs):
    """Threads for an estimator's n_jobs.

    None: the environment variable OMP_NUM_THREADS, which joblib's loky sets for its workers; else one in a worker of
    joblib, whose neighbours have the other CPUs; else all available CPUs. Negative as in joblib: -1 is all, -2 all but
    one. Never more than there are CPUs, never fewer than one. While other threads of this process are at it, and
    where the system lets no more threads be made, calls use fewer than this (src/teams.c).
    """
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral)):
        raise TypeError(f"n_jobs must be None or an integer, got {n_jobs!r}")
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0; use None or -1 for all CPUs, 1 for one thread")
    cpus = available_cpus()
    if n_jobs is None:
        first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        n_jobs = int(first) if first.isdecimal() and int(first) > 0 else 1 if _in_joblib() else cpus
    if n_jobs < 0:
        n_jobs = cpus + 1 + n_jobs
    return max(1, min(int(n_jobs), cpus))


def _in_joblib():
    """Whether a joblib.Parallel called the code that runs now."""
    parallel = sys.modules.get("joblib.parallel")  # who has not imported it is not in it
    return parallel is not None and bool(parallel.get_active_backend()[0].nesting_level)


def show_config():
    """Print the instruction set in use, threads, OpenMP, BLAS and versions.

    Examples
    --------
    >>> import lstmfast
    >>> lstmfast.show_config()  # doctest: +ELLIPSIS
    lstmfast         ...
    """
    print("\n".join(f"{name:17}{value}" for name, value in config().items()))


def config():
    """What `show_config` prints, as a dict of str."""
    import platform

    versions = {name: _version(name) for name in ("numpy", "scipy", "scikit-learn", "safetensors", "tqdm")}
    return {
        "lstmfast": __version__,
        "instruction set": f"{_core.isa()} (this machine: {', '.join(_core.available_isas())}; LSTMFAST_ISA chooses)",
        "OpenMP": "yes" if _core.has_openmp() else "no",
        "threads": f"{effective_n_threads(None)} of {os.cpu_count()} CPUs",
        "BLAS": f"none used; NumPy has {_numpy_blas()}",
        "Python": f"{platform.python_version()} ({sys.platform}, {platform.machine()})",
        **versions,
    }


def _version(distribution):
    from importlib import metadata  # 10 ms that only show_config needs

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _numpy_blas():
    import numpy as np

    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'an unknown one')} {blas.get('version', '')}".strip()
