/* slices.h - a run of steps as tasks of the team, each a slice of time. */
#ifndef VG_SLICES_H
#define VG_SLICES_H

#include "team/team.h"
#include "vgfast.h"

typedef struct vg_slices vg_slices;

/* One thread's part in the steps from *step on, as many as there are until `until` is over: it
 * renews *step and *status. */
typedef void vg_slice(vg_slices *slices, int thread, int n_threads);

struct vg_slices {
    vg_slice *slice;
    void *run;
    vg_tuner *tuner; /* NULL: the number of threads is not to be found by trying */
    double flops;    /* of a step */
    int n_threads;   /* at most */
    double seconds;  /* pause after about this time; 0: do not */
    size_t *step;
    vg_status *status;
    /* of the slice in work */
    double until;
    int pause; /* whether time is over: written by thread 0 alone, between two barriers */
};

/* Until all steps are done, time is over, or the status is another than VG_PAUSED. */
void vg_run_slices(vg_slices *slices);

#endif
