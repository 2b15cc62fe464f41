"""What sources are made of: arrays, files, functions, loaders. Each gives the bits of the run in memory."""

import os
import subprocess
import sys

import numpy as np
import pytest

import vgfast as vg
from vgfast.data import blocks, parquet
from vgfast.training import reader

RNG = np.random.default_rng(6)
X = RNG.normal(size=(230, 4)).astype(np.float32)
Y = RNG.integers(0, 3, len(X))
WEIGHTS = RNG.uniform(0.5, 2, len(X))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for room in (blocks, parquet):
        monkeypatch.setattr(room, "BLOCK_BYTES", 700)
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1100)


def trained(*data, shuffle=False, **how):
    net = vg.MLP([4, 7, 3], rng=1)
    net.fit(*data, epochs=2, batch_size=16, shuffle=shuffle, **how)
    return net.params.tobytes()


IN_MEMORY = trained(X, Y)
WEIGHTED = trained(X, Y, sample_weight=WEIGHTS)


def seen(source):
    """The rows that it gives in the order of its blocks turned round, and in its own."""
    turned = list(source.blocks(np.arange(source.n_blocks)[::-1].copy()))
    return [np.concatenate([np.array(block[0]) for block in found]) for found in (turned[::-1], source.blocks(None))]


def check(source, weighted=None):
    """Of X and Y; and of the weights too."""
    assert len(source) == 230
    assert source.n_blocks is None or source.n_blocks > 2
    assert trained(source) == IN_MEMORY
    assert trained(source, shuffle=True) != IN_MEMORY
    assert trained(source, shuffle=True) == trained(source, shuffle=True)
    assert weighted is None or trained(weighted) == WEIGHTED


def test_arrays_of_any_kind():
    check(blocks.from_arrays(X, Y), blocks.from_arrays(X, Y, WEIGHTS))
    check(blocks.from_arrays(np.asfortranarray(X.astype(float)), Y.astype(np.uint8)))
    check(blocks.from_arrays(np.repeat(X, 2, axis=0)[::2].reshape(230, 2, 2), Y))


def test_a_memory_map(tmp_path):
    np.save(tmp_path / "X.npy", X)
    check(blocks.from_arrays(np.load(tmp_path / "X.npy", mmap_mode="r"), Y))


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
def test_npy_files(dtype, tmp_path):
    x, y, w = (str(tmp_path / name) for name in ("X.npy", "y.npy", "w.npy"))
    np.save(x, X.astype(dtype).reshape(230, 2, 2))
    np.save(y, Y)
    np.save(w, WEIGHTS)
    check(blocks.from_npy(x, Y), blocks.from_npy(x, y, w))
    source = blocks.from_npy(x, y)
    assert next(source.blocks(np.array([2, 0]))).where == f"rows {2 * source.block_rows} to {3 * source.block_rows - 1}"


def test_an_npy_file_that_is_cut_off(tmp_path):
    np.save(tmp_path / "X.npy", X)
    data = (tmp_path / "X.npy").read_bytes()
    (tmp_path / "X.npy").write_bytes(data[:-1000])
    with pytest.raises(RuntimeError, match=r"block \d+ was due .EOFError: .*X.npy ends within rows") as caught:
        trained(blocks.from_npy(tmp_path / "X.npy", Y))
    assert isinstance(caught.value.__cause__, EOFError)


def test_npy_files_that_are_refused(tmp_path):
    np.save(tmp_path / "turned.npy", np.asfortranarray(X))
    np.save(tmp_path / "one.npy", np.float32(3))
    (tmp_path / "text.npy").write_text("no array")
    for name, words in (("turned", "Fortran's order"), ("one", "single number"), ("text", "np.save, and .* is none")):
        with pytest.raises(ValueError, match=words):
            blocks.from_npy(tmp_path / f"{name}.npy", Y)
    with pytest.raises(FileNotFoundError):
        blocks.from_npy(tmp_path / "nothing.npy", Y)
    check(blocks.from_arrays(np.load(tmp_path / "turned.npy", mmap_mode="r"), Y))  # as the error advises


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(9, 4))
        file.create_dataset("of/labels", data=Y)
        file.create_dataset("w", data=WEIGHTS)
    source = blocks.from_hdf5(path, y="of/labels")
    assert source.block_rows % 9 == 0
    check(source, blocks.from_hdf5(path, y="of/labels", sample_weight="w"))
    with pytest.raises(ValueError, match=r"y must name a dataset of .*, got 'y'; it has 'X', 'of', 'w'"):
        blocks.from_hdf5(path)
    with h5py.File(path) as file:
        check(blocks.from_arrays(file["X"], file["of/labels"]))


