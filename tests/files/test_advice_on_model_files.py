"""What is said of a model file that cannot be read or written is done word for word, and then it can be."""

import errno
import io
import json
import os
import pickle
import re
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
from model_files import plain, tensors, the_same, told

import vgfast as vg
from vgfast import reference

AND_ASSIGN = r" and assign net\.weights, each \(n_in, n_out\), and net\.biases of a new vg\.MLP$"


def assigned(arrays):
    """A new net of these, of which those of two dimensions are (n_out, n_in) or (n_in, n_out)."""
    new = vg.MLP([4, 5, 3], "tanh")
    for l in range(2):
        weights = np.asarray(arrays[f"{2 * l}.weight"])
        new.weights[l] = weights if weights.shape == new.weights[l].shape else weights.T
        new.biases[l] = np.asarray(arrays[f"{2 * l}.bias"])
    return new


def state(torch, net):
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors(net).items()}


# ---- files of other kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_is_read_with_torch(torch, net, path, zipped):
    path = path.with_suffix(".pt")  # by which torch knows it
    torch.save(state(torch, net), path, _use_new_zipfile_serialization=zipped)
    load = re.search(r"; read it with (torch\.load)" + AND_ASSIGN, told(ValueError, vg.MLP.load, path))[1]
    the_same(net, assigned(eval(load, {"torch": torch})(path)))


@pytest.mark.filterwarnings("ignore:`?torch.jit:DeprecationWarning")
def test_a_script_is_read_with_torch(torch, net, path):
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    module.load_state_dict(state(torch, net))
    torch.jit.save(torch.jit.script(module), path)
    load = re.search(r"; read it with (torch\.jit\.load)" + AND_ASSIGN, told(ValueError, vg.MLP.load, path))[1]
    the_same(net, assigned({n: p.detach() for n, p in eval(load, {"torch": torch})(path).named_parameters()}))


def test_a_pickle_is_read_with_pickle(net, path):
    path.write_bytes(pickle.dumps({name: np.array(array) for name, array in tensors(net).items()}))
    words = r"; read it, if you trust where it is from, with (pickle\.load)"
    load = re.search(words + AND_ASSIGN, told(ValueError, vg.MLP.load, path))[1]
    with open(path, "rb") as file:
        the_same(net, assigned(eval(load, {"pickle": pickle})(file)))


@pytest.mark.parametrize("many", [True, False])
def test_files_of_numpy_are_read_with_numpy(net, path, many):
    named = {name: np.array(array) for name, array in tensors(net).items()}
    with open(path, "wb") as file:
        np.savez(file, **named) if many else np.save(file, np.array([named], object), allow_pickle=True)
    load = re.search(r"; read it with (numpy\.load)" + AND_ASSIGN, told(ValueError, vg.MLP.load, path))[1]
    found = eval(load, {"numpy": np})(path, allow_pickle=not many)
    with found if many else nullcontext():
        the_same(net, assigned(found if many else found[0]))


def test_a_file_of_hdf5_is_read_with_h5py(net, path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in tensors(net).items():
            file[name] = array
    assert re.search("; read it with h5py" + AND_ASSIGN, told(ValueError, vg.MLP.load, path))
    with h5py.File(path) as file:
        the_same(net, assigned(file))


def test_an_archive_is_unpacked(net, path):
    net.save(path)
    archive = path.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, "net")
    assert told(ValueError, vg.MLP.load, archive).endswith("; unpack it first")
    with zipfile.ZipFile(archive) as file:
        the_same(net, vg.MLP.load(file.extract("net", path.parent / "unpacked")))


OTHER_FILES = {
    "a web page": (b"<!doctype html><html>", "what was downloaded is not the file itself: get it again"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "get the file itself with git lfs pull"),
    "a damaged one": (b"\x09\0\0\0\0\0\0\0{'a': 1}", "get the file again or save the net again"),
    "an empty one": (b"", "get the file again or save the net again"),
}


@pytest.mark.parametrize("case", OTHER_FILES)
def test_the_file_itself_is_got(net, path, case):
    contents, advice = OTHER_FILES[case]
    net.save(path)
    whole = path.read_bytes()
    path.write_bytes(contents)
    assert told(ValueError, vg.MLP.load, path).endswith(f"; {advice}")
    path.write_bytes(whole)
    the_same(net, vg.MLP.load(path))
    path.write_bytes(contents)
    net.save(path)
    the_same(net, vg.MLP.load(path))


