"""More machines than one: the model's figures beside those of others, of the algorithm and of a simulation."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import vgfast as vg
from vgfast.cost.networks import NETWORKS, Network
from vgfast.cost.rounds import Measured
from vgfast.cost.scaling import Worker, scale_step
from vgfast.cost.scaling_report import scale

NAN = float("nan")
WORKER = Worker((784, 256, 128, 10), "float32", 235_146, 2, 128, 860e-6, True)
JITTERS = (0.0, 0.05, 0.2)


def worker_of(sizes, rows, flops=150e9):
    """One whose step does its products at so many operations a second, and nothing else."""
    weights = [m * n for m, n in pairwise(sizes)]
    seconds = rows * (4 * sum(weights) + 2 * sum(weights[1:])) / flops
    return Worker(tuple(sizes), "float32", sum(weights) + sum(sizes[1:]), 2, rows, seconds, False)


# ---- the model -------------------------------------------------------------------------------------------

SMALL, LARGE = (784, 256, 128, 10), (784, 2048, 2048, 2048, 10)
OTHERS = {"HDR of others": Network("HDR of others", 24e9, 1.2e-6, "")}
# Efficiency in % with 2, 32 and 1,024 workers of 150 GFLOP/s, computed before this model was written, by the same
# all-reduce.
EFFICIENCIES = [
    (SMALL, 128, "1GbE", (10, 5, 5)),
    (SMALL, 128, "10GbE", (50, 32, 29)),
    (SMALL, 128, "25GbE", (70, 49, 43)),
    (SMALL, 128, "InfiniBand-EDR", (91, 84, 83)),
    (SMALL, 128, "HDR of others", (95, 91, 89)),
    (SMALL, 512, "1GbE", (30, 18, 17)),
    (SMALL, 512, "10GbE", (80, 66, 62)),
    (SMALL, 512, "25GbE", (90, 80, 75)),
    (SMALL, 512, "InfiniBand-EDR", (98, 95, 95)),
    (SMALL, 512, "HDR of others", (99, 98, 97)),
    (LARGE, 128, "1GbE", (12, 7, 7)),
    (LARGE, 128, "10GbE", (59, 42, 41)),
    (LARGE, 128, "25GbE", (78, 64, 63)),
    (LARGE, 128, "InfiniBand-EDR", (93, 88, 88)),
    (LARGE, 128, "HDR of others", (97, 94, 94)),
    (LARGE, 512, "1GbE", (36, 23, 22)),
    (LARGE, 512, "10GbE", (85, 74, 74)),
    (LARGE, 512, "25GbE", (93, 88, 87)),
    (LARGE, 512, "InfiniBand-EDR", (98, 97, 97)),
    (LARGE, 512, "HDR of others", (99, 98, 98)),
]


@pytest.mark.parametrize(("sizes", "rows", "network", "wanted"), EFFICIENCIES)
def test_efficiencies_that_were_computed_before(sizes, rows, network, wanted):
    """Within half a unit of their last digit, and a tenth for the rates, which are known to three digits."""
    worker, over = worker_of(sizes, rows), (NETWORKS | OTHERS)[network]
    for p, percent in zip((2, 32, 1024), wanted, strict=True):
        assert 100 * scale_step(worker, p, over).efficiency == pytest.approx(percent, abs=0.6)


@pytest.mark.parametrize("p", [2, 4, 16])
def test_the_all_reduce_takes_the_rounds_and_bytes_of_the_model(p):
    """Done with messages: halves of what is left are exchanged with workers ever nearer, and then brought together."""
    n, bandwidth, latency = 4 * p, 8.0, 3.0
    vectors = np.random.default_rng(0).integers(0, 100, (p, n)).astype(np.int64)
    done, owned = vectors.copy(), [(0, n)] * p
    seconds, distance, path = 0.0, p // 2, []
    while distance:
        before, path = done.copy(), [*path, list(owned)]
        for i in range(p):
            low, high = owned[i]
            middle = (low + high) // 2
            owned[i] = (middle, high) if i & distance else (low, middle)
            done[i, slice(*owned[i])] += before[i ^ distance, slice(*owned[i])]
        seconds += latency + 8 * (high - low) / 2 / bandwidth
        distance //= 2
    for distance in (1 << k for k in range(p.bit_length() - 1)):
        before, mine = done.copy(), list(owned)
        for i in range(p):
            done[i, slice(*mine[i ^ distance])] = before[i ^ distance, slice(*mine[i ^ distance])]
        seconds += latency + 8 * (mine[0][1] - mine[0][0]) / bandwidth
        owned = path.pop()
    assert (done == vectors.sum(axis=0)).all()
    worker = replace(WORKER, dtype="float64", n_params=n)
    assert scale_step(worker, p, Network("", bandwidth, latency, "")).exchange == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("jitter", JITTERS)
def test_one_worker_exchanges_nothing_and_more_are_less_efficient(network, jitter):
    rows = [scale_step(WORKER, p, NETWORKS[network], jitter) for p in range(1, 300)]
    alone = rows[0]
    assert (alone.exchange, alone.waiting, alone.step, alone.efficiency) == (0, 0, WORKER.seconds, 1)
    assert all(after.efficiency < before.efficiency for before, after in pairwise(rows))
    for row in rows:
        assert row.rows == 128 * row.workers
        assert row.speedup == pytest.approx((row.rows / row.step) / (128 / WORKER.seconds), rel=1e-12)
        assert row.share_of_exchange == pytest.approx(1 - (row.compute + row.waiting) / row.step, abs=1e-12)


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize(("efficiency", "name"), [(0.5, "rows_for_half"), (0.9, "rows_for_nine_tenths")])
def test_so_many_rows_are_the_fewest(efficiency, name, jitter):
    """Of a worker whose step takes as long a row as this one's."""
    for p in (2, 100, 1024):
        found = getattr(scale_step(WORKER, p, NETWORKS["10GbE"], jitter), name)
        many = replace(WORKER, batch_size=10**9, seconds=WORKER.seconds * 10**9 / 128)
        assert (found is None) == (scale_step(many, p, NETWORKS["10GbE"], jitter).efficiency < efficiency)
        if found is not None:
            enough, fewer = (
                scale_step(
                    replace(WORKER, batch_size=n, seconds=WORKER.seconds * n / 128), p, NETWORKS["10GbE"], jitter
                )
                for n in (found, found - 1)
            )
            assert fewer.efficiency < efficiency <= enough.efficiency


