"""Build lstmfast so that faults of memory and threads show, and run tests on it.

    python tools/check_memory.py bounds                                # the whole suite, every index checked
    python tools/check_memory.py address --isa avx2 tests/test_crf.py  # AddressSanitizer and UndefinedBehaviorSanitizer
    python tools/check_memory.py thread tests/test_threads.py          # ThreadSanitizer, on clang and LLVM's OpenMP
    python tools/check_memory.py valgrind --isa baseline tests/test_gradients.py

What follows goes to pytest; with --fuzz it is a fuzz target, with its arguments. Each build lies in build/<kind>,
beside the one in use, and is renewed where a source has changed; valgrind runs the one in use. Linux on x86-64.
"""

import argparse
import glob
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools"
# Tests that measure or limit the memory of the process, in which the checker itself has its share.
NOT_UNDER_A_CHECKER = "not memory and not costs and not full_disk"

# Leaks: the interpreter leaves objects behind by design. A NULL for a size that is too large: a MemoryError in Python.
ENVIRONMENTS = {
    "bounds": {},
    "address": {
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    },
    "thread": {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1:exitcode=66"},
    "valgrind": {"PYTHONMALLOC": "malloc"},
}
VALGRIND = [
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--num-callers=30",
    f"--suppressions={TOOLS / 'valgrind.supp'}",
]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def build(kind):
    """The folder with the package of this kind. Valgrind looks at the build that users have."""
    if kind == "valgrind":  # which reads the build that is in use
        return ROOT
    base = ROOT / "build" / kind
    environment = os.environ | {"LSTMFAST_DEBUG": kind} | ({"CC": clang()} if kind == "thread" else {})
    command = ["setup.py", "-q", "build", "--build-base", base, "--build-lib", base / "lib"]
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)
    return base / "lib"


def clang():
    """A C compiler whose OpenMP tells ThreadSanitizer where threads wait for each other, as GNU's does not."""
    found = shutil.which("clang") or max(glob.glob("/usr/bin/clang-[0-9]*"), default=None)
    if not found:
        sys.exit("check_memory.py thread needs clang with OpenMP: apt install clang libomp-dev")
    return found


def preloaded(kind, fuzzing):
    """Runtimes of the sanitizers that have to be there before Python is."""
    if kind == "address" and fuzzing:  # libFuzzer counts in this one what code was reached; in gcc's it cannot
        site = Path(importlib.util.find_spec("atheris").origin).parent.parent
        return [str(site / "asan_with_fuzzer.so"), output("gcc", "-print-file-name=libstdc++.so.6")]
    if kind == "address":  # and C++'s, whose exceptions the sanitizer wants to see from the first
        return [output("gcc", f"-print-file-name={name}") for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")]
    if kind == "thread":
        return [output("gcc", "-print-file-name=libtsan.so")]  # clang 14's ends in a segmentation fault
    return []


def environment_of(arguments, library):
    """What the checked process finds in its environment."""
    result = {"PYTHONPATH": os.pathsep.join([str(library), str(TOOLS)]), "PYTHONSAFEPATH": "1"}
    result |= {"PYTHONFAULTHANDLER": "1", **ENVIRONMENTS[arguments.kind]}
    if arguments.kind == "thread":  # Archer tells the sanitizer where LLVM's OpenMP waits
        libraries = Path(output(clang(), "-print-resource-dir")).parents[1]
        result["OMP_TOOL_LIBRARIES"] = str(libraries / "libarcher.so")
    if arguments.isa:
        result["LSTMFAST_ISA"] = arguments.isa
    if preload := preloaded(arguments.kind, arguments.fuzz):
        result["LD_PRELOAD"] = os.pathsep.join(preload)
    return result


def command_of(arguments, rest):
    """The checked process: pytest, or a fuzz target."""
    command = [*(VALGRIND if arguments.kind == "valgrind" else []), sys.executable, "-B"]
    if arguments.fuzz:
        return [*command, *rest]
    tests = rest if any(Path(word.split("::")[0]).exists() for word in rest) else ["tests", *rest]
    plugins = ["-p", "no:cacheprovider", "-p", "tight_arrays", "--capture=no"]  # a sanitizer's words are not to be lost
    return [*command, "-m", "pytest", "-q", *plugins, "-k", NOT_UNDER_A_CHECKER, *tests]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=ENVIRONMENTS)
    parser.add_argument("--isa", choices=("avx512", "avx2", "baseline"), help="default: the machine's best")
    parser.add_argument("--fuzz", action="store_true", help="the rest is a target, as tools/fuzz_fit.py --seconds 60")
    arguments, rest = parser.parse_known_args()
    environment, command = environment_of(arguments, build(arguments.kind)), command_of(arguments, rest)
    print("+", *(f"{name}={value}" for name, value in environment.items()), *command, flush=True)
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment).returncode


if __name__ == "__main__":
    sys.exit(main())
