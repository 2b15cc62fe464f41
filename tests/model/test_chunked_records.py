"""What is recorded of a batch that is taken in chunks."""

import numpy as np
import pytest

import vgfast as vg
from vgfast import reference


@pytest.mark.parametrize("optimizer", [None, vg.Adam(0.01)], ids=["sgd", "adam"])
def test_an_inspected_step_in_chunks_is_the_textbooks(optimizer):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(8192, 4)), rng.integers(0, 3, 8192)
    how = {"epochs": 2, "batch_size": 8192, "inspect_every": 1, "optimizer": optimizer}
    ours, textbook = (kind([4, 6, 3], dtype="float64", rng=0).fit(X, y, **how) for kind in (vg.MLP, reference.MLP))
    for name in ours.gradients.dtype.names:
        np.testing.assert_allclose(ours.gradients[name], textbook.gradients[name], rtol=1e-9, atol=1e-12, err_msg=name)