def expected_slowest(p):
    """The mean of the largest of p standard normal numbers: the integral of x over its distribution, Phi(x)^p."""
    x = np.linspace(-10, 10, 20_001)
    cumulative = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x]) ** p
    return float(np.sum((x[1:] + x[:-1]) / 2 * np.diff(cumulative)))


@pytest.mark.parametrize("jitter", [0.05, 0.2])
def test_the_simulation_meets_the_formula(jitter):
    """The mean of so many draws is within 5 of its standard deviations, the largest of normal numbers having one of 1
    at most; and the formula is above what it bounds, by what is known of normal numbers."""
    steps, workers = 2000, (1, 2, 32, 1000)
    found = scale(WORKER, workers, "10GbE", jitter=jitter)
    for row, simulated in zip(found.rows, found.simulate(steps, rng=0), strict=True):
        noise = 5 * jitter / math.sqrt(steps)
        late = (simulated - row.exchange) / row.compute - 1
        expected = jitter * expected_slowest(row.workers)
        assert late == pytest.approx(expected, abs=noise)
        above = row.waiting / row.compute - late
        assert above == pytest.approx(jitter * math.sqrt(2 * math.log(row.workers)) - expected, abs=noise)
        assert above > -noise
    assert 0 < found.rows[-1].waiting - jitter * expected_slowest(1000) * WORKER.seconds < 0.2 * found.rows[-1].waiting


