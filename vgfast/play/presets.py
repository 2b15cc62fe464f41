"""The claims of the lessons, as settings with which one sees them, each with the lesson's own sentences."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from vgfast import lessons
from vgfast.play.settings import defaults


class Preset(NamedTuple):
    """``settings``: what differs from the defaults. ``lesson``: its name; ``begins``: of the sentences of its claim,
    or else of what should be seen, those that begin so."""

    label: str
    lesson: str
    begins: tuple[str, ...]
    settings: dict[str, Any]

    def claim(self) -> str:
        """The sentences."""
        lesson = lessons.module(self.lesson)
        text = " ".join(f"{lesson.CLAIM} {lesson.EXPECT}".split())
        sentences = re.split(r"(?<=[.:]) (?=[A-Z])", text)
        found = [next(each for each in sentences if each.startswith(begin)) for begin in self.begins]
        return " ".join(found).replace(" :", ":")


_CURE = ("Each is one argument",)
_DEEP: dict[str, Any] = {"activation": "sigmoid", "init": "lecun_normal"}
_LEAKY: dict[str, Any] = {"activation": "leaky_relu", "init": "he_normal", "scale": "4"}
PRESETS: dict[str, Preset] = {
    "vanishing": Preset("vanishing", "vanishing", ("Where that factor, the gain, is below 1",), _DEEP),
    "exploding": Preset(
        "exploding", "exploding", ("Where the factors are above 1", "Each update is then too large"), _LEAKY
    ),
    "clipped": Preset("clipped", "exploding", ("Leaky ReLU with twice",), {**_LEAKY, "clip": "1"}),
    "frozen": Preset(
        "frozen",
        "frozen",
        ("Where the gradient has vanished",),
        {"depth": 12, "init": "lecun_normal, biases too", "lr": "0.1"},
    ),
    "float64": Preset(
        "more bits",
        "frozen",
        ("Each bit of the format",),
        {"depth": 12, "init": "lecun_normal, biases too", "lr": "0.1", "dtype": "float64"},
    ),
    "relu": Preset("ReLU, He", "cures", _CURE, {"activation": "relu", "init": "he_normal"}),
    "tanh": Preset("tanh, critical", "cures", _CURE, {"activation": "tanh", "init": "critical"}),
    "selu": Preset("SELU", "cures", _CURE, {"activation": "selu", "init": "lecun_normal"}),
    "batch norm": Preset("batch norm", "cures", _CURE, {**_DEEP, "normalization": "batch", "lr": "0.3"}),
    "layer norm": Preset(
        "layer norm, after", "cures", ("So does layer norm before", *_CURE), {**_DEEP, "normalization": "layer, after"}
    ),
    "rezero": Preset("skips (ReZero)", "cures", _CURE, {**_DEEP, "residual": "rezero", "lr": "0.3"}),
    "pretraining": Preset(
        "pre-training",
        "pretraining",
        ("In 2006 Hinton", "Then the whole net was trained"),
        {**_DEEP, "pretraining": "RBMs", "lr": "0.3"},
    ),
    "lsuv": Preset(
        "unit variance: no cure", "cures", ("What leaves the gain below a half",), {**_DEEP, "init": "lsuv"}
    ),
}


def available() -> dict[str, Preset]:
    """Those whose data there is."""
    digits = defaults()["data"] == "digits"
    return {name: of for name, of in PRESETS.items() if digits or "pretraining" not in of.settings}


def as_data() -> list[dict[str, Any]]:
    """What the page makes buttons of."""
    return [
        {"name": name, "label": of.label, "claim": of.claim(), "settings": {**defaults(), **of.settings}}
        for name, of in available().items()
    ]
