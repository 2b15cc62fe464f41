"""What ``vgfast reproduce`` refuses before anything is done; and what it then advises works."""

import re

import pytest
from idx_files import idx_file

from vgfast import cli, datasets, published
from vgfast.published import patience, pretrained_classifier

NEEDS_FILES = [
    "softmax-regression",
    "tanh-mlp",
    "pcd-rbm",
    "stacked-autoencoder",
    "deep-belief-net",
    "deep-autoencoder",
]
EITHER = ["batch-norm"]  # MNIST's or Fashion-MNIST's
NEEDS_FASHION = ["fashion-mlp"]
TAKES = {
    "MNIST": sorted(["nielsen-speed", "nielsen-depth", *EITHER, *NEEDS_FILES], key=published.NAMES.index),
    "Fashion-MNIST": ["rezero", *EITHER, *NEEDS_FASHION],
}
RESUMES = NEEDS_FILES[2:]
# Under which a deep belief net takes no second.
TUNING = patience.Settings(batch_size=10, lr=0.1, patience=60, max_epochs=1, valid=50, dtype="float32")
SHORT = pretrained_classifier.Settings((12, 9), 1, 1, TUNING)


def refused(name, folder=None, state=None, minutes=None, fashion=None):
    with pytest.raises(ValueError, match=f"^{name} ") as caught:
        published.run(name, True, folder, state=state, minutes=minutes, fashion=fashion)
    return str(caught.value)


def takers(text):
    """Whom an error says that an option is for."""
    return text.partition("which is for ")[2].split(", ")


def test_a_name_that_there_is_not():
    with pytest.raises(ValueError, match="no published result 'sleu'; there are ") as caught:
        published.check("sleu", None)
    names = str(caught.value).partition("there are ")[2].split(", ")
    assert names == list(published.NAMES)
    assert all(published.module(name).TITLE for name in names)


@pytest.mark.parametrize("name", published.NAMES)
def test_a_folder_of_files(name, tmp_path):
    """It is left out where it has no use; those whom the error names take it."""
    assert bool(published.module(name).FILES) == (name in NEEDS_FILES + EITHER)
    for data, option, given in (("MNIST", "mnist", "folder"), ("Fashion-MNIST", "fashion", "fashion")):
        if name in TAKES[data]:
            published.check(**{"name": name, "folder": None, given: tmp_path})
            continue
        text = refused(name, **{given: tmp_path})
        assert text.startswith(f"{name} has no use for {data}, got {tmp_path}; leave out --{option}, which is for ")
        assert takers(text) == TAKES[data]
    if name not in NEEDS_FILES + EITHER + NEEDS_FASHION:
        published.check(name, None)


@pytest.mark.parametrize("name", EITHER)
def test_one_of_two_data_sets(name, tmp_path):
    """With each option that the error names, one can go on, and not with both."""
    text = refused(name)
    assert text.startswith(f"{name} needs the whole of MNIST or of Fashion-MNIST. The four files of MNIST, ")
    options = re.findall(r"name it with (--\w+)", text)
    assert options == ["--mnist", "--fashion"]
    for option in options:
        arguments = cli._parser().parse_args(["reproduce", name, option, str(tmp_path)])
        published.check(name, arguments.mnist, fashion=arguments.fashion)
    text = refused(name, tmp_path / ".", fashion=tmp_path)
    assert text.startswith(f"{name} takes one data set, got --mnist {tmp_path} and --fashion {tmp_path}; leave one out")


@pytest.mark.parametrize("given", [{"state": "kept"}, {"minutes": 3.5}, {"state": "kept", "minutes": 3.0}], ids=str)
@pytest.mark.parametrize("name", [name for name in published.NAMES if name not in RESUMES])
def test_what_ends_soon_keeps_nothing(name, given, tmp_path):
    """All that is to be left out is named at once."""
    folder, fashion = (tmp_path if name in names else None for names in (NEEDS_FILES + EITHER, NEEDS_FASHION))
    text = refused(name, folder, fashion=fashion, **given)
    options = "".join(f" --{option} {value}" for option, value in given.items())
    assert text.startswith(f"{name} ends soon, got{options}; leave that out, which is for ")
    published.check(name, folder, fashion=fashion)
    assert takers(text) == RESUMES
    for taker in takers(text):
        published.check(taker, tmp_path, **given)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_minutes(minutes, tmp_path):
    with pytest.raises(ValueError, match="--minutes must be above 0 and finite, got "):
        published.check("pcd-rbm", tmp_path, minutes=minutes)
    published.check("pcd-rbm", tmp_path, minutes=1e-9)


@pytest.mark.parametrize("name", ["nielsen-speed", "tanh-mlp"])
def test_a_folder_that_is_none(name, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=f"{tmp_path}/file is no folder; name another"):
        published.check(name, tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/nowhere does not exist; name another"):
        published.check(name, tmp_path / "nowhere")
    published.check(name, tmp_path)


def test_a_folder_of_fashion_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"Fashion-MNIST's files, and {tmp_path}/nowhere does not exist; name"):
        published.check("batch-norm", None, fashion=tmp_path / "nowhere")


@pytest.mark.parametrize("name", NEEDS_FILES + NEEDS_FASHION)
def test_where_no_folder_is_named(name, tmp_path):
    """With the option that the error names, one can go on."""
    option = re.search(r"name it with (--\w+)$", refused(name))[1]
    assert option == ("--fashion" if name in NEEDS_FASHION else "--mnist")
    arguments = cli._parser().parse_args(["reproduce", name, option, str(tmp_path)])
    published.check(name, arguments.mnist, fashion=arguments.fashion)


def test_files_are_found_under_the_names_that_are_told(tmp_path, monkeypatch, capsys):
    """As the command tells them; it then runs, here on the digits of 8 x 8."""
    pytest.importorskip("rich")
    monkeypatch.setattr(pretrained_classifier, "shorten", lambda _: SHORT)
    arguments = ["reproduce", "deep-belief-net", "--quick"]
    assert cli.main(arguments) == 1
    text, data = capsys.readouterr().err, datasets.digits()
    names = re.findall(r"[\w-]+-ubyte\.gz", text)
    assert len(set(names)) == 4
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in names:
        rows = slice(250) if name.startswith("train") else slice(250, 310)
        images = 255 * data.X[rows].reshape(-1, 8, 8)
        idx_file(folder / name, images if "images" in name else data.y[rows])
    option = re.search(r"name it with (--\w+)$", text.strip())[1]
    assert cli.main([*arguments, option, str(folder)]) == 0
    assert "1 epoch" in capsys.readouterr().out
