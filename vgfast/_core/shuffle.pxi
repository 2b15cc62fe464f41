# Rows in random order, by the bit generators of NumPy.


cdef class RandomBits:
    """What a bit generator of NumPy makes, taken in C under its lock."""

    cdef c.vg_bit_generator *bits
    cdef object held, lock

    def __cinit__(self, bit_generator):
        self.bits = <c.vg_bit_generator *>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
        self.held, self.lock = bit_generator, bit_generator.lock

    def permute(self, order):
        """order: int64 (n,), to be filled with 0 to n - 1 in random order."""
        cdef size_t n = order.shape[0]
        cdef int64_t *start = <int64_t *>address(order, n * 8, 1)
        with self.lock, nogil:
            c.vg_permute(self.bits, n, start)

    def at_most(self, uint64_t most):
        """A number from 0 to `most`."""
        with self.lock:
            return c.vg_random_at_most(self.bits, most)
