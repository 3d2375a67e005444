"""Types of the compiled core (src/_core.pyx)."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Real = NDArray[np.float32] | NDArray[np.float64]

def available_isas() -> list[str]: ...
def isa() -> str: ...
def has_openmp() -> bool: ...
def lanes(float64: bool) -> int: ...
def tile_rows() -> int: ...

CELLS: tuple[str, ...]
ACTIVATIONS: tuple[str, ...]
RECURRENT_ACTIVATIONS: tuple[str, ...]

class Cell:
    name: str
    activation: str
    recurrent_activation: str
    clip: float | None
    has_c: bool
    second_state: bool
    reads_c: bool
    two_phases: bool
    shares_inputs: bool
    has_peephole: bool
    has_peephole_kernel: bool
    has_recurrent_bias: bool
    kernel_gates: int
    recurrent_gates: int
    bias_gates: int
    def __new__(
        cls,
        name: str = "lstm",
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        clip: float | None = None,
    ) -> Self: ...

def packed_gates_size(cell: Cell, n_inputs: int, n_units: int, float64: bool) -> int: ...
def packed_gates_transposed_size(cell: Cell, operand: int, n_units: int, n_columns: int, float64: bool) -> int: ...
def gates_size(cell: Cell, n_units: int, float64: bool) -> int: ...
def packed_columns_size(n_inputs: int, n_outputs: int, float64: bool) -> int: ...
def pack_gates(
    cell: Cell,
    kernel: _Real,
    recurrent_kernel: _Real,
    bias: _Real,
    n_inputs: int,
    n_units: int,
    float64: bool,
    packed: _Real,
    *,
    peephole_kernel: _Real | None = None,
    recurrent_bias: _Real | None = None,
    n_threads: int = 1,
) -> None: ...
def pack_gates_transposed(
    cell: Cell,
    operand: int,
    matrix: _Real,
    n_columns: int,
    n_units: int,
    float64: bool,
    packed: _Real,
    n_threads: int = 1,
) -> None: ...
def pack_columns(
    weight: _Real, bias: _Real | None, n_inputs: int, n_outputs: int, transpose: bool, float64: bool, packed: _Real
) -> None: ...

class Batch:
    lengths: NDArray[np.int64]
    n_rows: int
    n_steps: int
    max_length: int
    def __new__(cls, lengths: NDArray[np.int64]) -> Self: ...

class Recurrence:
    batch: Batch
    def __new__(
        cls,
        cell: Cell,
        batch: Batch,
        x: _Real,
        weights: _Real,
        n_inputs: int,
        n_units: int,
        float64: bool,
        *,
        h: _Real,
        h_steps: _Real,
        c: _Real | None = None,
        c_steps: _Real | None = None,
        gates: _Real | None = None,
        gated_steps: _Real | None = None,
        peephole: _Real | None = None,
        keep: bool = False,
        x_first: NDArray[np.int64] | None = None,
        x_rows: NDArray[np.int64] | None = None,
        x_sums: _Real | None = None,
        y: _Real | None = None,
        h0: _Real | None = None,
        c0: _Real | None = None,
        h_mask: _Real | None = None,
        reverse: bool = False,
    ) -> Self: ...
    def set_gradients(
        self,
        *,
        weights_h_t: _Real,
        dkernel: _Real,
        drecurrent_kernel: _Real,
        dbias: _Real,
        dc_carry: _Real | None = None,
        dh_carry: _Real | None = None,
        weights_extra_t: _Real | None = None,
        drecurrent_bias: _Real | None = None,
        dpeephole: _Real | None = None,
        dpeephole_kernel: _Real | None = None,
        dy: _Real | None = None,
        dh: _Real | None = None,
        dc: _Real | None = None,
        weights_x_t: _Real | None = None,
        dx: _Real | None = None,
        dx_accumulate: bool = False,
        dx_sums: _Real | None = None,
        dh0: _Real | None = None,
        dc0: _Real | None = None,
    ) -> None: ...

def forward(passes: list[Recurrence], n_threads: int = 1) -> None: ...
def backward(passes: list[Recurrence], n_threads: int = 1) -> None: ...
def dense_forward(
    x: _Real, weights: _Real, n_inputs: int, n_outputs: int, float64: bool, y: _Real, n_threads: int = 1
) -> None: ...
def dense_weight_gradient(
    x: _Real,
    dy: _Real,
    n_inputs: int,
    n_outputs: int,
    float64: bool,
    dweight: _Real,
    dbias: _Real,
    n_threads: int = 1,
) -> None: ...
def pool_mean(batch: Batch, y: _Real, out: _Real) -> None: ...
def pool_mean_backward(batch: Batch, dout: _Real, dy: _Real) -> None: ...
def pool_max(batch: Batch, y: _Real, out: _Real, at: NDArray[np.int64]) -> None: ...
def pool_max_backward(batch: Batch, dout: _Real, at: NDArray[np.int64], dy: _Real) -> None: ...
def pool_attention(batch: Batch, y: _Real, scores: _Real, out: _Real) -> None: ...
def pool_attention_steps(batch: Batch, y: _Real, scores: _Real) -> None: ...
def pool_attention_backward(
    batch: Batch,
    y: _Real,
    u: _Real,
    context: _Real,
    weights: _Real,
    out: _Real,
    dout: _Real,
    dy: _Real,
    dscores: _Real,
    du: _Real,
    n_threads: int = 1,
) -> None: ...
def sum_groups(order: NDArray[np.int64], starts: NDArray[np.int64], values: _Real, sums: _Real) -> None: ...
def crf_scaled(
    batch: Batch,
    z: _Real,
    transitions: _Real,
    start: _Real,
    end: _Real,
    log_partition: NDArray[np.float64],
    unsafe: NDArray[np.uint8],
    marginals: _Real | None = None,
    weights: _Real | None = None,
    dtransitions: _Real | None = None,
    n_threads: int = 1,
) -> None: ...
def crf_log_space(
    batch: Batch,
    z: NDArray[np.float64],
    transitions: NDArray[np.float64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    log_partition: NDArray[np.float64],
    marginals: NDArray[np.float64],
    weights: NDArray[np.float64],
    dtransitions: NDArray[np.float64],
) -> None: ...
def crf_scores(
    batch: Batch,
    z: _Real,
    transitions: _Real,
    start: _Real,
    end: _Real,
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None: ...
def crf_gradient(
    batch: Batch,
    labels: NDArray[np.int64],
    weights: _Real,
    dz: _Real,
    dtransitions: _Real,
    dstart: _Real,
    dend: _Real,
) -> None: ...
def crf_decode(
    batch: Batch,
    z: _Real,
    transitions: _Real,
    start: _Real,
    end: _Real,
    labels: NDArray[np.int64],
    n_threads: int = 1,
) -> None: ...
def penalised_gradient(
    parameters: _Real, gradients: _Real, n_penalised: int, l1: float, l2: float, float64: bool, n_threads: int = 1
) -> tuple[float, float]: ...
def optimizer_step(
    solver: str,
    parameters: _Real,
    gradients: _Real,
    first: _Real,
    second: _Real,
    n_penalised: int,
    float64: bool,
    *,
    scale: float,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    beta_1: float = 0.0,
    beta_2: float = 0.0,
    epsilon: float = 0.0,
    decay: float = 0.0,
    step: int = 1,
    before: _Real | None = None,
    n_threads: int = 1,
) -> None: ...
def softmax_cross_entropy(
    z: _Real,
    targets: NDArray[np.int64],
    weights: _Real,
    losses: _Real,
    n_outputs: int,
    float64: bool,
    n_threads: int = 1,
) -> None: ...
def output_probabilities(multilabel: bool, z: _Real, probabilities: _Real, n_outputs: int, float64: bool) -> None: ...
def pool_steps(batch: Batch, y: _Real, maximum: bool) -> None: ...

class Stream:
    n: int
    n_features: int
    n_outputs: int
    def __new__(
        cls,
        layers: list[tuple[Cell, _Real, _Real | None, int, int]],
        dense: list[tuple[_Real, int, int]],
        pooling: str,
        activation: str | None,
        n: int,
        float64: bool,
        n_threads: int = 1,
        attention: tuple[_Real, _Real, int] | None = None,
    ) -> Self: ...
    def step(self, x: ArrayLike, out: _Real | None = None) -> _Real: ...
    def reset(self, rows: ArrayLike | slice | None = None) -> None: ...
    def copy(self) -> Stream: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def state(self) -> dict[str, Any]: ...
    @state.setter
    def state(self, state: dict[str, Any]) -> None: ...

def evaluate(function: str, x: _Real, y: _Real, float64: bool, n_threads: int = 1) -> None: ...

class Pairs:
    n_pairs: int
    n_weights: int
    q_end: int
    k_end: int
    def __new__(
        cls,
        q_first: NDArray[np.int64],
        q_lengths: NDArray[np.int64],
        k_first: NDArray[np.int64],
        k_lengths: NDArray[np.int64],
    ) -> Self: ...
    def split(self, weights: _Real) -> list[_Real]: ...
    def check_apart(self) -> None: ...

def attention_odds(x: _Real, n_units: int, float64: bool, odds: _Real, n_threads: int = 1) -> None: ...
def attention_forward(
    pairs: Pairs,
    queries: _Real,
    q_odds: _Real,
    keys: _Real,
    k_odds: _Real,
    scale: _Real,
    values: _Real,
    weights: _Real,
    context: _Real,
    n_units: int,
    n_values: int,
    float64: bool,
    n_threads: int = 1,
) -> None: ...
def attention_backward(
    pairs: Pairs,
    queries: _Real,
    q_odds: _Real,
    keys: _Real,
    k_odds: _Real,
    scale: _Real,
    values: _Real,
    weights: _Real,
    dcontext: _Real,
    dscores: _Real,
    dqueries: _Real,
    dkeys: _Real,
    dvalues: _Real,
    dscale: _Real,
    n_units: int,
    n_values: int,
    float64: bool,
    n_threads: int = 1,
) -> None: ...
