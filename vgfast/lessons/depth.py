"""Deep nets as they were in 2005, a shallow net, and methods without layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, GREEN, ORANGE, RED, Seen, Table, accuracies_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "before 2006, more layers of sigmoids made it worse"

CLAIM = """Before 2006 deep nets mostly did worse than shallow ones, and worse than other methods: hardly anybody could
train them. The signal that goes back through many layers of sigmoids is next to nothing when it comes to the first."""

PLAN = """All get the same handwritten digits, four fifths to learn from, one fifth to be asked about. A deep net has
eight hidden layers of 30 units, a shallow one has one hidden layer and as many parameters. Both are of logistic
sigmoids. Beside them are the 3 nearest neighbours, a support vector machine, and the same deep net of tanh, and of
ReLUs with He's first weights. First weights have variance 1 / inputs, He's twice that. Each net trains at two rates,
0.05 and 0.5, in batches of 32; the one that brought the lower loss in training counts."""

EXPECT = """The deep net of sigmoids stays at chance, about 10 %, at either rate. All the others come to 85 % and more:
the shallow net too, and the same depth of tanh or of ReLUs. What fails is the logistic sigmoid in eight layers, not
eight layers. A symmetric tanh was known and advised long before 2006 (LeCun and others, 1998): it does well here."""

# At 0.1, 0.2 and 1 the deep net stayed at chance as well, with 5 seeds on the digits and 2 on MNIST. With two or three
# hidden layers of sigmoids it came to 95 to 97 % on the digits and 91 to 92 % on MNIST, with 2 seeds.
RATES, BATCH = (0.05, 0.5), 32
NEAR = 0.05  # of chance, the share of the most frequent digit, above or below: it is still chance
GOOD = 0.85
COLOURS = {
    "deep net": RED,
    "shallow net": BLUE,
    "3 neighbours": ORANGE,
    "SVM": ORANGE,
    "deep net, tanh": GREEN,
    "deep net, ReLU": GREEN,
}


def sizes_of(n_in: int, hidden: Sequence[int]) -> tuple[list[int], list[int]]:
    """The deep net, and the shallow one with as many parameters, as nearly as one can."""
    deep = [n_in, *hidden, 10]
    units = round((vg.MLP(deep).n_params - 10) / (n_in + 1 + 10))
    return deep, [n_in, units, 10]


def best_of_rates(sizes: Sequence[int], activation: str, init: str, split: list, epochs: int, seed: int) -> dict:
    """Of the rates, the one with the lower loss in training, and the accuracy at each; None where it diverges."""
    X, X_new, y, y_new = split
    best: dict[str, Any] = {"loss": np.inf, "accuracy": None, "seconds": 0.0, "rate": None, "at_rates": []}
    for rate in RATES:
        net = vg.MLP(sizes, activation, init=init, rng=seed)
        start = time.perf_counter()
        try:
            loss = net.fit(X, y, epochs, BATCH, vg.SGD(lr=rate)).epochs[-1]["loss"]
        except vg.DivergenceError:
            best["at_rates"].append(None)
            continue
        best["at_rates"].append(net.evaluate(X_new, y_new).accuracy)
        if loss < best["loss"]:
            seconds = time.perf_counter() - start
            best |= {"loss": loss, "accuracy": best["at_rates"][-1], "seconds": seconds, "rate": rate}
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
        found[name] = {"accuracy": [accuracy], "diverged": 0, "seconds": time.perf_counter() - start, "params": None}
    return found


def compare(data: datasets.Dataset, epochs: int, seeds: range, kind: tuple[str, str], layers: int) -> dict[str, Any]:
    """All methods on one data set."""
    from sklearn.model_selection import train_test_split

    split = train_test_split(data.X, data.y, test_size=0.2, stratify=data.y, random_state=0)
    deep, shallow = sizes_of(data.X.shape[1], [30] * layers)
    nets = {
        "deep net": (deep, *kind),
        "shallow net": (shallow, *kind),
        "deep net, tanh": (deep, "tanh", "lecun_uniform"),
        "deep net, ReLU": (deep, "relu", "he_normal"),
    }
    found = {}
    for name, (sizes, activation, init) in nets.items():
        runs = [best_of_rates(sizes, activation, init, split, epochs, seed) for seed in seeds]
        found[name] = {
            "accuracy": [run["accuracy"] for run in runs if run["accuracy"] is not None],
            "diverged": sum(run["accuracy"] is None for run in runs),  # at every rate
            "at_rates": [run["at_rates"] for run in runs],
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


def accuracy_text(method: dict[str, Any]) -> str:
    accuracies = method["accuracy"]
    return accuracies_text(float(np.mean(accuracies)) if accuracies else None, method["diverged"])


def outcome(method: dict[str, Any]) -> str:
    return f"came to {accuracy_text(method)}" if method["accuracy"] else "diverged"


def conclude(found: dict[str, Any]) -> Seen:
    held, sentences = [], []
    for each in found["sets"]:
        methods, chance = each["methods"], each["chance"]
        deep, shallow, tanh, relu = (methods[name] for name in COLOURS if "net" in name)
        rivals = {name: methods[name] for name in ("shallow net", "3 neighbours", "SVM")}
        at_rates = [share for seed in deep["at_rates"] for share in seed]
        stays = all(share is not None and abs(share - chance) <= NEAR for share in at_rates)
        good = all(not method["diverged"] and min(method["accuracy"]) >= GOOD for method in rivals.values())
        cured = [not method["diverged"] and min(method["accuracy"]) >= GOOD for method in (tanh, relu)]
        equal = abs(shallow["params"] / deep["params"] - 1) < 0.03
        held += [stays, good, *cured, equal]
        listed = ", ".join(f"{name} {accuracy_text(method)}" for name, method in rivals.items())
        sentences += [
            f"On {each['data']}, the deep net of {found['activation']} {outcome(deep)} in {each['steps']:,} steps; it "
            f"{'stayed' if stays else 'did NOT stay'} at chance, {100 * chance:.1f} %, at either rate.",
            f"These {'all came' if good else 'did NOT all come'} to {GOOD:.0%} and more: {listed}.",
            f"The shallow net had {shallow['params']:,} parameters, the deep one "
            f"{deep['params']:,}{'' if equal else ', which is NOT as many'}.",
            f"The same depth of tanh {outcome(tanh)}, that of ReLUs {outcome(relu)}: "
            f"{'depth is not at fault' if all(cured) else f'NOT both to {GOOD:.0%} and more'}.",
        ]
    return Seen(all(held), sentences)


def table(found: dict[str, Any]) -> Table:
    rows = []
    for each in found["sets"]:
        rows.append((each["data"] + ":", "", "", "", ""))
        for name, method in each["methods"].items():
            shares = [100 * share for share in method["accuracy"]]
            spread = f"{min(shares):.1f} to {max(shares):.1f}" if len(shares) > 1 else ""
            params = f"{method['params']:,}" if method["params"] else "-"
            rows.append((f"  {name}", params, accuracy_text(method), spread, f"{method['seconds']:.2f} s"))
    notes = "Right: of the digits kept back; seeds: worst and best. Time: to learn, and to answer for those kept back."
    return Table(("", "parameters", "right", "seeds", "time"), rows, notes)


def draw(found: dict[str, Any], figure: Figure) -> None:
    panels = np.ravel(figure.subplots(1, len(found["sets"]), sharey=True))
    figure.suptitle(f"Nets of {found['activation']} unless named; times: to learn and to answer", fontsize=11)
    for axes, each in zip(panels, found["sets"], strict=True):
        for row, (name, method) in enumerate(each["methods"].items()):
            shares = 100 * np.array(method["accuracy"])
            axes.barh(row, shares.mean() if len(shares) else 0, color=COLOURS[name], height=0.6)
            axes.plot(shares, [row] * len(shares), "k|", markersize=12)
            text = f"{accuracy_text(method)}, {method['seconds']:.2f} s"
            axes.text(15, row, text, va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})
        axes.axvline(100 * each["chance"], color="0.3", linestyle="--")
        axes.text(15, -0.6, f"chance, {100 * each['chance']:.1f} %", va="center", color="0.3")
        axes.set_xlim(0, 105)
        axes.set_ylim(len(COLOURS) - 0.5, -0.9)
        axes.set_yticks(range(len(COLOURS)), list(COLOURS))
        axes.set_xlabel("right, % of the digits kept back (|: each seed)")
        axes.set_title(each["data"])
