"""The way out of 2006: a deep net of sigmoids that cannot learn is taught layer by layer without labels, and learns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, GREEN, ORANGE, RED, Seen, Table
from vgfast.pretrain import DeepBeliefNet, StackedAutoencoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "2006: the deep net that could not learn is pre-trained layer by layer, and learns"

CLAIM = """In 2006 Hinton, Osindero and Teh taught the layers of a deep net one after the other and without labels, each
as a restricted Boltzmann machine that models what the layer below makes of the data. Bengio, Lamblin, Popovici and
Larochelle did so with autoencoders in the same year, and Ranzato, Poultney, Chopra and LeCun with sparse codes. Then
the whole net was trained with labels as ever, which is called fine-tuning, and deep nets of sigmoids learned.
With many labels it is no longer needed: ReLUs, first weights that fit them, normalization and skip connections keep the
gain near 1 from the first step on."""

PLAN = """The net of the README, 64 inputs, eight hidden layers of 30 sigmoids and 10 outputs, begins in four ways: at
random (lecun_normal); after Boltzmann machines; after denoising autoencoders; and after Boltzmann machines whose
visible units are drawn at random, not taken as probabilities, while they are taught. Each is fine-tuned in the same
way, at rates of 0.05 and 0.3, on 70 % of the digits; accuracy is that on the other 30 %. On the clock of each,
pre-training counts. Before fine-tuning, the gradient report says what the layers do to the signal."""

EXPECT = """At random the net stays at chance, 10 %. Pre-trained, either way, it comes to 85 % and more, and to some 95
% at the higher rate. The report says why: the activation still passes on about a fifth, as sigmoids do, but the weights
now make up for it, with a gain of about 6 where it was 1. Theory does not expect that: its band, the column predicted,
is for independent weights, and those that were taught belong together."""

HIDDEN, RATES, BATCH, EPOCHS = [30] * 8, (0.05, 0.3), 32, 100
NEAR, GOOD = 0.05, 0.85  # of chance; the least accuracy that has learned
GREW, SAME = 3, 1.2  # times: the weights' gain at least, the activation's at most
MACHINES: dict[str, Any] = {"learning_rate": 0.05, "batch_size": 20, "momentum": (0.5, 0.9), "weight_decay": 1e-4}
STARTS = {"random": RED, "RBMs": BLUE, "autoencoders": GREEN, "RBMs, drawn": ORANGE}
TAUGHT = ("RBMs", "autoencoders")


def begun(start: str, X: np.ndarray, n_iter: int, seed: int) -> tuple[vg.MLP, float]:
    """The net before fine-tuning, and the seconds that its layers were taught; n_iter: epochs of each."""
    sizes = [X.shape[1], *HIDDEN]
    if start == "random":
        return vg.MLP([*sizes, 10], "sigmoid", init="lecun_normal", rng=seed), 0.0
    stack: DeepBeliefNet | StackedAutoencoder
    if start == "autoencoders":
        stack = StackedAutoencoder(sizes, n_iter=n_iter, rng=seed)
    else:
        stack = DeepBeliefNet(sizes, n_iter=n_iter, sample_visible="drawn" in start, rng=seed, **MACHINES)
    clock = time.perf_counter()
    stack.fit(X)
    return stack.to_mlp(10), time.perf_counter() - clock


def fine_tuned(net: vg.MLP, rate: float, split: list, before: float) -> dict[str, Any]:
    """Accuracy after each epoch, and when that was, in seconds from the beginning of pre-training."""
    X, X_new, y, y_new = split
    epochs = net.fit(X, y, EPOCHS, BATCH, vg.SGD(lr=rate), validation_data=(X_new, y_new)).epochs
    return {
        "seconds": (before + np.cumsum([epoch["seconds"] for epoch in epochs])).tolist(),
        "accuracy": [epoch["val_accuracy"] for epoch in epochs],
    }


def reported(net: vg.MLP, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The gradient report; of its ledger, the medians of the hidden layers and how many gains theory foresees."""
    report = net.inspect(X, y, vg.SGD(lr=RATES[0]), try_remedies=False)
    layers = [layer for layer in report.to_dict()["layers"] if layer["gain"] is not None]
    return {
        "text": str(report).splitlines(),
        "layers": layers,
        "total": report.numbers["total_gain"],
        "weights": float(np.median([layer["weight_gain"] for layer in layers])),
        "activation": float(np.median([layer["activation_gain"] for layer in layers])),
        "inside": sum(layer["predicted_low"] <= layer["gain"] <= layer["predicted_high"] for layer in layers),
    }


