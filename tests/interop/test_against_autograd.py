"""torch's autograd as the judge of gradients and reports.

No tolerance is chosen: ``Bounds`` follows how far roundings may take each value of a step from the exact one, and two
libraries differ by the sum of what is allowed to each.
"""

import numpy as np
import pytest

import vgfast as vg
from vgfast import activations
from vgfast.model.losses import LOSSES as LOSS_FACTS
from vgfast.model.losses import softmax

LOSSES = ["labels", "probabilities", "binary_cross_entropy", "mse"]
# Largest |phi''| (of the ReLUs and the like, the step of phi' at its kinks), from the closed forms of sigmoid and tanh.
CURVES = {"identity": 0, "sigmoid": 3**-1.5 / 2, "tanh": 4 * 3**-1.5, "relu": 1, "leaky_relu": 0.99, "softsign": 2}
CURVES |= {"elu": 1, "selu": 1.7581, "softplus": 1 / 4, "gelu": 0.8, "gelu_tanh": 0.8, "silu": 1 / 2, "mish": 0.65}
CURVES |= {"leaky_relu(0.2)": 0.8, "leaky_relu(3)": 2, "elu(0.3)": 0.7, "elu(2)": 2}
CURVES |= {"hardtanh": 1, "hardswish": 1}  # not hardsigmoid, whose slope is 1 / 6 rounded to float32 in torch
SLOPES = {name: activations.CATALOG[name].largest_derivative for name in CURVES}
# Those that torch computes as differences or products of rounded numbers of their own size, or of z's.
ABSOLUTE = ("elu", "elu(0.3)", "elu(2)", "selu", "softplus", "gelu", "gelu_tanh", "silu", "mish", "hardswish")
KINDS = list(CURVES)


class Case:
    """A net with sizes, activations, loss and data drawn from the seed, as ours (``net``) and as torch's."""

    def __init__(self, torch, seed, dtype):
        rng = np.random.default_rng(seed)
        sizes = [int(n) for n in rng.integers(2, 20, rng.integers(2, 7))]
        kinds = [str(k) for k in rng.choice(KINDS, len(sizes) - 2)]
        self.kind = LOSSES[seed % len(LOSSES)]
        self.loss = "cross_entropy" if self.kind in ("labels", "probabilities") else self.kind
        rule = vg.init.lecun_normal(bias_std=0.3)
        self.net = vg.MLP(sizes, kinds, self.loss, rule, dtype, rng)
        self.X = rng.normal(size=(int(rng.integers(1, 40)), sizes[0])).astype(dtype)
        self.y = self.draw_targets(rng, len(self.X), sizes[-1])
        without_bias = rng.random(len(sizes) - 1) < 0.2
        for l in np.flatnonzero(without_bias):
            self.net.biases[int(l)][...] = 0
        self.module, self.linears = module_of(torch, self.net, without_bias)
        losses = {"binary_cross_entropy": "BCEWithLogitsLoss", "mse": "MSELoss"}
        self.criterion = getattr(torch.nn, losses.get(self.kind, "CrossEntropyLoss"))()

    def draw_targets(self, rng, rows, n_out):
        if self.kind == "labels":
            return rng.integers(0, n_out, rows)
        draw = {"probabilities": lambda: rng.dirichlet(np.ones(n_out), rows), "mse": lambda: rng.normal(size=shape)}
        shape = (rows, n_out)
        return draw.get(self.kind, lambda: rng.random(shape))().astype(self.X.dtype)

    def autograd(self, torch):
        """(dW (n_in, n_out), db, delta, delta_{l+1} W_{l+1}ᵀ) of each layer, by autograd; None where there is none."""
        a, zs, inputs = torch.from_numpy(self.X), [], []
        for layer in self.module:
            if isinstance(layer, torch.nn.Linear):
                a = a.clone().requires_grad_() if not inputs else a
                a.retain_grad()
                inputs.append(a)
            a = layer(a)
            if isinstance(layer, torch.nn.Linear):
                a.retain_grad()
                zs.append(a)
        self.criterion(a, torch.from_numpy(self.y)).backward()
        linears = self.linears
        found = {
            "dW": [layer.weight.grad.numpy().T for layer in linears],
            "db": [None if layer.bias is None else layer.bias.grad.numpy() for layer in linears],
            "delta": [z.grad.numpy() for z in zs],
            "raw": [a.grad.numpy() for a in inputs[1:]],
        }
        self.module.zero_grad()
        return found


