/* A tile of a product, for one type: KX_REAL, KX_SUFFIX, KX_VECTOR, KX_LANES. */
#define V(operation) KX_PASTE(KX_PASTE(KX_VECTOR, _), operation)
#define WIDTH (VECTORS * KX_LANES)

/* out[i, j] += the sum over k of a[i * a_row + k * a_step] b[k * b_row + j] */
static KX_ALWAYS_INLINE void KX_TYPED(add_tile)(const int rows, const KX_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                                                const KX_REAL *b, ptrdiff_t b_row, int64_t depth, KX_REAL *out,
                                                ptrdiff_t out_row) {
    KX_VECTOR c[TILE_ROWS][VECTORS];
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
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) {
            KX_REAL *place = out + i * out_row + v * KX_LANES;
            V(store)(place, V(add)(V(load)(place), c[i][v]));
        }
}

/* The same for a number of rows that is known only now, TILE_ROWS for a greater one. */
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
