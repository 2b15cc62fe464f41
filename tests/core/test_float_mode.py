"""Bits, reports and the caller's mode, whatever the floating-point mode of the threads that take part."""

import ctypes
import ctypes.util
import hashlib
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc", reason="sets the modes of x86-64 by glibc"
)

# Of the register MXCSR, which glibc keeps in the last four bytes of its fenv_t.
DEFAULT, FLAGS, PLACE = 0x1F80, 0x3F, 28
MODES = {
    "denormals-are-zero": DEFAULT | 0x0040,
    "flush-to-zero": DEFAULT | 0x8000,
    "both": DEFAULT | 0x8040,
    "downward": DEFAULT | 0x2000,
    "upward": DEFAULT | 0x4000,
    "toward zero": DEFAULT | 0x6000,
    "traps": DEFAULT & ~0x0400,  # of overflow
}


def set_mode(mode):
    """Of this thread; returns what it was. (The flags of past exceptions are left out.)"""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    environment = ctypes.create_string_buffer(64)
    libm.fegetenv(environment)
    before = int.from_bytes(environment[PLACE : PLACE + 4], "little")
    environment[PLACE : PLACE + 4] = mode.to_bytes(4, "little")
    libm.fesetenv(environment)
    return before & ~FLAGS


def deep_net():
    return vg.MLP([32, *[32] * 62, 10], "sigmoid", init="lecun_normal", rng=0)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.random((256, 32)), rng.integers(0, 10, 256)  # float64, to be converted


def trained(batch, n_threads, during=None):
    """SHA-256 of the parameters of 62 layers of sigmoids, whose gradients are subnormal or 0 at layer 1."""
    with vg.threads(n_threads):
        net = deep_net()
        callbacks = [] if during is None else [lambda *_: set_mode(during) and False]
        optimizer = vg.SGD(lr=0.5, momentum=0.9)
        net.fit(*batch, epochs=2, batch_size=128, optimizer=optimizer, callbacks=callbacks)
        net.step(*batch, optimizer)
    return hashlib.sha256(net.params.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(batch):
    return trained(batch, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
def test_the_bits_and_the_callers_mode(mode, n_threads, batch, expected):
    """Set before, set in the midst by a callback; and afterwards it is as it was."""
    for before, during in ((MODES[mode], None), (DEFAULT, MODES[mode])):
        set_mode(before)
        try:
            found = trained(batch, n_threads, during)
        finally:
            after = set_mode(DEFAULT)
        assert found == expected
        assert after == (during or before)


ANOTHER = """
import sys, threading
import numpy as np, vgfast as vg
from vgfast import _core
from test_float_mode import DEFAULT, MODES, set_mode, trained
_core.force_threads(True)
rng = np.random.default_rng(0)
batch = rng.random((256, 32)), rng.integers(0, 10, 256)
def first():
    set_mode(MODES[sys.argv[1]])
    trained(batch, 7)
thread = threading.Thread(target=first)
thread.start()
thread.join()
print(*[trained(batch, n) for n in (1, 2, 3, 7)])
"""


@pytest.mark.parametrize("mode", ["both", "upward"])
def test_another_thread_that_starts_the_team(mode, expected, request):
    """The team's threads are born in the mode of whoever needs them first."""
    command = [sys.executable, "-c", ANOTHER, mode]
    done = subprocess.run(command, cwd=request.path.parent, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected] * 4


def test_another_thread_that_trains_meanwhile(batch, expected):
    """It takes the team, or leaves it, in whichever mode it likes."""
    stop = threading.Event()

    def other():
        set_mode(MODES["both"])
        net = vg.MLP([32, 64, 10], rng=0)
        while not stop.is_set():
            with vg.threads(2):
                net.step(*batch)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        found = {trained(batch, n) for n in (1, 2, 3, 2)}
    finally:
        stop.set()
        thread.join()
    assert found == {expected}


READERS = {
    "inspect": lambda net, X, y: net.inspect(X, y, try_remedies=False).records.tobytes(),
    "gradients": lambda net, X, y: net.gradients(X, y).flat.tobytes(),
    "forward": lambda net, X, y: net.forward(X).tobytes(),
    "few rows": lambda net, X, y: net.forward(X[:2].astype(np.float32)).tobytes(),
    "predict_proba": lambda net, X, y: net.predict_proba(X).tobytes(),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
    "sample_norms": lambda net, X, y: net.sample_norms(X, y).tobytes(),
    "trace": lambda net, X, y: str(net.trace(1, 0, 0, X[0], y[0])),
    "first weights": lambda net, X, y: deep_net().params.tobytes(),
    "prediction of the gain": lambda net, X, y: net.inspect(X, y, try_remedies=False).predicted.tobytes(),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", READERS)
def test_what_is_read_of_a_net(what, mode, batch):
    net = deep_net()
    expected = READERS[what](net, *batch)
    set_mode(MODES[mode])
    try:
        found = READERS[what](net, *batch)
    finally:
        after = set_mode(DEFAULT)
    assert found == expected
    assert after == MODES[mode]


def test_subnormal_gradients_are_told_as_such(batch):
    layer = deep_net().inspect(*batch, try_remedies=False).layers[0]
    set_mode(MODES["both"])
    try:
        flushed = deep_net().inspect(*batch, try_remedies=False).layers[0]
    finally:
        set_mode(DEFAULT)
    assert flushed.subnormal == layer.subnormal > 0.9
    assert flushed.grad_norm == layer.grad_norm > 0


def test_the_context_puts_back_what_was_there():
    for mode in MODES.values():
        set_mode(mode)
        try:
            with _core.standard_arithmetic():
                within = set_mode(DEFAULT)
        finally:
            after = set_mode(DEFAULT)
        assert (within, after) == (DEFAULT, mode)
