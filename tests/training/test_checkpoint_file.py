"""Files of checkpoints from which something is missing: each is refused in a sentence, and nothing changes."""

import numpy as np
import pytest

import vgfast as vg
from vgfast.files import npz

RNG = np.random.default_rng(4)
X, Y, WEIGHTS = RNG.normal(size=(40, 5)), RNG.integers(0, 3, 40), RNG.uniform(0.5, 2, 40)
# What is not needed: without an attribute the optimizer keeps its own, and no step asks an epoch for its accuracy.
SPARED = {("attributes",), ("loop", "epochs", 0)}


class Killed(BaseException):
    pass


def case(path, kill=None, **checkpoint):
    """(net, a function that trains it): with all that a file can hold. kill: a step."""
    net, optimizer = vg.MLP([5, 9, 3], dropout=0.3, rng=1), vg.Adam(0.01)

    class Kill:
        def on_progress(self, net, history):
            if kill is not None and len(history.loss) >= kill:
                raise Killed

    callbacks = [vg.EarlyStopping(9, monitor="loss"), Kill(), vg.Checkpoint(path, **checkpoint)]
    how = {"inspect_every": 3, "inspect": "histograms", "sample_weight": WEIGHTS, "callbacks": callbacks}
    return net, lambda: net.fit(X, Y, 5, 8, optimizer, np.random.default_rng(5), **how)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What a training has left in its second epoch."""
    path = tmp_path_factory.mktemp("kept") / "run.npz"
    with pytest.raises(Killed):
        case(path, kill=7, every_steps=1)[1]()
    found = npz.read(str(path))
    assert (len(found["loop"]["epochs"]), len(found["loop"]["loss"]) > 5) == (1, True)
    return found


def names_of(value, at=()):
    """Of each part that has a name, how it is come to."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield (*at, name)
            yield from names_of(part, (*at, name))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from names_of(part, (*at, i))


def changed(value, at, *new):
    """A copy in which the part is another, or not there."""
    first, *rest = at
    items = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    if rest:
        items[first] = changed(items[first], rest, *new)
    elif new:
        items[first] = new[0]
    else:
        del items[first]
    return items if isinstance(value, dict) else type(value)(items.values())


def assert_refused(content, path, words):
    npz.write(str(path), content)
    before = path.read_bytes()
    net, fit = case(path)
    params, state = net.params.copy(), repr(net._rng.bit_generator.state)
    with pytest.raises(ValueError, match=r"cannot be read as one \(.*\); name another path, or remove it to") as caught:
        fit()
    assert words in str(caught.value)
    np.testing.assert_array_equal(net.params, params)
    assert (repr(net._rng.bit_generator.state), net.history) == (state, None)
    assert path.read_bytes() == before


def test_whatever_is_missing_is_named_and_nothing_changes(kept, tmp_path):
    all_names = [at for at in names_of(kept) if at[:1] != ("training",) or len(at) == 1]
    needed = [at for at in all_names if at[:-1] not in SPARED and at[:3] != ("callbacks", 0, "params")]
    needed += [("loop", "epochs", 0, "loss"), ("callbacks", 0, "params")]
    assert len(needed) > 30
    for at in needed:
        assert_refused(changed(kept, at), tmp_path / "run", f"has no {at[-1]!r}")


@pytest.mark.parametrize(
    ("at", "new", "words"),
    [
        (("params",), np.zeros(3, np.float32), "its params is array"),
        (("params",), np.zeros(83), "its params is array"),
        (("draws",), None, "its draws is None"),
        (("rng", "state", "inc"), "x", "its inc is 'x'"),
        (("optimizer", "vectors", 0), np.zeros(3, np.float32), "its vectors is array"),
        (("optimizer", "n_taken"), 3, "its n_taken is 3"),
        (("attributes", "lr"), -1.0, "lr must be above 0 and finite, got -1.0"),
        (("attributes", "lr"), "x", "lr must be a number"),
        (("attributes", "no such"), 1.0, "Adam has no 'no such'"),
        (("loop", "loss"), np.zeros(3), "it has 1 epochs, 3 losses and"),
        (("loop", "records"), np.zeros((2, 2)), "its records is array"),
        (("loop", "exponents"), np.zeros((1, 2, 256), np.uint32), "records and 1 of exponents"),
        (("loop", "correct"), np.zeros(9), "its correct is array"),
        (("callbacks",), [], "it has states of 0 callbacks and not of 1"),
        (("training", "lr"), 3, "(its training's lr is 3)"),
    ],
)
def test_what_is_of_another_kind_is_named_and_nothing_changes(at, new, words, kept, tmp_path):
    assert_refused(changed(kept, at, new), tmp_path / "run", words)


def test_a_whole_one_goes_on(kept, tmp_path):
    path = tmp_path / "run.npz"
    npz.write(str(path), kept)
    net, fit = case(path)
    whole, fit_whole = case(tmp_path / "whole")
    assert fit().loss.tobytes() == fit_whole().loss.tobytes()
    np.testing.assert_array_equal(net.params, whole.params)
