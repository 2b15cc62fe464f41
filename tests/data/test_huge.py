"""Arrays of 2^31 elements and more."""

import numpy as np
import pytest

import vgfast as vg
from vgfast import _check
from vgfast.data import blocks

pytestmark = pytest.mark.any_isa

COLUMNS = 1 << 16
ROWS = (1 << 15) + 100


def test_only_those_that_repeat_their_memory_are_refused():
    column = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), (2**31, 1), (0, 1))
    with pytest.raises(ValueError, match="repeat the same memory"):
        _check._read("X", column)
    far = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), (2**31, 1), (1, 0))  # which nobody looks into
    assert _check._read("X", far) is far


@pytest.mark.once
def test_an_array_of_more_than_2_to_the_31_elements_trains(tmp_path):
    """The last rows of a file of zeros, which takes no room on most disks, are what there is to learn."""
    path = tmp_path / "X.npy"
    x = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, COLUMNS))
    x[-300:] = np.random.default_rng(0).normal(size=(300, COLUMNS))
    x.flush()
    assert x.size > 2**31
    y = np.arange(ROWS) % 2
    nets = [vg.MLP([COLUMNS, 2], rng=0) for _ in range(3)]
    in_memory = nets[0].fit(np.load(path, mmap_mode="r"), y, 1, 4096, shuffle=False)
    by_blocks = nets[1].fit(blocks.from_npy(path, y), epochs=1, batch_size=4096, shuffle=False)
    np.testing.assert_array_equal(in_memory.loss, by_blocks.loss)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)
    nets[2].fit(np.zeros((4096, COLUMNS), np.float32), y[:4096], 7, 4096, shuffle=False)
    last = nets[2].fit(x[7 * 4096 :], y[7 * 4096 :], 1, 4096, shuffle=False)
    np.testing.assert_array_equal(last.loss, in_memory.loss[7:])
    np.testing.assert_array_equal(nets[2].params, nets[0].params)
