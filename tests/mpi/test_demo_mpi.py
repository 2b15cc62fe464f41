"""vgfast demo --mpi: what rank 0 tells."""

import json
import subprocess
import sys

import pytest
from command import vgfast
from mpi.start import MPIEXEC, needs_mpi

from vgfast import cli

pytestmark = [pytest.mark.any_isa, *needs_mpi]


def test_two_ranks_come_to_what_one_process_does():
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "vgfast", "demo", "--mpi", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)  # once: of rank 0 alone
    assert done.stderr == ""
    assert (found["ranks"], found["rows_of_a_batch_by_rank"]) == (2, [32, 32])
    assert found["equal_bits"]
    assert 0 < found["largest_difference"] < 1e-12  # of sums in another order
    assert found["by_ranks"]["accuracy"] == found["by_one_process"]["accuracy"] > 0.9


def test_without_mpiexec_it_says_how_and_runs_on_one_rank():
    done = vgfast("demo", "--mpi")
    first, *lines = done.stdout.splitlines()
    assert first == "Started without mpiexec, on one rank; for two: mpiexec -n 2 vgfast demo --mpi"
    assert any(line.startswith("accuracy on the test rows") for line in lines)
    assert "one process is 0.0e+00." in lines
    assert max(map(len, lines)) <= 80
    assert done.stderr == ""


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(SystemExit, match=r"vgfast: vgfast.mpi needs mpi4py, .* pip install 'vgfast\[mpi\]' mpich"):
        cli.main(["demo", "--mpi"])
