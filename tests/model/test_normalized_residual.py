"""Residual connections around layers with a normalization: x + scale f(x), with the normalization in f."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from differences import slopes
from shared_columns import train_by_columns

import vgfast as vg

ENGINES = (vg.MLP, vg.reference.MLP)
engines = pytest.mark.parametrize("engine", ENGINES)
NORMS = [
    getattr(vg.norm, kind)(place, affine=affine)
    for kind, place, affine in itertools.product(vg.norm.NAMES, vg.norm.PLACES, (True, False))
]
WAYS = [vg.residual(every, scale) for every in (1, 2, 4) for scale in (1.0, 0.5, "1/sqrt(L)", "rezero")]
EACH = list(zip(NORMS, itertools.cycle(WAYS[::-1]), strict=False))
each = pytest.mark.parametrize(("norm", "way"), EACH, ids=str)
SIZES = (7, 19, 19, 19, 19, 19, 4)


def make(norm, way, engine=vg.MLP, activation="tanh", dtype="float64", sizes=SIZES, seed=3, **more):
    """All parameters are drawn: gains about 1, scales about 0."""
    net = engine(sizes, activation, dtype=dtype, rng=seed, normalization=norm, residual=way, **more)
    rng = np.random.default_rng(seed)
    for name, part in net.parameters().items():
        if "norm" in name or "scale" in name:
            part[...] += 0.4 * rng.normal(size=part.shape)
    return net


def problem(rows=30, sizes=SIZES, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], rows)


def in_torch(torch, net):
    """(forward, parameters in their order): what one writes in PyTorch, each hidden layer a Sequential."""
    nn, norm, way = torch.nn, net.normalization, net.residual
    kinds = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
    affine = "affine" if norm.kind == "batch" else "elementwise_affine"
    layers, leaves, scales = [], [], {}
    for l, (m, n) in enumerate(itertools.pairwise(net.sizes), 1):
        hidden, before = l < len(net.sizes) - 1, norm.place == "before"
        between = [kinds[norm.kind](n, eps=norm.eps, **{affine: norm.affine}), nn.Tanh()] if hidden else []
        bias = not (hidden and before and norm.kind == "batch")
        layer = nn.Sequential(nn.Linear(m, n, bias=bias), *(between if before else between[::-1])).double()
        layers.append(layer)
        leaves += layer.parameters()
        if f"layer{l}.scale" in net.parameters():
            scales[l] = nn.Parameter(torch.zeros(1, dtype=torch.float64))
            leaves.append(scales[l])
    every, n_blocks = way.every, (len(layers) - 2) // way.every
    fixed = {"1/sqrt(L)": n_blocks**-0.5}.get(way.scale, way.scale)

    def forward(x):
        x = layers[0](x)
        for first in range(1, len(layers) - 1, every):
            branch = nn.Sequential(*layers[first : first + every])
            x = x + scales.get(first + every, fixed) * branch(x)
        return layers[-1](x)

    with torch.no_grad():
        for ours, theirs in zip(net.parameters().values(), leaves, strict=True):
            theirs.copy_(torch.from_numpy(ours.T.copy()))
    return forward, leaves


@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_it_is_what_one_writes_in_torch(torch, norm):
    """Outputs where they are those of training, and gradients of all parameters."""
    X, y = problem()
    for way, engine in itertools.product(WAYS, ENGINES):
        net = make(norm, way, engine)
        forward, leaves = in_torch(torch, net)
        outputs = forward(torch.from_numpy(X))
        torch.nn.functional.cross_entropy(outputs, torch.from_numpy(y)).backward()
        expected = np.concatenate([leaf.grad.numpy().T.ravel() for leaf in leaves])
        assert np.abs(net.gradients(X, y).flat - expected).max() <= 1e-12 * np.abs(expected).max(), way
        if norm.kind != "batch":
            np.testing.assert_allclose(net.forward(X), outputs.detach().numpy(), rtol=0, atol=1e-12)


@each
def test_the_engines_agree(isa, norm, way, dtype):
    """Predictions, gradients, records, training and what runs, with dropout."""
    eps, more = float(np.finfo(dtype).eps), {"dropout": [0.2, 0, 0.5, 0.3, 0]}
    X, y = problem(dtype=dtype)
    nets = [make(norm, way, engine, "sigmoid", dtype, **more) for engine in ENGINES]
    found, expected = (net.gradients(X, y).flat for net in nets)
    assert np.abs(found - expected).max() <= 2e3 * eps * np.abs(expected).max()
    records = [net.inspect(X, y, try_remedies=False).records for net in nets]
    for name in ("weight_gain", "activation_gain", "normalization_gain", "skip_gain", "gain", "delta_norm", "speed"):
        np.testing.assert_allclose(records[0][name], records[1][name], rtol=1e4 * eps, err_msg=name)
    for net in nets:
        net.fit(X, y, 2, 10, vg.SGD(lr=0.05, momentum=0.5, weight_decay=0.01, clip_norm=0.3), shuffle=False)
    np.testing.assert_allclose(nets[0]._engine.vector, nets[1]._engine.vector, rtol=0, atol=1e4 * eps)
    np.testing.assert_allclose(nets[0].forward(X), nets[1].forward(X), rtol=0, atol=1e5 * eps)


def test_gradients_against_differences_behind_a_bottleneck():
    """Blocks that are narrower inside, with weights of the rows and what is dropped."""
    sizes, (X, y) = (7, 6, 3, 6, 4, 6, 4), problem(9)
    for norm in (vg.norm.layer("after"), vg.norm.rms(), vg.norm.batch("after")):
        net = make(norm, vg.residual(2, "rezero"), sizes=sizes, dropout=0.2, init=vg.init.normal(0.5, bias_std=0.5))
        weights = np.linspace(0.5, 2, len(X))
        found, wanted = slopes(net, net.gradients(X, y, sample_weight=weights).flat, X, y, weights)
        allowed = 1e-6 if norm.kind == "batch" else 1e-7
        assert np.abs(found - wanted).max() <= allowed * np.abs(wanted).max()


@pytest.mark.parametrize(("norm", "way"), EACH[::5], ids=str)
def test_the_same_bits_for_any_number_of_threads(forced_threads, norm, way, dtype):
    """By rows, by chunks, and of batches in parts; inspected and not."""
    for width, batch in ((19, 24), (5, 1100), (150, 6)):
        sizes = (7, *[width] * 5, 4)
        X, y = problem(batch + 5, sizes, dtype)
        vectors = set()
        for n, every in itertools.product((1, 2, 3, 7), (0, 2)):
            net = make(norm, way, activation="relu", dtype=dtype, sizes=sizes, dropout=0.2)
            with vg.threads(n):
                net.fit(X, y, 2, batch, vg.SGD(lr=0.05, momentum=0.5), inspect_every=every)
            vectors.add(net._engine.vector.tobytes())
        assert len(vectors) == 1


@pytest.mark.parametrize("norm", [vg.norm.layer(), vg.norm.rms("after")], ids=str)
def test_threads_that_share_columns(norm, forced_threads):
    X, y = problem(40, dtype="float32")
    way = vg.residual(2, "rezero")
    assert len(train_by_columns(lambda: make(norm, way, dtype="float32", dropout=0.1), X, y)) == 1


# ---- inspection ---------------------------------------------------------------------------------------------


@engines
@each
def test_the_ledger_multiplies_to_the_ratio_of_the_ends(norm, way, engine):
    net, (X, y) = make(norm, way, engine, dropout=0.2), problem()
    report = net.inspect(X, y)
    layers = report.layers[:-1]
    product = layers.weight_gain * layers.activation_gain * layers.normalization_gain * layers.skip_gain
    np.testing.assert_allclose(product, layers.gain, rtol=1e-12)
    deltas = report.layers.delta_norm
    assert np.prod(product) == pytest.approx(deltas[0] / deltas[-1], rel=1e-12)
    assert np.isnan(report.layers.predicted_gain).all()  # there is no theory of it here
    lines = str(report).splitlines()
    assert "W x act. x norm x skip = gain" in lines[0]
    assert max(map(len, lines)) <= 80


@engines
@pytest.mark.parametrize("place", vg.norm.PLACES)
def test_each_factor_is_what_it_says(engine, place):
    """Of straight lines, phi' is 1 and the scale alone is the activation's factor, where a block's layer gets its
    signal; what is left is the normalization's, whatever the scale."""
    X, y = problem()
    for scale, every in itertools.product((0.5, 2.0), (1, 2)):
        net = make(vg.norm.layer(place), vg.residual(every, scale), engine, "identity")
        layers = net.inspect(X, y, try_remedies=False).layers
        ends = [l % every == 0 for l in range(1, 5)]  # whether layer l + 1 ends a block
        np.testing.assert_allclose(layers.activation_gain[:4], np.where(ends, scale, 1), rtol=1e-12)
        if every == 1:
            deltas = [np.linalg.norm(delta) for delta in net.gradients(X, y).deltas[1:5]]
            enters = scale * layers.delta_norm[1:5]
            np.testing.assert_allclose(layers.normalization_gain[:4], deltas / enters, rtol=1e-12)


