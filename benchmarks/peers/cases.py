"""What is compared: tasks, their cases, and the weights and data that every library gets."""

from dataclasses import dataclass, replace

import numpy as np

N_CLASSES = 10
LEARNING_RATE = 1e-3
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Case:
    """B sequences of T steps with I inputs, H units.

    keep_states: whether a forward pass keeps what a backward pass would need.
    """

    batch: int
    steps: int
    inputs: int
    hidden: int
    keep_states: bool = True

    @classmethod
    def parse(cls, text):
        """The case that "B,T,I,H" stands for."""
        return cls(*(int(size) for size in text.split(",")))

    def __str__(self):
        sizes = f"{self.batch},{self.steps},{self.inputs},{self.hidden}"
        return sizes if self.keep_states else f"{sizes}, no states kept"


def forward_flops(case):
    """Gate products of all steps, x W + h U; an addition and a multiplication count as two."""
    return 2 * case.batch * case.steps * (case.inputs + case.hidden) * 4 * case.hidden


def training_flops(case):
    """Forward; weight gradients, as many again; dh from the gates' gradients. The inputs need no gradient."""
    return 2 * forward_flops(case) + 2 * case.batch * case.steps * case.hidden * 4 * case.hidden


@dataclass(frozen=True)
class Task:
    """Something a library is timed at. A worker that takes part has a function of the task's name.

    Parameters
    ----------
    about : str
        Printed above the table.
    libraries : tuple of str
        lstmfast and its peers, keys of `compare.LIBRARIES`.
    threads : int
        Threads, unless the command line says otherwise. Peers are tried with one thread too.
    flops : callable
        Floating-point operations of a case.
    cases, more_cases : tuples of Case
        Measured always; with --more only.
    """

    about: str
    libraries: tuple
    threads: int
    flops: object
    cases: tuple
    more_cases: tuple = ()


_SQUARE = Case(64, 100, 64, 128)

TASKS = {
    "training": Task(
        "One training step on one batch: forward, cross-entropy of 10 classes on the last step's output, backward, "
        "clipping of the global gradient norm, Adam. float32.",
        libraries=("lstmfast", "torch"),
        threads=2,
        flops=training_flops,
        cases=tuple(
            Case.parse(text)
            for text in (
                "32,50,8,32",
                "32,100,16,64",
                "64,100,16,64",
                "64,100,64,128",
                "64,100,64,256",
                "256,50,16,128",
            )
        ),
        more_cases=(Case.parse("128,100,64,512"),),
    ),
    "forward": Task(
        "One LSTM layer forward, gates included. float32.",
        libraries=("lstmfast",),
        threads=1,
        flops=forward_flops,
        cases=(_SQUARE, replace(_SQUARE, keep_states=False)),
    ),
}


def weights(case):
    """Parameters by name, lstmfast's layout: gates in order i, f, g, o; kernels (inputs, outputs); one bias."""
    rng = np.random.default_rng(1)
    scale = case.hidden**-0.5

    def draw(*shape):
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    gates = 4 * case.hidden
    return {
        "kernel": draw(case.inputs, gates), "recurrent_kernel": draw(case.hidden, gates), "bias": draw(gates),
        "head_weight": draw(case.hidden, N_CLASSES), "head_bias": draw(N_CLASSES),
    }  # fmt: skip


def data(case):
    """x (B, T, I) and labels (B,)."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((case.batch, case.steps, case.inputs), dtype=np.float32)
    return x, rng.integers(0, N_CLASSES, case.batch)
