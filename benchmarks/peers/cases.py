"""What is compared: tasks, their cases, and the weights and data that every library gets."""

from dataclasses import dataclass, field, replace

import numpy as np

N_CLASSES = 10
LEARNING_RATE = 1e-3
CLIP_NORM = 1.0
LENGTH_SPREAD = 0.55  # standard deviation of the logarithm of ragged sequences' lengths


@dataclass(frozen=True)
class Case:
    """B sequences of T steps with I inputs, H units.

    layers, bidirectional: H units in each of several layers, in each of two directions.
    conv: (filters, width) of a causal convolution with relu before the first layer, or None.
    keep_states: whether a forward pass keeps what a backward pass would need.
    """

    batch: int
    steps: int
    inputs: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    keep_states: bool = True
    conv: tuple | None = None

    @classmethod
    def parse(cls, text):
        """The case that "B,T,I,H", "B,T,I,H,bidirectional", "B,T,I,H,layers=2" or "B,T,I,H,conv=32x5" stands for."""
        *sizes, last = text.split(",")
        options = {}
        if last == "bidirectional":
            options["bidirectional"] = True
        elif last.startswith("layers="):
            options["layers"] = int(last.removeprefix("layers="))
        elif last.startswith("conv="):
            filters, width = last.removeprefix("conv=").split("x")
            options["conv"] = int(filters), int(width)
        else:
            sizes.append(last)
        sizes = [int(size) for size in sizes]
        if len(sizes) != 4 or min(*sizes, options.get("layers", 1)) < 1:
            raise ValueError(f"four sizes above 0, then perhaps bidirectional or layers=N: {text!r} is no case")
        return cls(*sizes, **options)

    def __str__(self):
        text = f"{self.batch},{self.steps},{self.inputs},{self.hidden}"
        text += f", {self.layers} layers" if self.layers > 1 else ""
        text += ", bidirectional" if self.bidirectional else ""
        text += ", {} filters of {} steps".format(*self.conv) if self.conv else ""
        return text if self.keep_states else f"{text}, no states kept"

    @property
    def directions(self):
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def input_sizes(self):
        """Inputs of each layer."""
        lowest = self.conv[0] if self.conv else self.inputs
        return [lowest] + [self.directions * self.hidden] * (self.layers - 1)


def lengths(case):
    """Steps of each sequence where a task's sequences are ragged: log-normal, the longest has all the case's steps.

    Of 64 sequences the mean is a third of the longest.
    """
    drawn = np.random.default_rng(7).lognormal(0, LENGTH_SPREAD, case.batch)
    return np.maximum(1, np.round(case.steps * drawn / drawn.max())).astype(np.int64)


def forward_flops(case, n_steps=None):
    """Gate products of all steps, x W + h U; an addition and a multiplication count as two.

    n_steps: of all sequences together, where they are ragged.
    """
    per_step = sum(size + case.hidden for size in case.input_sizes) * case.directions * 4 * case.hidden
    return 2 * (n_steps or case.batch * case.steps) * per_step


def training_flops(case, n_steps=None):
    """Forward; weight gradients, as many again; dh from the gates' gradients. The inputs need no gradient."""
    n_steps = n_steps or case.batch * case.steps
    return 2 * forward_flops(case, n_steps) + 2 * n_steps * case.hidden * 4 * case.hidden


