"""The examples in the docstrings of every module."""

import doctest
import importlib
import pkgutil

import pytest

import vgfast

ALL = pkgutil.walk_packages(vgfast.__path__, "vgfast.")
NAMES = sorted(found.name for found in ALL if not found.name.endswith(("._core", ".__main__")))


@pytest.mark.parametrize("name", ["vgfast", *NAMES])
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:  # of an extra that is not installed
        if (error.name or "").startswith("vgfast"):
            raise
        pytest.skip(str(error))
    assert doctest.testmod(module).failed == 0
