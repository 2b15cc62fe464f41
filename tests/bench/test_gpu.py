"""Competitors on a GPU, where there need not be one: what they do, tried on the CPU; which processes see a GPU; what is
shown of them."""

import importlib
import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from vgfast.bench import about, comparison, gpu, problems, runner, tables, workers
from vgfast.bench.competitors import COMPETITORS, Textbook
from vgfast.bench.competitors.jax import JaxCuda
from vgfast.bench.competitors.torch import TorchCuda
from vgfast.cost.rounds import summary

SMALL = problems.Problem((5, 8, 7, 3), "tanh", 8, 64)


def test_pytorch_trains_as_the_textbook(monkeypatch):
    """All but the capture of the graph, which a GPU alone can do."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    before = torch.get_float32_matmul_precision()
    threads = torch.get_num_threads()

    class OnTheCPU(TorchCuda):
        device, waits = "cpu", 0

        def capture(self, step):
            step()  # as warming up does, which must leave no trace in the weights
            return step

        def wait(self):
            self.waits += 1

    try:
        torch.set_float32_matmul_precision("high")
        competitor = OnTheCPU(SMALL)
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
        torch.set_num_threads(threads)
    assert competitor.loss(2)["loss"] == pytest.approx(Textbook(SMALL).loss(2)["loss"], rel=1e-6)
    assert competitor.waits == 1  # the clock stops when the work is done
    assert competitor.describe_device() == {"device": "a GPU"}


def test_jax_trains_as_the_textbook():
    jax = pytest.importorskip("jax")

    class OnTheCPU(JaxCuda):
        device = "cpu"

    before = jax.config.jax_default_matmul_precision
    try:
        competitor = OnTheCPU(SMALL)
        assert jax.config.jax_default_matmul_precision == "highest"
        assert competitor.loss(2)["loss"] == pytest.approx(Textbook(SMALL).loss(2)["loss"], rel=1e-6)
    finally:
        jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.parametrize(("name", "library"), [("torch-cuda", "PyTorch"), ("jax-cuda", "JAX")])
def test_a_gpu_that_is_not_there(monkeypatch, quick_nets, name, library):
    """It is the competitor's own process that looks, and what it finds is said once."""
    pytest.importorskip(COMPETITORS[name].module)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = comparison.read_settings(f"numpy,{name}", "tiny,digits", "1", 1, True)
    result = runner.run(comparison.measure, **settings)
    assert list(result["missing"]) == [name]
    assert result["missing"][name].startswith(f"{library} ")
    assert result["missing"][name].endswith(" finds no GPU")
    assert all(list(of["competitors"]) == ["vgfast", "numpy"] for of in result["workloads"].values())
    text = io.StringIO()
    tables.show(result, tables.Steps(Console(file=text, width=80)))
    assert f"{name}: {library} " in text.getvalue()
    assert "On a GPU" not in text.getvalue()


FAKE = """
import os
from vgfast.bench.competitors.numpy import NumPy

class Looks(NumPy):
    def loss(self, epochs):
        names = ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "XLA_PYTHON_CLIENT_PREALLOCATE")
        return {name: os.environ.get(name) for name in names}

class LooksOnGPU(Looks):
    device = "cuda"

class OnGPU(NumPy):
    device = "cuda"

    def name_device(self):
        return "a fake GPU"

class BreaksOnGPU(OnGPU):
    def time(self, epochs):
        raise RuntimeError("CUDA error: out of memory\\nand forty lines more")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "fake_gpu.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("fake_gpu")
    sys.modules.pop("fake_gpu")


def test_who_sees_a_gpu(fake, monkeypatch):
    """Nobody but who is to compute on it, and there no library takes float32 for TF32, or all of the memory."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with workers.Workers(1) as there:
        seen = []
        for kind in (fake.Looks, fake.LooksOnGPU):
            there.ask(kind, problem=SMALL)
            seen.append(there.ask(kind, do="loss", epochs=1))
    assert [list(of.values()) for of in seen] == [["cpu", "", None, None], ["", "3", "0", "false"]]


