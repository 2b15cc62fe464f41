"""Advice in an error of pre-training works when it is followed: what fails, what it says, and what works then."""

import re
import threading

import numpy as np
import pytest

import vgfast as vg
from vgfast.pretrain import RBM, Autoencoder, DeepBeliefNet, LogPartition, StackedAutoencoder

pytestmark = pytest.mark.usefixtures("strict")

X = np.random.default_rng(8).random((40, 6))
STANDARD = (X - X.mean(axis=0)) / X.std(axis=0)


def trained(kind=RBM, x=X, **settings):
    return kind(3, **{"n_iter": 1, "rng": 0, **settings}).fit(x)


def gaussian(x=STANDARD):
    return trained(x=x, visible="gaussian", learning_rate=1e-3)


def stack(kind=DeepBeliefNet):
    return kind([6, 4, 3], n_iter=1, rng=0)


BINARY, GAUSSIAN, CODER = trained(), gaussian(), trained(Autoencoder)
RANDOM_STATE = np.random.RandomState(1)
NAMES = {
    "np": np,
    "X": X,
    "seed": 1,
    "rbm": BINARY,
    "gaussian": GAUSSIAN,
    "RBM": RBM,
    "DeepBeliefNet": DeepBeliefNet,
    "validation_data": (X[:9], np.arange(9)),
}

# What fails; what it says, of which the group is the advice; and what is done with that: a function of what Python
# makes of the group.
FOLLOWED = {
    "momentum of three": (
        lambda: RBM(momentum=(0.5, 0.6, 0.7)),
        r"a pair such as (\(.*?\)) for",
        lambda pair: trained(momentum=pair),
    ),
    "a momentum in a text": (lambda: RBM(momentum="0.5"), "; use (.*)", lambda it: trained(momentum=it)),
    "units in a text": (lambda: RBM("3"), "; use (.*)", lambda n: RBM(n, n_iter=1).fit(X)),
    "a rate in a text": (lambda: RBM(learning_rate="0.1"), "; use (.*)", lambda it: trained(learning_rate=it)),
    "k of a float": (lambda: RBM(k=2.0), "; use (.*)", lambda k: trained(k=k)),
    "k of none": (lambda: RBM(k=0), "must be from (1) to", lambda k: trained(k=k)),
    "epochs of a float": (lambda: RBM(n_iter=2.0), "; use (.*)", lambda n: trained(n_iter=n)),
    "masking in a text": (
        lambda: Autoencoder(masking="0.1"),
        "; use (.*)",
        lambda it: trained(Autoencoder, masking=it),
    ),
    "shuffle by a number": (lambda: RBM(shuffle=0), "; use (.*)", lambda it: trained(shuffle=it)),
    "shuffle by a word": (lambda: RBM(shuffle="no"), "must be True or (False),", lambda it: trained(shuffle=it)),
    "persistent by a number": (lambda: RBM(persistent=1), "; use (.*)", lambda it: trained(persistent=it)),
    "sample_visible by a number": (lambda: RBM(sample_visible=1), "; use (.*)", lambda it: trained(sample_visible=it)),
    "visible": (lambda: RBM(visible="gauss"), "did you mean ('.*')", lambda it: RBM(visible=it)),
    "loss": (lambda: Autoencoder(loss="bce"), "did you mean ('.*')", lambda it: trained(Autoencoder, loss=it)),
    "dtype": (lambda: RBM(dtype="fp64"), "did you mean ('.*')", lambda it: trained(dtype=it)),
    "dtypes": (lambda: RBM(dtype="float16"), "there is (float32), ", lambda it: trained(dtype=it)),
    "an old generator": (lambda: RBM(rng=RANDOM_STATE), "^rng .*; use (.*)", lambda it: trained(rng=it)),
    "an old generator by the other name": (
        lambda: RBM(random_state=RANDOM_STATE),
        "^random_state must be .*; use (.*)",
        lambda it: RBM(3, n_iter=1, random_state=it).fit(X),
    ),
    "to_mlp of relu": (
        lambda: stack().fit(X).to_mlp(2, "relu"),
        "there is (sigmoid, tanh)$",
        lambda names: [stack().fit(X).to_mlp(2, name) for name in names],
    ),
    "to_mlp of one output": (
        lambda: stack().fit(X).to_mlp(1),
        "use loss=('.*')$",
        lambda loss: stack().fit(X).to_mlp(1, loss=loss),
    ),
    "sizes": (lambda: DeepBeliefNet(6), r"such as (\[.*?\])", DeepBeliefNet),
    "sizes of one": (lambda: StackedAutoencoder([6]), r"such as (\[.*?\])", StackedAutoencoder),
    "a pair as of nets": (
        lambda: trained().fit(X, validation_data=(X[:9], np.arange(9))),
        "; use (.*)",
        lambda rows: trained().fit(X, validation_data=rows),
    ),
    "samples of one number": (
        lambda x: trained(x=x),
        r"for samples of one number use (.*), for one",
        lambda x: trained(x=x),
        X[:, 0],
    ),
    "one sample": (lambda x: trained(x=x), r"for one sample (np.*)", lambda x: trained(x=x), X[0]),
    "one sample in a list": (lambda x: trained(x=x), r"for one sample (np.*)", lambda x: trained(x=x), X[0].tolist()),
    "one sample to look at": (BINARY.transform, "use (.*)", BINARY.transform, X[0]),
    "images": (lambda x: trained(x=x), "; use (.*)", lambda x: trained(x=x), X.reshape(40, 3, 2)),
    "a pseudo-likelihood of Gaussian units": (
        lambda: GAUSSIAN.score_samples(X),
        r"; use (log_likelihood\(X\))$",
        lambda found: found,
    ),
    "too many units to enumerate": (
        lambda: RBM(21, n_iter=1).fit(np.tile(X, 4)).log_partition("exact"),
        "; use method=('.*')$",
        lambda method: RBM(21, n_iter=1).fit(np.tile(X, 4)).log_partition(method, n_temperatures=9),
    ),
    "a number for a partition function": (
        lambda: BINARY.log_likelihood(X, 3.0),
        r"what the method (log_partition\(\)) returns",
        lambda given: BINARY.log_likelihood(X, given),
    ),
    "units of a layer that sizes has otherwise": (
        lambda: changed(stack(), n_components=5).fit(X),
        "; make a (DeepBeliefNet) of other sizes for that$",
        lambda kind: kind([6, 4, 5], n_iter=1).fit(X),
    ),
}


