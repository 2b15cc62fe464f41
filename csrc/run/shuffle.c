/* shuffle.c - rows in random order: the same bits taken in the same way as by NumPy's
 * Generator.permutation, so that the orders are the same too. */
#include "vgfast.h"

/* The least 2^k - 1 that is not below `most`, which is not 0. */
static uint64_t mask_of(uint64_t most) { return UINT64_MAX >> __builtin_clzll(most); }

uint64_t vg_random_at_most(const vg_bit_generator *bits, uint64_t most) {
    if (most == 0) return 0;
    const uint64_t mask = mask_of(most);
    uint64_t found;
    do {
        found = most > UINT32_MAX ? bits->next_uint64(bits->state) : bits->next_uint32(bits->state);
        found &= mask;
    } while (found > most);
    return found;
}

static void swap(int64_t *order, size_t i, size_t j) {
    const int64_t from = order[i];
    order[i] = order[j];
    order[j] = from;
}

/* Fisher and Yates, from the last place down: each is swapped with a random one that is not beyond.
 *
 * A number that is too large is drawn again. That is up to one in two, and nothing foretells which:
 * so it is no branch here, but swaps the place with itself, and the place stays. */
void vg_permute(const vg_bit_generator *bits, size_t n, int64_t *order) {
    for (size_t i = 0; i < n; i++) order[i] = (int64_t)i;
    if (n < 2) return;
    size_t last = n - 1;
    for (; last > UINT32_MAX; last--) swap(order, last, vg_random_at_most(bits, last));
    for (uint64_t mask = mask_of(last); mask > 0; mask >>= 1)
        while (last > mask >> 1) {
            const size_t found = bits->next_uint32(bits->state) & mask;
            const int fits = found <= last;
            swap(order, last, fits ? found : last);
            last -= (size_t)fits;
        }
}
