"""What a net is made of, as a table."""

from __future__ import annotations

from vgfast.model.architecture import Architecture
from vgfast.model.dropout import AlphaDropout, rate_of
from vgfast.model.losses import LOSSES
from vgfast.show.numbers import scaled
from vgfast.show.table import Table, lines


class Summary(str):
    """A text that a prompt shows as ``print`` does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _between(net: Architecture, l: int, activation: str) -> str:
    """What stands between layer l's weights and the next's, in its order."""
    norm = net.norm_of(l)
    if norm is None:
        return activation
    name = f"{norm.kind} norm"
    return f"{name}, {activation}" if norm.place == "before" else f"{activation}, {name}"


def summarize(net: Architecture, inits: tuple[str, ...]) -> Summary:
    """A row a layer, and a line on all. inits: one a layer, or none if they are not known."""
    drawn = inits or ("-",) * net.n_layers
    layers = zip(net.shapes, net.kinds, drawn, strict=True)
    names = ["layer", "weights", "parameters", "activation", "init"]
    rows = [
        [str(l), f"({m}, {n})", f"{net.count_params(l):,}", _between(net, l, kind), init]
        for l, ((m, n), kind, init) in enumerate(layers, 1)
    ]
    if net.dropout:
        names.insert(4, "dropout")
        for row, of in zip(rows, (*net.dropout, 0.0), strict=True):
            rate = f"{rate_of(of):g}" if of else "-"
            row.insert(4, f"alpha {rate}" if isinstance(of, AlphaDropout) else rate)
    table = lines(Table(tuple(names), [tuple(row) for row in rows]))
    link = LOSSES[net.loss].link
    total = f"{net.n_params:,} parameters of {net.dtype}, {scaled(net.n_params * net.dtype.itemsize)} bytes; "
    total += f"loss {net.loss}" + (f", which has its {link}" if link in ("softmax", "sigmoid") else "")
    return Summary("\n".join([*table, total]))
