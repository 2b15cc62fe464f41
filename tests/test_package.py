"""The package as it is installed: what importing needs and touches, what the binary holds, how it is built."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

import vgfast as vg
from vgfast import _core

ROOT = Path(__file__).resolve().parent.parent
CORE = Path(_core.crossing.__file__)
X86 = platform.machine() == "x86_64"


def python(code, *, expect=0, cwd="/", **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if k != "VGFAST_NUM_THREADS"}, **environment},
    )
    assert done.returncode == expect, done.stderr
    return done.stdout if expect == 0 else done.stderr


def test_import_needs_numpy_only():
    code = "import sys, numpy; before = set(sys.modules); import vgfast; print(*set(sys.modules) - before)"
    standard = sys.stdlib_module_names
    tops = {name.split(".")[0] for name in python(code).split()}
    others = {top for top in tops if top not in standard and "cython" not in top}
    assert others - {"threadpoolctl"} == {"vgfast"}  # it makes itself known there, if it is installed


@pytest.mark.parametrize("use", ["", "; n = vg.MLP([3, 4, 2]); n.fit(numpy.eye(3), [0, 1, 0], batch_size=2)"])
def test_import_and_training_leave_the_floating_point_mode(use):
    code = (
        f"import numpy; import vgfast as vg{use}; x = numpy.float32(1e-38); print(float(x * numpy.float32(0.01)) > 0)"
    )
    assert python(code) == "True\n"
    code = f"import vgfast as vg, numpy{use}; x, y = map(float, (5e-324, 2**-1030)); print(x * 1.0 > 0, y * 0.5 > 0)"
    assert python(code) == "True True\n"


def test_public_names():
    for name in vg.__all__:
        assert getattr(vg, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vg.nothing  # noqa: B018
    assert vg.__version__ == importlib.metadata.version("vgfast")


def test_the_cap_on_the_instruction_set():
    for isa in _core.isas():
        assert python("import vgfast._core as c, vgfast; print(c.isa())", VGFAST_ISA=isa) == f"{isa}\n"
    for wrong in ("avx9000", "", "AVX2"):
        text = python("import vgfast", expect=1, VGFAST_ISA=wrong)
        assert f"ImportError: VGFAST_ISA is {wrong!r}" in text
        assert "there is scalar" in text
    with pytest.raises(ValueError, match="no instruction set 'mmx' here; there is scalar"):
        _core.use_isa("mmx")


def test_an_instruction_set_is_named_or_not_as_the_error_says():
    text = python("import vgfast", expect=1, VGFAST_ISA="avx9000")
    there = re.search("; there is (.*): set it to one of these or unset it$", text.strip())[1].split(", ")
    for isa in there:
        assert python("import vgfast._core as c, vgfast; print(c.isa())", VGFAST_ISA=isa) == f"{isa}\n"
    unset = "import os; del os.environ['VGFAST_ISA']; import vgfast._core as c, vgfast; print(c.isa())"
    assert python(unset, VGFAST_ISA="avx9000") == f"{there[-1]}\n"


@pytest.mark.parametrize("wrong", ["many", "0", "2.0"])
def test_threads_are_as_many_as_the_error_says(wrong):
    code = "import vgfast as vg; vg.MLP([3, 2]).fit([[1, 2, 3]], [0]); print(vg.get_num_threads())"
    text = python(code, expect=1, VGFAST_NUM_THREADS=wrong)
    for n in re.search(r"; set it to a whole number from (\d+) to (\d+)$", text.strip()).groups():
        assert python(code, VGFAST_NUM_THREADS=n) == f"{n}\n"


def test_threads_from_the_environment():
    code = "import vgfast; print(vgfast.get_num_threads())"
    clean = {"VGFAST_NUM_THREADS": "7", "OMP_NUM_THREADS": "1"}
    assert python(code, **clean) == "7\n"
    assert python(code, OMP_NUM_THREADS="1") == "1\n"
    assert python(code, OMP_NUM_THREADS="1,2") == "1\n"
    assert int(python(code, OMP_NUM_THREADS="1000")) == int(python(code, OMP_NUM_THREADS="what"))
    assert "set it to a whole number" in python(code, expect=1, VGFAST_NUM_THREADS="0")
    assert "a whole number from 1" in python(code, expect=1, VGFAST_NUM_THREADS="9" * 5000)
    assert "VGFAST_NUM_THREADS is 'x'" in python(code, expect=1, VGFAST_NUM_THREADS="x")
    with vg.threads(5):
        assert vg.get_num_threads() == 5


def test_in_a_checkout_that_was_not_installed(tmp_path):
    shutil.copytree(Path(vg.__file__).parent, tmp_path / "vgfast", ignore=shutil.ignore_patterns("*.so"))
    alone = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f)]; import vgfast"
    text = python(alone, expect=1, cwd=tmp_path)
    assert "ImportError: vgfast's compiled core is not beside its Python files" in text
    assert "run pip install -e . there, or start Python in another folder" in text
    python("import vgfast", cwd="/")


def test_a_numpy_that_cannot_be_imported_is_not_taken_for_a_missing_core(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('no NumPy here')")
    alone = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import vgfast"
    text = python(alone, expect=1)
    assert text.endswith("ImportError: no NumPy here\n")
    assert "compiled core" not in text


def test_show_config(capsys):
    vg.show_config()
    shown = capsys.readouterr().out
    assert re.search(rf"instruction set: {_core.isa()}\n", shown)
    assert re.search(r"threads: \d+\n", shown)


def built(isa):
    """Whether this build holds the instruction set, whether or not the machine can run it."""
    return f"vg_kernels_f32_{isa}".encode() in CORE.read_bytes() or isa in _core.isas()


@pytest.mark.skipif(not X86 or shutil.which("objdump") is None, reason="needs x86-64 and objdump")
def test_no_wide_instruction_outside_its_file():
    """Disassemble the core: ymm, zmm and VEX-encoded instructions only in functions of that instruction set."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(CORE)], capture_output=True, text=True, check=True
    ).stdout
    wide = {"avx2": 0, "avx512": 0}
    function = ""
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(.+)>:", line)
        if head:
            function = head[1]
            continue
        instruction = re.match(r"\s+[0-9a-f]+:\s+(\S+)\s*(.*)", line)
        if not instruction:
            continue
        name, operands = instruction.groups()
        is_512 = "%zmm" in operands or bool(re.search(r"%k[0-7]", operands))
        is_avx = is_512 or "%ymm" in operands or (name.startswith("v") and name not in ("verr", "verw"))
        if is_512:
            assert "_avx512" in function, (function, line)
            wide["avx512"] += 1
        elif is_avx:
            assert "_avx2" in function or "_avx512" in function, (function, line)
            wide["avx2"] += 1
    for isa, count in wide.items():
        assert (count > 1000) == built(isa)


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_only_the_module_is_exported():
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", str(CORE)], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1] for line in symbols.splitlines()} - {"_init", "_fini"}
    assert names == {"PyInit_crossing", "vg_team_exists"}  # the latter is how threadpoolctl knows the library


