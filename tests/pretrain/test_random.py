"""Random numbers by counter: the published answers, on every instruction set; and that they look random."""

import numpy as np
import pytest

from vgfast import _core
from vgfast.model.philox import philox, uniforms

SEED, STEP, DRAW, ROW = 0x9ABCDEF012345678, (5 << 32) + 77, 3, 10
# Random123's own: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
# Around the 32 columns of a block.
COLUMNS = [*range(1, 67), 95, 96, 97]
N_ROWS = 7  # more than are drawn at a time


def numbers(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_published_answers(counter, key, words):
    assert [int(word) for word in philox(numbers(counter), numbers(key))] == numbers(words)


def fenced(rows, columns, dtype):
    """A view of a larger array of nines, and that array."""
    whole = np.full((rows + 2, columns + 7), 9, dtype)
    return whole[1:-1, 3 : 3 + columns], whole


def assert_only_inside_changed(whole, columns):
    outside = whole.copy()
    outside[1:-1, 3 : 3 + columns] = 9
    assert (outside == 9).all()


def test_samples_are_the_ones_of_the_definition(isa, dtype):
    """All 24 bits: none is below the number drawn itself, and each below the next larger."""
    for columns in COLUMNS:
        u = uniforms(SEED, STEP, DRAW, N_ROWS, columns, ROW)
        for p, expected in ((u, 0), (u + 2.0**-24, 1)):
            given, _ = fenced(N_ROWS, columns, dtype)
            given[...] = p
            drawn, whole = fenced(N_ROWS, columns, dtype)
            _core.sample(given, drawn, SEED, STEP, DRAW, ROW)
            assert (drawn == expected).all(), columns
            assert_only_inside_changed(whole, columns)
            _core.sample(given, given, SEED, STEP, DRAW, ROW)  # in place
            assert (given == expected).all(), columns


def test_what_is_dropped_is_as_defined(isa, dtype, rng):
    keep = 0.7
    for columns in COLUMNS:
        u = uniforms(SEED, STEP, DRAW, N_ROWS, columns, ROW)
        x, _ = fenced(N_ROWS, columns, dtype)
        x[...] = rng.normal(size=x.shape)
        kept, whole = fenced(N_ROWS, columns, dtype)
        _core.drop(x, kept, keep, SEED, STEP, DRAW, ROW)
        np.testing.assert_array_equal(kept, np.where(u < np.array(keep, dtype), x, 0))
        assert_only_inside_changed(whole, columns)


@pytest.mark.parametrize(("word", "changed"), [("seed", 1 << 40), ("seed", 1), ("step", 1 << 40), ("draw", 1)])
def test_each_word_of_the_key_counts(isa, word, changed):
    """Each half of those of 64 bits, too."""
    p, key = np.full((1, 96), 0.5), {"seed": SEED, "step": STEP, "draw": DRAW}
    one, other = np.empty_like(p), np.empty_like(p)
    _core.sample(p, one, row=ROW, **key)
    _core.sample(p, other, row=ROW, **{**key, word: key[word] ^ changed})
    assert (one != other).any()


def test_numbers_are_uniform_and_independent():
    """Their mean, variance and correlation with those beside them, within 4 standard errors of a uniform number's."""
    rows, columns = 512, 512
    u = {
        what: uniforms(seed, step, draw, rows, columns) - 0.5
        for what, seed, step, draw in (
            ("", 7, 0, 0), ("next step", 7, 1, 0), ("next draw", 7, 0, 1), ("next seed", 8, 0, 0)
        )
    }  # fmt: skip
    here, n = u.pop(""), rows * columns
    assert abs(here.mean()) < 4 * np.sqrt(1 / 12 / n)
    assert abs((here**2).mean() - 1 / 12) < 4 * np.sqrt(1 / 180 / n)
    u |= {"next row": np.roll(here, 1, axis=0)}
    u |= {f"{i} columns on": np.roll(here, i, axis=1) for i in (1, 2, 4, 16, 32)}
    for what, there in u.items():
        # Each product has the variance 1 / 144.
        assert abs((here * there).mean()) < 4 / 12 / np.sqrt(n), what


def test_samples_have_the_probabilities_that_are_asked_for(dtype):
    p = np.array([0, 2.0**-24, 0.1, 0.5, 0.9, 1 - 2.0**-24, 1])
    drawn = np.empty((100_000, len(p)), dtype)
    _core.sample(np.broadcast_to(p.astype(dtype), drawn.shape).copy(), drawn, SEED, 0, 0, 0)
    mean = drawn.mean(axis=0, dtype=np.float64)
    assert (np.abs(mean - p) <= 4 * np.sqrt(p * (1 - p) / len(drawn))).all()
