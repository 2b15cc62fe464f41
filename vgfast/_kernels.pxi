# The kernels one by one: for predictions and evaluation, for tests and for benchmarks. Arrays are float32
# or float64, rows of matrices contiguous, and checked by the caller.


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


def tile(dtype):
    """(rows, columns, lanes) of the tile that the matrix products work on."""
    cdef const c.vg_kernels *k = kernels(np.empty(0, dtype))
    return k.tile_rows, k.tile_cols, k.lanes


def scratch_size(size_t widest):
    """Elements of scratch for a product whose inner dimension is at most `widest`."""
    return c.VG_TILE_SIZE + widest * (c.VG_TILE_COLS + c.VG_PACKED_MOST)


# Values that are worked on before Ctrl-C is heard: some milliseconds.
cdef enum: VALUES_AT_A_TIME = 1 << 19


cdef void *beyond(void *start, size_t n_bytes) noexcept nogil:
    """So many bytes on; of NULL, NULL."""
    return <char *>start + n_bytes if start != NULL else NULL


def activate(str activation, z, y, derivatives=None):
    """y = phi(z) and derivatives = phi'(z), for contiguous arrays; y or derivatives may be None."""
    cdef const c.vg_kernels *k = kernels(z)
    cdef c.vg_activation phi = <c.vg_activation><int>ACTIVATIONS.index(activation)
    cdef size_t n = z.size, item = z.itemsize, i = 0, some
    cdef void *z_at = at(z)
    cdef void *y_at = at(y)
    cdef void *slopes_at = at(derivatives)
    cdef c.vg_float_mode mode
    while i < n:
        some = min(n - i, <size_t>VALUES_AT_A_TIME)
        with nogil:
            mode = c.vg_enter_float_mode()
            k.activate(phi, some, beyond(z_at, i * item), beyond(y_at, i * item), beyond(slopes_at, i * item))
            c.vg_leave_float_mode(mode)
        PyErr_CheckSignals()
        i += some


def exponential(x, y):
    """y = exp(x)."""
    kernels(x).exponential(x.size, at(x), at(y))


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
    cdef c.vg_targets targets = c.vg_targets(NULL, NULL, NULL, <double>outputs.rows)
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


def dense_forward(str activation, x, weights, biases, y, scratch, derivatives=None):
    """y (rows, n_out) = phi(x W + b), and derivatives = phi' with y's strides, if it is stored; returns the check."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    kernels(x).dense_forward(matrix(x), at(weights), at(biases), <c.vg_activation><int>ACTIVATIONS.index(activation),
                             matrix(y), at(derivatives), &tools)
    return tools.check


def dense_backward(str activation, dy, weights, source, dx, scratch):
    """dx (rows, n_in) = (dy W^T) * phi', phi' from source: the derivatives where they are stored, else the
    outputs; returns the norms of the rows of dy W^T."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    norms = np.full((dy.shape[0], 2), np.nan)
    kernels(dy).dense_backward(matrix(dy), at(weights), <c.vg_activation><int>ACTIVATIONS.index(activation),
                               matrix(source), matrix(dx), &tools, <c.vg_norm *>at(norms))
    return np.ldexp(np.sqrt(norms[:, 0]), norms[:, 1].astype(int))


cdef c.vg_update plain_update(double lr):
    cdef c.vg_update update
    memset(&update, 0, sizeof(update))
    update.lr, update.clip_value, update.scale, update.plain = lr, INFINITY, 1, True
    return update


def weight_gradient(x, dy, gradient, scratch, size_t first, size_t last):
    """Rows [first, last) of gradient (n_in, n_out) = x^T dy."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    cdef c.vg_update update = plain_update(0)
    kernels(x).weight_update(matrix(x), matrix(dy), first, last, c.vg_parameters(NULL, NULL, at(gradient)), &update,
                             &tools, c.vg_recording(NULL, NULL))


def weight_update(x, dy, weights, double lr, scratch, size_t first, size_t last):
    """weights -= lr x^T dy, in rows [first, last)."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    cdef c.vg_update update = plain_update(lr)
    kernels(x).weight_update(matrix(x), matrix(dy), first, last, c.vg_parameters(at(weights), NULL, NULL), &update,
                             &tools, c.vg_recording(NULL, NULL))


def column_sums(dy, sums):
    """sums (n,) = the column sums of dy (rows, n)."""
    kernels(dy).column_sums(dy.shape[0], dy.shape[1], at(dy), ld(dy), at(sums))


def square_norm(x):
    """The Euclidean norm of contiguous x."""
    return c.vg_norm_root(kernels(x).square_norm(x.size, at(x)))


def update(str rule, gradient, params, state, double lr, double hyper, double decay, double clip_value, double scale):
    """One update of params and state, in place; returns the counts and norms that inspection takes."""
    cdef double check = 0
    cdef c.vg_summary s
    memset(&s, 0, sizeof(s))
    cdef c.vg_update update = plain_update(lr)
    update.rule, update.plain = <c.vg_rule><int>RULES.index(rule), False
    update.hyper[0], update.decay, update.clip_value, update.scale = hyper, decay, clip_value, scale
    kernels(params).update(params.size, at(gradient), at(params), at(state), &update, &check, &s)
    return {
        "gradient": c.vg_norm_root(s.gradient), "weight": c.vg_norm_root(s.weight),
        "step": c.vg_norm_root(s.step), "max_abs": s.max_abs, "zero": s.zero, "subnormal": s.subnormal,
        "frozen": s.frozen, "stuck": s.stuck, "check": check,
    }


def tuner(Workspace workspace, seconds_of, double until):
    """(when, how many threads) of a run whose step on n threads takes seconds_of(n), where the number is found by
    trying; None where it is not."""
    cdef c.vg_run run
    cdef double now = 0, took
    cdef size_t steps
    memset(&run, 0, sizeof(run))
    run.plan, run.workspace, run.n_threads = &workspace.net.plan, &workspace.layout, workspace.layout.n_threads
    if not c.vg_tuner_tries(&run):
        return None
    chosen = []
    while now < until:
        chosen.append((now, c.vg_tuner_threads(&run.tuner, &run, now)))
        took, steps = 0, 0
        while now + took <= run.tuner.until:
            took += seconds_of(run.tuner.n_threads)
            steps += 1
        c.vg_tuner_record(&run.tuner, run.n_threads, took, steps)
        now += took
    return chosen
