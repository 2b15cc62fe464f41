"""Pre-training: layers taught one by one without labels, with which deep nets of sigmoid units first learned (2006).

``RBM``, ``DeepBeliefNet``: restricted Boltzmann machines and stacks of them; ``Autoencoder``, ``StackedAutoencoder``:
denoising ones. The stacks' ``to_mlp`` makes an ordinary ``vg.MLP`` of them, to be fine-tuned with labels.
"""

from vgfast.pretrain.autoencoder import Autoencoder
from vgfast.pretrain.history import PretrainHistory
from vgfast.pretrain.likelihood import LogPartition
from vgfast.pretrain.rbm import RBM
from vgfast.pretrain.stack import DeepBeliefNet, StackedAutoencoder

__all__ = ["RBM", "Autoencoder", "DeepBeliefNet", "LogPartition", "PretrainHistory", "StackedAutoencoder"]
