"""A Parquet file, of which some rows at a time are in memory, as ``fit``'s source.

``blocks.from_npy``, ``from_hdf5``, ``from_arrays``, ``from_function`` and ``from_loader`` make sources of other things.
"""

import os
import tempfile

import numpy as np
import pyarrow
import pyarrow.parquet

import vgfast as vg
from vgfast.data import blocks

ROWS = 20_000


def write(path):
    """Four columns of measurements, and a label that depends on them."""
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=ROWS).astype(np.float32) for i in range(4)}
    columns["label"] = (columns["x0"] * columns["x1"] + columns["x2"] > 0).astype(np.int64)
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=4096)


def run(out=print):
    """Train from the file, shuffled; the accuracy of the last epoch, and of the same net from memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "measured.parquet")
        write(path)
        source = blocks.from_parquet(path, y="label")
        out(f"{len(source):,} rows in {source.n_blocks} row groups")
        net = vg.MLP([4, 32, 2], rng=0)
        from_file = net.fit(source, epochs=5, optimizer=vg.Adam(0.01)).epochs[-1]["accuracy"]

        table = pyarrow.parquet.read_table(path).to_pydict()
        y = np.array(table.pop("label"))
        X = np.column_stack([np.array(column) for column in table.values()])
        net = vg.MLP([4, 32, 2], rng=0)
        in_memory = net.fit(X, y, epochs=5, optimizer=vg.Adam(0.01)).epochs[-1]["accuracy"]
    out(f"accuracy {from_file:.3f} from the file, {in_memory:.3f} from memory")
    return {"from_file": from_file, "in_memory": in_memory}


if __name__ == "__main__":
    run()
