"""Damage and forge model files: each is refused with a ModelFormatError, or is a model that predicts.

    PYTHONPATH=.:tests python tools/corrupt_models.py [--models NAME ...] [--damages N] [--forgeries N] [--seed N]

Of each golden model that is named (tests/golden/models):

- every truncation and N random damages: flipped bits, changed, inserted and removed bytes, swapped blocks. All of them
  must be refused, with no more memory than the file's size and 1 MB;
- N forged files, whose checksum is right: half of them damaged as above, half with other values in the metadata and
  other arrays. Either they are refused, or they predict, or say with a ValueError or TypeError why they do not.

Files that go wrong are kept in the current folder, and the exit code is 1. A crash ends the process, with a traceback
from faulthandler.
"""

import argparse
import contextlib
import copy
import faulthandler
import hashlib
import re
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from every_estimator import EXAMPLES

import lstmfast
from lstmfast import ModelFormatError, persistence, runtime

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "models"
THREE_KINDS = ("classifier_tokens", "forecaster", "translator")
SLACK = 1 << 20  # bytes that a refused file may take beside its own size
MAX_SECONDS = 20  # for one file
ADDRESS_SPACE = 4 << 30  # what no small file may make us ask for


class Wrong(Exception):
    """What must not happen."""


# ---- damage ---------------------------------------------------------------------------------------------------------
def flip_bits(data, rng):
    for place in rng.integers(8 * len(data), size=rng.integers(1, 9)):
        data[place // 8] ^= 1 << place % 8


def change_bytes(data, rng):
    for place in rng.integers(len(data), size=rng.integers(1, 40)):
        data[place] = rng.integers(256)


def insert_bytes(data, rng):
    place = rng.integers(len(data) + 1)
    data[place:place] = rng.bytes(rng.integers(1, 65))


def remove_bytes(data, rng):
    place = rng.integers(len(data))
    del data[place : place + rng.integers(1, 65)]


def swap_blocks(data, rng):
    size = int(rng.integers(1, 129))
    first, second = sorted(int(place) for place in rng.integers(len(data) - size, size=2))
    data[first : first + size], data[second : second + size] = data[second : second + size], data[first : first + size]


DAMAGES = (flip_bits, change_bytes, insert_bytes, remove_bytes, swap_blocks)


def damaged(data, rng):
    """A copy with one to three damages, not equal to the original."""
    while True:
        copy_ = bytearray(data)
        for damage in rng.choice(DAMAGES, rng.integers(1, 4)):
            damage(copy_, rng)
        if copy_ != data:
            return bytes(copy_)


# ---- forgery --------------------------------------------------------------------------------------------------------
def sealed(data):
    """The data with the checksum that belongs to them, where they still have a place for one."""
    data = bytearray(data)
    if place := re.search(rb'sha256\\":\\"(.{64})', data[:512], re.DOTALL):
        data[place.start(1) : place.end(1)] = b"0" * 64
        data[place.start(1) : place.end(1)] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 7, 100, 2**31 - 1, 2**31, 2**63, -(2**70), 0.5, -0.0, 1e300, "", "a", "lstm",
    "gru", "float64", [], [1], [[]], [5, 9], {}, {"type": "dict", "value": []}, {"type": "array <f8", "value": [1.0]},
)  # fmt: skip


def places(value, found=()):
    """Pairs (container, key) of all values inside of one."""
    found = list(found)
    for key in value if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


def forge_metadata(metadata, rng):
    """Change, remove, double or exchange values."""
    for _ in range(rng.integers(1, 4)):
        container, key = (found := places(metadata))[rng.integers(len(found))]
        action = rng.integers(4)
        if action == 0:
            del container[key]
        elif action == 1:
            container[key] = VALUES[rng.integers(len(VALUES))]
        elif action == 2 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        else:
            other, other_key = found[rng.integers(len(found))]
            container[key] = copy.deepcopy(other[other_key])


def forge_array(arrays, rng):
    """Change an array's shape, type, size or values."""
    names = sorted(arrays)
    name = names[rng.integers(len(names))]
    array = arrays[name]
    change = rng.integers(6)
    if change == 0:
        arrays[name] = array.reshape(array.shape[::-1])
    elif change == 1:
        arrays[name] = array.astype(("f2", "f4", "f8", "i4", "?")[rng.integers(5)])
    elif change == 2:
        arrays[name] = np.concatenate([array, array[:1]]) if array.ndim else array[None]
    elif change == 3 and array.size:
        value = np.float64((np.nan, np.inf, 3e38, -1, 1e-45)[rng.integers(5)])
        array.reshape(-1)[rng.integers(array.size)] = value.astype(array.dtype)
    elif change == 4:
        arrays[names[rng.integers(len(names))]] = array
    else:
        del arrays[name]


