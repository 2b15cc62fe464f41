"""Everything that was invented against the vanishing gradient, one thing at a time on one net that cannot learn."""

from __future__ import annotations

from collections.abc import Callable
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, GREEN, ORANGE, RED, Seen, Table, accuracies_text
from vgfast.pretrain import DeepBeliefNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "the ways out, one by one: what each does to the gain of a layer, and whether the net then learns"

CLAIM = """A deep net of sigmoids cannot learn, as each layer passes back a quarter of the signal. What was found
since 1998 changes that gain: other activations, first weights that fit them, pre-training, normalization, residual
connections. Each is one argument, and each cures alone. What leaves the gain below a half does not: to give every layer
signals of variance 1 (layer-sequential unit variance, Mishkin and Matas, 2016) leaves the sigmoid's mean of 1/2 and
its small slope. So does layer norm before the sigmoids; after them, it takes the mean away, and cures."""

PLAN = """The net of the README, 64 inputs, eight hidden layers of 30 and 10 outputs, on 70 % of the digits, for 60
epochs in batches of 32 by plain SGD, at a rate of 0.05 and again at 0.3; sigmoids and weights lecun_normal; then one
thing at a time is changed. Before training, net.inspect says what gain theory predicts a hidden layer to have, what it
has, what is left of the signal at layer 1, and how many of its weights a step at 0.05 would not change by a bit.
Accuracy is that on the other digits, the mean of three draws of the weights."""

EXPECT = """As it is: at chance, 10 %, and so with unit variances; with layer norm before the sigmoids at chance at
0.05, and at a quarter or so at 0.3. All others come to 95 % and more at one of the two rates (ReZero is of Bachlechner
and others, 2020). The gain that theory predicts tells which is which before any training, except after pre-training,
where weights are no longer independent."""

SIZES, RATES, BATCH, EPOCHS, SEEDS = [64, *[30] * 8, 10], (0.05, 0.3), 32, 60, 3
GOOD, STUCK = 0.95, 0.5  # accuracies that have learned, and that have not: more is wrong than right
FORETOLD = 0.15  # how far off the predicted gain of a layer may be, of nets 30 wide
MACHINES: dict[str, Any] = {"learning_rate": 0.05, "batch_size": 20, "momentum": (0.5, 0.9), "weight_decay": 1e-4}


class Way(NamedTuple):
    """``net``: (images, seed) -> the net before training. ``cures``: whether it is claimed to learn. ``foreseen``:
    whether theory has its gain, which is of independent weights."""

    net: Callable[[np.ndarray, int], vg.MLP]
    cures: bool
    foreseen: bool = True


def deep(
    activation: str = "sigmoid", init: Any = "lecun_normal", **options: Any
) -> Callable[[np.ndarray, int], vg.MLP]:
    return lambda X, seed: vg.MLP(SIZES, activation, init=init, rng=seed, **options)


def pretrained(X: np.ndarray, seed: int) -> vg.MLP:
    return DeepBeliefNet(SIZES[:-1], n_iter=20, rng=seed, **MACHINES).fit(X).to_mlp(SIZES[-1])


WAYS = {
    "as it is": Way(deep(), cures=False),
    "unit variance (lsuv)": Way(lambda X, seed: deep(init=vg.init.lsuv(X[:500]))(X, seed), cures=False),
    "layer norm before": Way(deep(normalization="layer"), cures=False),
    "layer norm after": Way(deep(normalization=vg.norm.layer("after")), cures=True),
    "batch norm": Way(deep(normalization="batch"), cures=True),
    "tanh, critical": Way(deep("tanh", "critical"), cures=True),
    "relu, He": Way(deep("relu", "he_normal"), cures=True),
    "selu": Way(deep("selu"), cures=True),
    "residual (ReZero)": Way(deep(residual=vg.residual(scale="rezero")), cures=True),
    "pre-trained (RBMs)": Way(pretrained, cures=True, foreseen=False),
}


