# A net as C knows it: its plan.


cdef c.vg_activation SIGMOID = activation_of("sigmoid")


cdef class Net:
    """The plan of a training step of a chain of dense layers, and where each array lies in the parameter vector.

    normalization: of the hidden layers, (name, whether it comes before the activation, eps, whether it has parameters,
    the weight of a batch in running statistics), or None. Before an activation, batch norm stands in the place of
    biases."""

    cdef c.vg_plan plan
    cdef readonly tuple places  # of all arrays of parameters, in their order: offsets
    cdef tuple dense  # the ops of the layers

    def __cinit__(
        self, sizes, activations, int loss, int dtype, rates=(), blocks=(), double scale=1, bint learned=False,
        normalization=None, bint sparse=False,
    ):
        """rates: of dropout, (rate, whether it is alpha dropout) of each hidden layer, or none. blocks: of layers that are
        gone around, (first, last) of each, counted from 1; what each adds is multiplied by the scale, or by a parameter.
        sparse: of what x is made, rows whose zeros are left out."""
        cdef size_t n_layers = len(sizes) - 1, n_rates = len(rates), n_blocks = len(blocks), l, i
        cdef size_t n_ops = 4 * n_layers + 2 * n_blocks + 3
        cdef bint before = normalization is not None and normalization[1]
        cdef bint unbiased = before and normalization[0] == "batch"
        cdef c.vg_plan *plan = &self.plan
        plan.dtype = <c.vg_dtype>dtype
        plan.sparse = sparse
        plan.ops = <c.vg_op *>room(n_ops, sizeof(c.vg_op))
        plan.tensors = <c.vg_tensor *>room(2 * n_layers + n_blocks + 2, sizeof(c.vg_tensor))
        plan.params = <c.vg_param *>room(4 * n_layers + n_blocks, sizeof(c.vg_param))
        plan.stages = <c.vg_stage *>room(n_ops, sizeof(c.vg_stage))
        firsts, lasts = {first for first, _ in blocks}, {last for _, last in blocks}
        c.vg_plan_input(plan, sizes[0])
        for l in range(n_layers):
            if l + 1 in firsts:
                if plan.n_additions == 0:
                    c.vg_plan_open(plan)
                c.vg_plan_fork(plan)
            c.vg_plan_dense(plan, sizes[l + 1], not unbiased or l + 1 == n_layers)
            if before and l + 1 < n_layers:
                self.normalize(normalization)
            c.vg_plan_activate(plan, activation_of(activations[l]))
            if normalization is not None and not before and l + 1 < n_layers:
                self.normalize(normalization)
            if l < n_rates and rates[l][0] > 0:
                c.vg_plan_dropout(plan, 1 - <double>rates[l][0], rates[l][1])
            if l + 1 in lasts:
                c.vg_plan_add(plan, scale, learned)
        c.vg_plan_loss(plan, <c.vg_loss>loss)
        if c.vg_plan_lay_out(plan) != 0:
            raise MemoryError(f"sizes {tuple(sizes)} make a net larger than the address space")
        self.dense = tuple(i for i in range(plan.n_ops) if plan.ops[i].kind == c.VG_OP_DENSE)
        self.places = tuple(plan.params[l].offset for l in range(plan.n_param_arrays))

    cdef normalize(self, normalization):
        """The last op so far."""
        name, _, eps, affine, weight = normalization
        if name == "batch":
            c.vg_plan_normalize_batch(&self.plan, eps, affine, weight)
        else:
            c.vg_plan_normalize(&self.plan, <c.vg_op_kind><int>NORM_KINDS[name], eps, affine)

    def __dealloc__(self):
        PyMem_Free(self.plan.ops)
        PyMem_Free(self.plan.tensors)
        PyMem_Free(self.plan.params)
        PyMem_Free(self.plan.stages)

    @property
    def n_params(self):
        return self.plan.n_params

    @property
    def n_running(self):
        """Elements of running statistics, which lie behind the parameters."""
        return self.plan.n_running

    def threads_for(self, size_t rows, int limit):
        """How many threads, of at most `limit`, pay for a step on `rows` rows."""
        return c.vg_threads_for(&self.plan, rows, limit)

    def chunk_rows(self, size_t batch):
        """Rows of the chunks of which the gradient of a batch is the sum; 0: it is not cut into chunks."""
        return c.vg_chunk_rows(&self.plan, batch)

    def columns_of(self, size_t rows, int n_threads):
        """How many threads share the same rows of a batch, each making columns of their values."""
        return c.vg_choose_columns(&self.plan, rows, n_threads)

    def part_of_batch(self, size_t batch, int n_threads):
        """How many rows of a batch are best in memory at a time, in training without inspection."""
        return c.vg_part_of_batch(&self.plan, batch, n_threads)

    def threads_to_try(self, size_t rows, int limit):
        """How many, of at most `limit`, may pay for steps on `rows` rows."""
        return c.vg_threads_to_try(&self.plan, rows, limit)

    def forward(self, params, x, z, int n_threads):
        """z (rows, n_L) = the net applied to x (rows, n_0), sparse rows if the net is for those."""
        cdef size_t item = c.vg_item_size(self.plan.dtype), rows = x.shape[0]
        cdef size_t n_0 = self.plan.tensors[0].cols, n_l = self.plan.tensors[self.plan.n_tensors - 1].cols
        cdef size_t n_scratch = c.vg_forward_scratch(&self.plan, n_threads)
        if n_scratch == 0:
            raise MemoryError("this net's layers are wider than the address space")
        scratch = aligned(n_scratch, z.dtype)
        cdef const void *params_at = address(params, (self.plan.n_params + self.plan.n_running) * item, 0)
        cdef c.vg_csr sparse
        cdef const void *x_at = &sparse
        if self.plan.sparse:
            sparse = csr_of(x, n_0, item)
        else:
            x_at = address(x, rows * n_0 * item, 0)
        cdef void *z_at = address(z, rows * n_l * item, 1)
        cdef void *scratch_at = address(scratch, 0, 1)
        with nogil:
            c.vg_forward(&self.plan, params_at, x_at, rows, z_at, scratch_at, n_threads)

    def forward_few(self, params, x, TrainingLock lock, bint probabilities=False):
        """``forward`` into a new array, for so few rows that one thread is enough, and exactly as C takes them; None if
        they are more, or another thing, if they or the outputs are not finite, or if another thread trains the net.
        probabilities: softmax or sigmoid of that, as belongs to the loss."""
        cdef Py_buffer view
        cdef const c.vg_kernels *kernels = c.vg_kernels_of(self.plan.dtype)
        cdef c.vg_float_mode mode
        cdef double check = 0
        cdef unsigned long long version = lock.version
        if lock.writing or self.plan.sparse:
            return None
        cdef bint small = self.plan.dtype == c.VG_F32
        if not as_it_is(x, &view, 2, b"f" if small else b"d"):
            return None
        cdef size_t rows = <size_t>view.shape[0], n_l = self.plan.tensors[self.plan.n_tensors - 1].cols
        cdef bint fits = 0 < rows <= c.VG_FORWARD_ROWS and <size_t>view.shape[1] == self.plan.tensors[0].cols
        cdef void *scratch = NULL
        cdef void *z_at = NULL
        cdef const void *params_at = NULL
        z = None
        try:
            params_at = address(params, 0, 0)
            if fits and c.vg_threads_for(&self.plan, rows, 2) == 1:
                kernels.check_finite(<size_t>(view.shape[0] * view.shape[1]), view.buf, &check)
                if check - check == 0:
                    z = np.empty((rows, n_l), np.float32 if small else np.float64)
                    z_at = address(z, 0, 1)
                    scratch = PyMem_RawMalloc(c.vg_forward_scratch(&self.plan, 1) * view.itemsize)
            if scratch != NULL:
                check = 0
                with nogil:
                    c.vg_forward(&self.plan, params_at, view.buf, rows, z_at, scratch, 1)
                    kernels.check_finite(rows * n_l, z_at, &check)
                    if probabilities and check - check == 0:
                        mode = c.vg_enter_float_mode()
                        if self.plan.loss == c.VG_CROSS_ENTROPY:
                            kernels.softmax(rows, n_l, z_at, z_at)
                        else:
                            kernels.activate(SIGMOID, rows * n_l, z_at, z_at, NULL)
                        c.vg_leave_float_mode(mode)
        finally:
            PyMem_RawFree(scratch)
            PyBuffer_Release(&view)
        return None if scratch == NULL or check - check != 0 or version != lock.version else z
