"""Checkpoints within epochs: a training that was killed there goes on at that step, to the same bits."""

import random

import numpy as np
import pytest
from training.ranks import make_data, run_ranks

import vgfast as vg
from vgfast.data import blocks
from vgfast.files import npz
from vgfast.training import reader

pytestmark = pytest.mark.any_isa

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
X, Y = make_data(50)
WEIGHTS = np.random.default_rng(2).uniform(0, 2, 50)
EPOCHS, PER_EPOCH = 5, 7
MADE = ("optimizer", "shuffle")  # anew for each training


class Killed(Exception):
    pass


class Mortal(vg.Checkpoint):
    """It lasts for so many writes, the first one of a file among them; the last is done, or, if it is lost, not."""

    def __init__(self, path, lasts, lost=False, **when):
        super().__init__(path, **when)
        self.lasts, self.lost = lasts, lost

    def write(self, loop, ended, others):
        self.lasts -= 1
        if self.lasts > 0 or not self.lost:
            super().write(loop, ended, others)
        if self.lasts == 0:
            raise Killed


def halve(flat, rows):
    flat *= 0.5


class Alone(vg.Reducer):
    rank, size = 0, 1

    def add(self, numbers):
        pass


class Watch:
    """What callbacks see."""

    def __init__(self):
        self.begins, self.ends = [], []

    def on_train_begin(self, net, history):
        assert len(history.loss) == len(history.lr) == PER_EPOCH * len(history.epochs)
        assert (history.steps < max(1, len(history.loss))).all()
        assert len(history.steps) == len(history.gradients)
        self.begins.append(len(history.epochs))

    def on_epoch_end(self, net, history):
        self.ends.append((len(history.epochs), len(history.loss)))


# What the net takes, and what fit takes.
CASES = {
    "shuffled": ({}, {}),
    "in order": ({}, {"shuffle": False}),
    "another generator": ({}, {"shuffle": lambda: np.random.default_rng(7)}),
    "weights": ({}, {"sample_weight": WEIGHTS}),
    "dropout": ({"dropout": 0.3}, {"inspect_every": 5}),
    "histograms": ({}, {"inspect_every": 2, "inspect": "histograms"}),
    "batch norm": ({"normalization": "batch"}, {"optimizer": lambda: vg.RMSprop(0.01)}),
    "schedule": ({}, {"optimizer": lambda: vg.Adam(vg.schedules.cosine(0.01, 35))}),
    "function": ({}, {"reduce": halve, "inspect_every": 3}),
    "Reducer": ({"dropout": 0.2}, {"reduce": Alone(), "inspect_every": 3, "sample_weight": WEIGHTS}),
}


def train(kind=vg.MLP, checkpoint=None, case="shuffled", X=X, Y=Y, **more):
    """(net, history, optimizer, what callbacks saw)"""
    of_net, how = CASES[case]
    how = {name: value() if name in MADE and callable(value) else value for name, value in how.items()}
    how = {"optimizer": vg.SGD(0.1, momentum=0.9), "batch_size": 8, "epochs": EPOCHS} | how | more
    net, watch = kind([9, 8, 4], "tanh", rng=3, dtype="float64", **of_net), Watch()
    history = net.fit(X, Y, callbacks=[watch, *([checkpoint] if checkpoint else [])], **how)
    return net, history, how["optimizer"], watch


def bits_of(run):
    net, history, optimizer, _ = run
    epochs = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]
    arrays = [net.params, history.loss, history.lr, history.gradients, history.steps]
    arrays += [] if history.exponents is None else [history.exponents]
    arrays += net._states.find(optimizer).vectors
    arrays += [] if net._engine.draws is None else [net._engine.draws]
    return [array.tobytes() for array in arrays], repr((net._rng.bit_generator.state, epochs))


