"""Normalization of hidden layers: its gradients, what it shows to inspection, and how it is kept."""

import copy
import io
import itertools
import pickle

import numpy as np
import pytest
from differences import slopes
from normalized_nets import make, problem, smooth

import vgfast as vg
from vgfast import _core, reference
from vgfast.cost import counts
from vgfast.model.architecture import Architecture

KINDS = {"layer": vg.norm.layer, "rms": vg.norm.rms}
NORMS = [
    KINDS[kind](place=place, affine=affine)
    for kind, place, affine in itertools.product(KINDS, ("before", "after"), (True, False))
]
norms = pytest.mark.parametrize("norm", NORMS, ids=str)
activations = pytest.mark.parametrize("activation", _core.ACTIVATIONS)
engines = pytest.mark.parametrize("engine", [vg.MLP, reference.MLP])


@norms
@activations
def test_every_parameter_against_central_differences(norm, activation):
    for rows in (2, 7):
        net, X, y = smooth(norm, activation, rows, steepest=10)
        found, wanted = slopes(net, net.gradients(X, y).flat, X, y)
        assert np.abs(found - wanted).max() <= 1e-7 * np.abs(wanted).max()


@norms
def test_the_engines_agree(isa, norm, dtype):
    """Forward, gradients, records and training, for widths around those of vectors. Twice the mean of a number of
    roundings is sqrt(width) eps, times what three layers amplify."""
    eps = float(np.finfo(dtype).eps)
    for activation, width in zip(_core.ACTIVATIONS, (1, 3, 16, 33, 70, 9, 24, 65, 5, 47, 64, 17) * 2, strict=False):
        sizes = (7, width, 2 * width + 1, 4)
        fast, plain = (make(norm, activation, sizes, engine, dtype) for engine in (vg.MLP, reference.MLP))
        X, y = problem(19, sizes, dtype)
        wide = reference.MLP(sizes, activation, rng=0, dtype="float64", normalization=norm)
        wide.params = fast.params
        exact, few = wide.gradients(X, y).flat, 1 if width > 1 else 100  # of one unit, h is all rounding
        for net in (fast, plain):
            assert np.abs(net.gradients(X, y).flat - exact).max() <= few * 2e3 * eps * np.abs(exact).max(), activation
        if width == 1:
            continue
        np.testing.assert_allclose(fast.forward(X), wide.forward(X), rtol=0, atol=500 * eps)
        reports = [net.inspect(X, y, try_remedies=False).records for net in (fast, plain)]
        for name in ("weight_gain", "activation_gain", "normalization_gain", "gain", "mean_derivative", "delta_norm"):
            np.testing.assert_allclose(reports[0][name], reports[1][name], rtol=5e3 * eps, err_msg=name)
        optimizer = vg.SGD(lr=0.1, momentum=0.5, weight_decay=0.01, clip_norm=0.3)
        for net in (fast, plain):
            net.fit(X, y, epochs=2, batch_size=5, optimizer=optimizer, shuffle=False)
        np.testing.assert_allclose(fast.params, plain.params, rtol=0, atol=1e4 * eps)


