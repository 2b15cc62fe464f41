"""Model files: how they are written, of whom they are read, and what is said of those that are not read."""

import errno
import fcntl
import gzip
import io
import json
import os
import pickle
import random
import signal
import stat
import struct
import time
import tracemalloc
import zipfile
from collections import Counter

import fuzz_files
import numpy as np
import pytest

import vgfast as vg
from vgfast import _files, _replace, reference

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forks, beside the core's threads


@pytest.fixture
def net():
    return vg.MLP([4, 5, 3], "tanh", rng=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def parts(folder):
    return [name for name in os.listdir(folder) if name.endswith(".part")]


def the_same(net, again):
    assert (again.sizes, again.activations, again.loss, again.dtype) == (
        net.sizes,
        net.activations,
        net.loss,
        net.dtype,
    )
    np.testing.assert_array_equal(again.params, net.params)


def told(error, call, *args, **kwargs):
    """The sentence of a refusal."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert ".part" not in text
    return text


# ---- modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [0o600, 0o640, 0o664, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(old, net, path, umask):
    net.save(path)
    path.chmod(old)
    net.save(path)
    assert mode(path) == old


def test_a_new_file_gets_what_the_umask_leaves(net, path, umask, monkeypatch):
    """Without the umask of the process being touched, which other threads create files by."""

    def touched(_):
        raise AssertionError("the umask is touched")

    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", touched)
        net.save(path)
    assert mode(path) == 0o640


def test_a_private_file_is_private_from_its_first_byte(net, path, umask, monkeypatch):
    net.save(path)
    path.chmod(0o600)
    born = []
    opening = os.open

    def watched(name, flags, *mode):
        handle = opening(name, flags, *mode)
        born.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return handle

    monkeypatch.setattr(os, "open", watched)
    net.save(path)
    assert born[0] == 0o600


@pytest.mark.parametrize(("old", "left"), [(0o664, 0o644), (0o640, 0o600), (0o660, 0o600)])
def test_a_group_that_cannot_be_kept_passes_on_no_more_than_all_have(old, left, net, path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, "no")

    net.save(path)
    path.chmod(old)
    monkeypatch.setattr(os, "fchown", refused)
    net.save(path)
    assert mode(path) == left


def test_owner_and_group_are_kept(net, path, monkeypatch):
    asked = []
    net.save(path)
    monkeypatch.setattr(os, "fchown", lambda handle, uid, gid: asked.append((uid, gid)))
    net.save(path)
    assert asked == [(path.stat().st_uid, path.stat().st_gid)]


# ---- whole or not at all -------------------------------------------------------------------------------


def test_the_file_is_on_the_disk_before_it_has_its_name_and_then_the_name(net, path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def synced(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def replaced(part, target):
        done.append("name")
        replace(part, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    net.save(path)
    assert done == ["file", "name", "folder"]


def test_a_folder_that_cannot_be_synced_is_no_error(net, path, monkeypatch):
    sync = os.fsync

    def refused(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no")
        sync(handle)

    monkeypatch.setattr(os, "fsync", refused)
    net.save(path)
    the_same(net, vg.MLP.load(path))


def forked(work):
    """A child process that does this and ends, whatever happens."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def ended(child):
    """By which signal."""
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("moment", ["flock", "fchmod", "fsync", "replace"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_moment(moment, after, net, path):
    """One file is whole, the old or the new, and the next save leaves nothing else."""
    other = vg.MLP([2, 2], rng=1)
    net.save(path)

    def die():
        module = fcntl if moment == "flock" else os
        real = getattr(module, moment)

        def dying(*args):
            if after:
                real(*args)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, moment, dying)
        other.save(path)

    assert ended(forked(die)) == signal.SIGKILL
    replaced = moment == "replace" and after
    the_same(other if replaced else net, vg.MLP.load(path))
    assert len(parts(path.parent)) == (0 if replaced else 1)
    other.save(path.parent / "another")
    assert len(parts(path.parent)) == (0 if replaced else 1)  # not that one's
    other.save(path)
    the_same(other, vg.MLP.load(path))
    assert parts(path.parent) == []


def killed_savings(folder, kills, seed=0):
    """Kill a process that saves two nets in turn, so many times; returns how often a part-file was left."""
    path, r = folder / "net", random.Random(seed)
    nets = [vg.MLP([30, 400, 3], rng=i) for i in range(2)]
    nets[0].save(path)
    left = Counter()

    def save_for_ever():
        while True:
            for net in nets:
                net.save(path)

    for _ in range(kills):
        child = forked(save_for_ever)
        time.sleep(r.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        assert ended(child) == signal.SIGKILL
        left[len(parts(folder))] += 1
        assert any(np.array_equal(vg.MLP.load(path).params, net.params) for net in nets)
        nets[0].save(path)
        assert os.listdir(folder) == ["net"]
    return left


def test_killed_while_it_saves(tmp_path):
    killed_savings(tmp_path, 12)


def test_a_part_file_that_somebody_writes_is_left_alone(net, path, monkeypatch):
    replace = os.replace

    def meanwhile(part, target):
        monkeypatch.setattr(os, "replace", replace)
        vg.MLP([2, 2], rng=1).save(path)  # as another thread or process does
        assert os.path.exists(part)
        replace(part, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    net.save(path)
    the_same(net, vg.MLP.load(path))
    assert parts(path.parent) == []


def test_a_part_file_taken_for_one_that_was_left_is_begun_again(net, path, monkeypatch):
    """By another saver, in the moment between its creation and its lock."""
    lock = fcntl.flock

    def late(handle, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        vg.MLP([2, 2], rng=1).save(path)
        assert parts(path.parent) == []
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    net.save(path)
    the_same(net, vg.MLP.load(path))


def test_two_that_save_at_once(net, path):
    def save_often():
        for _ in range(40):
            net.save(path)
        os.kill(os.getpid(), signal.SIGTERM)  # told from an end by an error

    children = [forked(save_often), forked(save_often)]
    assert [ended(child) for child in children] == [signal.SIGTERM] * 2
    the_same(net, vg.MLP.load(path))
    assert parts(path.parent) == []


def test_without_locks_nothing_is_removed(net, path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    (path.parent / f"{_stem(path)}0.part").write_bytes(b"")
    net.save(path)
    the_same(net, vg.MLP.load(path))
    assert len(parts(path.parent)) == 1


def _stem(path):
    """How the names of this target's part-files begin."""
    names = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_replace, "_remove_left", lambda folder, stem: names.append(stem))
        vg.MLP([2, 2]).save(path)
    path.unlink()
    return names[0]


def test_what_only_has_the_name_of_a_part_file_does_no_harm(net, path):
    kept = path.parent / "kept"
    kept.write_bytes(b"kept")
    stem = path.parent / _stem(path)
    os.mkfifo(f"{stem}1.part")
    os.symlink(kept, f"{stem}2.part")
    os.mkdir(f"{stem}3.part")
    net.save(path)
    the_same(net, vg.MLP.load(path))
    assert kept.read_bytes() == b"kept"


def test_a_name_as_long_as_can_be(net, tmp_path):
    path = tmp_path / ("n" * 255)
    net.save(path)
    the_same(net, vg.MLP.load(path))


# ---- where nothing can be written ------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "models/new/net"
    text = told(FileNotFoundError, net.save, path)
    assert text == f"{path} cannot be written: the folder models/new does not exist; create it or choose another path"
    os.makedirs("models/new")
    net.save(path)  # as was told


def test_a_folder_that_is_none(net, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    text = told(NotADirectoryError, net.save, tmp_path / "file" / "net")
    assert f"{tmp_path}/file/net cannot be written: the folder {tmp_path}/file is no folder; " in text


def test_a_link_to_a_folder_that_is_not_there(net, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "none" / "net")
    text = told(FileNotFoundError, net.save, tmp_path / "link")
    assert text.startswith(f"{tmp_path}/link cannot be written: the folder {tmp_path}/none does not exist; ")


FULL = OSError(errno.ENOSPC, "No space left on device")
FORBIDDEN = PermissionError(errno.EACCES, "Permission denied", "/hidden/x.part")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("open", FORBIDDEN, "you may not write it into the folder {}; choose another folder"),
        ("replace", FORBIDDEN, "you may not write it into the folder {}; choose another folder"),
        ("fsync", FULL, "No space left on device; mend that or choose another path"),
    ],
)
def test_what_the_system_refuses_is_told_of_the_path_that_was_given(call, error, words, net, path, monkeypatch):
    net.save(path)
    old = path.read_bytes()

    def refused(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refused)
        text = told(type(error), vg.MLP([2, 2]).save, path)
    assert text == f"{path} cannot be written: {words.format(path.parent)}"
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("end", ["", "new/"])
def test_a_path_that_names_no_file(end, net, tmp_path):
    text = told(ValueError, net.save, f"{tmp_path}/{end}")
    assert "is not a regular file, so it is not replaced; choose another path" in text
    assert os.listdir(tmp_path) == []


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
        assert told(TypeError, vg.MLP.load, text) == "a file must give bytes, got str; open it with mode 'rb'"
    with open(path, "ab") as file:
        assert "must be open for reading" in told(TypeError, vg.MLP.load, file)
    assert path.read_bytes() == before
    with open(path, "wb") as file:  # as was told
        net.save(file)
    with open(path, "rb") as file:
        the_same(net, vg.MLP.load(file))


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


# ---- files of others -----------------------------------------------------------------------------------------


def zipped(name, data=b"x"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


def saved(save, *args):
    out = io.BytesIO()
    save(out, *args)
    return out.getvalue()


OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
THEN_ASSIGN = " and assign net.weights, each (n_in, n_out), and net.biases of a new vg.MLP"
DOWNLOADED = "what was downloaded is not the file itself: get it again"
KINDS = {
    "torch": (zipped("archive/data.pkl"), "a PyTorch file (.pt)", "read it with torch.load" + THEN_ASSIGN),
    "torchscript": (zipped("net/data/0"), "a PyTorch file (.pt)", "read it with torch.load" + THEN_ASSIGN),
    "old torch": (OLD_TORCH, "a PyTorch file (.pt)", "read it with torch.load" + THEN_ASSIGN),
    "pickle": (
        pickle.dumps({"w": [1.0]}),
        "a pickle",
        "read it, if you trust where it is from, with pickle.load" + THEN_ASSIGN,
    ),
    "npz": (saved(np.savez, np.ones(3)), "a NumPy file (.npz)", "read it with numpy.load" + THEN_ASSIGN),
    "npy": (saved(np.save, np.ones(3)), "a NumPy file (.npy)", "read it with numpy.load" + THEN_ASSIGN),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file", "read it with h5py" + THEN_ASSIGN),
    "zip": (zipped("net.safetensors"), "a zip archive", "unpack it first"),
    "gzip": (gzip.compress(b"x" * 99), "a gzip file", "unpack it first"),
    "html": (b"\n <!DOCTYPE html><html>...", "a web page (HTML)", DOWNLOADED),
    "html without a type": (b"\xef\xbb\xbf<HTML><head>", "a web page (HTML)", DOWNLOADED),
    "json": (b'{\n  "weight_map": {}\n}', "a JSON file", "name the file that it belongs to"),
    "git lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a",
        "a pointer of Git LFS",
        "get the file itself with git lfs pull",
    ),
}


@pytest.mark.parametrize("case", KINDS)
def test_a_file_of_another_kind_is_named_for_what_it_is(case, path):
    data, what, how = KINDS[case]
    path.write_bytes(data)
    assert told(ValueError, vg.MLP.load, path) == f"{path} is {what}, not a safetensors file; {how}"


def test_arrays_of_a_file_of_another_kind_are_got_at_as_was_told(net, path):
    np.savez(path, *net.weights, *net.biases)
    path = path.with_suffix(".safetensors.npz")
    assert "read it with numpy.load and assign net.weights" in told(ValueError, vg.MLP.load, path)
    arrays = list(np.load(path).values())
    new = vg.MLP(net.sizes, "tanh")
    for l in range(2):
        new.weights[l], new.biases[l] = arrays[l], arrays[2 + l]
    the_same(net, new)


def test_a_zipped_model_is_got_at_as_was_told(net, path):
    net.save(path)
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(whole))
    assert "unpack it first" in told(ValueError, vg.MLP.load, path)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    the_same(net, vg.MLP.load(path))


FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": None, "I32": "<i4"}


def plain(tensors, kinds="F32", metadata=None):
    """A safetensors file, as the format's description has it; bfloat16 by cutting float32 short."""
    header, rest = {} if metadata is None else {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        kind = kinds if isinstance(kinds, str) else kinds[name]
        if kind == "BF16":
            data = (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            data = np.ascontiguousarray(array).astype(FORMATS[kind]).tobytes()
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(rest), len(rest) + len(data)]}
        rest += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def tensors(net):
    named = {}
    for l, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        named |= {f"{2 * l}.weight": w.T, f"{2 * l}.bias": np.array(b)}
    return named


def test_a_file_of_a_torch_sequential(net, path):
    path.write_bytes(plain(tensors(net), metadata={"format": "pt"}))
    text = told(ValueError, vg.MLP.load, path)
    assert text == (
        f"{path} is a safetensors file that vgfast did not write: it has the weights of vg.MLP([4, 5, 3]), and does "
        f"not tell the rest; name it, for example with vg.MLP.load(path, activation='relu', loss='cross_entropy')"
    )
    call = text.rpartition("with ")[2]
    again = eval(call, {"vg": vg, "path": path})  # as was told
    assert (again.activations, again.loss) == (("relu",), "cross_entropy")
    the_same(net, vg.MLP.load(path, activation="tanh", loss="cross_entropy"))
    the_same(net, vg.MLP.load(path, activation=["tanh"], loss="cross_entropy"))
    plainly = reference.MLP.load(path, activation="tanh", loss="cross_entropy")
    np.testing.assert_array_equal(plainly.params, net.params)


def test_what_there_is_no_need_to_name(path):
    for sizes, missing in (([4, 1], "loss='binary_cross_entropy'"), ([4, 3], "loss='cross_entropy'")):
        path.write_bytes(plain(tensors(vg.MLP(sizes, loss="mse"))))
        text = told(ValueError, vg.MLP.load, path)
        assert text.endswith(f"vg.MLP.load(path, {missing})")
        vg.MLP.load(path, loss=missing[6:-1])
    path.write_bytes(plain(tensors(vg.MLP([2, 3, 2]))))
    assert told(ValueError, vg.MLP.load, path, loss="mse").endswith("vg.MLP.load(path, activation='relu')")


@pytest.mark.parametrize(
    ("kinds", "dtype"), [("F32", "float32"), ("F64", "float64"), ("F16", "float32"), ("BF16", "float32")]
)
def test_each_kind_of_float_keeps_its_values(kinds, dtype, path):
    net = vg.MLP([3, 7, 2], dtype=dtype, rng=3)
    exact = {"F16": np.float16, "BF16": None}.get(kinds, dtype)
    for pieces in (net.weights, net.biases):
        for i, array in enumerate(pieces):
            cut = (array.view("u4") & 0xFFFF0000).view("f4") if exact is None else array.astype(exact)
            pieces[i] = cut
    path.write_bytes(plain(tensors(net), kinds))
    the_same(net, vg.MLP.load(path, activation="relu", loss="cross_entropy"))
    kinds = {name: "F64" if name == "0.bias" else kinds for name in tensors(net)}
    path.write_bytes(plain(tensors(net), kinds))
    again = vg.MLP.load(path, activation="relu", loss="cross_entropy")
    assert again.dtype == np.float64
    np.testing.assert_array_equal(again.params, net.params)


def test_bad_arguments_for_a_file_that_tells_nothing(net, path):
    path.write_bytes(plain(tensors(net)))
    for more, words in (
        ({"activation": "rleu"}, "unknown activation 'rleu'; did you mean 'relu'?"),
        ({"activation": ["relu", "relu"]}, "one for each of the 1 hidden layers; got 2"),
        ({"activation": "relu", "loss": "mes"}, "unknown loss 'mes'; did you mean 'mse'?"),
    ):
        text = told(ValueError, vg.MLP.load, path, **{"loss": "mse", **more})
        assert text.startswith(f"{path} has the weights of vg.MLP([4, 5, 3]): ")
        assert words in text
        assert "again" not in text
    assert "a name or a list" in told(TypeError, vg.MLP.load, path, activation=5, loss="mse")


def test_arguments_that_contradict_a_file(net, path):
    net.save(path)
    the_same(net, vg.MLP.load(path, activation="tanh", loss="cross_entropy"))
    text = told(ValueError, vg.MLP.load, path, activation="relu")
    assert text == f"{path} says that its activations are ['tanh'], got 'relu'; leave out activation"
    text = told(ValueError, vg.MLP.load, path, loss="mse")
    assert text == f"{path} says that its loss is 'cross_entropy', got 'mse'; leave out loss"


def renamed(net, change):
    named = tensors(net)
    change(named)
    return plain(named)


READ_AND_ASSIGN = "; read it with safetensors" + THEN_ASSIGN


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.update({f"fc{i}.weight": t.pop(f"{2 * i}.weight") for i in range(2)}),
            "must have 0.weight, 0.bias, 2.weight, 2.bias, and has 0.bias, 2.bias, fc0.weight, fc1.weight",
        ),
        (lambda t: t.pop("0.bias"), "must have 0.weight, 0.bias, and has 0.weight, 2.weight, 2.bias"),
        (dict.clear, "must have 0.weight, 0.bias, and has none"),
        (lambda t: t.update({f"{i}": t["0.bias"] for i in range(9)}), "2.bias, 0, 1, ..."),
        (lambda t: t.update({"2.weight": t["2.weight"].T}), "2.weight must be (n_out, n_in), n_in being n_out of"),
        (lambda t: t.update({"0.weight": t["0.weight"][None]}), "and they are [1, 5, 4] and [5]"),
        (lambda t: t.update({"0.weight": t["0.weight"][:, :0]}), "and they are [5, 0] and [5]"),
        (lambda t: t.update({"2.bias": t["2.bias"][:2]}), "and they are [3, 5] and [2]"),
    ],
)
def test_tensors_that_are_no_net_of_ours(change, words, net, path):
    path.write_bytes(renamed(net, change))
    text = told(ValueError, vg.MLP.load, path, activation="tanh", loss="cross_entropy")
    assert text.startswith(f"{path} is a safetensors file without the tensors of a net of vgfast's: ")
    assert words in text
    assert text.endswith(READ_AND_ASSIGN)


def test_tensors_that_are_no_floats(net, path):
    path.write_bytes(plain(tensors(net), "I32"))
    text = told(ValueError, vg.MLP.load, path, activation="tanh", loss="cross_entropy")
    assert text == (
        f"{path} has 0.weight in 'I32', of which no net can be made; save its tensors as one of F32, F64, F16, BF16"
    )


def test_the_tensors_of_a_large_file_of_others_are_not_read(path):
    n = 10**7
    header = json.dumps({"embed": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 4 * n)  # with a hole, which takes no place
    tracemalloc.start()
    try:
        assert "without the tensors of a net" in told(ValueError, vg.MLP.load, path)
        assert tracemalloc.get_traced_memory()[1] < n
    finally:
        tracemalloc.stop()


def test_what_the_package_of_the_format_writes_and_reads(net, path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({name: np.ascontiguousarray(array) for name, array in tensors(net).items()}, path)
    the_same(net, vg.MLP.load(path, activation="tanh", loss="cross_entropy"))
    net.save(path)
    for name, array in numpy.load_file(path).items():
        np.testing.assert_array_equal(array, tensors(net)[name])


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
    monkeypatch.setattr(_files, "_check_finite", lambda *_: None)
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
