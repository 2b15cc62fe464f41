"""A net as a C header: compiled without a warning, and with the outputs of the net, also under sanitizers."""

import errno
import io
import itertools
import os
import shutil
import subprocess

import numpy as np
import pytest
from exported_nets import ACTIVATIONS, LOSSES, NORMS, PLAIN, ROWS, WAYS, apart, in_pairs, make, tolerance

import vgfast as vg

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
SANITIZED = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# Of each net: reads rows of doubles, writes z, probabilities and predictions as doubles.
RUN = {
    "cross_entropy": "{0}_predict_proba(x, p); write_row(p, {0}_n_out); y[0] = {0}_predict(x); write_row(y, 1);",
    "binary_cross_entropy": "{0}_predict_proba(x, p); write_row(p, {0}_n_out); {0}_predict(x, k);"
    " for (j = 0; j < {0}_n_out; j++) y[j] = k[j]; write_row(y, {0}_n_out);",
    "mse": "{0}_predict(x, y); write_row(y, {0}_n_out);",
}
MAIN = """
#include <stdio.h>
{headers}
#define write_row(v, n) do {{ int i_; for (i_ = 0; i_ < (n); i_++) {{ \\
    const double d_ = (double)(v)[i_]; fwrite(&d_, sizeof d_, 1, stdout); }} }} while (0)
static double rows[{n_rows}][{n_in}];
{functions}
int main(void) {{
    if (fread(rows, sizeof rows, 1, stdin) != 1) return 1;
    {calls}
    return 0;
}}
"""
FUNCTION = """
static void run_{0}(void) {{
    int r, j, k[{0}_n_out];
    {1} x[{0}_n_in], z[{0}_n_out], p[{0}_n_out], y[{0}_n_out];
    (void)p, (void)k, (void)y;
    for (r = 0; r < {3}; r++) {{
        for (j = 0; j < {0}_n_in; j++) x[j] = ({1})rows[r][j];
        {0}_forward(x, z); write_row(z, {0}_n_out);
        {2}
    }}
}}
"""


