"""Files such as MNIST's, which tests draw themselves."""

import gzip
import struct

import numpy as np


def idx_file(path, array):
    """Gzipped, if its name says so."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
