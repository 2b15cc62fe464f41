"""What tests of model files share."""

import json
import struct

import numpy as np
import pytest


def the_same(net, again):
    assert (again.sizes, again.activations, again.loss, again.dtype) == (
        net.sizes,
        net.activations,
        net.loss,
        net.dtype,
    )
    np.testing.assert_array_equal(again.params, net.params)


def told(error, call, *args, **kwargs):
    """The sentence of a refusal."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert ".part" not in text
    return text


FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": None, "I32": "<i4"}


def plain(tensors, kinds="F32", metadata=None):
    """A safetensors file, as the format's description has it; bfloat16 by cutting float32 short."""
    header, rest = {} if metadata is None else {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        kind = kinds if isinstance(kinds, str) else kinds[name]
        if kind == "BF16":
            data = (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            data = np.ascontiguousarray(array).astype(FORMATS[kind]).tobytes()
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(rest), len(rest) + len(data)]}
        rest += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def tensors(net):
    named = {}
    for l, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        named |= {f"{2 * l}.weight": w.T, f"{2 * l}.bias": np.array(b)}
    return named
