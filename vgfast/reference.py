"""The same network in plain NumPy: the oracle of the tests and the opponent of the benchmarks. Same constructor, same
methods, same meaning as ``vgfast.MLP``; same first weights and the same order of the rows from the same seed. Its
arithmetic, ``vgfast.model.engine_numpy``, is to be read like a textbook.

>>> import numpy as np, vgfast as vg
>>> X, y = np.eye(4), np.array([0, 1, 1, 0])
>>> fast, plain = vg.MLP([4, 8, 2], rng=0), vg.reference.MLP([4, 8, 2], rng=0)
>>> np.allclose(fast.fit(X, y, batch_size=2).loss, plain.fit(X, y, batch_size=2).loss, rtol=1e-5)
True
"""

from __future__ import annotations

from vgfast.model.engine_numpy import NumPyEngine
from vgfast.network import Network


class MLP(Network):
    """``vgfast.MLP`` in NumPy, also with float16 parameters. See there for the arguments, shapes and errors."""

    _engine_type = NumPyEngine