def kill_until_done(path, seed, train_with):
    """What a training comes to that is killed again and again, and how often."""
    draw, kills = random.Random(seed), 0
    while True:
        every = {"every": draw.choice([1, 2, 9]), "every_steps": draw.choice([2, 3, 10])}
        lasts = draw.randint(1, 4) + (kills == 0)
        try:
            return train_with(Mortal(path, lasts, draw.random() < 0.3, **every)), kills
        except Killed:
            kills += 1


@NETS
@pytest.mark.parametrize("case", CASES)
def test_killed_again_and_again_it_comes_to_the_same_bits(case, kind, tmp_path):
    whole = bits_of(train(kind, case=case))
    for seed in range(2):
        run, kills = kill_until_done(tmp_path / str(seed), f"{case} {seed}", lambda one: train(kind, one, case))
        assert kills > 0
        assert bits_of(run) == whole
        again = train(kind, vg.Checkpoint(tmp_path / str(seed)), case)
        assert bits_of(again) == whole  # no epoch is trained again
        assert again[3].begins == [EPOCHS]


@NETS
def test_sources_are_read_again_up_to_the_step(kind, tmp_path, monkeypatch):
    """By many runs an epoch, of which some are left out and one is begun in its midst."""
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1500)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 900)
    for weights in (None, WEIGHTS):
        source = blocks.from_arrays(X, Y, weights)
        whole = bits_of(train(kind, X=source, Y=None))
        for seed in range(3):
            path = tmp_path / f"{seed} {weights is None}"
            run, kills = kill_until_done(path, seed, lambda one, s=source: train(kind, one, X=s, Y=None))
            assert kills > 0
            assert bits_of(run) == whole


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP], ids=["core", "numpy"])
def test_ranks_go_on_each_by_its_own_file(kind, sharded, tmp_path):
    parts = np.split(np.arange(50), [11]) if sharded else [np.arange(50)] * 2

    def one_rank(r, path=None):
        rows = parts[r.rank]
        how = {"case": "dropout", "reduce": r, "X": X[rows], "Y": Y[rows], "sample_weight": WEIGHTS[rows]}
        if path is None:
            return bits_of(train(kind, **how))
        draw = random.Random(8)
        for lasts in (3, 4, 5, 99):
            try:
                one = Mortal(f"{path} {r.rank}", lasts, every_steps=draw.choice([2, 3]))
                return bits_of(train(kind, one, **how))
            except Killed:
                assert lasts < 99

    whole = run_ranks(2, one_rank, sharded)
    assert isinstance(whole[0], tuple)
    assert run_ranks(2, lambda r: one_rank(r, tmp_path / "run"), sharded) == whole


def test_ranks_that_go_on_at_different_steps_are_named(tmp_path):
    def one_rank(r, lasts, error, **when):
        with pytest.raises(error) as caught:
            train(checkpoint=Mortal(tmp_path / str(r.rank), lasts, **when), reduce=r)
        return str(caught.value)

    run_ranks(2, lambda r: one_rank(r, 4, Killed, every_steps=2))
    with pytest.raises(Killed):
        train(checkpoint=Mortal(tmp_path / "other", 3, every_steps=2))
    (tmp_path / "other").replace(tmp_path / "1")
    for said in run_ranks(2, lambda r: one_rank(r, 99, RuntimeError)):
        assert "rank 1 of 2 begins an epoch at step 4, and rank 0 at 6; let all go on from one checkpoint" in said


# ---- what it is beside -------------------------------------------------------------------------------