def test_a_simulation_is_of_its_seed_and_without_jitter_of_none(monkeypatch):
    found = scale(WORKER, [3, 50], "25GbE", jitter=0.1)
    assert found.simulate(100, rng=1) == found.simulate(100, rng=np.random.default_rng(1)) != found.simulate(100, rng=2)
    even = scale(WORKER, [3, 50], "25GbE")
    assert even.simulate(10) == pytest.approx([row.step for row in even.rows], rel=1e-12)
    monkeypatch.setattr("vgfast.cost.scaling._AT_ONCE", 300)  # in parts of three workers
    row = found.rows[1]
    late = (found.simulate(100, rng=1)[1] - row.exchange) / row.compute - 1
    assert late == pytest.approx(0.1 * expected_slowest(50), abs=5 * 0.1 / math.sqrt(100))


def test_no_time_that_is_simulated_is_below_0():
    """The mean of normal numbers cut at 0 is Phi(1/s) + s phi(1/s) with a mean of 1 and the standard deviation s."""
    s = 0.9
    wanted = 0.5 * math.erfc(-1 / s / math.sqrt(2)) + s * math.exp(-0.5 / s**2) / math.sqrt(2 * math.pi)
    (simulated,) = scale(WORKER, 1, "1GbE", jitter=s).simulate(20_000)
    assert wanted > 1.05
    assert simulated / WORKER.seconds == pytest.approx(wanted, abs=5 * s / math.sqrt(20_000))


# ---- the report ------------------------------------------------------------------------------------------


def test_what_a_net_exchanges():
    net = vg.MLP([20, 30, 30, 5], normalization="batch", residual=vg.residual(1, "rezero"), dtype="float64", rng=0)
    cost = net.cost(16, measure=False)
    worker = cost.scale(2, "1GbE").worker
    assert (worker.n_params, worker.bytes, worker.batch_size) == (net.n_params, 8 * net.n_params, 16)
    assert (worker.seconds, worker.measured) == (cost.predicted, False)
    timed = replace(cost, step=Measured(0.25, 0.2, 0.3)).scale(2, "1GbE").worker
    assert (timed.seconds, timed.measured) == (0.25, True)


def test_text_and_data():
    cost = vg.MLP([784, 256, 128, 10], rng=0).cost(128, measure=False)
    reports = [
        cost.scale([1, 2, 8, 64, 1024], "10GbE", noise_scale=2000),
        cost.scale([2, 2**31 - 1], bandwidth=1, latency=3599, jitter=0.99, noise_scale=1e300),
        cost.scale(7, "InfiniBand-HDR", jitter=0.01),
        vg.MLP([5, 3], rng=0).cost(1, measure=False).scale([2, 3], "InfiniBand-EDR", noise_scale=0),
    ]
    for report in reports:
        text = str(report)
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 80
        assert "computed and was run on one machine only" in " ".join(text.split())
        table = text.split("\n\n")[1].splitlines()[3:]
        units = (" s", " h", " y")
        cells = [[cell for cell in line.split() if f" {cell}" not in units] for line in table]
        assert {len(row) for row in cells} == {9 if report.jitter else 8}
        assert len(table) == len(report.rows)
        data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert [row["efficiency"] for row in data["rows"]] == [row.efficiency for row in report.rows]
        assert data["network"]["bandwidth"] == report.network.bandwidth
        assert data["worker"]["bytes"] == report.worker.bytes
    assert "15 of them" in str(reports[0])
    assert [report.useful_workers for report in reports[::3]] == [15, 1]
    assert reports[2].to_dict()["useful_workers"] is None
    assert ("waiting" in str(reports[0]), "waiting" in str(reports[1])) == (False, True)


