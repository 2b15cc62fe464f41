"""The native part of the build: one static library a C file, each with its own flags; one extension."""

import os
import platform
import shlex
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HEADERS = sorted(str(p) for kind in ("*.h", "*.def") for p in Path("csrc").rglob(kind))
SOURCES = sorted(str(p) for p in Path("csrc").rglob("*.c"))
DEPENDS = HEADERS + SOURCES + sorted(str(p) for p in Path("vgfast/_core").glob("*.px[id]")) + ["setup.py"]

# -ffp-contract=off: a * b + c means what it says, and FMAs are where the source says v_fma.
C11 = ["-std=gnu11", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-pthread"]
# Every instruction set may use the ones before it.
ISA_FLAGS = {
    "scalar": ["-fno-tree-vectorize", "-fno-tree-slp-vectorize"],
    "avx2": ["-mavx2", "-mfma", "-mpopcnt"],
    "avx512": ["-mavx2", "-mfma", "-mpopcnt", "-mavx512f"],
}


PROBES = {
    "avx2": """
#include <immintrin.h>
void probe(float *p, __m256i mask) {
    _mm256_maskstore_ps(p, mask, _mm256_fmadd_ps(_mm256_loadu_ps(p), _mm256_maskload_ps(p, mask), _mm256_setzero_ps()));
}
""",
    "avx512": """
#include <immintrin.h>
void probe(float *p, __mmask16 mask) {
    __m512 x = _mm512_fmadd_ps(_mm512_loadu_ps(p), _mm512_maskz_loadu_ps(mask, p), _mm512_setzero_ps());
    _mm512_mask_storeu_ps(p, mask, _mm512_scalef_ps(x, _mm512_roundscale_ps(x, 0)));
}
""",
}


def refuse_fast_math() -> None:
    """Subnormals and NaN are what vgfast reports; these flags would have them flushed or assumed away."""
    for name in ("CFLAGS", "CPPFLAGS", "LDFLAGS"):
        bad = {f"-f{flag}" for flag in ("fast-math", "unsafe-math-optimizations", "finite-math-only")}
        bad |= {"-Ofast", "-fassociative-math", "-freciprocal-math"}
        found = bad.intersection(shlex.split(os.environ.get(name, "")))
        if found:
            flags = " ".join(sorted(found))
            raise SystemExit(
                f"{name} holds {flags}, with which vgfast must not be built; unset it or leave out {flags}"
            )


class BuildCLib(build_clib):
    """Compile the C core; leave out each instruction set whose flags the compiler does not take."""

    def accepts(self, isa: str) -> bool:
        """Whether the compiler and its assembler make this instruction set's instructions, not just its flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(PROBES[isa])
            try:
                self.compiler.compile([str(source)], output_dir=folder, extra_postargs=C11 + ISA_FLAGS[isa])
            except Exception:
                return False
        return True

    def build_libraries(self, libraries):
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        wide = [isa for isa in ("avx2", "avx512") if x86 and self.accepts(isa)]
        have = [f"-DVG_HAVE_{isa.upper()}" for isa in wide]
        kept = []
        for name, info in libraries:
            isa = name.removeprefix("vg_")
            if isa in ISA_FLAGS and isa != "scalar" and isa not in wide:
                info = {**info, "cflags": C11}  # compiles to nothing
            if name == "vg_dispatch":
                info = {**info, "cflags": info["cflags"] + have}
            kept.append((name, info))
        # Each by itself, as many at a time as there are cores; from the end, where the longest are.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda one: super(BuildCLib, self).build_libraries([one]), reversed(kept)))


class BuildExt(build_ext):
    """Link again, too, where nothing is new but a static library, such as one that was built with other flags."""

    def build_extension(self, ext):
        built = self.get_finalized_command("build_clib")
        paths = [Path(built.build_clib, self.compiler.library_filename(name)) for name in built.get_library_names()]
        ext.depends = [*ext.depends, *(str(path) for path in paths if path.exists())]
        super().build_extension(ext)


class Sdist(sdist):
    """Everything that building and testing needs, without a manifest file to keep in step."""

    def make_distribution(self):
        self.filelist.extend(HEADERS + SOURCES + ["CHANGELOG.md", "CONTRIBUTING.md", "csrc/README.md", ".ci/run"])
        for folder in ("tests", "benchmarks", ".pictures"):
            self.filelist.extend(str(p) for p in Path(folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
        super().make_distribution()


def library(name: str, source: str, flags: list[str]):
    more = {"include_dirs": ["csrc"], "obj_deps": {"": HEADERS}}
    return (f"vg_{name}", {"sources": [f"csrc/{source}.c"], "cflags": C11 + flags, **more})


refuse_fast_math()
# The linker reads them in this order: users before what they use.
libraries = [
    library("epoch", "run/epoch", []),
    library("step", "run/step", []),
    library("batch", "run/batch", []),
    library("ops", "run/ops", []),
    library("update", "run/update", []),
    library("entries", "run/entries", []),
    library("rules", "run/rules", []),
    library("records", "run/records", []),
    library("laps", "run/laps", []),
    library("norms", "run/norms", []),
    library("predict", "run/predict", []),
    library("normalization", "run/normalization", []),
    library("shuffle", "run/shuffle", []),
    library("pretrain", "pretrain/pretrain", []),
    library("rbm", "pretrain/rbm", []),
    library("autoencoder", "pretrain/autoencoder", []),
    library("propagate", "pretrain/propagate", []),
    library("workspace", "pretrain/workspace", []),
    library("slices", "team/slices", []),
    library("shares", "team/shares", []),
    library("limits", "limits/limits", []),
    library("dispatch", "dispatch", []),
    *(library(isa, f"isa/{isa}", flags) for isa, flags in ISA_FLAGS.items()),
    library("tuner", "team/tuner", []),
    library("units", "plan/units", []),
    library("layout", "plan/layout", []),
    library("plan", "plan/plan", []),
    library("catalog", "catalog", []),
    library("team", "team/team", []),
]
core = Extension(
    "vgfast._core.crossing",
    ["vgfast/_core/crossing.pyx"],
    include_dirs=["csrc"],
    depends=DEPENDS,
    extra_compile_args=["-std=gnu11", "-O2", "-g0", "-fvisibility=hidden", "-ffp-contract=off"],
    extra_link_args=["-pthread", "-lm"],
)
setup(
    libraries=libraries,
    ext_modules=cythonize([core], build_dir="build"),
    cmdclass={"build_clib": BuildCLib, "build_ext": BuildExt, "sdist": Sdist},
)
