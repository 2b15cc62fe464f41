# Hooks for tests and benchmarks: the kernels one by one, threads whether they pay or not, allocations that fail.


def force_threads(bint force):
    """For tests: as many threads as are wanted, whether they pay at present or not."""
    c.vg_tuner_force(force)


def fail_allocation(long n):
    """For tests: the n-th allocation of this module from now on fails, as if there were no memory, and the later ones
    succeed; below 0, none fails. Returns what was left of the number before, -1 if that failure has come."""
    global left_to_succeed
    before, left_to_succeed = left_to_succeed, n
    return before


def tile(dtype):
    """(rows, columns, lanes) of the tile that the matrix products work on."""
    cdef const c.vg_kernels *k = kernels(np.empty(0, dtype))
    return k.tile_rows, k.tile_cols, k.lanes


def scratch_size(size_t widest):
    """Elements of scratch for a product whose inner dimension is at most `widest`."""
    return c.VG_TILE_SIZE + widest * (c.VG_TILE_COLS + c.VG_PACKED_MOST)


def exponential(x, y):
    """y = exp(x)."""
    kernels(x).exponential(x.size, at(x), at(y))


def dense_forward(activation, x, weights, biases, y, scratch, derivatives=None):
    """y (rows, n_out) = phi(x W + b), and derivatives = phi' with y's strides, if it is stored; returns the check."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    kernels(x).dense_forward(matrix(x), matrix(weights), at(biases), activation_of(activation),
                             matrix(y), at(derivatives), &tools)
    return tools.check


def dense_backward(activation, dy, weights, source, dx, scratch, bint inspected=True):
    """dx (rows, n_in) = (dy W^T) * phi', phi' from source: the derivatives where they are stored, else the
    outputs; returns the norms of the rows of dy W^T, where they are inspected, and else NaN."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    norms = np.full((dy.shape[0], 2), np.nan)
    kernels(dy).dense_backward(matrix(dy), matrix(weights), c.vg_slope_of(activation_of(activation)),
                               matrix(source), matrix(dx), &tools, <c.vg_norm *>at(norms) if inspected else NULL)
    return np.ldexp(np.sqrt(norms[:, 0]), np.nan_to_num(norms[:, 1]).astype(int))


def sample(p, to, uint64_t seed, uint64_t step, uint32_t draw, size_t row):
    """to = 1 with probability p, else 0; matrices of the same shape."""
    kernels(p).sample(matrix(p), c.vg_key(seed, step, draw, row), matrix(to))


def drop(x, to, double keep, uint64_t seed, uint64_t step, uint32_t draw, size_t row):
    """to = x with the probability keep, else 0."""
    kernels(x).drop(matrix(x), keep, c.vg_key(seed, step, draw, row), matrix(to))


def dropout(activation, y, derivatives, double keep, uint64_t seed, uint64_t step, uint32_t draw, size_t row,
            bint alpha=False):
    """y = y / keep with the probability keep, else 0; derivatives = phi' / keep, or -0; or alpha dropout. Returns the
    check."""
    cdef double check = 0
    cdef c.vg_dropout how = c.vg_dropout_of(keep, alpha)
    kernels(y).dropout(activation_of(activation), matrix(y), at(derivatives), &how,
                       c.vg_key(seed, step, draw, row), &check)
    return check


cdef c.vg_update plain_update(double lr):
    cdef c.vg_update update
    memset(&update, 0, sizeof(update))
    update.lr, update.clip_value, update.scale, update.plain = lr, INFINITY, 1, True
    return update


def weight_gradient(x, dy, gradient, scratch, size_t first, size_t last, begun=None):
    """Rows [first, last) of gradient (n_in, n_out) = x^T dy."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    cdef c.vg_update update = plain_update(0)
    kernels(x).weight_update(matrix(x), matrix(dy), first, last, c.vg_parameters(NULL, NULL, at(gradient), at(begun)),
                             &update, &tools, c.vg_recording(NULL, NULL))


def weight_update(x, dy, weights, double lr, scratch, size_t first, size_t last):
    """weights -= lr x^T dy, in rows [first, last)."""
    cdef c.vg_tools tools = c.vg_tools(at(scratch), 0, NULL, 0)
    cdef c.vg_update update = plain_update(lr)
    kernels(x).weight_update(matrix(x), matrix(dy), first, last, c.vg_parameters(at(weights), NULL, NULL, NULL),
                             &update, &tools, c.vg_recording(NULL, NULL))


def column_sums(dy, sums, bint begun=False):
    """sums (n,) = the column sums of dy (rows, n); or begun, they go on."""
    kernels(dy).column_sums(dy.shape[0], dy.shape[1], at(dy), ld(dy), begun, at(sums))


def square_norm(x):
    """The Euclidean norm of contiguous x."""
    return c.vg_norm_root(kernels(x).square_norm(x.size, at(x)))


def update(str rule, gradient, params, tuple states, double lr, tuple hyper, double decay, double clip_value,
           double scale):
    """One update of params and states, in place, hyper being what kernels/optimizer.tmpl.h takes; returns the counts
    and norms that inspection takes."""
    cdef void *places[2]
    cdef double check = 0
    cdef c.vg_summary s
    memset(&s, 0, sizeof(s))
    cdef c.vg_update update = plain_update(lr)
    update.rule, update.plain = <c.vg_rule><int>RULES.index(rule), False
    update.decay, update.clip_value, update.scale = decay, clip_value, scale
    set_hyper(update.hyper, hyper)
    for k in range(2):
        places[k] = at(states[k]) if k < len(states) else NULL
    kernels(params).update(params.size, at(gradient), at(params), places, &update, &check, &s)
    return {
        "gradient": c.vg_norm_root(s.gradient), "weight": c.vg_norm_root(s.weight),
        "step": c.vg_norm_root(s.step), "max_abs": s.max_abs, "zero": s.zero, "subnormal": s.subnormal,
        "frozen": s.frozen, "stuck": s.stuck, "check": check,
    }


def tuner(Workspace workspace, seconds_of, double until):
    """(when, how many threads) of a run whose step on n threads takes seconds_of(n), where the number is found by
    trying; None where it is not."""
    cdef c.vg_tuner tuner
    cdef double now = 0, took, flops = workspace.layout.flops
    cdef int most = workspace.layout.n_threads
    cdef size_t steps
    memset(&tuner, 0, sizeof(tuner))
    if not c.vg_tuner_tries(flops, most):
        return None
    chosen = []
    while now < until:
        chosen.append((now, c.vg_tuner_threads(&tuner, flops, most, now)))
        took, steps = 0, 0
        while now + took <= tuner.until:
            took += seconds_of(tuner.n_threads)
            steps += 1
        c.vg_tuner_record(&tuner, most, took, steps)
        now += took
    return chosen
