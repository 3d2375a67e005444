"""Threads, `show_config`, what importing costs, and the package's front door."""

import os
import platform
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

import lstmfast
from lstmfast import _core, config


def run_python(code, **environment):
    """A new process that finds the modules that this one finds."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


def modules_after(code):
    process = run_python(f"{code}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')")
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


# ---- show_config ----------------------------------------------------------------------------------------------------
def test_show_config_tells_what_is_in_use(capsys):
    lstmfast.show_config()
    printed = capsys.readouterr().out
    lines = {line[:17].strip(): line[17:].strip() for line in printed.splitlines()}
    assert lines["lstmfast"] == lstmfast.__version__
    assert lines["instruction set"].startswith(_core.isa())
    assert all(name in lines["instruction set"] for name in _core.available_isas())
    assert lines["OpenMP"] == ("yes" if _core.has_openmp() else "no")
    assert lines["threads"] == f"{config.effective_n_threads(None)} of {os.cpu_count()} CPUs"
    assert "NumPy has" in lines["BLAS"]
    assert platform.python_version() in lines["Python"]
    assert platform.machine() in lines["Python"]
    for name in ("numpy", "scipy", "scikit-learn", "safetensors", "tqdm"):
        assert lines[name] == metadata.version(name)
    assert lines["numpy"] == np.__version__


def test_show_config_without_a_dependency(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert config.config()["tqdm"] == "not installed"


# ---- threads --------------------------------------------------------------------------------------------------------
@pytest.fixture
def eight_cpus(monkeypatch):
    monkeypatch.setattr(config, "available_cpus", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("n_jobs", "n_threads"),
    [
        *[(None, 8), (1, 1), (3, 3), (8, 8), (9, 8), (10**6, 8), (np.int64(3), 3)],
        *[(-1, 8), (-2, 7), (-8, 1), (-9, 1), (-(10**6), 1), (np.int8(-2), 7)],
    ],
)
@pytest.mark.usefixtures("eight_cpus")
def test_threads_of_n_jobs(n_jobs, n_threads):
    assert config.effective_n_threads(n_jobs) == n_threads
    assert type(config.effective_n_threads(n_jobs)) is int


@pytest.mark.parametrize(
    ("value", "n_threads"),
    [
        ("3", 3),
        ("1", 1),
        ("100", 8),
        ("4,2", 4),
        (" 5 ", 5),
        ("abc", 8),
        ("0", 8),
        ("-2", 8),
        ("", 8),
        ("2.5", 8),
        ("²", 8),
        (",2", 8),
    ],
    ids=str,
)
@pytest.mark.usefixtures("eight_cpus")
def test_threads_of_omp_num_threads(monkeypatch, value, n_threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert config.effective_n_threads(None) == n_threads
    assert config.effective_n_threads(2) == 2  # n_jobs comes first
    assert config.effective_n_threads(-1) == 8


@pytest.mark.parametrize("value", ["abc", "0", "4,2", "-1"])
def test_a_fit_under_an_odd_omp_num_threads(value):
    """OpenMP's own runtime reads it too, and warns as it likes."""
    code = "from lstmfast import LSTMRegressor; print(LSTMRegressor(4, max_iter=1).fit([[0.0], [1.0]], [0, 1]).n_iter_)"
    process = run_python(code, OMP_NUM_THREADS=value)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "1"


@pytest.mark.parametrize("n_jobs", [1.0, "all", True, np.True_, 2.5])
def test_n_jobs_of_another_kind(n_jobs):
    with pytest.raises(TypeError, match="n_jobs must be None or an integer"):
        config.effective_n_threads(n_jobs)


def test_n_jobs_of_zero():
    with pytest.raises(ValueError, match="n_jobs must not be 0; use None or -1 for all CPUs"):
        config.effective_n_threads(0)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        *[("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("9900000 100000", 8)],
        *[("", 8), ("nonsense", 8), ("1 2 3", 8), ("max", 8)],
    ],
)
def test_available_cpus_respect_the_control_group(monkeypatch, tmp_path, quota, cpus):
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    monkeypatch.setattr(config, "QUOTA_FILE", str(file))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert config.available_cpus() == cpus