@norms
@activations
def test_gradients_are_those_of_autograd(torch, norm, activation):
    functions = {
        "identity": torch.nn.Identity, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU,
        "leaky_relu": torch.nn.LeakyReLU, "softsign": torch.nn.Softsign,
        "elu": torch.nn.ELU, "selu": torch.nn.SELU, "softplus": torch.nn.Softplus, "gelu": torch.nn.GELU,
        "silu": torch.nn.SiLU, "mish": torch.nn.Mish, "hardtanh": torch.nn.Hardtanh, "hardswish": torch.nn.Hardswish,
    }  # fmt: skip
    if activation not in functions:
        pytest.skip("another file compares it")
    kind = {"layer": torch.nn.LayerNorm, "rms": torch.nn.RMSNorm}[norm.kind]
    sizes = (4, 19, 33, 3)
    net, (X, y) = make(norm, activation, sizes), problem(23, sizes)
    modules = []
    for m, n in itertools.pairwise(sizes[:-1]):
        between = [kind(n, eps=norm.eps, elementwise_affine=norm.affine), functions[activation]()]
        modules += [torch.nn.Linear(m, n), *(between if norm.place == "before" else between[::-1])]
    module = torch.nn.Sequential(*modules, torch.nn.Linear(*sizes[-2:])).double()
    parameters = list(module.parameters())
    with torch.no_grad():
        for ours, theirs in zip(net.parameters().values(), parameters, strict=True):
            theirs.copy_(torch.from_numpy(ours.T.copy()))
    outputs = module(torch.from_numpy(X))
    np.testing.assert_allclose(net.forward(X), outputs.detach().numpy(), rtol=0, atol=1e-12)
    torch.nn.functional.cross_entropy(outputs, torch.from_numpy(y)).backward()
    expected = np.concatenate([p.grad.numpy().T.ravel() for p in parameters])
    assert np.abs(net.gradients(X, y).flat - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_large_mean_costs_float32_no_digits(isa, place):
    """Of rows whose mean is 1e4 deviations, which float32 holds to 1e-3: what it holds is normalized to some roundings,
    forward and back. Weights of 1 and no others, so that nothing but the normalization is measured."""
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(9, 50))).astype(np.float32)
    dz = rng.normal(size=(9, 50)).astype(np.float32)
    found = []
    for engine, dtype in ((vg.MLP, "float32"), (reference.MLP, "float64")):
        norm = vg.norm.layer(place=place)
        net = engine([50, 50, 50], "identity", "mse", "zeros", dtype, normalization=norm)
        net.weights[0] = net.weights[1] = np.eye(50)
        gradients = net.backward(X.astype(dtype), dz.astype(dtype))
        found.append((net.forward(X.astype(dtype)), gradients.deltas[0]))
    for ours, exact in zip(*found, strict=True):
        assert np.abs(ours - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("norm", NORMS[::3], ids=str)
def test_the_same_bits_for_any_number_of_threads(forced_threads, norm, dtype):
    """By rows, by chunks of a large batch, and by rows and columns, inspected and not."""
    for sizes, batch in (((9, 70, 40, 5), 24), ((4, 12, 9, 3), 1500), ((60, 300, 280, 10), 6)):
        X, y = problem(batch + 5, sizes, dtype)
        params = set()
        for n in (1, 2, 3, 7):
            for every in (0, 2):
                net = make(norm, "relu", sizes, dtype=dtype)
                with vg.threads(n):
                    net.fit(X, y, 2, batch, vg.SGD(lr=0.05, momentum=0.5), inspect_every=every)
                params.add(net.params.tobytes())
        assert len(params) == 1


def test_a_batch_in_parts_is_the_textbooks():
    """More rows than are in memory at once: gradients go on from part to part."""
    sizes = (30, 150, 120, 3)
    X, y = problem(2000, sizes)
    norm = vg.norm.layer(place="after")
    fast, plain = (make(norm, "tanh", sizes, engine) for engine in (vg.MLP, reference.MLP))
    assert fast._engine.core.part_of_batch(2000, 2) < 2000
    for net in (fast, plain):
        net.fit(X, y, 2, 2000, vg.SGD(lr=0.1))
    np.testing.assert_allclose(fast.params, plain.params, rtol=0, atol=1e-12)


# ---- inspection ---------------------------------------------------------------------------------------------


@norms
@engines
def test_the_ledger_multiplies_to_the_ratio_of_the_ends(norm, engine):
    sizes = (6, 20, 18, 16, 3)
    net, (X, y) = make(norm, "tanh", sizes, engine), problem(20, sizes)
    report = net.inspect(X, y)
    layers = report.layers[:-1]
    product = layers.weight_gain * layers.activation_gain * layers.normalization_gain
    np.testing.assert_allclose(product, layers.gain, rtol=1e-12)
    deltas = report.layers.delta_norm
    assert np.prod(product) == pytest.approx(deltas[0] / deltas[-1], rel=1e-12)
    assert np.isnan(report.layers.normalization_gain[-1])
    assert np.isfinite(report.layers.predicted_gain[:-1]).all()
    assert np.isnan(report.layers.predicted_low).all()
    lines = str(report).splitlines()
    assert "weights x act. x norm = gain" in lines[0]
    assert max(map(len, lines)) <= 80
    history = net.fit(X, y, 1, 10, inspect_every=1)
    assert "weights x act. x norm = gain" in str(history)


@engines
def test_each_factor_of_the_ledger_is_what_it_says(engine):
    """With gains of 3 a normalization takes 3 times the signal back, all else being equal; phi' of a sigmoid is its
    own."""
    (X, y), gains = problem(30), {}
    for place in ("before", "after"):
        for gain in (1, 3):
            net = engine([4, 6, 3], "identity", rng=0, dtype="float64", normalization=vg.norm.rms(place=place))
            net.parameters()["layer1.norm.weight"][...] = gain
            net.weights[1] /= gain  # so that the outputs, and what comes back from them, stay
            gains[place, gain] = net.inspect(X, y).layers[0]
        one, three = gains[place, 1], gains[place, 3]
        assert three.normalization_gain == pytest.approx(3 * one.normalization_gain, rel=1e-12)
        assert three.weight_gain == pytest.approx(one.weight_gain / 3, rel=1e-12)
        assert one.activation_gain == three.activation_gain == pytest.approx(1, rel=1e-12)
    for place in ("before", "after"):
        net = engine([4, 6, 3], "sigmoid", rng=0, dtype="float64", normalization=vg.norm.layer(place=place))
        layer = net.inspect(X, y).layers[0]
        assert 0.1 < layer.activation_gain < 0.26
        assert 0.1 < layer.mean_derivative < 0.25
        assert (layer.normalization_gain > 2) == (place == "after")  # a sigmoid's outputs are close together


def test_without_a_normalization_its_gain_is_1():
    net, (X, y) = vg.MLP([4, 6, 5, 3], rng=0), problem(8)
    assert net.inspect(X, y).layers.normalization_gain[:-1].tolist() == [1, 1]


def test_layer_norm_keeps_a_deep_net_of_sigmoids_alive_only_behind_them():
    """By theory a layer passes on .1528 of |delta|² with it before the sigmoid, and 1.03 with it after: in eight layers
    7e-4 of |delta|, and about 1."""
    X, y = problem(64, (30, 10))
    totals = {}
    for place in ("before", "after"):
        norm = vg.norm.layer(place=place)
        net = vg.MLP([30, *[100] * 9, 10], "sigmoid", init="lecun_normal", rng=0, normalization=norm)
        deltas = net.inspect(X, y, try_remedies=False).layers.delta_norm
        totals[place] = (deltas[0] / deltas[8]) ** (1 / 4)
    assert 0.1 < totals["before"] < 0.2
    assert 0.9 < totals["after"] < 1.15


# ---- how it is kept -----------------------------------------------------------------------------------------


def test_parameters_have_names_and_gains_begin_at_1():
    net = vg.MLP([4, 6, 5, 3], rng=0, normalization="layer")
    shapes = {name: part.shape for name, part in net.parameters().items()}
    assert shapes == {
        "layer1.weight": (4, 6), "layer1.bias": (6,), "layer1.norm.weight": (6,), "layer1.norm.bias": (6,),
        "layer2.weight": (6, 5), "layer2.bias": (5,), "layer2.norm.weight": (5,), "layer2.norm.bias": (5,),
        "layer3.weight": (5, 3), "layer3.bias": (3,),
    }  # fmt: skip
    assert net.n_params == net.params.size == sum(part.size for part in net.parameters().values())
    assert set(net.parameters()["layer1.norm.weight"]) == {1}
    assert set(net.parameters()["layer2.norm.bias"]) == {0}
    assert [w.shape for w in net.weights] == [(4, 6), (6, 5), (5, 3)]
    bare = vg.MLP([4, 6, 5, 3], rng=0, normalization=vg.norm.rms(affine=False))
    assert bare.params.tobytes() == vg.MLP([4, 6, 5, 3], rng=0).params.tobytes()


@norms
@engines
def test_copies_files_and_states_hold_it(norm, engine, tmp_path):
    net, (X, y) = make(norm, "tanh", engine=engine), problem(9)
    outputs = net.forward(X)
    path = tmp_path / "net.safetensors"
    net.save(path)
    other = make(norm, "tanh", engine=engine, seed=7)
    other.load_state_dict(net.state_dict())
    for same in (engine.load(path), net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), other):
        assert repr(same) == repr(net)
        assert repr(norm) in repr(same)
        assert same.params.tobytes() == net.params.tobytes()
        np.testing.assert_array_equal(same.forward(X), outputs)
        assert same.gradients(X, y).flat.tobytes() == net.gradients(X, y).flat.tobytes()
    state = net.state_dict()
    if norm.affine:
        state["layer1.norm.weight"] = state["layer1.norm.weight"][:-1]
        with pytest.raises(ValueError, match=r"layer1\.norm\.weight"):
            net.load_state_dict(state)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_file_has_the_names_of_torch(torch, tmp_path, place):
    from vgfast.files import safetensors

    net = make(vg.norm.layer(place=place), "tanh")
    file = io.BytesIO()
    net.save(file)
    file.seek(0)
    data = bytearray()
    safetensors.take(file, data, 1 << 20)
    file.seek(0)
    names = set(safetensors.read_header(io.BytesIO(file.getvalue()), bytearray()).tensors)
    nn, sizes = torch.nn, net.sizes
    pairs = [[nn.LayerNorm(n), nn.Tanh()] for n in sizes[1:-1]]
    modules = [
        module
        for (m, n), between in zip(itertools.pairwise(sizes[:-1]), pairs, strict=True)
        for module in (nn.Linear(m, n), *(between if place == "before" else between[::-1]))
    ]
    assert names == set(nn.Sequential(*modules, nn.Linear(*sizes[-2:])).state_dict())


