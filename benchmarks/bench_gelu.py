"""float32 gelu in its left tail: exact, and how far vgfast and PyTorch are off, relatively.

    pytest benchmarks/bench_gelu.py

z (1 + erf(z / sqrt(2))) / 2 takes 1 from 1 there, and has no digits left from -6 on; z erfc(-z / sqrt(2)) / 2 keeps
them all.
"""

import math

import numpy as np
import pytest

from vgfast import _core


@pytest.mark.parametrize("z", [-3, -4, -5, -6, -8])
@pytest.mark.benchmark(group="float32 gelu of 4096 values")
def test_gelu(benchmark, record, z):
    torch = pytest.importorskip("torch")
    values, found = np.full(4096, z, np.float32), np.empty(4096, np.float32)
    exact = z * math.erfc(-z / math.sqrt(2)) / 2
    benchmark(_core.activate, "gelu", values, found)
    theirs = torch.nn.functional.gelu(torch.from_numpy(values)).numpy()
    errors = {name: float(np.abs(of / exact - 1).max()) for name, of in (("vgfast", found), ("PyTorch", theirs))}
    record(exact=exact, **errors)
