"""The command line, as a user types it."""

import json

import pytest
from command import vgfast, vgfast_here

from vgfast import cli
from vgfast.cli.demo import PAGE, PICTURE
from vgfast.cost import limits
from vgfast.lessons import demo


def test_demo_for_people(tmp_path, monkeypatch):
    """After fewer epochs, which already tell the nets apart."""
    monkeypatch.setattr(demo, "EPOCHS", demo.QUICK_EPOCHS)
    folder = tmp_path / "made" / "by the demo"
    done = vgfast_here("demo", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    text = done.stdout
    picture = folder / PICTURE
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in text
    lines = [line for line in text.splitlines() if str(folder) not in line]
    assert max(map(len, lines)) <= 80
    for name, sizes, _, _ in demo.NETS:
        assert f"{name}: " in text
        assert text.count("the signal starts here") == 3
        assert f"{len(sizes) - 2} hidden" in text
    assert "vanishing: layer 1 gets" in " ".join(text.split())
    assert text.count("healthy: ") == 2


def test_demo_for_programs(tmp_path):
    done = vgfast("demo", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    shallow, deep, cured = data["nets"]
    assert data["picture"] == str(tmp_path / PICTURE)
    assert (tmp_path / PICTURE).exists()
    assert shallow["steps"] == deep["steps"] == cured["steps"]
    assert [net["verdict"] for net in data["nets"]] == ["healthy", "vanishing", "healthy"]
    assert shallow["test_accuracy"] > 0.9
    assert deep["test_accuracy"] < 0.15
    assert cured["test_accuracy"] > 0.93
    assert len(deep["layers"]) == 9
    for layer in deep["layers"][:-1]:
        assert layer["weight_gain"] * layer["activation_gain"] == pytest.approx(layer["gain"])
        assert layer["activation_gain"] < 0.25


def test_demo_where_the_picture_cannot_go(tmp_path, quick):
    (tmp_path / "file").write_text("")
    done = vgfast_here("demo", "--json", "--out", str(tmp_path / "file"))
    assert done.returncode == 1
    assert "the picture needs a folder, and " in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_demo_by_processes_has_no_page():
    done = vgfast_here("demo", "--mpi", "--html")
    assert done.returncode == 1
    assert done.stderr == "vgfast: --mpi compares trainings of which no page is made; leave out --html, or --mpi\n"


def test_demo_as_a_page(tmp_path, quick):
    done = vgfast_here("demo", "--html", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    page = tmp_path / PAGE
    assert str(page) in done.stdout
    text = page.read_text()
    before = text[: text.index("<script")]
    for name, sizes, activation, init in demo.NETS:
        hidden = len(sizes) - 2
        assert f"<h2>{name}: {hidden} hidden layer{'s' * (hidden > 1)} of 30, {activation}, {init}: test acc" in before
    assert before.count("inspected steps") >= len(demo.NETS)
    assert text.count('"predicted_low":[0.') == len(demo.NETS)
    assert json.loads(vgfast_here("demo", "--html", "--json").stdout)["page"].endswith(PAGE)
    assert [file.name for file in tmp_path.iterdir()] == [PAGE]


def test_info(capsys):
    assert cli.main(["info", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["instruction set"] in data["available"]
    assert cli.main(["info"]) == 0
    assert "instruction set: " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--fast"]])
def test_wrong_usage(arguments):
    done = vgfast(*arguments)
    assert done.returncode == 2
    assert "usage: vgfast" in done.stderr


def test_help():
    assert vgfast("--help").stdout.startswith("usage: vgfast")
    for arguments in ([], ["demo"], ["bench"], ["info"]):
        done = vgfast_here(*arguments, "--help")
        assert done.returncode == 0
        assert "usage: vgfast" in done.stdout


@pytest.mark.parametrize("command", ["cost", "ladder"])
def test_help_with_a_worked_example(command):
    done = vgfast_here(command, "--help")
    assert done.returncode == 0
    assert f"example: vgfast {command} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_info_measures_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(limits, "_known", {})
    monkeypatch.setattr(limits, "ROUNDS", 1)
    assert cli.main(["info"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    (file,) = (tmp_path / "vgfast").iterdir()
    first = file.read_bytes()
    limits._known.clear()
    assert cli.main(["info"]) == 0
    assert capsys.readouterr().out == told
    assert cli.main(["info", "--refresh"]) == 0
    assert file.read_bytes() != first


def test_cost(tmp_path):
    pytest.importorskip("matplotlib")
    done = vgfast("cost", "20", "30", "5", "--batch", "8", "--json", "--out", str(tmp_path / "new"), "--threads", "1")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["threads"] == 1
    assert data["picture"] == str(tmp_path / "new" / "cost.png")
    assert (tmp_path / "new" / "cost.png").read_bytes().startswith(b"\x89PNG")
    assert data["rows"][1]["flops"] == 2 * 8 * 20 * 30
    done = vgfast("cost", "20", "30", "5", "--static", "--activation", "tanh", "--dtype", "float64")
    assert done.returncode == 0, done.stderr
    assert "float64" in done.stdout
    assert "measured" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_cost_of_more_machines(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    asked = ["cost", "20", "30", "5", "--static", "--workers", "2,64", "--network", "10GbE"]
    assert cli.main([*asked, "--json", "--out", str(tmp_path)]) == 0
    scaling = json.loads(capsys.readouterr().out)["scaling"]
    assert ([row["workers"] for row in scaling["rows"]], scaling["network"]["name"]) == ([2, 64], "10GbE")
    assert scaling["picture"] == str(tmp_path / "scaling.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("scaling.png", "cost.png"))
    assert cli.main([*asked, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "run on one machine only" in " ".join(told.split())
    assert told.endswith(f"The roofline, and scaling.png beside it: {tmp_path / 'cost.png'}\n")
    assert cli.main(["cost", "20", "30", "5", "--static", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scaling"] is None


def test_the_help_of_cost_names_the_networks(capsys):
    from vgfast.cost.networks import NETWORKS

    with pytest.raises(SystemExit):
        cli.main(["cost", "--help"])
    assert f"between them: {', '.join(NETWORKS)}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["5"], 1, "sizes must hold at least two numbers"),
        (["5", "0"], 1, "a number of units, must be from 1"),
        (["5", "x"], 2, "invalid int value"),
        (["5", "-3"], 1, "a number of units, must be from 1"),
        (["5", "2", "--batch", "0"], 1, "vgfast: --batch must be from 1"),
        (["5", "2", "--threads", "0"], 1, "vgfast: --threads must be from 1"),
        (["5", "3", "2", "--activation", "rellu"], 1, "did you mean 'relu'"),
        (["5", "2", "--dtype", "float16"], 1, "vgfast has no dtype 'float16'; there is float32, float64"),
        (["5", "2", "--workers", "2"], 1, "--workers needs --network, what is between them; there is 1GbE"),
        (["5", "2", "--network", "1GbE"], 1, "--network needs --workers, between which it is; add for example"),
        (["5", "2", "--workers", "2,x", "--network", "1GbE"], 1, "--workers must be a whole number, or several"),
        (["5", "2", "--out", "/proc/none/here"], 1, "/proc/none"),
    ],
)
def test_what_cost_refuses(arguments, status, sentence):
    pytest.importorskip("matplotlib")
    done = vgfast_here("cost", *arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cost_as_a_page(tmp_path, quick):
    asked = ("cost", "8", "16", "3", "--static", "--html", "--workers", "2,8", "--network", "10GbE")
    done = vgfast_here(*asked, "--out", str(tmp_path / "made"))
    assert done.returncode == 0, done.stderr
    page = tmp_path / "made" / "cost.html"
    assert done.stdout.endswith(f"The page: {page}\n")
    text = page.read_text()
    before = text[: text.index("<script")]
    assert "layer 1: 8 -&gt; 16, relu" in before
    assert "<h2>With more machines</h2>" in before
    assert "<th>efficiency</th>" in before
    assert "<td>2</td>" in before
    data = json.loads(vgfast_here(*asked, "--json").stdout)
    assert (data["page"], "picture" in data) == (str(tmp_path / "cost.html"), False)


def test_a_page_that_cannot_be_saved_takes_no_number_with_it(tmp_path, quick):
    (tmp_path / "cost.html").mkdir()
    done = vgfast_here("cost", "8", "16", "3", "--static", "--html", "--json")
    assert done.returncode == 1
    assert "the page could not be saved (" in done.stderr
    assert "the numbers are complete without it" in done.stderr
    assert json.loads(done.stdout)["page"] is None
