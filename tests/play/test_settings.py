"""What can be set on the page of ``vgfast play``, and the text that holds all of it."""

import numpy as np
import pytest

from vgfast.play import settings, tasks
from vgfast.play.settings import Choice, checked, controls, defaults


def test_defaults_are_among_what_can_be_set():
    assert checked(defaults(), defaults()) == defaults()
    for of in settings.as_controls(defaults()):
        assert {"name", "label", "value", "help"} <= set(of)
        assert "options" in of or {"type", "min", "max", "step"} <= set(of)


def test_changes_leave_the_rest():
    before = defaults()
    assert checked({"depth": 3, "dropout": 0.25}, before) == before | {"depth": 3, "dropout": 0.25}
    assert before == defaults()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"depth": 51}, "depth must be from 1 to 50, got 51"),
        ({"depth": 0}, "depth must be from 1 to 50"),
        ({"depth": 1.5}, "depth must be a whole number"),
        ({"depth": True}, "depth must be a whole number"),
        ({"depth": "8"}, "depth must be a whole number"),
        ({"dropout": 0.95}, "dropout must be from 0 to 0.9"),
        ({"dropout": float("nan")}, "dropout must be at least 0"),
        ({"noise": None}, "noise must be a number"),
        ({"activation": "__import__"}, "unknown activation"),
        ({"activation": ["relu"]}, "unknown activation"),
        ({"lr": 0.05}, "unknown lr"),
        ({"deep": 3}, "unknown setting 'deep'"),
        ({"__class__": 3}, "unknown setting"),
        ([], "settings must be names with values"),
        (None, "settings must be names with values"),
    ],
)
def test_what_cannot_be_set(wrong, says):
    with pytest.raises((ValueError, TypeError), match=says):
        checked(wrong, defaults())


def test_the_text_holds_everything():
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = {
            name: str(rng.choice(of.options))
            if isinstance(of, Choice)
            else int(rng.integers(of.low, of.high, endpoint=True))
            if isinstance(of.step, int)
            else float(rng.uniform(of.low, of.high))
            for name, of in controls().items()
        }
        steps = int(rng.integers(settings.MOST_STEPS))
        text = settings.as_text(checked(drawn, defaults()), steps)
        assert settings.from_text(text) == settings.from_text("#" + text) == (drawn, steps)


def test_what_the_text_leaves_out_has_its_default():
    assert settings.from_text("") == (defaults(), 0)
    assert settings.from_text("depth=3&steps=2") == (defaults() | {"depth": 3}, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        "depth",
        "depth=x",
        "depth=1e3",
        "depth=3&depth=4",
        "steps=-1",
        "steps=1000001",
        "steps=x",
        "a=1",
        "&".join(["a=1"] * 99),
    ],
)
def test_what_is_no_such_text(wrong):
    with pytest.raises(ValueError, match=r"must|unknown"):
        settings.from_text(wrong)
    with pytest.raises(TypeError, match="hash must be text"):
        settings.from_text(3)


@pytest.mark.parametrize("name", ["two moons", "circles", "XOR", "spiral"])
def test_points_are_of_their_seed(name):
    one, same, other = (tasks.make(name, 0.1, seed) for seed in (0, 0, 1))
    assert one.X.tobytes() == same.X.tobytes() != other.X.tobytes()
    assert one.is_plane
    np.testing.assert_allclose([one.X.mean(axis=0), one.X.var(axis=0)], [[0, 0], [1, 1]], atol=1e-12)
    assert np.bincount(one.y).tolist() == [200, 200]


@pytest.mark.parametrize("name", ["two moons", "circles", "XOR", "spiral"])
def test_without_noise_each_point_is_nearest_to_its_own_class_and_no_line_parts_them(name):
    X, y, _ = tasks.make(name, 0.0, 0)
    apart = ((X[:, None] - X) ** 2).sum(axis=-1) + 9 * np.eye(len(X))
    assert (y[apart.argmin(axis=1)] == y).mean() > 0.97
    line = np.linalg.lstsq(np.c_[X, np.ones(len(X))], 2 * y - 1, rcond=None)[0]
    assert ((np.c_[X, np.ones(len(X))] @ line > 0) == y).mean() < 0.95


@pytest.mark.parametrize(
    ("name", "module", "shape", "classes"),
    [("digits", "sklearn.datasets", (1797, 64), 10), ("faces", "skimage.data", (200, 625), 2)],
)
def test_images_are_there_where_what_brings_them_is(monkeypatch, name, module, shape, classes):
    pytest.importorskip(module)
    assert name in tasks.names()
    task = tasks.make(name, 0.1, 0)
    assert (task.X.shape, task.classes, len(np.unique(task.y))) == (shape, classes, classes)
    assert not task.is_plane
    monkeypatch.setitem(__import__("sys").modules, module, None)
    assert name not in tasks.names()
    assert defaults()["data"] in tasks.names()
    with pytest.raises(ValueError, match=f"unknown data '{name}'"):
        checked({"data": name}, defaults())


def test_faces_are_as_in_their_lesson():
    pytest.importorskip("skimage")
    X = tasks.make("faces", 0.1, 0).X
    np.testing.assert_allclose(X.mean(axis=0), np.zeros(625), atol=1e-12)
    assert X.std() == pytest.approx(1, abs=1e-12)
