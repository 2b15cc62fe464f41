"""vgfast.torch_distributed: processes that gloo lets speak train as one does."""

import importlib.util
import pickle
import subprocess
import sys

import pytest
from mpi.cases import train
from mpi.start import HERE, environment
from training.ranks import CLOSE, assert_as_one

import vgfast as vg

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch, which pip install torch brings"),
]


def test_two_processes_are_one(tmp_path):
    command = [sys.executable, HERE / "torch_rank.py", tmp_path]
    ranks = [subprocess.Popen([*command, str(rank), "2"], env=environment()) for rank in range(2)]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    found = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2)]
    for told, _ in found:
        assert 'call torch.distributed.init_process_group("gloo") before' in told
    for name in found[0][1]:
        one = train(name, vg.MLP.fit, size=2)
        assert_as_one([cases[name] for _, cases in found], one, CLOSE[one[0].dtype.name])
