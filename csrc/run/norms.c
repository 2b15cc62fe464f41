/* norms.c - sums of squares that cannot overflow, and summaries of them. */
#include "kernels.h"

void vg_norm_add_unlike(vg_norm *a, vg_norm b) {
    const double exponent = a->exponent > b.exponent ? a->exponent : b.exponent;
    a->sum = ldexp(a->sum, 2 * (int)(a->exponent - exponent)) +
             ldexp(b.sum, 2 * (int)(b.exponent - exponent));
    a->exponent = exponent;
}

void vg_summary_add(vg_summary *a, const vg_summary *b) {
    vg_norm_add(&a->gradient, b->gradient);
    vg_norm_add(&a->weight, b->weight);
    vg_norm_add(&a->step, b->step);
    a->max_abs = b->max_abs > a->max_abs ? b->max_abs : a->max_abs;
    a->zero += b->zero;
    a->subnormal += b->subnormal;
    a->frozen += b->frozen;
    a->stuck += b->stuck;
}

double vg_norm_root(vg_norm a) { return ldexp(sqrt(a.sum), (int)a.exponent); }