def module_of(torch, net, without_bias):
    """(a Sequential that computes what the net does, its Linears)."""
    nn = torch.nn
    kinds = {
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "leaky_relu": nn.LeakyReLU,
        "softsign": nn.Softsign,
        "leaky_relu(0.2)": lambda: nn.LeakyReLU(0.2),
        "leaky_relu(3)": lambda: nn.LeakyReLU(3),
        "elu": nn.ELU,
        "elu(0.3)": lambda: nn.ELU(0.3),
        "elu(2)": lambda: nn.ELU(2.0),
        "selu": nn.SELU,
        "softplus": nn.Softplus,
        "gelu": nn.GELU,
        "gelu_tanh": lambda: nn.GELU("tanh"),
        "silu": nn.SiLU,
        "mish": nn.Mish,
        "hardtanh": nn.Hardtanh,
        "hardsigmoid": nn.Hardsigmoid,
        "hardswish": nn.Hardswish,
    }
    layers, linears = [], []
    for l, (weights, biases) in enumerate(zip(net.weights, net.biases, strict=True)):
        linear = nn.Linear(*weights.shape, bias=not without_bias[l], dtype=getattr(torch, net.dtype.name))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights.T.copy()))
            if linear.bias is not None:
                linear.bias.copy_(torch.from_numpy(biases))
        linears.append(linear)
        layers.append(linear)
        if l < len(net.activations) and net.activations[l] != "identity":
            layers.append(kinds[net.activations[l]]())
    return nn.Sequential(*layers), linears


class Bounds:
    """A step in float64, and for each value of it how far an implementation in the net's dtype may be away.

    A sum of n products, in any order, is off by gamma(n) = n u / (1 - n u) of the sum of absolute products at most
    (Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1). exp, tanh and sigmoid are off by 3 ULP at
    most, phi' by 8 eps, also where it is computed as a (1 - a) or 1 - a^2.
    """

    def __init__(self, net, X, y):
        self.u = float(np.finfo(net.dtype).eps) / 2
        self.weights = [w.astype(np.float64) for w in net.weights]
        self.kinds = net.activations
        a, e = X.astype(np.float64), np.zeros(X.shape)
        self.inputs, self.zs = [(a, e)], []
        for w, b, kind in zip(self.weights, net.biases, (*self.kinds, "identity"), strict=True):
            z, e_z = self.product(a, e, w, extra=np.abs(b))
            self.zs.append((z + b, e_z))
            a = activations.CATALOG[kind].value(z + b)
            steepest = np.abs(activations.CATALOG[kind].derivative(z + b)) + CURVES[kind] * e_z
            for kink in activations.CATALOG[kind].kinks:
                steepest = np.where(np.abs(z + b - kink) <= e_z, SLOPES[kind], steepest)
            e = np.minimum(steepest, SLOPES[kind]) * e_z + 8 * self.u * np.abs(a) * (kind != "identity")
            e = e + 2 * self.u * (1 + np.abs(z + b)) * (kind in ABSOLUTE)
            self.inputs.append((a, e))
        self.deltas, self.raw = [self.delta_of(net.loss, y)], []
        for l in range(len(self.weights) - 1, 0, -1):
            self.back(l)
        self.dW = [self.product(a.T, e.T, *d) for (a, e), d in zip(self.inputs[:-1], self.deltas, strict=True)]
        self.db = [
            (d.sum(axis=0), e.sum(axis=0) + self.gamma(len(d)) * (np.abs(d) + e).sum(axis=0)) for d, e in self.deltas
        ]

    def gamma(self, n):
        return n * self.u / (1 - n * self.u)

    def product(self, a, e_a, b, e_b=0.0, extra=0.0):
        """(a b, its error), with one more addend of size `extra`."""
        sizes = np.abs(a) + e_a
        error = e_a @ np.abs(b) + sizes @ (e_b + np.zeros(b.shape))
        return a @ b, error + self.gamma(len(b) + 2) * (sizes @ (np.abs(b) + e_b) + extra)

    def delta_of(self, loss, y):
        z, e_z = self.zs[-1]
        delta, u = LOSS_FACTS[loss].of(z, y if y.ndim == 1 else y.astype(np.float64))[1], self.u
        if loss == "mse":
            return delta, 2 * (e_z + 3 * u * (np.abs(z) + e_z + np.abs(y))) / z.size
        if loss == "binary_cross_entropy":
            return delta, (e_z / 4 + 8 * u * (activations.sigmoid(z) + np.abs(y))) / z.size
        # Exponents are off by m, so each p by a factor within exp(+-2 m); and what exp, sum and quotient add.
        n = z.shape[1]
        t = np.eye(n)[y] if y.ndim == 1 else y
        spread = z.max(axis=1, keepdims=True) - z.min(axis=1, keepdims=True)
        m = e_z.max(axis=1, keepdims=True) + 2 * u * (spread + np.log(n))
        p = softmax(z)
        return delta, (p * (np.expm1(2 * m) + self.gamma(3 * n + 20)) + self.gamma(n + 4) * t) / len(z)

    def back(self, l):
        """From delta of layer l + 1 to that of layer l."""
        raw, e_raw = self.product(*self.deltas[0], self.weights[l].T)
        z, e_z = self.zs[l - 1]
        kind = self.kinds[l - 1]
        slope = activations.CATALOG[kind].derivative(z)
        if "relu" in kind:  # beside the kink, either side
            e_slope = np.where(np.abs(z) < e_z, CURVES[kind], 2 * self.u * slope)
        else:
            e_slope = CURVES[kind] * e_z + (16 + 4 * np.abs(z) * (kind in ABSOLUTE)) * self.u * (kind != "identity")
            for kink in activations.CATALOG[kind].kinks:
                e_slope = np.where(np.abs(z - kink) < e_z, CURVES[kind], e_slope)
        error = (np.abs(raw) + e_raw) * e_slope + np.abs(slope) * e_raw
        self.raw.insert(0, (raw, e_raw))
        self.deltas.insert(0, (raw * slope, error + 2 * self.u * (np.abs(raw * slope) + error)))

    def norm(self, pair):
        """(norm, its error): that of the values, and that of a sum of squares in the net's dtype."""
        size, error = np.linalg.norm(pair[0]), np.linalg.norm(pair[1])
        return size, error + self.gamma(pair[0].size + 8) * (size + error)

    def ratio(self, over, under):
        """(|over| / |under|, its error)."""
        (a, e_a), (b, e_b) = self.norm(over), self.norm(under)
        assert b > 2 * e_b, "the bound tells nothing"
        return a / b, (e_a + a / b * e_b) / (b - e_b) + 4 * self.u * a / b


