"""Whatever pre-training is given: it is taken for what it is, or refused with a sentence and all left as it was."""

import os
import pickle
import signal
import sys
import threading

import numpy as np
import pytest

from vgfast.pretrain import RBM, Autoencoder, DeepBeliefNet, StackedAutoencoder

pytestmark = pytest.mark.usefixtures("strict")

X = np.random.default_rng(8).random((40, 6))
LAYERS = {
    "binary": lambda **more: RBM(3, **{"n_iter": 1, "rng": 0, **more}),
    "persistent": lambda **more: RBM(3, **{"n_iter": 1, "rng": 0, "persistent": True, "momentum": 0.5, **more}),
    "gaussian": lambda **more: RBM(3, **{"n_iter": 1, "rng": 0, "visible": "gaussian", "learning_rate": 1e-3, **more}),
    "cross-entropy": lambda **more: Autoencoder(3, **{"n_iter": 1, "rng": 0, **more}),
    "mse": lambda **more: Autoencoder(3, **{"n_iter": 1, "rng": 0, "loss": "mse", **more}),
}
STACKS = [DeepBeliefNet, StackedAutoencoder]


def stack(kind):
    return kind([6, 4, 3], n_iter=1, rng=0)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


# ---- what is taken -------------------------------------------------------------------------------------------


def mantissa_of_half(x):
    """Values that float16 holds, and so each type."""
    return x.astype(np.float16).astype(np.float64)


SAME = {
    "read-only": read_only,
    "Fortran's order": np.asfortranarray,
    "every other": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "broadcast": lambda x: np.broadcast_to(x, (2, *x.shape))[1],
    "float16": lambda x: x.astype(np.float16),
    "long double": lambda x: x.astype(np.longdouble),
    "other order of bytes": lambda x: x.astype(">f8"),
    "objects": lambda x: x.astype(object),
    "lists": np.ndarray.tolist,
    "a mask without effect": np.ma.array,
    "a matrix of another class": lambda x: x.view(type("Own", (np.ndarray,), {})),
}


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("kind", LAYERS)
def test_the_same_numbers_are_the_same_data(kind, case):
    x = mantissa_of_half(X)
    plain, other = LAYERS[kind]().fit(x), LAYERS[kind]().fit(SAME[case](x), validation_data=SAME[case](x[:9]))
    np.testing.assert_array_equal(other.weights, plain.weights)
    np.testing.assert_array_equal(other.transform(SAME[case](x)), plain.transform(x))


@pytest.mark.parametrize("bits", [bool, np.int8, np.uint64, object])
def test_bits_of_any_type(bits):
    plain, other = (LAYERS["binary"]().fit((X > 0.5).astype(kind)) for kind in (float, bits))
    np.testing.assert_array_equal(other.weights, plain.weights)


@pytest.mark.parametrize("seed", [[1, 2], np.int64(3), 10**40, np.random.SeedSequence(1), np.random.PCG64(2), None])
def test_seeds_of_every_kind(seed):
    assert LAYERS["binary"](rng=seed).fit(X).weights.std() > 0


def test_a_single_row_and_a_single_unit():
    for make in (lambda: RBM(1, n_iter=2, rng=0), lambda: Autoencoder(1, n_iter=2, rng=0)):
        layer = make().fit(X[:1, :1], validation_data=X[:1, :1])
        assert layer.transform(X[:1, :1]).shape == (1, 1)


# ---- what is refused --------------------------------------------------------------------------------------------

REFUSED = {
    "NaN": (np.where(X > 0.9, np.nan, X), "X has NaN in row"),
    "infinity": (np.where(X > 0.9, np.inf, X), "X has infinity in row"),
    "no rows": (X[:0], "X must have at least one row"),
    "no columns": (X[:, :0], "X must have at least one column, got shape (40, 0)"),
    "a list of nothing": ([[]], "X must have at least one column, got shape (1, 0)"),
    "nothing": ([], "X must be a matrix (samples, features), got 1 dimension(s), shape (0,)"),
    "ragged": ([[1, 0], [1]], "row 0 has 2 entries, and row 1 has 1 entry; make the rows equally long"),
    "a number": (0.5, "X must be a matrix (samples, features), got 0 dimension(s)"),
    "None": (None, "X must hold real numbers, got None"),
    "texts": ([["a", "b"]], "X must hold real numbers, got the text 'a'"),
    "complex": (X + 0j, "X must hold real numbers, got dtype complex128"),
    "an iterator": (iter(X), "; use list(X)"),
}


