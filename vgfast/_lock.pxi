# Who may use a net's parameters while a thread trains it.


import os
import threading

cdef object Condition = threading.Condition
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
    cdef list waiting  # (work, what came of it) of those who read
    cdef object changed

    def __cinit__(self):
        self.waiting = []
        self.changed = Condition()
        self.forks = n_forks

    cdef void notice_fork(self):
        """In the child of a fork only the thread lives that forked."""
        if self.forks == n_forks:
            return
        self.forks = n_forks
        self.writing = False
        self.waiting = []
        self.changed = Condition()
        if self.owner != PyThread_get_thread_ident():
            self.owner = self.depth = 0

    def own(self, str purpose):
        """RuntimeError if another thread trains the net; else this one does until ``disown``.

        To be called within the try whose finally calls ``disown``: Ctrl-C may come right after it."""
        self.notice_fork()
        if self.is_anothers():
            raise RuntimeError(
                f"this net is being trained in another thread, so it cannot be {purpose} now; wait for that, "
                f"or give each thread a net.copy() of its own"
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
        """Do the work of those who wait: they would hardly come in time between two turns."""
        with self.changed:
            try:
                while self.waiting:
                    work, outcome = self.waiting.pop(0)
                    try:
                        outcome.append((work(), None))
                    except Exception as error:
                        outcome.append((None, error))
            finally:
                self.changed.notify_all()
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
        self.notice_fork()
        if not self.writing:
            version = self.version
            result = work()
            if version == self.version:
                return result
        outcome = []
        with self.changed:
            if self.writing:
                self.waiting.append((work, outcome))
                try:
                    while self.writing and not outcome:
                        self.changed.wait()
                finally:
                    self.waiting = [entry for entry in self.waiting if entry[1] is not outcome]
        if not outcome:
            return self.between_steps(work)
        result, error = outcome[0]
        if error is not None:
            raise error
        return result
