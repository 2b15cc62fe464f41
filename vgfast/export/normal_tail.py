"""The tail of the normal distribution by a polynomial, as the core has it (``csrc/kernels/tails.tmpl.h``): what gelu is
made of where there is no erf.

With x >= 0 and t = (x - ``MIDDLE``) / (x + ``MIDDLE``), 1 - Phi(x) is e^(-x² / 2) / (1 + x) times the polynomial in t
(Shepherd & Laframboise, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x in 0 <= x < infinity", 1981); beyond
``FAR_OUT`` it is below the smallest double.
"""

MIDDLE, FAR_OUT = 5, 40
# From the constant on; of relative error below 2^-58.
COEFFICIENTS = (
    0.46151582985003775,
    -0.09155228183400893,
    0.031030368425963295,
    0.010002352385218504,
    -0.026401042966294534,
    0.02453696324401165,
    -0.015170415402627294,
    0.00652200066311834,
    -0.0016760723452489462,
    7.791633264608788e-06,
    0.00018233416178210603,
    -5.3607745975970066e-05,
    -9.896213993917099e-06,
    9.06029437060987e-06,
    -6.991465770218513e-08,
    -1.3082698783495142e-06,
    1.2692917576477007e-07,
    1.9709221384874362e-07,
    -2.5046430829930405e-08,
    -3.128083689726529e-08,
    2.735193743092631e-09,
    4.307763590897877e-09,
    -9.246879701014418e-12,
    -2.856084259498836e-10,
)
