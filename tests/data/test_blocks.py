"""Sources of blocks: with shuffle=False, any blocks give the bits of the run in memory."""

import os
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vgfast as vg
from vgfast.data import blocks
from vgfast.training import reader

NETS = pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
RNG = np.random.default_rng(5)
X = RNG.normal(size=(101, 4))
Y = RNG.integers(0, 3, len(X))
WEIGHTS = RNG.uniform(0, 2, len(X))
WEIGHTS[:12] = 0  # some batches have none
TARGETS = {"labels": Y, "probabilities": np.eye(3)[Y] * 0.7 + 0.1, "values": RNG.normal(size=(len(X), 3))}


def in_blocks(sizes, x=X, y=Y, weights=None):
    """A source of blocks of these sizes, again and again."""

    def make():
        first, i = 0, 0
        while first < len(x):
            rows = slice(first, first + sizes[i % len(sizes)])
            yield (x[rows], y[rows]) if weights is None else (x[rows], y[rows], weights[rows])
            first, i = rows.stop, i + 1

    return blocks.from_function(make, len(x))


def bits(net, history):
    epochs = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]
    arrays = net.params, history.loss, history.lr, history.gradients, history.steps
    return [array.tobytes() for array in arrays], repr(epochs)


@st.composite
def runs(draw):
    """(sizes of blocks, bytes of a place in memory, dtype, y, loss, weights, how to train)"""
    sizes = draw(st.lists(st.integers(1, 120), min_size=1, max_size=4))
    y, loss = draw(
        st.sampled_from([("labels", "cross_entropy"), ("probabilities", "cross_entropy"), ("values", "mse")])
    )
    how = {
        "epochs": draw(st.integers(1, 3)),
        "batch_size": draw(st.integers(1, 120)),
        "inspect_every": draw(st.sampled_from([0, 3])),
        "optimizer": vg.Adam(draw(st.sampled_from([1e-3, 1e-2]))),
    }
    place = draw(st.sampled_from([1, 400, 4000, 1 << 20]))
    return sizes, place, draw(st.sampled_from(["float32", "float64"])), y, loss, draw(st.booleans()), how


@given(runs())
@example(([7], 400, "float64", "labels", "cross_entropy", True, {"epochs": 2, "batch_size": 10}))
@settings(max_examples=60, deadline=None)
def test_any_blocks_give_the_bits_of_the_run_in_memory(run):
    sizes, place, dtype, y, loss, weighted, how = run
    weights = WEIGHTS if weighted else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK_BYTES", place)
        nets = [vg.MLP([4, 7, 3], loss=loss, dtype=dtype, dropout=0.2, rng=1) for _ in range(2)]
        whole = bits(nets[0], nets[0].fit(X, TARGETS[y], shuffle=False, sample_weight=weights, **how))
        source = in_blocks(sizes, y=TARGETS[y], weights=weights)
        assert bits(nets[1], nets[1].fit(source, shuffle=False, **how)) == whole


@NETS
def test_with_everything_that_fit_does_between_epochs(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 700)
    made = []
    for data in ((X, Y), (in_blocks([9, 30]),)):
        net, optimizer = kind([4, 7, 3], rng=2), vg.SGD(vg.schedules.exponential(0.1, 0.99), momentum=0.9)
        steps, totals = [], set()
        history = net.fit(
            *data,
            epochs=6,
            batch_size=8,
            optimizer=optimizer,
            shuffle=False,
            validation_data=(X[:50], Y[:50]),
            inspect_every=4,
            inspect="histograms",
            callbacks=[vg.EarlyStopping(2), lambda net, history, steps=steps: steps.append(len(history.loss))],
            progress=lambda done, total, history, totals=totals: totals.add(total),
        )
        made.append((bits(net, history), history.exponents.tobytes(), steps, totals))
    assert made[0] == made[1]


def rows_seen(net, source, epochs=2):
    """Which rows each epoch took, in its order: their y are 0, 1, 2, ..., and the net learns next to nothing."""
    history = net.fit(source, epochs=epochs, batch_size=1, optimizer=vg.SGD(1e-30))
    return np.sqrt(history.loss / history.loss[history.loss > 1e-9].min()).round().astype(int).reshape(epochs, -1)


