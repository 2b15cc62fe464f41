"""The figures of ``vgfast info``: how long they take, how they compare with a loop that somebody else has compiled, and
whether bandwidths fall from cache to cache.

    pytest benchmarks/bench_machine.py
"""

import ctypes
import os
import shutil
import subprocess

import pytest

from vgfast import _core
from vgfast.cost import limits

# A dozen chains of FMAs, unrolled by hand. The compiler's vectors, its contraction, nothing of ours.
HAND_UNROLLED = """
typedef REAL vec __attribute__((vector_size(BYTES)));
double loop(long turns) {
    const volatile REAL one = 1; /* so that no chain is known to be another's */
    const vec x = (vec){0} + (REAL)0.999, y = (vec){0} + (REAL)0.001;
    vec a = x * one, b = a * one, c = b + one, d = c + one, e = d + one, f = e + one;
    vec g = f + one, h = g + one, i = h + one, j = i + one, k = j + one, l = k + one;
    b = b + y;
    for (long n = 0; n < turns; n++) {
        a = a * x + y; b = b * x + y; c = c * x + y; d = d * x + y; e = e * x + y; f = f * x + y;
        g = g * x + y; h = h * x + y; i = i * x + y; j = j * x + y; k = k * x + y; l = l * x + y;
    }
    a = a + b + c + d + e + f + g + h + i + j + k + l;
    return (double)a[0];
}
#include <time.h>
double rate(long turns) {
    struct timespec s, e;
    volatile double sink = loop(turns / 4);
    clock_gettime(CLOCK_MONOTONIC, &s);
    sink = loop(turns);
    clock_gettime(CLOCK_MONOTONIC, &e);
    (void)sink;
    return 24.0 * (BYTES / sizeof(REAL)) * turns / ((e.tv_sec - s.tv_sec) + 1e-9 * (e.tv_nsec - s.tv_nsec));
}
"""
FLAGS = {"avx2": (32, ["-mavx2", "-mfma"]), "avx512": (64, ["-mavx512f", "-mfma"])}


def hand_unrolled(folder, isa, real):
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None or isa not in FLAGS:
        pytest.skip("needs a C compiler, and an instruction set with vectors")
    size, flags = FLAGS[isa]
    (folder / "loop.c").write_text(HAND_UNROLLED)
    library = folder / "loop.so"
    command = [compiler, "-O2", "-ffp-contract=fast", "-shared", "-fPIC", *flags, f"-DREAL={real}", f"-DBYTES={size}"]
    subprocess.run([*command, "-o", str(library), str(folder / "loop.c")], check=True)
    rate = ctypes.CDLL(str(library)).rate
    rate.restype, rate.argtypes = ctypes.c_double, [ctypes.c_long]
    return rate


@pytest.mark.parametrize(("dtype", "real"), [("float32", "float"), ("float64", "double")])
@pytest.mark.benchmark(group="the peak of multiply-adds, one thread")
def test_peak(benchmark, record, tmp_path, dtype, real):
    """About 1: 0.9 to 1.1 where the machine has nothing else to do."""
    rate = hand_unrolled(tmp_path, _core.isa(), real)
    benchmark(lambda: _core.fma_peak(1, dtype))
    # The best of several, in turn: what else the machine has to do can only make either slower.
    rounds = [(_core.fma_peak(1, dtype), rate(2_000_000)) for _ in range(15 if benchmark.enabled else 1)]
    ours, theirs = (max(rates) for rates in zip(*rounds, strict=True))
    record(GFLOPs=ours / 1e9, over_that_of_a_loop_unrolled_by_hand=ours / theirs)


@pytest.mark.benchmark(group="vgfast info")
def test_info(benchmark, record):
    """Some two seconds; bandwidths that fall, but by their noise; vectors that are worth their width."""
    found = benchmark.pedantic(limits.measure, rounds=3 if benchmark.enabled else 1)
    fma = {isa: {dtype: of[1].median for dtype, of in types.items()} for isa, types in found.fma.items()}
    widest = fma[_core.isas()[-1]]
    record(
        seconds=found.seconds,
        read_GBs=[level.read[1].median / 1e9 for level in found.levels],
        write_GBs=[level.write[1].median / 1e9 for level in found.levels],
        latency_ns=[1e9 * level.latency.median for level in found.levels],
    )
    record(
        widest_over_scalar=widest["float32"] / fma["scalar"]["float32"],
        float32_over_float64=widest["float32"] / widest["float64"],
        product_over_peak=found.product["float32"][1].median / fma[found.isa]["float32"],
    )
    if found.threads > 1:
        record(barrier_us=1e6 * found.barrier.median, waking_us=1e6 * found.waking.median)
        record(exchange_over_near_reads=found.exchange.median / found.levels[0].read[found.threads].median)
