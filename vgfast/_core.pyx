# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The one crossing into C.

Python's side has checked values (``_check``); this side checks that every piece of memory is as long as the C
core will take it to be, and holds on to it while C has its address.
"""
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_RawFree, PyMem_RawMalloc
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memset

from vgfast cimport _csrc as c

import numpy as np

cdef object ndarray = np.ndarray


cdef tuple in_order(dict places):
    """The names, each at its place: where an enum or a struct of vgfast.h has it."""
    assert sorted(places.values()) == list(range(len(places))), places
    return tuple(sorted(places, key=places.get))


# catalog.def, line by line.
DERIVATIVES = in_order(dict(one=c.VG_ONE, step=c.VG_STEP, leak=c.VG_LEAK, stored=c.VG_STORED))


def activation_facts():
    """Of each activation: (name, alpha, derivative, largest, operations, functions, squashing)."""
    cdef const c.vg_activation_facts *f
    cdef int i
    found = []
    for i in range(c.VG_N_ACTIVATIONS):
        f = &c.vg_activations[i]
        derivative = DERIVATIVES[f.derivative]
        found.append((f.name.decode(), f.alpha, derivative, f.largest, f.operations, f.functions, bool(f.squashing)))
    return tuple(found)


def loss_facts():
    """Of each loss: (name, link, operations, functions, row_operations, row_functions)."""
    cdef const c.vg_loss_facts *f
    cdef int i
    found = []
    for i in range(c.VG_N_LOSSES):
        f = &c.vg_losses[i]
        link = f.link.decode().lower()
        found.append((f.name.decode(), link, f.operations, f.functions, f.row_operations, f.row_functions))
    return tuple(found)


ACTIVATIONS = tuple(facts[0] for facts in activation_facts())
LOSSES = tuple(facts[0] for facts in loss_facts())
RULES = tuple(c.vg_rules[i].name.decode() for i in range(c.VG_N_RULES))
DTYPES = in_order(dict(float32=c.VG_F32, float64=c.VG_F64))
PHASES = in_order(dict(
    forward=c.VG_FORWARD, activation=c.VG_ACTIVATION, loss=c.VG_LOSS, backward=c.VG_BACKWARD, update=c.VG_UPDATE,
    gather=c.VG_GATHER, barrier=c.VG_BARRIER,
))
DONE, PAUSED, NEEDS_GRADIENT, NON_FINITE = c.VG_DONE, c.VG_PAUSED, c.VG_NEEDS_GRADIENT, c.VG_NON_FINITE
TRAIN, GRADIENT, APPLY, INSPECT = c.VG_TRAIN, c.VG_GRADIENT, c.VG_APPLY, c.VG_INSPECT
THREADS_MOST = c.VG_THREADS_MOST
FORWARD_ROWS = c.VG_FORWARD_ROWS
HAS_THREADS = bool(c.vg_team_exists())

# vg_record, field by field.
cdef c.vg_record record
QUANTITIES = in_order(dict(
    grad_norm=&record.grad_norm - <double *>&record,
    bias_grad_norm=&record.bias_grad_norm - <double *>&record,
    weight_norm=&record.weight_norm - <double *>&record,
    delta_norm=&record.delta_norm - <double *>&record,
    speed=&record.speed - <double *>&record,
    weight_gain=&record.weight_gain - <double *>&record,
    activation_gain=&record.activation_gain - <double *>&record,
    gain=&record.gain - <double *>&record,
    mean_derivative=&record.mean_derivative - <double *>&record,
    saturated=&record.saturated - <double *>&record,
    dead=&record.dead - <double *>&record,
    update_ratio=&record.update_ratio - <double *>&record,
    frozen=&record.frozen - <double *>&record,
    stuck=&record.stuck - <double *>&record,
    zero=&record.zero - <double *>&record,
    subnormal=&record.subnormal - <double *>&record,
    max_abs=&record.max_abs - <double *>&record,
    sample_norm=&record.sample_norm - <double *>&record,
    noise_scale=&record.noise_scale - <double *>&record,
))
assert sizeof(c.vg_record) == 8 * len(QUANTITIES)
assert len(PHASES) == c.VG_PHASES


def isas():
    """The instruction sets that this build has and this machine can run, narrow to wide."""
    names = []
    while c.vg_isa_available(len(names)) != NULL:
        names.append(c.vg_isa_available(len(names)).decode())
    return tuple(names)


def isa():
    """The instruction set in use."""
    return c.vg_isa_name().decode()


def use_isa(str name):
    """Choose the instruction set of all later calls."""
    if c.vg_isa_use(name.encode()) != 0:
        raise ValueError(f"no instruction set {name!r} here; there is {', '.join(isas())}")


def force_threads(bint force):
    """For tests: as many threads as are wanted, whether they pay at present or not."""
    c.vg_tuner_force(force)


def ticks():
    """The time by the clock that ``Run.set_times`` counts; its rate is constant."""
    return c.vg_ticks()


# How many allocations of this module still succeed; below 0: all that the system allows.
cdef long left_to_succeed = -1


def fail_allocation(long n):
    """For tests: the n-th allocation of this module from now on fails, as if there were no memory, and the later ones
    succeed; below 0, none fails. Returns what was left of the number before, -1 if that failure has come."""
    global left_to_succeed
    before, left_to_succeed = left_to_succeed, n
    return before


cdef int allocating() except -1:
    global left_to_succeed
    if left_to_succeed >= 0:
        left_to_succeed -= 1
        if left_to_succeed < 0:
            raise MemoryError("an allocation that a test has made fail")
    return 0


cdef class standard_arithmetic:
    """Within it, this thread rounds to nearest and keeps subnormals, whatever it did before (team/float_mode.h)."""

    cdef c.vg_float_mode before

    def __enter__(self):
        self.before = c.vg_enter_float_mode()

    def __exit__(self, *error):
        c.vg_leave_float_mode(self.before)


def aligned(size_t n, dtype):
    """A vector of n zeros that starts on a cache line."""
    allocating()
    dtype = np.dtype(dtype)
    raw = np.zeros(n * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
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


include "_lock.pxi"


cdef void *room(size_t n, size_t size) except NULL:
    """Zeros for n structs."""
    allocating()
    cdef void *start = PyMem_Calloc(n, size)
    if start == NULL:
        raise MemoryError()
    return start


cdef class Net:
    """The plan of a training step of a chain of dense layers, and where each layer lies in the parameter vector."""

    cdef c.vg_plan plan
    cdef readonly tuple weights, biases  # offsets

    def __cinit__(self, sizes, activations, int loss, int dtype):
        cdef size_t n_layers = len(sizes) - 1, l
        cdef c.vg_plan *plan = &self.plan
        plan.dtype = <c.vg_dtype>dtype
        plan.ops = <c.vg_op *>room(n_layers + 2, sizeof(c.vg_op))
        plan.tensors = <c.vg_tensor *>room(n_layers + 1, sizeof(c.vg_tensor))
        plan.params = <c.vg_param *>room(2 * n_layers, sizeof(c.vg_param))
        plan.stages = <c.vg_stage *>room(n_layers + 2, sizeof(c.vg_stage))
        c.vg_plan_input(plan, sizes[0])
        for l in range(n_layers):
            c.vg_plan_dense(plan, sizes[l + 1])
            c.vg_plan_activate(plan, <c.vg_activation><int>activations[l])
        c.vg_plan_loss(plan, <c.vg_loss>loss)
        if c.vg_plan_lay_out(plan) != 0:
            raise MemoryError(f"sizes {tuple(sizes)} make a net larger than the address space")
        self.weights = tuple(plan.params[plan.ops[l + 1].weights].offset for l in range(n_layers))
        self.biases = tuple(plan.params[plan.ops[l + 1].biases].offset for l in range(n_layers))

    def __dealloc__(self):
        PyMem_Free(self.plan.ops)
        PyMem_Free(self.plan.tensors)
        PyMem_Free(self.plan.params)
        PyMem_Free(self.plan.stages)

    cdef size_t width(self, size_t l):
        """n_l; of l = 0, the inputs' columns."""
        return self.plan.tensors[l].cols

    @property
    def n_params(self):
        return self.plan.n_params

    def threads_for(self, size_t rows, int limit):
        """How many threads, of at most `limit`, pay for a step on `rows` rows."""
        return c.vg_threads_for(&self.plan, rows, limit)

    def threads_to_try(self, size_t rows, int limit):
        """How many, of at most `limit`, may pay for steps on `rows` rows."""
        return c.vg_threads_to_try(&self.plan, rows, limit)

    def forward(self, params, x, z, int n_threads):
        """z (rows, n_L) = the net applied to x (rows, n_0)."""
        cdef size_t item = c.vg_item_size(self.plan.dtype), rows = x.shape[0]
        cdef size_t n_0 = self.width(0), n_l = self.width(self.plan.n_layers)
        cdef size_t n_scratch = c.vg_forward_scratch(&self.plan, n_threads)
        if n_scratch == 0:
            raise MemoryError("this net's layers are wider than the address space")
        scratch = aligned(n_scratch, z.dtype)
        cdef const void *params_at = address(params, self.plan.n_params * item, 0)
        cdef const void *x_at = address(x, rows * n_0 * item, 0)
        cdef void *z_at = address(z, rows * n_l * item, 1)
        cdef void *scratch_at = address(scratch, 0, 1)
        with nogil:
            c.vg_forward(&self.plan, params_at, x_at, rows, z_at, scratch_at, n_threads)

    def forward_few(self, params, x, TrainingLock lock):
        """``forward`` into a new array, for so few rows that one thread is enough, and exactly as C takes them; None if
        they are more, or another thing, if they or the outputs are not finite, or if another thread trains the net."""
        cdef Py_buffer view
        cdef double check = 0
        cdef unsigned long long version = lock.version
        if lock.writing:
            return None
        cdef bint small = self.plan.dtype == c.VG_F32
        if not as_it_is(x, &view, 2, b"f" if small else b"d"):
            return None
        cdef size_t rows = <size_t>view.shape[0], n_l = self.width(self.plan.n_layers)
        cdef bint fits = 0 < rows <= c.VG_FORWARD_ROWS and <size_t>view.shape[1] == self.width(0)
        cdef void *scratch = NULL
        cdef void *z_at = NULL
        cdef const void *params_at = NULL
        z = None
        try:
            params_at = address(params, 0, 0)
            if fits and c.vg_threads_for(&self.plan, rows, 2) == 1:
                c.vg_kernels_of(self.plan.dtype).check_finite(<size_t>(view.shape[0] * view.shape[1]), view.buf, &check)
                if check - check == 0:
                    z = np.empty((rows, n_l), np.float32 if small else np.float64)
                    z_at = address(z, 0, 1)
                    scratch = PyMem_RawMalloc(c.vg_forward_scratch(&self.plan, 1) * view.itemsize)
            if scratch != NULL:
                check = 0
                with nogil:
                    c.vg_forward(&self.plan, params_at, view.buf, rows, z_at, scratch, 1)
                c.vg_kernels_of(self.plan.dtype).check_finite(rows * n_l, z_at, &check)
        finally:
            PyMem_RawFree(scratch)
            PyBuffer_Release(&view)
        return None if scratch == NULL or check - check != 0 or version != lock.version else z