def test_it_is_written_after_these_steps(tmp_path, monkeypatch):
    """The first time before the first step; then after each that is counted, and each epoch that is, but once."""
    written, write = [], npz.write

    def noted(path, data):
        written.append((len(data["loop"]["loss"]), len(data["loop"]["epochs"])))
        write(path, data)

    monkeypatch.setattr(npz, "write", noted)
    train(checkpoint=vg.Checkpoint(tmp_path / "run", every=2, every_steps=3), epochs=4)
    steps = [0, 3, 6, 9, 12, 14, 15, 18, 21, 24, 27, 28]
    assert written == [(n, n // PER_EPOCH) for n in steps]
    del written[:]
    train(checkpoint=vg.Checkpoint(tmp_path / "long", every=9, every_steps=14), epochs=5)
    assert [n for n, _ in written] == [0, 14, 28, 35]


def test_any_number_of_steps_may_be_more_than_there_are(tmp_path):
    assert bits_of(train(checkpoint=vg.Checkpoint(tmp_path / "run", every_steps=10**30))) == bits_of(train())


@NETS
def test_callbacks_and_progress_see_whole_epochs_and_all_steps(kind, tmp_path):
    path, told = tmp_path / "run", []
    with pytest.raises(Killed):
        train(kind, Mortal(path, 5, every_steps=4), "histograms")
    (seen,) = [train(kind, vg.Checkpoint(path), "histograms", progress=lambda *now: told.append(now[:2]))[3]]
    assert seen.begins == [1]  # of two, the second of which has come to step 12
    assert seen.ends == [(n, n * PER_EPOCH) for n in range(2, EPOCHS + 1)]
    assert all(total == EPOCHS * PER_EPOCH for _, total in told)
    done = [steps for steps, _ in told]
    assert done == sorted(done)
    assert done[0] > 12
    assert done[-1] == EPOCHS * PER_EPOCH


def test_an_epoch_lasts_as_long_as_its_parts(tmp_path, monkeypatch):
    from vgfast.training import fit, place

    now = [0.0]
    monkeypatch.setattr(fit.time, "perf_counter", lambda: now.append(now[-1] + 1) or now[-1])
    assert fit.time is place.time
    with pytest.raises(Killed):
        train(checkpoint=Mortal(tmp_path / "run", 2, every_steps=6))
    spent = npz.read(tmp_path / "run")["loop"]["seconds"]
    first = train(checkpoint=vg.Checkpoint(tmp_path / "run"))[1].epochs[0]["seconds"]
    assert spent > 0
    assert first > spent


def test_fewer_epochs_than_it_has_begun_are_refused(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        train(checkpoint=Mortal(path, 5, every_steps=4))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"has done 1 epochs and a part, got epochs=1.*; ask for at least 2, or name"):
        train(checkpoint=vg.Checkpoint(path), epochs=1)
    assert path.read_bytes() == before
    assert len(train(checkpoint=vg.Checkpoint(path), epochs=2)[1].epochs) == 2


def test_a_file_of_before_is_read(tmp_path):
    """Of a version that wrote between epochs only."""
    path, whole = tmp_path / "run", bits_of(train())
    train(checkpoint=vg.Checkpoint(path), epochs=2)
    npz.write(path, npz.read(path) | {"kind": "vgfast checkpoint 2"})
    assert bits_of(train(checkpoint=vg.Checkpoint(path))) == whole


def test_another_generator_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "run"
    train(checkpoint=vg.Checkpoint(path), epochs=1, shuffle=np.random.default_rng(7))
    other = np.random.Generator(np.random.MT19937(7))
    with pytest.raises(ValueError, match="shuffle by a PCG64 of its own, got by a MT19937 of its own; go on with"):
        train(checkpoint=vg.Checkpoint(path), shuffle=other)
    with pytest.raises(ValueError, match="shuffle by a PCG64 of its own, got True; go on with"):
        train(checkpoint=vg.Checkpoint(path))


@pytest.mark.parametrize(
    ("steps", "error", "words"),
    [(0, ValueError, "every_steps must be at least 1, got 0"), (1.5, TypeError, "every_steps must be a whole number")],
)
def test_bad_settings(steps, error, words):
    with pytest.raises(error, match=words):
        vg.Checkpoint("run", every_steps=steps)


def test_it_shows_how_it_was_made():
    assert repr(vg.Checkpoint("a", 2)) == "Checkpoint('a', every=2)"
    assert repr(vg.Checkpoint("a", every_steps=3)) == "Checkpoint('a', every=1, every_steps=3)"