def test_the_file_that_an_index_belongs_to_is_named(net, path):
    net.save(path)
    index = path.with_suffix(".index.json")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors(net), path.name)}))
    assert told(ValueError, vg.MLP.load, index).endswith("; name the file that it belongs to")
    (name,) = set(json.loads(index.read_text())["weight_map"].values())
    the_same(net, vg.MLP.load(path.parent / name))


# ---- files of the format -------------------------------------------------------------------------------------------


def test_tensors_of_other_names_are_read_with_safetensors(net, path):
    numpy = pytest.importorskip("safetensors.numpy")
    names = {"0.weight": "fc1.weight", "0.bias": "fc1.bias", "2.weight": "fc2.weight", "2.bias": "fc2.bias"}
    numpy.save_file({names[n]: np.ascontiguousarray(array) for n, array in tensors(net).items()}, path)
    text = told(ValueError, vg.MLP.load, path, activation="tanh", loss="cross_entropy")
    assert re.search("; read it with safetensors" + AND_ASSIGN, text)
    found = numpy.load_file(path)
    the_same(net, assigned({n: found[other] for n, other in names.items()}))


def test_tensors_are_saved_in_a_dtype_of_the_list(net, path):
    path.write_bytes(plain(tensors(net), "I32"))
    text = told(ValueError, vg.MLP.load, path, activation="tanh", loss="cross_entropy")
    for kind in re.search("; save its tensors as one of (.*)$", text)[1].split(", "):
        path.write_bytes(plain(tensors(net), kind))
        assert vg.MLP.load(path, activation="tanh", loss="cross_entropy").sizes == net.sizes


@pytest.mark.parametrize(("name", "value"), [("activation", "relu"), ("loss", "mse")])
def test_what_contradicts_a_file_is_left_out(net, path, name, value):
    net.save(path)
    arguments = {name: value}
    text = told(ValueError, vg.MLP.load, path, **arguments)
    del arguments[re.search("; leave out (.*)$", text)[1]]
    the_same(net, vg.MLP.load(path, **arguments))


@pytest.mark.parametrize(("name", "value"), [("activation", "tnah"), ("loss", "crossentropy")])
def test_names_that_a_file_does_not_hold(net, path, name, value):
    path.write_bytes(plain(tensors(net)))
    right = {"activation": "tanh", "loss": "cross_entropy"}
    text = told(ValueError, vg.MLP.load, path, **{**right, name: value})
    meant = eval(re.search("did you mean ('.*')", text)[1])
    the_same(net, vg.MLP.load(path, **{**right, name: meant}))


def test_an_earlier_file_is_loaded_where_one_is_not_finite(net, path):
    net.save(path)
    named = {name: np.array(array) for name, array in tensors(net).items()}
    named["0.bias"][0] = np.nan
    later = path.with_suffix(".later")
    later.write_bytes(plain(named))
    given = {"activation": "tanh", "loss": "cross_entropy"}
    assert told(ValueError, vg.MLP.load, later, **given).endswith("; load an earlier one")
    the_same(net, vg.MLP.load(path, **given))


# ---- what is given -----------------------------------------------------------------------------------------------


def test_a_closed_file_is_opened_again(net, path):
    file = open(path, "wb")  # noqa: SIM115
    file.close()
    assert told(ValueError, net.save, file).endswith("is closed; open it again to write")
    with open(path, "wb") as file:
        net.save(file)
    assert told(ValueError, vg.MLP.load, file).endswith("is closed; open it again to read")
    with open(path, "rb") as file:
        the_same(net, vg.MLP.load(file))


def test_contents_are_wrapped_or_written(net, path):
    net.save(path)
    contents = path.read_bytes()
    wrap = re.search(r"can be wrapped in (io\.BytesIO)$", told(TypeError, vg.MLP.load, bytearray(contents)))[1]
    the_same(net, vg.MLP.load(eval(wrap, {"io": io})(contents)))
    assert told(ValueError, vg.MLP.load, contents).endswith("; a file's contents go into a file first")
    other = path.with_suffix(".other")
    other.write_bytes(contents)
    the_same(net, vg.MLP.load(other))


