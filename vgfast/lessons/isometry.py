"""Nets of a thousand layers: gradients must not only keep their length, their directions must stay apart, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.lessons import BLUE, GREEN, ORANGE, Seen, Table
from vgfast.show.numbers import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "a thousand layers learn, if their first weights turn every signal, or residual connections leave it as it is"

CLAIM = """At the critical point of an activation the gain of a layer is 1: on average, gradients keep their length.
With normal weights that is an average over directions, some of which are stretched and most of which are squeezed, and
in a deep net one direction is left: whatever the image, the first layers get the same news. Orthogonal weights turn
without squeezing, and a tanh near 0 does little else. With q, the variance of z, at 1 / (2 L) in L layers, the Jacobian
of the whole net is then nearly a rotation, which is called dynamical isometry, and the net learns however deep it is
(Pennington, Schoenholz and Ganguli, 2017; Xiao and others, 2018). ReZero gets there with any activation, ReLU too: a
residual connection around each layer, and what the layer adds times a scale that is learned, from 0 on. At first each
layer is the identity, and its gain exactly 1 (Bachlechner and others, 2020)."""

PLAN = """Nets of 100 and 1,000 layers of 64 tanhs in float32 get first weights at the critical point of that q, once
orthogonal and once normal, of the same variances: init=vg.init.critical(q=..., orthogonal=...). A third has residual
connections and layers of ReLU, residual=vg.residual(scale="rezero"); its first layer is linear and orthogonal. With
--deep it is alone, with 10,000 layers. Of each we take the singular values of the Jacobian of the last hidden layer by
the image, 64 x 64, row by row by net.backward, for five digits; and from net.inspect how long the gradient still is at
layer 1. Then all train on 70 % of the digits, with the same SGD, until the loss is halved, the normal one as long as
the orthogonal one. Each image, less the mean one, has mean square 1."""

EXPECT = """With orthogonal weights all singular values lie within a factor of 4 of each other, the gradient at layer 1
is half to twice as long as at the last, and the loss is halved, in less than a minute with 1,000 layers. With normal
weights the gains look no worse, layer by layer, but the largest singular value is more than a million times the
smallest, and the loss is not halved in as many steps. With ReZero the gain of every hidden layer is 1 to the last bit,
and the loss is halved."""

DEPTHS, DEEP, WIDTH, BATCH = (100, 1000), 10_000, 64, 32
KINDS = {"orthogonal": BLUE, "normal": ORANGE, "ReZero": GREEN}
IMAGES, ROWS = 5, 128  # of which the Jacobian is taken; on which nets are inspected
ISOMETRIC, SQUEEZED, KEPT = 4.0, 1e6, (0.5, 2.0)  # condition numbers; |delta| at layer 1 over that at the last
# Each step changes every layer, so a rate that L layers bear is as 1 / L; epochs: some more than are needed.
RATE, MOMENTUM, EPOCHS = 0.3, 0.95, 14


def images() -> tuple[np.ndarray, np.ndarray]:
    """The digits, each of mean square 1 as the theory takes it, and their labels."""
    data = datasets.digits()
    X = data.X - data.X.mean(axis=0)
    return X / np.sqrt(np.mean(X**2, axis=1, keepdims=True)), data.y


def initial(kind: str, layers: int, q: float, seed: int) -> vg.MLP:
    """The net before training."""
    sizes = [*[WIDTH] * (layers + 1), 10]
    if kind == "ReZero":
        phi, around = ["identity", *["relu"] * (layers - 1)], vg.residual(scale="rezero")
        return vg.MLP(sizes, phi, init="orthogonal", residual=around, rng=seed)
    return vg.MLP(sizes, "tanh", init=vg.init.critical(q=q, orthogonal=kind == "orthogonal"), rng=seed)


def singular_values(net: vg.MLP, rows: np.ndarray) -> np.ndarray:
    """(rows, WIDTH) of the Jacobian of the last hidden layer by each row, the largest first."""
    hidden = vg.MLP([WIDTH] * len(net.sizes), net.activations, "mse", init="zeros", residual=net.residual)
    inner = net.n_params - net.weights[-1].size - net.biases[-1].size  # of the hidden layers
    hidden.params[:inner], hidden.weights[-1][...] = net.params[:inner], np.eye(WIDTH)
    deltas = [hidden.backward(np.tile(row, (WIDTH, 1)), np.eye(WIDTH)).deltas[0] for row in rows]
    return np.linalg.svd(np.array(deltas, np.float64) @ hidden.weights[0].T, compute_uv=False)


def begun(net: vg.MLP, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Before training: of the images' Jacobians, and of the gains."""
    values = singular_values(net, X[:IMAGES])
    report = net.inspect(X[:ROWS], y[:ROWS], try_remedies=False)
    gains, total = report.layers["gain"][: len(net.sizes) - 3], report.numbers["total_gain"]
    with np.errstate(divide="ignore"):
        conditions = values[:, 0] / values[:, -1]
    return {
        "values": values[0].tolist(),
        "condition": [float(conditions.min()), float(conditions.max())],
        "total": total,
        "gain": total ** (1 / (len(net.sizes) - 2)),
        "hidden": [float(gains.min()), float(gains.max())],
    }


def trained(net: vg.MLP, split: list, lr: float, epochs: int, stop: bool) -> dict[str, Any]:
    """The loss before and after each epoch, until it is halved if it is to stop there."""
    X, X_new, y, y_new = split
    loss, start = [net.evaluate(X, y).loss], time.perf_counter()

    def note(net: vg.MLP, history: vg.History) -> bool:
        loss.append(history.epochs[-1]["loss"])
        return stop and loss[-1] <= loss[0] / 2

    try:
        net.fit(X, y, epochs, BATCH, vg.SGD(lr=lr, momentum=MOMENTUM), callbacks=[note])
    except vg.DivergenceError:
        return {"loss": [*loss, np.inf], "seconds": time.perf_counter() - start, "accuracy": 0.0}
    return {"loss": loss, "seconds": time.perf_counter() - start, "accuracy": net.evaluate(X_new, y_new).accuracy}


