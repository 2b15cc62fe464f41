"""The denoising autoencoder of one layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast import _check, _core
from vgfast.pretrain.layer import Parameters, TiedLayer, hidden, in_unit_range, outputs
from vgfast.pretrain.likelihood import softplus

LOSSES = ("binary_cross_entropy", "mse")


class Autoencoder(TiedLayer):
    """A denoising autoencoder of tied weights: h = s(x W + c) of inputs of which some are masked, z = h Wᵀ + b, and the
    loss compares z with the inputs as they were.

    loss: ``binary_cross_entropy`` of s(z), for X in [0, 1], the sum over the columns; or ``mse``: half the sum of the
        squares of z - x, for any X. Both are means over the rows.
    masking: the share of inputs that are set to 0, anew in each step.

    Source: Vincent, Larochelle, Bengio and Manzagol, "Extracting and composing robust features with denoising
    autoencoders" (2008). Errors: TypeError or ValueError for bad arguments.

    >>> import numpy as np
    >>> from vgfast.pretrain import Autoencoder
    >>> X = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1]], 50, axis=0)
    >>> coder = Autoencoder(2, n_iter=100, rng=0).fit(X)
    >>> coder.reconstruct([[1, 1, 0, 0]]).round().tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        loss: str = "binary_cross_entropy",
        masking: float = 0.1,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 20,
        shuffle: bool = True,
        momentum: float | tuple[float, float] = 0.0,
        weight_decay: float = 0.0,
        dtype: Any = "float32",
        rng: Any = None,
    ) -> None:
        self.loss, self.masking = loss, masking
        super().__init__(n_components, learning_rate, batch_size, n_iter, momentum, weight_decay, shuffle, dtype, rng)

    def _check_settings(self) -> None:
        super()._check_settings()
        _check.choice("loss", self.loss, LOSSES)
        _check.real("masking", self.masking, 0, below=1)

    # ---- training ---------------------------------------------------------------------------------------

    def _in_range(self, name: str, x: np.ndarray) -> np.ndarray:
        if self.loss == "mse":
            return x
        return in_unit_range(name, x, "loss='binary_cross_entropy'", "loss='mse'")

    def _fill(self, parameters: Parameters, x: np.ndarray, rng: np.random.Generator) -> None:
        """Four times the range of Glorot and Bengio (2010) for tanh, as the logistic function wants."""
        most = 4 * np.sqrt(6 / sum(parameters.W.shape))
        parameters.W[...] = rng.uniform(-most, most, parameters.W.shape)

    def _scale(self, columns: int) -> float:
        """What the catalog's loss, a mean over the columns, is multiplied by."""
        return columns / 2 if self.loss == "mse" else columns

    def _prepare(self, run: _core.PretrainRun, x: np.ndarray, batch_size: int, anew: bool) -> dict[str, Any]:
        run.set_autoencoder(self.loss, self._scale(run.shape[0]), 1 - self.masking)
        return {}

    def _note(self, x: np.ndarray, losses: np.ndarray, held_out: np.ndarray | None) -> dict[str, float]:
        rows = np.full(len(losses), min(self.batch_size, len(x)))
        rows[-1] = len(x) - (len(rows) - 1) * rows[0]
        notes = {"loss": float(losses @ rows / len(x)) * self._scale(x.shape[1])}
        if held_out is not None:
            notes["val_loss"] = self._loss(self._trained("training"), held_out)
        return notes

    # ---- the model --------------------------------------------------------------------------------------

    def _loss(self, parameters: Parameters, x: np.ndarray) -> float:
        z = outputs(parameters, hidden(parameters, x), "identity").astype(np.float64)
        each = (z - x) ** 2 / 2 if self.loss == "mse" else softplus(z) - x * z
        return float(each.sum(axis=1).mean())

    def reconstruct(self, X: Any) -> np.ndarray:
        """The outputs for X (rows, n_features), of which nothing is masked."""
        activation = "identity" if self.loss == "mse" else "sigmoid"
        return self._read(
            "reconstruct", lambda own: outputs(own, hidden(own, self._data("X", X, len(own.W))), activation)
        )
