"""What one process of ``torch.distributed`` does in a test: ``python torch_rank.py FOLDER RANK SIZE``. It leaves in
FOLDER a pickle of what it has found, by its number."""

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from mpi.cases import train

import vgfast as vg
from vgfast.torch_distributed import Reducer


def fit(net, X, y, sharded=False, **how):
    with vg.threads(1):
        return net.fit(X, y, reduce=Reducer(sharded=sharded), **how)


def early():
    """What is said before there is a process group."""
    try:
        Reducer()
    except RuntimeError as error:
        return str(error)


if __name__ == "__main__":
    folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    told, found = early(), {}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    for name in ("adam, float64", "clip, float32", "uneven batches", "weighted shards"):
        net, history = train(name, fit, rank, size)
        kept = SimpleNamespace(loss=history.loss, epochs=history.epochs, gradients=history.gradients)
        found[name] = SimpleNamespace(params=net.params, dtype=net.dtype), kept
    torch.distributed.destroy_process_group()
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps((told, found)))
