/* rules.c - what a step of an optimizer is made with: the rates and numbers of its rule at step
 * t = 1, 2, ..., of which nothing is carried from step to step but t. */
#include <math.h>

#include "run/rules.h"

/* Where the kernels have their numbers of each rule (kernels/optimizer.tmpl.h). In
 * double, and rounded once. */

static void averages(double beta, double *hyper) {
    hyper[0] = beta;
    hyper[1] = 1 - beta;
}

/* m' = m / (1 - beta1^t) goes to the rates, so that a step is m / (sqrt(v) c + eps), and W -= lr'
 * of it. */
static void of_adam(const vg_optimizer *o, double t, vg_update *u) {
    const double first = 1 - pow(o->hyper[0], t), c = 1 / sqrt(1 - pow(o->hyper[1], t));
    averages(o->hyper[0], u->hyper);
    averages(o->hyper[1], u->hyper + 2);
    u->hyper[4] = c;
    u->hyper[5] = o->hyper[3] != 0 ? o->hyper[2] * c : o->hyper[2];
    u->lr /= first;
    if (vg_rules[o->rule].decoupled) u->decay *= first;
}

static void of_rmsprop(const vg_optimizer *o, vg_update *u) {
    averages(o->hyper[0], u->hyper);
    for (size_t i = 1; i < 4; i++) u->hyper[i + 1] = o->hyper[i];
}

vg_update vg_update_at(const vg_optimizer *o, vg_moment moment, double scale, vg_pass pass) {
    vg_update u = {
        .rule = o->rule,
        .lr = moment.lr,
        .decay = moment.decay,
        .clip_value = o->clip_value,
        .scale = scale,
        .plain = o->rule == VG_SGD && moment.decay == 0 && scale == 1 && o->clip_value == INFINITY,
        .pass = pass,
    };
    if (o->rule == VG_ADAM || o->rule == VG_ADAMW)
        of_adam(o, (double)(moment.taken + 1), &u);
    else if (o->rule == VG_RMSPROP || o->rule == VG_RMSPROP_MOMENTUM)
        of_rmsprop(o, &u);
    else
        for (size_t i = 0; i < VG_HYPER_MOST; i++) u.hyper[i] = o->hyper[i];
    return u;
}

/* The least that a rule divides by; 1 if it does not. */
static double least_divisor(const vg_update *u) {
    switch (u->rule) {
        case VG_ADAM:
        case VG_ADAMW: return u->hyper[5];
        case VG_RMSPROP:
        case VG_RMSPROP_MOMENTUM: return sqrt(u->hyper[2]) + u->hyper[3];
        case VG_ADAGRAD: return sqrt(u->hyper[0]) + u->hyper[1];
        default: return 1;
    }
}

int vg_moderate_rates(const vg_optimizer *o, vg_moment moment) {
    if (moment.lr > VG_RATE_MOST || moment.decay > VG_RATE_MOST) return 0;
    if (o->rule <= VG_NESTEROV) return 1;
    const vg_update u = vg_update_at(o, moment, 1, VG_STORE);
    const double least = least_divisor(&u);
    return u.lr <= VG_RATE_MOST && 1 <= least * VG_REACH_MOST && u.lr <= least * VG_REACH_MOST;
}
