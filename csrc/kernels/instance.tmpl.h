/* instance.tmpl.h - every kernel for one type on one machine, as one table. The only template that
 * includes its siblings; ends by forgetting what the next instance will say anew. */
#if REAL_BITS == 32
#define real float
#define SFX f32
#else
#define real double
#define SFX f64
#endif

#include "../simd/words.h"
#include SIMD

#include "tile.tmpl.h"
#include "gemm.tmpl.h"
#include "math.tmpl.h"
#include "tails.tmpl.h"
#include "finite_check.tmpl.h"
#include "activation.tmpl.h"
#include "summary.tmpl.h"
#include "optimizer.tmpl.h"
#include "dense.tmpl.h"
#include "sparse.tmpl.h"
#include "weight_update.tmpl.h"
#include "sums.tmpl.h"
#include "normalization.tmpl.h"
#include "batch_norm.tmpl.h"
#include "random.tmpl.h"
#include "dropout.tmpl.h"
#include "residual.tmpl.h"
#include "loss.tmpl.h"
#include "../limits/peak.tmpl.h"

/* What layout.c and the order of sums take for granted of every tile. */
_Static_assert(NR <= VG_TILE_COLS, "VG_TILE_COLS must grow");
_Static_assert(MR <= TALL && TALL <= VG_TILE_ROWS, "VG_TILE_ROWS must grow");
_Static_assert(VG_UNIT_ROWS % MR == 0, "units of parameters must be made of whole tiles");
_Static_assert(VG_PACKED_MOST % MR == 0 && VG_PACKED_MOST % VG_UNIT_ROWS == 0,
               "packed rows must be made of whole tiles and units");

const vg_kernels NAME(vg_kernels) = {
    .tile_rows = MR,
    .tile_cols = NR,
    .lanes = LANES,
    .check_finite = NAME(check_all_finite),
    .gather = NAME(gather),
    .dense_forward = NAME(dense_forward),
    .dense_backward = NAME(dense_backward),
    .decoder_forward = NAME(decoder_forward),
    .decoder_backward = NAME(decoder_backward),
    .weight_update = NAME(weight_update),
    .sparse_forward = NAME(sparse_forward),
    .sparse_update = NAME(sparse_update),
    .column_sums = NAME(column_sums),
    .fold = NAME(fold),
    .normalize_rows = NAME(normalize_rows),
    .normalize_rows_back = NAME(normalize_rows_back),
    .gain_sums = NAME(gain_sums),
    .times_derivative = NAME(times_derivative),
    .column_moments = NAME(column_moments),
    .fold_moments = NAME(fold_moments),
    .rates_of = NAME(rates_of),
    .normalize_columns = NAME(normalize_columns),
    .column_products = NAME(column_products),
    .normalize_columns_back = NAME(normalize_columns_back),
    .renew_running = NAME(renew_running),
    .subtract = NAME(subtract),
    .sample = NAME(sample),
    .drop = NAME(drop),
    .dropout = NAME(dropout),
    .add_scaled = NAME(add_scaled),
    .chain = NAME(chain),
    .inner_product = NAME(inner_product),
    .renew_penalty = NAME(renew_penalty),
    .update = NAME(update),
    .loss = NAME(loss),
    .count_exponents = NAME(count_exponents),
    .exponential = NAME(exponential),
    .activate = NAME(activate),
    .softmax = NAME(softmax),
    .fma_loop = NAME(fma_loop),
    .read_loop = NAME(read_loop),
    .write_loop = NAME(write_loop),
    .square_norm = NAME(square_norm),
    .statistics = NAME(statistics),
};

#undef LANES
#undef MR
#undef NV
#undef NR
#undef EACH_ROW
#undef EACH_VEC
#undef TALL
#undef EACH_TALL
#undef MM
#undef MASK
#undef WHOLE
#undef HALF_EXISTS
#undef AS_BITS
#undef FROM_BITS
#undef LESS_BITS
#undef SIGN_OF
#undef SIGN_BIT
#undef BIASED
#undef TO_EXPONENT
#undef MANTISSA_BITS
#undef TABLE_BITS
#undef BIAS
#undef UNBIAS
#undef ALL_SIGN
#undef EXPONENT_BIAS
#undef ROOT
#undef EPSILON_BITS
#undef GROUP
#undef EACH
#undef SIDE_BY_SIDE
#undef real
#undef SFX
#undef REAL_BITS
