"""Three layers of a thousand units that are pre-trained one by one, and then a net that stops when it no longer pays:
what two of the tutorials of deeplearning.net have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import vgfast as vg
from vgfast.published import patience
from vgfast.published.resume import LongRun, OutOfTime, identify
from vgfast.published.rows import Row
from vgfast.show.numbers import count

Make = Callable[[int, int, np.ndarray], Any]


class Settings(NamedTuple):
    """``hidden`` layers, each pre-trained for so many ``epochs``; ``guess``: the epochs of fine-tuning that one
    expects, by which the time that is left is estimated; ``tuning``: of fine-tuning, whose rows pre-training takes."""

    hidden: tuple[int, ...]
    epochs: int
    guess: int
    tuning: patience.Settings


class Published(NamedTuple):
    """Errors, from 0 to 1."""

    valid: float
    test: float


IMAGES = 10_000
# Two standard errors of an error of 1.3 % of 10,000 images, which are 0.11 % each: other random numbers, other images.
WITHIN = 23


def shorten(settings: Settings) -> Settings:
    """An epoch of each layer and two of fine-tuning, to see that it runs."""
    return settings._replace(epochs=1, guess=2, tuning=settings.tuning._replace(max_epochs=2))


def network(layers: list[Any], dtype: str) -> vg.MLP:
    """Sigmoid layers with the weights of these, and an output layer of zeros."""
    sizes = [layers[0].n_features_in_, *(layer.n_components for layer in layers), 10]
    net = vg.MLP(sizes, "sigmoid", init="zeros", dtype=dtype)
    for l, layer in enumerate(layers):
        net.weights[l], net.biases[l] = layer.weights, layer.intercept_hidden_
    return net


def measure(
    name: str,
    make: Make,
    quick: bool = False,
    folder: Path | None = None,
    *,
    settings: Settings,
    progress: Callable[[Any], Any] | None = None,
    state: Path | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    """make(l, n, x): layer l, 0 being the first, of n units, which is to learn x. The other arguments: as of every
    published result, and ``LongRun``'s. ``ended``: whether fine-tuning was; ``best`` has no errors before it began;
    ``short``: whether the settings were not the published ones."""
    if quick:
        settings = shorten(settings)
    data = patience.mnist(folder, settings.tuning)
    sizes = [data.train.X.shape[1], *settings.hidden]
    costs = [float(a * b) for a, b in zip(sizes, [*settings.hidden, 10], strict=True)]
    # In multiplications a row: a layer's step has five products, a net's three.
    whole = settings.epochs * 5 * sum(costs[:-1]) + settings.guess * 3 * sum(costs)
    run = LongRun(identify(name, settings, data.train.X, data.train.y), whole, state, minutes, progress)
    layers: list[Any] = []
    reached: list[patience.Course] = []
    per_epoch = len(data.train.X) // settings.tuning.batch_size
    try:
        x = data.train.X
        for l, n in enumerate(settings.hidden):
            layer = make(l, n, x)
            layers.append(layer)
            run.pretrain(f"layer {l + 1}", layer, partial(teach, layer, x), settings.epochs, 5 * costs[l], [])
            x = layer.transform(x)
        found = tune(run, network(layers, settings.tuning.dtype), data, settings, 3 * sum(costs), reached.append)
    except OutOfTime:
        course = reached[-1] if reached else patience.Course(0, settings.tuning.patience, [])
        found = patience.summary(course, per_epoch)
    ended = found["out_of_patience"] or found["epochs"] >= settings.tuning.max_epochs
    return {**found, "layers": len(layers), "ended": ended, "short": quick}


def teach(layer: Any, x: np.ndarray) -> dict[str, float]:
    """An epoch; what is recorded of it."""
    record: dict[str, float] = layer.partial_fit(x).history_.epochs[-1]
    return record


def tune(
    run: LongRun,
    net: vg.MLP,
    data: patience.Split,
    settings: Settings,
    work: float,
    reach: Callable[[patience.Course], Any],
) -> dict[str, Any]:
    """``patience.train``, from where an earlier run has stopped; ``reach`` gets each course."""
    name, per_epoch = "fine-tuning", len(data.train.X) // settings.tuning.batch_size
    kept, course = run.load(name, "params", *patience.Course._fields), None
    if kept is not None:
        net.params = kept["params"]
        validations = [patience.Validation(*each) for each in kept["validations"]]
        course = patience.Course(kept["done"], kept["patience"], validations)
        reach(course)
        run.skip(work * course.done / per_epoch)
    before = 0 if course is None else course.done

    def keep(now: patience.Course) -> None:
        nonlocal before
        reach(now)
        run.keep(name, now._asdict() | {"params": net.params})
        work_done, before = work * (now.done - before) / per_epoch, now.done
        run.end_epoch(f"{name}, {now.validations[-1]}", work_done)

    return patience.train(net, data, settings.tuning, course=course, keep=keep)


def with_first_weights(rbm: Any, x: np.ndarray, seed: list[int]) -> Any:
    """A Boltzmann machine that begins as those of the tutorials do: weights uniform within ± 4 sqrt(6 / (n_in +
    n_out)), and biases of 0. It is given a batch of x first, which makes its parameters."""
    rbm.fit(x[: rbm.batch_size])
    most = 4 * np.sqrt(6 / sum(rbm.weights.shape))
    rbm.weights[...] = np.random.default_rng(seed).uniform(-most, most, rbm.weights.shape)
    rbm.intercept_hidden_[...] = rbm.intercept_visible_[...] = 0
    return rbm


def rows(published: Published, found: dict[str, Any]) -> list[Row]:
    if found["best"]["test"] is None:
        return [
            Row(f"{what}, ± {WITHIN} images", f"{theirs:.2%}", f"at layer {found['layers']}", None)
            for what, theirs in zip(("validation", "test"), published, strict=True)
        ]
    note = "" if found["ended"] and not found["short"] else count(found["epochs"], "epoch")
    return patience.rows(found["best"], published, IMAGES, WITHIN, note)
