"""Gradients by differences of the loss that ``gradients`` names: with the masks and the statistics of that batch."""

import numpy as np

from vgfast.model.activations import CATALOG
from vgfast.model.engine_numpy import textbook


def directions(net):
    """One of each array of parameters, (arrays, parameters): no entry of it is 0, and as they are drawn, errors of some
    entries are not made up for by others."""
    rng, kept, found = np.random.default_rng(0), net.params.copy(), []
    for part in net.parameters().values():
        net.params[...] = 0
        part[...] = rng.uniform(0.5, 1, part.shape) * rng.choice([-1, 1], part.shape)
        found.append(net.params.copy())
    net.params[...] = kept
    return np.array(found)


def slopes(net, gradient, X, y, sample_weight=None, h=1e-4):
    """Along a direction of each array: (those that follow from this gradient, those of the loss), the latter by five
    points: the method's error is h^4 times a fifth derivative / 30, and rounding of the loss gives 2 eps / h, about
    4e-12."""
    along, kept, found = directions(net), net.params.copy(), []
    for direction in along:
        at = {}
        for k in (-2, -1, 1, 2):
            net.params[...] = kept + k * h * direction
            at[k] = net.gradients(X, y, sample_weight=sample_weight).loss
        found.append((8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h))
    net.params[...] = kept
    return along @ gradient, np.array(found)


def is_smooth(net, X, steepest=30):
    """Whether no hidden z is nearer, on these rows, than a step moves it to where formulas of its phi meet, and phi'
    or phi'' may jump; and no normalization divides by less than 1 / steepest, whose powers are its derivatives."""
    plain = textbook(net._engine)
    found = plain.forward_pass(X, plain.draw_masks(len(X)))
    hidden = list(zip(found.zs, net._architecture.kinds, strict=True))[:-1]
    near = [np.abs(np.abs(z) - CATALOG[kind].joint).min() for z, kind in hidden]
    rates = [float(kept.rate.max()) for kept in found.normalized if kept is not None]
    return min(near) > 0.003 and max(rates, default=0.0) < steepest