def measure(
    quick: bool = False, deep: bool = False, spread: float = 1.0, rate: float = RATE, seed: int = 0
) -> dict[str, Any]:
    """spread: times 1 / (2 L), the variance q of z; rate: of learning, times L."""
    from sklearn.model_selection import train_test_split

    X, y = images()
    split = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    found = []
    for layers in (DEEP,) if deep else DEPTHS[: 1 if quick else 2]:
        q, nets = spread / (2 * layers), {}
        for kind in ("ReZero",) if deep else KINDS:
            net = initial(kind, layers, q, seed)
            nets[kind] = begun(net, split[0], split[2])
            epochs, stop = (len(nets["orthogonal"]["loss"]) - 1, False) if kind == "normal" else (EPOCHS, True)
            nets[kind] |= trained(net, split, rate / layers, epochs, stop)
        found.append({"layers": layers, "q": q, "nets": nets})
    return {"depths": found, "rate": rate}


def halved(net: dict[str, Any]) -> bool:
    return net["loss"][-1] <= net["loss"][0] / 2


def conclude(found: dict[str, Any]) -> Seen:
    tell = {"orthogonal": tanhs, "ReZero": around}
    parts = [tell[kind](each) for each in found["depths"] for kind in each["nets"] if kind in tell]
    return Seen(all(holds for holds, _ in parts), [sentence for _, sentences in parts for sentence in sentences])


def tanhs(each: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether orthogonal weights do what is claimed, and normal ones do not."""
    turned, normal = each["nets"]["orthogonal"], each["nets"]["normal"]
    isometric, squeezed = turned["condition"][1] < ISOMETRIC, normal["condition"][0] > SQUEEZED
    kept, learned, stuck = KEPT[0] <= turned["total"] <= KEPT[1], halved(turned), not halved(normal)
    return isometric and squeezed and kept and learned and stuck, [
        f"Through {each['layers']:,} layers of orthogonal weights, the largest singular value is at most "
        f"{turned['condition'][1]:.3g} times the smallest: the Jacobian is {'' if isometric else 'NOT '}nearly a "
        f"rotation. With normal weights it is at least {normal['condition'][0]:.0e} times the smallest"
        f"{'' if squeezed else ', which is NOT above a million'}.",
        f"Layer 1 gets {turned['total']:.3g} of the last layer's |delta|, {'' if kept else 'NOT '}half to twice as "
        f"much, and {normal['total']:.2g} with normal weights, which is {normal['gain']:.4f} a layer.",
        f"With orthogonal weights, {went(turned)} {'halved' if learned else 'NOT halved'}; with normal ones, "
        f"{went(normal)} {'not' if stuck else 'halved too, which is NOT as claimed'}.",
    ]


def around(each: dict[str, Any]) -> tuple[bool, list[str]]:
    """The same of ReZero."""
    net = each["nets"]["ReZero"]
    unchanged, learned = net["hidden"] == [1.0, 1.0], halved(net)
    gains = "exactly 1" if unchanged else f"NOT exactly 1 but {net['hidden'][0]:.8g} to {net['hidden'][1]:.8g}"
    return unchanged and learned, [
        f"With ReZero the gain of each of {each['layers'] - 1:,} layers is {gains}, and {went(net)} "
        f"{'halved' if learned else 'NOT halved'}."
    ]


def went(net: dict[str, Any]) -> str:
    first, *_, last = net["loss"]
    took = f"{count(len(net['loss']) - 1, 'epoch')}, {net['seconds']:.1f} s"
    return f"in {took}, the loss went from {first:.3f} to {last:.3f} and was"


def table(found: dict[str, Any]) -> Table:
    rows = []
    for each in found["depths"]:
        for kind, net in each["nets"].items():
            numbers = (f"{net['condition'][1]:.3g}", f"{net['total']:.3g}", f"{net['loss'][0]:.3f}")
            ends = (f"{net['loss'][-1]:.3f}", f"{100 * net['accuracy']:.0f} %", f"{net['seconds']:.1f} s")
            rows.append((f"{each['layers']:,}, {kind}", *numbers, *ends))
    notes = f"""condition: largest over smallest singular value, the worst of {IMAGES} images. layer 1: its |delta|
    over the last layer's. right: of the digits kept back. time: of training, with momentum {MOMENTUM} and rate
    {found["rate"]:g} / layers."""
    headings = ("layers, weights", "condition", "layer 1", "loss", "after", "right", "time")
    return Table(headings, rows, " ".join(notes.split()))


def draw(found: dict[str, Any], figure: Figure) -> None:
    values, losses = figure.subplots(1, 2)
    most = max(each["layers"] for each in found["depths"])
    for each in found["depths"]:
        style = {"linestyle": "-" if each["layers"] == most else "--", "linewidth": 1.5}
        for kind, net in each["nets"].items():
            style |= {"color": KINDS[kind], "label": f"{each['layers']:,} layers, {kind}"}
            of = np.array(net["values"])
            values.semilogy(np.arange(1, len(of) + 1), of / of[0], **style)
            losses.plot(net["loss"], **style)
    values.set(xlabel="singular value, the largest first", ylabel="over the largest", title="Jacobian, before training")
    values.axhline(1 / ISOMETRIC, color="0.3", lw=1)
    losses.set(xlabel="epochs", ylabel="loss in training", title="Training on digits", ylim=(0, None))
    for axes in (values, losses):
        axes.legend(fontsize=8)