def conv_training_flops(case):
    """With a convolution, which has a weight gradient, and through which the gradient reaches it."""
    n_steps, (filters, width) = case.batch * case.steps, case.conv
    return training_flops(case) + 2 * n_steps * (2 * width * case.inputs * filters + 4 * case.hidden * filters)


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
    cases, more_cases, quick_cases : tuples of Case
        Measured; with --more too; with --quick instead, if there are any.
    tolerance : float
        To which all libraries must agree.
    own_choice : bool
        Whether lstmfast is tried with one thread too, as its peers are.
    short : bool
        Whether times are given in microseconds, not milliseconds.
    stacked : bool
        Whether a case may have several layers, or two directions.
    extra_modules : dict
        By library: a module that this task needs besides those of `compare.LIBRARIES`.
    """

    about: str
    libraries: tuple
    threads: int
    flops: object
    cases: tuple
    more_cases: tuple = ()
    quick_cases: tuple = ()
    own_choice: bool = False
    tolerance: float = 1e-4
    short: bool = False
    stacked: bool = False
    extra_modules: dict = field(default_factory=dict)


def _cases(text):
    return tuple(Case.parse(word) for word in text.split())


_ALL = ("lstmfast", "torch", "onnxruntime", "openvino", "jax", "tensorflow")
_TRAINING = ("lstmfast", "torch", "jax", "tensorflow")
_SQUARE = Case(64, 100, 64, 128)
_A_TRAINING_STEP = (
    "forward, cross-entropy of 10 classes on the last step's output, backward, clipping of the global gradient norm, "
    "Adam. float32."
)
_RAGGED = (
    "sequences of log-normal lengths, the longest of T steps, the mean about a third of it; operations are counted "
    "of real steps only. Peers get them padded or packed, sorted where that suits them, before the clock starts"
)

# Adam's first steps are nearly the signs of the gradient, those of rounding errors included: with a million parameters
# the losses of two float32 libraries differ by 2e-4 at the third.
_ADAM_TOLERANCE = 1e-3

TASKS = {
    "training": Task(
        f"One training step on one batch: {_A_TRAINING_STEP}",
        libraries=_TRAINING,
        threads=2,
        flops=training_flops,
        tolerance=_ADAM_TOLERANCE,
        cases=_cases("32,50,8,32 32,100,16,64 64,100,16,64 64,100,64,128 64,100,64,256 256,50,16,128"),
        more_cases=_cases("128,100,64,512"),
        quick_cases=_cases("32,50,8,32 64,100,16,64 64,100,64,128"),
    ),
    "ragged-training": Task(
        f"One training step on one batch of {_RAGGED}: {_A_TRAINING_STEP}",
        libraries=_TRAINING,
        threads=2,
        flops=lambda case: training_flops(case, int(lengths(case).sum())),
        cases=_cases("64,200,16,64"),
    ),
    "conv-training": Task(
        f"One training step of a causal convolution with relu and an LSTM layer, on one batch: {_A_TRAINING_STEP}",
        libraries=("lstmfast", "torch"),
        threads=2,
        flops=conv_training_flops,
        tolerance=_ADAM_TOLERANCE,
        cases=_cases(
            "32,100,8,32,conv=16x5 64,100,16,64,conv=32x5 64,100,64,128,conv=64x3 64,500,1,64,conv=32x9 "
            "32,200,40,128,conv=128x5"
        ),
    ),
    "forward": Task(
        "One LSTM layer forward, gates included. float32.",
        libraries=("lstmfast",),
        threads=1,
        flops=forward_flops,
        cases=(_SQUARE, replace(_SQUARE, keep_states=False)),
    ),
    "inference": Task(
        "LSTM layers on whole sequences, from zero states to the top layer's last output. float32.",
        libraries=_ALL,
        threads=2,
        flops=forward_flops,
        cases=_cases(
            "1,100,16,32 1,100,16,128 1,100,16,256 16,100,16,64 64,100,16,64 64,100,64,128 64,100,64,256 256,100,16,32 "
            "256,100,16,64 48,80,12,100 200,24,3,40 7,33,5,50 1,500,8,96 32,100,16,64,bidirectional "
            "32,100,16,64,layers=2"
        ),
        more_cases=_cases(
            "1,1000,4,64 1,50,32,512 2,100,16,128 4,60,40,96 8,64,24,200 13,77,17,129 16,60,128,300 100,28,28,64 "
            "128,100,32,128 500,20,10,50 3,100,10,20,bidirectional 24,50,9,80,layers=3"
        ),
        quick_cases=_cases("1,100,16,128 64,100,16,64 64,100,64,128"),
        own_choice=True,
        short=True,
        stacked=True,
    ),
    "ragged-inference": Task(
        f"An LSTM layer on {_RAGGED}, lstmfast the list of arrays; from zero states to the last outputs. float32.",
        libraries=_ALL,
        threads=2,
        flops=lambda case: forward_flops(case, int(lengths(case).sum())),
        cases=_cases("64,200,16,64"),
        own_choice=True,
        short=True,
    ),
    "step": Task(
        "One step of an LSTM layer, its states kept from call to call; lstmfast's model has a linear output, of one "
        "value, as well. float32.",
        libraries=_ALL,
        threads=2,
        flops=forward_flops,
        cases=_cases("1,1,16,32 1,1,16,128 1,1,16,256 1,1,16,512"),
        own_choice=True,
        short=True,
        extra_modules={"lstmfast": "lstmfast.runtime"},
    ),
}


def weights(case):
    """Parameters by name, lstmfast's layout: gates in order i, f, g, o; kernels (inputs, outputs); one bias.

    "layers" is a list, lowest first, of lists, a dict for each direction. The head is for the first layer's outputs. A
    convolution's kernel is (width, inputs, filters).
    """
    rng = np.random.default_rng(1)
    scale = case.hidden**-0.5

    def draw(*shape):
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    def direction(inputs):
        gates = 4 * case.hidden
        return {"kernel": draw(inputs, gates), "recurrent_kernel": draw(case.hidden, gates), "bias": draw(gates)}

    filters, width = case.conv or (0, 0)
    return {
        "conv_kernel": draw(width, case.inputs, filters), "conv_bias": draw(filters),
        "layers": [[direction(inputs) for _ in range(case.directions)] for inputs in case.input_sizes],
        "head_weight": draw(case.hidden, N_CLASSES), "head_bias": draw(N_CLASSES),
    }  # fmt: skip


def data(case):
    """x (B, T, I) and labels (B,). Of ragged sequences the steps past their `lengths` are padding."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((case.batch, case.steps, case.inputs), dtype=np.float32)
    return x, rng.integers(0, N_CLASSES, case.batch)
