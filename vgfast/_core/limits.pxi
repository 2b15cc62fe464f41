# The machine: its instruction sets, clock and arithmetic; and what it can do at best, one measurement a call, of
# n_threads together; see csrc/limits/limits.c and cost/limits.py.


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


def ticks():
    """The time by the clock that ``Run.set_times`` counts; its rate is constant."""
    return c.vg_ticks()


cdef class standard_arithmetic:
    """Within it, this thread rounds to nearest and keeps subnormals, whatever it did before (team/float_mode.h)."""

    cdef c.vg_float_mode before

    def __enter__(self):
        self.before = c.vg_enter_float_mode()

    def __exit__(self, *error):
        c.vg_leave_float_mode(self.before)



cdef c.vg_dtype kind_of(dtype):
    return c.VG_F32 if np.dtype(dtype) == np.float32 else c.VG_F64


def fma_peak(int n_threads, dtype=np.float32, isa_name=None):
    """Operations per second, an FMA being two, of FMAs on registers alone, by the instruction set in use or another."""
    cdef bytes name = (isa() if isa_name is None else isa_name).encode()
    cdef const char *isa_at = name
    cdef c.vg_dtype kind = kind_of(dtype)
    cdef double rate
    with nogil:
        rate = c.vg_fma_peak(isa_at, kind, n_threads)
    return rate


def product_peak(int n_threads, dtype):
    """Operations per second of the product of a layer whose operands are near."""
    cdef c.vg_dtype kind = kind_of(dtype)
    memory = aligned(c.vg_product_peak_memory(n_threads), dtype)
    cdef void *start = address(memory, 0, 1)
    cdef double rate
    with nogil:
        rate = c.vg_product_peak(kind, start, n_threads)
    return rate


def function_peak(int n_threads, dtype, str activation):
    """Values per second of phi with its derivative."""
    cdef c.vg_dtype kind = kind_of(dtype)
    cdef c.vg_activation phi = activation_of(activation)
    cdef double rate
    with nogil:
        rate = c.vg_function_peak(kind, phi, n_threads)
    return rate


def bandwidth(str access, memory, size_t n_bytes, int n_threads):
    """Bytes per second to "read" or "write" n_bytes of memory for each thread, a uint8 array."""
    cdef void *start = address(memory, n_bytes * n_threads, 1)
    cdef c.vg_access kind = c.VG_READ if access == "read" else c.VG_WRITE
    cdef double rate
    with nogil:
        rate = c.vg_bandwidth(kind, start, n_bytes, n_threads)
    return rate


def exchange_bandwidth(memory, size_t n_bytes, int n_threads):
    """Bytes per second that threads write and then read of each other, n_bytes each, by columns; a multiple of 1024."""
    cdef void *start = address(memory, n_bytes * n_threads, 1)
    cdef double rate
    with nogil:
        rate = c.vg_exchange_bandwidth(start, n_bytes, n_threads)
    return rate


def latency(memory, size_t n_bytes):
    """Seconds of a load that waits for the one before, anywhere in n_bytes of memory, 64 or more."""
    cdef void *start = address(memory, n_bytes, 1)
    order = np.empty(n_bytes // 64, np.uint32)
    cdef uint32_t *order_at = <uint32_t *>address(order, 0, 1)
    cdef double seconds
    with nogil:
        seconds = c.vg_latency(start, n_bytes, order_at)
    return seconds


def barrier_seconds(int n_threads):
    """Of a barrier to which all threads come at the same time."""
    cdef double seconds
    with nogil:
        seconds = c.vg_barrier_seconds(n_threads)
    return seconds


def waking_seconds(int n_threads):
    """Of a task without work for threads that sleep."""
    cdef double seconds
    with nogil:
        seconds = c.vg_waking_seconds(n_threads)
    return seconds
