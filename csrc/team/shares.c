/* shares.c - see shares.h. */
#include "team/shares.h"

#include <stdatomic.h>
#include <stdint.h>

#include "team/team.h"

/* A share is one number, so that the next unit and the end are read together: a thread that is late
 * for one share cannot take a unit of the next by the old end. Each lies in its own cache line. */
enum { HALF = 32 };
static struct {
    _Alignas(64) atomic_ullong next_and_end;
} shares[VG_THREADS_MOST];

/* Units of a group that are done; 0 when all are. */
static atomic_size_t done[VG_GROUPS_MOST];

vg_units vg_share_units(size_t n, int thread, int n_threads) {
    const size_t threads = (size_t)n_threads, t = (size_t)thread;
    const vg_units units = {thread, n_threads, thread, n, n * t / threads, n * (t + 1) / threads};
    if (n_threads > 1)
        atomic_store(&shares[thread].next_and_end,
                     (unsigned long long)units.next << HALF | units.end);
    return units;
}

int vg_take_unit(vg_units *u, size_t *unit) {
    if (u->n_threads == 1) {
        *unit = u->next;
        return u->next++ < u->end;
    }
    do {
        const unsigned long long share =
            atomic_fetch_add(&shares[u->from].next_and_end, 1ULL << HALF);
        *unit = (size_t)(share >> HALF);
        if (*unit < (share & UINT32_MAX)) return 1;
        u->from = u->from + 1 < u->n_threads ? u->from + 1 : 0;
    } while (u->from != u->thread);
    return 0;
}

int vg_group_done(const vg_units *u, size_t unit, size_t group_size) {
    const size_t group = unit / group_size, left = u->n - group * group_size;
    const size_t size = left < group_size ? left : group_size;
    if (u->n_threads == 1) return unit + 1 == group * group_size + size;
    if (atomic_fetch_add(&done[group], 1) + 1 < size) return 0;
    atomic_store(&done[group], 0);
    return 1;
}
