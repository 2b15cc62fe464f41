"""``vgfast demo``: a shallow, a deep and a cured net on handwritten digits, and where their gradients went.

What the reader should see: the deep net learns nothing although its last layer's gradient is as large as the
shallow net's; its gradient shrinks layer by layer, because sigmoid passes on at most a quarter of it, until
the updates of the first layers are too small to change their weights. The same depth with ReLU and He's first
weights learns.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vgfast.inspection import inspect
from vgfast.inspection import report as gradients
from vgfast.mlp import MLP
from vgfast.training.history import History
from vgfast.training.optimizers import SGD
from vgfast.training.records import over_time

EPOCHS = 100
BATCH = 32
INSPECT_EVERY = 10
SEED = 0
LEARNING_RATE = 0.05
DEEP = (64, *[30] * 8, 10)

# name, sizes, activation, init
NETS = (
    ("shallow", (64, 30, 10), "sigmoid", "lecun_normal"),
    ("deep", DEEP, "sigmoid", "lecun_normal"),
    ("cured", DEEP, "relu", "he_normal"),
)
PICTURE = "vanishing-gradient.png"


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X_train (1347, 64), X_test (450, 64) from 0 to 1, y_train, y_test: scikit-learn's 8 x 8 digits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    return tuple(train_test_split(X / 16, y, test_size=0.25, stratify=y, random_state=SEED))


def run(progress: Callable[[str, int, int, History], Any] | None = None) -> dict[str, Any]:
    """Train the three nets; plain data, with each net's ``History`` under "history"."""
    X, X_test, y, y_test = digits()
    nets = []
    for name, sizes, activation, init in NETS:
        net = MLP(sizes, activation, init=init, rng=SEED)

        def report(done: int, total: int, history: History, name: str = name) -> None:
            if progress is not None:
                progress(name, done, total, history)

        history = net.fit(
            X,
            y,
            epochs=EPOCHS,
            batch_size=BATCH,
            optimizer=SGD(lr=LEARNING_RATE),
            inspect_every=INSPECT_EVERY,
            progress=report,
        )
        scores = net.evaluate(X_test, y_test)
        mean = over_time(history.gradients)
        steps = len(history.loss)
        found = gradients.GradientReport(mean, scores.loss, net.sizes, net.activations, steps, BATCH)
        if found.verdict != "healthy":
            found.remedies = inspect.try_remedies(net._case(*net._batch(X, y), SGD(lr=LEARNING_RATE)), steps, found)
        nets.append(
            {
                "name": name,
                "sizes": list(sizes),
                "activation": activation,
                "init": init,
                "steps": steps,
                "seconds": sum(epoch["seconds"] for epoch in history.epochs),
                "train_loss": history.epochs[-1]["loss"],
                "test_loss": scores.loss,
                "test_accuracy": scores.accuracy,
                "verdict": found.verdict,
                "explanation": found.explanation,
                "remedies": found.remedies,
                "layers": gradients.as_dicts(mean),
                "history": history,
            }
        )
    return {"data": "scikit-learn digits, 1347 to train and 450 to test", "nets": nets}


def _depth(net: dict[str, Any]) -> str:
    n = len(net["sizes"]) - 2
    return f"{n} hidden layer{'s' if n > 1 else ''}"


def save_picture(result: dict[str, Any], folder: Path) -> Path:
    """The picture's path, absolute."""
    path = (folder / PICTURE).resolve()
    panels = [
        (
            f"{net['name']}: {_depth(net)}, {net['activation']}",
            f"test accuracy {net['test_accuracy']:.1%}",
            net["history"],
        )
        for net in result["nets"]
    ]
    gradient_maps(panels, path)
    return path