def run(folder, nets, x, flags=("-O0",)):
    """Of each net (z, probabilities or None, predictions) of the rows x."""
    names = [f"net{n}" for n in range(len(nets))]
    for name, net in zip(names, nets, strict=True):
        net.to_c(folder / f"{name}.h", name)
    functions = [
        FUNCTION.format(
            name, {"float32": "float", "float64": "double"}[net.dtype.name], RUN[net.loss].format(name), len(x)
        )
        for name, net in zip(names, nets, strict=True)
    ]
    text = MAIN.format(
        headers="\n".join(f'#include "{name}.h"' for name in names),
        functions="".join(functions),
        calls=" ".join(f"run_{name}();" for name in names),
        n_rows=len(x),
        n_in=x.shape[1],
    )
    (folder / "main.c").write_text(text)
    program = folder / "main"
    build = ["gcc", *STRICT, *flags, str(folder / "main.c"), "-o", str(program), "-lm"]
    subprocess.run(build, check=True, cwd=folder)
    done = subprocess.run([str(program)], input=x.astype(np.float64).tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    numbers, found = np.frombuffer(done.stdout), []
    for net in nets:
        n = net.sizes[-1]
        widths = {"cross_entropy": [n, n, 1], "binary_cross_entropy": [n, n, n], "mse": [n, n]}[net.loss]
        table, numbers = np.split(numbers, [sum(widths) * len(x)])
        columns = np.split(table.reshape(len(x), -1), np.cumsum(widths)[:-1], axis=1)
        found.append((columns[0], columns[1] if len(columns) == 3 else None, columns[-1]))
    assert not numbers.size
    return found


def check(net, x, found):
    z, probabilities, predicted = found
    x = x.astype(net.dtype)
    want = net.forward(x)
    assert apart(z, want) <= tolerance(net), (net, apart(z, want))
    if net.loss == "mse":
        assert np.array_equal(predicted, z)
        return
    assert apart(probabilities, net.predict_proba(x)) <= tolerance(net), net
    top = np.sort(want, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-5 if net.loss == "cross_entropy" else np.abs(want) > 1e-5
    assert clear.mean() > 0.99
    predicted = predicted[:, 0] if net.loss == "cross_entropy" else predicted
    assert np.array_equal(predicted[clear], net.predict(x)[clear])


def check_all(folder, choices, flags=("-O0",)):
    """Over 1,000 rows."""
    nets = [make(*choice, dropout=0.2) for choice in choices]
    for net, found in zip(nets, run(folder, nets, ROWS, flags), strict=True):
        check(net, ROWS, found)


@pytest.mark.parametrize("part", range(2))
def test_every_activation_loss_normalization_and_residual_connection(part, tmp_path):
    """Every two of these together."""
    choices = in_pairs(ACTIVATIONS, LOSSES, NORMS, WAYS, ["float32", "float64"])
    check_all(tmp_path, choices[part::2])


@pytest.mark.slow
def test_the_same_under_sanitizers(tmp_path):
    """Without gains and shifts; every two of what the loops go by, and each activation in turn."""
    choices = in_pairs(LOSSES, [None, *PLAIN], WAYS, ["float32", "float64"])
    assert len(choices) >= len(ACTIVATIONS)
    check_all(tmp_path, list(zip(itertools.cycle(ACTIVATIONS), *zip(*choices, strict=True), strict=False)), SANITIZED)


@pytest.mark.once
@pytest.mark.parametrize("part", range(2))
def test_a_sixth_of_all_combinations(part, tmp_path):
    """The compiler takes half a minute for each."""
    choices = list(itertools.product(ACTIVATIONS, LOSSES, NORMS, WAYS))[part::12]
    types = itertools.cycle(["float32", "float64", "float64"])
    check_all(tmp_path, [(*choice, dtype) for choice, dtype in zip(choices, types, strict=False)])


def test_nets_of_other_sizes_under_sanitizers(tmp_path):
    """One layer, one unit, layers that grow and shrink, another activation each."""
    x = np.random.default_rng(0).normal(size=(100, 3))
    nets = [
        vg.MLP([3, 2], rng=0),
        vg.MLP([3, 1], loss="binary_cross_entropy", rng=0),
        vg.MLP([3, 1, 1], "tanh", "mse", dtype="float64", rng=0),
        vg.MLP([3, 30, 4, 17, 2, 5], ["gelu", "elu(0.5)", "leaky_relu(0.3)", "elu"], rng=0),
        vg.MLP([3, 70, 70, 70, 2], "mish", residual=vg.residual(2), normalization="rms", rng=0),
        vg.MLP([3, 9, 9, 2], "identity", "mse", normalization="layer", rng=0),
        vg.reference.MLP([3, 9, 2], "silu", rng=0),
        vg.MLP([3, 4], rng=0),
        vg.MLP([3, 4], loss="binary_cross_entropy", rng=0),
    ]
    for net in nets[-2:]:
        net.params *= 1000  # whose outputs have no e^z
    for net, found in zip(nets, run(tmp_path, nets, x, SANITIZED), strict=True):
        check(net, x, found)


def test_far_out(dtype, tmp_path):
    """Values whose exponentials or cubes would leave the range, and small ones, whose digits subtraction would lose."""
    x = np.array([[s * v] for s in (-1, 1) for v in (0.0, 1e-30, 1e-5, 0.34, 0.36, 3.0, 13.0, 39.0, 41.0, 90.0, 1e4)])
    nets = []
    for activation in ACTIVATIONS:
        nets.append(vg.MLP([1, 1, 1], activation, "mse", dtype=dtype, rng=0))
        for weights in nets[-1].weights:
            weights[...] = 1
    most = 1e-6 if dtype == "float32" else 1e-14
    for net, (z, *_) in zip(nets, run(tmp_path, nets, x, SANITIZED), strict=True):
        want = net.forward(x.astype(dtype))
        assert (np.abs(z - want) <= most * np.abs(want) + 1e-15).all(), net.activations


def test_nothing_of_the_library_is_called_but_exp(dtype, tmp_path):
    """By the symbols of what is compiled; and memcpy and memset, which compilers make of loops."""
    if shutil.which("nm") is None:
        pytest.skip("needs nm")
    nets = [make(phi, norm=norm, dtype=dtype) for phi, norm in zip(ACTIVATIONS, itertools.cycle(NORMS), strict=False)]
    for n, net in enumerate(nets):
        net.to_c(tmp_path / f"net{n}.h", f"net{n}")
    calls = [
        f"int use{n}(const void *x, void *p) {{ net{n}_predict_proba(x, p); return net{n}_predict(x); }}\n"
        for n in range(len(nets))
    ]
    declared = [call.partition(" {")[0] + ";\n" for call in calls]
    text = "".join([*(f'#include "net{n}.h"\n' for n in range(len(nets))), *declared, *calls])
    (tmp_path / "use.c").write_text(text)
    subprocess.run(["gcc", *STRICT, "-Wconversion", "-O1", "-c", "use.c"], check=True, cwd=tmp_path)
    shown = subprocess.run(["nm", "-u", "use.o"], check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    wanted = {"expf" if dtype == "float32" else "exp"}
    assert wanted <= set(shown.split()) - {"U"} <= wanted | {"memcpy", "memset", "__stack_chk_fail"}


def test_it_is_cplusplus_too(dtype, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    names = [f"net{n}" for n in range(len(ACTIVATIONS))]
    for name, activation, norm in zip(names, ACTIVATIONS, itertools.cycle(NORMS), strict=False):
        make(activation, norm=norm, way=WAYS[-1], dtype=dtype).to_c(tmp_path / f"{name}.h", name)
    (tmp_path / "use.cpp").write_text("".join(f'#include "{name}.h"\n' for name in names) + "int main() {}\n")
    flags = ["-std=c++11", *STRICT[1:], "-Wconversion", "-fsyntax-only"]
    subprocess.run(["g++", *flags, "use.cpp"], check=True, cwd=tmp_path)


def test_it_is_the_same_twice_and_says_what_it_is(tmp_path):
    net, files = make("gelu", norm=vg.norm.layer()), [io.BytesIO(), io.BytesIO()]
    for file in files:
        net.to_c(file)
    text = files[0].getvalue().decode()
    assert files[0].getvalue() == files[1].getvalue()
    assert text.startswith(f"/* {net!r}\n")
    assert f"Written by vgfast {vg.__version__}." in text
    assert "malloc" not in text
    assert max(len(line) for line in text.splitlines()[1:]) <= 110


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "3d", "a-b", "_a", "ä", "a b", "a\n", None, 3])
def test_names_that_are_none_in_c(name, tmp_path):
    with pytest.raises(ValueError, match=r"must be a letter and then letters, digits or _, got .*; for example 'net'"):
        make().to_c(tmp_path / "net.h", name)
    assert os.listdir(tmp_path) == []


def test_paths_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"cannot be written: the folder .* does not exist; create it"):
        make().to_c(tmp_path / "none" / "net.h")
    with pytest.raises(TypeError, match="needs a binary file open for writing"):
        make().to_c(io.StringIO())
    path = tmp_path / "net.h"
    path.write_text("old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        make().to_c(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["net.h"]
