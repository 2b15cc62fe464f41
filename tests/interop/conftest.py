"""Fixtures of the tests of modules of torch."""

import pytest
from torch_modules import net_class


@pytest.fixture
def seeded(torch):
    torch.manual_seed(0)


@pytest.fixture
def nn(torch):
    return torch.nn


@pytest.fixture
def Net(torch):
    """A class of modules for ``inspect_torch``."""
    return net_class(torch)
