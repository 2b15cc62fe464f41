# Who may use a net's parameters while a thread trains it.


import os
import threading

cdef object allocate_lock = threading.Lock
cdef int n_forks = 0


def _count_fork():
    global n_forks
    n_forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
del os, threading, _count_fork


cdef class TrainingLock:
    """One thread may train a net at a time, and all others read it between its steps.

    The thread that trains owns the lock, and writes in turns, each a whole number of steps in C. Who reads meanwhile
    does not hold it up. Either its work is short and only copies: ``between_steps`` does it when no turn is on. Or it
    reads the parameters where they are, and afterwards asks whether ``version`` is as it was; if not, it reads a copy.
    """

    cdef readonly unsigned long long version  # turns begun
    cdef unsigned long owner  # the thread, 0 if there is none
    cdef int depth, forks
    cdef bint writing
    cdef str name  # what errors call that which it guards
    cdef list waiting  # (work, what came of it, a lock that is released then) of those who read

    def __cinit__(self, str name="net"):
        self.name = name
        self.waiting = []
        self.forks = n_forks

    cdef void notice_fork(self):
        """In the child of a fork only the thread lives that forked."""
        if self.forks == n_forks:
            return
        self.forks = n_forks
        self.writing = False
        self.waiting = []
        if self.owner != PyThread_get_thread_ident():
            self.owner = self.depth = 0

    def own(self, str purpose):
        """RuntimeError if another thread trains the net; else this one does until ``disown``.

        To be called within the try whose finally calls ``disown``: Ctrl-C may come right after it."""
        self.notice_fork()
        if self.is_anothers():
            raise RuntimeError(
                f"this {self.name} is being trained in another thread, so it cannot be {purpose} now; wait for that, "
                f"or give each thread a {self.name}.copy() of its own"
            )
        self.owner = PyThread_get_thread_ident()
        self.depth += 1

    def disown(self):
        """Undo ``own``; nothing if that was refused."""
        if self.owner != PyThread_get_thread_ident():
            return
        self.depth -= 1
        if self.depth == 0:
            self.owner = 0

    cpdef bint is_anothers(self):
        """Whether another thread trains the net."""
        self.notice_fork()
        return self.owner != 0 and self.owner != PyThread_get_thread_ident()

    cdef void begin_turn(self):
        self.version += 1
        self.writing = True

    cdef int end_turn(self) except -1:
        self.writing = False
        if self.waiting:
            self.serve()
        return 0

    cdef int serve(self) except -1:
        """Do the work of those who wait: they would hardly come in time between two turns. Ctrl-C may end it anywhere
        in Python code; then all who still wait try again."""
        try:
            while self.waiting:
                work, outcome, waits = self.waiting.pop(0)
                try:
                    outcome.append((work(), None))
                except Exception as error:
                    outcome.append((None, error))
                finally:
                    waits.release()
        finally:
            while self.waiting:
                self.waiting.pop(0)[2].release()
        return 0

    def change(self, work):
        """work() by the one thread that may change the parameters now."""
        try:
            self.own("changed")
            self.begin_turn()
            try:
                return work()
            finally:
                self.end_turn()
        finally:
            self.disown()

    def between_steps(self, work):
        """work(), which changes nothing and is short, while no step is being taken."""
        cdef unsigned long long version
        while True:
            if not (self.writing and self.is_anothers()):  # who assigns may read meanwhile, as to make what it assigns
                version = self.version
                result = work()
                if version == self.version:
                    return result
            outcome, waits = [], allocate_lock()
            waits.acquire()
            entry = (work, outcome, waits)
            if self.writing and self.is_anothers():  # nothing lets another thread in from here to the next line
                self.waiting.append(entry)
                try:
                    waits.acquire()
                finally:
                    self.waiting = [other for other in self.waiting if other is not entry]
            if outcome:
                result, error = outcome[0]
                if error is not None:
                    raise error
                return result
