"""Learning rates that are functions of the step."""

import math
import pickle

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference, schedules

pytestmark = pytest.mark.any_isa

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 50)
SIZES = [6, 9, 3]
MADE = [
    schedules.step(0.3, 4, 0.5),
    schedules.exponential(0.3, 0.9),
    schedules.cosine(0.3, 20, 0.01),
    schedules.one_cycle(0.4, 20),
    schedules.warm_up(schedules.cosine(0.3, 10, 0.01), 5),
    schedules.warm_up(0.3, 5),
]
kinds = pytest.mark.parametrize("kind", [vg.MLP, reference.MLP])
each = pytest.mark.parametrize("schedule", MADE, ids=repr)


# ---- the formulas --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        (schedules.step(0.3, 7, 0.4), "StepLR", {"step_size": 7, "gamma": 0.4}),
        (schedules.exponential(0.3, 0.93), "ExponentialLR", {"gamma": 0.93}),
        (schedules.cosine(0.3, 60, 0.02), "CosineAnnealingLR", {"T_max": 60, "eta_min": 0.02}),
        (schedules.one_cycle(0.3, 60), "OneCycleLR", {"max_lr": 0.3, "total_steps": 60, "cycle_momentum": False}),
        (
            schedules.one_cycle(0.3, 61, 0.45, 10, 100),
            "OneCycleLR",
            {"max_lr": 0.3, "total_steps": 61, "pct_start": 0.45, "div_factor": 10, "final_div_factor": 100}
            | {"cycle_momentum": False},
        ),
    ],
)  # fmt: skip
def test_rates_are_pytorchs(ours, theirs, settings):
    """Which multiplies its way there, with a rounding or two a step."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **settings)
    for t in range(settings.get("total_steps", 61)):
        np.testing.assert_allclose(ours(t), optimizer.param_groups[0]["lr"], rtol=1e-12)
        optimizer.step()
        if t + 1 < settings.get("total_steps", 61):
            scheduler.step()


def test_after_the_last_step_they_stay():
    for schedule, end in ((schedules.cosine(0.3, 20, 0.01), 0.01), (schedules.one_cycle(0.25, 20), 0.01 / 1e4)):
        assert [schedule(t) for t in (20, 21, 10**9)] == pytest.approx([end] * 3, rel=1e-15)


def test_a_warm_up_is_a_straight_line_to_what_follows():
    line, curve = schedules.warm_up(0.8, 4), schedules.warm_up(schedules.cosine(0.8, 6), 4)
    assert [line(t) for t in (0, 1, 3, 4, 99)] == [0.2, 0.4, 0.8, 0.8, 0.8]
    assert [curve(t) for t in range(4)] == [line(t) for t in range(4)]
    assert [curve(4 + t) for t in range(9)] == [schedules.cosine(0.8, 6)(t) for t in range(9)]


@each
def test_they_can_be_compared_pickled_and_printed(schedule):
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert eval(repr(schedule), vars(schedules)) == schedule


# ---- in training ---------------------------------------------------------------------------------------


@kinds
@each
def test_a_training_is_that_of_rates_set_by_hand(kind, schedule):
    """Of whole batches and the rest of an epoch, in two calls of fit and in single steps: to the bit."""
    net, optimizer = kind(SIZES, rng=0), vg.SGD(lr=schedule)
    first = net.fit(X, Y, 2, 16, optimizer, shuffle=False)
    second = net.fit(X, Y, 1, 16, optimizer, shuffle=False, inspect_every=2)
    losses = [net.step(X, Y, optimizer) for _ in range(6)]
    other, by_hand, expected = kind(SIZES, rng=0), vg.SGD(), []
    for _ in range(3):
        for start in range(0, 50, 16):
            by_hand.lr = schedule(len(expected))
            expected.append((by_hand.lr, other.step(X[start : start + 16], Y[start : start + 16], by_hand)))
    assert [*first.lr, *second.lr] == [lr for lr, _ in expected]
    assert [*first.loss, *second.loss] == [loss for _, loss in expected]
    for loss, t in zip(losses, range(12, 18), strict=True):
        by_hand.lr = schedule(t)
        assert other.step(X, Y, by_hand) == loss
    np.testing.assert_array_equal(net.params, other.params)


@kinds
@pytest.mark.parametrize("optimizer", [vg.SGD, lambda lr: vg.SGD(lr, momentum=0.9), vg.Adam, vg.Adagrad])
def test_steps_are_counted_for_each_net_and_reset_begins_anew(kind, optimizer):
    nets, scheduled = [kind(SIZES, rng=0) for _ in range(2)], optimizer(lambda step: 0.1 / (1 + step))
    for net in nets:
        assert net.fit(X, Y, 1, 25, scheduled).lr.tolist() == [0.1, 0.05]
    nets[0].apply(nets[0].gradients(X, Y), scheduled)
    assert nets[0].fit(X, Y, 1, 50, scheduled).lr.tolist() == [0.1 / 4]
    assert nets[1].fit(X, Y, 1, 50, scheduled).lr.tolist() == [0.1 / 3]
    scheduled.reset()
    assert nets[0].fit(X, Y, 1, 50, scheduled).lr.tolist() == [0.1]


@kinds
def test_a_rate_that_a_callback_changes_is_in_the_history(kind):
    optimizer = vg.SGD(lr=0.5)

    def change(net, history):
        optimizer.lr = schedules.exponential(0.2, 0.5) if len(history.epochs) == 2 else 0.25

    history = kind(SIZES, rng=0).fit(X, Y, 4, 25, optimizer, callbacks=[change])
    assert history.lr.tolist() == [0.5, 0.5, 0.25, 0.25, 0.2, 0.1, 0.25, 0.25]
    assert history.to_dict()["lr"] == history.lr.tolist()


def test_bits_do_not_depend_on_threads_or_slices(forced_threads):
    found = set()
    for n in (1, 2, 3, 7):
        with vg.threads(n):
            net = vg.MLP(SIZES, rng=0)
            net.fit(
                X, Y, 5, 7, vg.Adam(lr=schedules.one_cycle(0.1, 40)), progress=(lambda *_: None) if n == 3 else False
            )
            found.add(net.params.tobytes())
    assert len(found) == 1


@kinds
def test_what_is_inspected_is_the_step_to_come(kind):
    net, optimizer = kind(SIZES, rng=0), vg.SGD(lr=lambda step: 0.1 * 2.0**-step)
    fixed = net.inspect(X, Y, vg.SGD(lr=0.1)).records["update_ratio"]
    np.testing.assert_allclose(net.inspect(X, Y, optimizer).records["update_ratio"], fixed, rtol=1e-6)
    net.apply(np.zeros(net.n_params, np.float32), optimizer)
    np.testing.assert_allclose(net.inspect(X, Y, optimizer).records["update_ratio"], fixed / 2, rtol=1e-6)
    assert callable(optimizer.lr)


@pytest.mark.parametrize("make", [vg.SGD, vg.Adam, lambda lr: vg.SGD(lr=lr, momentum=0.9)])
def test_a_checkpoint_goes_on_with_the_same_rates(make, tmp_path):
    def run(epochs, keep=()):
        net, optimizer = vg.MLP(SIZES, rng=0), make(schedules.cosine(0.1, 30))
        history = net.fit(X, Y, epochs, 16, optimizer, callbacks=keep)
        return net.params.tobytes(), history.lr.tolist(), history.loss.tolist(), net.step(X, Y, optimizer)

    keep = [vg.Checkpoint(tmp_path / "run.npz")]
    run(3, keep)
    assert run(8, keep) == run(8)
    other = vg.SGD(lr=schedules.cosine(0.1, 31)) if make is vg.SGD else vg.SGD()
    with pytest.raises(ValueError, match="is a checkpoint of a training with"):
        vg.MLP(SIZES, rng=0).fit(X, Y, 8, 16, other, callbacks=keep)


# ---- what is refused -----------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("bad", [math.nan, -0.1, math.inf, None, "0.1", True, 1e39])
def test_a_rate_that_is_none_changes_nothing(kind, bad):
    """Of the last step of all, found before the first is taken."""
    net, optimizer = kind(SIZES, rng=0), vg.SGD(lr=lambda step: bad if step == 11 else 0.1)
    before, random = net.params.copy(), net._rng.bit_generator.state
    with pytest.raises(ValueError, match=r"lr must .*, got .* for step 11; correct the schedule"):
        net.fit(X, Y, 3, 16, optimizer)
    assert net.params.tobytes() == before.tobytes()
    assert net._rng.bit_generator.state == random
    assert net.history is None
    assert net.fit(X, Y, 2, 16, optimizer).lr.tolist() == [0.1] * 8
    for _ in range(3):
        net.step(X, Y, optimizer)
    before = net.params.copy()
    with pytest.raises(ValueError, match="for step 11"):
        net.step(X, Y, optimizer)
    with pytest.raises((ValueError, vg.DivergenceError)):
        net.apply(before, optimizer)
    assert net.params.tobytes() == before.tobytes()
    assert net._states.steps_taken(optimizer) == 11


@kinds
def test_a_rate_of_0_is_a_step_that_changes_nothing(kind):
    net, optimizer = kind(SIZES, rng=0), vg.SGD(lr=lambda step: 0)
    before = net.params.copy()
    assert net.fit(X, Y, 1, 50, optimizer).lr.tolist() == [0]
    net.apply(net.gradients(X, Y), optimizer)
    assert (net.inspect(X, Y, optimizer).records["update_ratio"] == 0).all()
    np.testing.assert_array_equal(net.params, before)
    assert net._states.steps_taken(optimizer) == 2


@kinds
def test_a_training_that_diverges_says_the_rate_of_that_step(kind):
    net = kind(SIZES, loss="mse", rng=0)
    with pytest.raises(vg.DivergenceError, match=r"lower lr \(it is 1e\+30\)"):
        net.fit(X, X[:, :3], 50, 50, vg.SGD(lr=lambda step: 1e30 if step > 2 else 1e-3))
    with pytest.raises(vg.DivergenceError, match=r"lower lr \(it is 1e\+38\)"):
        net.apply(np.full(net.n_params, 1e3, np.float32), vg.SGD(lr=lambda step: 1e38))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.step(0, 5), "first must be above 0"),
        (lambda: schedules.step(0.1, 0), "every must be"),
        (lambda: schedules.step(0.1, 5, -1), "factor must be at least 0"),
        (lambda: schedules.exponential(0.1, 1.01), "factor must be at most 1, got 1.01"),
        (lambda: schedules.cosine(0.1, 0), "steps must be"),
        (lambda: schedules.cosine(0.1, 10, -0.1), "last must be at least 0"),
        (lambda: schedules.one_cycle(0.1, 3), r"steps must be more than 1 / share = 3.33, got 3"),
        (lambda: schedules.one_cycle(0.1, 100, 1.0), "share must be above 0 and below 1"),
        (lambda: schedules.one_cycle(0.1, 100, div=0), "div must be above 0"),
        (lambda: schedules.warm_up(-1, 5), "then must be above 0"),
        (lambda: schedules.warm_up(0.1, 0), "steps must be"),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
