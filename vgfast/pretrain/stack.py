"""Stacks of layers that are taught one after the other, and the nets that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Generic, Self, TypeVar

import numpy as np

from vgfast import _check, _core
from vgfast.mlp import MLP
from vgfast.pretrain import rbm
from vgfast.pretrain.autoencoder import Autoencoder
from vgfast.pretrain.layer import TiedLayer, check_progress
from vgfast.pretrain.rbm import RBM

Layer = TypeVar("Layer", bound=TiedLayer)


class _Stack(Generic[Layer]):
    """Layers, each of which learns what the one below makes of the data. One thread may train them at a time."""

    def __init__(self, sizes: Sequence[int], rng: Any, make: Callable[[int, int], Layer]) -> None:
        """make(l, n): layer l, 0 being the first, with n hidden units."""
        self.sizes = _check.sizes(sizes)
        self._rng = _check.generator(rng)
        self.layers: list[Layer] = [make(l, n) for l, n in enumerate(self.sizes[1:])]
        for l, layer in enumerate(self.layers, 1):
            layer._position = l
        self._is_fitted = False
        self._lock = _core.TrainingLock("stack")

    def fit(self, X: Any, y: Any = None, *, progress: Callable[[int, int, Any], Any] | None = None) -> Self:
        """Train the first layer on X (rows, sizes[0]), the second on the probabilities of its hidden units, and so on;
        returns self. y is not looked at. progress(done, total, history): of the layer in work. Errors: those of a
        layer's ``fit``."""
        check_progress(progress)
        for l, (layer, n) in enumerate(zip(self.layers, self.sizes[1:], strict=True)):
            layer._check_settings()
            if layer.n_components != n:
                raise ValueError(
                    f"layers[{l}] must have {n} hidden units, as sizes says, got n_components={layer.n_components}; "
                    f"make a {type(self).__name__} of other sizes for that"
                )
        x = self.layers[0]._data("X", X, self.sizes[0])
        self.layers[0]._check_training_data(x)
        try:
            self._lock.own("trained")
            self._is_fitted = False
            for layer in self.layers:
                x = layer.fit(x, progress=progress).transform(x)
            self._is_fitted = True
        finally:
            self._lock.disown()
        return self

    def copy(self) -> Self:
        """An independent stack, with layers and a generator of its own."""
        return deepcopy(self)

    def __copy__(self) -> Self:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {name: it for name, it in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = _core.TrainingLock("stack")

    def _check_fitted(self, what: str) -> None:
        if self._lock.is_anothers():
            raise RuntimeError(
                f"{what} needs trained layers, and this stack is being trained in another thread; wait for that"
            )
        if not self._is_fitted:
            raise RuntimeError(f"{what} needs trained layers, and this {type(self).__name__} has none; call fit first")

    def transform(self, X: Any) -> np.ndarray:
        """The probabilities of the last layer's hidden units, (rows, sizes[-1])."""
        self._check_fitted("transform")
        for layer in self.layers:
            X = layer.transform(X)
        return X

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """``fit``, then ``transform``."""
        return self.fit(X, y).transform(X)

    def to_mlp(self, n_out: int, activation: str = "sigmoid", loss: str = "cross_entropy", rng: Any = None) -> MLP:
        """A net with these layers and an output layer of n_out units on top, to be fine-tuned with labels: SGD with lr
        0.05 to 0.3 is a good beginning.

        activation: ``sigmoid``, or ``tanh`` with the weights that compute the same: tanh(z / 2) = 2 s(z) - 1. rng: for
        the output layer's weights and for shuffling. Errors: RuntimeError before fit.

        >>> import numpy as np
        >>> from vgfast.pretrain import DeepBeliefNet
        >>> X = np.random.default_rng(0).random((50, 6))
        >>> dbn = DeepBeliefNet([6, 4, 3], n_iter=1, rng=0).fit(X)
        >>> [w.shape for w in dbn.to_mlp(2).weights]
        [(6, 4), (4, 3), (3, 2)]
        """
        self._check_fitted("to_mlp")
        n_out = _check.integer("n_out", n_out, 1, _check.MOST_ELEMENTS)
        activation = _check.choice("activation", activation, ("sigmoid", "tanh"))
        dtype = self.layers[0].dtype
        net = MLP([*self.sizes, n_out], activation, loss, dtype=dtype, rng=self._rng if rng is None else rng)
        for l, layer in enumerate(self.layers):
            W, c = layer.weights, layer.intercept_hidden_
            if activation == "tanh":
                if l > 0:  # its inputs are 2 s - 1
                    W, c = W / 2, c + W.sum(axis=0) / 2
                W, c = W / 2, c / 2
            net.weights[l][...], net.biases[l][...] = W, c
        if activation == "tanh":
            net.weights[-1] /= 2
            net.biases[-1] += net.weights[-1].sum(axis=0)
        return net


class DeepBeliefNet(_Stack[RBM]):
    """A stack of restricted Boltzmann machines (Hinton, Osindero and Teh, "A fast learning algorithm for deep belief
    nets", 2006).

    sizes: [n_in, hidden..., hidden], those of a net without its output. The other arguments are those of ``RBM``;
    visible is of the first machine alone. Attributes: ``layers``, the machines. Errors: as ``RBM``'s.

    >>> import numpy as np
    >>> from vgfast.pretrain import DeepBeliefNet
    >>> X = np.random.default_rng(0).random((50, 6))
    >>> DeepBeliefNet([6, 4, 3], n_iter=2, rng=0).fit_transform(X).shape
    (50, 3)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        visible: str = "binary",
        rng: Any = None,
        random_state: Any = None,
        **of_each: Any,
    ) -> None:
        generator = rbm.generator(rng, random_state)

        def make(l: int, n: int) -> RBM:
            return RBM(n, visible=visible if l == 0 else "binary", rng=generator, **of_each)

        super().__init__(sizes, generator, make)

    def to_autoencoder(self, rng: Any = None) -> MLP:
        """The net that goes up through the machines and down again by their transposed weights and visible biases, to
        be fine-tuned on X as its own target (Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural
        networks", 2006). Its loss is binary_cross_entropy, or mse of Gaussian units."""
        self._check_fitted("to_autoencoder")
        loss = "mse" if self.layers[0].visible == "gaussian" else "binary_cross_entropy"
        sizes = [*self.sizes, *self.sizes[-2::-1]]
        net = MLP(sizes, "sigmoid", loss, dtype=self.layers[0].dtype, rng=self._rng if rng is None else rng)
        n = len(self.layers)
        for l, layer in enumerate(self.layers):
            net.weights[l][...], net.biases[l][...] = layer.weights, layer.intercept_hidden_
            net.weights[2 * n - 1 - l][...] = layer.weights.T
            net.biases[2 * n - 1 - l][...] = layer.intercept_visible_
        return net


class StackedAutoencoder(_Stack[Autoencoder]):
    """A stack of denoising autoencoders (Bengio, Lamblin, Popovici and Larochelle, "Greedy layer-wise training of deep
    networks", 2006).

    sizes: [n_in, hidden..., hidden], those of a net without its output. The other arguments are those of
    ``Autoencoder``; loss is of the first one alone. Attributes: ``layers``. Errors: as ``Autoencoder``'s.

    >>> import numpy as np
    >>> from vgfast.pretrain import StackedAutoencoder
    >>> X = np.random.default_rng(0).random((50, 6))
    >>> StackedAutoencoder([6, 4, 3], n_iter=2, rng=0).fit_transform(X).shape
    (50, 3)
    """

    def __init__(
        self, sizes: Sequence[int], *, loss: str = "binary_cross_entropy", rng: Any = None, **of_each: Any
    ) -> None:
        generator = _check.generator(rng)

        def make(l: int, n: int) -> Autoencoder:
            return Autoencoder(n, loss=loss if l == 0 else "binary_cross_entropy", rng=generator, **of_each)

        super().__init__(sizes, generator, make)
