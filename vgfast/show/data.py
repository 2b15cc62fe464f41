"""Numbers as data for other programs."""

from __future__ import annotations

from typing import Any

import numpy as np


def plain(values: Any) -> Any:
    """As JSON can hold it: dicts and nested lists of Python's own numbers, with None for NaN and infinity.

    >>> import numpy as np
    >>> plain(np.array([[1.0, np.nan], [np.inf, 2.0]])), plain(0.5), plain({1: (np.float32("nan"), "a")})
    ([[1.0, None], [None, 2.0]], 0.5, {'1': [None, 'a']})
    """
    if isinstance(values, dict):
        return {str(key): plain(of) for key, of in values.items()}
    if isinstance(values, list | tuple):
        return [plain(of) for of in values]
    if values is None or isinstance(values, str | int):
        return values
    array = np.asarray(values)
    finite = np.isfinite(array)
    if not finite.all():
        array = array.astype(object)
        array[~finite] = None
    return array.tolist()