@pytest.mark.skipif(shutil.which("gcc") is None or not X86, reason="needs gcc")
def test_no_start_code_that_sets_the_floating_point_mode():
    """-ffast-math at link time adds crtfastmath.o, which flushes subnormals in the whole process."""
    code = "import numpy as np; tiny = np.full(9, 1e-39, np.float32); import vgfast; print((tiny / 2 > 0).all())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    if shutil.which("nm"):
        symbols = subprocess.run(["nm", str(CORE)], capture_output=True, text=True, check=True).stdout
        assert "set_fast_math" not in symbols


def has_sources():
    return (ROOT / "setup.py").exists() and (ROOT / "csrc").is_dir()


def run(*command, compiler=None, **kwargs):
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    alone |= {"CC": str(compiler)} if compiler else {}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=alone, **kwargs)


def environment(folder, *packages):
    """The interpreter of a new one; without pip of its own, which takes seconds to install."""
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    interpreter = str(folder / "bin" / "python")
    if packages:
        run(sys.executable, "-m", "pip", "--python", interpreter, "install", "-q", *packages)
    return interpreter


def checkout(folder):
    """A copy of the sources without what was built of them."""
    built = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "*.so")
    return Path(shutil.copytree(ROOT, folder, ignore=built))


@pytest.mark.skipif(not has_sources(), reason="needs the sources")
def test_a_checkout_is_installed_as_the_error_says(tmp_path):
    """By the command of README's lines: .ci/run follows the one of the tests, in a new environment."""
    source, interpreter = checkout(tmp_path / "source"), environment(tmp_path / "empty")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(interpreter, "-c", "import vgfast", cwd=source)
    command = re.search("; run (.*) there, or start", caught.value.stderr)[1]
    with_tests = command.replace(" .", " '.[test]'")
    assert f"&& {with_tests} && pytest" in (ROOT / "README.md").read_text()


SETUP = """
from unittest.mock import Mock
import runpy, sys
import Cython.Build, setuptools
from setuptools.command.build_ext import build_ext
setuptools.setup = Cython.Build.cythonize = Mock()
made = runpy.run_path("setup.py")
"""


def set_up(**flags):
    """setup.py, which looks at the flags first, without what Cython and setuptools do."""
    rest = {name: value for name, value in os.environ.items() if name not in ("CFLAGS", "CPPFLAGS", "LDFLAGS")}
    command = [sys.executable, "-c", SETUP]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**rest, **flags})