def test_a_checkpoint_is_of_one_normalization(tmp_path):
    (X, y), keep = problem(9), [vg.Checkpoint(tmp_path / "run.npz")]
    whole = make(NORMS[0])
    whole.fit(X, y, 6, 4)
    make(NORMS[0]).fit(X, y, 3, 4, callbacks=keep)
    again = make(NORMS[0], seed=5)
    again._rng = np.random.default_rng(5)
    again.fit(X, y, 6, 4, callbacks=keep)
    assert again.params.tobytes() == whole.params.tobytes()
    with pytest.raises(ValueError, match="normalization"):
        make(NORMS[1]).fit(X, y, 6, 4, callbacks=keep)


def test_the_summary_says_where_it_stands():
    lines = str(vg.MLP([4, 6, 3], "tanh", rng=0, normalization=vg.norm.rms(place="after")).summary()).splitlines()
    assert "tanh, rms norm" in lines[2]
    assert " 36 " in lines[2]
    assert lines[-1].startswith("57 parameters")
    lines = str(vg.MLP([4, 6, 3], "tanh", rng=0, normalization="layer").summary()).splitlines()
    assert "layer norm, tanh" in lines[2]
    assert " 42 " in lines[2]


def test_gains_and_shifts_do_not_decay():
    net = make(NORMS[0])
    net.apply(np.zeros_like(net.params), vg.SGD(lr=0.5, weight_decay=0.5))
    before, after = make(NORMS[0]).parameters(), net.parameters()
    for name, part in after.items():
        weights = name.endswith("weight") and "norm" not in name
        np.testing.assert_array_equal(part, before[name] * 0.75 if weights else before[name], err_msg=name)


