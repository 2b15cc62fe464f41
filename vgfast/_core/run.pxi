# A run of steps: vg_workspace and vg_run, and hold of all that they point to.


# From so many bytes on, what a workspace takes is compared with what is free: to find that out takes 0.2 ms, and a first
# step that writes so much a hundred times as long.
cdef size_t ASKED_FROM = 64 << 20


cdef class Workspace:
    """Memory for ``rows`` rows of a batch in flight: inputs, activations, deltas, and each thread's scratch."""

    cdef c.vg_workspace layout
    cdef readonly Net net
    cdef readonly object memory, notes

    def __cinit__(self, Net net, size_t batch, int n_threads, rows=None, free_memory=None):
        """rows: where all of the batch (None) is not needed at once, which only training without inspection does
        not. free_memory(): how many bytes there are, asked where many are needed. The system may promise more than it
        has, and would end the process once a step writes to them."""
        cdef size_t n_bytes
        self.net = net
        if c.vg_workspace_lay_out(&net.plan, batch, batch if rows is None else rows, n_threads, &self.layout) != 0:
            raise MemoryError(f"a batch of {batch} rows is larger than the address space")
        # Neither product overflows: no more than PTRDIFF_MAX bytes were laid out in each.
        n_bytes = self.layout.n_elements * c.vg_item_size(net.plan.dtype) + self.layout.n_notes * sizeof(double)
        if free_memory is not None and n_bytes >= ASKED_FROM:
            free = free_memory()
            if n_bytes > free:
                raise MemoryError(
                    f"a batch of {batch:,} rows would take {n_bytes / 2**30:,.2f} GiB of memory for activations and deltas, "
                    f"and {max(free, 0) / 2**30:,.2f} GiB are free; take a smaller batch"
                )
        self.memory = aligned(self.layout.n_elements, DTYPES[net.plan.dtype])
        self.notes = aligned(self.layout.n_notes, np.float64)

    @property
    def batch(self):
        return self.layout.batch

    @property
    def rows(self):
        return self.layout.rows

    @property
    def needs_gradient(self):
        """Whether a step on a whole batch needs memory for the gradient."""
        return self.layout.rows < self.layout.batch or self.layout.n_chunks > 0

    @property
    def n_threads(self):
        return self.layout.n_threads

    def output(self, size_t l):
        """a[l] (rows, n_l) of the last batch, which goes into layer l + 1; l = 0 being its inputs: a view."""
        cdef c.vg_plan *plan = &self.net.plan
        cdef size_t op = self.net.dense[min(l, plan.n_layers - 1)]
        cdef c.vg_tensor *tensor = &plan.tensors[plan.ops[op].out if l == plan.n_layers else plan.ops[op].input]
        return self.matrix(tensor.value, tensor)

    def delta(self, size_t l):
        """delta_l (rows, n_l) of the last batch: a view."""
        cdef size_t op = self.net.dense[l - 1]
        cdef c.vg_tensor *tensor = &self.net.plan.tensors[self.net.plan.ops[op].out]
        return self.matrix(self.net.plan.n_columns + tensor.grad, tensor)

    cdef matrix(self, size_t place, c.vg_tensor *tensor):
        """That at a place which is an offset for one row of the batch."""
        rows = self.layout.rows
        return self.memory[place * rows : (place + tensor.ld) * rows].reshape(rows, tensor.ld)[:, : tensor.cols]


cdef int set_hyper(double *to, tuple hyper) except -1:
    """The numbers of a rule, and 0 for those that it has not."""
    if len(hyper) > c.VG_HYPER_MOST:
        raise ValueError(f"{len(hyper)} numbers of a rule are more than {c.VG_HYPER_MOST}")
    for i in range(c.VG_HYPER_MOST):
        to[i] = hyper[i] if i < len(hyper) else 0
    return 0


