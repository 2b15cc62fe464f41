"""Deep nets as they were in 2005, beside a shallow net and methods without layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, GREEN, ORANGE, RED, Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "before 2006, more layers made it worse"

CLAIM = """Before 2006 deep nets did worse than shallow ones, and worse than other methods: nobody could train them. The
signal that goes back through many layers of sigmoids is next to nothing when it comes to the first."""

PLAN = """All get the same handwritten digits, four fifths to learn from, one fifth to be asked about. A deep net has
eight hidden layers of 30 units, a shallow one has one hidden layer and as many parameters. Both are of sigmoids, with
first weights of variance 1 / inputs, as was usual then (LeCun and others, 1998). Beside them are the 3 nearest
neighbours, a support vector machine, and what came later: the same deep net of ReLUs with He's first weights. Each net
trains at two rates, 0.05 and 0.5, in batches of 32; the one that brought the lower loss in training counts."""

EXPECT = """The deep net of sigmoids stays at chance, about 10 %, at either rate. All the others come to about 90 % and
more: the shallow net too, and the same depth with what was found later."""

# At 0.1, 0.2 and 1 the deep net stayed at chance as well, with 5 seeds on the digits and 2 on MNIST.
RATES, BATCH = (0.05, 0.5), 32
ABOVE = 0.05  # from chance, the share of the most frequent digit, to this above it is still chance
WELL = 0.5  # better by this is well above
COLOURS = {"deep net": RED, "shallow net": BLUE, "3 neighbours": ORANGE, "SVM": ORANGE, "deep net, cured": GREEN}


def sizes_of(n_in: int, hidden: Sequence[int]) -> tuple[list[int], list[int]]:
    """The deep net, and the shallow one with as many parameters, as nearly as one can."""
    deep = [n_in, *hidden, 10]
    units = round((vg.MLP(deep).n_params - 10) / (n_in + 1 + 10))
    return deep, [n_in, units, 10]


def best_of_rates(sizes: Sequence[int], activation: str, init: str, split: list, epochs: int, seed: int) -> dict:
    """Of the rates, the one with the lower loss in training; a training that diverges has none."""
    X, X_new, y, y_new = split
    best = {"loss": np.inf, "accuracy": 0.0, "seconds": 0.0, "rate": 0.0}
    for rate in RATES:
        net = vg.MLP(sizes, activation, init=init, rng=seed)
        start = time.perf_counter()
        try:
            loss = net.fit(X, y, epochs, BATCH, vg.SGD(lr=rate)).epochs[-1]["loss"]
        except vg.DivergenceError:
            continue
        accuracy = net.evaluate(X_new, y_new).accuracy or 0.0
        if loss < best["loss"]:
            best = {"loss": loss, "accuracy": accuracy, "seconds": time.perf_counter() - start, "rate": rate}
    return best


def others(split: list) -> dict[str, dict[str, Any]]:
    """Methods without layers, from scikit-learn."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    X, X_new, y, y_new = split
    found = {}
    for name, method in (("3 neighbours", KNeighborsClassifier(3)), ("SVM", SVC(C=10))):
        start = time.perf_counter()
        accuracy = float(method.fit(X, y).score(X_new, y_new))
        found[name] = {"accuracy": [accuracy], "seconds": time.perf_counter() - start, "params": None}
    return found


