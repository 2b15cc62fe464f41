"""phi and phi' of every activation in mpmath, to its precision: what all else is compared with."""

from mpmath import mp, mpf

with mp.workdps(60):
    LAMBDA, ALPHA = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")
    CUBE = mpf("0.044715")


def sigmoid(z):
    return 1 / (1 + mp.exp(-z))


def normal_cdf(z):
    return mp.erfc(-z / mp.sqrt(2)) / 2


def softplus(z):
    return mp.log1p(mp.exp(z))


def cubic(z):
    return mp.sqrt(8 / mp.pi) * (z + CUBE * z**3)


def slope_of_mish(z):
    t = mp.tanh(softplus(z))
    return t + z * sigmoid(z) / mp.cosh(softplus(z)) ** 2


def slope_of_gelu_tanh(z):
    return sigmoid(cubic(z)) * (1 + mp.sqrt(8 / mp.pi) * (z + 3 * CUBE * z**3) * sigmoid(-cubic(z)))


# phi and phi', of those of which tails are tried
TAILED = {
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "scaled_tanh": (
        lambda z: mpf("1.7159") * mp.tanh(2 * z / 3),
        lambda z: mpf("3.4318") / 3 / mp.cosh(2 * z / 3) ** 2,
    ),
    "elu": (lambda z: z if z > 0 else mp.expm1(z), lambda z: 1 if z > 0 else mp.exp(z)),
    "selu": (
        lambda z: LAMBDA * (z if z > 0 else ALPHA * mp.expm1(z)),
        lambda z: LAMBDA * (1 if z > 0 else ALPHA * mp.exp(z)),
    ),
    "softplus": (softplus, sigmoid),
    "gelu": (
        lambda z: z * normal_cdf(z),
        lambda z: normal_cdf(z) + z * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi),
    ),
    "gelu_tanh": (lambda z: z * sigmoid(cubic(z)), slope_of_gelu_tanh),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * sigmoid(-z))),
    "mish": (lambda z: z * mp.tanh(softplus(z)), slope_of_mish),
    "hardtanh": (lambda z: max(-1, min(1, z)), lambda z: int(abs(z) < 1)),
    "hardsigmoid": (lambda z: max(0, min(6, z + 3)) / mpf(6), lambda z: mpf(1) / 6 if abs(z) < 3 else 0),
    "hardswish": (
        lambda z: z * max(0, min(6, z + 3)) / mpf(6),
        lambda z: (2 * z + 3) / 6 if abs(z) < 3 else int(z > 0),
    ),
}
EXACT = TAILED | {
    "identity": (lambda z: z, lambda z: mpf(1)),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "relu": (lambda z: max(z, mpf(0)), lambda z: mpf(int(z > 0))),
    "leaky_relu": (lambda z: z if z > 0 else z / 100, lambda z: mpf(1) if z > 0 else mpf(1) / 100),
}
