"""A shallow, a deep and a cured net on handwritten digits, and where their gradients went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import Seen, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "a shallow net learns, a deep one does not, and the same depth with another activation does"

CLAIM = """More layers should learn more. But a deep net of sigmoids learns nothing, although its last layer's gradient
is as large as that of a shallow net: on its way back the gradient shrinks layer by layer, because a sigmoid passes on a
quarter of it at most, until the updates of the first layers are too small to change their weights."""

PLAN = """We train three nets on scikit-learn's handwritten digits, for the same number of steps: one hidden layer of
sigmoids, eight, and eight of ReLUs with He's first weights. Every tenth step is inspected; what each layer's records
come to is judged as a report is."""

EXPECT = """The shallow net is right about 19 times in 20. The deep one guesses; its gradient vanishes, and more than
half of its first layer's weights stay as they are to the last bit. The same depth of ReLUs, whose slope is 1 where they
are active, learns as well as the shallow net."""

DEEP = (64, *[30] * 8, 10)
# name, sizes, activation, init
NETS = (
    ("shallow", (64, 30, 10), "sigmoid", "lecun_normal"),
    ("deep", DEEP, "sigmoid", "lecun_normal"),
    ("cured", DEEP, "relu", "he_normal"),
)
EPOCHS, QUICK_EPOCHS, BATCH, LR = 100, 60, 32, 0.05
INSPECT_EVERY = 10
SIZE = (11, 4.2)
GOOD, CHANCE = 0.85, 0.15  # accuracies: this or more has learned, this or less has not begun


def measure(quick: bool = False, nets: Sequence[tuple[str, Sequence[int], str, str]] = NETS) -> dict[str, Any]:
    from sklearn.model_selection import train_test_split

    digits = datasets.digits()
    split = train_test_split(digits.X, digits.y, test_size=0.25, stratify=digits.y, random_state=0)
    epochs = QUICK_EPOCHS if quick else EPOCHS
    n, n_test = len(split[0]), len(split[1])
    found = [trained(*net, epochs, split) for net in nets]
    about = f"scikit-learn digits, {n} to train and {n_test} to test"
    histories = [(heading(of), history, report) for of, history, report in found]
    return {"data": about, "nets": [of for of, *_ in found], "histories": histories}


def trained(
    name: str, sizes: Sequence[int], activation: str, init: str, epochs: int, split: Sequence[np.ndarray]
) -> tuple[dict[str, Any], vg.History, vg.GradientReport]:
    """A net after training, what its inspected steps are, and what they come to, beside what theory says of its first
    weights."""
    X, X_test, y, y_test = split
    net, sgd = vg.MLP(sizes, activation, init=init, rng=0), vg.SGD(lr=LR)
    expected = net.inspect(X, y, optimizer=sgd, try_remedies=False).predicted
    history = net.fit(X, y, epochs=epochs, batch_size=BATCH, optimizer=sgd, inspect_every=INSPECT_EVERY)
    scores, steps = net.evaluate(X_test, y_test), len(history.loss)
    of_net = net.sizes, net.activations, steps, BATCH
    report = vg.GradientReport(history.mean(), scores.loss, *of_net, expected=expected)
    last = net.inspect(X, y, optimizer=sgd, steps=steps)  # at the end: the report's verdict is on the mean of all steps
    report.remedies = last.remedies if last.verdict == report.verdict else []
    found = {
        "name": name,
        "sizes": list(sizes),
        "activation": activation,
        "init": init,
        "steps": steps,
        "seconds": sum(epoch["seconds"] for epoch in history.epochs),
        "train_loss": history.epochs[-1]["loss"],
        "test_loss": scores.loss,
        "test_accuracy": scores.accuracy,
        "verdict": report.verdict,
        "explanation": report.explanation,
        "remedies": report.remedies,
        "layers": report.to_dict()["layers"],
        "inspected": history.steps.tolist(),
        "norms": history.gradients["grad_norm"].T.tolist(),
    }
    return found, history, report


def conclude(found: dict[str, Any]) -> Seen:
    shallow, deep, cured = found["nets"]
    learn = [net["test_accuracy"] >= GOOD for net in (shallow, cured)]
    guesses, vanishes = deep["test_accuracy"] <= CHANCE, deep["verdict"] == "vanishing"
    frozen = deep["layers"][0]["frozen"]
    stays = frozen > 0.5
    verdicts = ", ".join(f"{net['name']} {net['verdict']}" for net in found["nets"])
    sentences = [
        f"The shallow net is right on {shallow['test_accuracy']:.1%} of the test images, and the same depth of "
        f"{cured['activation']} on {cured['test_accuracy']:.1%}: {'both' if all(learn) else 'NOT both'} learned.",
        f"The deep one, right on {deep['test_accuracy']:.1%}, {'guesses' if guesses else 'does NOT guess'}; "
        f"{frozen:.0%} of its first layer's weights are frozen, {'more' if stays else 'NOT more'} than half.",
        f"Its gradient {'vanishes' if vanishes else 'does NOT vanish'}. The verdicts: {verdicts}.",
        f"Of the deep one: {deep['explanation']}",
    ]
    return Seen(all(learn) and guesses and vanishes and stays, sentences)


def depth(net: dict[str, Any]) -> str:
    """In words."""
    n = len(net["sizes"]) - 2
    return f"{n} hidden layer{'s' * (n != 1)}"


def heading(net: dict[str, Any]) -> str:
    """What it is, and how well it does."""
    about = f"{depth(net)} of {net['sizes'][1]}, {net['activation']}, {net['init']}"
    return f"{net['name']}: {about}: test accuracy {net['test_accuracy']:.1%}"


def table(found: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for net in found["nets"]:
        rows += [("",)] * bool(rows)
        rows.append((heading(net),))
        for l, layer in enumerate(net["layers"], 1):
            gains = "the signal starts here"
            if layer["gain"] is not None:
                gains = "{weight_gain:.3f} x {activation_gain:.3f} = {gain:.3f}".format(**layer)
            cells = (str(l), f"{layer['grad_norm']:.1e}", gains, f"{layer['frozen']:.1%}", f"{layer['zero']:.1%}")
            rows.append(cells)
    headings = ("layer", "gradient", "weight gain x activation gain = gain", "frozen", "dW = 0")
    notes = (
        "frozen: weights whose bits a step leaves as they are; dW = 0: had no gradient. "
        f"Means over the {found['nets'][0]['steps']} steps of each net."
    )
    return Table(headings, rows, notes)


def draw(found: dict[str, Any], figure: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots(1, len(found["nets"]), squeeze=False)[0]
    with np.errstate(divide="ignore"):
        logs = [np.log10(net["norms"]) for net in found["nets"]]  # -inf, an exact zero, is drawn as the lowest colour
    finite = np.concatenate([log[np.isfinite(log)] for log in logs])
    low, high = np.floor(finite.min()), np.ceil(finite.max())
    for ax, log, net in zip(axes, logs, found["nets"], strict=True):
        steps = np.append(net["inspected"], net["inspected"][-1] + INSPECT_EVERY)
        layers = np.arange(len(log) + 1) + 0.5
        shown = np.maximum(log, low)
        image = ax.pcolormesh(steps, layers, shown, vmin=low, vmax=high, cmap="viridis", rasterized=True)
        title = f"{net['name']}: {depth(net)}, {net['activation']}\ntest accuracy {net['test_accuracy']:.1%}"
        ax.set_title(title, fontsize=11)
        ax.set_xlabel("step")
        ax.set_yticks(range(1, len(log) + 1))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0].set_ylabel("layer (1 is next to the input)")
    bar = figure.colorbar(image, ax=list(axes), pad=0.01)
    bar.set_label("gradient norm of the layer's weights")
    ticks = np.arange(low, high + 1, max(1, (high - low) // 8))
    bar.set_ticks(list(ticks), labels=[f"$10^{{{int(tick)}}}$" for tick in ticks])
