"""How tests start ranks."""

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import vgfast as vg

HERE = Path(__file__).parent
MPIEXEC = Path(sys.executable).with_name("mpiexec")
needs_mpi = [
    pytest.mark.skipif(
        importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py, which pip install 'vgfast[mpi]' brings"
    ),
    pytest.mark.skipif(not MPIEXEC.exists(), reason="needs mpiexec beside Python, which pip install mpich brings"),
]


def environment():
    """In which a script finds vgfast and the folders of the tests."""
    paths = [str(HERE.parent), str(Path(vg.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start(size, folder, work, argument="", seconds=120):
    """(what each rank has found by ``rank.py``, the process that has ended). seconds: so that no test waits for
    ever."""
    folder.mkdir(exist_ok=True)
    command = [MPIEXEC, "-n", str(size), sys.executable, HERE / "rank.py", folder, work, argument]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), **pipes) as ranks:
        try:
            out, err = ranks.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            ranks.terminate()  # and with it, unlike by kill, all ranks
            raise
    done = subprocess.CompletedProcess(command, ranks.returncode, out, err)
    found = [folder / f"{rank}.pickle" for rank in range(size)]
    return [pickle.loads(file.read_bytes()) for file in found if file.exists()], done


def run(size, folder, work, argument=""):
    """What each rank has found."""
    found, done = start(size, folder, work, argument)
    assert done.returncode == 0, done.stderr
    assert len(found) == size
    return found