def trained(net: vg.MLP, rate: float, split: list) -> dict[str, Any]:
    """Accuracy on what was kept back, and the time of a step of the quickest epoch; None where it diverged."""
    X, X_new, y, y_new = split
    try:
        history = net.fit(X, y, EPOCHS, BATCH, vg.SGD(rate))
    except vg.DivergenceError:
        return {"accuracy": None, "step": None}
    seconds = min(epoch["seconds"] for epoch in history.epochs)
    return {"accuracy": net.evaluate(X_new, y_new).accuracy, "step": seconds / -(-len(X) // BATCH)}


def reported(net: vg.MLP, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Of the gradient report: gains are geometric means of the hidden layers."""
    report = net.inspect(X, y, vg.SGD(RATES[0]), try_remedies=False)
    hidden = report.layers[:-1]
    return {
        "predicted": geometric_mean(hidden["predicted_gain"].tolist()),
        "gain": geometric_mean(hidden["gain"].tolist()),
        "total": float(report.numbers["total_gain"]),
        "frozen": float(report.layers["frozen"][0]),
    }


def measure(quick: bool = False, seed: int = 0, names: tuple[str, ...] = tuple(WAYS)) -> dict[str, Any]:
    """names: which of the ways."""
    from sklearn.model_selection import train_test_split

    data = datasets.digits()
    split = train_test_split(data.X, data.y, test_size=0.3, stratify=data.y, random_state=0)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        nets = [WAYS[name].net(split[0], each) for each in range(seed, seed + (1 if quick else SEEDS))]
        found[name] = reported(nets[0], split[0], split[2])
        runs = [[trained(net.copy(), rate, split) for rate in RATES] for net in nets]
        steps = [run["step"] for of_seed in runs for run in of_seed if run["step"] is not None]
        shares = [[run["accuracy"] for run in runs if run["accuracy"] is not None] for runs in zip(*runs, strict=True)]
        found[name]["accuracy"] = [float(np.mean(of_rate)) if of_rate else None for of_rate in shares]
        found[name] |= {"diverged": [len(runs) - len(each) for each in shares], "step": min(steps, default=None)}
    return {"ways": found}


def at_rates(of: dict[str, Any]) -> list[tuple[int, float, str]]:
    """For each rate, minus how many seeds diverged, the mean accuracy of the others, 0 of none, and both in words."""
    pairs = zip(of["accuracy"], of["diverged"], strict=True)
    return [(-lost, share or 0.0, accuracies_text(share, lost)) for share, lost in pairs]


def conclude(found: dict[str, Any]) -> Seen:
    parts = [outcomes(found["ways"], True), outcomes(found["ways"], False), theory(found["ways"])]
    return Seen(all(holds for holds, _ in parts), [sentence for _, sentence in parts] + costs(found["ways"]))


def outcomes(ways: dict[str, Any], cures: bool) -> tuple[bool, str]:
    """Whether those that are claimed to cure, or not to, do so."""
    those = {name: of for name, of in ways.items() if WAYS[name].cures == cures}
    listed = ", ".join(f"{name} {max(at_rates(of))[2]}" for name, of in those.items())
    if cures:
        holds = all(max(at_rates(of)) >= (0, GOOD) for of in those.values())
        return holds, f"To {GOOD:.0%} at one of the rates {'come all of' if holds else 'come NOT all of'}: {listed}."
    holds = all(share < STUCK for of in those.values() for _, share, _ in at_rates(of))
    return holds, f"Below {STUCK:.0%} at both rates {'stay' if holds else 'do NOT stay'}: {listed}."


def theory(ways: dict[str, Any]) -> tuple[bool, str]:
    """Whether predicted gains are right, and those of ways that cure all larger than those of the others."""
    foreseen = [(WAYS[name].cures, of["gain"], of["predicted"]) for name, of in ways.items() if WAYS[name].foreseen]
    off = max((abs(gain / predicted - 1) for _, gain, predicted in foreseen), default=0.0)
    least = min((predicted for cures, _, predicted in foreseen if cures), default=np.inf)
    most = max((predicted for cures, _, predicted in foreseen if not cures), default=0.0)
    right, apart = off <= FORETOLD, least > most
    return right and apart, (
        f"The gains that theory predicts are {'right' if right else 'NOT right'} to {off:.0%}, and "
        f"{'tell' if apart else 'do NOT tell'} beforehand which is which: a layer of what cures has {least:.2f} and "
        f"more, and of what does not {most:.2f} and less."
    )


def costs(ways: dict[str, Any]) -> list[str]:
    """What steps took, beside those of the net as it is, if it is there: no claim."""
    steps = {name: of["step"] for name, of in ways.items() if of["step"]}
    if "as it is" not in steps:
        return []
    each = ", ".join(f"{name} {step / steps['as it is']:.2f}" for name, step in steps.items() if name != "as it is")
    return [f"A step took, in times of that of the net as it is: {each}."]


def table(found: dict[str, Any]) -> Table:
    rows = []
    for name, of in found["ways"].items():
        predicted = f"{of['predicted']:.3f}" if WAYS[name].foreseen else "-"
        gains = (predicted, f"{of['gain']:.3f}", f"{of['total']:.1e}", f"{of['frozen']:.0%}")
        step = "-" if of["step"] is None else f"{1e6 * of['step']:.0f}"
        rows.append((name, *gains, *(text for _, _, text in at_rates(of)), step))
    notes = """predicted, gain: of a hidden layer, geometric means; total: of the last layer's signal, at layer 1;
    frozen: of layer 1's weights; all of the first seed. Then accuracy at either rate, the mean of the seeds that did
    not diverge; and the time of a step, in microseconds, in the quickest epoch."""
    headings = ("", "pre-\ndicted", "gain", "total", "frozen", *(f"at\n{rate:g}" for rate in RATES), "step")
    return Table(headings, rows, " ".join(notes.split()))


def colour(name: str, of: dict[str, Any]) -> str:
    """Whether it is claimed to cure, and whether it did."""
    good = max(at_rates(of)) >= (0, GOOD)
    return (GREEN if good else ORANGE) if WAYS[name].cures else (BLUE if good else RED)


def draw(found: dict[str, Any], figure: Figure) -> None:
    names, ways = list(found["ways"]), list(found["ways"].values())
    colours = [colour(name, of) for name, of in found["ways"].items()]
    gains, shares = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(names))
    gains.hlines(rows, 1, [of["total"] for of in ways], color=colours, lw=5)
    known, totals = [WAYS[name].foreseen for name in names], np.array([of["predicted"] for of in ways]) ** 8
    gains.plot(totals[known], rows[known], "k|", markersize=14)
    gains.set(xscale="log", xlabel="signal left at layer 1 (|: theory)", title="Before training")
    gains.axvline(1, color="0.3", lw=1)
    for i, of in enumerate(ways):
        shares.barh(i, 100 * max(at_rates(of))[1], color=colours[i], height=0.6)
        for lost, share, _ in at_rates(of):
            shares.plot(100 * share, i, "kx" if lost else "k|", markersize=6 if lost else 10, clip_on=False)
    shares.set(xlim=(0, 105), xlabel=f"right, % (at {RATES[0]} and {RATES[1]}; x: diverged)")
    shares.set_title(f"After {EPOCHS} epochs")
    gains.set_yticks(rows, names)
    gains.invert_yaxis()
