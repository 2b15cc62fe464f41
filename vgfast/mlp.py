"""The model: a multi-layer perceptron, which the C core computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgfast.model.engine_c import CEngine
from vgfast.network import Network

if TYPE_CHECKING:
    from vgfast.cost.report import CostReport


class MLP(Network):
    """A dense network with float32 or float64 parameters.

    Layer l (1..L) computes z = a W + b and a = phi(z) from the outputs of the layer before; layer L is linear,
    and its softmax or sigmoid belongs to the loss.

    sizes: [n_in, hidden..., n_out].
    activation: of the hidden layers, one or one a layer: names such as relu, tanh or sigmoid, or an object such as
        ``vg.activations.leaky_relu(0.2)``; ``vg.activations`` has them all.
    loss: ``cross_entropy`` (softmax; y holds integer labels (rows,) or probabilities (rows, n_out); mean over
        rows), ``binary_cross_entropy`` (y from 0 to 1) or ``mse`` (both: y (rows, n_out); mean over rows and
        outputs).
    init: a name or object of ``vg.init``; ``auto`` chooses by the activation (``help(vg.init)``).
    rng: None, a seed, or a ``numpy.random.Generator``: for the first weights, then for shuffling.
    normalization: of each hidden layer, ``batch``, ``layer``, ``rms`` or an object of ``vg.norm``, which can also stand
        after the activation: a = phi(N(z)), or a = N(phi(z)).
    residual: None; or residual connections: True for one around each hidden layer but the first, and
        ``vg.residual(every, scale)`` for others. The output of such a block is x + scale f(x), so that it must be as
        wide as its input. All that its layers do, normalization and dropout too, is in f, and the sum comes last.
    dropout: the rate, 0 <= p < 1, of hidden outputs that each training step goes without, or one rate a hidden layer:
        an output is 0 with the probability p, else divided by 1 - p, anew for each row and step; predictions use all.
        ``vg.dropout.alpha(p)`` instead of p is for selu: it keeps the mean 0 and the variance 1.
        ``gradients``, ``inspect``, ``forward(X, training=True)`` and ``backward`` are of the masks of the next step.

    While one thread trains a net, in ``fit`` or ``step``, others may use it: all methods that read it wait for the
    steps in work, some 30 ms of them, if they have to, and do their work with the parameters after those. What changes
    the net, training or assigning, is refused with a RuntimeError meanwhile. The views ``params``, ``weights`` and
    ``biases`` show what is in memory, in the midst of a step too; writing through them then is not noticed, and lands
    before or after the update of that weight.

    X may be a sparse matrix or array of SciPy in any format, which is read as CSR (other formats, and rows that are
    unsorted or hold a column twice, by way of a copy): wherever a method takes rows, but for ``trace`` and
    ``check_gradient``, and with the bits of the same rows with their zeros. Layer 1 then reads the rows of its weights
    that a row of X has an entry for. A step costs what its entries cost, by the rules under which weights without a
    gradient stay as they are: plain SGD and Adagrad. Momentum, Adam, AdamW, RMSprop, and any weight_decay or penalty,
    change all weights in every step, so that each is one pass over layer 1's weights and what the optimizer keeps of
    them; clip_norm and the rare step that is checked value by value write its whole gradient. Reports have all their
    records of sparse rows; theory and remedies are of rows with their zeros, at most so many, evenly spaced, as make
    16,777,216 values. Parameters that are not finite are noticed in training, but not by predictions whose rows have no
    entry for them.

    Errors: TypeError or ValueError for a size below 1, fewer than two sizes, an unknown name, or a rate that is none.

    >>> import numpy as np, vgfast as vg
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2))
    >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
    >>> net = vg.MLP([2, 16, 2], rng=0)
    >>> history = net.fit(X, y, epochs=60, batch_size=20, optimizer=vg.SGD(lr=0.1, momentum=0.9))
    >>> net.evaluate(X, y).accuracy > 0.95
    True
    """

    _engine_type = CEngine
    _engine: CEngine

    def cost(self, batch_size: int = 32, measure: bool = True) -> CostReport:
        """What each layer and phase of a training step on batch_size rows costs, and must cost on this machine.

        measure: time steps of a copy of the net, on random rows, in about a second; without it, and where the net is
        too large for that, only what the sizes and the machine's limits tell. See ``CostReport``, and ``vgfast.cost``
        for what is counted and predicted. Errors: TypeError or ValueError for a batch_size below 1 and for a net whose
        step is not finite.

        >>> import vgfast as vg
        >>> cost = vg.MLP([784, 30, 10], "sigmoid").cost(batch_size=10, measure=False)
        >>> cost.rows[1].phase, cost.rows[1].flops
        ('forward', 470400)
        """
        from vgfast.cost import report as cost

        try:
            self._lock.own("timed")
            return cost.of_architecture(self._architecture, batch_size, measure, self._engine)
        finally:
            self._lock.disown()
