"""What the machine can do: beside a loop that somebody else has compiled, and kept until the machine starts again."""

import ctypes
import json
import os
import shutil
import subprocess
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core, machine

# A dozen chains of FMAs, unrolled by hand. The compiler's vectors, its contraction, nothing of ours.
HAND_UNROLLED = """
typedef REAL vec __attribute__((vector_size(BYTES)));
double loop(long turns) {
    const volatile REAL one = 1; /* so that no chain can be told to be another's */
    const vec x = (vec){0} + (REAL)0.999, y = (vec){0} + (REAL)0.001;
    vec a = x * one, b = a * one, c = b + one, d = c + one, e = d + one, f = e + one;
    vec g = f + one, h = g + one, i = h + one, j = i + one, k = j + one, l = k + one;
    b = b + y;
    for (long n = 0; n < turns; n++) {
        a = a * x + y; b = b * x + y; c = c * x + y; d = d * x + y; e = e * x + y; f = f * x + y;
        g = g * x + y; h = h * x + y; i = i * x + y; j = j * x + y; k = k * x + y; l = l * x + y;
    }
    a = a + b + c + d + e + f + g + h + i + j + k + l;
    return (double)a[0];
}
#include <time.h>
double rate(long turns) {
    struct timespec s, e;
    volatile double sink = loop(turns / 4);
    clock_gettime(CLOCK_MONOTONIC, &s);
    sink = loop(turns);
    clock_gettime(CLOCK_MONOTONIC, &e);
    (void)sink;
    return 24.0 * (BYTES / sizeof(REAL)) * turns / ((e.tv_sec - s.tv_sec) + 1e-9 * (e.tv_nsec - s.tv_nsec));
}
"""
FLAGS = {"avx2": (32, ["-mavx2", "-mfma"]), "avx512": (64, ["-mavx512f", "-mfma"])}


def hand_unrolled(folder, isa, real):
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None or isa not in FLAGS:
        pytest.skip("needs a C compiler, and an instruction set with vectors")
    size, flags = FLAGS[isa]
    (folder / "loop.c").write_text(HAND_UNROLLED)
    library = folder / "loop.so"
    command = [compiler, "-O2", "-ffp-contract=fast", "-shared", "-fPIC", *flags, f"-DREAL={real}", f"-DBYTES={size}"]
    subprocess.run([*command, "-o", str(library), str(folder / "loop.c")], check=True)
    rate = ctypes.CDLL(str(library)).rate
    rate.restype, rate.argtypes = ctypes.c_double, [ctypes.c_long]
    return rate


@pytest.mark.parametrize(("dtype", "real"), [("float32", "float"), ("float64", "double")])
def test_the_peak_is_that_of_a_loop_unrolled_by_hand(tmp_path, dtype, real):
    rate = hand_unrolled(tmp_path, _core.isa(), real)
    # The best of several, in turn: what else the machine has to do can only make either slower.
    rounds = [(_core.fma_peak(1, dtype), rate(2_000_000)) for _ in range(15)]
    ours, theirs = (max(rates) for rates in zip(*rounds, strict=True))
    assert ours == pytest.approx(theirs, rel=0.1)


@pytest.fixture(scope="module")
def measured():
    """Of some, the first that is quick: the machine may have other work."""
    for _ in range(5):
        found = machine.measure()
        if found.seconds < 3:
            break
    return found


def test_measured_in_three_seconds(measured):
    assert measured.seconds < 3


@pytest.mark.skipif(len(_core.isas()) == 1, reason="one number at a time does not come up to the nearest caches")
def test_bandwidths_fall_from_level_to_level(measured):
    # Where a cache takes writes as fast as the one before, the two differ by their noise.
    for attempt in range(8):
        levels = (machine.measure() if attempt else measured).levels
        reads = [level.read[1].median for level in levels]
        writes = [level.write[1].median for level in levels]
        falls = all(a > b for a, b in pairwise(reads))
        if falls and all(1.1 * a > b for a, b in pairwise(writes)) and writes[0] > 2 * writes[-1]:
            break
        assert attempt < 7, (reads, writes)


def test_what_is_measured_makes_sense(measured):
    isas = _core.isas()
    assert list(measured.fma) == list(isas)
    for isa in isas:
        for dtype in _core.DTYPES:
            for by in measured.fma[isa][dtype].values():
                assert by.low <= by.median <= by.high
    wide = measured.fma[isas[-1]]
    if len(isas) > 1:
        assert wide["float32"][1].median > 3 * measured.fma["scalar"]["float32"][1].median
        assert wide["float32"][1].median > 1.5 * wide["float64"][1].median
    assert measured.product["float32"][1].median < 1.1 * measured.fma[measured.isa]["float32"][1].median
    assert [level.name for level in measured.levels][-1] == "memory"
    latencies = [level.latency.median for level in measured.levels]
    assert latencies[0] < 20e-9
    assert latencies[-1] > 4 * latencies[0]
    if measured.threads > 1:
        assert 0 < measured.meeting.median < 1e-3
        # From another processor's caches, no more than from one's own.
        assert 1e8 < measured.exchange.median < measured.levels[0].read[measured.threads].median
        assert 0 < measured.waking.median < 1e-1


def test_lines_fit_and_say_what_is_there(measured):
    text = machine.lines(measured)
    assert max(map(len, text)) <= 80
    for word in (*_core.isas(), "float64", "sigmoid", "memory", "GB/s"):
        assert any(word in line for line in text)