def test_a_file_in_a_folder_and_in_the_place_of_a_pipe(net, path):
    net.save(path)
    assert told(ValueError, vg.MLP.load, path.parent).endswith("; name a file in it")
    the_same(net, vg.MLP.load(path.parent / os.listdir(path.parent)[0]))
    pipe = path.parent / "pipe"
    os.mkfifo(pipe)
    assert told(ValueError, vg.MLP.load, pipe).endswith("; put the file in its place")
    path.replace(pipe)
    the_same(net, vg.MLP.load(pipe))


@pytest.mark.parametrize(("mode", "right"), [("w", "wb"), ("rb", "wb")])
def test_the_mode_of_a_file_to_write(net, path, mode, right):
    path.touch()
    with open(path, mode) as file:
        text = told(TypeError, net.save, file)
    assert re.search("; open it with mode '(.*)'$", text)[1] == right
    with open(path, right) as file:
        net.save(file)
    the_same(net, vg.MLP.load(path))


@pytest.mark.parametrize("mode", ["r", "ab"])
def test_the_mode_of_a_file_to_read(net, path, mode):
    net.save(path)
    with open(path, mode, encoding=None if "b" in mode else "latin1") as file:
        text = told(TypeError, vg.MLP.load, file)
    with open(path, re.search("; open it with mode '(.*)'$", text)[1]) as file:
        the_same(net, vg.MLP.load(file))


# ---- saving ------------------------------------------------------------------------------------------------------


def test_the_parameters_of_a_net_in_half_precision():
    half = reference.MLP([4, 5, 3], "tanh", dtype="float16", rng=0)
    text = told(ValueError, half.save, io.BytesIO())
    words = "holds a net of (.*) or (.*), got .*; assign its params to a net of such a dtype and use that$"
    for dtype in re.search(words, text).groups():
        net, file = reference.MLP([4, 5, 3], "tanh", dtype=dtype), io.BytesIO()
        net.params = half.params
        net.save(file)
        file.seek(0)
        np.testing.assert_array_equal(vg.MLP.load(file).params, half.params)


def test_a_file_that_is_full_and_another(net):
    class Full(io.RawIOBase):
        def write(self, data):
            return 0

    assert told(OSError, net.save, Full()).endswith("; save it to another")
    file = io.BytesIO()
    net.save(file)
    file.seek(0)
    the_same(net, vg.MLP.load(file))


@pytest.mark.parametrize("case", ["a folder", "a pipe", "no folder", "full"])
def test_another_path_is_chosen(net, tmp_path, monkeypatch, case):
    path = tmp_path / "net"
    if case == "a folder":
        path.mkdir()
    elif case == "a pipe":
        os.mkfifo(path)
    elif case == "no folder":
        path.touch()
        path /= "net"
    with monkeypatch.context() as patch:
        if case == "full":

            def full(handle):
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(os, "fsync", full)
        assert told((OSError, ValueError), net.save, path).endswith("choose another path")
    other = tmp_path / "other"
    net.save(other)
    the_same(net, vg.MLP.load(other))
    if case == "full":  # that was mended
        net.save(path)


def test_a_folder_is_created_or_another_chosen(net, tmp_path):
    path = tmp_path / "none" / "net"
    text = told(FileNotFoundError, net.save, path)
    folder = re.search("the folder (.*) does not exist; create it or choose another path$", text)[1]
    net.save(tmp_path / "net")
    os.mkdir(folder)
    net.save(path)
    the_same(vg.MLP.load(tmp_path / "net"), vg.MLP.load(path))


def test_another_folder_where_one_is_forbidden(net, tmp_path, monkeypatch):
    opening, forbidden = os.open, tmp_path / "forbidden"
    forbidden.mkdir()

    def refused(name, flags, *mode):
        if os.fspath(name).startswith(os.fspath(forbidden)) and flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opening(name, flags, *mode)

    monkeypatch.setattr(os, "open", refused)
    assert told(PermissionError, net.save, forbidden / "net").endswith("; choose another folder")
    net.save(tmp_path / "net")
    the_same(net, vg.MLP.load(tmp_path / "net"))
