/* A tile of a product of matrices, TILE_ROWS by WIDTH numbers, with its accumulators in registers. For one type: KX_REAL,
   KX_SUFFIX, KX_VECTOR, KX_LANES; the includer's template ends with #undef WIDTH. */
#ifndef KX_PRODUCT_TILE_H
#define KX_PRODUCT_TILE_H

/* As many accumulators as registers leave room for, next to the VECTORS of one side and one number of the other. 6 x 4 of 16
   floats: 180 GFLOP/s of 235 with all of attention around it (12 x 2: 179); 6 x 2 of 8: 90. */
#if KX_SIMD_AVX512
enum { TILE_ROWS = 6, VECTORS = 4 };
#elif KX_SIMD_AVX2
enum { TILE_ROWS = 6, VECTORS = 2 };
#else
enum { TILE_ROWS = 3, VECTORS = 2 };
#endif
#endif

#ifdef KX_REAL
#define WIDTH (VECTORS * KX_LANES)

/* c[i][j] = sum over k of a[i * a_row + k * a_step] b[k * b_row + j], `rows` by WIDTH. */
static KX_ALWAYS_INLINE void KX_TYPED(make_tile)(const int rows, const KX_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                                                 const KX_REAL *b, ptrdiff_t b_row, int64_t depth,
                                                     KX_VECTOR c[TILE_ROWS][VECTORS]) {
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) c[i][v] = V(set)(0);
    for (int64_t k = 0; k < depth; k++) {
        KX_VECTOR right[VECTORS];
        for (int v = 0; v < VECTORS; v++) right[v] = V(load)(b + k * b_row + v * KX_LANES);
        for (int i = 0; i < rows; i++) {
            const KX_VECTOR left = V(set)(a[i * a_row + k * a_step]);
            for (int v = 0; v < VECTORS; v++) c[i][v] = V(fma)(left, right[v], c[i][v]);
        }
    }
}

/* The same, added to what is in out: a tile's sum is complete before it is. */
static KX_ALWAYS_INLINE void KX_TYPED(add_tile)(const int rows, const KX_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                                                const KX_REAL *b, ptrdiff_t b_row, int64_t depth, KX_REAL *out,
                                                    ptrdiff_t out_row) {
    KX_VECTOR c[TILE_ROWS][VECTORS];
    KX_TYPED(make_tile)(rows, a, a_row, a_step, b, b_row, depth, c);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) {
            KX_REAL *place = out + i * out_row + v * KX_LANES;
            V(store)(place, V(add)(V(load)(place), c[i][v]));
        }
}
#endif