@engines
@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_rezero_starts_as_the_identity(norm, engine):
    """Each block passes on its signal as it is, forward and back, whatever it does inside."""
    net, (X, y) = engine(SIZES, "sigmoid", normalization=norm, residual=vg.residual(scale="rezero"), rng=0), problem()
    shallow = engine((7, 19, 4), "sigmoid", normalization=norm, rng=0)
    ends = (net.state_dict(), {"1.": "1.", "6.": "2."})
    shallow.load_state_dict({f"layer{new}{name[7:]}": part for old, new in ends[1].items()
                             for name, part in ends[0].items() if name.startswith(f"layer{old}")})  # fmt: skip
    np.testing.assert_array_equal(net.forward(X), shallow.forward(X))
    report = net.inspect(X, y, vg.SGD(0.1))
    assert report.records["gain"][:4].tolist() == [1] * 4
    assert report.verdict == "healthy"
    losses = net.fit(X, y, 60, 10, vg.SGD(0.1, momentum=0.9)).loss
    assert losses[-3:].mean() < losses[:3].mean()


# ---- how it is kept -----------------------------------------------------------------------------------------


def test_parameters_stand_in_their_order():
    net = vg.MLP([4, 6, 6, 3], residual=vg.residual(scale="rezero"), normalization="layer", rng=0)
    assert list(net.parameters()) == [
        "layer1.weight", "layer1.bias", "layer1.norm.weight", "layer1.norm.bias",
        "layer2.weight", "layer2.bias", "layer2.norm.weight", "layer2.norm.bias", "layer2.scale",
        "layer3.weight", "layer3.bias",
    ]  # fmt: skip
    assert net.n_params == sum(part.size for part in net.parameters().values()) == net._engine.core.n_params
    net.parameters()["layer2.scale"][...] = 7
    assert np.flatnonzero(net.params == 7).tolist() == [4 * 6 + 3 * 6 + 6 * 6 + 3 * 6]
    lines = str(net.summary()).splitlines()
    assert "layer norm, relu" in lines[3]
    assert " 55 " in lines[3]


