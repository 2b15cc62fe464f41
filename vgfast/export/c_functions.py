"""The functions of a C header: scalar C99 that calls no other function of the library than exp.

In the texts ``real`` stands for the type, ``EXP`` for expf or exp, and ``@`` for the prefix of all names. The formulas
are those of ``csrc/kernels``: small results are not made by subtraction, and nothing overflows on the way.
"""

from __future__ import annotations

import re

from vgfast.export import normal_tail
from vgfast.model.activations import SELU_ALPHA, SELU_SCALE

# Terms of series for float, and for double.
_TERMS = {"EXP_TERMS": (8, 14), "LOG_TERMS": (17, 37)}

_CODE = """
abs
static inline real @abs(real z) { return z < 0 ? -z : z; }

exp_minus_1: abs
/* e^z - 1 for z <= 0: near 0 by its series z (1 + z/2 (1 + z/3 (1 + ...))). */
static inline real @exp_minus_1(real z) {
    real sum = 1;
    int n;
    if (z < (real)-0.35) return EXP(z) - 1;
    for (n = EXP_TERMS; n > 1; n--) sum = 1 + z / (real)n * sum;
    return z * sum;
}

sigmoid: abs
/* 1 / (1 + e^-z), from e^-|z|, which does not overflow. */
static inline real @sigmoid(real z) {
    const real e = EXP(-@abs(z)), left = e / (1 + e);
    return z > 0 ? 1 - left : left;
}

tanh: abs exp_minus_1
/* From m = e^(-2 |z|) - 1: -m / (2 + m), with the sign of z. */
static inline real @tanh(real z) {
    const real m = @exp_minus_1(-2 * @abs(z)), size = -m / (2 + m);
    return z < 0 ? -size : size;
}

relu
static inline real @relu(real z) { return z < 0 ? 0 : z; } /* a NaN stays */

leaky_relu
static inline real @leaky_relu(real z, real alpha) { return z > 0 ? z : alpha * z; }

softsign: abs
static inline real @softsign(real z) { return z / (1 + @abs(z)); }

scaled_tanh: tanh
static inline real @scaled_tanh(real z) { return (real)1.7159 * @tanh(z * 2 / 3); }

elu: exp_minus_1
static inline real @elu(real z, real alpha) { return z > 0 ? z : alpha * @exp_minus_1(z); }

selu: exp_minus_1
static inline real @selu(real z) {
    return z > 0 ? (real)SELU_RIGHT * z : (real)SELU_LEFT * @exp_minus_1(z);
}

softplus: abs
/* max(z, 0) + log(1 + u), u = e^-|z|; that is 2 s (1 + s^2/3 + s^4/5 + ...), s = u / (2 + u). */
static inline real @softplus(real z) {
    const real u = EXP(-@abs(z)), s = u / (2 + u), square = s * s;
    real sum = 0;
    int n;
    for (n = LOG_TERMS; n > 1; n -= 2) sum = square * (sum + 1 / (real)n);
    return (z > 0 ? z : 0) + 2 * s * (1 + sum);
}

gelu: abs
/* z Phi(z). For x >= 0, 1 - Phi(x) is e^(-x^2 / 2) / (1 + x) times a polynomial in
 * (x - MIDDLE) / (x + MIDDLE) (Shepherd & Laframboise, 1981). */
static inline real @gelu(real z) {
    static const real c[N_COEFFICIENTS] = {COEFFICIENTS};
    const real x = @abs(z) < FAR_OUT ? @abs(z) : FAR_OUT, t = (x - MIDDLE) / (x + MIDDLE);
    real tail = 0;
    int i;
    for (i = N_COEFFICIENTS - 1; i >= 0; i--) tail = tail * t + c[i];
    tail *= EXP(-x * x / 2) / (1 + x);
    return z * (z > 0 ? 1 - tail : tail);
}

gelu_tanh: sigmoid
/* z (1 + tanh(w / 2)) / 2 = z sigmoid(w), w = sqrt(8 / pi) (z + 0.044715 z^3). */
static inline real @gelu_tanh(real z) {
    return z * @sigmoid((real)1.5957691216057308 * (z + (real)0.044715 * z * z * z));
}

silu: sigmoid
static inline real @silu(real z) { return z * @sigmoid(z); }

mish: abs
/* z tanh(log(1 + e^z)), from e = e^-|z|. */
static inline real @mish(real z) {
    const real e = EXP(-@abs(z)), square = (1 + e) * (1 + e);
    return z < 0 ? z * e * (e + 2) / (square + 1) : z * (1 + 2 * e) / (square + e * e);
}

hardtanh
static inline real @hardtanh(real z) { return z < -1 ? -1 : z > 1 ? 1 : z; }

hardsigmoid
static inline real @hardsigmoid(real z) { return z < -3 ? 0 : z > 3 ? 1 : (z + 3) / 6; }

hardswish: hardsigmoid
static inline real @hardswish(real z) { return z * @hardsigmoid(z); }

dense
/* y (n_out) = x W + b, x (n_in), W (n_in, n_out); without a b, 0. */
static inline void @dense(const real *x, size_t n_in, const real *W, const real *b, size_t n_out,
                          real *y) {
    size_t i, j;
    for (j = 0; j < n_out; j++) y[j] = b ? b[j] : 0;
    for (i = 0; i < n_in; i++)
        for (j = 0; j < n_out; j++) y[j] += x[i] * W[i * n_out + j];
}

root
/* The square root of v > 0 by Heron's method, from above, until it falls no more. */
static inline double @root(double v) {
    double root = v > 1 ? v : 1, next = (root + v / root) / 2;
    while (next < root) {
        root = next;
        next = (root + v / root) / 2;
    }
    return root;
}

normalize_row: root
/* v (n) less its mean, if centred, over the root of its mean square then; times gains, plus shifts,
 * where there are any. */
static inline void @normalize_row(real *v, size_t n, int centred, double eps, const real *gains,
                                  const real *shifts) {
    double mean = 0, square = 0, rate;
    size_t i;
    for (i = 0; centred && i < n; i++) mean += (double)v[i] / (double)n;
    for (i = 0; i < n; i++) square += ((double)v[i] - mean) * ((double)v[i] - mean);
    rate = 1 / @root(square / (double)n + eps);
    for (i = 0; i < n; i++) {
        v[i] = (real)(((double)v[i] - mean) * rate);
        if (gains) v[i] *= gains[i];
        if (shifts) v[i] += shifts[i];
    }
}

normalize_units
/* v (n) less means, times factors, which are gains over deviations; plus shifts, if there are any. */
static inline void @normalize_units(real *v, size_t n, const real *means, const real *factors,
                                    const real *shifts) {
    size_t i;
    for (i = 0; i < n; i++) {
        v[i] = (v[i] - means[i]) * factors[i];
        if (shifts) v[i] += shifts[i];
    }
}

softmax
/* z (n) becomes e^(z - max) over their sum. */
static inline void @softmax(real *z, size_t n) {
    double sum = 0;
    real max = z[0];
    size_t j;
    for (j = 1; j < n; j++) max = z[j] > max ? z[j] : max;
    for (j = 0; j < n; j++) {
        z[j] = EXP(z[j] - max);
        sum += (double)z[j];
    }
    for (j = 0; j < n; j++) z[j] = (real)((double)z[j] / sum);
}
"""


