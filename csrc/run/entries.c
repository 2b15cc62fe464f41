/* entries.c - the entries of a batch's sparse rows, sorted by columns: each thread those of its own
 * share of the weights' rows. */
#include <string.h>

#include "run/thread_context.h"

/* The places of a digit of the columns: enough that most nets need two passes, and few enough to
 * stay in the L1 cache. */
enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* to = the entries by one digit of their column less `base`; of the same digit, in their order. */
static void sort_by_digit(const vg_entry *from, size_t n, uint32_t base, unsigned shift,
                          vg_entry *to) {
    size_t places[DIGITS] = {0}, sum = 0;
    for (size_t e = 0; e < n; e++) places[(from[e].column - base) >> shift & (DIGITS - 1)]++;
    for (size_t d = 0; d < DIGITS; d++) {
        const size_t count = places[d];
        places[d] = sum;
        sum += count;
    }
    for (size_t e = 0; e < n; e++)
        to[places[(from[e].column - base) >> shift & (DIGITS - 1)]++] = from[e];
}

/* The first entry of a row, from e on, whose column is not below this one. */
static size_t find_column(const int32_t *columns, size_t e, size_t end, size_t column) {
    while (e < end) {
        const size_t middle = e + (end - e) / 2;
        if ((size_t)columns[middle] < column)
            e = middle + 1;
        else
            end = middle;
    }
    return e;
}

/* Row by row, those of columns [first, last). Returns how many. */
static size_t collect(const thread_context *c, size_t first, size_t last, vg_entry *to) {
    const vg_sparse_rows x = vg_sparse_input(c, 0, c->rows);
    const int32_t *const columns = x.csr->columns;
    const float *const single = x.csr->values;
    const double *const exact = x.csr->values;
    size_t n = 0;
    for (size_t r = 0; r < c->rows; r++) {
        size_t e, end;
        vg_entries_of_row(&x, r, &e, &end);
        e = first == 0 ? e : find_column(columns, e, end, first);
        for (; e < end && (size_t)columns[e] < last; e++)
            to[n++] = (vg_entry){(uint32_t)columns[e], (uint32_t)r,
                                 c->item == sizeof(float) ? (double)single[e] : exact[e]};
    }
    return n;
}

/* This thread's: the half of its memory that has the sorted ones in the end is the first. */
static vg_entry *own_entries(const thread_context *c) {
    return c->run->entries + (size_t)c->thread * 2 * c->run->n_entries;
}

static void sort_share(thread_context *c) {
    const size_t first = c->share_first, last = c->share_last;
    vg_entry *const entries = own_entries(c), *const others = entries + c->run->n_entries;
    unsigned passes = 0;
    if (c->rows > 1) /* one row is in order already */
        while (passes * DIGIT_BITS < 32 && last - first > (size_t)1 << passes * DIGIT_BITS)
            passes++;
    vg_entry *from = passes % 2 ? others : entries;
    const size_t n = collect(c, first, last, from);
    for (unsigned pass = 0; pass < passes; pass++) {
        vg_entry *const to = from == entries ? others : entries;
        sort_by_digit(from, n, (uint32_t)first, pass * DIGIT_BITS, to);
        from = to;
    }
    c->sorted = 1;
    c->sorted_first = first;
    c->sorted_last = last;
    c->n_sorted = n;
}

/* The first of the sorted entries whose column is not below this one. */
static size_t find_sorted(const vg_entry *entries, size_t n, size_t column) {
    size_t e = 0;
    while (e < n) {
        const size_t middle = e + (n - e) / 2;
        if (entries[middle].column < column)
            e = middle + 1;
        else
            n = middle;
    }
    return e;
}

const vg_entry *vg_sorted_entries(thread_context *c, size_t first, size_t last, size_t *n) {
    if (!c->sorted || first < c->sorted_first || last > c->sorted_last) sort_share(c);
    const vg_entry *const entries = own_entries(c);
    const size_t from = find_sorted(entries, c->n_sorted, first);
    *n = find_sorted(entries, c->n_sorted, last) - from;
    return entries + from;
}
