"""Fixtures of the tests of model files."""

import pytest

import vgfast as vg


@pytest.fixture
def net():
    """One to save."""
    return vg.MLP([4, 5, 3], "tanh", rng=0)


@pytest.fixture
def path(tmp_path):
    """Where to save it: there is no file yet."""
    return tmp_path / "net.safetensors"
