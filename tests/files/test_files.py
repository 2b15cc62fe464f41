"""Model files: open ones, nets that are not saved, files that were altered."""

import gzip
import io
import json
import os
import struct
import zipfile

import fuzz_files
import numpy as np
import pytest
from model_files import plain, tensors, the_same, told

import vgfast as vg
from vgfast import reference
from vgfast.model import files

# ---- open files ---------------------------------------------------------------------------------------------


def test_an_open_file_is_written_and_read_from_where_it_stands(net, path):
    file = io.BytesIO()
    file.write(b"before")
    net.save(file)
    net.save(path)
    assert file.getvalue() == b"before" + path.read_bytes()
    file.seek(6)
    the_same(net, vg.MLP.load(file))
    assert file.read() == b""
    with open(path, "rb") as binary:
        the_same(net, vg.MLP.load(binary))
    with zipfile.ZipFile(path.parent / "zip", "w") as archive, archive.open("net", "w") as inside:
        net.save(inside)
    with zipfile.ZipFile(path.parent / "zip") as archive, archive.open("net") as inside:
        the_same(net, vg.MLP.load(inside))
    buffer = io.BytesIO(path.read_bytes())
    np.testing.assert_array_equal(reference.MLP.load(buffer).params, net.params)


class Sparing(io.RawIOBase):
    """Takes and gives few bytes at a time, as a pipe may."""

    def __init__(self, data=b""):
        self.inside = io.BytesIO(data)

    def write(self, data):
        return self.inside.write(data[:7])

    def read(self, n=-1):
        return self.inside.read(min(n, 7))


def test_an_open_file_that_takes_and_gives_few_bytes_at_a_time(net, path):
    net.save(path)
    file = Sparing()
    net.save(file)
    assert file.inside.getvalue() == path.read_bytes()
    the_same(net, vg.MLP.load(Sparing(path.read_bytes())))


def test_a_file_in_text_mode(net, path):
    net.save(path)
    before = path.read_bytes()
    for file in (io.StringIO(), open(path.parent / "text", "w"), open(path, "rb")):  # noqa: SIM115
        with file:
            assert "binary file open for writing" in told(TypeError, net.save, file)
    with open(path, encoding="latin1") as text:
        assert told(TypeError, vg.MLP.load, text) == f"{path} must give bytes, got str; open it with mode 'rb'"
    with open(path, encoding="ascii") as text:
        assert told(TypeError, vg.MLP.load, text) == f"{path} must give bytes, got str; open it with mode 'rb'"
    assert told(TypeError, vg.MLP.load, io.StringIO("{}")).startswith("the given file must give bytes, got str; ")
    with open(path, "ab") as file:
        assert "must be open for reading" in told(TypeError, vg.MLP.load, file)
    assert path.read_bytes() == before
    with open(path, "wb") as file:  # as was told
        net.save(file)
    with open(path, "rb") as file:
        the_same(net, vg.MLP.load(file))


def test_a_file_that_is_closed_or_at_its_end(net, path):
    with open(path, "wb") as file:
        net.save(file)
    for call in (net.save, vg.MLP.load):
        assert "is closed; open it again to " in told(ValueError, call, file)
    with open(path, "rb") as file:
        vg.MLP.load(file)
        assert f"{path} is at its end" in told(ValueError, vg.MLP.load, file)
    buffer = io.BytesIO()
    net.save(buffer)
    assert told(ValueError, vg.MLP.load, buffer).endswith("go to where the net begins, as with seek(0)")
    buffer.seek(0)  # as was told
    the_same(net, vg.MLP.load(buffer))
    assert "it is empty" in told(ValueError, vg.MLP.load, io.BytesIO())


def test_an_open_file_of_what_is_packed_and_damaged(net):
    packed = io.BytesIO()
    with gzip.open(packed, "wb") as file:
        net.save(file)
    contents = packed.getvalue()
    for damaged in (contents[:-30], contents[:40] + b"\xff" * 40 + contents[80:]):
        with gzip.open(io.BytesIO(damaged)) as file:
            assert "packed in it cannot be read" in told(ValueError, vg.MLP.load, file)


