"""Inspection: what one step knows about each layer, and what it means.

For a batch of B rows, with delta_l = d(mean loss)/dz_l as a (B, n_l) matrix and phi' the derivative of layer
l's activation at z_l (1 for the output layer, which is linear):

``grad_norm`` ``bias_grad_norm`` ``weight_norm``
    Frobenius or L2 norms of dW_l, db_l, W_l.
``delta_norm``
    Frobenius norm of delta_l.
``speed``
    L2 norm of db_l, the sum of delta_l over the batch: Nielsen's "speed of learning" (*Neural Networks and
    Deep Learning*, chapter 5).
``weight_gain``
    ‖delta_{l+1} W_{l+1}ᵀ‖ / ‖delta_{l+1}‖: what the weights did to the signal on its way back to layer l.
``activation_gain``
    ‖(delta_{l+1} W_{l+1}ᵀ) ∘ phi'(z_l)‖ / ‖delta_{l+1} W_{l+1}ᵀ‖: what the activation did.
``gain``
    Their product, ‖delta_l‖ / ‖delta_{l+1}‖; the product over layers is ‖delta_1‖ / ‖delta_L‖. All three
    gains are NaN for the output layer, where the signal starts.
``mean_derivative`` ``saturated`` ``dead``
    Mean of phi'; share of entries with phi' below 1 % of its maximum; share of units with phi' = 0 on every row.
``update_ratio``
    ‖W_new - W_old‖ / ‖W_old‖, computed as ‖lr * step‖ / ‖W_l‖ (for plain SGD, ‖lr dW_l‖ / ‖W_l‖).
``frozen`` ``stuck``
    Share of weights whose bits the update does not change, in the net's dtype; and of those among them whose
    gradient is not 0, so that they ought to have moved.
``zero`` ``subnormal`` ``max_abs``
    Shares and largest of abs(dW_l).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast.history import RECORD

# Of the terminal that reports are laid out for.
WIDTH = 80


class GradientReport:
    """What one batch tells about each layer, and a verdict. ``str()`` shows it.

    ``layers[l-1]`` has the quantities of ``vgfast.gradients`` as attributes; ``records`` (L,) is the same as a
    structured array. ``verdict`` is one of ``healthy``, ``vanishing``, ``exploding``, ``frozen``, with
    ``explanation`` in words, ``remedies``, and in ``numbers`` those that it was judged by.

    The rule. With T the steps of the training judged for (``steps``) and G = ‖delta_1‖ / ‖delta_L‖ the gain
    over all layers:

    - *vanishing*: G < 1 / T. One learning rate serves all layers, so the signal that moves layer 1 in all T
      steps together is less than what moves layer L in a single one.
    - *exploding*: G > T. The same with the ends exchanged.
    - *frozen*: G is between, and yet in some layer more than half of the weights whose gradient is not 0 keep
      their bits, because their update is under half an ulp; or every entry of its gradient is 0. Such a layer
      stands still. (Where G is the reason, that is the verdict, and the explanation tells of the frozen layer.)

    >>> import numpy as np, vgfast as vg
    >>> X, y = np.eye(8), np.arange(8) % 2
    >>> net = vg.MLP([8, *[16] * 8, 2], "sigmoid", rng=0)
    >>> report = net.inspect(X, y, optimizer=vg.SGD(lr=10.0))
    >>> report.verdict, bool(report.layers[0].gain < 0.25)
    ('vanishing', True)
    >>> net = vg.MLP([8, *[16] * 8, 2], "relu", rng=0)
    >>> net.inspect(X, y, optimizer=vg.SGD(lr=0.01)).verdict
    'healthy'
    >>> net.inspect(X, y, optimizer=vg.SGD(lr=1e-9)).verdict
    'frozen'
    """

    def __init__(
        self,
        records: np.ndarray,
        loss: float,
        sizes: tuple[int, ...],
        activations: tuple[str, ...],
        steps: int,
    ) -> None:
        self.records, self.loss, self.sizes, self.activations = records, loss, sizes, activations
        self.steps = steps
        self.verdict, self.explanation, self.remedies, self.numbers = judge(records, activations, steps)

    @property
    def layers(self) -> np.ndarray:
        """One record a layer, with its quantities as attributes."""
        return self.records.view(np.recarray)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data; quantities without a value are None."""
        return {
            "verdict": self.verdict,
            "explanation": self.explanation,
            "remedies": list(self.remedies),
            "numbers": dict(self.numbers),
            "loss": self.loss,
            "layers": as_dicts(self.records),
        }

    def to_pandas(self) -> Any:
        """A DataFrame with one row a layer (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self.records, index=pd.Index(range(1, len(self.records) + 1), name="layer"))

    def plot(self, ax: Any = None) -> Any:
        """Gradient and delta norms over the layers, as a matplotlib Axes (needs matplotlib)."""
        from vgfast import plots

        return plots.report(self, ax)

    def rows(self) -> list[tuple[str, ...]]:
        """The table that ``str()`` shows, heading first."""
        head = ("layer", "size", "|dW|", "weights x activ. = gain", "step/W", "frozen", "sat.", "dead")
        body: list[tuple[str, ...]] = [head]
        for l, r in enumerate(self.layers, 1):
            ledger = f"{r.weight_gain:#.3g} x {r.activation_gain:#.3g} = {r.gain:#.3g}"
            body.append(
                (
                    str(l),
                    f"{self.sizes[l - 1]}-{self.sizes[l]}",
                    f"{r.grad_norm:.2e}",
                    ledger if np.isfinite(r.gain) else "-",
                    f"{r.update_ratio:.1e}",
                    f"{r.frozen:.1%}",
                    f"{r.saturated:.0%}",
                    f"{r.dead:.0%}",
                )
            )
        return body

    def __str__(self) -> str:
        import textwrap  # here and below: imported when shown, not with the package

        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
        lines += textwrap.wrap(f"{self.verdict}: {self.explanation}", WIDTH)
        for remedy in self.remedies:
            lines += textwrap.wrap(remedy, WIDTH, initial_indent="  - ", subsequent_indent="    ")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html

        head, *body = self.rows()
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        lines = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
        remedies = "".join(f"<li>{html.escape(r)}</li>" for r in self.remedies)
        return (
            f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
            f"<p><b>{self.verdict}</b>: {html.escape(self.explanation)}</p><ul>{remedies}</ul>"
        )


def as_dicts(records: np.ndarray) -> list[dict[str, float | None]]:
    """Records of layers as JSON can hold them: NaN and infinity become None."""
    return [{name: float(r[name]) if np.isfinite(r[name]) else None for name in RECORD.names or ()} for r in records]


def over_time(records: np.ndarray) -> np.ndarray:
    """(L,) what records (inspected steps, L) of a training come to: geometric means of norms, gains and ratios,
    so that the ledger's products still hold; means of shares; the largest of ``max_abs``. Of steps on which the
    loss had a gradient, if there was one."""
    driven = records["delta_norm"][:, -1] > 0
    records = records[driven] if driven.any() else records
    result = np.empty(records.shape[1], RECORD)
    shares = {"mean_derivative", "saturated", "dead", "frozen", "stuck", "zero", "subnormal"}
    for name in RECORD.names or ():
        column = records[name]
        if name == "max_abs":
            result[name] = column.max(axis=0)
        elif name in shares:
            result[name] = column.mean(axis=0)
        else:
            with np.errstate(divide="ignore"):
                result[name] = np.exp(np.log(column).mean(axis=0))
    return result


def stuck_shares(records: np.ndarray) -> np.ndarray:
    """(L,) the share, among weights whose gradient is not 0, of those that keep their bits; 1 if all are 0."""
    driven = 1 - records["zero"]
    return np.divide(records["stuck"], driven, out=np.ones(len(records)), where=driven > 0)


def judge(
    records: np.ndarray, activations: tuple[str, ...], steps: int
) -> tuple[str, str, list[str], dict[str, float]]:
    """(verdict, explanation, remedies, numbers); the rule is in ``GradientReport``."""
    last = len(records)
    deltas = records["delta_norm"]
    if deltas[-1] == 0:
        text = "the loss has no gradient on this batch: there is nothing left to learn from it."
        return "healthy", text, [], {"output_delta_norm": 0.0}
    total = float(deltas[0] / deltas[-1])
    shares = stuck_shares(records)
    worst = int(shares.argmax())
    numbers = {
        "total_gain": total,
        "vanishing_below": 1 / steps,
        "exploding_above": float(steps),
        "largest_stuck_share": float(shares[worst]),
        "stuck_layer": worst + 1,
        "frozen_above": 0.5,
    }
    still = ""
    if shares[worst] > 0.5:
        still = (
            f"every entry of layer {worst + 1}'s gradient is 0"
            if records["zero"][worst] == 1
            else f"{shares[worst]:.0%} of layer {worst + 1}'s weights keep their bits, their updates being under "
            f"half an ulp"
        )
    also = f" {still[0].upper()}{still[1:]}." if still else ""
    if total < 1 / steps:
        text = (
            f"layer 1 gets {total:.1e} of layer {last}'s signal: in {steps} steps it moves less than "
            f"layer {last} in one.{_mean_gain(records)}{also}"
        )
        return "vanishing", text, _remedies(records, activations, "vanishing"), numbers
    if total > steps:
        text = (
            f"layer 1 gets {total:.1e} times layer {last}'s signal: in {steps} steps layer {last} moves less "
            f"than layer 1 in one.{_mean_gain(records)}{also}"
        )
        return "exploding", text, _remedies(records, activations, "exploding"), numbers
    if still:
        text = f"{still}; layer 1 gets {total:.2g} times layer {last}'s signal, which is not the reason."
        return "frozen", text, _remedies(records, activations, "frozen"), numbers
    text = (
        f"layer 1 gets {total:.2g} times layer {last}'s signal, within 1/{steps} to {steps}; "
        f"no layer has more than {shares[worst]:.1%} of its weights stuck."
    )
    return "healthy", text, [], numbers


def _mean_gains(records: np.ndarray) -> tuple[float, float]:
    """Geometric means of weight_gain and activation_gain over the layers that have them; of none, 1."""
    if len(records) == 1:
        return 1.0, 1.0
    with np.errstate(divide="ignore"):
        weight, activation = (
            float(np.exp(np.log(records[name][:-1]).mean())) for name in ("weight_gain", "activation_gain")
        )
    return weight, activation


def _blocked(records: np.ndarray) -> int:
    """The layer at which nothing of the signal is left, seen from the output; 0 if there is none."""
    gains = records["gain"][:-1]
    return int(np.flatnonzero(gains == 0)[-1]) + 1 if (gains == 0).any() else 0


def _mean_gain(records: np.ndarray) -> str:
    """A sentence on what the hidden layers pass on, and by which factor."""
    layer = _blocked(records)
    if layer and records["weight_gain"][layer - 1] == 0:
        return f" Nothing reaches layer {layer}: the weights of layer {layer + 1} pass on 0."
    if layer:
        return f" Nothing passes layer {layer}: its activation's derivative is 0 wherever the signal is not."
    weight, activation = _mean_gains(records)
    return (
        f" A hidden layer's mean gain is {weight * activation:.2g} = {weight:.2g} (weights) x "
        f"{activation:.2g} (activation)."
    )


def _remedies(records: np.ndarray, activations: tuple[str, ...], verdict: str) -> list[str]:
    layer = _blocked(records)
    if layer and records["weight_gain"][layer - 1] == 0:
        return ["first weights that are not 0, such as init='auto'"]
    weight, activation = _mean_gains(records)
    found = []
    if records["dead"].max() > 0.5:
        dead = int(records["dead"].argmax())
        cure = "activation='leaky_relu'" if activations[dead] == "relu" else "smaller weights, or inputs scaled down"
        found.append(f"layer {dead + 1} has {records['dead'][dead]:.0%} dead units: {cure}")
    if verdict == "exploding":
        found.append("smaller first weights, such as init='auto'" if weight > 1 else "fewer layers")
        found.append("clip_norm=1.0 in vg.SGD")
        return found
    squashing = set(activations) & {"sigmoid", "tanh"}
    if activation < 0.7 and squashing:
        found.append("activation='relu' with init='he_normal', whose gain stays near 1")
    if records["saturated"].max() > 0.5 and squashing:
        found.append("scale the inputs to mean 0 and variance 1: most units are saturated")
    if weight < 0.7:
        found.append("larger first weights: init='he_normal' for relu, 'glorot_uniform' for tanh")
    if verdict == "frozen":
        found.append("dtype='float64', or a larger lr, so that updates reach half an ulp")
    return found or ["fewer layers"]


def locate_divergence(forward: list[np.ndarray], gradients: list[np.ndarray] | None) -> tuple[int, str]:
    """(layer, what) became non-finite first, from each layer's outputs and, if there are any, gradients."""
    for l, outputs in enumerate(forward, 1):
        if not np.isfinite(outputs).all():
            return l, "outputs"
    for l in range(len(gradients or []), 0, -1):
        if gradients and not np.isfinite(gradients[l - 1]).all():
            return l, "gradient"
    if gradients:
        return int(np.argmax([float(np.abs(g).max()) for g in gradients])) + 1, "updated weights"
    return len(forward), "loss"
