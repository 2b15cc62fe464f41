"""Weights and biases as users hold them: views into the one parameter vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
