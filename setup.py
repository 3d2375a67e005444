"""The extension module; everything else about the package is in pyproject.toml."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = [f"src/kernels_{precision}_{isa}.c" for precision in ("f32", "f64") for isa in ("baseline", "avx2", "avx512")]
# No -ffast-math (it changes arithmetic for the whole process) and no -march=native (a wheel runs on other machines):
# each kernels_*.c names its instruction set, and the best one is chosen at run time. Multiply-adds are fused where the
# kernels say so and nowhere else, hence -ffp-contract=off.
UNIX_FLAGS = ["-O3", "-g0", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# LSTMFAST_DEBUG names a build that looks for faults; tools/check_memory.py makes it and runs the tests on it.
DEBUG = os.environ.get("LSTMFAST_DEBUG", "")
# A sanitizer's runtime is not linked: it has to be there before Python is, and a fuzzer brings its own.
DEBUG_FLAGS = {
    "": [],
    "bounds": [],  # every index of a memoryview is checked, see below
    "address": ["-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined,float-cast-overflow"],
    "thread": ["-O1", "-g1", "-fsanitize=thread"],
}
OPENMP_PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


def openmp_flags(compiler):
    """(compile, link) flags of the first way of asking for OpenMP that builds a program; empty where none does."""
    if os.environ.get("LSTMFAST_NO_OPENMP"):
        return [], []
    if compiler.compiler_type == "msvc":
        return ["/openmp"], []
    candidates = [(["-fopenmp"], ["-fopenmp"])]
    if sys.platform == "darwin":
        candidates.append((["-Xpreprocessor", "-fopenmp"], ["-lomp"]))
    for compile_flags, link_flags in candidates:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(OPENMP_PROBE)
            try:
                objects = compiler.compile([str(source)], output_dir=folder, extra_postargs=compile_flags)
                compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=link_flags)
                subprocess.run([str(Path(folder, "probe"))], check=True)
            except Exception:  # every compiler fails in its own way; each way means "not like this"
                continue
            return compile_flags, link_flags
    print("lstmfast: no OpenMP found; building for one thread", file=sys.stderr)
    return [], []


class BuildExt(build_ext):
    def build_extensions(self):
        compile_flags, link_flags = openmp_flags(self.compiler)
        if self.compiler.compiler_type == "msvc":
            compile_flags = ["/O2", "/std:c11", "/fp:precise", *compile_flags]
        else:
            compile_flags = [*UNIX_FLAGS, *compile_flags, *DEBUG_FLAGS[DEBUG]]
        for extension in self.extensions:
            extension.extra_compile_args = compile_flags
            extension.extra_link_args = link_flags
        super().build_extensions()


setup(
    ext_modules=cythonize(
        [
            Extension(
                "lstmfast._core",
                sources=["src/_core.pyx", "src/dispatch.c", "src/teams.c", *KERNELS],
                depends=[str(path) for path in Path("src").glob("*.[hp]*")],
                include_dirs=["src"],
            )
        ],
        build_dir=f"build/{DEBUG}" if DEBUG else None,  # Cython does not notice that directives have changed
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG == "bounds",
            "wraparound": False,
            "initializedcheck": DEBUG == "bounds",
            "show_performance_hints": False,
        },
    ),
    cmdclass={"build_ext": BuildExt},
)
