"""What the fuzz targets share: random bytes as a series of choices, and the loop of libFuzzer around a target.

libFuzzer changes bytes and keeps those that reach new code. As choices, every change of a byte is another valid case,
and a short corpus says much.
"""

import argparse
import contextlib
import sys
import warnings

import numpy as np


class Choices:
    """Decisions that bytes make; when they run out, each is the first one."""

    def __init__(self, data):
        self._data = iter(data)

    def number(self, n):
        """An int in [0, n), n <= 65536."""
        byte = next(self._data, 0)
        return (byte if n <= 256 else byte << 8 | next(self._data, 0)) % n

    def pick(self, options):
        return options[self.number(len(options))]

    def seldom(self):
        return self.number(8) == 7


@contextlib.contextmanager
def refusals():
    """What the library refuses with a message is none of a fuzzer's finds, and its warnings are not looked at."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except (ValueError, TypeError) as error:
        if not str(error):
            raise AssertionError("an error without a message") from error


def fuzz(target, doc, modules):
    """Run a target on bytes for as long as is asked; `modules` are instrumented, so that libFuzzer sees their code."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("corpus", nargs="*", help="folders; what reaches new code is kept in the first. Or one input")
    arguments = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=modules):
        for module in modules:
            __import__(module)
    options = {"max_total_time": arguments.seconds, "max_len": 256, "len_control": 0, "print_final_stats": 1}
    atheris.Setup([sys.argv[0], *(f"-{name}={n}" for name, n in options.items()), *arguments.corpus], target)
    atheris.Fuzz()