@NETS
def test_shuffled_rows_are_each_seen_once_and_go_by_the_seed(kind, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 20 * 56)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10 * 40)
    made = []
    for seed in (3, 3, 4):
        net = kind([4, 1], loss="mse", init="zeros", dtype="float64", rng=seed)
        made.append(rows_seen(net, blocks.from_arrays(X, np.arange(101.0))))
    np.testing.assert_array_equal(np.sort(made[0], axis=1), [np.arange(101)] * 2)
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()
    assert (made[0][0] != made[0][1]).any()
    places = [epoch[:20] for rows in (made[0], made[2]) for epoch in rows]  # two blocks of ten rows, or three
    assert all(len({row // 10 for row in place}) <= 3 for place in places)
    assert any({row // 10 for row in place} != {0, 1} for place in places)  # blocks come in no order
    assert all(place.tolist() != sorted(place) for place in places)  # nor do their rows


def test_what_fits_one_place_is_shuffled_as_in_memory():
    nets = [vg.MLP([4, 7, 3], rng=1) for _ in range(2)]
    histories = [nets[0].fit(X, Y, 3, 8), nets[1].fit(blocks.from_arrays(X, Y), epochs=3, batch_size=8)]
    assert bits(nets[0], histories[0]) == bits(nets[1], histories[1])


class Killed(BaseException):
    pass


def test_a_checkpoint_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1500)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 700)
    source, made = blocks.from_arrays(X, Y, WEIGHTS), []

    def kill(net, history):
        if len(history.epochs) == 2:
            raise Killed

    for callbacks in ([], [vg.Checkpoint(tmp_path / "run"), kill], [vg.Checkpoint(tmp_path / "run")]):
        net, optimizer = vg.MLP([4, 7, 3], rng=1), vg.Adam()
        try:
            made.append(bits(net, net.fit(source, epochs=5, batch_size=8, optimizer=optimizer, callbacks=callbacks)))
        except Killed:
            made.append(None)
    assert made[1] is None
    assert made[2] == made[0]
    with pytest.raises(ValueError, match="rows 101"):
        net.fit(X[:50], Y[:50], 5, 8, vg.Adam(), callbacks=[vg.Checkpoint(tmp_path / "run")])


# ---- sources that fail ------------------------------------------------------------------------------------


def failing(at, with_what):
    """Blocks of 10 rows, of which one is what this function makes of it."""

    def make():
        for number in range(10):
            block = X[number * 10 : number * 10 + 10], Y[number * 10 : number * 10 + 10]
            yield with_what(*block) if number == at else block

    return make


def broken(x, y):
    raise OSError("the disk is gone")


def with_nan(x, y):
    x = x.copy()
    x[3, 1] = np.nan
    return x, y


BAD_BLOCKS = {
    "fails": (broken, RuntimeError, ["failed where block 6 was due", "OSError: the disk is gone"], OSError),
    "columns": (lambda x, y: (x[:, :3], y), ValueError, ["block 6 of", "4 columns", "got 3"], ValueError),
    "NaN": (with_nan, ValueError, ["block 6 of", "X has NaN in row 3, column 1"], ValueError),
    "texts": (lambda x, y: (x.astype(str), y), TypeError, ["block 6 of", "real numbers"], TypeError),
    "labels": (lambda x, y: (x, y + 1), ValueError, ["block 6 of", "labels from 0 to 2"], ValueError),
    "rows of y": (lambda x, y: (x, y[:-1]), ValueError, ["block 6 of", "each of the 10 rows", "got 9"], ValueError),
    "probabilities": (lambda x, y: (x, np.eye(3)[y]), ValueError, ["block 6 of", "must hold labels"], ValueError),
    "weights": (lambda x, y: (x, y, y), ValueError, ["block 6 of", "every block or with none"], ValueError),
    "no pair": (lambda x, y: x, TypeError, ["block 6 of", "(X, y)"], TypeError),
    "one dimension": (lambda x, y: (x[0], y), ValueError, ["block 6 of", "matrix"], ValueError),
    "a number": (lambda x, y: (5, y), ValueError, ["block 6 of", "matrix"], ValueError),
    "too many": (lambda x, y: (X, Y), ValueError, ["block 6 of", "161", "100 by len(source)"], ValueError),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
def test_a_bad_block_is_named_and_the_net_is_as_of_the_last_step(case, monkeypatch):
    with_what, error, words, cause = BAD_BLOCKS[case]
    monkeypatch.setattr(reader, "BLOCK_BYTES", 900)  # 20 rows
    net, good = (vg.MLP([4, 7, 3], rng=1) for _ in range(2))
    before = threading.active_count()
    with pytest.raises(error) as caught:
        net.fit(blocks.from_function(failing(6, with_what), 100), epochs=2, batch_size=7, shuffle=False)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
    assert isinstance(caught.value.__cause__, cause)
    steps = len(net.history.loss)
    assert f"after {steps} steps" in text
    assert 0 < steps <= 60 // 7
    good.fit(X[: 7 * steps], Y[: 7 * steps], 1, 7, shuffle=False)
    np.testing.assert_array_equal(net.params, good.params)
    assert threading.active_count() == before
    net.fit(X, Y, 1)


@pytest.mark.parametrize("rows", [99, 101])
def test_a_source_must_have_as_many_rows_as_it_says(rows):
    source = blocks.from_function(failing(None, None), rows)
    with pytest.raises(
        ValueError, match="ended after 10 blocks with 100 rows" if rows > 99 else "block 9 of.*make 100"
    ):
        vg.MLP([4, 3], rng=0).fit(source)


def test_columns_of_frames_must_stay(monkeypatch):
    pandas = pytest.importorskip("pandas")

    def make():
        frame = pandas.DataFrame(X, columns=list("abcd"), index=np.arange(101.0) / 3)
        yield frame[:50], Y[:50]
        yield frame[50:][list("abdc")], Y[50:]

    with pytest.raises(ValueError, match=r"block 1 of.*\['a', 'b', 'c', 'd'\], got \['a', 'b', 'd', 'c'\]"):
        vg.MLP([4, 3], rng=0).fit(blocks.from_function(make, 101))


@pytest.mark.parametrize(
    ("weights", "words"),
    [(np.zeros(101), "some weight above 0"), (np.full(101, 1e300), "1e-30 to 1e.30, got 1e.300 in row 0")],
)
def test_weights_that_cannot_be(weights, words):
    with pytest.raises(ValueError, match=words):
        vg.MLP([4, 3], rng=0).fit(blocks.from_arrays(X, Y, weights))


def test_what_is_given_beside_a_source_is_refused():
    source = blocks.from_arrays(X, Y)
    for more in ({"y": Y}, {"sample_weight": WEIGHTS}):
        with pytest.raises(TypeError, match="from the blocks of a source"):
            vg.MLP([4, 3], rng=0).fit(source, **more)


def test_one_that_diverges_says_what_it_would_in_memory():
    x, texts = np.where(np.arange(101)[:, None] == 70, 1e30, X), []
    for data in ((x, Y), (blocks.from_arrays(x, Y),)):
        net = vg.MLP([4, 7, 3], "identity", rng=0)
        with pytest.raises(vg.DivergenceError, match=r"step 8 .epoch 1.*rows of X with values above") as caught:
            net.fit(*data, epochs=1, batch_size=10, shuffle=False)
        texts.append(str(caught.value))
        assert len(caught.value.history.loss) == caught.value.step
    assert texts[0] == texts[1]


def test_ctrl_c_while_a_block_is_waited_for(ctrl_c):
    waiting, release = threading.Event(), threading.Event()

    def make():
        yield X[:50], Y[:50]
        waiting.set()
        release.wait(20)
        yield X[50:], Y[50:]

    def interrupt():
        waiting.wait(20)
        os.kill(os.getpid(), 2)

    net, thread = vg.MLP([4, 3], rng=0), threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(blocks.from_function(make, 101), batch_size=5, shuffle=False)
    release.set()
    thread.join()
    assert np.isfinite(net.params).all()
    net.fit(X, Y, 1)
