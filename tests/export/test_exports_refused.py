"""Nets that cannot be exported, whatever the form; and what the sentence says to do makes them so that they can."""

import io

import numpy as np
import pytest
from exported_nets import ROWS, make

import vgfast as vg
from vgfast import reference

LABELS = np.arange(9) % 3


def to_torch(net):
    pytest.importorskip("torch")
    net.to_torch()


def to_onnx(net):
    pytest.importorskip("onnx")
    net.to_onnx(io.BytesIO())


def to_c(net):
    net.to_c(io.BytesIO())


@pytest.fixture(params=[to_torch, to_onnx, to_c], ids=lambda form: form.__name__)
def export(request):
    return request.param


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    "mend",
    [
        lambda net: net.step(ROWS[:9], LABELS),
        lambda net: net.fit(ROWS[:9], LABELS, 1),
        lambda net: net.forward(ROWS[:9], training=True),
    ],
    ids=["step", "fit", "forward"],
)
def test_running_statistics_must_have_been_computed(export, place, mend):
    net = vg.MLP([5, 4, 3], normalization=vg.norm.batch(place), rng=0)
    with pytest.raises(ValueError, match=r"batch norm, and these are 0 and 1 as at first.*; call net\.fit, ") as caught:
        export(net)
    assert "\n" not in str(caught.value)
    mend(net)
    export(net)


def test_parameters_must_be_finite(export):
    net = make(norm=vg.norm.batch(), way=vg.residual(1, "rezero"))
    state = net.state_dict()
    for name, kind in (
        ("layer2.weight", "weights"),
        ("layer4.bias", "biases"),
        ("layer2.norm.weight", "gains"),
        ("layer2.norm.bias", "shifts"),
        ("layer3.scale", "scales"),
    ):
        net.parameters()[name].flat[0] = np.nan
        with pytest.raises(vg.DivergenceError, match=f"the {kind} of layer {name[5]} hold NaN, so the net is not exp"):
            export(net)
        net.load_state_dict(state)
        export(net)


def test_half_precision_is_refused(export):
    net = reference.MLP([5, 4, 3], dtype="float16", rng=0)
    with pytest.raises(ValueError, match="a net of float32 or float64, got one of float16; assign its params to a net"):
        export(net)
    mended = reference.MLP([5, 4, 3], dtype="float32", rng=0)
    mended.params = net.params
    export(mended)
