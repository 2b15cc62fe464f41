"""The house: which room a module is in, what it may import, and how long it and its functions may be.

All imports count, those within functions and those for type checkers too.
"""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vgfast

HOME = Path(vgfast.__file__).parent
# From top to bottom: a room may import from itself and from those below it. Each package and each module beside them
# has its place; "vgfast" is the package itself, by whose public names lessons and published numbers go.
ROOMS = [
    "__main__",
    "cli",
    "play",
    "examples",
    "lessons",
    "published",
    "sklearn",
    "vgfast",
    "bench",
    "mpi",
    "torch_distributed",
    "interop",
    "pretrain",
    "mlp",
    "reference",
    "network",
    "export",
    "state",
    "cost",
    "live",
    "inspection",
    "training",
    "model",
    "datasets",
    "data",
    "show",
    "config",
    "files",
    "_check",
    "_core",
    "_version",
]
# Lines.
MODULE_MOST, FUNCTION_MOST = 400, 60


@cache
def modules():
    """{name without "vgfast.": syntax tree}"""
    found = {}
    for path in HOME.rglob("*.py"):
        parts = path.relative_to(HOME).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "vgfast"
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree):
    """The modules of vgfast that a syntax tree imports, without "vgfast."."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not counted here"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found += [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    return {module_of(name) for name in found if name.split(".")[0] == "vgfast"}


def module_of(name):
    """The module that "vgfast.a.b" is, or that has it."""
    name = name.removeprefix("vgfast.")
    while name not in modules():
        name = name.rpartition(".")[0] or "vgfast"
    return name


def room(module):
    return module.partition(".")[0]


def upward(trees):
    """(module, what it imports) of arrows that point up."""
    return {
        (name, other)
        for name, tree in trees.items()
        for other in imported(tree)
        if ROOMS.index(room(other)) < ROOMS.index(room(name))
    }


def test_every_module_is_in_a_room():
    assert {room(name) for name in modules()} - set(ROOMS) == set()


def test_imports_point_down():
    assert upward(modules()) == set()


def test_no_modules_import_each_other():
    try:
        tuple(TopologicalSorter({name: imported(tree) - {name} for name, tree in modules().items()}).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize(
    "text",
    [
        "from vgfast import cli",
        "def f():\n    from vgfast.bench.tables import anything",
        "import vgfast.mlp as m",
        "if TYPE_CHECKING:\n    from vgfast.network import Network",
        "importlib.import_module('vgfast.lessons')",
    ],
)
def test_an_upward_import_is_found(text):
    assert len(upward({"training.fit": ast.parse(text)})) == 1


def lengths():
    """{module or module.function: lines} of those that are too long."""
    found = {}
    for name, tree in modules().items():
        lines = max((node.end_lineno for node in tree.body), default=0)
        found |= {name: lines} if lines > MODULE_MOST else {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                found |= {f"{name}.{node.name}": lines} if lines > FUNCTION_MOST else {}
    return found


def test_a_module_is_read_at_once_and_a_function_on_a_screen():
    assert lengths() == {}
