"""What the machine can do: what is told of it, and that it is kept until the machine starts again.

Whether the figures are right, benchmarks/bench_machine.py shows."""

import json
import threading
import time

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core
from vgfast.cost import limits, machine


@pytest.fixture(scope="module")
def measured():
    return limits.measure()


def test_everything_is_measured(measured):
    isas, counts = list(_core.isas()), sorted({1, measured.threads})
    assert measured.isa == _core.isa()
    assert list(measured.fma) == isas
    assert [level.name for level in measured.levels][-1] == "memory"
    by_threads = [measured.fma[isa][dtype] for isa in isas for dtype in _core.DTYPES]
    by_threads += [measured.product[dtype] for dtype in _core.DTYPES]
    by_threads += [measured.functions[dtype][name] for dtype in _core.DTYPES for name in limits.FUNCTIONS]
    by_threads += [of for level in measured.levels for of in (level.read, level.write)]
    values = [of[n] for of in by_threads for n in counts] + [level.latency for level in measured.levels]
    if measured.threads > 1:
        values += [measured.exchange, measured.barrier, measured.waking]
    for value in values:
        assert 0 < value.low <= value.median <= value.high < np.inf


def test_lines_fit_and_say_what_is_there(measured):
    text = machine.as_lines(measured)
    assert max(map(len, text)) <= 80
    for word in (*_core.isas(), "float64", "sigmoid", "memory", "GB/s"):
        assert any(word in line for line in text)


def test_there_and_back(measured):
    assert limits._from_dict(json.loads(json.dumps(measured.to_dict()))) == measured


def test_caches_that_cannot_be_read_are_measured(monkeypatch):
    """By what loads take: here of a machine with two caches, of 32 KiB and 1 MiB."""
    monkeypatch.setattr(limits, "caches_of_system", lambda: [])
    monkeypatch.setattr(limits, "ROUNDS", 1)
    monkeypatch.setattr(_core, "latency", lambda memory, n: 1e-9 if n <= 32 << 10 else 5e-9 if n <= 1 << 20 else 80e-9)
    found = limits.measure()
    assert found.sizes_from == "measured"
    assert [level.size for level in found.levels] == [32 << 10, 1 << 20, None]
    assert any("inferred from the latencies" in line for line in machine.as_lines(found))


def test_caches_that_can_be_read(tmp_path):
    caches = [("Data", 1, "48K", "0"), ("Instruction", 1, "32K", "0"), ("Unified", 2, "1024K", "0-1,8-9")]
    for i, values in enumerate(caches):
        (tmp_path / f"index{i}").mkdir()
        for name, value in zip(("type", "level", "size", "shared_cpu_list"), values, strict=True):
            (tmp_path / f"index{i}" / name).write_text(f"{value}\n")
    assert limits.caches_of_system(tmp_path) == [(48 << 10, 1), (1 << 20, 4)]
    (tmp_path / "index2" / "size").write_text("some\n")
    assert limits.caches_of_system(tmp_path) == []
    assert limits.caches_of_system(tmp_path / "none") == []


def test_kept_until_the_machine_starts_again(monkeypatch, tmp_path, measured):
    calls = []

    def measure():
        calls.append(1)
        return measured

    monkeypatch.setattr(limits, "measure", measure)
    monkeypatch.setattr(limits, "_known", {})
    monkeypatch.setattr(limits, "_boot", lambda: "one")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert limits.limits() == measured
    (file,) = (tmp_path / "vgfast").iterdir()
    assert json.loads(file.read_text())["boot"] == "one"
    for changed in (lambda: None, lambda: limits._known.clear()):
        changed()
        assert limits.limits() == measured
        assert len(calls) == 1
    limits.limits(refresh=True)
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
        limits._known.clear()
        file.write_text(text)
        before = len(calls)
        assert limits.limits() == measured
        assert len(calls) == before + 1
    limits._known.clear()
    monkeypatch.setattr(limits, "_boot", lambda: "two")
    before = len(calls)
    limits.limits()
    assert len(calls) == before + 1
    with vg.threads(vg.get_num_threads() + 1):  # of other threads, other limits
        limits.limits()
    assert len(calls) == before + 2


def test_what_is_not_complete_is_not_kept(monkeypatch, tmp_path, measured):
    """As in a forked process, which has one thread, or while another call has the team."""
    real, calls = _core.fma_peak, []
    monkeypatch.setattr(_core, "fma_peak", lambda n, *rest: -real(n, *rest) if n > 1 else real(n, *rest))
    monkeypatch.setattr(limits, "_known", {})
    monkeypatch.setattr(limits, "ROUNDS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(limits.config, "n_processors", lambda: 2)
    with vg.threads(2):
        found = limits.limits()
        assert not found.complete
        assert found.fma[_core.isa()]["float32"][2].median > 0
        assert any("not kept" in line for line in machine.as_lines(found))
        calls.append(limits._known)
    assert calls == [{}]
    assert list(tmp_path.iterdir()) == []


def test_a_team_that_another_call_has_is_told_of(forced_threads):
    """By a sign, as the limits of one thread would else be taken for those of all."""
    net, stop = vg.MLP([256, 512, 512, 10], rng=0), threading.Event()
    X, y = np.zeros((1024, 256), np.float32), np.zeros(1024, int)
    with vg.threads(2):
        training = {"epochs": 10**6, "batch_size": 1024, "callbacks": [lambda *_: stop.is_set()]}
        thread = threading.Thread(target=lambda: net.fit(X, y, **training))
        thread.start()
        while _core.fma_peak(2) > 0:  # until it comes in the midst of a step, which needs a team that is free to begin
            time.sleep(0.02)
        stop.set()
        thread.join()
        assert _core.fma_peak(2) > 0
        assert limits.exchange(2) > 0
        assert _core.barrier_seconds(2) > 0
        assert _core.waking_seconds(2) > 0


@pytest.mark.parametrize("boot", ["one", None])
def test_where_nothing_can_be_kept(monkeypatch, tmp_path, measured, boot):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(limits, "measure", lambda: measured)
    monkeypatch.setattr(limits, "_known", {})
    monkeypatch.setattr(limits, "_boot", lambda: boot)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert limits.limits() == measured


def test_more_threads_than_processors(monkeypatch):
    """Threads that take turns do no more than there are processors: as many are measured."""
    monkeypatch.setattr(limits, "ROUNDS", 1)
    monkeypatch.setattr(limits.config, "n_processors", lambda: 2)
    with vg.threads(3):
        found = limits.measure()
    assert found.threads == 2
    assert sorted(found.levels[0].read) == sorted({1, found.threads})


def test_without_a_home(monkeypatch, measured):
    monkeypatch.setattr(limits, "measure", lambda: measured)
    monkeypatch.setattr(limits, "_known", {})
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(limits.Path, "home", home)
    assert limits.limits() == measured
