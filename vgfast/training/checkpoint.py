"""A training that goes on where it was killed."""

from __future__ import annotations

import os
from typing import Any

from vgfast import _check
from vgfast.training import place
from vgfast.training.fit import Loop

# What a file says of itself, and the version of what it holds; that before was only written between epochs.
_KIND, _KIND_BEFORE = "vgfast checkpoint 3", "vgfast checkpoint 2"


class Checkpoint:
    """A callback for ``fit`` that keeps in a file what the training has reached, and goes on from there.

    The file is written before the first epoch, after each ``every``-th and after the last, and also, where epochs are
    long, after each ``every_steps``-th step, counted from step 0 on through all epochs. Where it is there already,
    ``fit`` begins with what it holds: parameters, what the optimizer knows of this net and its attributes, the random
    numbers' states, the history, and the ``state_dict()`` of the other callbacks, which get it by
    ``load_state_dict(state)`` if they have both methods, as ``vg.EarlyStopping`` has. So a script that was killed is
    simply run again, and comes to the same bits as if it had never been. A kill leaves the old file or the new one.

    Where a training goes on within an epoch, ``on_train_begin`` sees a net that is some steps further than the history.
    The state of another callback is then that of the end of the epoch before, or, if it has an ``on_progress`` that
    changes it, of some moment in the steps since. Of a source, the blocks before the step are read again, and have to
    be the same.

    ``epochs`` of ``fit`` counts from the very beginning: a training that has ended is not trained again, and for a
    longer one more epochs are asked for. Remove the file to begin anew.

    Errors: TypeError or ValueError for no path, and an ``every`` or ``every_steps`` below 1. By ``fit``, before
    anything changes:
    ValueError for a file that is damaged or no checkpoint, or of another training: of another architecture, optimizer,
    data, batch size; OSError where it cannot be written.

    >>> import numpy as np, os, tempfile, vgfast as vg
    >>> X, y = np.eye(4), [0, 1, 1, 0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep = [vg.Checkpoint(os.path.join(folder, "run.npz"))]
    ...     first = vg.MLP([4, 8, 2], rng=0).fit(X, y, epochs=3, callbacks=keep)
    ...     then = vg.MLP([4, 8, 2], rng=0).fit(X, y, epochs=10, callbacks=keep)
    >>> len(then.epochs), then.epochs[:3] == first.epochs
    (10, True)
    >>> bool((then.loss == vg.MLP([4, 8, 2], rng=0).fit(X, y, epochs=10).loss).all())
    True
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1, every_steps: int | None = None) -> None:
        from vgfast.files import foreign  # here and below: only read when asked for

        name = foreign.given_path(path, "write")
        if name is None:
            raise TypeError(f"path must name a file, which is replaced again and again, got {_check.quote(path)}")
        self.path, self.every = name, _check.integer("every", every, 1)
        self.every_steps = None if every_steps is None else _check.integer("every_steps", every_steps, 1)
        self._training: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r}, {self.when})"

    @property
    def when(self) -> str:
        """It is written."""
        return f"every={self.every}" + ("" if self.every_steps is None else f", every_steps={self.every_steps}")

    def is_due(self, epochs: int, steps: int) -> bool:
        """Whether it is to be written, where so many epochs have ended, after so many steps."""
        return epochs % self.every == 0 or (self.every_steps is not None and steps % self.every_steps == 0)

    # ---- what fit calls ---------------------------------------------------------------------------------

    def read(self, loop: Loop, epochs: int, others: list[Any]) -> dict[str, Any] | None:
        """What the file holds, if it is of this training, whose other callbacks are given. None if there was no file:
        now there is one, as it is better known now if it cannot be written."""
        from vgfast.files import npz
        from vgfast.training import checkpoint_file

        self._check_averages(loop)
        self._training = _describe(loop, others)
        if not os.path.exists(self.path):
            self.write(loop, False, [])
            return None
        try:
            kept = npz.read(self.path)
            checkpoint_file.check_facts(kept, (_KIND, _KIND_BEFORE))
        except ValueError as error:
            raise self._damaged(error) from None
        self._compare(kept, epochs)
        try:
            checkpoint_file.check(kept, self._state(loop, False, []), loop, _with_state(others))
        except ValueError as error:
            raise self._damaged(error) from None
        return kept

    def _damaged(self, error: ValueError) -> ValueError:
        return ValueError(
            f"{self.path} must be a checkpoint of this training, and cannot be read as one ({error}); name another "
            f"path, or remove it to begin anew"
        )

    def _check_averages(self, loop: Loop) -> None:
        """ValueError if it is to be written where processes have parameters of their own."""
        steps = _average_every(loop)
        if steps is not None and self.every_steps is not None and self.every_steps % steps != 0:
            raise ValueError(
                f"every_steps of a Checkpoint must be a multiple of average_every={steps}, as only then all processes "
                f"have the same parameters, got {self.every_steps}"
            )

    def _compare(self, kept: dict[str, Any], epochs: int) -> None:
        """ValueError if it is another training's."""
        for name in dict.fromkeys((*kept["training"], *self._training)):
            was, given = kept["training"].get(name, "none"), self._training.get(name, "none")
            if given != was:
                raise ValueError(
                    f"{self.path} is a checkpoint of a training with {name} {was}, got {given}; go on with the same, "
                    f"or name another path"
                )
        done = len(kept["loop"]["epochs"])
        begun = int("seconds" in kept["loop"])
        if done + begun > epochs:
            raise ValueError(
                f"{self.path} is a checkpoint of a training that has done {done} epochs{' and a part' * begun}, got "
                f"epochs={epochs}, which counts from the beginning; ask for at least {done + begun}, or name another "
                f"path"
            )

    def resume(self, kept: dict[str, Any], loop: Loop) -> None:
        """Put everything back but what callbacks know."""
        learner = loop.learner
        learner.engine.vector[...] = kept["params"]
        place.set_random_states(loop, kept)
        for name, value in kept["attributes"].items():
            setattr(loop.optimizer, name, value)
        learner.set_optimizer_state(loop.optimizer, kept["optimizer"])
        if learner.engine.draws is not None:
            learner.engine.draws[...] = kept["draws"]
        place.resume(loop, kept["loop"])

    def resume_callbacks(self, kept: dict[str, Any], others: list[Any]) -> None:
        """Put back what they know, when they have begun anew."""
        for callback, state in zip(_with_state(others), kept["callbacks"], strict=False):  # none before the first epoch
            callback.load_state_dict(state)

    def write_within_epochs(self, loop: Loop, others: list[Any]) -> None:
        """From now on, if it is to be."""

        def write(loop: Loop) -> None:
            if loop.exchange is not None:
                loop.exchange.sum_steps(loop)
            self.write(loop, False, others)

        if self.every_steps is not None:
            loop.pauses.append((self.every_steps, write))

    def besides(self) -> dict[str, Any]:
        """What a subclass keeps in the file, too."""
        return {}

    def write(self, loop: Loop, ended: bool, others: list[Any]) -> None:
        """Replace the file. ended: whether a callback has said so."""
        from vgfast.files import npz

        npz.write(self.path, self._state(loop, ended, others))

    def _state(self, loop: Loop, ended: bool, others: list[Any]) -> dict[str, Any]:
        """What is kept of a training, as it is now."""
        learner, optimizer = loop.learner, loop.optimizer
        return {
            "kind": _KIND,
            "training": self._training,
            "ended": ended,
            "params": learner.engine.vector,
            **(loop.random_states if place.is_within(loop) else place.random_states(loop)),
            "draws": learner.engine.draws,
            "optimizer": learner.optimizer_state(optimizer),
            "attributes": {name: value for name, value in _attributes(optimizer).items() if _is_plain(value)},
            "loop": place.state(loop),
            "callbacks": [callback.state_dict() for callback in _with_state(others)],
            **self.besides(),
        }


