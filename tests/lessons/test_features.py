"""The lesson on features: its measures, what it says of the images it was made for, and what where it is false."""

import copy

import numpy as np
import pytest

from vgfast.lessons import features

pytestmark = pytest.mark.slow  # trains machines, for some seconds in all

pytest.importorskip("sklearn")
pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def found():
    return features.measure(quick=True)


@pytest.fixture
def other(found):
    return copy.deepcopy(found)


def told(found):
    holds, sentences = features.conclude(found)
    return holds, " ".join(sentences)


def wave(angle, width=2.0, period=4.0):
    """A Gabor function in the middle of the upper left quarter, whose light and dark follow each other at this angle:
    (1, pixels)."""
    down, across = np.mgrid[: features.SIDE, : features.SIDE] - 2.5
    along = across * np.cos(angle) + down * np.sin(angle)
    return (np.exp(-(down**2 + across**2) / width**2) * np.sin(2 * np.pi * along / period)).reshape(1, -1)


def test_the_claim_holds(found):
    holds, sentences = told(found)
    assert holds
    assert "NOT" not in sentences
    for of in found["sets"].values():
        assert of["learned"]["edges"] > 3 * of["components"]["edges"]
        assert f"{of['learned']['edges']:.0%} are edges" in sentences
    assert f"{found['freely']['edges']:.0%} of those of photographs" in sentences


def test_one_in_twenty_random_filters_is_beyond_each_limit(found):
    """Both at once are 1 in 400 if they have nothing to do with each other, and of 1,000 filters hardly 1 in 50."""
    for of in found["sets"].values():
        assert of["random"]["edges"] < 0.02
        assert 0.25 < of["random"]["place"] < of["limits"][0] < 1
        assert 0 < of["random"]["direction"] < of["limits"][1] < 1


def test_an_edge_is_in_one_place_and_of_one_direction():
    for angle in np.linspace(0, np.pi, 7):
        assert features.place(wave(angle))[0] > 0.9
        assert features.direction(wave(angle))[0] > 0.75
    assert features.measured(wave(1), (0.9, 0.75))["edges"] == 1
    assert features.measured(wave(1), (0.9, 0.99))["edges"] == 0
    assert features.measured(wave(1), (0.999, 0.75))["edges"] == 0


def test_what_is_spread_has_no_place_and_what_crosses_no_direction():
    assert features.place(np.ones((1, 144)))[0] == pytest.approx(0.25)
    across = wave(0) + wave(np.pi / 2)
    assert features.direction(across)[0] < 0.2  # right angles, doubled, cancel but for where the spectra overlap
    pixel = np.zeros((1, 144))
    pixel[0, 30] = 1
    assert features.place(pixel)[0] == 1
    assert features.direction(pixel)[0] < 0.05  # all directions alike, but for the corners of the spectrum


def test_whitened_pieces(rng):
    """Variance 1 and no correlations; and the components are those of NumPy's decomposition, but for the sign."""
    pieces = features.pieces_of(features.faces(), 1000, rng)
    assert pieces.shape == (1000, 144)
    assert np.abs(pieces.mean(axis=1)).max() < 1e-6
    coordinates, components = features.whitened(pieces.astype(float))
    np.testing.assert_allclose(coordinates.T @ coordinates / 1000, np.eye(features.KEPT), atol=1e-9)
    vectors = np.linalg.svd(pieces - pieces.mean(axis=0), full_matrices=False)[2][: features.KEPT]
    np.testing.assert_allclose(np.abs((vectors * components).sum(axis=1)), 1, atol=1e-4)


def test_flat_pieces_are_left_out(rng):
    image = np.zeros((40, 400))
    image[:, :12] = rng.normal(size=(40, 12))
    pieces = features.pieces_of([image] * 20, 300, rng)
    assert len(pieces)
    assert pieces.std(axis=1).min() > 0.2


def test_units_that_may_be_on_as_often_as_they_like_do_not_find_edges(monkeypatch):
    monkeypatch.setattr(features, "SOURCES", {"photographs": features.faces})  # which are read sooner
    holds, sentences = told(features.measure(quick=True, seldom=None))
    assert not holds
    assert "NOT more than two in five" in sentences


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f["sets"]["faces"]["learned"].update(edges=0.3), "30% are edges, NOT more than two in five"),
        (lambda f: f["sets"]["faces"]["components"].update(edges=0.5), "components 50%, of random filters"),
        (lambda f: f["sets"]["photographs"]["random"].update(edges=0.25), "25.0%, which are NOT few"),
        (lambda f: f["freely"].update(edges=0.6), "60% of those of photographs are edges: the demand is NOT needed"),
    ],
)
def test_what_comes_out_otherwise(other, change, sentence):
    change(other)
    holds, sentences = told(other)
    assert not holds
    assert sentence in sentences


def test_the_picture_shows_all_filters(found):
    Figure = pytest.importorskip("matplotlib.figure").Figure
    figure = Figure(figsize=(9, 4.5))
    features.draw(found, figure)
    assert [axes.get_title().split(":")[0] for axes in figure.axes[:4]] == [
        "pieces of faces",
        "learned",
        "principal components",
        "random",
    ]
    assert figure.axes[1].images[0].get_array().shape == (4 * 13 - 1, 12 * 13 - 1)
    assert all(np.abs(of["pictures"]["learned"]).max() == 1 for of in found["sets"].values())


def test_a_mosaic_has_the_images_side_by_side():
    images = [np.full((12, 12), value) for value in (0.1, 0.2, 0.3, 0.4)]
    shown = features.mosaic(images, rows=2)
    assert shown.shape == (25, 25)
    assert [shown[0, 0], shown[0, 24], shown[24, 0], shown[24, 24], shown[12, 0]] == [0.1, 0.2, 0.3, 0.4, 1]


def test_the_table_is_text(found):
    headings, rows, _ = features.table(found)
    assert all(len(row) == len(headings) and all(isinstance(cell, str) for cell in row) for row in rows)
    assert sum(max(map(len, column)) + 2 for column in zip(headings, *rows, strict=True)) <= 80
