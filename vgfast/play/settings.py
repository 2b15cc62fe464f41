"""What can be set, within which bounds, and all of it as the text of an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from vgfast import _check
from vgfast.play import tasks

# Steps that one state may have: some minutes of training, as whoever opens a shared address trains them again.
MOST_STEPS = 1_000_000


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``; whole ones if ``step`` is."""

    label: str
    low: float
    high: float
    step: float
    default: float
    help: str

    def checked(self, name: str, value: Any) -> int | float:
        """TypeError or ValueError for another number, or none."""
        if isinstance(self.step, int):
            return _check.integer(name, value, int(self.low), int(self.high))
        number = _check.real(name, value, self.low)
        if number > self.high:
            raise ValueError(f"{name} must be from {self.low:g} to {self.high:g}, got {number!r}")
        return number

    def read(self, name: str, text: str) -> int | float:
        """Of an address; ValueError for what is no number."""
        try:
            return int(text) if isinstance(self.step, int) else float(text)
        except ValueError:
            raise ValueError(f"{name} must be a number, got {_check.quote(text)}") from None

    def as_data(self) -> dict[str, Any]:
        return {"type": "range", "min": self.low, "max": self.high, "step": self.step}


class Choice(NamedTuple):
    """One of the texts."""

    label: str
    options: tuple[str, ...]
    default: str
    help: str

    def checked(self, name: str, value: Any) -> str:
        """ValueError for another."""
        return _check.choice(name, value, self.options)

    def read(self, name: str, text: str) -> str:
        return text

    def as_data(self) -> dict[str, Any]:
        return {"options": list(self.options)}


def controls() -> dict[str, Range | Choice]:
    """All that can be set, by name, in the order of the page."""
    data = tasks.names()
    default = "digits" if "digits" in data else "spiral"
    return {
        "data": Choice(
            "data", data, default, "what there is to learn; digits come with scikit-learn, faces with scikit-image"
        ),
        "noise": Range("noise", 0.0, 0.5, 0.01, 0.1, "of points in the plane: how far they are off"),
        "depth": Range("hidden layers", 1, 50, 1, 8, "how many"),
        "width": Range("width", 2, 64, 1, 30, "units of each hidden layer"),
        "activation": Choice("activation", _ACTIVATIONS, "sigmoid", "of the hidden layers"),
        "init": Choice("first weights", _INITS, "lecun_normal", "the rule that they are drawn by"),
        "scale": Choice("times", ("0.25", "0.5", "1", "2", "4", "10", "50"), "1", "the first weights are multiplied"),
        "pretraining": Choice("pre-training", ("none", "RBMs"), "none", "of digits: layer by layer, without labels"),
        "normalization": Choice(
            "normalization", _NORMS, "none", "of each hidden layer, before its activation or after"
        ),
        "residual": Choice("skips", ("none", "1", "1/sqrt(L)", "rezero"), "none", "x + scale f(x): the scale"),
        "dropout": Range("dropout", 0.0, 0.9, 0.05, 0.0, "the rate of hidden outputs that a step goes without"),
        "optimizer": Choice("optimizer", ("SGD", "momentum", "Adam", "RMSprop", "Adagrad"), "SGD", "the update's rule"),
        "lr": Choice("learning rate", _RATES, "0.05", "of each step"),
        "clip": Choice("clip", ("none", "0.1", "1", "10"), "none", "the norm that gradients are shortened to"),
        "batch_size": Choice("batch", ("8", "16", "32", "64", "128"), "32", "rows of a step"),
        "dtype": Choice("numbers", ("float32", "float64"), "float32", "the format of weights"),
        "seed": Range("seed", 0, 9999, 1, 0, "of points, weights and order"),
    }


_ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softsign", "identity")
_INITS = ("lecun_normal", "lecun_normal, biases too", "glorot_normal", "he_normal", "orthogonal", "critical", "lsuv")
_NORMS = ("none", "batch", "batch, after", "layer", "layer, after", "rms", "rms, after")
_RATES = ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03", "0.05", "0.1", "0.3", "1", "3", "10")


def defaults() -> dict[str, Any]:
    """What the page begins with."""
    return {name: control.default for name, control in controls().items()}


def checked(changes: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """The settings before, with these changes; TypeError or ValueError for what cannot be set."""
    if not isinstance(changes, Mapping):
        raise TypeError(f"settings must be names with values, got {_check.quote(changes)}")
    known, settings = controls(), dict(before)
    for name, value in changes.items():
        settings[name] = known[_check.choice("setting", name, tuple(known))].checked(name, value)
    return settings


def as_text(settings: Mapping[str, Any], steps: int) -> str:
    """The whole state: settings, and how many steps have been taken.

    >>> as_text({"depth": 8, "data": "two moons"}, 3)
    'depth=8&data=two+moons&steps=3'
    """
    return urlencode({**settings, "steps": steps})


def from_text(text: Any) -> tuple[dict[str, Any], int]:
    """(settings, steps) of ``as_text``; what is not in it has its default. TypeError or ValueError for what is no such
    text."""
    if not isinstance(text, str):
        raise TypeError(f"hash must be text, as the page writes it into its address, got {_check.quote(text)}")
    try:
        pairs = parse_qsl(text.removeprefix("#"), keep_blank_values=True, strict_parsing=bool(text), max_num_fields=64)
    except ValueError:
        raise ValueError(f"hash must be a state such as depth=8&steps=3, got {_check.quote(text)}") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError(f"hash must have each name once, got {_check.quote(text)}")
    steps = Range("steps", 0, MOST_STEPS, 1, 0, "")
    n_steps = steps.checked("steps", steps.read("steps", given.pop("steps", "0")))
    known = controls()
    changes = {n: known[_check.choice("setting", n, tuple(known))].read(n, value) for n, value in given.items()}
    return checked(changes, defaults()), int(n_steps)


def as_controls(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the page makes of them."""
    return [
        {"name": name, "label": of.label, "value": settings[name], "help": of.help, **of.as_data()}
        for name, of in controls().items()
    ]