def test_there_and_back(measured):
    assert machine._from_dict(json.loads(json.dumps(measured.to_dict()))) == measured


def test_caches_that_cannot_be_read_are_measured(monkeypatch):
    monkeypatch.setattr(machine, "caches_of_system", lambda: [])
    found = machine.measure()
    assert found.sizes_from == "measured"
    sizes = [level.size for level in found.levels]
    assert sizes[-1] is None
    assert 1 <= len(sizes) - 1 <= 5
    assert 8 << 10 <= sizes[0] <= 1 << 20
    assert any("told from the latencies" in line for line in machine.lines(found))


def test_caches_that_can_be_read(tmp_path):
    caches = [("Data", 1, "48K", "0"), ("Instruction", 1, "32K", "0"), ("Unified", 2, "1024K", "0-1,8-9")]
    for i, values in enumerate(caches):
        (tmp_path / f"index{i}").mkdir()
        for name, value in zip(("type", "level", "size", "shared_cpu_list"), values, strict=True):
            (tmp_path / f"index{i}" / name).write_text(f"{value}\n")
    assert machine.caches_of_system(tmp_path) == [(48 << 10, 1), (1 << 20, 4)]
    (tmp_path / "index2" / "size").write_text("some\n")
    assert machine.caches_of_system(tmp_path) == []
    assert machine.caches_of_system(tmp_path / "none") == []


def test_kept_until_the_machine_starts_again(monkeypatch, tmp_path, measured):
    calls = []

    def measure():
        calls.append(1)
        return measured

    monkeypatch.setattr(machine, "measure", measure)
    monkeypatch.setattr(machine, "_known", {})
    monkeypatch.setattr(machine, "_boot", lambda: "one")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine.limits() == measured
    (file,) = (tmp_path / "vgfast").iterdir()
    assert json.loads(file.read_text())["boot"] == "one"
    for changed in (lambda: None, lambda: machine._known.clear()):
        changed()
        assert machine.limits() == measured
        assert len(calls) == 1
    machine.limits(refresh=True)
    assert len(calls) == 2
    whole = json.loads(file.read_text())
    spoilt = [
        {**whole, "limits": {**whole["limits"], **other}} for other in ({"levels": []}, {"fma": {}}, {"isa": "x"})
    ]
    for text in (
        "",
        "[]",
        "{}",
        '{"boot": "one", "limits": {"levels": 3}}',
        "\x00",
        "[" * 10**5,
        *map(json.dumps, spoilt),
    ):
        machine._known.clear()
        file.write_text(text)
        before = len(calls)
        assert machine.limits() == measured
        assert len(calls) == before + 1
    machine._known.clear()
    monkeypatch.setattr(machine, "_boot", lambda: "two")
    before = len(calls)
    machine.limits()
    assert len(calls) == before + 1
    with vg.threads(vg.get_num_threads() + 1):  # of other threads, other limits
        machine.limits()
    assert len(calls) == before + 2


def test_what_is_not_complete_is_not_kept(monkeypatch, tmp_path, measured):
    """As in a forked process, which has one thread, or while another call has the team."""
    real, calls = _core.fma_peak, []
    monkeypatch.setattr(_core, "fma_peak", lambda n, *rest: -real(n, *rest) if n > 1 else real(n, *rest))
    monkeypatch.setattr(machine, "_known", {})
    monkeypatch.setattr(machine, "ROUNDS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine.config, "n_processors", lambda: 2)
    with vg.threads(2):
        found = machine.limits()
        assert not found.complete
        assert found.fma[_core.isa()]["float32"][2].median > 0
        assert any("not kept" in line for line in machine.lines(found))
        calls.append(machine._known)
    assert calls == [{}]
    assert list(tmp_path.iterdir()) == []


def test_a_team_that_another_call_has_is_told_of():
    """By a sign, as the limits of one thread would else be taken for those of all."""
    net = vg.MLP([512, 2048, 2048, 10], rng=0)
    X, y = np.zeros((2048, 512), np.float32), np.zeros(2048, int)
    with vg.threads(2):
        thread = threading.Thread(target=lambda: net.fit(X, y, epochs=2, batch_size=2048))  # steps of 0.3 s
        thread.start()
        rates = []
        while thread.is_alive():
            time.sleep(0.05)
            rates.append(_core.fma_peak(2))
        assert min(rates) < 0
        assert _core.fma_peak(2) > 0
        assert machine.exchange(2) > 0
        assert _core.meeting_seconds(2) > 0
        assert _core.waking_seconds(2) > 0


@pytest.mark.parametrize("boot", ["one", None])
def test_where_nothing_can_be_kept(monkeypatch, tmp_path, measured, boot):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(machine, "measure", lambda: measured)
    monkeypatch.setattr(machine, "_known", {})
    monkeypatch.setattr(machine, "_boot", lambda: boot)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert machine.limits() == measured


def test_more_threads_than_processors(monkeypatch):
    """Threads that take turns do no more than there are processors: as many are measured."""
    monkeypatch.setattr(machine, "ROUNDS", 1)
    with vg.threads(64):
        found = machine.measure()
    assert found.threads == min(64, len(os.sched_getaffinity(0)))
    assert sorted(found.levels[0].read) == sorted({1, found.threads})


def test_without_a_home(monkeypatch, measured):
    monkeypatch.setattr(machine, "measure", lambda: measured)
    monkeypatch.setattr(machine, "_known", {})
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(machine.Path, "home", home)
    assert machine.limits() == measured