cdef class Workspace:
    """Memory for one batch in flight: inputs, activations, deltas, and each thread's scratch."""

    cdef c.vg_workspace layout
    cdef readonly Net net
    cdef readonly object memory, notes

    def __cinit__(self, Net net, size_t rows, int n_threads):
        self.net = net
        if c.vg_workspace_lay_out(&net.plan, rows, n_threads, &self.layout) != 0:
            raise MemoryError(f"a batch of {rows} rows is larger than the address space")
        self.memory = aligned(self.layout.n_elements, DTYPES[net.plan.dtype])
        self.notes = aligned(self.layout.n_notes, np.float64)

    @property
    def rows(self):
        return self.layout.rows

    @property
    def n_threads(self):
        return self.layout.n_threads

    def output(self, size_t l):
        """a[l] (rows, n_l) of the last batch, l = 0 being its inputs: a view."""
        cdef c.vg_tensor *tensor = &self.net.plan.tensors[l]
        return self.matrix(tensor.value, tensor)

    def delta(self, size_t l):
        """delta_l (rows, n_l) of the last batch: a view."""
        cdef c.vg_tensor *tensor = &self.net.plan.tensors[l]
        return self.matrix(self.net.plan.n_columns + tensor.grad, tensor)

    cdef matrix(self, size_t place, c.vg_tensor *tensor):
        """That at a place which is an offset for one row of the batch."""
        rows = self.layout.rows
        return self.memory[place * rows : (place + tensor.ld) * rows].reshape(rows, tensor.ld)[:, : tensor.cols]