def close(got, want, bound, what):
    """Two values that may each be off by `bound`."""
    assert (np.abs(np.asarray(got, np.float64) - want) <= 2 * bound).all(), what


@pytest.mark.parametrize("seed", range(100))
def test_gradients_against_autograd(torch, dtype, seed):
    """Each entry of dW, db and delta of 100 nets of up to five layers, in both dtypes.

    Relative to the largest entry all bounds are below 3e5 eps in float64; in float32, where the errors of z bend the
    slopes, two nets have more.
    """
    case = Case(torch, seed, dtype)
    got, want = case.net.gradients(case.X, case.y), case.autograd(torch)
    bounds = Bounds(case.net, case.X, case.y)
    for name, ours in (("dW", got.weights), ("db", got.biases), ("delta", got.deltas)):
        allowed = {"dW": bounds.dW, "db": bounds.db, "delta": bounds.deltas}[name]
        for l, (g, w, (exact, e)) in enumerate(zip(ours, want[name], allowed, strict=True), 1):
            weak = dtype == "float64" and e.max() > 3e5 * np.finfo(dtype).eps * np.abs(exact).max()
            assert not weak, "the bound tells nothing"
            close(g, exact if w is None else w, e, f"{name} of layer {l}")


@pytest.mark.parametrize("seed", range(100))
def test_gradients_are_autograds_to_1e_12(torch, seed):
    """Of the largest entry of each array, in float64."""
    case = Case(torch, seed, "float64")
    got, want = case.net.gradients(case.X, case.y), case.autograd(torch)
    for ours, name in ((got.weights, "dW"), (got.biases, "db"), (got.deltas, "delta")):
        for g, w in zip(ours, want[name], strict=True):
            assert w is None or np.abs(g - w).max() <= 1e-12 * np.abs(w).max()


@pytest.mark.parametrize("seed", range(100, 130))
def test_reports_against_autograd(torch, dtype, seed):
    """Norms and gains of a module's report, from the gradients of autograd in that module."""
    case = Case(torch, seed, dtype)
    name = case.loss if seed // len(LOSSES) % 2 else case.criterion
    y = case.y if seed % 3 else torch.from_numpy(case.y)
    report = vg.inspect_torch(case.module, torch.from_numpy(case.X) if seed % 5 else case.X, y, loss=name)
    assert (report.sizes, report.activations) == (case.net.sizes, case.net.activations)
    want, bounds, norm = case.autograd(torch), Bounds(case.net, case.X, case.y), np.linalg.norm
    for l, r in enumerate(report.layers):
        for field, theirs, allowed in (
            ("grad_norm", want["dW"][l], bounds.dW[l]),
            ("bias_grad_norm", want["db"][l], bounds.db[l]),
            ("delta_norm", want["delta"][l], bounds.deltas[l]),
        ):
            size = norm(allowed[0] if theirs is None else theirs.astype(np.float64))
            close(r[field], size, bounds.norm(allowed)[1], f"{field} of layer {l + 1}")
        if l + 1 == len(report.layers):
            break
        delta, raw, after = (x.astype(np.float64) for x in (want["delta"][l], want["raw"][l], want["delta"][l + 1]))
        for field, theirs, pair in (
            ("weight_gain", norm(raw) / norm(after), (bounds.raw[l], bounds.deltas[l + 1])),
            ("activation_gain", norm(delta) / norm(raw), (bounds.deltas[l], bounds.raw[l])),
            ("gain", norm(delta) / norm(after), (bounds.deltas[l], bounds.deltas[l + 1])),
        ):
            close(r[field], theirs, bounds.ratio(*pair)[1], f"{field} of layer {l + 1}")
