"""SELU's fixed point: layers that keep mean 0 and variance 1."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast.inspection import mean_field
from vgfast.published import Row, around, near

TITLE = "SELU keeps mean 0 and variance 1, and comes back to them"

SOURCE = """Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks" (2017), arXiv 1706.02515: the
constants, and the Jacobian of the map g of (mean, variance) from layer to layer, at its fixed point (0, 1)."""

ABOUT = """We solve for the constants, differentiate the map as the paper's equations 4 and 5 give it, and then forget
the equations: random layers of 500 units, N(0, 1/n), are simulated, many in a row, and single ones whose inputs have
the variances 0.95 and 1.05. Those rows have ± 4 standard errors over draws. The paper's 0.088834 is 0.0888348 cut
short, so we allow it a whole unit of its last digit, and the other numbers half a unit."""

FILES = False

ALPHA, SCALE = 1.67326324235438, 1.05070098735548  # the first 15 digits of what the paper's code has
ERRORS = 4.0  # standard errors to each side of an interval: 99.9 % of it, for 15 draws and more
WIDTH, ROWS, STEP = 500, 50, 0.05


def solved() -> tuple[float, float]:
    """(alpha, scale) for which x ~ N(0, 1) becomes something of mean 0 and mean square 1: with P1 and P2 the averages
    of e^x and e^2x over x < 0, scale (1/sqrt(2 pi) + alpha (P1 - 1/2)) = 0 and scale² (1/2 + alpha² (P2 - 2 P1 + 1/2))
    = 1."""
    p1, p2 = (math.exp(k * k / 2) * math.erfc(k / math.sqrt(2)) / 2 for k in (1, 2))
    alpha = 1 / math.sqrt(2 * math.pi) / (0.5 - p1)
    return alpha, (0.5 + alpha**2 * (p2 - 2 * p1 + 0.5)) ** -0.5


def layer(rng: np.random.Generator, square_sum: float) -> vg.MLP:
    """A layer's weights, without the activation, which vgfast does not have."""
    std = math.sqrt(square_sum / WIDTH)
    return vg.MLP([WIDTH, WIDTH], loss="mse", init=vg.init.normal(std), rng=rng)


def selu(z: np.ndarray, alpha: float) -> np.ndarray:
    return np.float32(SCALE) * np.where(z > 0, z, np.float32(alpha) * np.expm1(np.minimum(z, 0)))


def moments(a: np.ndarray) -> tuple[float, float]:
    """(mean, variance)."""
    return float(a.mean(dtype=np.float64)), float(a.var(dtype=np.float64))


def deep(rng: np.random.Generator, square_sum: float, alpha: float, depth: int) -> tuple[float, float]:
    """Moments after that many layers, of inputs that have 0 and 1."""
    x = rng.standard_normal((ROWS, WIDTH), np.float32)
    for _ in range(depth):
        x = selu(layer(rng, square_sum).forward(x), alpha)
    return moments(x)


def slopes(rng: np.random.Generator, square_sum: float, alpha: float) -> tuple[float, float]:
    """Derivatives of a layer's moments by the variance of its inputs, as central differences: for the paper's layers,
    these are too small by 2e-5 and too large by 1.0e-4, a fraction of the intervals."""
    x = rng.standard_normal((ROWS, WIDTH), np.float32)
    x /= np.sqrt((x * x).mean(axis=1, keepdims=True))  # so that it has exactly the variance that we give it
    z = layer(rng, square_sum).forward(x)
    low, high = (moments(selu(np.float32(math.sqrt(1 + step)) * z, alpha)) for step in (-STEP, STEP))
    return (high[0] - low[0]) / (2 * STEP), (high[1] - low[1]) / (2 * STEP)


def interval(values: list[float]) -> tuple[float, float]:
    """(mean, half of the interval: 4 standard errors)."""
    return float(np.mean(values)), ERRORS * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def measure(
    quick: bool = False, folder: Path | None = None, alpha: float = ALPHA, square_sum: float = 1.0, seed: int = 0
) -> dict[str, Any]:
    """alpha: of the simulated activation; square_sum: of the weights of a simulated unit, 1 in the paper."""
    rng = np.random.default_rng(seed)
    nets, depth = (16, 6) if quick else (30, 30)
    ends = [deep(rng, square_sum, alpha, depth) for _ in range(nets)]
    slope = [slopes(rng, square_sum, alpha) for _ in range(5 * nets)]
    solved_alpha, solved_scale = solved()
    jacobian = mean_field.selu_jacobian()
    return {
        "alpha": solved_alpha,
        "scale": solved_scale,
        "jacobian": jacobian,
        "spectral_norm": float(np.linalg.norm(jacobian, 2)),
        "layers": depth,
        "mean": interval([mean for mean, _ in ends]),
        "variance": interval([variance for _, variance in ends]),
        "mean_slope": interval([mean for mean, _ in slope]),
        "variance_slope": interval([variance for _, variance in slope]),
    }


def rows(found: dict[str, Any]) -> list[Row]:
    entry, eigenvalue = (float(row[1]) for row in found["jacobian"])
    layers = found["layers"]
    return [
        near("alpha", "1.67326324235438", found["alpha"], 5e-15),
        near("lambda", "1.05070098735548", found["scale"], 5e-15),
        near("d mean / d variance", "0.088834", entry, 1e-6),
        around("the same, simulated", "0.088834", 4, *found["mean_slope"]),
        near("d variance / d variance", "0.782648", eigenvalue, 5e-7),
        around("the same, simulated", "0.782648", 4, *found["variance_slope"]),
        near("spectral norm", "0.7877", found["spectral_norm"], 5e-5),
        around(f"mean after {layers} layers", "0", 4, *found["mean"]),
        around(f"variance after {layers} layers", "1", 4, *found["variance"]),
    ]
