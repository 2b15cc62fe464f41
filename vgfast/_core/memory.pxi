# Memory that C is given: made, aligned, as long as it must be, and of the type it is taken for.


# How many allocations of this module still succeed; below 0: all that the system allows.
cdef long left_to_succeed = -1


cdef int allocating() except -1:
    global left_to_succeed
    if left_to_succeed >= 0:
        left_to_succeed -= 1
        if left_to_succeed < 0:
            raise MemoryError("an allocation that a test has made fail")
    return 0


def aligned(size_t n, dtype):
    """A vector of n zeros that starts on a cache line."""
    allocating()
    dtype = np.dtype(dtype)
    raw = np.zeros(n * dtype.itemsize + 64, np.uint8)
    start = -<size_t>address(raw, 0, 0) % 64
    return raw[start : start + n * dtype.itemsize].view(dtype)


cdef void *address(object array, size_t n_bytes, int writable) except? NULL:
    """Where the array's memory starts; NULL of None. The caller keeps the array alive."""
    if array is None:
        return NULL
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    cdef void *start = view.buf
    cdef size_t length = <size_t>view.len
    PyBuffer_Release(&view)
    if length < n_bytes:
        raise ValueError(f"need {n_bytes} bytes, got an array of {length}")
    return start


cdef c.vg_csr csr_of(object x, size_t n_columns, size_t item) except *:
    """Of rows as ``_check.SparseRows`` has them, whose columns and starts nobody else can write to. The caller keeps
    them alive."""
    cdef c.vg_csr rows
    if <size_t>x.shape[1] != n_columns:
        raise ValueError(f"need {n_columns} columns, got {x.shape[1]}")
    cdef size_t n = x.starts[len(x.starts) - 1]
    rows.values = address(x.values, n * item, 0)
    rows.columns = <const int32_t *>address(x.columns, n * sizeof(int32_t), 0)
    rows.starts = <const int64_t *>address(x.starts, len(x.starts) * sizeof(int64_t), 0)
    return rows


cdef bint as_it_is(object array, Py_buffer *view, int ndim, const char *format) noexcept:
    """Take the buffer of a contiguous array of this many dimensions and this type; False, and nothing taken, if it is
    another. Not of a subclass, which may mean something else by its numbers, as a masked array does."""
    if type(array) is not ndarray:
        return False
    try:
        PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except Exception:
        return False
    if view.ndim == ndim and view.format != NULL and view.format[0] == format[0] and view.format[1] == 0:
        return True
    PyBuffer_Release(view)
    return False


cdef bint copy_labels(const void *source, size_t item, size_t n, int64_t n_classes, int32_t *labels) noexcept nogil:
    """int32 or int64 labels, as int32; False if one is out of range."""
    cdef size_t i
    cdef int64_t label
    for i in range(n):
        # Read once: whoever else holds the array may change it between two reads.
        label = (<const volatile int32_t *>source)[i] if item == 4 else (<const volatile int64_t *>source)[i]
        if label < 0 or label >= n_classes:
            return False
        labels[i] = <int32_t>label
    return True


cdef void *room(size_t n, size_t size) except NULL:
    """Zeros for n structs."""
    allocating()
    cdef void *start = PyMem_Calloc(n, size)
    if start == NULL:
        raise MemoryError()
    return start
