"""The lesson on faces: what it says of the nets it was made for, and what it says where its claim is false."""

import numpy as np
import pytest

from vgfast.lessons import faces

pytest.importorskip("sklearn")
pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def found():
    return faces.measure(quick=True)


def test_the_claim_holds(found):
    holds, sentences = faces.saw(found)
    assert holds
    assert "NOT" not in " ".join(sentences)


def test_the_sentences_have_the_numbers_found(found):
    sentences = " ".join(faces.saw(found).sentences)
    healthy, vanishing = found["nets"]
    for net in (healthy, vanishing):
        assert f"{100 * np.mean(net['accuracy']):.1f} %" in sentences
        assert f"{net['signal']:.2g}" in sentences
        assert faces.percent(net["moved"][0]) in sentences
        assert faces.of(net["edges"][1]) in sentences


def test_filters_that_do_not_move_are_told(found):
    """At a millionth of the rate."""
    holds, sentences = faces.saw(faces.measure(quick=True, lr=3e-9))
    assert not holds
    assert "did NOT learn" in sentences[0]
    assert "did NOT all move" in sentences[2]
    assert "do NOT have" in sentences[3]


def test_a_second_net_that_learns_is_told():
    holds, sentences = faces.saw(faces.measure(quick=True, vanishing="relu"))
    assert not holds
    assert "NOT a guess" in sentences[0]
    assert "did NOT stay" in sentences[2]
    assert "did NOT stay noise" in sentences[3]


def test_both_nets_start_from_the_same_draws():
    """He's weights are LeCun's times the square root of 2, here up to the rounding of each to float32."""
    relu, sigmoid = (np.asarray(faces.made(kind, 3).weights[0]) for kind in ("relu", "sigmoid"))
    np.testing.assert_allclose(relu, np.sqrt(2) * sigmoid, rtol=4 * float(np.finfo(np.float32).eps))


def test_edges_are_where_light_is_beside_dark():
    """A bright square: steep along its outline, flat within and without."""
    square = np.zeros((1, 25, 25))
    square[0, 8:17, 8:17] = 1
    steep = faces.edges(square) > 0  # without the outermost pixels
    outline = np.zeros((25, 25), bool)
    outline[7:18, 7:18] = True
    outline[9:16, 9:16] = False
    outline[[7, 7, 17, 17], [7, 17, 7, 17]] = False  # the corners touch no bright pixel
    np.testing.assert_array_equal(steep, outline[1:-1, 1:-1])


def test_smoothness_tells_noise_from_a_ramp(rng):
    """Of noise, a correlation of 1200 pairs has a standard deviation of 1 / sqrt(1200), and a mean of 16 a quarter."""
    assert abs(faces.smoothness(rng.normal(size=(16, 25, 25)))) < 5 / 4 / np.sqrt(1200)
    assert faces.smoothness(np.add.outer(np.arange(25.0), np.arange(25.0))[None]) == pytest.approx(1)


def test_the_picture_has_both_nets_before_and_after(found):
    Figure = pytest.importorskip("matplotlib.figure").Figure
    figure = Figure(figsize=(9, 4.5))
    faces.draw(found, figure)
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert [sum(word in title for title in titles) for word in ("relu", "sigmoid", "start")] == [2, 2, 4]
    assert all(len(part.axes) == faces.SHOWN for part in figure.subfigs)


def test_the_table_is_text(found):
    headings, rows, _ = faces.table(found)
    assert all(len(row) == len(headings) and all(isinstance(cell, str) for cell in row) for row in rows)
    assert sum(max(map(len, column)) + 2 for column in zip(headings, *rows, strict=True)) <= 80
