"""Dense networks that train fast on the CPU, and that tell where their gradient went."""

try:
    from vgfast import _core  # noqa: F401
except ImportError as error:
    if error.name != "vgfast._core.crossing":  # it is there, and what it needs is not
        raise
    raise ImportError(
        "vgfast's compiled core is not beside its Python files, as in a checkout that was not installed; "
        "run pip install -e . there, or start Python in another folder"
    ) from error
from vgfast._version import __version__ as __version__
from vgfast.config import get_num_threads, set_num_threads, show_config, threads
from vgfast.inspection.report import GradientReport
from vgfast.mlp import MLP
from vgfast.model import activations, dropout, init, norm
from vgfast.model.errors import DivergenceError
from vgfast.model.residual import residual
from vgfast.training.history import History
from vgfast.training.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = [
    "MLP",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "DivergenceError",
    "EarlyStopping",
    "GradientReport",
    "History",
    "Log",
    "RMSprop",
    "activations",
    "dropout",
    "fit_many",
    "from_torch",
    "get_num_threads",
    "init",
    "inspect_torch",
    "norm",
    "reference",
    "residual",
    "schedules",
    "set_num_threads",
    "show_config",
    "threads",
]


def __getattr__(name: str):
    if name == "reference":  # the textbook is read when asked for, not by every import
        import importlib

        return importlib.import_module("vgfast.reference")
    if name == "schedules":
        import importlib

        return importlib.import_module("vgfast.training.schedules")
    if name == "Log":
        from vgfast.training.log import Log

        return Log
    if name == "fit_many":
        from vgfast.training.many import fit_many

        return fit_many
    if name in ("EarlyStopping", "Checkpoint"):
        from vgfast.training import callbacks

        return getattr(callbacks, name)
    if name == "inspect_torch":  # itself imports torch only when it is called
        from vgfast.interop.inspect_torch import inspect_torch

        return inspect_torch
    if name == "from_torch":
        from vgfast.interop.from_torch import from_torch

        return from_torch
    raise AttributeError(f"module 'vgfast' has no attribute {name!r}")
