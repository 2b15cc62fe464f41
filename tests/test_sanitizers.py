"""The C core under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer."""

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mpopcnt"],
    "avx512": ["-mavx2", "-mfma", "-mpopcnt", "-mavx512f"],
}
WIDE = ["-DVG_HAVE_AVX2", "-DVG_HAVE_AVX512"] if platform.machine() == "x86_64" else []

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the sources"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]


def build(folder, sanitizers):
    """The driver and the whole core, with warnings as errors."""
    sources = [*ROOT.glob("csrc/*.c"), *ROOT.glob("csrc/isa/*.c"), ROOT / "tests" / "sanitize.c"]

    def compiled(source):
        output = folder / f"{source.stem}.o"
        warnings = ["-Wall", "-Wextra", "-Wconversion", "-Werror"] if source.parent.name != "tests" else []
        flags = [
            "-std=gnu11",
            "-O1",
            "-g",
            "-ffp-contract=off",
            "-fno-sanitize-recover=all",
            *sanitizers,
            *warnings,
        ]
        flags += WIDE + FLAGS.get(source.stem, []) + [f"-I{ROOT / 'csrc'}"]
        subprocess.run(["gcc", *flags, "-c", str(source), "-o", str(output)], check=True)
        return str(output)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    driver = folder / "driver"
    subprocess.run(["gcc", *sanitizers, *objects, "-o", str(driver), "-pthread", "-lm"], check=True)
    return driver


@pytest.mark.parametrize(
    ("sanitizers", "what"),
    [
        (["-fsanitize=address,undefined"], ["kernels", "training", "odd"]),
        (["-fsanitize=thread"], ["training"]),
    ],
    ids=["address-undefined", "thread"],
)
def test_nothing_is_reported(tmp_path, sanitizers, what):
    driver = build(tmp_path, sanitizers)

    def driven(argument):
        return subprocess.run([str(driver), argument], capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        finished = list(pool.map(driven, what))
    for done in finished:
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stderr == ""
        assert done.stdout.count("calls") >= 2
