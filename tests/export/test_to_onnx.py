"""A net as an ONNX model: valid, and with the outputs of the net where onnxruntime runs it."""

import errno
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from exported_nets import ACTIVATIONS, LOSSES, NORMS, PLAIN, ROWS, WAYS, apart, in_pairs, make, of_all, tolerance

import vgfast as vg
from vgfast.export import normal_tail, to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CSRC = Path(__file__).resolve().parents[2] / "csrc"


def exported(net, **how):
    """The model's bytes."""
    file = io.BytesIO()
    net.to_onnx(file, **how)
    return file.getvalue()


def session(data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # these nets are small
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(data, x):
    """{name: array}"""
    of = session(data)
    return dict(zip([o.name for o in of.get_outputs()], of.run(None, {"X": x}), strict=True))


def check(net, x, found):
    """Outputs against the net's own."""
    if net.loss == "mse":
        assert apart(found["values"], net.predict(x)) <= tolerance(net), net
        return
    assert apart(found["probabilities"], net.predict_proba(x)) <= tolerance(net), net
    z = net.forward(x)
    top = np.sort(z, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-5 if net.loss == "cross_entropy" else np.abs(z) > 1e-5
    assert clear.mean() > 0.99
    assert np.array_equal(found["label"][clear], net.predict(x)[clear])


@pytest.mark.parametrize("part", range(4))
def test_every_activation_loss_and_normalization(part):
    """With residual connections, in both types: every two of these together."""
    choices = in_pairs(ACTIVATIONS, LOSSES, [*NORMS, *PLAIN], WAYS, ["float32", "float64"])
    for choice in choices[part::4]:
        net = make(*choice, dropout=0.2)
        data, x = exported(net), ROWS.astype(net.dtype)
        onnx.checker.check_model(data, full_check=True)
        check(net, x, run(data, x))


@pytest.mark.slow
def test_a_third_of_all_combinations():
    for choice in of_all()[::3]:
        net = make(*choice)
        x = ROWS.astype(net.dtype)
        check(net, x, run(exported(net), x))


@pytest.mark.parametrize("loss", LOSSES)
def test_any_number_of_rows(loss, dtype):
    net = make("gelu", loss, vg.norm.layer(), WAYS[-1], dtype)
    of = session(exported(net))
    for rows in (1, 7, 1000):
        x = ROWS[:rows].astype(dtype)
        found = dict(zip([o.name for o in of.get_outputs()], of.run(None, {"X": x}), strict=True))
        check(net, x, found)
        assert all(len(array) == rows for array in found.values())


def test_labels_are_those_that_are_given():
    names = ["setosa", "virginica", "ähnlich"]
    net, x = make(), ROWS.astype(np.float32)
    numbers = [[7, -2, 2**40], np.array([3, 1, 2], np.int8), np.array([1.0, 2.0, -3.0])]
    for classes in (names, np.array(names), np.array(names, object), *numbers):
        found = run(exported(net, classes=classes), x)["label"]
        assert found.tolist() == np.asarray(classes)[net.predict(x)].tolist()
        assert np.asarray(found).dtype == (object if isinstance(classes[0], str) else np.int64)


def test_two_labels_of_one_output(dtype):
    net, x = vg.MLP([5, 8, 1], loss="binary_cross_entropy", dtype=dtype, rng=0), ROWS.astype(dtype)
    found, p = run(exported(net, classes=["no", "yes"]), x), net.predict_proba(x)
    assert found["label"].tolist() == np.array(["no", "yes"])[net.predict(x)[:, 0]].tolist()
    assert apart(found["probabilities"], np.hstack([1 - p, p])) <= tolerance(net)
    assert np.array_equal(run(exported(net, classes=[False, True]), x)["label"], net.predict(x)[:, 0])
    plain = run(exported(net), x)
    assert plain["label"].dtype == np.int64
    assert np.array_equal(plain["label"], net.predict(x))


def test_far_out(dtype):
    """Values whose exponentials or cubes would leave the range."""
    x = np.array([[-1e4], [-90.0], [-13.0], [-1e-3], [0.0], [1e-3], [13.0], [90.0], [1e4]], dtype)
    for activation in ACTIVATIONS:
        net = vg.MLP([1, 1, 1], activation, "mse", dtype=dtype, rng=0)
        for weights in net.weights:
            weights[...] = 1
        found, want = run(exported(net), x)["values"], net.predict(x)
        assert (np.abs(found - want) <= 1e-5 * np.maximum(1, np.abs(want))).all(), activation


def test_the_polynomial_is_the_cores():
    if not CSRC.is_dir():
        pytest.skip("needs the sources")
    text = (CSRC / "kernels" / "tails.tmpl.h").read_text().partition("#else")[2]
    table = re.search(r"NAME\(mills\)\[\] = \{(.*?)\}", text, re.DOTALL)[1]
    assert tuple(map(float.fromhex, table.split(","))) == normal_tail.COEFFICIENTS
    assert int(re.search(r"#define MILLS (\d+)", text)[1]) == normal_tail.MIDDLE
    assert int(re.search(r"#define FAR_OUT (\d+)", text)[1]) == normal_tail.FAR_OUT


def test_what_a_model_says_of_itself():
    model = onnx.load_from_string(exported(make("mish")))
    assert (model.producer_name, model.producer_version) == ("vgfast", vg.__version__)
    assert model.doc_string == repr(make("mish"))
    assert model.opset_import[0].version == 18


# ---- what is refused ---------------------------------------------------------------------------------------------

YES_NO = vg.MLP([5, 4, 1], loss="binary_cross_entropy", rng=0)
BAD_CLASSES = {
    "few": (make, ["a", "b"], ValueError, "the 3 classes of this net, in their order, got"),
    "a word": (make, "abc", ValueError, "the 3 classes"),
    "fractions": (make, [0.5, 1.5, 2.5], TypeError, "strings or whole numbers"),
    "mixed": (make, np.array(["a", 1, "b"], object), TypeError, "strings or whole numbers"),
    "three": (YES_NO.copy, ["a", "b", "c"], ValueError, "the 2 classes"),
    "many": (lambda: make(loss="binary_cross_entropy"), ["a", "b", "c"], ValueError, "leave out classes"),
    "values": (lambda: make(loss="mse"), ["a", "b", "c"], ValueError, "got a net with loss='mse'"),
}


@pytest.mark.parametrize("case", BAD_CLASSES)
def test_classes_that_are_refused(case, tmp_path):
    net, classes, error, words = BAD_CLASSES[case]
    with pytest.raises(error, match=words) as caught:
        net().to_onnx(tmp_path / "net.onnx", classes=classes)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_paths_that_cannot_be_written(tmp_path):
    net = make()
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path, error, words in (
        (
            tmp_path / "none" / "net.onnx",
            FileNotFoundError,
            "cannot be written: the folder .* does not exist; create it",
        ),
        (tmp_path / "file" / "net.onnx", NotADirectoryError, "is no folder; choose another path"),
        (tmp_path / "folder", ValueError, "is not a regular file"),
        (5, TypeError, "path must name a file, or be a binary file open to write"),
        (io.StringIO(), TypeError, "needs a binary file open for writing"),
    ):
        with pytest.raises(error, match=words):
            net.to_onnx(path)
    (tmp_path / "none").mkdir()
    net.to_onnx(tmp_path / "none" / "net.onnx")  # as was told
    run(str(tmp_path / "none" / "net.onnx"), ROWS.astype(np.float32))


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_text("old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        make().to_onnx(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_a_net_that_is_too_large_for_the_format(monkeypatch):
    monkeypatch.setattr(to_onnx, "_MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"at most 2 GiB, and this net has [\d,]+ bytes of parameters"):
        make().to_onnx(io.BytesIO())
