"""The libraries that ``vgfast bench`` compares, one file each."""

from vgfast.bench.competitors.competitor import Competitor, NotHere
from vgfast.bench.competitors.jax import Jax, JaxCuda, JaxEpoch
from vgfast.bench.competitors.numpy import NumPy
from vgfast.bench.competitors.sklearn import ScikitLearn
from vgfast.bench.competitors.textbook import Textbook
from vgfast.bench.competitors.torch import Torch, TorchCompile, TorchCuda
from vgfast.bench.competitors.vgfast import VGFast

__all__ = ["COMPETITORS", "Competitor", "NotHere", "Textbook", "VGFast"]

COMPETITORS: dict[str, type[Competitor]] = {
    "vgfast": VGFast,
    "numpy": NumPy,
    "torch": Torch,
    "torch-compile": TorchCompile,
    "jax-epoch": JaxEpoch,
    "jax-step": Jax,
    "sklearn": ScikitLearn,
    "torch-cuda": TorchCuda,
    "jax-cuda": JaxCuda,
}
