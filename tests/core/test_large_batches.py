"""A batch that does not fit the memory is refused in a sentence before anything is allocated."""

import re
import tracemalloc

import numpy as np
import pytest

import vgfast as vg
from vgfast import config

ROWS = 2048
CALLS = {
    "fit": lambda net, X, y, rows: net.fit(X[:rows], y[:rows], 1, rows, inspect_every=1),
    "step": lambda net, X, y, rows: net.step(X[:rows], y[:rows]),
    "gradients": lambda net, X, y, rows: net.gradients(X[:rows], y[:rows]),
    "backward": lambda net, X, y, rows: net.backward(X[:rows], np.full((len(X[:rows]), 2), 0.1, np.float32)),
    "sample_norms": lambda net, X, y, rows: net.sample_norms(X[:rows], y[:rows]),
    "inspect": lambda net, X, y, rows: net.inspect(X[:rows], y[:rows], try_remedies=False),
}


@pytest.fixture
def case():
    """A net, and rows that need some 70 MB."""
    net = vg.MLP([1, 4096, 2], rng=0)
    return net, np.zeros((ROWS, 1), np.float32), np.zeros(ROWS, np.int64)


def nothing_free(monkeypatch, free=32 << 20):
    monkeypatch.setattr(config, "free_memory", lambda: free)


@pytest.mark.parametrize("what", [name for name in CALLS if name != "step"])
def test_advice_on_a_batch_that_does_not_fit(case, monkeypatch, what):
    """Followed, it helps; and before, nothing has changed and nothing has been allocated."""
    net, X, y = case
    net.fit(X[:8], y[:8], 1, 8)
    before, history, state = net.params.copy(), net.history, repr(net._rng.bit_generator.state)
    nothing_free(monkeypatch)
    tracemalloc.start()
    try:
        with pytest.raises(MemoryError) as caught:
            CALLS[what](net, X, y, ROWS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    words = (
        r"a batch of 2,048 rows would take (0\.\d+) GiB of memory for activations and deltas, and 0\.03 GiB are free; "
    )
    needed = re.fullmatch(words + "take a smaller batch", str(caught.value))
    assert float(needed[1]) * 2**30 == pytest.approx(ROWS * 4096 * 2 * 4, rel=0.2)
    assert peak < 4 << 20
    np.testing.assert_array_equal(net.params, before)
    assert net.history is history
    assert repr(net._rng.bit_generator.state) == state
    CALLS[what](net, X, y, ROWS // 16)


def test_parts_of_a_batch_fit(case, monkeypatch):
    """Where no more is needed at once."""
    net, X, y = case
    nothing_free(monkeypatch, 0)
    with vg.threads(1):
        net.fit(X, y, 1, ROWS)
        CALLS["step"](net, X, y, ROWS)


def test_a_batch_beyond_any_memory():
    """Whatever this machine has."""
    net = vg.MLP([1, 2**20, 2], init="zeros")
    X = np.zeros((2**25, 1), np.float32)
    with pytest.raises(
        MemoryError, match=r"^a batch of 33,554,432 rows would take 2\d\d,\d\d\d\.\d\d GiB .*; take a sma"
    ):
        net.backward(X, np.zeros((len(X), 2), np.float32))


def test_small_nets_do_not_ask(monkeypatch):
    """How much is free: it takes longer than their steps."""
    monkeypatch.setattr(config, "free_memory", lambda: pytest.fail("asked"))
    net, X, y = vg.MLP([4, 64, 3], rng=0), np.zeros((512, 4), np.float32), np.zeros(512, np.int64)
    net.fit(X, y, 2, 512, inspect_every=1)
    net.gradients(X, y)


def test_large_nets_ask_once(case, monkeypatch):
    """And not in each step."""
    net, X, y = case
    asked = []
    monkeypatch.setattr(config, "free_memory", lambda: asked.append(True) or 2**40)
    net.fit(X, y, 4, ROWS, inspect_every=1)
    assert len(asked) == 1


FILES = {
    "/proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 1000000 kB\n",
    "/group/memory.max": "600000000\n",
    "/group/memory.current": "500000000\n",
    "/group/memory.stat": "anon 100000000\nactive_file 150000000\ninactive_file 50000000\nslab_reclaimable 7\nfile 9\n",
    "/memory.max": "max\n",
}


def test_what_is_free(monkeypatch):
    """Files that the group has read count as free: they give way."""
    files = dict(FILES)

    def read(*path):
        try:
            return files["/".join(path).replace("//", "/")]
        except KeyError:
            raise FileNotFoundError from None

    monkeypatch.setattr(config, "_read", read)
    monkeypatch.setattr(config, "_cgroups", lambda: iter(["/group", "/"]))
    assert config.free_memory() == 100_000_000 + 200_000_007
    del files["/group/memory.max"]
    assert config.free_memory() == 1_024_000_000
    files.clear()
    assert config.free_memory() == float("inf")
