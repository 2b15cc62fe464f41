# Functions of outputs: what predictions and evaluation need. Arrays are float32 or float64, rows of matrices
# contiguous, and checked by the caller.


cdef void *at(object array) except? NULL:
    """Where an array starts, whatever its strides; NULL of None."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    PyBuffer_Release(&view)
    return view.buf


cdef size_t ld(array):
    return array.strides[0] // array.itemsize


cdef c.vg_matrix matrix(object array):
    return c.vg_matrix(at(array), array.shape[0], array.shape[1], ld(array))


cdef const c.vg_kernels *kernels(array):
    return c.vg_kernels_of(c.VG_F32 if array.itemsize == 4 else c.VG_F64)


# Values that are worked on before Ctrl-C is heard: some milliseconds.
cdef enum: VALUES_AT_A_TIME = 1 << 19


cdef void *beyond(void *start, size_t n_bytes) noexcept nogil:
    """So many bytes on; of NULL, NULL."""
    return <char *>start + n_bytes if start != NULL else NULL


def activate(activation, z, y, derivatives=None):
    """y = phi(z) and derivatives = phi'(z), for contiguous arrays; derivatives may be None."""
    cdef const c.vg_kernels *k = kernels(z)
    cdef c.vg_activation phi = activation_of(activation)
    cdef size_t n = z.size, item = z.itemsize, i = 0, some
    cdef void *z_at = at(z)
    cdef void *y_at = at(y)
    cdef void *derivatives_at = at(derivatives)
    cdef c.vg_float_mode mode
    while i < n:
        some = min(n - i, <size_t>VALUES_AT_A_TIME)
        with nogil:
            mode = c.vg_enter_float_mode()
            k.activate(phi, some, beyond(z_at, i * item), beyond(y_at, i * item), beyond(derivatives_at, i * item))
            c.vg_leave_float_mode(mode)
        PyErr_CheckSignals()
        i += some


def softmax(z, y):
    """Rows of y (rows, n) = softmax of the rows of z, both contiguous."""
    cdef const c.vg_kernels *k = kernels(z)
    cdef size_t rows = z.shape[0], n = z.shape[1], row = 0, some
    cdef size_t row_bytes = n * <size_t>z.itemsize
    cdef void *z_at = at(z)
    cdef void *y_at = at(y)
    cdef c.vg_float_mode mode
    while row < rows:
        some = min(rows - row, <size_t>VALUES_AT_A_TIME // n + 1)
        with nogil:
            mode = c.vg_enter_float_mode()
            k.softmax(some, n, beyond(z_at, row * row_bytes), beyond(y_at, row * row_bytes))
            c.vg_leave_float_mode(mode)
        PyErr_CheckSignals()
        row += some


def loss(str name, z, y, losses, correct, dz):
    """Each row's loss, whether it is predicted rightly, and dz = d(mean loss)/dz (rows, n)."""
    cdef double check = 0
    cdef const c.vg_kernels *k = kernels(z)
    cdef c.vg_loss kind = <c.vg_loss><int>LOSSES.index(name)
    cdef c.vg_matrix outputs = matrix(z)
    cdef void *y_at = at(y)
    cdef c.vg_targets targets = c.vg_targets(NULL, NULL, NULL, NULL, <double>outputs.rows)
    if y.ndim == 1:
        targets.labels = <const int32_t *>y_at
    else:
        targets.targets = y_at
    cdef double *losses_at = <double *>at(losses)
    cdef double *correct_at = <double *>at(correct)
    cdef void *dz_at = at(dz)
    cdef c.vg_float_mode mode
    with nogil:
        mode = c.vg_enter_float_mode()
        k.loss(kind, outputs, targets, losses_at, correct_at, dz_at, &check)
        c.vg_leave_float_mode(mode)
    return check
