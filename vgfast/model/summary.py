"""What a net is made of, as a table."""

from __future__ import annotations

import html

from vgfast.model.architecture import Architecture
from vgfast.model.dropout import AlphaDropout, rate_of
from vgfast.model.losses import LOSSES
from vgfast.show.numbers import scaled
from vgfast.show.table import WIDTH, Table, lines
from vgfast.show.table import as_html as table_html

# Characters of a heading that stand before what is left out, and behind it.
_END = 500


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


def _rates(net: Architecture) -> list[str]:
    """Of dropout behind each layer."""
    rates = [f"alpha {rate_of(of):g}" if isinstance(of, AlphaDropout) else f"{of:g}" for of in net.dropouts]
    return [rate if rate_of(of) else "-" for rate, of in zip(rates, net.dropouts, strict=True)] + ["-"]


def _added(net: Architecture) -> list[str]:
    """The layer whose outputs a residual connection adds to those of each layer."""
    begins = {last: first for first, last in net.blocks}
    return [f"+ layer {begins[l] - 1}" if l in begins else "-" for l in range(1, net.n_layers + 1)]


def _residual(net: Architecture) -> str:
    """How it adds them."""
    assert net.residual is not None
    every, scale = net.residual
    factor = "scale " if net.learns_scales else "" if net.scale == 1 else f"{net.scale:.4g} "
    why = f", scale={scale!r}" if isinstance(scale, str) else ""
    why += ", learned" if net.learns_scales else f" of L={len(net.blocks)}" if why else ""
    return f"residual connections, every={every}: x + {factor}f(x){why}"


def summarize(net: Architecture, inits: tuple[str, ...]) -> Summary:
    """A row a layer, and lines on all. inits: one a layer, or none if they are not known."""
    return Summary("\n".join([*lines(table(net, inits)), *_below(net)]))


def as_html(net: Architecture, inits: tuple[str, ...], heading: str) -> str:
    """The same below a heading; of many layers, some rows, and of a heading that names them all, both ends."""
    rows = table(net, inits)
    if len(heading) > 2 * _END:
        heading = f"{heading[:_END]} ... {heading[-_END:]}"
    above, *below = (f"<p>{html.escape(line)}</p>" for line in (heading, *_below(net)))
    return above + table_html(rows.headings, rows.rows, what="layers") + "".join(below)


def table(net: Architecture, inits: tuple[str, ...]) -> Table:
    """A row a layer."""
    columns = {
        "layer": [str(l) for l in range(1, net.n_layers + 1)],
        "weights": [f"({m}, {n})" for m, n in net.shapes],
        "parameters": [f"{net.count_params(l):,}" for l in range(1, net.n_layers + 1)],
        "activation": [_between(net, l, kind) for l, kind in enumerate(net.kinds, 1)],
    }
    columns |= {"dropout": _rates(net)} if net.dropout else {}
    columns |= {"residual": _added(net)} if net.residual else {}
    columns["init"] = list(inits or ("-",) * net.n_layers)
    return Table(tuple(columns), list(zip(*columns.values(), strict=True)))


def _below(net: Architecture) -> list[str]:
    """Lines on all layers together."""
    link = LOSSES[net.loss].link
    total = [f"{net.n_params:,} parameters of {net.dtype}, {scaled(net.n_params * net.dtype.itemsize)} bytes"]
    total += [f"loss {net.loss}" + (f", which has its {link}" if link in ("softmax", "sigmoid") else "")]
    whole = "; ".join(total)
    return [*([_residual(net)] if net.residual else []), *([whole] if len(whole) <= WIDTH else total)]
