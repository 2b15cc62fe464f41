"""Files that vgfast did not write: nets among them are loaded, and others named for what they are."""

import gzip
import io
import json
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from model_files import plain, tensors, the_same, told

import vgfast as vg
from vgfast import reference


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
    "torchscript": (zipped("net/data/0"), "a TorchScript file (.pt)", "read it with torch.jit.load" + THEN_ASSIGN),
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


@pytest.mark.parametrize("contents", [b"GGUF" + bytes(60), pickle.dumps([1.5], 0), b"%PDF-1.7 and more of it"])
def test_a_file_of_a_kind_that_is_not_known_is_none_of_safetensors(contents, path):
    path.write_bytes(contents)
    text = told(ValueError, vg.MLP.load, path)
    assert text.startswith(f"{path} is not a whole model file: it does not begin as a safetensors file does")
    assert str(int.from_bytes(contents[:8], "little")) not in text


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
    assert told(TypeError, vg.MLP.load, path, activation=5, loss="mse") == (
        f"{path} has the weights of vg.MLP([4, 5, 3]): activation must be a name or a list of names, got 5"
    )


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
