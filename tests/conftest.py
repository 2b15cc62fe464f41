"""Fixtures that tests of several rooms use."""

import os
import signal
import warnings
from contextlib import suppress

# Before NumPy is loaded: its matrix products here are small, and where tests run side by side its threads would mostly
# wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core

with suppress(ImportError):  # not where the wheel alone is tested
    from hypothesis import HealthCheck, settings

    # The same examples each time, however long one takes.
    slow = [HealthCheck.too_slow]
    settings.register_profile("same", derandomize=True, deadline=None, database=None, suppress_health_check=slow)
    settings.load_profile("same")


def pytest_configure():
    """Processes that test side by side share the processors, so that no thread waits for another that has none."""
    together = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    vg.set_num_threads(max(1, vg.get_num_threads() // together))


def pytest_collection_modifyitems(items):
    """A run under each instruction set can leave out what tries each by itself; and what is run once is slow, too."""
    for item in items:
        if item.get_closest_marker("once"):
            item.add_marker("slow")
        if "isa" in getattr(item, "fixturenames", ()):
            item.add_marker("each_isa")


@pytest.fixture(params=_core.isas()[: _core.isas().index(_core.isa()) + 1])
def isa(request):
    """Each instruction set up to the one in use, in turn, in this one process."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """What is measured of the machine is kept for these tests alone."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("XDG_CACHE_HOME")
    if before is not None:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(12345)


@pytest.fixture(scope="session")
def digits():
    """X (1797, 64) float32 from 0 to 1, y (1797,)."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


@pytest.fixture
def small_problem(rng):
    """X (40, 5), y (40,) with three classes."""
    X = rng.normal(size=(40, 5))
    return X, (X[:, :3]).argmax(axis=1)


@pytest.fixture
def trained(small_problem):
    X, y = small_problem
    net = vg.MLP([5, 8, 6, 3], "tanh", rng=0)
    return net.fit(X, y, epochs=3, batch_size=10, validation_data=(X, y), inspect_every=3)


@pytest.fixture
def strict():
    """Warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(autouse=True)
def threads_stay():
    """No test changes the number of threads for the next."""
    before = vg.get_num_threads()
    yield
    vg.set_num_threads(before)


@pytest.fixture(scope="module")
def torch():
    """Only when a test asks for it: importing it takes seconds, and the memory of this process. On one thread: these
    nets are so small that its others would do nothing but spin."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


@pytest.fixture
def forced_threads():
    """As many threads as a test asks for, even those that would not pay at present."""
    _core.force_threads(True)
    yield
    _core.force_threads(False)


@pytest.fixture
def ctrl_c():
    """It interrupts this process and those that it starts, even where the tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
