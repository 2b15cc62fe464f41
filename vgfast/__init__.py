"""Dense networks that train fast on the CPU, and that tell where their gradient went.

``MLP(sizes, activation, loss, init, dtype, rng, normalization, residual, dropout)``
    training: ``fit`` (on arrays, sparse matrices, or a source of blocks, ``vgfast.data.blocks``), ``step``,
    ``gradients``, ``forward(X, training=True)``, ``backward`` and ``apply`` for losses of one's own.
    answers: ``predict``, ``predict_proba``, ``evaluate``, ``forward``.
    inspection: ``inspect``, ``fit(..., inspect_every=n)``, ``trace``, ``check_gradient``, ``sample_norms``, ``cost``.
    itself: ``weights``, ``biases``, ``parameters``, ``state_dict``, ``summary``, ``copy``, ``save``, ``load``.
    elsewhere: ``to_torch`` and ``from_torch``, ``to_onnx``, ``to_c``.
``activations``
    identity, sigmoid, tanh, relu, leaky_relu, softsign, scaled_tanh, elu, selu, softplus, gelu, gelu_tanh, silu, mish,
    hardtanh, hardsigmoid, hardswish: one for all hidden layers, or one for each.
losses
    ``cross_entropy`` (labels or probabilities), ``binary_cross_entropy``, ``mse``.
``SGD``, ``Adam``, ``AdamW``, ``RMSprop``, ``Adagrad``; ``schedules``
    as in PyTorch, but biases do not decay; where Keras and scikit-learn put eps is a flag. lr may be a schedule: step,
    exponential, cosine, one_cycle, warm_up.
``init``
    ``auto``; LeCun, Glorot and He; ``critical``, ``orthogonal``, ``sparse``, ``fixup``, ``lsuv(X)``.
``norm``, ``dropout``, ``residual``
    batch, layer and RMS normalization; dropout and alpha dropout; x + scale f(x), ReZero's too.
``EarlyStopping``, ``Checkpoint``, ``Log``, ``History``
    what ``fit`` calls after each epoch, and what it returns.
``watch``
    a page in the browser that shows a training while it runs; ``vgfast watch`` does so for a whole script.
``History.save_html``, ``GradientReport.save_html``, ``net.cost(...).save_html``; ``widget``
    pages of one file for any browser, without a network; and the same in a notebook, while a net trains.
``fit_many``
    many small nets at once, one a thread.
``fit(..., reduce=f)``, ``Reducer``
    the gradient of each step, to be changed before the update, as by several processes that train one net:
    ``vgfast.mpi.fit`` by MPI, ``vgfast.torch_distributed.Reducer`` by PyTorch's gloo.
``inspect_torch``
    the report of ``inspect`` of a module of PyTorch.
``reference.MLP``
    the same network in plain NumPy, to read and to compare with.
``vgfast.inspection``
    what the quantities and verdicts of a report are (``help(vgfast.inspection)``).
``vgfast.sklearn``
    ``MLPClassifier`` and ``MLPRegressor``, scikit-learn's with the import exchanged; ``RBM``, a transformer.
``vgfast.pretrain``
    ``RBM``, ``DeepBeliefNet``, ``Autoencoder``, ``StackedAutoencoder``; ``to_mlp`` makes a net of them.
``vgfast.datasets``
    digits, a part of MNIST, faces; MNIST, Fashion-MNIST and EMNIST from their files.
``threads``, ``set_num_threads``, ``get_num_threads``, ``show_config``
    how many threads, and on which machine.

On the command line: ``vgfast demo``, ``lesson``, ``reproduce``, ``bench``, ``ladder``, ``cost``, ``watch``, ``play``
and ``info``.
"""

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
from vgfast.training.ranks import Reducer

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
    "Reducer",
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
    "watch",
    "widget",
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
    if name == "widget":  # itself imports anywidget only when it is called
        from vgfast.training.widget import widget

        return widget
    if name == "fit_many":
        from vgfast.training.many import fit_many

        return fit_many
    if name in ("EarlyStopping", "Checkpoint"):
        from vgfast.training import callbacks

        return getattr(callbacks, name)
    if name == "inspect_torch":  # itself imports torch only when it is called
        from vgfast.interop.inspect_torch import inspect_torch

        return inspect_torch
    if name == "watch":
        from vgfast.live.watch import watch

        return watch
    if name == "from_torch":
        from vgfast.interop.from_torch import from_torch

        return from_torch
    raise AttributeError(f"module 'vgfast' has no attribute {name!r}")