def test_what_is_neither_path_nor_file(net, path):
    net.save(path)
    contents = path.read_bytes()
    for call in (net.save, vg.MLP.load):
        for what in (None, 5, bytearray(contents)):
            assert f"got {type(what).__name__}" in told(TypeError, call, what)
        assert "a file's contents go into a file first" in told(ValueError, call, contents)
    the_same(net, vg.MLP.load(io.BytesIO(contents)))  # as was told
    the_same(net, vg.MLP.load(os.fsencode(path)))


def test_what_changes_while_it_is_saved_is_saved_as_it_was(path, monkeypatch):
    net = vg.MLP([1, 3, 1], loss="mse", rng=0)  # its weights are contiguous, transposed or not
    before, opening = net.copy(), os.open

    def meanwhile(*args):
        net.params[:] = 7
        return opening(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", meanwhile)
        net.save(path)
    the_same(before, vg.MLP.load(path))


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for what, words in (
        (tmp_path / "fifo", "no regular file; put the file in its place"),
        ("/dev/zero", "no regular file; put the file in its place"),
        (tmp_path, "a directory; name a file in it"),
    ):
        assert told(ValueError, vg.MLP.load, what) == f"{what} must be a safetensors file, and is {words}"
    with open("/dev/zero", "rb") as endless:
        assert "its header is not JSON" in told(ValueError, vg.MLP.load, endless)


# ---- nets that are not finite ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("pieces", ["weights", "biases"])
def test_a_net_that_is_not_finite_is_not_saved(pieces, value, word, net, path):
    net.save(path)
    old, before = path.read_bytes(), net.copy()
    getattr(net, pieces)[1].flat[1] = value
    text = told(vg.DivergenceError, net.save, path)
    assert text == (
        f"the {pieces} of layer 2 hold {word}, so the net is not saved; assign finite ones, for example from a copy "
        f"made before"
    )
    file = io.BytesIO()
    told(vg.DivergenceError, net.save, file)
    assert file.getvalue() == b""
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == [path.name]
    getattr(net, pieces)[1] = getattr(before, pieces)[1]  # as was told
    net.save(path)
    the_same(net, vg.MLP.load(path))


def test_the_error_tells_the_layer(net):
    net.weights[1][0] = np.nan
    with pytest.raises(vg.DivergenceError) as caught:
        net.save(io.BytesIO())
    assert caught.value.layer == 2
    with pytest.raises(vg.DivergenceError):
        reference.MLP.save(net, io.BytesIO())


def test_a_file_of_a_net_that_is_not_finite(net, path, monkeypatch):
    words = "holds a net with NaN or infinity among its parameters, which is of no use; load an earlier one"
    net.weights[1][0] = np.nan
    path.write_bytes(plain(tensors(net)))
    assert told(ValueError, vg.MLP.load, path, activation="tanh", loss="mse") == f"{path} {words}"
    monkeypatch.setattr(files, "check_finite", lambda *_: None)
    net.save(path)
    assert told(ValueError, vg.MLP.load, path) == f"{path} {words}"


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_a_subclass_is_loaded_without_its_constructor(net, path):
    class Named(vg.MLP):
        def __init__(self, name):
            super().__init__([4, 5, 3], "tanh")
            self.name = name

    net.save(path)
    again = Named.load(path)
    assert type(again) is Named
    assert not hasattr(again, "name")
    again.name = "set afterwards"
    assert again.copy().name == "set afterwards"
    the_same(net, again)


def test_files_that_were_altered():
    outcomes, *_ = fuzz_files.run("model", 500)
    assert outcomes["damaged"] > 400
    assert outcomes["another kind"] > 0
    assert outcomes["a net that tells nothing of itself, as its header says"] > 0


def test_a_header_that_takes_long_to_multiply(path):
    """Two thousand sizes of 19 digits, hundred times over."""
    shape = [10**18] * 2000
    entries = {str(i): {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]} for i in range(100)}
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    assert "has 2000 dimensions" in told(ValueError, vg.MLP.load, path)
