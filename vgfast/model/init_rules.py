"""What rules of first weights do: each fills one layer, or all of them. They draw in float64, the weights before the
biases, so that every dtype starts from the same net."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vgfast.model.activations import CATALOG, Function
from vgfast.model.architecture import Architecture
from vgfast.model.norm import Normalization

if TYPE_CHECKING:
    from vgfast.model.critical import CriticalPoint
    from vgfast.model.engine import Engine

# Of a standard deviation, relatively to the largest value: what is less is a rounding error.
ROUNDING = 1e-12


class Independent(NamedTuple):
    """Weights drawn one by one: the standard deviation of a layer's weights, their distribution, and that of the
    biases."""

    name: str
    scale: float  # what the variance's denominator divides; or, for `normal`, the standard deviation
    fan: str  # "in", "mean" (of in and out), or "" for a standard deviation that is given
    uniform: bool = False
    bias_std: float = 0.0

    def std(self, n_in: int, n_out: int) -> float:
        """The standard deviation of the weights of a layer of these sizes."""
        if not self.fan:
            return self.scale
        return math.sqrt(self.scale / (n_in if self.fan == "in" else (n_in + n_out) / 2))

    def fill(self, weights: np.ndarray, biases: np.ndarray, rng: np.random.Generator) -> None:
        std = self.std(*weights.shape)
        if std == 0:
            weights[...] = 0
        elif self.uniform:
            weights[...] = rng.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, weights.shape)
        else:
            weights[...] = rng.normal(0, std, weights.shape)
        fill_biases(biases, self.bias_std, rng)


def fill_biases(biases: np.ndarray, std: float, rng: np.random.Generator) -> None:
    """N(0, std²); without a draw where std is 0."""
    biases[...] = rng.normal(0, std, biases.shape) if std else 0


class Orthogonal(NamedTuple):
    """Orthonormal rows or columns, whichever are fewer, times the gain."""

    gain: float
    bias_std: float = 0.0
    name: str = "orthogonal"

    def std(self, n_in: int, n_out: int) -> float:
        """The root mean square of the weights."""
        return self.gain / math.sqrt(max(n_in, n_out))

    def fill(self, weights: np.ndarray, biases: np.ndarray, rng: np.random.Generator) -> None:
        weights[...] = self.gain * draw_orthonormal(weights.shape, rng)
        fill_biases(biases, self.bias_std, rng)


def draw_orthonormal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A matrix of this shape with orthonormal rows or columns, whichever are fewer; each such matrix is equally likely.

    Q of the QR decomposition of a normal matrix. A decomposition fixes the signs in R as it likes; with those of its
    diagonal taken back, Q has no preferred direction.
    """
    q, r = np.linalg.qr(rng.normal(size=(max(shape), min(shape))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if q.shape == shape else q.T


class Sparse(NamedTuple):
    """Each unit takes so many inputs, chosen at random, with weights N(0, std²); its other weights are 0."""

    inputs: int
    std_of_taken: float
    bias_std: float = 0.0
    name: str = "sparse"

    def std(self, n_in: int, n_out: int) -> float:
        """The root mean square of all weights."""
        return self.std_of_taken * math.sqrt(min(self.inputs, n_in) / n_in)

    def fill(self, weights: np.ndarray, biases: np.ndarray, rng: np.random.Generator) -> None:
        n_in, n_out = weights.shape
        taken = np.argsort(rng.random((n_in, n_out)), axis=0)[: self.inputs]
        values = rng.normal(0, self.std_of_taken, taken.shape)
        weights[...] = 0
        np.put_along_axis(weights, taken, values.astype(weights.dtype), axis=0)
        fill_biases(biases, self.bias_std, rng)


Layer = Independent | Orthogonal | Sparse


class Critical(NamedTuple):
    """Variances of the critical point of each layer's activation at this q, or at the first q that attracts."""

    q: float | None = None
    orthogonal: bool = False
    name: str = "critical"

    def layers(self, architecture: Architecture) -> list[Layer]:
        """The rule for each layer: layer 1 makes z of variance q from inputs of mean square 1, and each layer after it
        keeps that, with the point of the activation before it."""
        points = [self.find_point(kind) for kind in architecture.kinds]
        first = points[0]
        numbers = [(first.q - first.sb2, first.sb2), *((point.sw2, point.sb2) for point in points[:-1])]
        return [self._layer(shape, *of) for shape, of in zip(architecture.shapes, numbers, strict=True)]

    def find_point(self, activation: str) -> CriticalPoint:
        """That of one activation; ValueError where there is none."""
        from vgfast.model.critical import LENGTHS, critical_point_at, find_critical_point  # only read when asked for

        found = find_critical_point(activation)
        point = found if self.q is None else critical_point_at(activation, self.q)
        if point is not None and point.sb2 >= 0:
            return point
        why = "there, weights that keep gradients make signals longer, which no biases undo"
        if found is None:
            raise ValueError(
                f"init='critical' needs a critical point that attracts, and {activation} has none at variances of z "
                f"from {LENGTHS[0]:g} to {LENGTHS[-1]:g}: {why}; use init='lecun_normal', or another activation"
            )
        raise ValueError(
            f"q must be a variance of z at which {activation} has a critical point, got {self.q!r}: {why}; use "
            f"q={found.q:g}"
        )

    def _layer(self, shape: tuple[int, int], sw2: float, sb2: float) -> Layer:
        n_in, n_out = shape
        if self.orthogonal:
            return Orthogonal(math.sqrt(sw2 * max(n_in, n_out) / n_in), math.sqrt(sb2))
        return Independent("normal", math.sqrt(sw2 / n_in), "", bias_std=math.sqrt(sb2))


def _activate(phi: Function, norm: Normalization | None, z: np.ndarray) -> np.ndarray:
    """phi(z), with a normalization that is as it begins before it or after it."""
    if norm is None:
        return phi(z)
    from vgfast.model.norm_numpy import normalize  # only read where it is needed

    ones, zeros = np.ones(z.shape[1]), np.zeros(z.shape[1])
    return (
        phi(normalize(norm, z, ones, zeros)[0]) if norm.place == "before" else normalize(norm, phi(z), ones, zeros)[0]
    )


class Fixup(NamedTuple):
    """Blocks of residual connections that add nothing at first."""

    name: str = "fixup"

    def check(self, architecture: Architecture) -> None:
        """ValueError for a net whose blocks would stay as they begin, or without any."""
        norm = architecture.normalization
        if not architecture.blocks:
            raise ValueError(
                "init='fixup' is for nets with residual connections, got residual=None; add residual=True, or use "
                "another init"
            )
        if norm is not None and not norm.has_gains:
            raise ValueError(
                f"init='fixup' begins with gains of 0, and normalization={norm!r} has none; give it affine=True, or "
                f"use another init"
            )
        if norm is not None and norm.place == "after":
            return
        for _, last in architecture.blocks:
            kind = architecture.kinds[last - 1]
            if not CATALOG[kind].derivative(np.zeros(1)).any():
                raise ValueError(
                    f"init='fixup' begins with 0 at the end of each block, where {kind} of layer {last} passes nothing "
                    f"back, so that it would stay 0; use another activation, such as leaky_relu, or another init with "
                    f"residual=vg.residual(scale='rezero')"
                )

    def shrink(self, rules: list[Independent], architecture: Architecture) -> list[Layer]:
        """These rules, with smaller variances in the blocks."""
        found, blocks = [*rules], architecture.blocks if architecture.normalization is None else []
        for first, last in blocks:
            for l in range(first, last):
                found[l - 1] = rules[l - 1]._replace(scale=rules[l - 1].scale * len(blocks) ** (-1 / (last - first)))
        return [*found]

    def close_blocks(self, engine: Engine) -> None:
        """Of an engine that is as it was drawn."""
        net = engine.architecture
        for _, last in net.blocks:
            if net.normalization is not None:
                engine.gains[last - 1][...] = 0
                continue
            engine.weights[last - 1][...] = 0
            engine.biases[last - 1][...] = 0
        for scale in engine.scales.values():
            scale[...] = 1


class Lsuv(NamedTuple):
    """Orthonormal weights, divided layer by layer by the standard deviation of z on rows of inputs."""

    x: np.ndarray  # (rows, n_in) float64
    name: str = "lsuv"

    def fill_all(
        self,
        architecture: Architecture,
        weights: list[np.ndarray],
        biases: list[np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        """All layers, the first one first. As z is linear in the weights, one division gives it the variance 1."""
        a = around = self.x
        firsts, lasts = {first for first, _ in architecture.blocks}, {last for _, last in architecture.blocks}
        scale = 0.0 if architecture.learns_scales else architecture.scale  # a learned one begins with 0
        for l, (w, b, kind) in enumerate(zip(weights, biases, architecture.kinds, strict=True), 1):
            drawn = draw_orthonormal(w.shape, rng)
            with np.errstate(all="ignore"):
                z = a @ drawn
                std = float(z.std())
            if not ROUNDING * float(np.abs(z).max()) < std < math.inf:
                raise ValueError(
                    f"lsuv must have rows on which what each layer computes varies, got {len(self.x)} on which it is "
                    f"the same number in all of layer {l}, or not finite; pass several of the rows to train on, scaled "
                    f"to mean 0 and variance 1"
                )
            w[...] = drawn / std
            b[...] = 0
            around = a if l in firsts else around
            a = _activate(CATALOG[kind].value, architecture.norm_of(l), z / std)
            a = around + scale * a if l in lasts else a
