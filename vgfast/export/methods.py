"""The methods of a net that give it to other programs."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from vgfast.state import State


class Exports(State):
    """Forms of a net that others run. See ``vgfast.MLP``."""

    def to_torch(self) -> Any:
        """The net as a ``torch.nn.Sequential``: Linear layers with normalizations, activations and dropout as ``torch``
        has them, and the same parameters, copied bit by bit.

        It is in evaluation mode, so that it predicts as this net does: ``module(x)`` is ``net.forward(x)`` but for
        roundings, and ``module.train()`` is before training it. ``module.loss`` is the name of the loss: outputs are
        those before softmax or sigmoid, as torch's CrossEntropyLoss and BCEWithLogitsLoss take them. What torch has
        not, residual connections and scaled_tanh, are small modules of ``vgfast.export.torch_modules``.
        Without dropout and residual connections ``state_dict()`` has the names of a file that ``save`` wrote. torch's
        random numbers stay as they are. ``vg.from_torch`` makes a net of it again.

        Errors: ImportError without torch; ValueError for batch norm by which no batch has gone in training, and for
        half precision; ``DivergenceError`` for parameters that are not finite.

        Example, which needs torch::

            net = vg.MLP([64, 30, 10], "gelu", normalization="layer")
            module = net.to_torch()
            torch.onnx.export(module, torch.zeros(1, 64), "net.onnx")
        """
        from vgfast.export import to_torch  # here and below: only read when asked for

        still = self._lock.between_steps(self._snapshot)
        return to_torch.make_module(still._architecture, still._engine.vector)

    def to_onnx(self, path: str | os.PathLike[str] | BinaryIO, classes: Any = None) -> None:
        """Write an ONNX model, whole or not at all; a file that is replaced keeps its mode. Or write to a binary file
        that is open.

        Its input is ``X`` (rows, n_in), of the net's dtype and any number of rows. Its outputs, as ``predict`` and
        ``predict_proba`` give them: ``label`` and ``probabilities``, or of mse ``values`` (rows, n_out).
        classes: labels to give in place of 0, 1, ...: strings or whole numbers, n_out of them, such as an estimator's
        ``classes_``. Of a net with one output and binary_cross_entropy two, for no and yes; the probabilities (rows, 2)
        are then those of both.

        Operators are those of version 18. Errors: ImportError without onnx; TypeError or ValueError for classes that
        do not fit, for batch norm by which no batch has gone in training, half precision, and more than 2 GiB;
        ``DivergenceError`` for parameters that are not finite; OSError, the old file being as it was.

        Example, which needs onnxruntime::

            net.to_onnx("net.onnx", classes=["setosa", "versicolor", "virginica"])
            session = onnxruntime.InferenceSession("net.onnx")
            label, probabilities = session.run(None, {"X": X.astype("float32")})

        An estimator of ``vgfast.sklearn`` has its net as ``net_``. In a pipeline skl2onnx converts it, by what it has
        for scikit-learn's own MLP::

            from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as shapes
            from skl2onnx.operator_converters.multilayer_perceptron import convert_sklearn_mlp_classifier as convert

            options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]}
            skl2onnx.update_registered_converter(MLPClassifier, "VgfastMLP", shapes, convert, options=options)
            model = skl2onnx.to_onnx(pipeline, X[:1])
        """
        from vgfast.export import to_onnx

        still = self._lock.between_steps(self._snapshot)
        to_onnx.write(path, still._architecture, still._engine.vector, classes, repr(self))

    def to_c(self, path: str | os.PathLike[str] | BinaryIO, name: str = "net") -> None:
        """Write a C header with the net's parameters and functions that predict with them, whole or not at all; a file
        that is replaced keeps its mode. Or write to a binary file that is open.

        It is C99, and C++11, and needs no function of the C library but expf, or exp of a float64 net; nothing is
        allocated, and what is computed on the way lies on the stack. All names in it begin with this name: of one row
        ``x`` (n_in,) of float or double, ``net_predict``, ``net_predict_proba`` and ``net_forward`` compute what the
        methods do. The header tells their arguments; it can be included together with those of other nets.

        Errors: ValueError for a name that is none in C, for batch norm by which no batch has gone in training, and for
        half precision; ``DivergenceError`` for parameters that are not finite; OSError, the old file being as it was.

        >>> import io, vgfast as vg
        >>> file = io.BytesIO()
        >>> vg.MLP([4, 8, 3], rng=0).to_c(file, name="iris")
        >>> [line for line in file.getvalue().decode().splitlines() if "int iris_predict" in line][-1]
        'static inline int iris_predict(const float *x) {'
        """
        from vgfast.export import to_c

        still = self._lock.between_steps(self._snapshot)
        to_c.write(path, still._architecture, still._engine.vector, name, repr(self))