def changed(whole, **settings):
    """A stack whose last layer has other settings."""
    for name, value in settings.items():
        setattr(whole.layers[-1], name, value)
    return whole


def evaluated(advice, x):
    """What it is in Python; the words of a list of names as they are."""
    if re.fullmatch(r"[a-z_]\w*(, [a-z_]\w*)*", advice):
        return advice.split(", ") if "," in advice else advice
    of = {"log_likelihood(X)": "gaussian.", "log_partition()": "rbm."}.get(advice, "")
    return eval(of + advice, {**NAMES, "X": x})


@pytest.mark.parametrize("case", FOLLOWED)
def test_advice_on_pre_training(case):
    wrong, pattern, right, *given = FOLLOWED[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        wrong(*given)
    advice = re.search(pattern, str(caught.value))
    assert advice, str(caught.value)
    assert right(evaluated(advice[1], *given or [X])) is not None


@pytest.mark.parametrize("kind", [RBM, lambda n, **more: DeepBeliefNet([6, n], **more)])
def test_one_of_two_names_of_a_seed(kind):
    with pytest.raises(TypeError, match=r"got both; give one of them$"):
        kind(3, rng=1, random_state=1)
    of_each = [kind(3, n_iter=1, **{name: 1}).fit(X).transform(X) for name in ("rng", "random_state")]
    np.testing.assert_array_equal(*of_each)


@pytest.mark.parametrize("made", [RBM(3, n_iter=1), Autoencoder(3, n_iter=1), stack(), stack(StackedAutoencoder)])
def test_progress_is_a_function(made):
    with pytest.raises(TypeError, match=r"a function of \(done, total, history\), got 5$"):
        made.fit(X, progress=5)
    seen = []
    made.fit(X, progress=lambda done, total, history: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]


NEED_FIT = ("transform", "gibbs", "score_samples", "free_energy", "reconstruct", "log_likelihood")
NEED_NET = {"transform": (X,), "to_mlp": (3,), "to_autoencoder": ()}


@pytest.mark.parametrize("kind", [RBM, Autoencoder])
def test_before_a_layer_is_trained(kind):
    for name in ("weights", "components_", "intercept_hidden_", "intercept_visible_", "log_partition", *NEED_FIT):
        layer = kind(3, n_iter=1)
        if not hasattr(kind, name):
            continue

        def call(layer=layer, name=name):
            it = getattr(layer, name)
            return it(*([X] if name in NEED_FIT else [])) if callable(it) else it

        with pytest.raises(RuntimeError, match=f"^{name} needs trained weights, .* call (.*) first$") as caught:
            call()
        eval("layer." + re.search(r"call (.*) first", str(caught.value))[1], {"layer": layer, "X": X})
        assert call() is not None


@pytest.mark.parametrize("kind", [DeepBeliefNet, StackedAutoencoder])
def test_before_a_stack_is_trained(kind):
    for name, arguments in NEED_NET.items():
        made = stack(kind)
        if not hasattr(kind, name):
            continue
        with pytest.raises(RuntimeError, match=f"^{name} needs trained layers, .*; call fit first$"):
            getattr(made, name)(*arguments)
        made.fit(X)
        assert getattr(made, name)(*arguments) is not None


# ---- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["fit", "partial_fit", "validation_data", "stack"])
@pytest.mark.parametrize("kind", [RBM, Autoencoder])
def test_values_outside_0_to_1(kind, where):
    outside = 5 * X - 1
    what, of = ("visible", DeepBeliefNet) if kind is RBM else ("loss", StackedAutoencoder)

    def call(x, **settings):
        settings = {"n_iter": 1, "learning_rate": 1e-3, "rng": 0, **settings}
        made = of([6, 3], **settings) if where == "stack" else kind(3, **settings)
        if where == "validation_data":
            inside = (x - x.min()) / np.ptp(x) if not set(settings) & {"visible", "loss"} else x
            return made.fit(inside, validation_data=x)
        return getattr(made, "fit" if where == "stack" else where)(x)

    with pytest.raises(ValueError, match=r"must be from 0 to 1 for .*; scale it, or use ") as caught:
        call(outside)
    call((outside - outside.min()) / np.ptp(outside))
    instead = re.search(f"; scale it, or use {what}=('.*?')(.*)", str(caught.value))
    mended = outside
    if kind is RBM:
        assert instead[2] == " on columns of mean 0 and variance 1"
        mended = (outside - outside.mean(axis=0)) / outside.std(axis=0)
    call(mended, **{what: eval(instead[1])})


CONSTANT = X.copy()
CONSTANT[:, [1, 4]] = 0.1  # of which NumPy's standard deviation is not 0
ALMOST = CONSTANT.copy()
ALMOST[:, 4] += 1e-12 * X[:, 4]  # which float32 does not tell apart


@pytest.mark.parametrize(("x", "columns"), [(CONSTANT, 2), (ALMOST, 2), (CONSTANT.tolist(), 2), (CONSTANT[:, :3], 1)])
@pytest.mark.parametrize("frame", [False, True])
def test_constant_columns(x, columns, frame):
    x = pytest.importorskip("pandas").DataFrame(x) if frame else x
    with pytest.raises(ValueError, match=f"drop the {columns} constant column") as caught:
        gaussian(x)
    kept = eval(re.search("by X = (.*), and standardise the others", str(caught.value))[1], {"np": np, "X": x})
    assert kept.shape == (40, np.shape(x)[1] - columns)
    gaussian(kept)
    gaussian((kept - kept.mean(axis=0)) / kept.std(axis=0))


@pytest.mark.parametrize("x", [X[:1], np.ones((5, 2))])
def test_rows_that_are_all_alike(x):
    with pytest.raises(ValueError, match=r"; give rows that differ$"):
        gaussian(x)
    gaussian(np.vstack([x, x + 0.5]))


@pytest.mark.parametrize("rows", [slice(None), slice(25, 26)])
@pytest.mark.parametrize(("kind", "setting"), [(RBM, {"visible": "gaussian"}), (Autoencoder, {"loss": "mse"})])
def test_values_that_no_rate_can_learn(kind, setting, rows):
    """All rows, or one of a later batch."""
    large = STANDARD.copy()
    large[rows] *= 1e12
    layer = kind(3, learning_rate=1e-3, n_iter=1, shuffle=False, rng=0, **setting)
    with pytest.raises(vg.DivergenceError, match=r"X, whose values go up to .*; scale it, for example to columns of "):
        layer.fit(large)
    layer.learning_rate = 1e-30
    with pytest.raises(vg.DivergenceError, match="X, whose values go up to"):
        layer.fit(large)
    layer.learning_rate = 1e-3
    assert len(layer.fit((large - large.mean(axis=0)) / large.std(axis=0)).history_.epochs) == 1


@pytest.mark.parametrize(("kind", "setting"), [(RBM, {"visible": "gaussian"}), (Autoencoder, {"loss": "mse"})])
@pytest.mark.parametrize("decay", [0, 900.0])
def test_a_rate_that_is_too_high(kind, setting, decay):
    """With a decay it is that one of the two."""
    layer = kind(3, learning_rate=900.0, weight_decay=decay, n_iter=50, rng=0, **setting)
    words = r"lower learning_rate \(it is 900\)"
    words += r" or weight_decay \(it is 900\) and fit again" if decay else " and fit again"
    with pytest.raises(vg.DivergenceError, match=words):
        layer.fit(STANDARD)
    layer.learning_rate = 1e-4
    assert len(layer.fit(STANDARD).history_.epochs) == 50
    assert np.isfinite(layer.weights).all()


def test_weights_that_are_not_finite():
    rbm = trained()
    rbm.weights[0, 0] = np.nan
    with pytest.raises(vg.DivergenceError, match=r"lower learning_rate .* and fit again"):
        rbm.partial_fit(X)
    rbm.learning_rate /= 2
    assert np.isfinite(rbm.fit(X).transform(X)).all()


# ---- training while it is trained -------------------------------------------------------------------------------


def in_another_thread(made):
    """(start its training, which waits; let it end)"""
    begun, end = threading.Event(), threading.Event()

    def wait(done, total, history):
        begun.set()
        end.wait(60)

    thread = threading.Thread(target=made.fit, args=(X,), kwargs={"progress": wait})

    def start():
        thread.start()
        assert begun.wait(60)

    def stop():
        end.set()
        thread.join()

    return start, stop


@pytest.mark.parametrize(
    ("made", "name"), [(RBM(3, n_iter=1), "layer"), (Autoencoder(3, n_iter=1), "layer"), (stack(), "stack")]
)
def test_what_another_thread_trains(made, name):
    """A copy of it may be trained at once, and itself when the other thread is done."""
    start, stop = in_another_thread(made)
    start()
    try:
        with pytest.raises(RuntimeError, match=f"; wait for that, or give each thread a {name}.copy") as caught:
            made.fit(X)
        if name == "stack":
            for read in (lambda: made.transform(X), lambda: made.to_mlp(2), lambda: made.to_autoencoder()):
                with pytest.raises(
                    RuntimeError, match=r"this stack is being trained in another thread; wait for that$"
                ):
                    read()
        copied = eval(re.search(r"give each thread a (.*) of its own", str(caught.value))[1], {name: made})
        assert copied.fit(X).transform(X).shape == (40, 3)
    finally:
        stop()
    kept = made.transform(X)  # for which one had to wait, too
    assert not np.array_equal(made.fit(X).transform(X), kept)


@pytest.mark.parametrize("columns", [2, 6, 20])
def test_a_layer_whose_progress_trains_it(columns):
    layer, other, copies = RBM(3, n_iter=2, rng=0), np.tile(X, 4)[:, :columns], []
    with pytest.raises(RuntimeError, match=r"; train a layer.copy\(\) there$") as caught:
        layer.fit(X, progress=lambda done, total, history: layer.fit(other))
    assert layer.partial_fit(other).n_features_in_ == columns
    copied = re.search(r"train a (layer.copy\(\)) there", str(caught.value))[1]

    def train(done, total, history):
        copies.append(eval(copied, {"layer": layer}).fit(other))

    layer = RBM(3, n_iter=2, rng=0).fit(X, progress=train)
    np.testing.assert_array_equal(layer.weights, RBM(3, n_iter=2, rng=0).fit(X).weights)
    assert copies[0].n_features_in_ == columns


def test_a_partition_function_of_an_earlier_call():
    with pytest.raises(TypeError, match=r"; leave it out to have it computed$"):
        BINARY.log_likelihood(X, "exact")
    given = BINARY.log_partition()
    assert isinstance(given, LogPartition)
    np.testing.assert_array_equal(BINARY.log_likelihood(X), BINARY.log_likelihood(X, given))
