/* shares.h - units of work, numbered 0, 1, ..., that the threads of a task take as they come. */
#ifndef VG_SHARES_H
#define VG_SHARES_H

#include <stddef.h>

/* What a thread knows of the units that are being taken. */
typedef struct {
    int thread, n_threads;
    int from;         /* whose units it takes now */
    size_t n;         /* of all threads */
    size_t next, end; /* of a thread that is alone */
} vg_units;

/* Begin to take n units: each thread of a task calls it, with a barrier since they last took
 * units. */
vg_units vg_share_units(size_t n, int thread, int n_threads);

/* The next unit, of a thread's own share while there is one, then of others'; 0 when all are taken.
 * Which thread takes a unit is not fixed, so nothing may depend on it. */
int vg_take_unit(vg_units *units, size_t *unit);

/* Of units in groups of so many, the last of which may be smaller, and there are no more than
 * VG_GROUPS_MOST: a thread has done a unit that it took. Returns 1 if with it the group is done,
 * and what others have written for it can be read. */
enum { VG_GROUPS_MOST = 8 };
int vg_group_done(const vg_units *units, size_t unit, size_t group_size);

#endif