cdef class Run:
    """A run of steps over one set of data: ``vg_run``, and hold of all memory that it points to."""

    cdef c.vg_run run
    cdef Workspace workspace
    cdef TrainingLock lock
    cdef dict held
    cdef size_t n_records_most
    cdef size_t room  # of the steps of epochs to come: losses, correct and totals
    cdef double *losses
    cdef double *correct
    cdef double *totals
    cdef double *rates
    cdef double loss, right  # of the one step of step_on
    cdef unsigned long long version  # of the parameters, as the last slice of an epoch left them
    cdef c.vg_csr sparse
    cdef object labels

    def __cinit__(self, Workspace workspace, int mode, params, gradient=None, lock=None, draws=None):
        """draws: of dropout, uint64 (2,): seed and number of the next step, which is counted on; None without any."""
        cdef size_t n_bytes
        self.workspace = workspace
        self.lock = TrainingLock() if lock is None else lock
        self.held = {}
        if workspace.layout.rows < workspace.layout.batch and mode != c.VG_TRAIN:
            raise ValueError("all rows of the batch are needed at once")
        self.run.plan = &workspace.net.plan
        self.run.workspace = &workspace.layout
        self.run.mode = <c.vg_mode>mode
        self.run.n_threads = workspace.layout.n_threads
        n_bytes = self.run.plan.n_params * c.vg_item_size(self.run.plan.dtype)
        running = self.run.plan.n_running * c.vg_item_size(self.run.plan.dtype)
        self.run.params = self.hold("params", params, n_bytes + running, 1)
        self.run.gradient = self.hold("gradient", gradient, n_bytes, 1)
        self.run.memory = self.hold("memory", workspace.memory, 0, 1)
        self.run.notes = <double *>self.hold("notes", workspace.notes, 0, 1)
        self.run.draws = <uint64_t *>self.hold("draws", draws, 16, 1)

    cdef void *hold(self, str name, object array, size_t n_bytes, int writable) except? NULL:
        cdef void *start = address(array, n_bytes, writable)
        # A view, not only a reference: NumPy then refuses to resize the array in place.
        self.held[name] = None if array is None else memoryview(array)
        return start

    def set_gradient(self, gradient):
        """Memory for the whole gradient, when a status of NEEDS_GRADIENT asks for it."""
        cdef size_t n_bytes = self.run.plan.n_params * c.vg_item_size(self.run.plan.dtype)
        self.run.gradient = self.hold("gradient", gradient, n_bytes, 1)

    def set_exchange(self, gradient):
        """By way of this memory each step gives its gradient away: ``go`` then returns EXCHANGE, and goes on with what
        the memory holds when it is called again."""
        self.set_gradient(gradient)
        self.run.exchanges = True
        self.run.exchanged = 0

    def set_optimizer(self, str rule, double lr, double weight_decay, tuple hyper, double clip_norm,
                      double clip_value, double penalty=0.0, tuple states=(), n_taken=None):
        """states: as many vectors (n_params,) as the rule has; n_taken: int64 (1,), the steps that it has taken, which
        are counted on, or None for a rule that needs no number."""
        cdef size_t n_bytes = self.run.plan.n_params * c.vg_item_size(self.run.plan.dtype)
        cdef c.vg_optimizer *optimizer = &self.run.optimizer
        optimizer.rule = <c.vg_rule><int>RULES.index(rule)
        optimizer.lr, optimizer.weight_decay, optimizer.penalty = lr, weight_decay, penalty
        optimizer.clip_norm, optimizer.clip_value = clip_norm, clip_value
        set_hyper(optimizer.hyper, hyper)
        if len(states) != c.vg_rules[<int>optimizer.rule].states:
            raise ValueError(f"the rule {rule} and its {len(states)} states do not belong together")
        for k in range(c.VG_STATES_MOST):
            state = states[k] if k < len(states) else None
            optimizer.states[k] = self.hold(f"state {k}", state, n_bytes, 1)
        optimizer.n_taken = <int64_t *>self.hold("n_taken", n_taken, 8, 1)

    def set_data(self, x, y, size_t batch_size, bint given_deltas=False, sample_weight=None, n_rows=None):
        """x (rows, n_0) of the net's dtype, sparse rows if the net is for those; y int32 labels (rows,), or targets
        (rows, n_L) like x, or, so given, delta_L instead of a loss, or None in the mode OUTPUTS; sample_weight float64 (rows,), or None. n_rows: how many
        of them an epoch takes, by its order the first; None: all."""
        cdef size_t item = c.vg_item_size(self.run.plan.dtype), rows = x.shape[0]
        cdef size_t n_0 = self.run.plan.tensors[0].cols
        cdef size_t n_l = self.run.plan.tensors[self.run.plan.n_tensors - 1].cols
        if not 0 < batch_size <= self.workspace.layout.batch:
            raise ValueError(f"a batch of {batch_size} rows in a workspace of {self.workspace.batch}")
        if self.run.plan.sparse:
            self.set_sparse(x, n_0, item)
        else:
            self.run.x = self.hold("x", x, rows * n_0 * item, 0)
        self.run.labels = NULL
        self.run.targets = NULL
        self.run.dz = NULL
        if y is None:
            if self.run.mode != c.VG_OUTPUTS:
                raise ValueError("only a run of outputs needs no y")
        elif given_deltas:
            self.run.dz = self.hold("y", y, rows * n_l * item, 0)
        elif y.ndim == 1:
            self.run.labels = <const int32_t *>self.hold("y", y, rows * 4, 0)
        else:
            self.run.targets = self.hold("y", y, rows * n_l * item, 0)
        self.run.weights = <const double *>self.hold("sample_weight", sample_weight, rows * 8, 0)
        self.run.n_rows = rows if n_rows is None else min(<size_t>n_rows, rows)
        self.run.batch_size = batch_size

    cdef set_sparse(self, x, size_t n_0, size_t item):
        """With room for each thread to sort what some rows of a batch have."""
        self.sparse = csr_of(x, n_0, item)
        for name in ("values", "columns", "starts"):
            self.hold(name, getattr(x, name), 0, 0)
        self.run.x = &self.sparse
        if self.run.mode != c.VG_OUTPUTS:
            self.run.n_entries = x.count_most(self.workspace.layout.rows)
            room = 2 * self.run.n_entries * sizeof(c.vg_entry) * self.workspace.layout.n_threads
            self.run.entries = <c.vg_entry *>self.hold("entries", aligned(room, np.uint8), room, 1)

    def set_results(self, losses, correct, size_t steps_before, totals=None):
        """Of some epochs to come, to be filled: float64 losses, correct, and the batches' weights, if they are wanted,
        each (epochs x steps of an epoch,)."""
        cdef size_t n = losses.shape[0], every = self.run.inspect_every
        self.losses = <double *>self.hold("losses", losses, n * 8, 1)
        self.correct = <double *>self.hold("correct", correct, n * 8, 1)
        self.totals = <double *>self.hold("totals", totals, n * 8, 1)
        if every > 0 and (steps_before + n + every - 1) // every > self.n_records_most:
            raise ValueError(f"room for {self.n_records_most} records is too little")
        self.room = n
        self.set_rates(None)
        self.run.steps_before = steps_before
        self.run.n_records = (steps_before + every - 1) // every if every > 0 else 0
        self.run.step = self.run.n_steps = 0

    def set_rates(self, rates):
        """Of the steps for which ``set_results`` has just given room, float64 (steps,), in place of the optimizer's lr;
        or None."""
        self.rates = <double *>self.hold("rates", rates, self.room * 8, 0)

    def begin_epoch(self, order, batches=None, size_t first=0):
        """The next of these epochs; order: int64 (rows,), or None for 0, 1, 2, ... batches: BATCH (steps,), which rows
        of the epoch are in which batch; None: as many in each, and all of it. first: its step to begin with."""
        cdef size_t n_steps = (self.run.n_rows + self.run.batch_size - 1) // self.run.batch_size
        cdef size_t every = self.run.inspect_every
        cdef size_t n_rows = self.run.n_rows
        if batches is not None:
            n_steps, n_rows = len(batches), self.run.n_rows if order is None else len(order)
            within = batches["first"] + batches["rows"] <= n_rows
            if not (within.all() and (batches["rows"] <= self.run.batch_size).all()):
                raise ValueError("a batch must lie within the epoch's rows and the workspace")
        if n_steps > self.room or first > n_steps:
            raise ValueError(f"room for {self.room} steps is too little for {n_steps} of an epoch, from {first} on")
        self.run.batches = <const c.vg_batch *>self.hold("batches", batches, n_steps * sizeof(c.vg_batch), 0)
        self.run.order = <const int64_t *>self.hold("order", order, n_rows * 8, 0)
        self.run.losses, self.run.correct, self.run.totals = self.losses, self.correct, self.totals
        self.run.optimizer.rates = self.rates
        if self.rates != NULL:
            self.rates += n_steps
        self.losses += n_steps
        self.correct += n_steps
        if self.totals != NULL:
            self.totals += n_steps
        self.room -= n_steps
        self.run.steps_before += self.run.n_steps
        self.run.step, self.run.n_steps = first, n_steps
        if first > 0 and every > 0:
            self.run.n_records = (self.run.steps_before + first + every - 1) // every
        self.run.checked = False

    def set_records(self, records, size_t inspect_every, exponents=None):
        """records: RECORD (inspected steps, L), to be filled; before ``set_results``. exponents: uint32 (inspected
        steps, L, bins) zeros, to be filled likewise, or None."""
        cdef size_t n_bytes = records.shape[0] * self.run.plan.n_layers * sizeof(c.vg_record)
        self.run.records = <c.vg_record *>self.hold("records", records, n_bytes, 1)
        n_bytes = records.shape[0] * self.run.plan.n_layers * c.vg_exponent_bins(self.run.plan.dtype) * 4
        self.run.exponents = <uint32_t *>self.hold("exponents", exponents, n_bytes, 1)
        if inspect_every and self.workspace.layout.rows < self.workspace.layout.batch:
            raise ValueError("for inspection all rows of the batch are needed at once")
        self.n_records_most = records.shape[0]
        self.run.inspect_every = inspect_every

    def set_times(self, times):
        """times: float64 (threads of the workspace, L + 1, phases), to be added ticks to, or None."""
        cdef size_t n = self.workspace.layout.n_threads * (self.run.plan.n_layers + 1) * c.VG_PHASES
        self.run.times = <double *>self.hold("times", times, n * 8, 1)

    def share_columns(self, int n_columns):
        """How many threads take the same rows, each making columns of their values; 0: as many as pays."""
        if n_columns < 0 or (n_columns > 0 and self.run.n_threads % n_columns != 0):
            raise ValueError(f"{n_columns} does not divide {self.run.n_threads} threads")
        self.run.n_columns = n_columns

    def set_unblocked(self, bint unblocked):
        """Whether products are made without tiles; needs ``set_gradient``."""
        self.run.unblocked = unblocked

    def apply(self):
        """One update by the gradient, in the mode APPLY; the status."""
        cdef c.vg_run *run = &self.run
        if run.mode != c.VG_APPLY or run.gradient == NULL:
            raise ValueError("a run that applies a gradient needs the mode APPLY and the gradient")
        run.step, run.n_steps = 0, 1
        return self.go()

    def let_go(self):
        """Of the data: after this, only ``step_on`` may be called."""
        if self.run.plan.sparse:
            raise ValueError("a net for sparse rows has no step_on")
        for name in ("x", "y", "sample_weight", "order", "losses", "correct", "totals", "rates"):
            self.held.pop(name, None)
        self.run.optimizer.rates = NULL

    def step_on(self, x, y, double lr):
        """One step with this rate on all of the batch x, y, of as many rows as the workspace is for, if both are exactly as C takes them;
        returns the loss. None if they are not, or if the step has to be looked at more closely: then nothing has
        changed."""
        cdef Py_buffer x_view, y_view
        cdef size_t rows = self.workspace.layout.batch, n_0 = self.run.plan.tensors[0].cols
        cdef size_t n_l = self.run.plan.tensors[self.run.plan.n_tensors - 1].cols
        cdef size_t item = c.vg_item_size(self.run.plan.dtype)
        cdef char *format = b"f" if item == 4 else b"d"
        cdef bint labelled = self.run.plan.loss == c.VG_CROSS_ENTROPY, ready = False
        if self.labels is None:
            self.labels = np.empty(rows, np.int32)
        cdef int32_t *labels = <int32_t *>address(self.labels, 0, 1)
        if not as_it_is(x, &x_view, 2, format):
            return None
        # x and y may even be the parameters: a step has copied the one and used the other before its update.
        if <size_t>x_view.shape[0] != rows or <size_t>x_view.shape[1] != n_0:
            PyBuffer_Release(&x_view)
            return None
        if labelled:
            if as_it_is(y, &y_view, 1, b"l") or as_it_is(y, &y_view, 1, b"i"):
                ready = <size_t>y_view.shape[0] == rows and copy_labels(
                    y_view.buf, y_view.itemsize, rows, n_l, labels
                )
                PyBuffer_Release(&y_view)
        elif self.run.plan.loss == c.VG_MSE and as_it_is(y, &y_view, 2, format):
            ready = <size_t>y_view.shape[0] == rows and <size_t>y_view.shape[1] == n_l
            if not ready:
                PyBuffer_Release(&y_view)
        if ready:
            self.run.x = x_view.buf
            self.run.labels = labels if labelled else NULL
            self.run.targets = NULL if labelled else y_view.buf
            self.run.weights = NULL
            self.run.totals = NULL
            self.run.optimizer.lr = lr
            self.run.n_rows = self.run.batch_size = rows
            self.run.losses = &self.loss
            self.run.correct = &self.right
            self.run.step = 0
            self.run.n_steps = 1
            self.lock.begin_turn()
            with nogil:
                c.vg_train(&self.run)
            if not labelled:
                PyBuffer_Release(&y_view)
        PyBuffer_Release(&x_view)
        if ready:
            self.lock.end_turn()
        return self.loss if ready and self.run.status == c.VG_DONE else None

    @property
    def step(self):
        """The next step of this epoch."""
        return self.run.step

    @property
    def tried(self):
        """For tests: the steps of the quicker turn in this trial of 1, 2, 4, ... threads."""
        return tuple(self.run.tuner.steps)

    @property
    def steps_done(self):
        """Of the whole run, those before this epoch included."""
        return self.run.steps_before + self.run.step

    @property
    def n_records(self):
        return self.run.n_records

    def simulate(self, seconds):
        """Run to the end of the epoch with threads of which only one runs at a time: float64 ``seconds`` receives what
        each took from one barrier to the next, one thread after the other. Returns how many there are, or 0 if there
        are not as many threads to be had."""
        cdef double *into = <double *>address(seconds, 0, 1)
        cdef size_t n, most = seconds.size
        self.lock.begin_turn()
        with nogil:
            n = c.vg_simulate(&self.run, into, most)
        self.lock.end_turn()
        return n

    def go(self, double seconds=0.0, size_t stop=0):
        """Run to the end of the epoch, or for about so many seconds, or, where stop is not 0, until so many steps of the
        epoch are taken; returns the status."""
        cdef size_t n_steps = self.run.n_steps
        self.run.checked = self.run.checked and self.lock.version == self.version
        if 0 < stop < n_steps:
            self.run.n_steps = max(stop, self.run.step)
        self.lock.begin_turn()
        with nogil:
            self.run.seconds = seconds
            c.vg_train(&self.run)
        self.run.n_steps = n_steps
        self.version = self.lock.version
        self.lock.end_turn()
        if self.run.status == c.VG_DONE and self.run.step < n_steps:
            self.run.status = c.VG_PAUSED
        return self.run.status