def _read(text: str) -> dict[str, tuple[list[str], str]]:
    """By its name: what a function calls, and its text."""
    found = {}
    for part in text.strip().split("\n\n"):
        head, _, code = part.partition("\n")
        name, _, needs = head.partition(":")
        found[name] = (needs.split(), code)
    return found


FUNCTIONS = _read(_CODE)


def code_of(names: list[str], prefix: str, real: str) -> str:
    """The functions of these names and what they call, each once and before who calls it; of float or double."""
    done: list[str] = []

    def add(name: str) -> None:
        for needed in FUNCTIONS[name][0]:
            add(needed)
        if name not in done:
            done.append(name)

    for name in names:
        add(name)
    return spell("\n\n".join(FUNCTIONS[name][1] for name in done), prefix, real)


def spell(text: str, prefix: str, real: str) -> str:
    """With the numbers, the type and the names of one header."""
    numbers: dict[str, float] = {name: terms[real == "double"] for name, terms in _TERMS.items()}
    numbers |= {"SELU_RIGHT": SELU_SCALE, "SELU_LEFT": SELU_SCALE * SELU_ALPHA}
    numbers |= {"MIDDLE": normal_tail.MIDDLE, "FAR_OUT": normal_tail.FAR_OUT}
    suffix = "f" if real == "float" else ""
    coefficients = wrapped([f"{c!r}{suffix}" for c in normal_tail.COEFFICIENTS])
    words = {name: str(value) for name, value in numbers.items()}
    words |= {"N_COEFFICIENTS": str(len(normal_tail.COEFFICIENTS)), "COEFFICIENTS": f"\n    {coefficients}"}
    words |= {"real": real, "EXP": f"exp{suffix}"}
    for word, by in words.items():
        text = re.sub(rf"\b{word}\b", by, text)
    return text.replace("@", f"{prefix}_")


def wrapped(numbers: list[str], per_line: int = 4) -> str:
    """In lines of so many, with commas."""
    lines = [", ".join(numbers[i : i + per_line]) for i in range(0, len(numbers), per_line)]
    return "    " + ",\n    ".join(lines)
