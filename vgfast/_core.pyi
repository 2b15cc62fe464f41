from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ACTIVATIONS: tuple[str, ...]
LOSSES: tuple[str, ...]
DTYPES: tuple[str, ...]
QUANTITIES: tuple[str, ...]
DONE: int
PAUSED: int
WARY: int
NON_FINITE: int
TRAIN: int
GRADIENT: int
INSPECT: int
THREADS_MOST: int
FORWARD_ROWS: int
HAS_THREADS: bool

def isas() -> tuple[str, ...]: ...
def isa() -> str: ...
def use_isa(name: str) -> None: ...
def insist_on_threads(insist: bool) -> None: ...
def fma_peak(n_threads: int, dtype: DTypeLike = ...) -> float: ...
def aligned(n: int, dtype: DTypeLike) -> NDArray[Any]: ...

class Net:
    weights: tuple[int, ...]
    biases: tuple[int, ...]
    def __init__(self, sizes: Any, activations: Any, loss: int, dtype: int) -> None: ...
    @property
    def n_params(self) -> int: ...
    def threads_for(self, rows: int, limit: int) -> int: ...
    def threads_to_try(self, rows: int, limit: int) -> int: ...
    def forward(self, params: NDArray[Any], x: NDArray[Any], z: NDArray[Any], n_threads: int) -> None: ...
    def forward_few(self, params: NDArray[Any], x: Any) -> NDArray[Any] | None: ...

class Workspace:
    net: Net
    memory: NDArray[Any]
    notes: NDArray[np.float64]
    def __init__(self, net: Net, rows: int, n_threads: int) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def n_threads(self) -> int: ...
    def output(self, l: int) -> NDArray[Any]: ...
    def delta(self, l: int) -> NDArray[Any]: ...

class Run:
    def __init__(
        self,
        workspace: Workspace,
        mode: int,
        params: NDArray[Any],
        gradient: NDArray[Any] | None = None,
    ) -> None: ...
    def set_gradient(self, gradient: NDArray[Any]) -> None: ...
    def set_optimizer(
        self,
        lr: float,
        momentum: float,
        nesterov: int,
        weight_decay: float,
        clip_norm: float,
        clip_value: float,
        velocity: NDArray[Any] | None,
    ) -> None: ...
    def set_data(self, x: NDArray[Any], y: NDArray[Any], batch_size: int) -> None: ...
    def set_epoch(
        self,
        order: NDArray[np.int64] | None,
        losses: NDArray[np.float64],
        correct: NDArray[np.float64],
        steps_before: int,
    ) -> None: ...
    def set_records(
        self, records: NDArray[Any], inspect_every: int, exponents: NDArray[np.uint32] | None = None
    ) -> None: ...
    @property
    def step(self) -> int: ...
    @property
    def n_records(self) -> int: ...
    def let_go(self) -> None: ...
    def step_on(self, x: Any, y: Any) -> float | None: ...
    def go(self, seconds: float = 0.0) -> int: ...

def tile(dtype: DTypeLike) -> tuple[int, int, int]: ...
def scratch_size(widest: int) -> int: ...
def activate(activation: str, z: NDArray[Any], y: NDArray[Any] | None, slopes: NDArray[Any] | None = None) -> None: ...
def exponential(x: NDArray[Any], y: NDArray[Any]) -> None: ...
def softmax(z: NDArray[Any], y: NDArray[Any]) -> None: ...
def loss(
    name: str,
    z: NDArray[Any],
    y: NDArray[Any],
    losses: NDArray[np.float64],
    correct: NDArray[np.float64],
    dz: NDArray[Any],
) -> float: ...
def dense_forward(
    activation: str,
    x: NDArray[Any],
    weights: NDArray[Any],
    biases: NDArray[Any],
    y: NDArray[Any],
    scratch: NDArray[Any],
    slopes: NDArray[Any] | None = None,
) -> float: ...
def dense_backward(
    activation: str,
    dy: NDArray[Any],
    weights: NDArray[Any],
    source: NDArray[Any],
    dx: NDArray[Any],
    scratch: NDArray[Any],
) -> NDArray[np.float64]: ...
def weight_gradient(
    x: NDArray[Any], dy: NDArray[Any], gradient: NDArray[Any], scratch: NDArray[Any], first: int, last: int
) -> None: ...
def weight_update(
    x: NDArray[Any],
    dy: NDArray[Any],
    weights: NDArray[Any],
    lr: float,
    scratch: NDArray[Any],
    first: int,
    last: int,
) -> None: ...
def column_sums(dy: NDArray[Any], sums: NDArray[Any]) -> None: ...
def square_norm(x: NDArray[Any]) -> float: ...
def sgd(
    gradient: NDArray[Any],
    params: NDArray[Any],
    velocity: NDArray[Any] | None,
    lr: float,
    momentum: float,
    nesterov: int,
    decay: float,
    clip_value: float,
    scale: float,
) -> dict[str, float]: ...
def pace(
    workspace: Workspace, seconds_of: Callable[[int], float | None], until: float
) -> list[tuple[float, int]] | None: ...
