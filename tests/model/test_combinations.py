"""All options of a net together: gradients of some 300 nets, drawn so that every pair of options comes up, and every
normalization with all residual connections."""

import itertools

import numpy as np
import pytest
from differences import is_smooth, slopes

import vgfast as vg
from vgfast import _core, reference

OPTIONS = {
    "activation": [*_core.ACTIVATIONS, "leaky_relu(0.2)", "elu(0.5)"],
    "normalization": [
        None,
        *[vg.norm.batch(place, affine=affine) for place in ("before", "after") for affine in (True, False)],
        *[vg.norm.layer(place, affine=affine) for place in ("before", "after") for affine in (True, False)],
        *[vg.norm.rms(place, affine=affine) for place in ("before", "after") for affine in (True, False)],
    ],
    "residual": [None, *[vg.residual(every, scale) for every in (1, 2) for scale in (1.0, "1/sqrt(L)", "rezero")]],
    "dropout": [0.0, 0.3, vg.dropout.alpha(0.3)],
    "loss": ["labels", "probabilities", "binary_cross_entropy", "mse"],
    "weighted": [False, True],
}
SIZES = (3, 4, 4, 4, 3)


def pairs_of(choice):
    return set(itertools.combinations(enumerate(choice), 2))


def draw(seed=0):
    """Each activation with each normalization, and each normalization with all residual connections; with them, of some
    draws of the others, the one with most pairs that none before it has."""
    rng, seen, found = np.random.default_rng(seed), set(), []
    sizes = [len(values) for values in OPTIONS.values()]
    fixed = [{0: a, 1: n} for a, n in itertools.product(range(sizes[0]), range(sizes[1]))]
    fixed += [{1: n, 2: way} for n, way in itertools.product(range(sizes[1]), range(sizes[2]))]
    for given in fixed:
        drawn = [tuple(given.get(at, int(rng.integers(size))) for at, size in enumerate(sizes)) for _ in range(10)]
        found.append(max(drawn, key=lambda choice: len(pairs_of(choice) - seen)))
        seen |= pairs_of(found[-1])
    return found, seen


CHOICES, SEEN = draw()


def targets(loss, rows, rng):
    if loss == "labels":
        return rng.integers(0, 3, rows)
    if loss == "probabilities":
        return rng.dirichlet(np.ones(3), rows)
    return rng.uniform(size=(rows, 3))


def case(choice, seed, engine=vg.MLP):
    """(net, X, y, sample_weight); all parameters are drawn."""
    of = {name: values[i] for (name, values), i in zip(OPTIONS.items(), choice, strict=True)}
    rng = np.random.default_rng(seed)
    loss = "cross_entropy" if of["loss"] in ("labels", "probabilities") else of["loss"]
    first = vg.init.normal(0.6, bias_std=0.6)
    more = {name: of[name] for name in ("normalization", "residual", "dropout")}
    net = engine(SIZES, of["activation"], loss, first, "float64", seed, **more)
    for name, part in net.parameters().items():
        if "norm" in name or "scale" in name:
            part[...] += 0.3 * rng.normal(size=part.shape)
    X = rng.normal(size=(9, SIZES[0]))
    y = targets(of["loss"], len(X), rng)
    return net, X, y, rng.uniform(0.2, 2, len(X)) if of["weighted"] else None


def test_every_pair_of_options_is_drawn():
    sizes = [range(len(values)) for values in OPTIONS.values()]
    numbered = [[(at, i) for i in indices] for at, indices in enumerate(sizes)]
    wanted = {pair for a, b in itertools.combinations(numbered, 2) for pair in itertools.product(a, b)}
    assert wanted == SEEN


@pytest.mark.parametrize("part", range(10))
def test_gradients_against_differences(part):
    """To 1e-7 of the largest, with batch norm, whose derivatives grow with the powers of what it divides by, 1e-6; and
    those of the textbook to 1e-11."""
    for choice in CHOICES[part::10]:
        for seed in itertools.count():
            net, X, y, weights = case(choice, seed)
            if is_smooth(net, X, steepest=10):
                break
        found = net.gradients(X, y, sample_weight=weights).flat
        along, wanted = slopes(net, found, X, y, weights)
        allowed = 1e-6 if getattr(OPTIONS["normalization"][choice[1]], "kind", "") == "batch" else 1e-7
        assert np.abs(along - wanted).max() <= allowed * np.abs(wanted).max(), (choice, seed)
        plain = case(choice, seed, reference.MLP)[0]
        plain.params = net.params
        exact = plain.gradients(X, y, sample_weight=weights).flat
        assert np.abs(found - exact).max() <= 1e-11 * np.abs(exact).max(), (choice, seed)