def measure(quick: bool = False, n_iter: int = 20, seed: int = 0) -> dict[str, Any]:
    """n_iter: epochs for which each layer is taught."""
    from sklearn.model_selection import train_test_split

    data = datasets.digits()
    split = train_test_split(data.X, data.y, test_size=0.3, stratify=data.y, random_state=0)
    starts: dict[str, dict[str, Any]] = {}
    for start in STARTS:
        runs: list[list[dict]] = [[] for _ in RATES]
        taught = []
        for each in range(seed, seed + (1 if quick else 2)):
            net, seconds = begun(start, split[0], n_iter, each)
            taught.append(seconds)
            if each == seed:
                starts[start] = {"report": reported(net, split[0], split[2])}
            for of_rate, rate in zip(runs, RATES, strict=True):
                of_rate.append(fine_tuned(net.copy(), rate, split, seconds))
        ends = [float(np.mean([run["accuracy"][-1] for run in of_rate])) for of_rate in runs]
        starts[start] |= {"taught": float(np.mean(taught)), "runs": runs, "ends": ends}
    return {"starts": starts, "chance": float(np.bincount(split[3]).max() / len(split[3]))}


def percents(shares: list[float]) -> str:
    return " and ".join(f"{100 * share:.1f} %" for share in shares)


def accuracies(found: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether the net at random stays at chance and those that were pre-trained learn; and what drawing does."""
    starts, chance = found["starts"], found["chance"]
    stays = max(abs(end - chance) for end in starts["random"]["ends"]) <= NEAR
    learn = min(end for start in TAUGHT for end in starts[start]["ends"]) >= GOOD
    drawn = starts["RBMs, drawn"]
    lost = max(abs(end - chance) for end in drawn["ends"]) <= NEAR
    each = "; ".join(
        f"after {start}, taught in {starts[start]['taught']:.2f} s, {percents(starts[start]['ends'])}"
        for start in TAUGHT
    )
    return stays and learn, [
        f"At rates of {RATES[0]} and {RATES[1]}, the net that began at random came to "
        f"{percents(starts['random']['ends'])}: it {'stayed' if stays else 'did NOT stay'} at chance.",
        f"With the same fine-tuning {each}: {'both learned' if learn else f'NOT all {GOOD:.0%} and more'}.",
        f"With visible units drawn, RBMs led to {percents(drawn['ends'])}, and {drawn['report']['total']:.1e} of the "
        f"signal came to layer 1: they {'did not help' if lost else 'helped too'}.",
    ]


def ledgers(found: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether the weights' gain grew, the activation's not, and theory's band has the gains before but not after."""
    before, *after = (found["starts"][start]["report"] for start in ("random", *TAUGHT))
    grew = all(
        of["weights"] >= GREW * before["weights"] and of["activation"] <= SAME * before["activation"] for of in after
    )
    n, most = len(before["layers"]), max(of["inside"] for of in after)
    foreseen, missed = before["inside"] >= 0.75 * n, most <= 0.5 * n
    parts = [f"{of['weights']:.2g} (weights) x {of['activation']:.2g} (activation)" for of in (before, *after)]
    why = "it is the weights that mended it" if grew else "it is NOT so that the weights mended it"
    return grew and foreseen and missed, [
        f"In the median of the hidden layers the gain at random is {parts[0]}; after RBMs {parts[1]}, after "
        f"autoencoders {parts[2]}: {why}.",
        f"Of the signal at the output, layer 1 got {before['total']:.1e}, {after[0]['total']:.1e} and "
        f"{after[1]['total']:.1e}.",
        f"Theory's band, for independent weights, has {before['inside']} of {n} gains at random, which "
        f"{'it foresees' if foreseen else 'it does NOT foresee'}, and {after[0]['inside']} and {after[1]['inside']} of "
        f"{n} after pre-training, which it {'misses: those weights belong together' if missed else 'does NOT miss'}.",
    ]


def conclude(found: dict[str, Any]) -> Seen:
    (learned, first), (explained, then) = accuracies(found), ledgers(found)
    return Seen(learned and explained, first + then)


def table(found: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for start, of in found["starts"].items():
        for rate, runs, end in zip(RATES, of["runs"], of["ends"], strict=True):
            whole = np.mean([run["seconds"][-1] for run in runs])
            tenth = np.mean([run["accuracy"][9] for run in runs])
            cells = (f"{of['taught']:.2f} s", f"{whole:.2f} s", f"{100 * tenth:.1f} %", f"{100 * end:.1f} %")
            rows.append((start, f"{rate}", *cells))
    for start in ("random", *TAUGHT):
        rows += [("",), (f"The report before fine-tuning, {start}:",)]
        rows += [(line,) for line in found["starts"][start]["report"]["text"]]
    headings = ("begins", "rate", "pre-training", "in all", "after 10 epochs", f"after {EPOCHS}")
    return Table(headings, rows, "Accuracy on digits kept back, mean of the seeds; reports: of the first seed.")


def draw(found: dict[str, Any], figure: Figure) -> None:
    figure.set_size_inches(11, 7)
    (*over_time,), (parts, gains) = figure.subplots(2, 2)
    for i, (axes, rate) in enumerate(zip(over_time, RATES, strict=True)):
        for start, colour in STARTS.items():
            for j, run in enumerate(found["starts"][start]["runs"][i]):
                axes.plot(run["seconds"], run["accuracy"], color=colour, lw=1, label=start if j == 0 else None)
        axes.axhline(found["chance"], color="0.3", linestyle="--", lw=1)
        axes.set(title=f"fine-tuned at {rate}", xlabel="seconds, pre-training and all", ylim=(0, 1), xlim=(0, None))
    over_time[0].set_ylabel("accuracy on other digits")
    over_time[1].legend(fontsize=8, loc="center right")
    for start, mark in zip(("random", *TAUGHT), "osD", strict=True):
        layers, colour = found["starts"][start]["report"]["layers"], STARTS[start]
        number = np.arange(1, len(layers) + 1)
        values = {key: [layer[key] for layer in layers] for key in layers[0]}
        parts.semilogy(number, values["weight_gain"], mark + "-", color=colour, label=f"weights, {start}")
        parts.semilogy(number, values["activation_gain"], mark + ":", color=colour, label=f"activation, {start}")
        gains.semilogy(number, values["gain"], mark + "-", color=colour, label=f"measured, {start}")
        low, high = values["predicted_low"], values["predicted_high"]
        gains.fill_between(number, low, high, color=colour, alpha=0.15, lw=0, label=f"theory, {start}")
    ticks = (0.1, 0.2, 0.5, 1, 2, 5)
    for axes, title in ((parts, "the two parts of the gain"), (gains, "the gain, and theory's band")):
        axes.axhline(1, color="0.3", lw=1)
        axes.set(title=f"{title}, before fine-tuning", xlabel="layer (1 is next to the input)", ylim=(0.05, 10))
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(fontsize=7, ncol=3, loc=(0.01, 0.37) if axes is parts else "upper left", columnspacing=1)