def compare(data: datasets.Dataset, epochs: int, seeds: range, kind: tuple[str, str], layers: int) -> dict[str, Any]:
    """All methods on one data set."""
    from sklearn.model_selection import train_test_split

    split = train_test_split(data.X, data.y, test_size=0.2, stratify=data.y, random_state=0)
    deep, shallow = sizes_of(data.X.shape[1], [30] * layers)
    nets = {"deep net": (deep, *kind), "shallow net": (shallow, *kind), "deep net, cured": (deep, "relu", "he_normal")}
    found = {}
    for name, (sizes, activation, init) in nets.items():
        runs = [best_of_rates(sizes, activation, init, split, epochs, seed) for seed in seeds]
        found[name] = {
            "accuracy": [run["accuracy"] for run in runs],
            "seconds": float(np.mean([run["seconds"] for run in runs])),
            "params": vg.MLP(sizes).n_params,
            "rates": [run["rate"] for run in runs],
            "sizes": sizes,
        }
    found |= others(split)
    steps = epochs * -(-len(split[0]) // BATCH)
    chance = float(np.bincount(split[3]).max() / len(split[3]))
    return {"data": data.name, "chance": chance, "steps": steps, "methods": {name: found[name] for name in COLOURS}}


def measure(
    quick: bool = False, activation: str = "sigmoid", init: str = "lecun_uniform", layers: int = 8, seed: int = 0
) -> dict[str, Any]:
    """activation, init: of the deep and of the shallow net; layers: hidden ones of the deep."""
    work: list[tuple[Callable[[], datasets.Dataset], int]] = [(datasets.digits, 40 if quick else 70)]
    work += [] if quick else [(datasets.mnist_subset, 25)]
    seeds = range(seed, seed + (1 if quick else 2))
    sets = [compare(load(), epochs, seeds, (activation, init), layers) for load, epochs in work]
    return {"sets": sets, "activation": activation, "layers": layers}


def right(method: dict[str, Any]) -> float:
    """The mean over the seeds."""
    return float(np.mean(method["accuracy"]))


def saw(found: dict[str, Any]) -> Seen:
    held, sentences = [], []
    for each in found["sets"]:
        methods = each["methods"]
        deep, shallow = methods["deep net"], methods["shallow net"]
        rivals = {name: methods[name] for name in ("shallow net", "3 neighbours", "SVM")}
        stays = max(deep["accuracy"]) <= each["chance"] + ABOVE
        worse = all(min(method["accuracy"]) >= max(deep["accuracy"]) + WELL for method in rivals.values())
        equal = abs(shallow["params"] / deep["params"] - 1) < 0.03
        held += [stays, worse, equal]
        told = ", ".join(f"{name} {100 * right(method):.1f} %" for name, method in rivals.items())
        sentences += [
            f"On {each['data']}, the deep net of {found['activation']} came to {100 * right(deep):.1f} % in "
            f"{each['steps']:,} steps; it {'stayed' if stays else 'did NOT stay'} at chance, which is "
            f"{100 * each['chance']:.1f} %, and did {'far worse' if worse else 'NOT do far worse'} than all of these: "
            f"{told}.",
            f"The shallow one had {shallow['params']:,} parameters, the deep one "
            f"{deep['params']:,}{'' if equal else ', which is NOT as many'}.",
            f"Cured, it came to {100 * right(methods['deep net, cured']):.1f} %.",
        ]
    return Seen(all(held), sentences)


def table(found: dict[str, Any]) -> Table:
    rows = []
    for each in found["sets"]:
        rows.append((each["data"] + ":", "", "", "", ""))
        for name, method in each["methods"].items():
            low, high = min(method["accuracy"]), max(method["accuracy"])
            spread = f"{100 * low:.1f} to {100 * high:.1f}" if len(method["accuracy"]) > 1 else ""
            params = f"{method['params']:,}" if method["params"] else "-"
            rows.append((f"  {name}", params, f"{100 * right(method):.1f} %", spread, f"{method['seconds']:.2f} s"))
    notes = "Right: of the digits kept back; seeds: worst and best. Time: to learn, and to answer for those kept back."
    return Table(("", "parameters", "right", "seeds", "time"), rows, notes)


def draw(found: dict[str, Any], figure: Figure) -> None:
    panels = np.ravel(figure.subplots(1, len(found["sets"]), sharey=True))
    figure.suptitle("As many parameters, deep and shallow; the times are to learn and to answer", fontsize=11)
    for axes, each in zip(panels, found["sets"], strict=True):
        for row, (name, method) in enumerate(each["methods"].items()):
            axes.barh(row, 100 * right(method), color=COLOURS[name], height=0.6)
            axes.plot(100 * np.array(method["accuracy"]), [row] * len(method["accuracy"]), "k|", markersize=12)
            text = f"{100 * right(method):.1f} %, {method['seconds']:.2f} s"
            axes.text(15, row, text, va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})
        axes.axvline(100 * each["chance"], color="0.3", linestyle="--")
        axes.text(15, -0.6, f"chance, {100 * each['chance']:.1f} %", va="center", color="0.3")
        axes.set_xlim(0, 105)
        axes.set_ylim(len(COLOURS) - 0.5, -0.9)
        axes.set_yticks(range(len(COLOURS)), list(COLOURS))
        axes.set_xlabel("right, % of the digits kept back (|: each seed)")
        axes.set_title(each["data"])