@pytest.mark.skipif(not has_sources(), reason="needs the sources")
@pytest.mark.parametrize("name", ["CFLAGS", "CPPFLAGS", "LDFLAGS"])
def test_flags_that_would_flush_subnormals_are_refused(name):
    """And without those that are named, or without any, it goes on."""
    pytest.importorskip("Cython")
    given = "-O2 -ffast-math -g -Ofast"
    refused = set_up(**{name: given})
    assert refused.returncode != 0
    words = f"{name} holds -Ofast -ffast-math, with which vgfast must not be built; unset it or leave out (.*)\n"
    left_out = re.fullmatch(words, refused.stderr)[1].split()
    for flags in ({name: " ".join(flag for flag in given.split() if flag not in left_out)}, {}):
        assert set_up(**flags).returncode == 0


DEPENDS = """
build_ext.build_extension = lambda self, ext: print(*ext.depends, sep="\\n")
libraries = [("vg_a", {"sources": ["a.c"]}), ("vg_b", {"sources": ["b.c"]})]
command = made["BuildExt"](setuptools.Distribution({"libraries": libraries}))
command.compiler = Mock(library_filename="lib{}.a".format)
command.get_finalized_command("build_clib").build_clib = sys.argv[1]
command.build_extension(setuptools.Extension("core", [], depends=["header.h"]))
"""


@pytest.mark.skipif(not has_sources(), reason="needs the sources")
def test_the_extension_is_linked_again_when_a_static_library_is_new(tmp_path):
    """And one that has not been built is no reason to."""
    pytest.importorskip("Cython")
    (tmp_path / "libvg_a.a").touch()
    done = run(sys.executable, "-c", SETUP + DEPENDS, str(tmp_path), cwd=ROOT)
    assert done.stdout.splitlines() == ["header.h", str(tmp_path / "libvg_a.a")]


def quick_compiler(folder):
    """The one of this interpreter, which does not optimise: in a tenth of the time."""
    path = folder / "cc"
    path.write_text(f'#!/bin/sh\nexec {sysconfig.get_config_var("CC")} "$@" -O0 -Dalways_inline=unused\n')
    path.chmod(0o755)
    return path


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.skipif(not has_sources(), reason="needs the sources")
def test_sdist_to_wheel_to_tests(tmp_path):
    """The sdist alone makes a wheel, which passes tests in an environment of its own, and which is below 2.1 MB with
    the core that is optimised, which is tested wherever the tests run; what pages are made of is 45 kB of it."""
    source = checkout(tmp_path / "source")
    build = "from setuptools import build_meta as b; print(b.build_{}({!r}))"
    out = str(tmp_path)
    builder = environment(tmp_path / "builder", "setuptools>=77", "cython>=3.1")
    run(builder, "-c", build.format("sdist", out), cwd=source)
    sdist = next(tmp_path.glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[-1] for name in archive.getnames()]
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert not any(name.endswith("crossing.c") for name in names)
    assert {"csrc/vgfast.h", "csrc/README.md", "vgfast/_core/crossing.pyx", "vgfast/_core/net.pxi", "LICENSE"} <= set(
        names
    )
    for folder in ("tests", "benchmarks"):
        there = (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
        assert {str(path.relative_to(ROOT)) for path in there} <= set(names)
    unpacked = next((tmp_path / "unpacked").iterdir())
    run(builder, "-c", build.format("wheel", out), cwd=unpacked, compiler=quick_compiler(tmp_path))
    wheel = next(tmp_path.glob("*.whl"))
    entries = {entry.filename: entry for entry in zipfile.ZipFile(wheel).infolist()}
    inside = list(entries)
    quick = entries[f"vgfast/_core/{CORE.name}"].compress_size
    assert wheel.stat().st_size - quick + len(zlib.compress(CORE.read_bytes())) < 2_100_000
    assert {
        "vgfast/py.typed",
        "vgfast/_core/crossing.pyi",
        "vgfast/lessons/chain.py",
        "vgfast/published/d2l.py",
        *(f"vgfast/show/page/{name}" for name in ("page.js", "page.css")),
        *(f"vgfast/show/page/uplot/{name}" for name in ("uPlot.iife.min.js", "uPlot.min.css", "LICENSE")),
    } <= set(inside)
    assert not any(name.startswith(("tests", "csrc")) for name in inside)

    interpreter = environment(tmp_path / "empty", str(wheel), "pytest", f"numpy=={np.__version__}")
    packages = run(sys.executable, "-m", "pip", "--python", interpreter, "list", "--format=freeze").stdout
    assert "scikit-learn" not in packages
    tests = [
        str(unpacked / "tests" / name) for name in ("test_errors.py", "core/test_parts.py", "model/test_gradients.py")
    ]
    done = run(interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=tmp_path)
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_the_stub_names_what_the_binding_has():
    stub = (Path(vg.__file__).parent / "_core" / "crossing.pyi").read_text()
    named = set(re.findall(r"^(?:def|class) (\w+)|^(\w+):", stub, re.MULTILINE))
    names = {a or b for a, b in named}
    there = {n for n in dir(_core) if not n.startswith("__") and n not in ("np", "crossing")}
    assert names == there


def test_abi_of_this_interpreter():
    assert CORE.name.endswith(sysconfig.get_config_var("EXT_SUFFIX"))
