"""Files such as MNIST's, which tests draw themselves."""

import gzip
import struct

import numpy as np


def idx_file(path, array):
    """Gzipped, if its name says so."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def images_of_ten_kinds(folder, rng, each, flipped=0.15, side=28):
    """The four files, with ``each["train"]`` and ``each["test"]`` images of each kind. An image has the pixels of its
    kind, but for the share that is turned from black to white or back."""
    kinds = rng.random((10, side, side)) < 0.5
    for part, stem in (("train", "train"), ("test", "t10k")):
        y = rng.permutation(np.repeat(np.arange(10), each[part]))
        idx_file(folder / f"{stem}-images-idx3-ubyte", 255 * (kinds[y] ^ (rng.random((len(y), side, side)) < flipped)))
        idx_file(folder / f"{stem}-labels-idx1-ubyte", y)
    return folder
