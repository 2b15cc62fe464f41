"""Weights and biases as users hold them: views into the one parameter vector."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vgfast import _check


class ParameterViews(Sequence[np.ndarray]):
    """Live views of the parameter vector, one a layer; assigning to one copies in."""

    def __init__(self, name: str, views: list[np.ndarray], change: Callable[[Callable[[], None]], None]) -> None:
        """change(work): how work that changes the parameters is done."""
        self._name = name
        self._views = views
        self._change = change

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: Any) -> Any:
        return self._views[index]

    def __setitem__(self, index: int, value: Any) -> None:
        if not isinstance(index, int | np.integer):
            raise TypeError(f"assign to {self._name} one layer at a time, such as {self._name}[0]; got [{index!r}]")
        view = self._views[index]
        self._change(lambda: _check.assigned(f"{self._name}[{index}]", value, view))

    def __repr__(self) -> str:
        return f"<{self._name}: {', '.join(str(view.shape) for view in self._views)}>"


def copy_state(state: Any, views: dict[str, np.ndarray]) -> None:
    """Copy arrays by name into the views of the same names. TypeError or ValueError in one sentence where it has not
    exactly these names, or an array does not fit."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a dict of arrays by name, such as net.state_dict(), got {_check.quote(state)}")
    missing = [name for name in views if name not in state]
    unknown = [name for name in state if name not in views]
    if missing or unknown:
        found = [f"misses {missing[0]!r}"] if missing else []
        found += [f"has {reprlib.repr(unknown[0])}, which this net has not"] if unknown else []
        raise ValueError(
            f"state must have the names of net.parameters(), from {next(iter(views))} to {list(views)[-1]}, and "
            f"{' and '.join(found)}; give exactly these, each weight (n_in, n_out), the transpose of PyTorch's"
        )
    for name, view in views.items():
        value = state[name]
        if view.ndim == 2 and tuple(getattr(value, "shape", ())) == view.shape[::-1] != view.shape:
            raise ValueError(
                f"state[{name!r}] must have shape {view.shape}, (n_in, n_out), got {value.shape}; give its transpose, "
                f"np.transpose(state[{name!r}])"
            )
        _check.assigned(f"state[{name!r}]", value, view)