def _describe(loop: Loop, others: list[Any]) -> dict[str, str]:
    """What two trainings must have in common, as texts by name."""
    net = {name: str(value) for name, value in loop.learner.engine.architecture._asdict().items()}
    settings = {
        **describe_optimizer(loop.optimizer),
        "rows": str(loop.n_rows),
        "batch_size": str(loop.batch_size),
        "shuffle": _describe_shuffle(loop),
        "inspect_every": str(loop.inspect_every),
        "inspect": "scalars" if loop.exponents is None else "histograms",
        "random numbers of": loop.learner.rng.bit_generator.__class__.__name__,
        "callbacks with a state": ", ".join(type(callback).__name__ for callback in _with_state(others)) or "none",
        **loop.describe_data(),
    }
    settings |= {} if _average_every(loop) is None else {"average_every": str(_average_every(loop))}
    return net | settings


def _average_every(loop: Loop) -> int | None:
    return getattr(loop.reduce, "average_every", None)


def _describe_shuffle(loop: Loop) -> str:
    if loop.rng is None or loop.rng is loop.learner.rng:
        return str(loop.rng is not None)
    return f"by a {type(loop.rng.bit_generator).__name__} of its own"


def describe_optimizer(optimizer: Any) -> dict[str, str]:
    """Its class and attributes."""
    attributes = {name: _text(value) for name, value in _attributes(optimizer).items()}
    return {"optimizer": type(optimizer).__name__, **attributes}


def _attributes(optimizer: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(optimizer).items() if not name.startswith("_")}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def _text(value: Any) -> str:
    """Which is the same in the next process."""
    import re

    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _with_state(callbacks: list[Any]) -> list[Any]:
    """Those that have something to be kept."""
    return [item for item in callbacks if hasattr(item, "state_dict") and hasattr(item, "load_state_dict")]
