"""The lesson on faces: what it says of the nets it was made for, and what it says where its claim is false."""

import numpy as np
import pytest

from vgfast.lessons import faces

pytestmark = pytest.mark.slow  # trains nets, for some seconds in all

pytest.importorskip("sklearn")
pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def found():
    return faces.measure(quick=True)


def test_the_claim_holds(found):
    holds, sentences = faces.conclude(found)
    assert holds
    assert "NOT" not in " ".join(sentences)


def test_the_sentences_have_the_numbers_found(found):
    sentences = " ".join(faces.conclude(found).sentences)
    healthy, vanishing = found["nets"]
    for net in (healthy, vanishing):
        assert f"{100 * np.mean(net['accuracy']):.1f} %" in sentences
        assert f"{net['signal']:.2g}" in sentences
        assert faces.percent(net["moved"][0]) in sentences
        assert (
            f"{faces.decimals(net['edges'][0])} and, of neighbouring pixels, {faces.decimals(net['smooth'][0])}"
            in sentences
        )
    assert faces.decimals(healthy["edges"][1]) in sentences
    assert f"{100 * healthy['put back']:.1f} %" in sentences


def test_the_first_weights_are_the_usual_ones():
    """He's have a standard deviation of sqrt(2 / n): of 10,000, it is off by 1 / sqrt(20,000) of that."""
    weights = np.asarray(faces.made("relu", 0).weights[0])
    assert abs(weights.std() / np.sqrt(2 / 625) - 1) < 5 / np.sqrt(20000)


def test_what_was_learned_is_end_less_start(found):
    """It is far smoother than the filters, which are as large as their draw; and the whole layer of 16 is shown."""
    healthy, vanishing = found["nets"]
    assert healthy["smooth"][1] > 0.5 > faces.NOISE > healthy["smooth"][0]
    assert all(np.shape(net["pictures"]) == (2, 16, 25, 25) for net in found["nets"])
    assert np.abs(healthy["pictures"][1]).max() == 1
    assert np.abs(vanishing["pictures"][1]).max() == 0  # on the scale of the first net's


def test_filters_that_do_not_move_are_told():
    """At a millionth of the rate."""
    holds, sentences = faces.conclude(faces.measure(quick=True, lr=3e-9))
    assert not holds
    assert "NOT the 93% expected" in sentences[0]
    assert "did NOT move much" in sentences[2]
    assert "NOT clearly less" in sentences[4]


def test_a_second_net_that_learns_is_told():
    holds, sentences = faces.conclude(faces.measure(quick=True, vanishing="relu"))
    assert not holds
    assert "NOT a guess" in sentences[0]
    assert "did NOT stay" in sentences[2]
    assert "are NOT the noise that they were" in sentences[5]


def altered(found, which, **values):
    nets = [net | values if i == which else net for i, net in enumerate(found["nets"])]
    return faces.conclude(found | {"nets": nets})


def test_a_little_less_than_expected_is_not_told_as_no_learning(found):
    holds, sentences = altered(found, 0, accuracy=[0.925])
    assert not holds
    assert "right about 92.5 % of the images that it had not seen, which is NOT the 93% expected" in sentences[0]


def test_the_second_net_is_noise_only_if_smoothness_edges_and_movement_say_so(found):
    for values in ({"smooth": [0.9, 0.9]}, {"edges": [0.5, 0.5]}, {"moved": [0.5, 0.4, 0.6]}):
        holds, sentences = altered(found, 1, **values)
        assert not holds, values
        assert "are NOT the noise that they were" in sentences[5], values


def test_the_first_net_must_learn_edges_and_need_them(found):
    holds, sentences = altered(found, 0, edges=[0.0, 0.1])
    assert not holds
    assert "does NOT have its edges where faces have them: a correlation of 0.10" in sentences[3]
    holds, sentences = altered(found, 0, **{"put back": 0.95})
    assert not holds
    assert "95.0 %, which is NOT clearly less" in sentences[4]


def test_filters_that_show_what_they_learned_are_told(found):
    holds, sentences = altered(found, 0, smooth=[0.8, 0.9])
    assert holds  # not what is claimed
    assert "are not like noise" in sentences[3]


def test_shares_and_correlations_are_short():
    assert [faces.percent(4.8), faces.percent(0.0000573)] == ["480 %", "0.0057 %"]
    assert [faces.decimals(0.512), faces.decimals(-0.001)] == ["0.51", "0.00"]


def test_a_flat_filter_has_no_edges(found):
    assert faces.alike(faces.edges(faces.as_images(np.zeros((625, 2)))), np.random.default_rng(0).random((23, 23))) == 0


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
    assert [sum(word in title for title in titles) for word in ("relu", "sigmoid", "end less start")] == [1, 1, 2]
    assert all(len(part.axes) == 16 for part in figure.subfigs)


def test_the_table_is_text(found):
    headings, rows, _ = faces.table(found)
    assert all(len(row) == len(headings) and all(isinstance(cell, str) for cell in row) for row in rows)
    assert sum(max(map(len, column)) + 2 for column in zip(headings, *rows, strict=True)) <= 80
