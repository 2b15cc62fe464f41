"""Whether two engines record the same of one step."""

import numpy as np


def assert_records_agree(fast, plain, X, y, rtol, atol):
    """All that is inspected; in float32 without counts of weights that do not move, which are about the last bit."""
    records = [net.inspect(X, y, try_remedies=False).records for net in (fast, plain)]
    for name in records[0].dtype.names:
        if fast.dtype == "float64" or name not in ("frozen", "stuck"):
            np.testing.assert_allclose(records[0][name], records[1][name], rtol, atol, err_msg=name)
