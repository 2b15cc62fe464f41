# Pre-training: vg_pretrain and its workspace, and hold of all that they point to.


cdef class PretrainRun:
    """Steps of pre-training of one layer, m visible and n hidden units: ``vg_pretrain``.

    params (m n + n + m,): W, the hidden biases and the visible biases. n_threads: at most; fewer where so many cannot
    pay. ``set_rbm`` or ``set_autoencoder``, then
    ``set_optimizer`` and ``set_epoch`` before each epoch."""

    cdef c.vg_pretrain_workspace layout
    cdef c.vg_pretrain run
    cdef c.vg_pretrain_record record
    cdef TrainingLock lock
    cdef dict held

    def __cinit__(self, params, size_t m, size_t n, size_t rows, size_t k, int n_threads, uint64_t seed, lock):
        cdef c.vg_dtype dtype = c.VG_F32 if params.itemsize == 4 else c.VG_F64
        cdef bint fits = c.vg_pretrain_lay_out(dtype, m, n, rows, k, 1, &self.layout) == 0
        n_threads = c.vg_tuner_worth_trying(self.layout.flops, n_threads)
        if not fits or c.vg_pretrain_lay_out(dtype, m, n, rows, k, n_threads, &self.layout) != 0:
            raise MemoryError(f"a batch of {rows} rows of {m} units is larger than the address space")
        self.lock, self.held = lock, {}
        self.run.workspace = &self.layout
        self.run.n_threads = n_threads
        self.run.seed, self.run.k, self.run.keep = seed, k, 1
        self.run.params = self.hold("params", params, m * n + n + m, 1)
        self.run.memory = self.hold("memory", aligned(self.layout.n_elements, params.dtype), 0, 1)
        self.run.notes = <double *>self.hold("notes", aligned(self.layout.n_notes, np.float64), 0, 1)

    cdef void *hold(self, str name, object array, size_t n, int writable) except? NULL:
        """n elements of the parameters' type at least."""
        cdef void *start = address(array, n * c.vg_item_size(self.layout.dtype), writable)
        self.held[name] = None if array is None else memoryview(array)
        return start

    @property
    def chain_columns(self):
        """Columns that the chains' states need: n, rounded up."""
        return self.layout.ldn

    @property
    def shape(self):
        """(m, n)"""
        return self.layout.m, self.layout.n

    def set_rbm(self, bint gaussian, bint draws_visible, chains, penalty, activity, double target, double cost,
                double decay):
        """chains: (rows, chain_columns) states that persist, or None; penalty: (n,); activity: (n,) or None."""
        self.run.kind = c.VG_RBM
        self.run.gaussian, self.run.draws_visible = gaussian, draws_visible and not gaussian
        self.run.chains = self.hold("chains", chains, self.layout.rows * self.layout.ldn, 1)
        self.run.penalty = self.hold("penalty", penalty, self.layout.n, 1)
        self.run.activity = self.hold("activity", activity, self.layout.n, 1)
        self.run.target, self.run.cost, self.run.decay = target, cost, decay

    def set_autoencoder(self, str loss, double scale, double keep):
        """scale: what the gradient of this loss, a mean over units, is multiplied by; keep: the probability with which
        an input is not masked."""
        self.run.kind = c.VG_AUTOENCODER
        self.run.loss = <c.vg_loss><int>LOSSES.index(loss)
        self.run.scale, self.run.keep = scale, keep

    def set_optimizer(self, str rule, double lr, double weight_decay, double hyper, state):
        """state: like the parameters, or None for a rule without one."""
        cdef c.vg_optimizer *optimizer = &self.run.optimizer
        cdef size_t n = self.layout.m * self.layout.n + self.layout.n + self.layout.m
        optimizer.rule = <c.vg_rule><int>RULES.index(rule)
        optimizer.lr, optimizer.weight_decay, optimizer.hyper[0] = lr, weight_decay, hyper
        if (state is None) == (c.vg_rules[<int>optimizer.rule].states > 0):
            raise ValueError(f"the rule {rule} and its state do not belong together")
        optimizer.states[0] = self.hold("state", state, n, 1)

    def set_epoch(self, x, order, size_t batch_size, losses, uint64_t steps_before):
        """x (samples, m) of the parameters' type; order: int64 (rows of the epoch,) or None; losses: float64 (steps of
        the epoch,), filled by an autoencoder."""
        cdef size_t rows = x.shape[0] if order is None else order.shape[0]
        cdef size_t n_steps = (rows + batch_size - 1) // batch_size
        if not 0 < batch_size <= self.layout.rows:
            raise ValueError(f"a batch of {batch_size} rows in a workspace of {self.layout.rows}")
        self.run.x = self.hold("x", x, x.shape[0] * self.layout.m, 0)
        self.run.order = <const int64_t *>address(order, rows * 8, 0)
        self.run.losses = <double *>address(losses, n_steps * 8, 1)
        self.held["order"], self.held["losses"] = order, losses
        self.run.n_rows, self.run.batch_size = rows, batch_size
        self.run.step, self.run.n_steps, self.run.steps_before = 0, n_steps, steps_before
        self.run.record = &self.record

    @property
    def step(self):
        """The next step of this epoch."""
        return self.run.step

    @property
    def last_step(self):
        """(norm of the weights' gradient, of the weights, of their step, how many it did not change), of the last step
        of the epoch."""
        return self.record.gradient, self.record.weight, self.record.step, self.record.frozen

    def go(self, double seconds=0.0):
        """Run to the end of the epoch, or for about so many seconds; returns the status."""
        self.lock.begin_turn()
        with nogil:
            self.run.seconds = seconds
            c.vg_pretrain_run(&self.run)
        self.lock.end_turn()
        return self.run.status


def propagate(str activation, x, weights, biases, bint down, int n_threads):
    """Rows x through a layer whose weights are (m, n): phi(x W + b), (rows, n); or down, phi(x W^T + b), (rows, m). All
    arrays contiguous and of one type; n_threads: at most."""
    cdef c.vg_propagation p
    cdef size_t item = weights.itemsize
    p.dtype = c.VG_F32 if item == 4 else c.VG_F64
    p.m, p.n, p.rows, p.down = weights.shape[0], weights.shape[1], x.shape[0], down
    p.activation = activation_of(activation)
    n_threads = c.vg_tuner_worth_trying(2.0 * p.rows * p.m * p.n, n_threads)
    cdef size_t n_scratch = c.vg_propagation_scratch(&p, n_threads)
    if n_scratch == 0:
        raise MemoryError(f"a layer of {p.m} x {p.n} is larger than the address space")
    allocating()
    y = np.empty((p.rows, p.m if down else p.n), weights.dtype)
    scratch = aligned(n_scratch, weights.dtype)
    p.weights = address(weights, p.m * p.n * item, 0)
    p.biases = address(biases, (p.m if down else p.n) * item, 0)
    p.x = address(x, p.rows * (p.n if down else p.m) * item, 0)
    p.y = address(y, 0, 1)
    p.scratch = address(scratch, 0, 1)
    with nogil:
        c.vg_propagate(&p, n_threads)
    return y
