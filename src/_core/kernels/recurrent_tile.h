/* Rows of a product's tiles, for one type: KX_REAL, KX_SUFFIX, KX_VECTOR, KX_LANES. */
#include "kernels/product_tile.h"

/* add_tile for a number of rows that is known only now, TILE_ROWS for a greater one. */
static KX_ALWAYS_INLINE void KX_TYPED(add_rows)(int64_t rows, const KX_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                                                const KX_REAL *b, ptrdiff_t b_row, int64_t depth, KX_REAL *out,
                                                ptrdiff_t out_row) {
    switch (rows) {
        case 1: KX_TYPED(add_tile)(1, a, a_row, a_step, b, b_row, depth, out, out_row); break;
        case 2: KX_TYPED(add_tile)(2, a, a_row, a_step, b, b_row, depth, out, out_row); break;
#if KX_SIMD_AVX512 || KX_SIMD_AVX2
        case 3: KX_TYPED(add_tile)(3, a, a_row, a_step, b, b_row, depth, out, out_row); break;
        case 4: KX_TYPED(add_tile)(4, a, a_row, a_step, b, b_row, depth, out, out_row); break;
        case 5: KX_TYPED(add_tile)(5, a, a_row, a_step, b, b_row, depth, out, out_row); break;
#endif
        default: KX_TYPED(add_tile)(TILE_ROWS, a, a_row, a_step, b, b_row, depth, out, out_row);
    }
}