def test_a_gpu_is_shown_beside_the_others(fake, monkeypatch, quick_nets):
    monkeypatch.setitem(COMPETITORS, "torch-cuda", fake.OnGPU)
    monkeypatch.setitem(COMPETITORS, "jax-cuda", fake.BreaksOnGPU)
    settings = comparison.read_settings("numpy,torch-cuda,jax-cuda", "tiny,digits", "1", 1, True)
    result = runner.run(comparison.measure, **settings)
    tiny = result["workloads"]["tiny"]
    assert tiny["fastest_other"] == "numpy"
    assert tiny["fastest_gpu"] == "torch-cuda"
    steps = {name: found["step"]["median"] for name, found in tiny["competitors"].items() if "step" in found}
    assert tiny["gpu_ratio"] == steps["torch-cuda"] / steps["vgfast"]
    text = io.StringIO()
    tables.show(result, tables.Steps(Console(file=text, width=80)))
    said = text.getvalue()
    heading = next(line for line in said.splitlines() if line.startswith("step, us"))
    assert "cuda" not in heading
    assert "On a GPU: a fake GPU\n" in said
    assert "tiny, jax-cuda: failed: RuntimeError: CUDA error: out of memory\n" in said


def test_no_library_is_imported_by_the_bench_itself():
    code = (
        "import sys; from vgfast.bench import comparison; comparison.read_settings(None, None, None, None, True); "
        "print([name for name in ('torch', 'jax', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"


# ---- what is shown ---------------------------------------------------------------------------------------


def timed(*rows):
    """A result; rows: (workload, FLOPs, seconds of vgfast, and on the GPU by PyTorch and by JAX)."""
    workloads = {}
    for workload, flops, *seconds in rows:
        found = {"status": "ok", "off": 1e-7, "processors": summary([1.0])}
        competitors = {
            name: found | {"step": summary([time])}
            for name, time in zip(("vgfast", "torch-cuda", "jax-cuda"), seconds, strict=True)
        }
        for name in ("torch-cuda", "jax-cuda"):
            competitors[name]["device"] = "NVIDIA H200"
        for name in ("one_thread", "inspection", "share_of_peak"):
            competitors["vgfast"][name] = summary([0.5])
        workloads[workload] = {"flops": flops, "competitors": competitors, **comparison._ranking(competitors)}
    return {
        "machine": about.describe_machine(16),
        "versions": {},
        "rounds": 7,
        "missing": {},
        "partial": False,
        "left_out": [],
        "workloads": workloads,
    }


TINY = ("tiny", 67_000, 4e-6, 75e-6, 44e-6)
DEEP = ("deep", 23_000_000, 170e-6, 850e-6, 214e-6)
BULK = ("bulk", 39_700_000, 950e-6, 227e-6, 387e-6)
MNIST = ("mnist", 129_000_000, 518e-6, 162e-6, 44e-6)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([TINY, DEEP, BULK, MNIST], "From 39.7 MFLOP a step (bulk) on, the GPU was faster than vgfast on 16 threads "),
        ([BULK, MNIST], "The GPU was faster than vgfast on 16 threads of the CPU on each of these nets."),
        ([TINY, DEEP], "The GPU was not faster than vgfast on 16 threads of the CPU on the largest of these nets."),
        ([TINY, DEEP, (*BULK[:1], 10**6, *BULK[2:]), MNIST], "also on bulk."),
        ([DEEP, (*BULK[:1], 10**6, *BULK[2:])], "largest of these nets; of the smaller ones also on bulk."),
    ],
)
def test_from_which_size_on_a_gpu_is_faster(rows, sentence):
    assert sentence in " ".join(gpu.notes(timed(*rows)))


def test_the_table_fits_into_80_columns(tmp_path):
    result = timed(TINY, DEEP, BULK, ("deepwide", 29_121_000_000, 0.0312, 0.000914, 1.5))
    text = io.StringIO()
    tables.show(result, tables.Steps(Console(file=text, width=80)))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    row = [line.split() for line in lines if line.startswith("deepwide")][1]
    assert row == ["deepwide", "29,121", "31,200", "914", "1.5M", "34.1"]
    assert comparison.save_picture(result, tmp_path).read_bytes().startswith(b"\x89PNG")
