"""Files that were altered, by the thousand: `python tests/fuzz_files.py model 100000` (or `idx`) ends with what became
of them. Each must be told of in one sentence, or be read for what it holds, in memory that its size warrants."""

import gzip
import io
import json
import math
import os
import random
import struct
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

import vgfast as vg
from vgfast.datasets import idx
from vgfast.model import files

HUGE = [0, -1, 1, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**18, 10**30, 10**400]
# Of what is allocated: per byte of the file, where a JSON header of empty lists is what takes most; and besides.
PER_BYTE, BESIDES = 40, 400_000


# ---- alterations of bytes ----------------------------------------------------------------------------------


def flipped(data, r):
    out = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 5, 20))):
        if out:
            out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out)


def cut(data, r):
    return data[: r.randrange(len(data) + 1)]


def inserted(data, r):
    at = r.randrange(len(data) + 1)
    more = r.choice((r.randbytes(r.randrange(1, 40)), bytes(r.randrange(1, 3000)), b'"', b"[" * 3000, b"{}", b"NaN"))
    return data[:at] + more + data[at:]


def doubled(data, r):
    a, b = sorted(r.randrange(len(data) + 1) for _ in range(2))
    return data[:b] + data[a:b] + data[b:]


def exchanged(data, r):
    a, b, c = sorted(r.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def dropped(data, r):
    a, b = sorted(r.randrange(len(data) + 1) for _ in range(2))
    return data[:a] + data[b:]


BYTES = (flipped, flipped, cut, inserted, doubled, exchanged, dropped)


# ---- model files ---------------------------------------------------------------------------------------------


def nets():
    """(file, the net, whether it tells its description)"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net")
        for sizes, dtype in (([3, 2], "float32"), ([4, 5, 3], "float64"), ([2, 3, 3, 2], "float32")):
            net = vg.MLP(sizes, "tanh", dtype=dtype, rng=0)
            net.save(path)
            data = Path(path).read_bytes()
            yield data, True
            header, rest = unpacked(data)
            del header["__metadata__"]
            yield packed(json.dumps(header).encode(), rest), False


def unpacked(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def packed(text, rest):
    return len(text).to_bytes(8, "little") + text + rest


def headed(data, r):
    """With another header, of its true length."""
    header, rest = unpacked(data)
    names = [name for name in header if name != "__metadata__"]
    name, other = r.choice(names), r.choice(names)
    entry, number = header[name], r.choice(HUGE)
    kind = r.randrange(15)
    if kind == 0:
        entry["shape"][r.randrange(len(entry["shape"]))] = number
    elif kind == 1:
        entry["data_offsets"][r.randrange(2)] = number
    elif kind == 2:
        header[name], header[other] = header[other], entry
    elif kind == 3:
        header[r.choice(("", "9.weight", "0.weight ", "\ud800", "x" * 1000, "__metadata__"))] = header.pop(name)
    elif kind == 4:
        entry["dtype"] = r.choice(("I8", "F16", "BF16", "F64", "F32", "U128", "", None, 3, ["F32"], {}))
    elif kind == 5:
        entry["shape"] = r.choice(
            ([1] * 40, [2**31] * 2000, [], "12", {"1": 2}, None, [[3]], [True, 2], [2.0, 3], [0, number])
        )
    elif kind == 6:
        header["__metadata__"] = r.choice((None, [], 5, "vgfast", {"vgfast": 5}, {"a": {}}, {"vgfast": "[" * 5000}, {}))
    elif kind == 7:
        told = r.choice((f'[[{number}, 2], [], "mse", "float32"]', "null", "5", "[1,2,3,4]", "[[],[],[],[]]", '"abcd"'))
        header["__metadata__"] = {"vgfast": told, "sha256": "0"}
    elif kind == 8:
        entry["data_offsets"] = r.choice(([], [0], [0, 1, 2], None, "01", [None, 3], [0.0, 4.0], [True, 4], {"0": 1}))
    elif kind == 9:
        header[name] = r.choice((None, 5, [], "x", {}, {"dtype": "F32"}, [1] * 100))
    text = json.dumps(header).encode()
    if kind == 10:
        text = text.replace(b'"shape"', r.choice((b'"dtype"', b'"shape": [1], "shape"', b'"\xff"')), 1)
    elif kind == 11:
        text = text.replace(
            b"[", r.choice((b"[NaN,", b"[1e999,", b"[" * r.choice((900, 5000, 50_000)), b"[Infinity,")), 1
        )
    elif kind == 12:
        text = text.replace(b"{", b"[" * r.randrange(1, 3000) + b"{")
    elif kind == 13:
        text = r.choice(
            (b"[" + b"[]," * 3000 + b"0]", b"{" * 3000, b"9" * 9000, b'{"a":' * 3000, b'"' + b"x" * 9000 + b'"', b"")
        )
    elif kind == 14:
        text = text[:-1] + b"," + text[1:]
    return packed(text, rest)


def forged(data, r):
    """With another description, and the checksum that belongs to it."""
    header, rest = unpacked(data)
    if "__metadata__" not in header:
        return headed(data, r)
    told = json.loads(header["__metadata__"]["vgfast"])
    sizes = told[0]
    other = (
        r.choice(
            (sizes[::-1], sizes[1:], [*sizes, 2], [*sizes[:-1], r.choice(HUGE)], str(sizes), {"0": 1}, None, [True, 2])
        ),
        r.choice((["relu"] * (len(sizes) - 2), "relu", ["relu"] * 9, [["relu"]], [None], None, 5, {"relu": 1})),
        r.choice(("mse", "mes", None, ["mse"], 5, {})),
        r.choice(("float32", "float64", "float16", None, 4)),
    )
    for i in r.sample(range(4), r.choice((1, 1, 2))):
        told[i] = other[i]
    text = json.dumps(r.choice((told, told, told, told[:3], [*told, 1], {"0": told})))
    tensors = {name: tensor(entry, rest) for name, entry in header.items() if name != "__metadata__"}
    header["__metadata__"] = {"vgfast": text, "sha256": files._digest(text, tensors)}
    return packed(json.dumps(header).encode(), rest)


def tensor(entry, rest):
    start, stop = entry["data_offsets"]
    return np.frombuffer(rest[start:stop], {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]).reshape(entry["shape"])


def lengthened(data, r):
    """With another length of its header."""
    length = r.choice((int.from_bytes(data[:8], "little") + r.randrange(-9, 9), *HUGE[2:10], 10**8, 10**8 + 1, 10**7))
    return max(0, length % 2**64).to_bytes(8, "little") + data[8:]


def plain_net(data, double):
    """The flat parameters of a file without a description, read as its header says."""
    header, rest = unpacked(data)
    header.pop("__metadata__", None)
    flat = []
    for name in sorted(header, key=lambda name: (int(name.split(".")[0]), name.endswith("bias"))):
        entry = header[name]
        start, stop = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            half = np.frombuffer(rest[start:stop], "<u2")
            array = np.stack([np.zeros_like(half), half], axis=-1).view("<f4")
        else:
            array = np.frombuffer(rest[start:stop], {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[entry["dtype"]])
        flat.append(array.reshape(entry["shape"]).T.ravel())
    return np.concatenate([array.astype("f8" if double else "f4") for array in flat])


class Models:
    """Fed with a seed, alters a model file and loads it."""

    def __init__(self):
        self.files = list(nets())
        self.right = {data: load(data) for data, _ in self.files}

    def altered(self, r):
        data, told = r.choice(self.files)
        new = r.choice((*BYTES, headed, headed, headed, forged, forged, forged, lengthened))(data, r)
        if r.random() < 0.2:
            new = r.choice(BYTES)(new, r)
        return data, told, new

    def case(self, r):
        """(the bytes of a file, how to read it, what to call the outcome of that, if it is the right one)"""
        data, told, new = self.altered(r)
        more = {} if told and r.random() < 0.7 else {"activation": "tanh", "loss": "cross_entropy"}

        def judged(net, refusal):
            if net is None:
                assert new != data, refusal
                return None
            if b'"vgfast"' in new:
                np.testing.assert_array_equal(net.params, self.right[data])
                return "the same parameters, their description being whole"
            np.testing.assert_array_equal(net.params, plain_net(new, net.dtype == np.float64))
            return "a net that tells nothing of itself, as its header says"

        return new, lambda path: vg.MLP.load(path, **more), judged


def load(data):
    more = {} if b'"vgfast"' in data else {"activation": "tanh", "loss": "cross_entropy"}
    return vg.MLP.load(io.BytesIO(data), **more).params.copy()


# ---- IDX files ---------------------------------------------------------------------------------------------------

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def plain_idx(data):
    """(the array, the bytes it takes) of what is not gzipped; None if it is not one."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or data[3] == 0:
        return None
    end = 4 + 4 * data[3]
    if len(data) < end:
        return None
    sizes = struct.unpack(f">{data[3]}I", data[4:end])
    dtype = np.dtype(TYPES[data[2]])
    whole = len(data) - end == math.prod(sizes) * dtype.itemsize > 0
    return np.frombuffer(data[end:], dtype).reshape(sizes) if whole else None


def gunzipped(data, most):
    """As Python's own module reads it; None if it does not, or if there is more."""
    try:
        out = gzip.GzipFile(fileobj=io.BytesIO(data)).read(most + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return out if len(out) <= most else None


class Idx:
    """Fed with a seed, alters an IDX file and reads it."""

    def __init__(self):
        r = np.random.default_rng(0)
        self.files = []
        for kind, dtype in TYPES.items():
            for sizes in ((12,), (2, 3, 4), (3, 8)):
                array = r.integers(0, 100, sizes).astype(dtype)
                self.files.append(
                    bytes((0, 0, kind, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes) + array.tobytes()
                )
        zeros = bytes((0, 0, 8, 3)) + struct.pack(">3I", 1000, 1000, 1000)
        self.bombs = [
            gzip.compress(self.files[0] + bytes(3_000_000), mtime=0),
            gzip.compress(zeros + bytes(5_000_000), mtime=0),
        ]

    def altered(self, r):
        if r.random() < 0.01:
            data = r.choice(self.bombs)
            return data if r.random() < 0.5 else r.choice(BYTES)(data, r)
        data = r.choice(self.files)
        way = r.randrange(8)
        if way == 0:
            return data
        if way == 1:  # another header of its kind
            data = bytearray(data)
            data[r.randrange(2, 4)] = r.choice((0, 1, 2, 3, 8, 9, 11, 14, 255))
            return bytes(data)
        if way == 2:  # sizes that multiply to a lot, or to what there is modulo 2**32
            at = 4 + 4 * r.randrange(data[3])
            return data[:at] + struct.pack(">I", r.choice((0, 1, 2**16, 2**31, 2**32 - 1, 178956971))) + data[at + 4 :]
        if way < 5:
            return r.choice(BYTES)(data, r)
        at = r.randrange(len(data) + 1)
        members = [data[:at], data[at:]] if r.random() < 0.5 else [data]
        members = [piece for piece in members for piece in ((piece, b"") if r.random() < 0.2 else (piece,))]
        zipped = b"".join(
            gzip.compress(piece, r.choice((0, 1, 9)), mtime=0) + bytes(r.choice((0, 0, 3))) for piece in members
        )
        if way == 5:
            return zipped
        return r.choice(BYTES)(zipped, r)

    def case(self, r):
        """As of ``Models``."""
        new = self.altered(r)
        plain = gunzipped(new, 1_000_000) if new[:2] == b"\x1f\x8b" else new
        right = None if plain is None else plain_idx(plain)
        dimensions = r.choice((1, 2, 3)) if right is None or r.random() < 0.2 else right.ndim

        def judged(got, refusal):
            if got is None:
                strict = "header flags" in refusal or "header crc" in refusal  # zlib looks at what gzip passes over
                assert right is None or right.ndim != dimensions or strict, refusal
                return None
            assert right is not None
            assert right.ndim == dimensions
            assert got.dtype == right.dtype.newbyteorder("=")
            assert got.dtype.isnative
            np.testing.assert_array_equal(got, right)
            return "the array"

        return new, lambda path: idx.read(path, dimensions), judged


# ---- both ------------------------------------------------------------------------------------------------------------


def sentence(text, path):
    """The kind of a refusal, which must be a sentence that names the file."""
    assert text.startswith(path), text
    assert "\n" not in text, text
    assert len(text) < len(path) + 500, text
    assert "; " in text, text
    return "damaged" if "get the file again" in text else "another kind"


def run(what, n, seed=0):
    """(outcomes, the longest in seconds, the most memory in bytes) of n altered files."""
    files = {"model": Models, "idx": Idx}[what]()
    outcomes, longest, most = Counter(), 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        for i in range(n):
            r = random.Random(f"{what} {seed} {i}")
            data, read, judged = files.case(r)
            Path(path).write_bytes(data)
            try:
                if i % 20 == 0:
                    tracemalloc.start()
                began = time.perf_counter()
                got, refusal = outcome(read, path)
                longest = max(longest, time.perf_counter() - began)
                if i % 20 == 0:
                    peak = tracemalloc.get_traced_memory()[1]
                    assert peak < PER_BYTE * len(data) + BESIDES, f"{len(data)} bytes took {peak}"
                    most = max(most, peak)
                outcomes[judged(got, refusal) or sentence(refusal, path)] += 1
            except Exception as error:
                raise AssertionError(f"file {i} of seed {seed}: {error!r}") from error
            finally:
                tracemalloc.stop()
    return outcomes, longest, most


def outcome(read, path):
    """(what was read, None), or (None, the words of its refusal)."""
    try:
        return read(path), None
    except ValueError as error:
        return None, str(error)


if __name__ == "__main__":
    began = time.perf_counter()
    outcomes, longest, most = run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    for outcome, count in outcomes.most_common():
        print(f"{count:9,} {outcome}")
    print(f"{time.perf_counter() - began:.0f} s; the longest {longest:.3f} s; at most {most:,} bytes of memory")
