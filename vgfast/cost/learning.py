"""What a step costs beside what it teaches, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LayerCost:
    """``time``: the layer's share of the step's; ``frozen``: of its weights, those whose bits the step leaves as they
    are; ``update_ratio``: the size of the step over that of the weights."""

    layer: int
    time: float
    frozen: float
    update_ratio: float

    def __str__(self) -> str:
        return (
            f"layer {self.layer}: {self.time:.0%} of the time, {self.frozen:.0%} of its weights unchanged, the step "
            f"{'-' if np.isnan(self.update_ratio) else f'{self.update_ratio:.1e}'} of them"
        )


@dataclass(frozen=True)
class LearningCost:
    """Cost and learning, a row a layer; ``str()`` has a line of each."""

    layers: tuple[LayerCost, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.layers))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; what is not finite is None."""
        layers = [asdict(layer) for layer in self.layers]
        return {"layers": [{k: v if np.isfinite(v) else None for k, v in layer.items()} for layer in layers]}
