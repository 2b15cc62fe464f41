"""Pictures of histories and reports: what they show, and of nets whose records are odd."""

import numpy as np
import pytest
from histories import made_up, spread

import vgfast as vg
from vgfast.model.quantities import RECORD
from vgfast.training.records import over_time

pytestmark = pytest.mark.any_isa


def drawn(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (10_000, 31), (3, 70)])
def test_pictures_of_odd_histories(size, strict):
    pytest.importorskip("matplotlib")
    figure = made_up(*size, every=3).plot()
    pixels = drawn(figure)
    assert pixels.std() > 10
    colours = figure.axes[1].collections[0]
    assert colours.get_array().size <= 240 * size[1]
    assert figure.axes[0].get_xlim() == (0, size[0] * 3)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_all_of_one_odd_value(value, strict, tmp_path):
    pytest.importorskip("matplotlib")
    history = made_up(5, 3)
    for name in RECORD.names:
        history.gradients[name] = value
    drawn(history.plot())
    str(history), history._repr_html_()
    history.to_jsonl(tmp_path / "a.jsonl")


def test_the_picture_shows_the_numbers(trained):
    pytest.importorskip("matplotlib")
    figure = trained.plot()
    loss, norms, ratios, frozen, *_ = figure.axes
    np.testing.assert_array_equal(loss.patches[0].get_data().values, trained.loss)
    np.testing.assert_allclose(norms.collections[0].get_array(), trained.gradients["grad_norm"].T)
    np.testing.assert_allclose(frozen.collections[0].get_array(), trained.gradients["frozen"].T)
    for l, line in enumerate(ratios.patches):
        np.testing.assert_allclose(line.get_data().values, trained.gradients["update_ratio"][:, l])
    assert ratios.lines[0].get_ydata()[0] == 1e-3
    ledger = next(ax for ax in figure.axes if "factor" in ax.get_xlabel())
    mean = over_time(trained.gradients)
    ends = [bar.get_x() + bar.get_width() for bar in ledger.patches]
    wanted = [*mean["weight_gain"][:-1], 1, *mean["activation_gain"][:-1], 1]
    np.testing.assert_allclose(ends, wanted)
    assert ledger.get_xscale() == "log"


def panel(figure):
    """What is drawn of exponents: (map, share of zeros)."""
    return [next(ax for ax in figure.axes if word in ax.get_xlabel()) for word in ("entry of dW", "0 or subnormal")]


@pytest.mark.parametrize(("size", "bins"), [((1, 1), 256), ((2, 3), 2048), ((9, 31), 256), ((3, 70), 2048)])
def test_pictures_with_histograms(size, bins, strict):
    pytest.importorskip("matplotlib")
    before = [ax.get_xlabel() for ax in made_up(*size).plot().axes]
    history = spread(made_up(*size), bins)
    figure = history.plot()
    drawn(figure)
    assert [ax.get_xlabel() for ax in figure.axes[: len(before)]] == before
    assert len(figure.axes) == len(before) + 3
    of = history.exponents.sum(axis=0, dtype=float)
    shares, zeros = of / of.sum(axis=1, keepdims=True), panel(figure)[1]
    np.testing.assert_allclose([bar.get_width() for bar in zeros.patches], shares[:, 0])
    assert ("not finite: <0.1% of all" in zeros.get_xlabel()) == (size[1] > 2)


@pytest.mark.parametrize("of", ["history", "report"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_picture_shows_the_exponents(of, dtype, small_problem, strict):
    pytest.importorskip("matplotlib")
    net = vg.MLP([5, 8, 6, 3], "relu", dtype=dtype, rng=0)
    if of == "history":
        shown = net.fit(*small_problem, 3, 10, inspect_every=3, inspect="histograms")
        counts = shown.exponents.sum(axis=0)
    else:
        shown = net.inspect(*small_problem, inspect="histograms")
        counts = shown.exponents
    figure = shown.plot()
    drawn(figure)
    powers, zeros = panel(figure)
    image = powers.collections[0]
    corners = image.get_coordinates()[0, :, 0]
    bias = 127 if dtype == "float32" else 1023
    seen = np.flatnonzero(counts.any(axis=0) & (np.arange(counts.shape[1]) > 0)) - bias
    assert (corners[0], corners[-1]) == (seen[0] - 2, seen[-1] + 3)  # a column begins at its power
    np.testing.assert_array_equal(np.diff(corners), 1)
    cut = counts[:, int(corners[0]) + bias : int(corners[-1]) + bias]
    np.testing.assert_array_equal(image.get_array().mask, cut == 0)
    np.testing.assert_allclose(image.get_array().filled(0), cut / counts.sum(axis=1, keepdims=True))
    np.testing.assert_allclose([bar.get_width() for bar in zeros.patches], counts[:, 0] / counts.sum(axis=1))
    assert f"$2^{{{round(powers.get_xticks()[0])}}}$" == powers.xaxis.get_majorticklabels()[0].get_text()
    far = seen[0] - 2 + bias - 1
    assert powers.get_title(loc="left").endswith(f"underflow at $2^{{{1 - bias}}}$, {far} powers of two to the left")
    assert not powers.lines


@pytest.mark.parametrize(
    ("bins", "least", "lowest"),
    [*((256, -126, lowest) for lowest in (0, 1, 3, 4, 5)), (2048, -1022, 3), (2048, -1022, 4)],
)
def test_underflow_is_a_line_if_there_is_room(bins, least, lowest):
    pytest.importorskip("matplotlib")
    history = made_up(1, 1)
    history.exponents = np.zeros((1, 1, bins), np.uint32)
    history.exponents[0, 0, lowest] = 7
    powers = panel(history.plot())[0]
    if lowest < 4:
        assert list(powers.lines[0].get_xdata()) == [least, least]
        assert powers.get_xlim()[0] <= least
        assert powers.get_title(loc="left") == f"underflow: normal numbers end at $2^{{{least}}}$"
    else:
        far = "1 power" if lowest == 4 else "2 powers"
        assert f"$2^{{{least}}}$, {far} of two to the left" in powers.get_title(loc="left")


def test_zeros_have_a_colour_of_their_own():
    pytest.importorskip("matplotlib")
    history = made_up(3, 1)
    history.gradients["grad_norm"][:, 0] = [0, 1e-4, np.inf]
    norms = history.plot().axes[1]
    assert norms.collections[0].get_array().mask.tolist() == [[True, False, False]]
    assert norms.collections[0].get_array()[0, 2] == norms.collections[0].norm.vmax
    assert norms.get_title(loc="right") == "grey: exactly 0"


def test_the_picture_of_a_report(digits, strict):
    pytest.importorskip("matplotlib")
    report = vg.MLP([64, 20, 10], rng=0).inspect(*digits)
    figure = report.plot()
    drawn(figure)
    norms, ledger = figure.axes
    for line, name in zip(norms.lines, ("grad_norm", "delta_norm"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), report.records[name])
    assert len(ledger.patches) == 4
    assert report.verdict in figure.get_suptitle()


def test_the_picture_of_a_dead_net(strict):
    pytest.importorskip("matplotlib")
    report = vg.MLP([4, 6, 5, 3], init="zeros").inspect(np.ones((9, 4)), np.arange(9) % 3)
    assert (report.records["grad_norm"] == 0).any()
    figure = report.plot()
    drawn(figure)
    assert "of which exactly 0" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_pictures_show_themselves_in_a_notebook(trained):
    pytest.importorskip("matplotlib")
    assert trained.plot()._repr_png_().startswith(b"\x89PNG")
