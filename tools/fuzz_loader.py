"""Fuzz the loader: model files that are damaged, or forged with a right checksum.

    pip install atheris
    python tools/fuzz_loader.py --seconds 3600 tools/corpus/loader
    python tools/check_memory.py address --fuzz tools/fuzz_loader.py --seconds 3600 tools/corpus/loader

A file is either refused with a ModelFormatError or a model that predicts finite numbers. Anything else stops the run,
with the input in a file crash-*; `python tools/fuzz_loader.py crash-...` runs that again.
"""

import copy
import functools
import hashlib
import json
import os
import tempfile

import numpy as np
from fuzzing import Choices, fuzz, refusals

VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 64, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, "", "a", "float32",
    "float64", "last", "attention", "gru", "lstm-peephole", [], [0], [1, 2], {}, {"type": "dict", "value": []},
    {"type": "array <f8", "value": [1.0, 2.0]}, {"type": "array |O", "value": ["a", "b"]}, [[]], "LSTMRegressor",
)  # fmt: skip
DTYPES = ("F32", "F64", "I64", "U8", "BOOL", "F16", "X9", None)
X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
TEXTS = ["ab ba", "b aab"]


@functools.cache
def models():
    """Bytes of small models of several kinds, each as (metadata, arrays)."""
    import lstmfast

    folder = tempfile.mkdtemp(prefix="lstmfast-fuzz-")
    small = {"max_iter": 1, "random_state": 0}
    fitted = (
        lstmfast.LSTMClassifier(3, **small).fit(X, [0, 1, 0, 1]),
        lstmfast.LSTMRegressor(
            (2, 3), cell="gru", bidirectional=True, pooling="attention", conv_layers=((2, 2),), **small
        ).fit(X, np.arange(8.0).reshape(4, 2)),
        lstmfast.LSTMTagger(2, crf=True, dtype="float64", **small).fit(X, [["a", "b", "a", "b", "c"]] * 4),
        lstmfast.LSTMForecaster(window=4, hidden_layer_sizes=2, **small).fit(np.sin(np.arange(30.0))),
        lstmfast.LSTMLanguageModel(2, level="char", **small).fit(TEXTS),
        lstmfast.LSTMTranslator(2, level="char", **small).fit(TEXTS, TEXTS),
    )
    read = []
    for model in fitted:
        path = os.path.join(folder, type(model).__name__)
        model.save(path)
        with open(path, "rb") as file:
            data = file.read()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        metadata = json.loads(header.pop("__metadata__")["lstmfast"])
        read.append((metadata, header, data[end:]))
    return read, os.path.join(folder, "fuzzed")


def forge(document, entries, arrays):
    """A file with a right checksum, whatever it says."""
    document["sha256"] = "0" * 64
    text = json.dumps(document, separators=(",", ":"))
    header = json.dumps({"__metadata__": {"lstmfast": text}, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return with_checksum(len(header).to_bytes(8, "little") + header + arrays)


def with_checksum(data):
    start = data.find(b'sha256\\":\\"') + 11
    data = data[:start] + b"0" * 64 + data[start + 64 :]
    return data[:start] + hashlib.sha256(data).hexdigest().encode() + data[start + 64 :]


def alter(value, choices):
    """A JSON value with one thing in it exchanged, lost, doubled or counted on."""
    if isinstance(value, dict | list) and value and not choices.seldom():
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key = choices.pick(keys)
        if choices.seldom():
            value.pop(key)
        elif isinstance(value, list) and choices.seldom():
            value.append(value[key])
        else:
            value[key] = alter(value[key], choices)
        return value
    if type(value) is int and choices.number(2):
        return value + choices.pick((-1, 1, 2, 1000))
    return copy.deepcopy(choices.pick(VALUES))


def forged(choices):
    """A file, from a few changes to a good one."""
    document, entries, arrays = copy.deepcopy(choices.pick(models()[0]))
    for _ in range(1 + choices.number(4)):
        kind = choices.number(8)
        name = choices.pick(sorted(entries) or [""])
        if kind < 5:
            document["model"] = alter(document["model"], choices)
        elif kind == 5 and name:
            entries[name] = alter(entries[name], choices)
        elif kind == 6 and isinstance(entries.get(name), dict):
            entries[name]["dtype"] = choices.pick(DTYPES)
        elif arrays:
            where = choices.number(min(len(arrays), 65536))
            arrays = arrays[:where] + bytes([choices.number(256)]) * 4 + arrays[where + 4 :]
    data = forge(document, entries, arrays)
    if not choices.seldom():
        return data
    where, size = choices.number(65536) % len(data), choices.number(16)  # bytes of the header or of the arrays
    data = data[:where] + bytes([choices.number(256)]) * choices.number(16) + data[where + size :]
    return with_checksum(data) if choices.number(2) else data


def use(model):
    """A model that was let in predicts."""
    kind = type(model).__name__
    if kind in ("LSTMLanguageModel", "TextModel"):
        return model.score(TEXTS) if hasattr(model, "score") else model.generate("a", max_length=3)
    if kind == "LSTMForecaster":
        return model.predict(np.arange(64.0), horizon=1)
    return model.predict(TEXTS if kind == "LSTMTranslator" else X)


def check(data):
    """Give one input to every reader."""
    import lstmfast
    from lstmfast import persistence, runtime

    path = models()[1]
    with open(path, "wb") as file:
        file.write(forged(Choices(data)))
    for read in (persistence.read_model, lstmfast.load, runtime.load):
        with refusals():  # of what an altered model does not take, once it is loaded
            try:
                model = read(path)
            except lstmfast.ModelFormatError:
                continue
            except Exception as error:
                raise AssertionError("a bad file is a ModelFormatError and nothing else") from error
            if read is not persistence.read_model:
                use(model)


if __name__ == "__main__":
    modules = ["lstmfast.persistence", "lstmfast.saved_model", "lstmfast.estimators.saving", "lstmfast.runtime"]
    fuzz(check, __doc__, modules)