def forged(parts, path, rng):
    """Write a whole and right file with other contents; False where it cannot be written."""
    metadata, arrays = copy.deepcopy(parts)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if rng.integers(3):
            forge_metadata(metadata, rng)
        if arrays and not rng.integers(3):
            forge_array(arrays, rng)
    try:
        persistence.write_model(path, metadata, arrays)
    except (TypeError, ValueError):
        return False
    return True


# ---- what must be true ----------------------------------------------------------------------------------------------
def load(path):
    """The estimator of a file; one that is refused must have taken little memory. Raises ModelFormatError or Wrong."""
    tracemalloc.start()
    try:
        return lstmfast.load(path)
    except ModelFormatError:
        peak = tracemalloc.get_traced_memory()[1]
        if peak > 2 * path.stat().st_size + SLACK:
            raise Wrong(f"a refused file of {path.stat().st_size} bytes took {peak} bytes") from None
        raise
    finally:
        tracemalloc.stop()


def must_be_refused(path):
    """ "refused", if a damaged file is; else Wrong."""
    try:
        load(path)
    except ModelFormatError:
        return "refused"
    raise Wrong("a damaged file was loaded")


def must_be_sound(path, example):
    """ "refused", "predicted" or "explained": what a forged file does; Wrong or another error if none of them."""
    with contextlib.suppress(ModelFormatError):
        runtime.load(path)
    try:
        estimator = load(path)
    except ModelFormatError:
        return "refused"
    try:
        answers = example.answers(estimator)
    except (TypeError, ValueError):  # of the data, say, that they do not fit this model
        return "explained"
    except AttributeError as error:
        if "This 'LSTM" in str(error):  # scikit-learn, of a method that goes with another argument
            return "explained"
        raise
    if any(answer.size > 10**6 for answer in answers.values()):
        raise Wrong(f"results of {[answer.shape for answer in answers.values()]}")
    return "predicted"


def tried(what, path, *arguments):
    """What `what(path, *arguments)` says of a file, or what went wrong with it; a file that went wrong is kept."""

    def too_long(*_):
        raise Wrong(f"more than {MAX_SECONDS} s")

    if has_alarm := hasattr(signal, "SIGALRM"):  # not on Windows
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(MAX_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return what(path, *arguments)
    except Exception as error:
        content = path.read_bytes()
        kept = Path(f"wrong-{hashlib.sha256(content).hexdigest()[:12]}.lstmfast").absolute()
        kept.write_bytes(content)
        return f"WRONG, kept as {kept}: {error!r}"
    finally:
        if has_alarm:
            signal.alarm(0)


def examine(name, n_damages, n_forgeries, rng, folder, truncations=True):
    """Counter of what the damaged and forged files of one golden model did."""
    data, path, counts = (GOLDEN / f"{name}.lstmfast").read_bytes(), folder / "model", Counter()
    path.write_bytes(data)
    parts = persistence.read_model(path)
    lstmfast.load(path)  # what is imported for it is not the file's memory
    for length in range(len(data) if truncations else 0):
        path.write_bytes(data[:length])
        counts[f"truncations {tried(must_be_refused, path)}"] += 1
    for _ in range(n_damages):
        path.write_bytes(damaged(data, rng))
        counts[f"damages {tried(must_be_refused, path)}"] += 1
    for i in range(n_forgeries):
        if i % 2:
            path.write_bytes(sealed(damaged(data, rng)))
        elif not forged(parts, path, rng):
            continue
        counts[f"forgeries {tried(must_be_sound, path, EXAMPLES[name])}"] += 1
    return counts


def main(argv=None):
    import resource  # POSIX only, and tests use what is above

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(EXAMPLES), default=THREE_KINDS, metavar="NAME")
    parser.add_argument("--damages", type=int, default=5000, metavar="N")
    parser.add_argument("--forgeries", type=int, default=5000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    arguments = parser.parse_args(argv)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    wrong = False
    for name in arguments.models:
        rng, started = np.random.default_rng(arguments.seed), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            counts = examine(name, arguments.damages, arguments.forgeries, rng, Path(folder))
        summary = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        print(f"{name}: {summary}; {time.perf_counter() - started:.0f} s", flush=True)
        wrong |= any("WRONG" in what for what in counts)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
