"""The C core under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer.

By hand for longer: build as here, then ``driver stress 60``.
"""

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mpopcnt"],
    "avx512": ["-mavx2", "-mfma", "-mpopcnt", "-mavx512f"],
}
WIDE = ["-DVG_HAVE_AVX2", "-DVG_HAVE_AVX512"] if platform.machine() == "x86_64" else []
# Nothing is optimised away, and nothing of ours is inlined (intrinsics write __always_inline__): without optimisation
# gcc makes every case of what is inlined, such as all activations in each of them, and takes minutes and gigabytes.
PLAIN = ["-O0", "-Dalways_inline=unused"]
ALL = ["-std=gnu11", *PLAIN, "-g", "-ffp-contract=off", "-fno-sanitize-recover=all", f"-I{ROOT / 'csrc'}", *WIDE]
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
EXTRA = {"address,undefined": ["-include", str(HERE / "sanitize_masked.h")]}
# On the stacks that this takes from the heap, gcc 13.3 places vectors of 64 bytes where it then cannot store them.
OPTIONS = {"ASAN_OPTIONS": "detect_stack_use_after_return=0"}
RUNS = {
    "address,undefined": ["kernels", "training", "odd", "pretraining", "stress"],
    "thread": ["training", "pretraining", "stress"],
}

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the sources"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]


def build(folder, sanitizer, pool):
    """The driver and the whole core, with warnings as errors."""
    driver = HERE / "sanitize.c"

    def compiled(source):
        output = folder / f"{source.stem}.o"
        # What is undefined in one instance of the kernels is so in all: it is looked for in the scalar ones, as the
        # wide ones would take gcc three times as long.
        of = sanitizer.removesuffix(",undefined") if source.stem in FLAGS else sanitizer
        flags = [*ALL, f"-fsanitize={of}", *EXTRA.get(sanitizer, []), *FLAGS.get(source.stem, [])]
        flags += STRICT if source != driver else []
        subprocess.run(["gcc", *flags, "-c", str(source), "-o", str(output)], check=True)
        return str(output)

    objects = list(pool.map(compiled, [driver, *(ROOT / "csrc").rglob("*.c")]))
    program = folder / "driver"
    subprocess.run(["gcc", f"-fsanitize={sanitizer}", *objects, "-o", str(program), "-pthread", "-lm"], check=True)
    return program


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """{(sanitizer, run): what it printed and how it ended}; both are built, and all runs are made, side by side."""

    def driven(run):
        program = [str(drivers[run[0]]), run[1]]
        return subprocess.run(program, capture_output=True, text=True, check=False, env={**os.environ, **OPTIONS})

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drivers = {sanitizer: build(tmp_path_factory.mktemp("sanitized"), sanitizer, pool) for sanitizer in RUNS}
        runs = [(sanitizer, what) for sanitizer, of in RUNS.items() for what in of]
        return dict(zip(runs, pool.map(driven, runs), strict=True))


@pytest.mark.parametrize(("sanitizer", "what"), [(s, what) for s, of in RUNS.items() for what in of])
def test_nothing_is_reported(finished, sanitizer, what):
    done = finished[sanitizer, what]
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    assert done.stdout.count("calls") >= 1