cdef class Run:
    """A run of steps over one set of data: ``vg_run``, and hold of all memory that it points to."""

    cdef c.vg_run run
    cdef Workspace workspace
    cdef TrainingLock lock
    cdef dict held
    cdef size_t n_records_most
    cdef double loss, correct  # of the one step of step_on
    cdef object labels

    def __cinit__(self, Workspace workspace, int mode, params, gradient=None, lock=None):
        cdef size_t n_bytes
        self.workspace = workspace
        self.lock = TrainingLock() if lock is None else lock
        self.held = {}
        self.run.plan = &workspace.net.plan
        self.run.workspace = &workspace.layout
        self.run.mode = <c.vg_mode>mode
        self.run.n_threads = workspace.layout.n_threads
        n_bytes = self.run.plan.n_params * c.vg_item_size(self.run.plan.dtype)
        self.run.params = self.hold("params", params, n_bytes, 1)
        self.run.gradient = self.hold("gradient", gradient, n_bytes, 1)
        self.run.memory = self.hold("memory", workspace.memory, 0, 1)
        self.run.notes = <double *>self.hold("notes", workspace.notes, 0, 1)

    cdef void *hold(self, str name, object array, size_t n_bytes, int writable) except? NULL:
        cdef void *start = address(array, n_bytes, writable)
        # A view, not only a reference: NumPy then refuses to resize the array in place.
        self.held[name] = None if array is None else memoryview(array)
        return start

    def set_gradient(self, gradient):
        """Memory for the whole gradient, when a status of NEEDS_GRADIENT asks for it."""
        cdef size_t n_bytes = self.run.plan.n_params * c.vg_item_size(self.run.plan.dtype)
        self.run.gradient = self.hold("gradient", gradient, n_bytes, 1)

    def set_optimizer(self, double lr, double momentum, int nesterov, double weight_decay,
                      double clip_norm, double clip_value, velocity):
        """velocity (n_params,), or None without momentum."""
        cdef size_t n_bytes = self.run.plan.n_params * c.vg_item_size(self.run.plan.dtype)
        cdef c.vg_optimizer *optimizer = &self.run.optimizer
        optimizer.rule = c.VG_SGD if momentum == 0 else c.VG_NESTEROV if nesterov else c.VG_MOMENTUM
        optimizer.lr, optimizer.weight_decay, optimizer.hyper[0] = lr, weight_decay, momentum
        optimizer.clip_norm, optimizer.clip_value = clip_norm, clip_value
        optimizer.state = self.hold("velocity", velocity, n_bytes, 1)

    def set_data(self, x, y, size_t batch_size, bint given_deltas=False):
        """x (rows, n_0) of the net's dtype; y int32 labels (rows,), or targets (rows, n_L) like x, or, so given,
        delta_L instead of a loss."""
        cdef size_t item = c.vg_item_size(self.run.plan.dtype), rows = x.shape[0]
        cdef size_t n_0 = self.run.plan.tensors[0].cols
        cdef size_t n_l = self.run.plan.tensors[self.run.plan.n_layers].cols
        if not 0 < batch_size <= self.workspace.layout.rows:
            raise ValueError(f"a batch of {batch_size} rows in a workspace of {self.workspace.rows}")
        self.run.x = self.hold("x", x, rows * n_0 * item, 0)
        self.run.labels = NULL
        self.run.targets = NULL
        self.run.dz = NULL
        if given_deltas:
            self.run.dz = self.hold("y", y, rows * n_l * item, 0)
        elif y.ndim == 1:
            self.run.labels = <const int32_t *>self.hold("y", y, rows * 4, 0)
        else:
            self.run.targets = self.hold("y", y, rows * n_l * item, 0)
        self.run.n_rows = rows
        self.run.batch_size = batch_size

    def set_epoch(self, order, losses, correct, size_t steps_before):
        """order: int64 (rows,) or None; losses and correct: float64 (steps of an epoch,), to be filled."""
        cdef size_t n_steps = (self.run.n_rows + self.run.batch_size - 1) // self.run.batch_size
        self.run.order = <const int64_t *>self.hold("order", order, self.run.n_rows * 8, 0)
        self.run.losses = <double *>self.hold("losses", losses, n_steps * 8, 1)
        self.run.correct = <double *>self.hold("correct", correct, n_steps * 8, 1)
        cdef size_t every = self.run.inspect_every
        if every > 0 and (steps_before + n_steps + every - 1) // every > self.n_records_most:
            raise ValueError(f"room for {self.n_records_most} records is too little")
        self.run.step = 0
        self.run.n_steps = n_steps
        self.run.steps_before = steps_before

    def set_records(self, records, size_t inspect_every, exponents=None):
        """records: RECORD (inspected steps, L), to be filled; before ``set_epoch``. exponents: uint32 (inspected
        steps, L, bins) zeros, to be filled likewise, or None."""
        cdef size_t n_bytes = records.shape[0] * self.run.plan.n_layers * sizeof(c.vg_record)
        self.run.records = <c.vg_record *>self.hold("records", records, n_bytes, 1)
        n_bytes = records.shape[0] * self.run.plan.n_layers * c.vg_exponent_bins(self.run.plan.dtype) * 4
        self.run.exponents = <uint32_t *>self.hold("exponents", exponents, n_bytes, 1)
        self.n_records_most = records.shape[0]
        self.run.inspect_every = inspect_every

    def set_times(self, times):
        """times: float64 (threads of the workspace, L + 1, phases), to be added ticks to, or None."""
        cdef size_t n = self.workspace.layout.n_threads * (self.run.plan.n_layers + 1) * c.VG_PHASES
        self.run.times = <double *>self.hold("times", times, n * 8, 1)

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
        for name in ("x", "y", "order", "losses", "correct"):
            self.held.pop(name, None)

    def step_on(self, x, y):
        """One step on all of the batch x, y, of as many rows as the workspace has, if both are exactly as C takes them;
        returns the loss. None if they are not, or if the step has to be looked at more closely: then nothing has
        changed."""
        cdef Py_buffer x_view, y_view
        cdef size_t rows = self.workspace.layout.rows, n_0 = self.run.plan.tensors[0].cols
        cdef size_t n_l = self.run.plan.tensors[self.run.plan.n_layers].cols
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
            self.run.n_rows = self.run.batch_size = rows
            self.run.losses = &self.loss
            self.run.correct = &self.correct
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
        """For tests: the steps that the tuner has booked in this trial for 1, 2, 4, ... threads."""
        return tuple(self.run.tuner.steps)

    @property
    def steps_done(self):
        """Of the whole run, those before this epoch included."""
        return self.run.steps_before + self.run.step

    @property
    def n_records(self):
        return self.run.n_records

    def go(self, double seconds=0.0):
        """Run to the end of the epoch, or for about so many seconds; returns the status."""
        self.lock.begin_turn()
        with nogil:
            self.run.seconds = seconds
            c.vg_train(&self.run)
        self.lock.end_turn()
        return self.run.status


include "_machine.pxi"
include "_kernels.pxi"
