"""What one training step does, layer by layer and phase by phase: operations and bytes, from the sizes alone.

For B rows and a layer of m inputs and n outputs, with plain SGD, an operation being +, -, x, / or a comparison of two
numbers (so that a multiply-add is two), and a function exp, log or tanh:

    forward        z = a W           2 B m n operations; reads a and W
    activation     phi(z + b)        B n to add b, and phi's; reads b, writes the outputs, and phi' where it is
                                     stored
                   dropout           a draw compared with the rate, and its mask times phi and phi', which is then
                                     stored, and with alpha dropout a shift; the draws themselves are of whole
                                     numbers, and not counted
                   residual          x + scale f; and back scale g ∘ phi', and g ∘ phi' added to what goes around
                   d ∘ phi'          of hidden layers, on the way back; reads phi' or, of the ReLUs, the outputs,
                                     writes delta
    normalization  N and back        of hidden layers that have one: forward reads z, or after the activation a, and
                                     writes as much; back reads delta and z, or a, and writes delta. Per value, of layer
                                     and batch norm 6 and 9 operations, 2 and 1 more with gains and shifts; of RMS
                                     norm 3 and 6, and 1 and 1 with gains. Before an activation, that is done with it
    loss           and delta_L       of the last layer only
    dX             delta Wᵀ          2 B m n, which layer 1 does not need; reads delta and W
    dW + update    W -= lr aᵀ delta  2 B m n and 2 m n; B n and 2 n for b; reads a, delta, W, b, writes W, b

The bytes are the least: every number read once and written once in its phase, where all that is in between stays in
registers and the nearest cache. So do z and d, tile by tile, until their activation writes them.

Of threads, each takes rows of the batch forward and back, and then a share of the weights. So threads exchange W, which
each has changed a share of, in forward, and a and delta in dW; and what is written again is taken from those that have
read it: W in its update, and in dX the delta of the layer below.

``vgfast.bench.loops`` does the same step number by number, which is how the counts are checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vgfast.model.activations import CATALOG
from vgfast.model.architecture import Architecture
from vgfast.model.dropout import AlphaDropout
from vgfast.model.losses import LOSSES
from vgfast.model.norm import Normalization

# To multiply by phi', which is compared for where it is not stored.
_BACK = {"one": 0, "step": 2, "leak": 2, "stored": 1}
# In vg_run: labels are int32, the order of the rows int64, losses float64.
_LABEL, _SAMPLE, _LOSS = 4, 8, 8


@dataclass(frozen=True)
class Part:
    """Work that is done as one: FLOPs, functions, and the least bytes; ``exchanged``: those that one thread needs
    and, of n, others had (n - 1)/n of; ``exchanged_by_all``: that every thread needs."""

    flops: int = 0
    functions: int = 0
    read: int = 0
    written: int = 0
    exchanged: int = 0
    exchanged_by_all: int = 0


@dataclass(frozen=True)
class Work:
    """What one phase of one layer does; ``layer`` 0 is the batch itself. ``parts`` are done one after the other."""

    layer: int
    phase: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def flops(self) -> int:
        return sum(part.flops for part in self.parts)

    @property
    def functions(self) -> int:
        return sum(part.functions for part in self.parts)

    @property
    def read(self) -> int:
        return sum(part.read for part in self.parts)

    @property
    def written(self) -> int:
        return sum(part.written for part in self.parts)


def _loss(name: str, B: int, n: int, item: int) -> Part:
    """The rows' losses and delta_L."""
    of = LOSSES[name]
    targets = B * _LABEL if of.takes_labels else B * n * item
    return Part(
        B * (n * of.operations + of.row_operations),
        B * (n * of.functions + of.row_functions),
        read=B * n * item + targets,
        written=B * n * item + B * _LOSS,
    )


def _normalization(norm: Normalization) -> tuple[int, int]:
    """Operations a value, forward and back."""
    centred = norm.kind != "rms"
    return (6 if centred else 3) + norm.has_gains + norm.has_shifts, (9 if centred else 6) + norm.has_gains


