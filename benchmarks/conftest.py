"""Stamps machine, instruction set, threads and versions into every result."""

import pytest

from vgfast.config import describe


@pytest.fixture(autouse=True)
def stamped(benchmark):
    benchmark.extra_info.update(describe())