def test_the_cost_counts_it():
    plain, normal = (
        counts.count_step(Architecture.checked([4, 6, 3], "tanh", normalization=norm), 10) for norm in (None, "layer")
    )
    rows = [work for work in normal if work.phase == "normalization"]
    assert [(work.layer, work.shape) for work in rows] == [(1, (10, 6))]
    assert rows[0].functions == 60 == sum(work.functions for work in plain if work.phase == "activation")
    for total in (lambda work: work.flops, lambda work: work.read + work.written):
        assert sum(map(total, normal)) > sum(map(total, plain))


# ---- what is refused ----------------------------------------------------------------------------------------


WRONG = {
    "unknown": ("instance", ValueError, "unknown normalization 'instance'"),
    "upper": ("Layer", ValueError, "'layer'"),
    "number": (3, TypeError, r"vg\.norm\.layer\(place='after'\), got 3"),
    "uncalled": (vg.norm.layer, TypeError, r"call it: vg\.norm\.layer\(\)"),
    "flag": (True, TypeError, "normalization must be None"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_normalization_is_refused(case):
    value, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        vg.MLP([4, 6, 3], normalization=value)


def test_what_normalizations_refuse():
    for wrong in ({"place": "between"}, {"eps": 0}, {"eps": -1.0}, {"eps": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            vg.norm.layer(**wrong)
    with pytest.raises(TypeError, match="affine"):
        vg.norm.rms(affine="no")


@engines
def test_squares_beyond_the_range_are_no_zeros(engine):
    """In float32 the squares of 1e30 are infinite, and dividing by their root would leave nothing of a row."""
    net = engine([4, 6, 3], "identity", rng=0, normalization="layer")
    before = net.params.copy()
    X = 1e30 * np.eye(4, dtype=np.float32)
    for call in (lambda: net.forward(X), lambda: net.fit(X, [0, 1, 2, 0]), lambda: net.gradients(X, [0, 1, 2, 0])):
        with pytest.raises(vg.DivergenceError):
            call()
    assert net.params.tobytes() == before.tobytes()


def test_the_layer_that_diverges_is_named():
    net, (X, y) = make(NORMS[0], "identity", dtype="float32"), problem(8, dtype="float32")
    net.parameters()["layer1.norm.bias"][...] = 3e38
    net.parameters()["layer1.norm.weight"][...] = 3e38
    with pytest.raises(vg.DivergenceError, match="layer 1"):
        net.fit(X, y)


def test_an_architecture_knows_its_parts():
    net = Architecture.checked([4, 6, 3], "tanh", normalization="rms")
    parts = net.parts(np.arange(net.n_params))
    assert [[part.shape for part in of] for of in parts] == [[(4, 6), (6, 3)], [(6,), (3,)], [(6,), (0,)], [(0,), (0,)]]
    assert parts.gains[0].tolist() == list(range(30, 36))
