"""Every block of code in the documentation runs, in the order of its page."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from lstmfast import LSTMClassifier
from lstmfast.__main__ import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if "```" in page.read_text("utf-8"))
_BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page):
    """Pairs (line, kind, code) of a page."""
    text = (DOCS / page).read_text("utf-8")
    return [(text.count("\n", 0, match.start(2)), *match.groups()) for match in _BLOCK.finditer(text)]


def foreign_model():
    """What the page on models of other libraries finds: a file of PyTorch's weights, and sequences."""
    safetensors = pytest.importorskip("safetensors.numpy")
    pytest.importorskip("onnx")
    from lstmfast.interop import to_torch

    X = np.random.default_rng(0).normal(size=(8, 5, 3))
    weights = to_torch(LSTMClassifier(4, max_iter=1).fit(X, ["down", "up"] * 4))
    safetensors.save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, "model.safetensors")
    return {"X": X}


PREPARED = {"interop.md": foreign_model}


def test_there_are_pages():
    assert {"tour.md", "commands.md", "guides/forecasting.md", "text.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, tmp_path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__page__"} | PREPARED.get(page, dict)()
    for line, kind, code in blocks(page):
        if kind == "python":
            exec(compile("\n" * line + code, str(DOCS / page), "exec"), namespace)
        else:
            for command in code.replace("\\\n", " ").splitlines():
                program, *arguments = shlex.split(command, comments=True)
                if program == "lstmfast":  # the others install and build
                    assert main(arguments) == 0, command
    for number in plt.get_fignums():
        plt.figure(number).draw_without_rendering()
    plt.close("all")