def test_available_cpus_without_control_groups_and_affinity(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "QUOTA_FILE", str(tmp_path / "missing"))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert config.available_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert config.available_cpus() == 1


# ---- instruction sets -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["sse9", "AVX2", "avx", "é"])
def test_an_unknown_instruction_set_is_an_import_error(name):
    process = run_python("import lstmfast._core", LSTMFAST_ISA=name)
    assert process.returncode == 1
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: LSTMFAST_ISA={name!r} is not an instruction set of this machine")
    assert all(known in last for known in _core.available_isas())


@pytest.mark.parametrize("name", [*_core.available_isas(), ""])
def test_every_instruction_set_of_this_machine_can_be_chosen(name):
    """An empty variable counts as none."""
    process = run_python("from lstmfast import _core; print(_core.isa())", LSTMFAST_ISA=name)
    assert process.stdout.strip() == (name or _core.available_isas()[0]), process.stderr


def test_the_baseline_is_always_there():
    assert _core.available_isas()[-1] == "baseline"


# ---- imports --------------------------------------------------------------------------------------------------------
def test_importing_lstmfast_imports_nothing_heavy():
    modules = modules_after("import lstmfast")
    assert "lstmfast" in modules
    assert not modules & {"numpy", "scipy", "sklearn", "safetensors", "tqdm", "lstmfast._core", "lstmfast.estimators"}


def test_the_compiled_core_imports_nothing():
    assert not modules_after("from lstmfast import _core") & {"numpy", "scipy", "sklearn", "safetensors", "tqdm"}


@pytest.mark.parametrize("name", ["network", "layers", "sequences", "persistence", "config"])
def test_serving_needs_no_scikit_learn_and_no_scipy(name):
    """What predicts from weights and reads model files: NumPy and the core only."""
    assert not modules_after(f"import lstmfast.{name}") & {"scipy", "sklearn", "safetensors", "tqdm"}


def test_predicting_with_a_network_imports_no_scikit_learn_and_no_scipy():
    code = """
import numpy as np
from lstmfast.network import Network
from lstmfast.sequences import check_sequences
print(Network(2, (3,), 1).outputs(check_sequences([np.ones((4, 2))], dtype=np.float32)).shape)
"""
    assert not modules_after(code) & {"scipy", "sklearn", "safetensors", "tqdm"}


# ---- the front door -------------------------------------------------------------------------------------------------
NAMES = {
    "LSTMClassifier", "LSTMRegressor", "ModelFormatError", "SequenceScaler", "VersionWarning", "__version__", "load",
    "make_windows", "show_config",
}  # fmt: skip


def test_dir_lists_the_public_names():
    assert set(dir(lstmfast)) >= NAMES
    assert set(lstmfast.__all__) == set(dir(lstmfast))


def test_every_public_name_is_there():
    for name in lstmfast.__all__:
        assert getattr(lstmfast, name) is getattr(lstmfast, name)
    process = run_python("from lstmfast import *; print(LSTMClassifier.__module__, load.__name__)")
    assert process.stdout.split() == ["lstmfast.estimators.classifier", "load"], process.stderr


def test_layers_are_reached_without_an_import_of_their_own():
    process = run_python("import lstmfast; print(lstmfast.layers.LSTM(2, 3))")
    assert process.stdout.strip() == "LSTM(2, 3, dtype='float32')", process.stderr


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match=r"module 'lstmfast' has no attribute 'GRUClassifier'"):
        lstmfast.GRUClassifier  # noqa: B018
    with pytest.raises(ImportError, match="GRUClassifier"):
        from lstmfast import GRUClassifier  # noqa: F401
    assert not hasattr(lstmfast, "__path_of_nothing__")


def test_model_format_errors_are_value_errors():
    assert issubclass(lstmfast.ModelFormatError, ValueError)
    assert issubclass(lstmfast.VersionWarning, UserWarning)


def test_the_version_is_one_everywhere():
    from lstmfast import _version

    assert lstmfast.__version__ == _version.__version__
    assert lstmfast.__version__.count(".") == 2
