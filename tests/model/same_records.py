"""Whether two engines record the same of one step."""

import numpy as np


def assert_records_agree(fast, plain, X, y, rtol, atol, names=None):
    """All that is inspected, or these; in float32 without counts of weights that do not move, which are about the last
    bit."""
    records = [net.inspect(X, y, try_remedies=False).records for net in (fast, plain)]
    for name in names or records[0].dtype.names:
        if fast.dtype == "float64" or name not in ("frozen", "stuck"):
            both = [one[name] for one in records]
            if name == "noise_scale":
                both = [_coherence(one, len(X)) for one in both]
            np.testing.assert_allclose(*both, rtol, atol, err_msg=name)


def _coherence(noise, rows):
    """|mean|² over the mean of |.|², of gradients of so many rows with this noise scale, which divides by its
    difference to 1 / rows: where that is nothing but rounding, the noise scale is any large number, or infinite."""
    return 1 / rows + (1 - 1 / rows) / (1 + noise)
