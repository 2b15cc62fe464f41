"""Philox4x32-10 in NumPy, and the numbers that the core draws with it for a row and a column."""

import numpy as np

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(counter, key):
    """Four words (arrays of uint64) of a counter of four words and a key of two (numbers)."""
    a, b, c, d = (np.asarray(word, np.uint64) for word in counter)
    for i in range(10):
        k, other = (np.uint64((key[j] + i * weyl) % 2**32) for j, weyl in ((0, 0x9E3779B9), (1, 0xBB67AE85)))
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (q >> HALF) ^ b ^ k, q & LOW, (p >> HALF) ^ d ^ other, p & LOW
    return a, b, c, d


def uniforms(seed, step, draw, rows, columns, first_row=0):
    """(rows, columns) in [0, 1), of 24 bits. A block is of 32 columns and eight counters: 16 columns of their words 0
    and 1 in turn, then 16 of words 2 and 3."""
    n_blocks = -(-columns // 32)
    row = np.arange(first_row, first_row + rows, dtype=np.uint64)[:, None, None]
    block = np.arange(8 * n_blocks, dtype=np.uint64).reshape(1, n_blocks, 8)
    counter = block, row, np.uint64(draw | step >> 32 << 16), np.uint64(step % 2**32)
    words = np.broadcast_arrays(*philox(counter, (seed % 2**32, seed >> 32)))
    halves = [np.stack(words[i : i + 2], axis=-1).reshape(rows, n_blocks, 16) for i in (0, 2)]
    drawn = np.concatenate(halves, axis=-1).reshape(rows, -1)[:, :columns]
    return (drawn >> np.uint64(8)) * 2.0**-24