@engines
@each
def test_copies_files_and_states_hold_it(norm, way, engine, tmp_path):
    net, (X, y) = make(norm, way, engine, dropout=0.2), problem()
    net.fit(X, y, 2, 10)
    path = tmp_path / "net.safetensors"
    net.save(path)
    other = make(norm, way, engine, dropout=0.2, seed=7)
    other.load_state_dict(net.state_dict())
    for same in (engine.load(path), net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), other):
        assert repr(same) == repr(net)
        assert same._engine.vector.tobytes() == net._engine.vector.tobytes()
        np.testing.assert_array_equal(same.forward(X), net.forward(X))


@pytest.mark.parametrize(("norm", "way"), EACH[::4], ids=str)
def test_a_training_goes_on_from_a_checkpoint(norm, way, tmp_path):
    (X, y), keep, more = problem(), [vg.Checkpoint(tmp_path / "run.npz")], {"dropout": 0.2}
    whole = make(norm, way, **more)
    whole.fit(X, y, 6, 8, vg.Adam())
    make(norm, way, **more).fit(X, y, 3, 8, vg.Adam(), callbacks=keep)
    again = make(norm, way, seed=5, **more)
    again.fit(X, y, 6, 8, vg.Adam(), callbacks=keep)
    assert again._engine.vector.tobytes() == whole._engine.vector.tobytes()
