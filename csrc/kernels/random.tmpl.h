/* random.tmpl.h - random numbers by counter: nothing is stored, and what is drawn for a row and a
 * column does not depend on who draws it, or on the instruction set or the type.
 *
 * Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011)
 * makes four words of a key and a counter of four words: the block of columns, the row, the draw
 * with what 32 bits leave of the step, the step. Eight counters give 32 columns: first those of
 * words 0 and 1 in turn, then those of 2 and 3. A vector of ints holds a word in the lower half of
 * each lane; what stands in the upper half is never read, as v_mul_low does not. */

/* Each round waits for the one before: several rows at a time keep the multipliers busy. */
enum {
    NAME(INTS) = sizeof(ints) / sizeof(uint64_t),
    NAME(VECS) = 8 / NAME(INTS), /* of a row */
    NAME(DRAWN) = 32,
    NAME(CHAINS) = NAME(VECS) > 4 ? NAME(VECS) : 4,
    NAME(ROWS_DRAWN) = NAME(CHAINS) / NAME(VECS)
};

static inline ints NAME(all_alike)(uint64_t x) { return (ints){0} + x; }

/* Lanes of two words in turn. */
static inline void NAME(store_words)(ints low, ints high, uint32_t *to) {
    const ints both = (low & 0xFFFFFFFFu) | high << 32;
    memcpy(to, &both, sizeof both);
}

/* The words of 32 columns, of which `block` is the first one's number divided by 4, of
 * the rows from `row` on. */
static inline void NAME(philox)(uint64_t seed, uint64_t block, uint64_t row, uint64_t draw,
                                uint64_t step, uint32_t words[NAME(ROWS_DRAWN)][NAME(DRAWN)]) {
    ints a[NAME(CHAINS)], b[NAME(CHAINS)], c[NAME(CHAINS)], d[NAME(CHAINS)];
    uint64_t blocks[8];
    for (uint64_t i = 0; i < 8; i++) blocks[i] = block + i;
#pragma GCC unroll 8
    for (int v = 0; v < NAME(CHAINS); v++) {
        const int first = v % NAME(VECS);
        memcpy(&a[v], blocks + first * NAME(INTS), sizeof a[v]);
        b[v] = NAME(all_alike)(row + (uint64_t)(v / NAME(VECS)));
        c[v] = NAME(all_alike)(draw);
        d[v] = NAME(all_alike)(step);
    }
    uint32_t key = (uint32_t)seed, other = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++, key += 0x9E3779B9u, other += 0xBB67AE85u)
#pragma GCC unroll 8
        for (int v = 0; v < NAME(CHAINS); v++) {
            const ints p = v_mul_low(a[v], NAME(all_alike)(0xD2511F53u));
            const ints q = v_mul_low(c[v], NAME(all_alike)(0xCD9E8D57u));
            a[v] = (q >> 32) ^ b[v] ^ key;
            b[v] = q;
            c[v] = (p >> 32) ^ d[v] ^ other;
            d[v] = p;
        }
#pragma GCC unroll 8
    for (int v = 0; v < NAME(CHAINS); v++) {
        const int first = v % NAME(VECS);
        uint32_t *const to = words[v / NAME(VECS)] + 2 * first * NAME(INTS);
        NAME(store_words)(a[v], b[v], to);
        NAME(store_words)(c[v], d[v], to + NAME(DRAWN) / 2);
    }
}

/* In [0, 1), of 24 bits: float32 holds no more. */
static inline real NAME(uniform)(uint32_t word) {
    return (real)(int32_t)(word >> 8) * (real)0x1p-24;
}

/* words, and u, (rows, 32) for columns j, j + 1, ... of rows r, r + 1, ... of the key's matrix */
static inline void NAME(draw_words)(const vg_key *key, size_t r, size_t j,
                                    uint32_t words[NAME(ROWS_DRAWN)][NAME(DRAWN)]) {
    NAME(philox)(key->seed, j / 4, key->row + r, key->draw | key->step >> 32 << 16, key->step,
                 words);
}
static inline void NAME(draw)(const vg_key *key, size_t r, size_t j,
                              real u[NAME(ROWS_DRAWN)][NAME(DRAWN)]) {
    uint32_t words[NAME(ROWS_DRAWN)][NAME(DRAWN)];
    NAME(draw_words)(key, r, j, words);
    for (int i = 0; i < NAME(ROWS_DRAWN); i++)
        for (int c = 0; c < NAME(DRAWN); c++) u[i][c] = NAME(uniform)(words[i][c]);
}

/* to = x where u < keep, else 0; without `drops`, 1 where u < x, else 0. n columns, n <=
 * NAME(DRAWN). */
static inline
    __attribute__((always_inline)) void NAME(decide)(const int drops, const size_t n, const real *u,
                                                     const real *x, real keep, real *to) {
    for (size_t i = 0; i < n; i++) to[i] = u[i] < (drops ? keep : x[i]) ? (drops ? x[i] : 1) : 0;
}

static inline
    __attribute__((always_inline)) void NAME(decide_all)(const int drops, vg_matrix x, real keep,
                                                         const vg_key *key, vg_matrix to) {
    for (size_t r = 0; r < to.rows; r += NAME(ROWS_DRAWN))
        for (size_t j = 0; j < to.cols; j += NAME(DRAWN)) {
            real u[NAME(ROWS_DRAWN)][NAME(DRAWN)];
            NAME(draw)(key, r, j, u);
            for (size_t i = 0; r + i < to.rows && i < NAME(ROWS_DRAWN); i++) {
                const real *const from = (const real *)x.p + (r + i) * x.ld + j;
                real *const row = (real *)to.p + (r + i) * to.ld + j;
                if (to.cols - j >= NAME(DRAWN))
                    NAME(decide)(drops, NAME(DRAWN), u[i], from, keep, row);
                else
                    NAME(decide)(drops, to.cols - j, u[i], from, keep, row);
            }
        }
}

static void NAME(sample)(vg_matrix p, vg_key key, vg_matrix to) {
    NAME(decide_all)(0, p, 0, &key, to);
}
static void NAME(drop)(vg_matrix x, double keep, vg_key key, vg_matrix to) {
    NAME(decide_all)(1, x, (real)keep, &key, to);
}
