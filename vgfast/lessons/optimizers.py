"""What Adam buys where the gradient vanishes, and what it cannot."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.inspection import mean_field
from vgfast.lessons import BLUE, GREEN, ORANGE, RED, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Adam moves layers whose gradient vanishes, as long as it is above epsilon: about eight of sigmoids"

CLAIM = """SGD moves a weight in proportion to its gradient g, so that layers which get a hundred-thousandth of the
signal stand still. Adam divides by the root of the mean square of g: its first step is lr g / (|g| + eps), which is lr
whatever g is, as long as |g| is above eps, 1e-8 by default (Kingma and Ba, 2015). A layer of sigmoids leaves less than
a quarter of g, so that each power of ten in eps is worth one and a half layers, and 1e-8 some eight; behind them, Adam
stands still as SGD does. And a step of full length is not one in a useful direction: what many sigmoids make of two
different images is nearly the same, and no optimizer changes what the gradient is."""

PLAN = """Nets of 1 to 16 hidden layers of 30 sigmoids (lecun_normal) make one step of Adam on 70 % of the digits, with
eps=1e-7, which is Keras's, 1e-8, and 1e-12. We look how far it moves the weights of layer 1 whose pixels are not always
0, in units of lr, beside what |g| / (|g| + eps) says of the gradient that net.gradients finds. Then nets of 2, 4, 8 and
12 hidden layers learn for 60 epochs in batches of 32, from SGD at lr 0.3 and from Adam at 0.003, with eps of 1e-8 and
of 1e-12. Accuracy is that on the other digits."""

EXPECT = """With 1e-8 the step of layer 1 is half as long as lr at 8 to 9 hidden layers, with Keras's eps one and a half
earlier, with 1e-12 six later. With 4 hidden layers SGD is near chance, and Adam learns: that is what it buys. With 8
it gets half-way. With 12 it stays near chance, and with the small eps too, although that moves layer 1 by nearly the
whole of lr: that is what it cannot."""

DEPTHS, TRAINED, WIDTH = tuple(range(1, 17)), (2, 4, 8, 12), 30
EPSILONS = {1e-7: ORANGE, 1e-8: BLUE, 1e-12: GREEN}
EPOCHS, BATCH, SGD_RATE, ADAM_RATE = 60, 32, 0.3, 0.003
WAYS = {
    "SGD": (lambda: vg.SGD(lr=SGD_RATE), RED),
    "Adam": (lambda: vg.Adam(lr=ADAM_RATE), BLUE),
    "Adam, 1e-12": (lambda: vg.Adam(lr=ADAM_RATE, eps=1e-12), GREEN),
}
CLOSE, HALF, A_DECADE = 0.01, (7.0, 10.0), 0.15  # of lr; hidden layers; of the layers that a power of ten is worth
GOOD, STUCK, MOVES = 0.85, 0.35, 0.7  # accuracies that have learned, that have not; of lr


def moved(net: vg.MLP, X: np.ndarray, y: np.ndarray, eps: float) -> tuple[float, float]:
    """How far the first step of Adam moves weights of layer 1 on the mean, in units of lr, and what the formula says;
    of pixels that are not always 0."""
    live = np.abs(X).max(axis=0) > 0
    g = np.abs(net.gradients(X, y).weights[0][live].astype(np.float64))
    after = net.copy()
    after.step(X, y, vg.Adam(lr=1.0, eps=eps))
    change = np.abs(after.weights[0][live].astype(np.float64) - net.weights[0][live])
    return float(change.mean()), float((g / (g + eps)).mean())


def measure(
    quick: bool = False, activation: str = "sigmoid", init: str = "lecun_normal", seed: int = 0
) -> dict[str, Any]:
    from sklearn.model_selection import train_test_split

    data = datasets.digits()
    X, X_new, y, y_new = train_test_split(data.X, data.y, test_size=0.3, stratify=data.y, random_state=0)
    depths, seeds = [], range(seed, seed + (1 if quick else 3))
    for hidden in DEPTHS:
        net = vg.MLP([X.shape[1], *[WIDTH] * hidden, 10], activation, init=init, rng=seed)
        g = net.gradients(X, y).weights[0].astype(np.float64)
        steps = [moved(net, X, y, eps) for eps in EPSILONS]
        found: dict[str, Any] = {"hidden": hidden, "rms": float(np.sqrt((g**2).mean())), "accuracy": None}
        found |= {"moved": [step for step, _ in steps], "formula": [formula for _, formula in steps]}
        if hidden in TRAINED:
            found["accuracy"] = {way: [] for way in WAYS}
            for each in seeds:
                begun = vg.MLP(net.sizes, activation, init=init, rng=each)
                for way, (optimizer, _) in WAYS.items():
                    after = begun.copy()
                    after.fit(X, y, EPOCHS, BATCH, optimizer())
                    found["accuracy"][way].append(after.evaluate(X_new, y_new).accuracy)
        depths.append(found)
    return {"depths": depths, "gain": mean_field.gain(activation, 1, 0), "activation": activation}


def half(found: dict[str, Any], i: int) -> float:
    """Between which depths the step falls below half of lr, by a straight line; inf where it does not."""
    depths = found["depths"]
    for before, after in pairwise(depths):
        high, low = before["moved"][i], after["moved"][i]
        if high >= 0.5 > low:
            return float(before["hidden"] + (high - 0.5) / (high - low) * (after["hidden"] - before["hidden"]))
    return np.inf


def conclude(found: dict[str, Any]) -> Seen:
    parts = [of_steps(found), *of_training(found)]
    return Seen(all(holds for holds, _ in parts), [sentence for _, sentence in parts])


def of_steps(found: dict[str, Any]) -> tuple[bool, str]:
    """Whether steps are as the formula says, and how many layers a power of ten in eps is worth."""
    off = max(abs(a - b) for of in found["depths"] for a, b in zip(of["moved"], of["formula"], strict=True))
    halves = [half(found, i) for i in range(len(EPSILONS))]
    powers = -np.log10(list(EPSILONS))
    theory = 1 / -np.log10(found["gain"]) if found["gain"] < 1 else np.inf
    decade = (halves[-1] - halves[0]) / (powers[-1] - powers[0]) if max(halves) < np.inf else 0.0
    exact, about = off <= CLOSE, HALF[0] <= halves[1] <= HALF[1]
    worth = bool(abs(decade - theory) <= A_DECADE * theory < np.inf)
    listed = ", ".join("none" if of == np.inf else f"{of:.1f}" for of in halves)
    return exact and about and worth, (
        f"Adam's first step is {'' if exact else 'NOT '}as the formula has it, to {off:.3f} of lr. It falls to half of "
        f"lr at {listed} hidden layers for eps of {', '.join(f'{eps:g}' for eps in EPSILONS)}: 1e-8 is "
        f"{'' if about else 'NOT '}worth about eight. A power of ten is worth {decade:.2f} layers, "
        f"{'near' if worth else 'NOT near'} the {theory:.2f} of theory, whose gain is {found['gain']:.3f}."
    )


def of_training(found: dict[str, Any]) -> list[tuple[bool, str]]:
    """What Adam buys, and what it cannot."""
    by_depth = {of["hidden"]: of for of in found["depths"]}
    shares = {
        hidden: {way: float(np.mean(of)) for way, of in by_depth[hidden]["accuracy"].items()} for hidden in TRAINED
    }
    four, eight, twelve = (shares[hidden] for hidden in TRAINED[1:])
    buys = four["Adam"] >= GOOD and four["SGD"] <= STUCK
    step = by_depth[TRAINED[-1]]["moved"][-1]
    moves, cannot = step >= MOVES, max(twelve["Adam"], twelve["Adam, 1e-12"]) <= STUCK
    return [
        (
            buys,
            f"With 4 hidden layers SGD came to {four['SGD']:.0%}, and Adam to {four['Adam']:.0%}: that is "
            f"{'what it buys' if buys else 'NOT what it should buy'}. With 8 it came to {eight['Adam']:.0%}.",
        ),
        (
            moves and cannot,
            f"With 12 it came to {twelve['Adam']:.0%}, and with an eps of 1e-12 to {twelve['Adam, 1e-12']:.0%}, "
            f"though that moved layer 1 by {step:.2f} of lr: "
            f"{'steps of that length are no cure' if moves and cannot else 'it is NOT so that steps are no cure'}.",
        ),
    ]


def table(found: dict[str, Any]) -> Table:
    rows = []
    for of in found["depths"]:
        shares = ["" if of["accuracy"] is None else f"{np.mean(of['accuracy'][way]):.0%}" for way in WAYS]
        rows.append((f"{of['hidden']}", f"{of['rms']:.1e}", *(f"{step:.3f}" for step in of["moved"]), *shares))
    notes = f"""hidden: layers; gradient: its root mean square at layer 1; then how far Adam's first step moves that
    layer, in units of lr, by its eps; then accuracy after {EPOCHS} epochs, the mean of the seeds."""
    headings = ("hidden", "gradient", *(f"{eps:g}" for eps in EPSILONS), *(way.replace(", ", "\n") for way in WAYS))
    return Table(headings, rows, " ".join(notes.split()))


def draw(found: dict[str, Any], figure: Figure) -> None:
    steps, shares = figure.subplots(1, 2)
    depths = found["depths"]
    hidden = [of["hidden"] for of in depths]
    for i, (eps, colour) in enumerate(EPSILONS.items()):
        steps.plot(hidden, [of["moved"][i] for of in depths], "o", color=colour, label=f"eps={eps:g}")
        steps.plot(hidden, [of["formula"][i] for of in depths], "-", color=colour, lw=1)
    steps.axhline(0.5, color="0.3", linestyle="--", lw=1)
    steps.set(
        xlabel="hidden layers", ylabel="step of layer 1, in units of lr", title="Adam's first step (line: formula)"
    )
    taught = [of for of in depths if of["accuracy"] is not None]
    for way, (_, colour) in WAYS.items():
        means = [np.mean(of["accuracy"][way]) for of in taught]
        shares.plot([of["hidden"] for of in taught], means, "o-", color=colour, label=way)
    shares.axhline(0.1, color="0.3", linestyle="--", lw=1)
    shares.set(xlabel="hidden layers", ylabel="accuracy on other digits", ylim=(0, 1), title=f"After {EPOCHS} epochs")
    for axes in (steps, shares):
        axes.set_xticks(hidden[1::2])
        axes.legend(fontsize=9)