def _layer(net: Architecture, l: int, B: int, rate: float, ends_block: bool) -> list[Work]:
    """rate: of its dropout; ends_block: whether a residual connection ends there."""
    (m, n), item, last = net.sizes[l - 1 : l + 1], net.dtype.itemsize, l == net.n_layers
    product, norm = 2 * B * m * n, net.norm_of(l)
    phi = CATALOG[net.kinds[l - 1]]
    out = B * n * item
    stored = out if phi.stored else 0
    with_phi = norm is not None and norm.place == "before"
    biased = norm is None or not norm.replaces_biases
    activate = [
        Part(B * n * biased, read=n * item * biased, written=out)
        if with_phi
        else Part(B * n * (1 + phi.operations), B * n * phi.functions, read=n * item, written=out + stored)
    ]
    if ends_block:  # forward, and back by both ways
        activate.append(Part(6 * B * n, read=6 * out, written=3 * out))
    if rate > 0:
        moved = isinstance((*net.dropouts, 0.0)[l - 1], AlphaDropout)  # an addition more
        activate.append(Part((3 + moved) * B * n, read=out + stored, written=2 * out))
    if not last:
        back = _BACK["stored" if rate > 0 else phi.form]
        activate.append(Part(B * n * back, read=out if back else 0, written=out))
    rows = [
        Work(l, "forward", (B, m, n), (Part(product, read=(B * m + m * n) * item, exchanged_by_all=m * n * item),)),
        Work(l, "activation", (B, n), tuple(activate)),
    ]
    if norm:
        forward, back = _normalization(norm)
        inner = Part(B * n * (forward + phi.operations * with_phi), B * n * phi.functions * with_phi,
                     read=out, written=out + stored * with_phi)  # fmt: skip
        rows.append(Work(l, "normalization", (B, n), (inner, Part(B * n * back, read=2 * out, written=out))))
    if last:
        rows.append(Work(l, "loss", (B, n), (_loss(net.loss, B, n, item),)))
    if l > 1:
        # Its epilogue writes B x m deltas, which is counted as activation, but the stores hold up the product.
        rows.append(
            Work(l, "dX", (B, n, m), (Part(product, read=(B * n + m * n) * item, exchanged_by_all=B * m * item),))
        )
    values, n_params = (B * m + B * n) * item, net.count_params(l)
    params, others = n_params * item, n_params - m * n - n * biased
    gradient = Part(product + B * n * biased + (3 if others else 0) * B * others, read=values, exchanged=values)
    update = Part(2 * n_params, read=params, written=params, exchanged=2 * params)
    return [*rows, Work(l, "dW + update", (m, B, n), (gradient, update))]


def count_step(net: Architecture, B: int) -> list[Work]:
    """The rows of a step on B rows. cross_entropy is that of labels.

    >>> forward = count_step(Architecture.checked([784, 30, 10], "sigmoid"), 10)[1]
    >>> forward.phase, forward.shape, forward.flops, forward.read, forward.written
    ('forward', (10, 784, 30), 470400, 125440, 0)
    """
    n_in = net.sizes[0]
    x = B * n_in * net.dtype.itemsize
    rows = [Work(0, "gather", (B, n_in), (Part(read=x + B * _SAMPLE), Part(written=x)))]
    ends = {last for _, last in net.blocks}
    for l, rate in enumerate((*net.rates, 0.0), 1):
        rows += _layer(net, l, B, rate, l in ends)
    return rows


def count_products(sizes: Sequence[int], B: int) -> int:
    """Operations of a step's products on B rows: forward, dW and, but for layer 1, dX."""
    return sum((4 if l == 0 else 6) * B * m * n for l, (m, n) in enumerate(pairwise(sizes)))


def working_set(net: Architecture, rows: int) -> int:
    """Bytes that a step comes back to: parameters, and of so many rows inputs, outputs, stored derivatives and deltas.

    >>> working_set(Architecture.checked([784, 30, 10], "sigmoid"), 10)
    131200
    """
    layers = zip(net.sizes[1:], net.kinds, (*net.rates, 0.0), strict=True)
    stored = sum(n for n, kind, rate in layers if CATALOG[kind].stored or rate > 0)
    values = sum(net.sizes[1:]) + (sum(net.sizes[1:-1]) if net.normalization else 0)
    return net.dtype.itemsize * (net.n_params + rows * (net.sizes[0] + 2 * values + stored))
