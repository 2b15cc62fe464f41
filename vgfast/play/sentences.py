"""What the numbers of a net say, in sentences that follow them."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgfast.play.lab import Look

# As for a verdict on 1,000 steps: how much more or less of the signal is too much. The share of weights that makes a
# layer frozen; how far above guessing is more than that, and the accuracy that has learned.
_FAR, _FROZEN, _ABOVE, _LEARNED = 1000, 0.5, 0.05, 0.95


def sentences(look: Look, guess: float, settings: dict[str, Any]) -> list[str]:
    """On a look at a net. guess: the accuracy of who always answers the most frequent class."""
    layers = look.report.layers
    known = layers["gain"][:-1]
    known = known[np.isfinite(known) & (known > 0)]
    n = len(layers)
    found = []
    if len(known) and look.report.numbers.get("total_gain"):
        gain, total = float(np.exp(np.log(known).mean())), look.report.numbers["total_gain"]
        how = "vanishes" if total < 1 / _FAR else "explodes" if total > _FAR else "neither vanishes nor explodes"
        found.append(
            f"A hidden layer passes back {gain:.3g} of the signal: through {n - 1} of them, layer 1 gets "
            f"{total:.2g} of what layer {n} gets. It {how}."
        )
        found += _theory(layers)
    frozen = float(layers["frozen"][0])
    so = "layer 1 is frozen" if frozen > _FROZEN else "layer 1 moves"
    found.append(
        f"Of layer 1's weights, a step leaves {frozen:.0%} as they are to the last bit of {settings['dtype']}: {so}."
    )
    learns = "has learned" if look.accuracy >= _LEARNED else "learns" if look.accuracy > guess + _ABOVE else "guesses"
    found.append(
        f"After {look.step:,} steps the net is right on {look.accuracy:.1%} of the rows, where guessing gives "
        f"{guess:.1%}: it {learns}."
    )
    return found


def _theory(layers: np.ndarray) -> list[str]:
    """Of the gains that theory has a band for."""
    low, high, gain = (layers[name] for name in ("predicted_low", "predicted_high", "gain"))
    has = np.isfinite(low) & np.isfinite(high) & np.isfinite(gain)
    if not has.any():
        return []
    inside = int(((low <= gain) & (gain <= high))[has].sum())
    expected = float(np.exp(np.log(layers["predicted_gain"][has]).mean()))
    return [
        f"Theory, by the variances of the weights alone, says {expected:.3g} a layer; {inside} of {int(has.sum())} "
        f"gains lie in its band."
    ]
