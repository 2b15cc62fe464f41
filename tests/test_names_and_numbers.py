"""What may be handed over as names and numbers: what is taken, as what, and which other is meant."""

import fractions

import numpy as np
import pytest

import vgfast as vg
from vgfast import _check, _core, init

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 3

# ---- names ------------------------------------------------------------------------------------------------

SAME = {
    "loss": {
        "categorical_crossentropy": "cross_entropy",
        "sparse_categorical_crossentropy": "cross_entropy",
        "CrossEntropyLoss": "cross_entropy",
        "crossentropy": "cross_entropy",
        "log_loss": "cross_entropy",
        "binary_crossentropy": "binary_cross_entropy",
        "bce": "binary_cross_entropy",
        "BCEWithLogitsLoss": "binary_cross_entropy",
        "mean_squared_error": "mse",
        "squared_error": "mse",
        "MSELoss": "mse",
        "l2": "mse",
        "cros_entropy": "cross_entropy",
        "binary_cross_entropy_with_logits": "binary_cross_entropy",
    },
    "activation": {
        "linear": "identity",
        "logistic": "sigmoid",
        "LeakyReLU": "leaky_relu",
        "rellu": "relu",
        "tahn": "tanh",
        "swish": "silu",
        "GELU": "gelu",
        "gelu_new": "gelu_tanh",
        "hard_tanh": "hardtanh",
        "lecun_tanh": "scaled_tanh",
    },
    "init": {
        "xavier_uniform": "glorot_uniform",
        "xavier_normal": "glorot_normal",
        "kaiming_normal_": "he_normal",
        "kaiming_uniform": "he_uniform",
        "he_norml": "he_normal",
        "orthogonal_": "orthogonal",
    },
    "dtype": {"torch.float32": "float32", "fp64": "float64", "float23": "float32"},
}
ABSENT = {
    "loss": ["mae", "l1", "huber", "hinge", "rmse", "msle", "focal", "absolute_error"],
    "activation": ["celu", "softmax", "prelu", "relu6", "atan", "log_sigmoid", "maxout"],
    "init": ["uniform", "truncated_normal", "ones", "xavier"],
    "dtype": ["float16", "bfloat16", "half", "float128", "int32"],
}


@pytest.mark.parametrize(("option", "name"), [(option, name) for option in SAME for name in SAME[option]])
def test_a_name_is_answered_with_the_same_method(option, name):
    with pytest.raises(ValueError, match=f"did you mean '{SAME[option][name]}'\\?"):
        vg.MLP([3, 4, 2], **{option: name})
    vg.MLP([3, 4, 2], **{option: SAME[option][name]})


@pytest.mark.parametrize(("option", "name"), [(option, name) for option in ABSENT for name in ABSENT[option]])
def test_what_there_is_not_is_answered_with_no_other_method(option, name):
    with pytest.raises(ValueError, match=f"(no|unknown) {option} '{name}'; there is ") as caught:
        vg.MLP([3, 4, 2], **{option: name})
    assert "did you mean" not in str(caught.value)


def test_the_table_of_names_leads_to_options():
    options = {"loss": _core.LOSSES, "activation": _core.ACTIVATIONS, "init": init.NAMES, "dtype": _core.DTYPES}
    assert _check._ELSEWHERE.keys() == options.keys()
    for option, table in _check._ELSEWHERE.items():
        assert {name for name in table.values() if name} <= set(options[option])
        assert all(name == _check._plain(name) for name in table)


@pytest.mark.parametrize("name", ["float", "double", "f4", "<f8", np.float32, float])
def test_numpys_names_of_dtypes(name):
    assert vg.MLP([3, 2], dtype=name).dtype == np.dtype(name)


# ---- numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [vg.MLP, vg.reference.MLP])
@pytest.mark.parametrize(
    ("rng", "error"),
    [
        (-1, ValueError),
        ("abc", TypeError),
        (1.5, TypeError),
        (1.0, TypeError),
        (True, TypeError),
        (np.random.RandomState(0), TypeError),
        (np.random, TypeError),
        ([1, -1], TypeError),
        ({}, TypeError),
    ],
)
def test_what_is_no_rng_is_named(kind, rng, error):
    with pytest.raises(error, match=r"^rng must be None, a seed .*, or a numpy.random.Generator, got ") as caught:
        kind([3, 2], rng=rng)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "rng",
    [None, 0, np.int64(3), 2**100, [1, 2], np.random.SeedSequence(1), np.random.PCG64(1), np.random.default_rng(1)],
)
def test_what_is_an_rng(rng):
    assert vg.MLP([3, 2], rng=rng).n_params == 8


def test_load_names_rng(tmp_path):
    vg.MLP([3, 2]).save(tmp_path / "net")
    with pytest.raises(ValueError, match="rng must be"):
        vg.MLP.load(tmp_path / "net", rng=-1)


@pytest.mark.parametrize("lr", [np.float32(0.5), np.float64(0.5), np.float16(0.5), fractions.Fraction(1, 2)])
def test_real_numbers_of_any_type(lr):
    assert vg.SGD(lr=lr).checked().lr == 0.5
    net, same = vg.MLP([3, 3], rng=0), vg.MLP([3, 3], rng=0)
    assert net.step(X, Y, vg.SGD(lr=lr)) == same.step(X, Y, vg.SGD(lr=0.5))
    np.testing.assert_array_equal(net.params, same.params)


@pytest.mark.parametrize("epochs", [np.int8(2), np.uint64(2), 2])
def test_whole_numbers_of_any_type(epochs):
    assert len(vg.MLP([3, 3], rng=0).fit(X, Y, epochs).epochs) == 2


@pytest.mark.parametrize(
    "value", [True, np.True_, 2.5, "two", None, [2], [[2], [3, 4]], np.array([2]), float("nan"), 2j]
)
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(TypeError, match=r"^epochs must be a whole number, got ") as caught:
        vg.MLP([3, 3]).fit(X, Y, epochs=value)
    assert "use" not in str(caught.value)


@pytest.mark.parametrize("value", [True, "fast", None, [0.1], [[2], [3, 4]], np.array([0.1]), 2j, "-1", np.array(-1.0)])
def test_what_is_no_number_is_named(value):
    with pytest.raises(TypeError, match=r"^lr must be a number, got ") as caught:
        vg.SGD(lr=value)
    assert "use" not in str(caught.value)