def test_parquet(tmp_path):
    pyarrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {name: X[:, i] for i, name in enumerate("abcd")} | {"label": Y, "w": WEIGHTS, "text": ["x"] * 230}
    table, paths = pyarrow.table(columns), [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    files.write_table(table.slice(0, 130), paths[0], row_group_size=60)
    files.write_table(table.slice(130), paths[1], row_group_size=60)
    source = blocks.from_parquet(paths, "label", list("abcd"))
    assert source.n_blocks == 3 + 2
    assert len(list(source.blocks(None))) > 5  # large row groups come in parts
    check(source, blocks.from_parquet(paths, "label", list("abcd"), sample_weight="w"))
    rows, in_order = seen(source)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, in_order))
    files.write_table(table.select([*"abcd", "label"]), paths[0])
    one = blocks.from_parquet(str(paths[0]), "label")
    assert trained(one) == IN_MEMORY
    several = vg.MLP([3, 2], loss="mse", rng=0)
    several.fit(blocks.from_parquet(paths[0], ["c", "d"], ["a", "b", "label"]), epochs=1, shuffle=False)
    same = vg.MLP([3, 2], loss="mse", rng=0)
    same.fit(np.column_stack([X[:, :2], Y]), X[:, 2:], 1, shuffle=False)
    np.testing.assert_array_equal(several.params, same.params)
    with pytest.raises(ValueError, match=r"has no column 'z'; it has 'a', 'b'"):
        blocks.from_parquet(paths, "z")
    with pytest.raises(
        TypeError, match=r"block 0 of the source, rows 0 to \d+ of row group \d .*the text 'x' in row 0"
    ):
        vg.MLP([5, 3], rng=0).fit(blocks.from_parquet(paths[1], "label", [*"abcd", "text"]))


def test_a_loader_of_torch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data
    images = data.TensorDataset(torch.from_numpy(X).reshape(230, 1, 2, 2), torch.from_numpy(Y))
    check(blocks.from_loader(data.DataLoader(images, batch_size=11)))
    cut = blocks.from_loader(data.DataLoader(images, batch_size=100, drop_last=True))
    assert len(cut) == 200
    assert trained(cut) == trained(X[:200], Y[:200])
    check(blocks.from_loader([(X[:100], Y[:100]), (X[100:], Y[100:])], rows=230))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: blocks.from_arrays(X, Y[:-1]), ValueError, "y must have a row for each of the 230 of X, got 229"),
        (lambda: blocks.from_arrays([[1]], Y), TypeError, r"use np.asarray\(X\)"),
        (lambda: blocks.from_function([], 230), TypeError, "make must be a function"),
        (lambda: blocks.from_function(iter([]), 230), TypeError, "give the function itself"),
        (lambda: blocks.from_function(lambda: [], 0), ValueError, "rows must be at least 1"),
        (lambda: blocks.from_loader([(X, Y)]), TypeError, "give rows="),
        (lambda: blocks.from_loader(iter([(X, Y)]), 230), TypeError, "iterated over again"),
    ],
)
def test_what_makes_no_source(make, error, words):
    with pytest.raises(error, match=words):
        make()


BEYOND = """
import resource, sys
import numpy as np, vgfast as vg
from vgfast.data import blocks
limit, path = int(sys.argv[1]), sys.argv[2]
net = vg.MLP([256, 8, 2], rng=0)
net.step(np.ones((64, 256), np.float32), np.zeros(64, int))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
source = blocks.from_npy(path, np.arange(int(sys.argv[3])) % 2)
try:
    np.empty(len(source) * 256, np.float32).fill(0)
except MemoryError:
    print("not in memory")
print(len(net.fit(source, epochs=1, batch_size=1000).loss))
"""


@pytest.mark.slow
@pytest.mark.any_isa
def test_a_file_of_four_times_the_address_space(tmp_path):
    limit, path = 1 << 29, tmp_path / "X.npy"
    rows = 4 * limit // 1024
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 256)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * limit)  # zeros, which take no room on most disks
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each of NumPy's has memory of its own
    command = [sys.executable, "-c", BEYOND, str(limit), path, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=one_thread)
    assert done.stdout.split("\n")[:2] == ["not in memory", str(-(-rows // 1000))], done.stderr
