"""Long runs on small files of images: stopped and taken up again, they find the same bits as in one go."""

import itertools
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_file

from vgfast import cli, datasets
from vgfast.files import npz
from vgfast.pretrain import RBM
from vgfast.published import deep_autoencoder, deep_belief_net, patience, pcd_rbm, pretrained_classifier, resume
from vgfast.published import stacked_autoencoder as stacked
from vgfast.published.pretrained_classifier import Settings
from vgfast.published.resume import LongRun, OutOfTime

TUNING = patience.Settings(batch_size=10, lr=0.1, patience=60, max_epochs=3, valid=50, dtype="float32")
# By name: the file, and settings under which it takes no second.
SMALL = {
    "pcd-rbm": (pcd_rbm, pcd_rbm.Settings(hidden=12, k=2, batch_size=7, epochs=3, valid=50)),
    "deep-belief-net": (deep_belief_net, Settings((12, 9), 2, 3, TUNING)),
    "stacked-autoencoder": (stacked, Settings((12, 9), 2, 3, TUNING._replace(batch_size=1, patience=600))),
    "deep-autoencoder": (deep_autoencoder, deep_autoencoder.Settings((12, 3), 6, 2, batch_size=30)),
}
EPOCHS = {"pcd-rbm": 3, "deep-belief-net": 2 * 2 + 3, "stacked-autoencoder": 2 * 2 + 3, "deep-autoencoder": 2 * 6 + 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The digits of 8 x 8 as files of MNIST's kind: 250 to train, 50 of them to validate, 60 to test."""
    made, data = tmp_path_factory.mktemp("mnist"), datasets.digits()
    for part, rows in (("train", slice(250)), ("t10k", slice(250, 310))):
        idx_file(made / f"{part}-images-idx3-ubyte", 255 * data.X[rows].reshape(-1, 8, 8))
        idx_file(made / f"{part}-labels-idx1-ubyte", data.y[rows])
    return made


def without_time(found):
    return json.dumps({name: value for name, value in found.items() if name != "seconds_per_epoch"}, sort_keys=True)


def kept(state):
    """{file: its text and arrays}"""
    found = {}
    for path in sorted(state.iterdir()):
        with np.load(path, allow_pickle=False) as file:
            found[path.name] = {name: file[name].tobytes() for name in file.files if name != "text"}
    return found


@pytest.mark.parametrize("name", SMALL)
def test_stopped_after_each_epoch_it_finds_the_same_bits(name, folder, tmp_path):
    source, settings = SMALL[name]
    told = []
    whole = source.measure(folder=folder, settings=settings, progress=told.append, state=tmp_path / "whole")
    assert len(told) == EPOCHS[name]
    for _ in range(EPOCHS[name] + 1):
        parts = source.measure(folder=folder, settings=settings, state=tmp_path / "parts", minutes=1e-9)
    assert without_time(parts) == without_time(whole)
    assert kept(tmp_path / "parts") == kept(tmp_path / "whole")
    assert without_time(source.measure(folder=folder, settings=settings)) == without_time(whole)


@pytest.mark.parametrize("name", SMALL)
def test_killed_within_an_epoch_it_finds_the_same_bits(name, folder, tmp_path, monkeypatch):
    """What the epoch had changed in memory is lost."""
    source, settings = SMALL[name]
    whole = source.measure(folder=folder, settings=settings, state=tmp_path / "whole")
    keep, calls = LongRun.keep, itertools.count()

    def killed(*arguments):
        if next(calls) % 2:
            raise KeyboardInterrupt
        keep(*arguments)

    monkeypatch.setattr(LongRun, "keep", killed)
    parts = {}
    for _ in range(EPOCHS[name] + 1):
        with suppress(KeyboardInterrupt):
            parts = source.measure(folder=folder, settings=settings, state=tmp_path / "parts")
    assert without_time(parts) == without_time(whole)
    assert kept(tmp_path / "parts") == kept(tmp_path / "whole")


@pytest.mark.parametrize("name", SMALL)
def test_out_of_time_nothing_is_said_to_hold(name, folder, tmp_path):
    source, settings = SMALL[name]
    found = source.measure(folder=folder, settings=settings, minutes=1e-9)
    rows = source.rows({"short": False, **found})
    untried = [row for row in rows if row.what not in ("epoch 1", "linear components, ± 0.01")]
    assert [row.holds for row in untried] == [None] * len(untried)
    assert untried


@pytest.mark.parametrize("name", SMALL)
def test_progress_goes_from_nothing_to_all(name, folder):
    source, settings = SMALL[name]
    told = []
    source.measure(folder=folder, settings=settings, progress=told.append)
    shares = [now.share for now in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert all(now.seconds_left >= 0 for now in told)
    assert "epoch 1 of" in str(told[0])
    assert str(resume.Reached("layer 1", 0.25, 90.0)).startswith(" 25%  layer 1, about ")


def test_what_a_layer_is_goes_into_plain_data_and_comes_back(rng):
    X = rng.random((40, 6))
    settings = {"persistent": True, "momentum": (0.5, 0.9), "sparsity_target": 0.1, "n_iter": 2, "batch_size": 7}
    layer = RBM(5, rng=3, **settings).fit(X)
    arrays = []
    text = json.dumps(npz.pack(resume.packed(layer), arrays))
    copy = RBM(5, rng=4, **settings)
    copy.__setstate__(resume.unpacked(npz.unpack(json.loads(text), [array.copy() for array in arrays])))
    for one in (layer, copy):
        one.partial_fit(X).partial_fit(X)
    assert copy.weights.tobytes() == layer.weights.tobytes()
    assert copy.gibbs(X).tobytes() == layer.gibbs(X).tobytes()
    assert len(copy.history_.epochs) == len(layer.history_.epochs) == 4


def test_what_another_run_has_kept_is_refused(folder, tmp_path):
    """And another folder takes what this one does not, or the file is removed, as is said."""
    source, settings = SMALL["pcd-rbm"]
    wide, state = settings._replace(hidden=13), tmp_path / "state"
    whole = source.measure(folder=folder, settings=wide)
    source.measure(folder=folder, settings=settings, state=state, minutes=1e-9)
    before = kept(state)
    with pytest.raises(ValueError, match=r"machine.npz must be of a run with the same settings.*; name another folder"):
        source.measure(folder=folder, settings=wide, state=state)
    assert source.measure(folder=folder, settings=wide, state=tmp_path / "another") == whole
    assert kept(state) == before
    (state / "machine.npz").write_bytes(b"PK, but no more")
    with pytest.raises(ValueError, match=r"must be what an earlier run has kept, .*; remove it to begin") as caught:
        source.measure(folder=folder, settings=wide, state=state)
    Path(str(caught.value).split(" must be ")[0]).unlink()
    assert source.measure(folder=folder, settings=wide, state=state) == whole


@pytest.mark.parametrize(
    ("name", "file"), [("pcd-rbm", "machine"), ("deep-autoencoder", "fine-tuning"), ("deep-belief-net", "fine-tuning")]
)
def test_a_file_from_which_something_is_missing_is_refused(name, file, folder, tmp_path):
    source, settings = SMALL[name]
    source.measure(folder=folder, settings=settings, state=tmp_path)
    path = str(tmp_path / f"{file}.npz")
    whole = npz.read(path)
    for part in whole["found"]:
        npz.write(path, whole | {"found": {one: its for one, its in whole["found"].items() if one != part}})
        with pytest.raises(
            ValueError, match=rf"cannot be read \(it has no '{part}'\); remove it to begin this part anew"
        ):
            source.measure(folder=folder, settings=settings, state=tmp_path)


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_a_state_that_is_no_folder(place, folder, tmp_path):
    source, settings = SMALL["pcd-rbm"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"{tmp_path}/{place} is or is in a file; name another"):
        source.measure(folder=folder, settings=settings, state=tmp_path / place)
    another = tmp_path / "new" / "folder"
    source.measure(folder=folder, settings=settings, state=another, minutes=1e-9)
    assert [path.name for path in another.iterdir()] == ["machine.npz"]


def test_a_run_is_known_by_its_images():
    images = np.zeros((3, 4), np.float32)
    assert resume.identify("a", 1, images) == resume.identify("a", 1, images.copy())
    assert resume.identify("a", 1, images) != resume.identify("a", 1, images + 1)
    assert resume.identify("a", 1, images) != resume.identify("b", 1, images)


def test_time_is_over_after_what_was_reached_is_told():
    told = []
    run = LongRun("", 4, minutes=1e-9, progress=told.append)
    run.skip(1)
    with pytest.raises(OutOfTime):
        run.end_epoch("first", 1)
    assert told[0][:2] == ("first", 0.5)
    LongRun("", 4, minutes=10).end_epoch("first", 1)


# ---- the four of them -------------------------------------------------------------------------------------


def test_the_published_settings():
    tuning = patience.Settings(10, 0.1, 20_000, 0, 2, 0.995, 1000, 10_000, "float32")
    assert Settings((1000,) * 3, 100, 46, tuning) == deep_belief_net.SETTINGS
    one_by_one = tuning._replace(batch_size=1, patience=500_000)
    assert Settings((1000,) * 3, 15, 36, one_by_one) == stacked.SETTINGS
    assert pcd_rbm.SETTINGS == (500, 15, 20, 0.1, 15, 10_000)
    assert deep_autoencoder.SETTINGS.hidden == (1000, 500, 250, 30)


def test_layers_are_the_tutorials(rng):
    x = rng.random((30, 6)).astype(np.float32)
    rbm = deep_belief_net.make(0, 4, x)
    assert (rbm.k, rbm.persistent, rbm.sample_visible, rbm.shuffle, rbm.learning_rate) == (1, False, True, False, 0.01)
    for made in (rbm, pcd_rbm.make(pcd_rbm.SETTINGS._replace(hidden=4), x)):
        assert 0.5 < np.abs(made.weights).max() / (4 * np.sqrt(6 / 10)) <= 1
        assert not made.intercept_hidden_.any()
        assert not made.intercept_visible_.any()
    coders = [stacked.make(l, 4, x) for l in range(3)]
    assert [coder.masking for coder in coders] == [0.1, 0.2, 0.3]
    assert {(coder.learning_rate, coder.batch_size, coder.shuffle) for coder in coders} == {(0.001, 1, False)}


def test_a_net_begins_with_its_layers(rng):
    x = rng.random((30, 6)).astype(np.float32)
    first = RBM(4, rng=0, n_iter=1).fit(x)
    second = RBM(3, rng=1, n_iter=1).fit(first.transform(x))
    net = pretrained_classifier.network([first, second], "float32")
    assert net.sizes == (6, 4, 3, 10)
    np.testing.assert_allclose(net.forward(x), np.zeros((30, 10)), atol=0)
    net.weights[2][...] = np.eye(3, 10)
    np.testing.assert_allclose(net.forward(x)[:, :3], second.transform(first.transform(x)), rtol=1e-5)
    coder = deep_autoencoder.unrolled([first, second])
    assert coder.sizes == (6, 4, 3, 4, 6)
    np.testing.assert_array_equal(coder.weights[3], first.weights.T)


def test_components_against_a_singular_value_decomposition(rng):
    train, test = rng.random((50, 8)), rng.random((20, 8))
    axes = np.linalg.svd(train - train.mean(axis=0))[2][:3]
    rest = (test - train.mean(axis=0)) @ (np.eye(8) - axes.T @ axes)
    assert deep_autoencoder.of_components(train, test, 3) == pytest.approx((rest**2).sum(axis=1).mean())


def test_pseudo_likelihoods_are_held_against_the_band():
    rows = pcd_rbm.rows({"pseudo_likelihood": [-90.0, -71.9, -71.0]})
    assert [row.holds for row in rows] == [True, False, True] + [None] * 12
    assert rows[1][1:3] == ("-81.24 (-93.7 to -71.9)", "-71.90")


@pytest.mark.parametrize(("ended", "short", "holds"), [(True, False, True), (False, False, None), (True, True, None)])
def test_an_error_holds_where_all_of_it_was_run(ended, short, holds):
    best = {"iterations": 1, "valid": 0.0127 + 23e-4, "test": 0.0134 - 23e-4}
    found = {"best": best, "epochs": 9, "ended": ended, "short": short, "layers": 3}
    assert [row.holds for row in deep_belief_net.rows(found)] == [holds, holds]
    best["valid"] += 1e-4
    assert deep_belief_net.rows(found)[0].holds is (False if holds else None)


def test_an_autoencoder_is_held_against_logistic_components():
    for error, holds in ((8.0, True), (8.02, False)):
        rows = deep_autoencoder.rows({"linear": 13.871, "layers": 4, "errors": [9.0, error], "ended": True})
        assert [row.holds for row in rows] == [True, None, holds]


# ---- the command ------------------------------------------------------------------------------------------


def test_the_command_tells_a_line_an_epoch_and_goes_on(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("rich")
    settings = SMALL["deep-belief-net"][1]
    monkeypatch.setattr(pretrained_classifier, "shorten", lambda _: settings)
    arguments = ["reproduce", "deep-belief-net", "--quick", "--mnist", str(folder), "--state", str(tmp_path)]
    assert cli.main([*arguments, "--minutes", "1e-9"]) == 0
    out, told = capsys.readouterr()
    assert "at layer 1" in out
    assert "2 were not tried" in out
    assert len(told.splitlines()) == 1
    assert cli.main(arguments) == 0
    out, told = capsys.readouterr()
    assert len(told.splitlines()) == EPOCHS["deep-belief-net"] - 1
    assert "fine-tuning" in told
    assert "% wrong, about" in told
    assert "3 epochs" in out