def sentence(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert ". " not in text
    return text


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", LAYERS)
def test_data_that_is_refused_changes_nothing(kind, case):
    x, says = REFUSED[case]
    assert says in sentence(lambda: LAYERS[kind]().fit(x))
    layer = LAYERS[kind]().fit(X)
    before = pickle.dumps(layer)
    assert says in sentence(lambda: layer.fit(x))
    for call in (layer.partial_fit, layer.transform, layer.reconstruct):
        assert sentence(lambda call=call: call(x)).startswith("X ")
    if x is not None:
        assert sentence(lambda: layer.fit(X, validation_data=x)).startswith("validation_data ")
    assert pickle.dumps(layer) == before


def test_sparse_data_is_refused():
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(X)
    assert sentence(lambda: LAYERS["binary"]().fit(sparse)).endswith("; use X.toarray()")
    np.testing.assert_array_equal(LAYERS["binary"]().fit(sparse.toarray()).weights, LAYERS["binary"]().fit(X).weights)


SETTINGS = {
    "n_components": [0, -1, 2.0, "3", None, True, 10**30, [3]],
    "learning_rate": [0, -1, np.nan, np.inf, "0.1", None, 10**400],
    "batch_size": [0, 1.5, None],
    "n_iter": [0, None],
    "momentum": [1, -0.1, np.nan, (), (0.5, 1), np.array([0.5, 0.9])],
    "weight_decay": [-1, np.nan, None],
    "shuffle": ["no", None, 2, np.array([True, False])],
}
OF_MACHINES = {
    "k": [0, -1, 16385, None],
    "persistent": [None, "no", np.array([True, False])],
    "sample_visible": ["no", np.array([True, False])],
    "visible": [None, 3, b"binary"],
    "sparsity_target": [0, 1, np.nan, "a"],
    "sparsity_cost": [-1, np.nan],
}


@pytest.mark.parametrize("name", [*SETTINGS, *OF_MACHINES])
@pytest.mark.parametrize("kind", ["persistent", "mse"])
def test_settings_that_are_refused_change_nothing(kind, name):
    """As arguments, and as attributes that were changed since."""
    if kind == "mse" and name in OF_MACHINES:
        return
    for value in {**SETTINGS, **OF_MACHINES}[name]:
        with_it = {name: value} if name != "n_components" else {}
        if with_it:
            assert name in sentence(lambda with_it=with_it: LAYERS[kind](**with_it))
        layer = LAYERS[kind]().fit(X)
        setattr(layer, name, value)
        before = pickle.dumps(layer)
        for call in (layer.fit, layer.partial_fit):
            assert name in sentence(lambda call=call: call(X))
        assert pickle.dumps(layer) == before
        assert layer.transform(X).shape == (40, 3)


def test_the_dtype_of_a_layer_stays():
    layer = LAYERS["binary"](dtype="float64").fit(X)
    with pytest.raises(AttributeError):
        layer.dtype = "float32"
    assert layer.dtype == layer.weights.dtype == np.float64


def test_seeds_are_named_as_they_were_given():
    for name in ("rng", "random_state"):
        for value in (-1, 1.5, True, "a", object()):
            text = sentence(lambda name=name, value=value: RBM(3, **{name: value}))
            assert text.startswith(f"{name} must be None, a seed ")
            assert sentence(lambda name=name, value=value: DeepBeliefNet([6, 3], **{name: value})) == text


def interrupted_at(line, call):
    """Ctrl-C as this line, counted from the first, of pre-training's own code is about to be run; whether it came to
    that."""
    seen = 0

    def trace(frame, event, arg):
        nonlocal seen
        if "pretrain" not in frame.f_code.co_filename.removeprefix(os.path.dirname(__file__)):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("kind", LAYERS)
def test_ctrl_c_on_any_line_finds_the_old_layer_or_the_new(kind):
    old, line = LAYERS[kind](batch_size=7, **({"sparsity_target": 0.1} if kind == "persistent" else {})).fit(X), 0
    found = set()
    while True:
        line += 1
        layer = old.copy()
        layer.n_components, layer.batch_size = 5, 40
        if not interrupted_at(line, lambda layer=layer: layer.fit(X[:, :4])):
            break
        columns, units = layer.weights.shape
        found.add((columns, units))
        assert layer.partial_fit(X[:, :columns]).transform(X[:, :columns]).shape == (40, units)
        assert len(layer.history_.epochs) <= 2
        assert layer.fit(X).n_features_in_ == 6
    assert found == {(6, 3), (4, 5)}
    assert line > 50


# ---- stacks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("case", ["X", "progress", "a rate", "units"])
def test_a_stack_that_is_refused_something_stays_trained(kind, case):
    made = stack(kind).fit(X)
    x, progress = (X[:, 1:] if case == "X" else X), 5 if case == "progress" else None
    if case == "a rate":
        made.layers[1].learning_rate = -1
    if case == "units":
        made.layers[0].n_components = 5
    before = pickle.dumps(made)
    sentence(lambda: made.fit(x, progress=progress))
    assert pickle.dumps(made) == before
    assert made.to_mlp(2).sizes == (6, 4, 3, 2)


@pytest.mark.parametrize("kind", STACKS)
def test_two_threads_that_train_one_stack(kind):
    """One does, and the other's call is refused before any change; neither finds layers of the other's."""
    made, expected, refused = stack(kind), stack(kind).fit(X).transform(X), []
    seen = []

    def other():
        with pytest.raises(RuntimeError, match="this stack is being trained in another thread") as caught:
            made.fit(1 - X)
        refused.append(str(caught.value))

    def meanwhile(done, total, history):
        if id(history) in seen:
            return
        seen.append(id(history))
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    made.fit(X, progress=meanwhile)
    assert len(refused) == len(seen) == 2
    np.testing.assert_array_equal(made.transform(X), expected)


@pytest.mark.parametrize("kind", STACKS)
def test_a_stack_that_ctrl_c_stops_can_be_trained_again(kind, ctrl_c):
    made = stack(kind)
    made.layers[1].n_iter = 10**6

    def interrupt(done, total, history):
        if total > 10**5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        made.fit(X, progress=interrupt)
    with pytest.raises(RuntimeError, match="call fit first"):
        made.transform(X)
    made.layers[1].n_iter, found = 1, []
    thread = threading.Thread(target=lambda: found.append(made.fit(X).transform(X)))
    thread.start()
    thread.join()
    assert found[0].shape == (40, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("make", [LAYERS["binary"], lambda: stack(DeepBeliefNet)])
def test_a_child_of_a_fork_trains_what_a_thread_of_its_parent_did(make):
    made, begun, end = make(), threading.Event(), threading.Event()

    def wait(done, total, history):
        begun.set()
        end.wait(60)

    thread = threading.Thread(target=made.fit, args=(X,), kwargs={"progress": wait})
    thread.start()
    assert begun.wait(60)
    child = os.fork()
    if child == 0:
        try:
            made.fit(X)
            os._exit(7)
        finally:
            os._exit(1)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert made.fit(X).transform(X).shape == (40, 3)


@pytest.mark.parametrize("kind", STACKS)
def test_what_a_copy_of_a_stack_shares(kind):
    """Nothing with the stack; and its layers one generator, as there."""
    made = stack(kind).fit(X)
    for other in (made.copy(), pickle.loads(pickle.dumps(made))):
        assert {id(layer._rng) for layer in other.layers} == {id(other._rng)}
        assert id(other._rng) != id(made._rng)
        np.testing.assert_array_equal(other.fit(X).transform(X), pickle.loads(pickle.dumps(made)).fit(X).transform(X))