def gradient_maps(panels: list[tuple[str, str, History]], path: Path) -> None:
    """Save a PNG: for each (title, subtitle, history) a map of log10 |dW|, layer x step, in common colours."""
    from matplotlib.ticker import MaxNLocator

    from vgfast.show.figures import Picture

    figure = Picture(11, 4.2)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    norms = [history.gradients["grad_norm"].T for _, _, history in panels]
    with np.errstate(divide="ignore"):
        logs = [np.log10(norm) for norm in norms]  # -inf, an exact zero, is drawn as the lowest colour
    finite = np.concatenate([log[np.isfinite(log)] for log in logs])
    low, high = np.floor(finite.min()), np.ceil(finite.max())
    for ax, log, (title, subtitle, history) in zip(axes, logs, panels, strict=True):
        n_layers = len(log)
        step = history.steps[1] - history.steps[0] if len(history.steps) > 1 else 1
        image = ax.pcolormesh(
            np.append(history.steps, history.steps[-1] + step),
            np.arange(n_layers + 1) + 0.5,
            np.maximum(log, low),
            vmin=low,
            vmax=high,
            cmap="viridis",
            rasterized=True,
        )
        ax.set_title(f"{title}\n{subtitle}", fontsize=11)
        ax.set_xlabel("step")
        ax.set_yticks(range(1, n_layers + 1))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0].set_ylabel("layer (1 is next to the input)")
    bar = figure.colorbar(image, ax=list(axes), pad=0.01)
    bar.set_label("gradient norm of the layer's weights")
    ticks = np.arange(low, high + 1, max(1, (high - low) // 8))
    bar.set_ticks(list(ticks), labels=[f"$10^{{{int(tick)}}}$" for tick in ticks])
    figure.savefig(path, dpi=150)


def as_json(result: dict[str, Any]) -> dict[str, Any]:
    """The result without its arrays, and with room for the picture's path."""
    nets = [{key: value for key, value in net.items() if key != "history"} for net in result["nets"]]
    return {**result, "nets": nets, "picture": None}


def watched_run(console: Any) -> dict[str, Any]:
    """``run`` under a progress bar that shows loss and first-layer gradient, where the console is a terminal."""
    if not console.is_interactive:
        return run()
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:>7}"),
        BarColumn(bar_width=24),
        TextColumn("step {task.completed:>4}/{task.total}"),
        TextColumn("loss {task.fields[loss]:<6.3g} |dW1| {task.fields[gradient]:.1e}"),
    )
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def progress(name: str, done: int, total: int, history: History) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total, loss=np.nan, gradient=np.nan)
            recent = float(history.loss[-45:].mean())
            gradient = float(history.gradients["grad_norm"][-1, 0])
            bar.update(tasks[name], completed=done, loss=recent, gradient=gradient)

        return run(progress)


def show(result: dict[str, Any], console: Any) -> None:
    """Per net: accuracy, one row a layer, the verdict in one sentence."""
    from rich.table import Table

    for net in result["nets"]:
        title = (
            f"{net['name']}: {_depth(net)} of 30, {net['activation']}, {net['init']}: "
            f"test accuracy {net['test_accuracy']:.1%}"
        )
        table = Table(title=title, title_justify="left", title_style="bold", expand=False)
        for heading in ("layer", "gradient", "weight gain x activation gain = gain", "frozen", "dW = 0"):
            table.add_column(heading, justify="right")
        for l, layer in enumerate(net["layers"], 1):
            gains = "the signal starts here"
            if layer["gain"] is not None:
                gains = "{weight_gain:.3f} x {activation_gain:.3f} = {gain:.3f}".format(**layer)
            table.add_row(str(l), f"{layer['grad_norm']:.1e}", gains, f"{layer['frozen']:.1%}", f"{layer['zero']:.1%}")
        console.print()
        console.print(table)
        console.print(f"{net['verdict']}: {net['explanation']}", highlight=False)
    console.print()
    console.print("frozen: weights whose bits a step leaves as they are; dW = 0: had no gradient")
    console.print(f"Means over the {result['nets'][0]['steps']} steps of each net.")
