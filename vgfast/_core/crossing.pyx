# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The one crossing into C, and the one extension: the C core has state, the choice of the instruction set and the team.

Python's side has checked values (``_check``); this side checks that every piece of memory is as long as the C
core will take it to be, and holds on to it while C has its address.
"""
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from vgfast._core cimport csrc as c

import numpy as np

cdef object ndarray = np.ndarray

include "catalog.pxi"
include "memory.pxi"
include "lock.pxi"
include "net.pxi"
include "run.pxi"
include "pretrain.pxi"
include "shuffle.pxi"
include "functions.pxi"
include "limits.pxi"
include "testing.pxi"
