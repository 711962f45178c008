/* Products with packed matrices, sigma and tanh, for one type: KX_REAL, KX_SUFFIX, KX_VECTOR, KX_LANES. */
#include "kernels/recurrent_tile.h"

/* Panels of WIDTH columns: number (k, j) of panel p is at data[p * panel + k * row + j]. */
typedef struct KX_TYPED(matrix) {
    const KX_REAL *data;
    ptrdiff_t panel, row;
    int64_t depth, width; /* width: a multiple of WIDTH */
} KX_TYPED(matrix);

/* A row alone and columns that are not packed: as many of them at once as there are registers, for they are neighbours. */
static void KX_TYPED(multiply_add_row)(const KX_REAL *a, const KX_TYPED(matrix) * b, KX_REAL *out) {
    enum { ACROSS = 4 * VECTORS };
    int64_t j = 0;
    for (; j + ACROSS * KX_LANES <= b->width; j += ACROSS * KX_LANES)
        for (int64_t from = 0; from < b->depth; from += DEPTH) {
            const int64_t end = b->depth - from < DEPTH ? b->depth : from + DEPTH;
            KX_VECTOR c[ACROSS];
            for (int v = 0; v < ACROSS; v++) c[v] = V(set)(0);
            for (int64_t k = from; k < end; k++) {
                const KX_REAL *right = b->data + k * b->row + j;
                const KX_VECTOR left = V(set)(a[k]);
                for (int v = 0; v < ACROSS; v++) c[v] = V(fma)(left, V(load)(right + v * KX_LANES), c[v]);
            }
            for (int v = 0; v < ACROSS; v++) {
                KX_REAL *place = out + j + v * KX_LANES;
                V(store)(place, V(add)(V(load)(place), c[v]));
            }
        }
    for (; j < b->width; j += WIDTH)
        for (int64_t k = 0; k < b->depth; k += DEPTH) {
            const int64_t depth = b->depth - k < DEPTH ? b->depth - k : DEPTH;
            KX_TYPED(add_tile)(1, a + k, 0, 1, b->data + k * b->row + j, b->row, depth, out + j, 0);
        }
}

/* out += a b. A row's sums are in the same order whatever the tile that it is in. */
static void KX_TYPED(multiply_add)(int64_t rows, const KX_REAL *a, ptrdiff_t a_row, const KX_TYPED(matrix) * b, KX_REAL *out,
                                   ptrdiff_t out_row) {
    if (rows == 1 && b->panel == WIDTH) {
        KX_TYPED(multiply_add_row)(a, b, out);
        return;
    }
    for (int64_t j = 0; j < b->width; j += WIDTH)
        for (int64_t k = 0; k < b->depth; k += DEPTH) {
            const int64_t depth = b->depth - k < DEPTH ? b->depth - k : DEPTH;
            const KX_REAL *panel = b->data + j / WIDTH * b->panel + k * b->row;
            for (int64_t i = 0; i < rows; i += TILE_ROWS) {
                const KX_REAL *left = a + i * a_row + k;
                KX_REAL *place = out + i * out_row + j;
                KX_TYPED(add_rows)(rows - i, left, a_row, 1, panel, b->row, depth, place, out_row);
            }
        }
}

/* 1 / (1 + e^-x) */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(sigma)(KX_VECTOR x) {
    const KX_VECTOR one = V(set)(1);
    return V(div)(one, V(add)(one, V(exp)(V(sub)(V(set)(0), x))));
}

/* -m / (m + 2) with m = e^(-2 |x|) - 1 = 2^k - 1 + 2^k (e^s - 1), which does not cancel where k = 0 */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(tanh)(KX_VECTOR x) {
    const KX_VECTOR zero = V(set)(0), one = V(set)(1), two = V(set)(2);
    const KX_VECTOR y = V(max)(V(set)(-64), V(sub)(zero, V(mul)(two, V(abs)(x)))); /* a NaN passes */
    KX_VECTOR k, s;
    const KX_VECTOR rest = V(exp_parts)(y, &k, &s), power = V(scale)(one, k);
    const KX_VECTOR m = V(fma)(power, V(add)(s, rest), V(sub)(power, one));
    const KX_VECTOR size = V(div)(V(sub)(zero, m), V(add)(m, two));
    return V(select)(V(less)(x, zero), V(sub)(zero, size), size);
}

/* States of some sequences at the start, or zeros; pads are zero. */
static void KX_TYPED(begin_rows)(const void *start, int64_t sequence, int64_t rows, int64_t size, ptrdiff_t row, KX_REAL *out) {
    memset(out, 0, (size_t)(rows * row) * sizeof *out);
    if (start)
        for (int64_t i = 0; i < rows; i++)
            memcpy(out + i * row, (const KX_REAL *)start + (sequence + i) * size, (size_t)size * sizeof *out);
}
