"""Plain data in an npz: what is wrong with a file, and what is wrong with the interpreter that reads it."""

import numpy as np
import pytest

import vgfast as vg
from vgfast.data import blocks
from vgfast.files import npz

DATA = {"text": "a", "arrays": [np.arange(3), np.eye(2)], "none": None, "pair": (1, 2.5)}
MISMATCH = "AST constructor recursion depth mismatch (before=33, after=30)"


def failing(function, error, times):
    """The function, which raises the error so often before."""
    left = [error] * times

    def fails(*args, **how):
        if left:
            raise left.pop()
        return function(*args, **how)

    return fails


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data.npz"
    npz.write(str(path), DATA)
    return str(path)


def test_what_is_written_is_read(path):
    np.testing.assert_equal(npz.read(path), DATA)


def test_a_file_that_another_thread_has_disturbed_is_read_again(path, monkeypatch):
    monkeypatch.setattr(np, "load", failing(np.load, SystemError(MISMATCH), 3))
    np.testing.assert_equal(npz.read(path), DATA)


def test_so_is_the_header_of_an_array(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", np.eye(4))
    header = np.lib.format.read_array_header_1_0
    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", failing(header, SystemError(MISMATCH), 3))
    source = blocks.from_npy(tmp_path / "X.npy", np.array([0, 1, 1, 0]))
    assert len(vg.MLP([4, 2], rng=0).fit(source, epochs=1).loss) == 1


@pytest.mark.parametrize("kind", [SystemError, RecursionError, MemoryError])
def test_an_error_of_the_interpreter_is_not_called_damage(kind, path, monkeypatch):
    fit = {"X": np.eye(4), "y": [0, 1, 1, 0], "epochs": 1, "callbacks": [vg.Checkpoint(path)]}
    monkeypatch.setattr(np, "load", failing(np.load, kind("of the interpreter"), 10**4))
    with pytest.raises(kind, match="of the interpreter"):
        npz.read(path)
    with pytest.raises(kind, match="of the interpreter"):
        vg.MLP([4, 2], rng=0).fit(**fit)


TEXTS = [
    "",
    "[",
    "[" * 10**5,
    '{"array": 9}',
    '{"dict": [1]}',
    '{"a": 1, "b": 2}',
    '{"dtype": "none"}',
    '{"generator": 3}',
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_is_not_what_was_written_is_damage(text, tmp_path):
    np.savez(tmp_path / "data.npz", text=np.array(text), array0=np.zeros(2))
    with pytest.raises(ValueError, match="Error: "):
        npz.read(str(tmp_path / "data.npz"))


@pytest.mark.parametrize("name", ["seed", "shuffle", "RandomState", "of nobody"])
def test_a_generator_is_made_of_bits_alone(name):
    """A file may name anything that NumPy has."""
    with pytest.raises(ValueError, match=f"no bit generator '{name}' in NumPy"):
        npz.unpack({"generator": {"dict": {"bit_generator": name}}}, [])
    arrays, generator = [], np.random.Generator(np.random.Philox(3))
    again = npz.unpack(npz.pack(generator, arrays), arrays)
    assert again.random() == generator.random()
