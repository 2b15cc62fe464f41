"""What a page has of trainings, and histories that it is to be told of."""

import json

import numpy as np

from vgfast.model.quantities import RECORD
from vgfast.training.history import History


def whole(page):
    """The data of the page."""
    found, state = page.page(page._server.live)
    assert found["type"] == "page"
    assert state["type"] == "state"
    json.dumps([found, state], allow_nan=False)
    return found["page"], state


def history_of(steps, n_layers=2, every=1, factors=1.0):
    """Numbers by which one knows each step."""
    history = History(np.arange(steps) / 4)
    history.lr = np.full(steps, 0.5)
    history.steps = np.arange(0, steps, every)
    history.gradients = np.ones((len(history.steps), n_layers), RECORD)
    history.gradients["grad_norm"] = history.steps[:, None] + 1
    history.gradients["skip_gain"] = factors
    return history


def grow(history, steps):
    longer = history_of(steps)
    for name in ("loss", "lr", "steps", "gradients"):
        setattr(history, name, getattr(longer, name))