def test_the_noise_scale_of_a_net_is_that_of_its_layers(rng):
    """Estimated from the gradient of each row."""
    X, y = rng.normal(size=(40, 6)), rng.integers(0, 3, 40)
    X[y == 1] += 2
    net = vg.MLP([6, 8, 7, 3], "tanh", dtype="float64", rng=0)
    each = np.array([net.gradients(X[i : i + 1], y[i : i + 1]).flat for i in range(40)])
    noise = each.var(axis=0, ddof=1).sum()
    wanted = noise / ((each.mean(axis=0) ** 2).sum() - noise / 40)
    report = net.inspect(X, y, try_remedies=False)
    assert np.isfinite(report.records["noise_scale"]).all()
    cost = net.cost(4, measure=False)
    for given in (report, report.records):
        assert cost.scale(2, "1GbE", noise_scale=given).noise_scale == pytest.approx(wanted, rel=1e-9)
    history = net.fit(X, y, 1, batch_size=40, inspect_every=1, optimizer=vg.SGD(1e-3), shuffle=False)
    assert cost.scale(2, "1GbE", noise_scale=history.mean()).noise_scale == pytest.approx(wanted, rel=1e-9)


def test_the_picture_has_a_line_a_network():
    pytest.importorskip("matplotlib")
    report = scale(WORKER, [100, 2, 3000], "10GbE", jitter=0.02, noise_scale=2000)
    figure = report.plot()
    (ax,) = figure.axes
    lines = {line.get_label(): line for line in ax.lines}
    assert {*NETWORKS, "at the noise scale: 15"} <= lines.keys()
    x, y = lines["25GbE"].get_data()
    assert y.tolist() == [scale_step(WORKER, int(p), NETWORKS["25GbE"], 0.02).efficiency for p in x]
    (dots,) = [line for line in ax.lines if list(line.get_xdata()) == [2, 100, 3000]]
    wanted = {row.workers: row.efficiency for row in report.rows}
    assert dict(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == wanted
    assert "one machine only" in ax.get_title()


# ---- arguments -------------------------------------------------------------------------------------------

OK = {"workers": [2, 8], "network": "10GbE"}
FREE = {"workers": 2, "network": None, "bandwidth": 1e9, "latency": 1e-6}
# Arguments, error, words, and the arguments that its fix leads to.
BAD = {
    "workers 0": ({"workers": 0}, ValueError, ["workers must be from 1", "got 0"], {"workers": 1}),
    "workers below": ({"workers": [2, -3]}, ValueError, ["workers[1] must be from 1", "got -3"], {"workers": [2, 1]}),
    "workers none": ({"workers": []}, ValueError, ["at least one number, such as [2, 8, 64]"], {"workers": [2, 8, 64]}),
    "workers float": ({"workers": 2.0}, TypeError, ["workers must be a whole number", "use 2"], {"workers": 2}),
    "workers text": ({"workers": "2,8"}, TypeError, ["workers must be a whole number", "'2,8'"], {"workers": [2, 8]}),
    "workers bool": ({"workers": [True]}, TypeError, ["workers[0] must be a whole number"], {"workers": [1]}),
    "network": ({"network": "10gbe"}, ValueError, ["unknown network '10gbe'", "mean '10GbE'?"], {"network": "10GbE"}),
    "no such": ({"network": "token ring"}, ValueError, ["there is 1GbE, 10GbE, 25GbE, Inf"], {"network": "25GbE"}),
    "network 5": ({"network": 5}, ValueError, ["unknown network 5; there is 1GbE"], {"network": "1GbE"}),
    "none": ({"network": None}, ValueError, ["no network was given", "there is 1GbE"], {"network": "1GbE"}),
    "both": ({"bandwidth": 1e9}, ValueError, ["network='10GbE'", "bandwidth came beside it"], {"bandwidth": None}),
    "half": (FREE | {"latency": None}, ValueError, ["without latency", "latency=25e-6"], FREE | {"latency": 25e-6}),
    "other half": (FREE | {"bandwidth": None}, ValueError, ["without bandwidth", "bandwidth=1e9"], FREE),
    "bandwidth 0": (FREE | {"bandwidth": 0}, ValueError, ["bandwidth", "at least 1 and finite, got 0.0"], FREE),
    "bandwidth below": (FREE | {"bandwidth": -1e9}, ValueError, ["bandwidth", "at least 1", "-1000000000.0"], FREE),
    "bandwidth NaN": (FREE | {"bandwidth": NAN}, ValueError, ["bandwidth", "finite, got nan"], FREE),
    "bandwidth text": (FREE | {"bandwidth": "1e9"}, TypeError, ["bandwidth", "use 1000000000.0"], FREE),
    "latency below": (FREE | {"latency": -1e-6}, ValueError, ["latency, in seconds, must be at least 0"], FREE),
    "latency NaN": (FREE | {"latency": NAN}, ValueError, ["at least 0 and below 3600, got nan"], FREE),
    "jitter": ({"jitter": 1}, ValueError, ["jitter must be at least 0 and below 1, got 1.0"], {"jitter": 0.5}),
    "jitter below": ({"jitter": -0.1}, ValueError, ["jitter must be at least 0"], {"jitter": 0}),
    "noise": ({"noise_scale": -1}, ValueError, ["noise_scale, in rows, must be at least 0"], {"noise_scale": 0}),
    "noise NaN": ({"noise_scale": NAN}, ValueError, ["noise_scale", "finite, got nan"], {"noise_scale": None}),
    "noise text": ({"noise_scale": "9"}, TypeError, ["noise_scale", "use 9.0"], {"noise_scale": 9.0}),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case):
    wrong, error, words, mended = BAD[case]
    cost = vg.MLP([4, 3], rng=0).cost(2, measure=False)
    with pytest.raises(error) as caught:
        cost.scale(**OK | wrong)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
    assert cost.scale(**OK | mended).rows[0].efficiency > 0


def test_records_without_a_noise_scale_are_refused(rng):
    X, y = rng.normal(size=(8, 4)), rng.integers(0, 3, 8)
    net = vg.MLP([4, 5, 3], rng=0)
    cost = net.cost(2, measure=False)
    for bad in (net.inspect(X[:1], y[:1]), vg.MLP([4, 5, 3], normalization="batch", rng=0).inspect(X, y)):
        with pytest.raises(ValueError, match=r"^noise_scale must be finite, got nan .* or leave it out$"):
            cost.scale(2, "1GbE", noise_scale=bad)
    history = net.fit(X, y, 2, batch_size=8, inspect_every=1)
    with pytest.raises(ValueError, match=r"one record a layer, got shape \(2, 2\); use history.mean\(\)"):
        cost.scale(2, "1GbE", noise_scale=history.gradients)
    assert cost.scale(2, "1GbE").noise_scale is None


def test_a_simulation_that_is_too_large_is_refused():
    report = scale(WORKER, [10**6], "1GbE", jitter=0.1)
    with pytest.raises(ValueError, match=r"^steps x workers must be at most 2147483647, got 3000000000: "):
        report.simulate(3000)
    assert report.simulate(2)[0] > WORKER.seconds
    with pytest.raises(ValueError, match="steps must be at least 1"):
        report.simulate(0)


def test_what_the_gradient_takes_in_memory_is_counted_where_it_is_exchanged():
    over, longer = Network("", 1e9, 1e-5, ""), replace(WORKER, in_memory=1.2 * WORKER.seconds)
    alone, two = (scale_step(longer, p, over) for p in (1, 2))
    assert (alone.step, alone.efficiency) == (WORKER.seconds, 1)
    assert two.step == pytest.approx(scale_step(WORKER, 2, over).step + 0.2 * WORKER.seconds, rel=1e-12)
    assert two.efficiency == pytest.approx(WORKER.seconds / two.step, rel=1e-12)
    enough, seconds = two.rows_for_half, WORKER.seconds / WORKER.batch_size
    efficiency = [n * seconds / (n * 1.2 * seconds + two.exchange) for n in (enough - 1, enough)]
    assert efficiency[0] < 0.5 <= efficiency[1]
    assert scale_step(longer, 2, over, 0.0).rows_for_nine_tenths is None  # 1 / 1.2 is less
    cost = vg.MLP([784, 256, 128, 10], rng=0).cost(128, measure=False)
    measured = replace(cost, step=Measured(0.25, 0.2, 0.3), in_memory=Measured(0.3, 0.2, 0.4))
    assert measured.scale(2, "1GbE").worker.in_memory == 0.3
    assert "with its gradient in memory 300 ms" in " ".join(str(measured.scale(2, "1GbE")).split())
