"""How far a training has come: what is kept of a ``Loop``, and put back into another. Within an epoch that is where the
epoch began, from where the order of its rows is drawn again, and what its steps have left so far."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


def is_within(loop: Any) -> bool:
    """Whether some steps of an epoch are taken, and not all."""
    return bool(loop.done % loop.per_epoch)


def steps_of_epoch(loop: Any, first: int, last: int) -> slice:
    """Those of the training from the first on and before the last, by their numbers in the epoch."""
    return slice(first - loop.epoch_begins, last - loop.epoch_begins)


def go_with_pauses(loop: Any, seconds: float) -> int:
    """Steps of an epoch for about so long, but none beyond a pause, in which is done what is to be; the status. What
    there is to do after an epoch's last step, others do."""
    done = loop.done
    stop = min(loop.total, *((done // every + 1) * every for every, _ in loop.pauses))
    status: int = loop.run.go(seconds, stop - loop.epoch_begins)
    if loop.done > done and is_within(loop):
        for every, act in loop.pauses:
            if loop.done % every == 0:
                act(loop)
    return status


def random_states(loop: Any) -> dict[str, Any]:
    """Of the net's generator, and of the one that shuffles, if that is another: now."""
    rng = loop.learner.rng
    states = {"rng": rng.bit_generator.state}
    if loop.rng is not None and loop.rng is not rng:
        states["shuffle"] = loop.rng.bit_generator.state
    return states


def set_random_states(loop: Any, states: dict[str, Any]) -> None:
    """Put back what ``random_states`` gave."""
    loop.learner.rng.bit_generator.state = states["rng"]
    if loop.rng is not None and "shuffle" in states:
        loop.rng.bit_generator.state = states["shuffle"]


def state(loop: Any) -> dict[str, Any]:
    """What ``resume`` needs."""
    history = loop.current_history()
    arrays = {"loss": history.loss, "lr": history.lr, "records": history.gradients, "exponents": history.exponents}
    found: dict[str, Any] = {"epochs": history.epochs, **arrays}
    if is_within(loop):
        taken = loop.done - loop.noted * loop.per_epoch
        found |= {"correct": loop.correct[:taken], "seconds": time.perf_counter() - loop.started}
        found |= {"totals": None if loop.totals is None else loop.totals[:taken]}
    return found


def resume(loop: Any, kept: dict[str, Any]) -> None:
    """Be where ``state`` was given, with a net that has been put back too. The history is that of the epochs that have
    ended, until the one that was left is gone on with."""
    loop.history.epochs, loop.losses, loop.rates = list(kept["epochs"]), kept["loss"], kept["lr"]
    loop.noted, loop.seconds = len(loop.history.epochs), []
    begins = loop.noted * loop.per_epoch
    loop.taken, loop.spent = len(loop.losses) - begins, kept.get("seconds", 0.0)
    loop.correct, loop.totals = kept.get("correct", np.zeros(0)), kept.get("totals")
    loop.epoch_begins = begins
    if loop.inspect_every:
        loop.records, loop.exponents = kept["records"], kept["exponents"]
        loop.steps = np.arange(len(loop.records), dtype=np.int64) * loop.inspect_every
        loop.n_whole_records = -(-begins // loop.inspect_every)
    if loop.inspects_here:
        loop.run.set_records(loop.records, loop.inspect_every, loop.exponents)
    none = np.zeros(0)
    loop.run.set_results(none, none, begins, none if loop.weighs else None)
