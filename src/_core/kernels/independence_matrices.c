/* HSIC of two kernel matrices: sums of products, of rows and of columns, in one pass for n <= PANEL.

   Row sums are done with their row; the sums of all columns would need n numbers each. So the first pass sums the columns of a
   first panel, and the columns of another panel take another pass over that panel alone: less than two passes together. */
#ifndef KX_REAL
#include "kexue/kx_independence_matrices.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "isa/simd.h"

enum {
    PANEL = 1024, /* columns whose sums are on the stack */
    BAND = 128,   /* rows that are summed before they are added to what was there: pairwise summation in two levels */
    PIECE = 256   /* entries of a row whose sums are added in vectors */
};

/* Knuth's two-sum; a comparison would raise the invalid flag for a NaN. */
typedef struct sum { double high, low; } sum;
static inline void sum_add(sum *s, double value) {
    const double total = s->high + value, part = total - s->high;
    s->low += (s->high - (total - part)) + (value - part);
    s->high = total;
}
static inline double sum_value(const sum *s) { return s->high + s->low; }

static inline double lanes_sum(kx_f64v a) {
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, a);
    for (int half = KX_F64_LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++) lanes[k] += lanes[k + half];
    return lanes[0];
}

/* Of one matrix: its entries' sums over a band of rows and over all rows, for the columns of a panel. */
typedef struct columns { double band[PANEL], all[PANEL]; } columns;

static inline void columns_reset(columns *c, int64_t count) {
    for (int64_t j = 0; j < count; j++) c->band[j] = c->all[j] = 0;
}
static inline void columns_end_band(columns *c, int64_t count) {
    for (int64_t j = 0; j < count; j++) {
        c->all[j] += c->band[j];
        c->band[j] = 0;
    }
}

typedef struct rows { double K, L, product; } rows;
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define LOAD kx_f64v_load
#include "independence_matrices.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef LOAD

#define KX_REAL float
#define KX_SUFFIX f32
#define LOAD kx_f64v_load_f32
#include "independence_matrices.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS

typedef struct KX_TYPED(matrix) {
    const char *data;
    ptrdiff_t row_stride, column_stride;
    double pivot;
} KX_TYPED(matrix);

static inline double KX_TYPED(entry)(const KX_TYPED(matrix) * m, int64_t i, int64_t j) {
    return (double)*(const KX_REAL *)(m->data + i * m->row_stride + j * m->column_stride);
}

/* Entries [from, from + count) of row i; those of a strided matrix are copied. */
static inline const KX_REAL *KX_TYPED(piece)(const KX_TYPED(matrix) * m, int64_t i, int64_t from, int64_t count, KX_REAL *copy) {
    const char *p = m->data + i * m->row_stride + from * m->column_stride;
    if (m->column_stride == (ptrdiff_t)sizeof(KX_REAL)) return (const KX_REAL *)p;
    for (int64_t j = 0; j < count; j++, p += m->column_stride) copy[j] = *(const KX_REAL *)p;
    return copy;
}

/* Adds entries [from, to) of row i to the row's sums, or to their columns', which begin at column `first`. */
static KX_ALWAYS_INLINE void KX_TYPED(add)(const KX_TYPED(matrix) * K, const KX_TYPED(matrix) * L, int64_t i, int64_t from,
                                           int64_t to, int64_t first, rows *r, columns *of_K, columns *of_L, const int with_rows,
                                           const int with_columns) {
    const kx_f64v pivot_K = kx_f64v_set(K->pivot), pivot_L = kx_f64v_set(L->pivot);
    KX_REAL copy_K[PIECE], copy_L[PIECE];
    for (; from < to; from += PIECE) {
        const int64_t count = to - from < PIECE ? to - from : PIECE;
        const KX_REAL *k = KX_TYPED(piece)(K, i, from, count, copy_K), *l = KX_TYPED(piece)(L, i, from, count, copy_L);
        double *column_K = with_columns ? of_K->band + (from - first) : NULL;
        double *column_L = with_columns ? of_L->band + (from - first) : NULL;
        kx_f64v sum_K = kx_f64v_set(0), sum_L = sum_K, product = sum_K;
        int64_t j = 0;
        for (; j + KX_F64_LANES <= count; j += KX_F64_LANES) {
            const kx_f64v a = kx_f64v_sub(LOAD(k + j), pivot_K), b = kx_f64v_sub(LOAD(l + j), pivot_L);
            if (with_rows) {
                sum_K = kx_f64v_add(sum_K, a);
                sum_L = kx_f64v_add(sum_L, b);
                product = kx_f64v_fma(a, b, product);
            }
            if (with_columns) {
                kx_f64v_store(column_K + j, kx_f64v_add(kx_f64v_load(column_K + j), a));
                kx_f64v_store(column_L + j, kx_f64v_add(kx_f64v_load(column_L + j), b));
            }
        }
        rows rest = {0};
        for (; j < count; j++) {
            const double a = (double)k[j] - K->pivot, b = (double)l[j] - L->pivot;
            if (with_rows) {
                rest.K += a;
                rest.L += b;
                rest.product += a * b;
            }
            if (with_columns) {
                column_K[j] += a;
                column_L[j] += b;
            }
        }
        if (with_rows) {
            r->K += lanes_sum(sum_K) + rest.K;
            r->L += lanes_sum(sum_L) + rest.L;
            r->product += lanes_sum(product) + rest.product;
        }
    }
}

/* The same but for column `skipped`, -1 for none. */
static KX_ALWAYS_INLINE void KX_TYPED(add_but)(const KX_TYPED(matrix) * K, const KX_TYPED(matrix) * L, int64_t i, int64_t skipped,
                                               int64_t from, int64_t to, int64_t first, rows *r, columns *of_K, columns *of_L,
                                               const int with_rows, const int with_columns) {
    if (skipped >= from && skipped < to) {
        KX_TYPED(add)(K, L, i, from, skipped, first, r, of_K, of_L, with_rows, with_columns);
        from = skipped + 1;
    }
    KX_TYPED(add)(K, L, i, from, to, first, r, of_K, of_L, with_rows, with_columns);
}

static double KX_TYPED(hsic)(const KX_TYPED(matrix) * K, const KX_TYPED(matrix) * L, int64_t n, int unbiased) {
    columns of_K, of_L;
    /* Products of entries, entries, products of rows' sums, products of columns' sums. */
    sum product = {0, 0}, entries_K = {0, 0}, entries_L = {0, 0}, row_product = {0, 0}, column_product = {0, 0};
    for (int64_t first = 0; first < n; first += PANEL) {
        const int64_t end = n - first < PANEL ? n : first + PANEL;
        columns_reset(&of_K, end - first);
        columns_reset(&of_L, end - first);
        for (int64_t i = 0; i < n; i++) {
            const int64_t skipped = unbiased ? i : -1;
            if (first == 0) {
                rows r = {0};
                KX_TYPED(add_but)(K, L, i, skipped, 0, end, 0, &r, &of_K, &of_L, 1, 1);
                KX_TYPED(add_but)(K, L, i, skipped, end, n, 0, &r, NULL, NULL, 1, 0);
                sum_add(&product, r.product);
                sum_add(&entries_K, r.K);
                sum_add(&entries_L, r.L);
                sum_add(&row_product, r.K * r.L);
            } else {
                KX_TYPED(add_but)(K, L, i, skipped, first, end, first, NULL, &of_K, &of_L, 0, 1);
            }
            if (i % BAND == BAND - 1 || i == n - 1) {
                columns_end_band(&of_K, end - first);
                columns_end_band(&of_L, end - first);
            }
        }
        for (int64_t j = 0; j < end - first; j++) sum_add(&column_product, of_K.all[j] * of_L.all[j]);
    }
    const double size = (double)n, cross = sum_value(&row_product) + sum_value(&column_product);
    const double all_K = sum_value(&entries_K), all_L = sum_value(&entries_L);
    if (unbiased)
        return (sum_value(&product) + all_K / (size - 1) * (all_L / (size - 2)) - cross / (size - 2)) / (size * (size - 3));
    return (sum_value(&product) - cross / size + all_K / size * (all_L / size)) / (size * size);
}

static kx_status_t KX_TYPED(evaluate)(const KX_REAL *K, const KX_REAL *L, int64_t count, int64_t n, ptrdiff_t K_stride,
                                      ptrdiff_t K_row_stride, ptrdiff_t K_column_stride, ptrdiff_t L_stride,
                                      ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, KX_REAL *out, ptrdiff_t out_stride,
                                      int unbiased) {
    KX_TYPED(matrix) k = {(const char *)K, K_row_stride, K_column_stride, 0};
    KX_TYPED(matrix) l = {(const char *)L, L_row_stride, L_column_stride, 0};
    /* Both transposed have the same HSIC. */
    const ptrdiff_t contiguous = (ptrdiff_t)sizeof(KX_REAL);
    const int row_wise = (K_column_stride == contiguous) + (L_column_stride == contiguous);
    if ((K_row_stride == contiguous) + (L_row_stride == contiguous) > row_wise) {
        k.row_stride = K_column_stride, k.column_stride = K_row_stride;
        l.row_stride = L_column_stride, l.column_stride = L_row_stride;
    }
    for (int64_t item = 0; item < count; item++) {
        volatile double value = 0;
        if (n < (unbiased ? 4 : 1)) {
            value = value / value;
        } else {
            k.pivot = KX_TYPED(entry)(&k, 0, n - 1);
            l.pivot = KX_TYPED(entry)(&l, 0, n - 1);
            value = KX_TYPED(hsic)(&k, &l, n, unbiased);
        }
        *(KX_REAL *)((char *)out + item * out_stride) = (KX_REAL)value;
        k.data += K_stride;
        l.data += L_stride;
    }
    return KX_OK;
}
#endif

KX_DISPATCH(KX_TYPED(kx_independence_from_kernels),
            (const KX_REAL *K, const KX_REAL *L, int64_t count, int64_t n, ptrdiff_t K_stride, ptrdiff_t K_row_stride,
             ptrdiff_t K_column_stride, ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (K, L, count, n, K_stride, K_row_stride, K_column_stride, L_stride, L_row_stride, L_column_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_independence_from_kernels_unbiased),
            (const KX_REAL *K, const KX_REAL *L, int64_t count, int64_t n, ptrdiff_t K_stride, ptrdiff_t K_row_stride,
             ptrdiff_t K_column_stride, ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (K, L, count, n, K_stride, K_row_stride, K_column_stride, L_stride, L_row_stride, L_column_stride, out, out_stride))

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_independence_from_kernels))(const KX_REAL *K, const KX_REAL *L, int64_t count, int64_t n,
                                                              ptrdiff_t K_stride, ptrdiff_t K_row_stride,
                                                              ptrdiff_t K_column_stride, ptrdiff_t L_stride,
                                                              ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, KX_REAL *out,
                                                              ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(K, L, count, n, K_stride, K_row_stride, K_column_stride, L_stride, L_row_stride, L_column_stride,
                              out, out_stride, 0);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_independence_from_kernels_unbiased))(const KX_REAL *K, const KX_REAL *L, int64_t count,
                                                                       int64_t n, ptrdiff_t K_stride, ptrdiff_t K_row_stride,
                                                                       ptrdiff_t K_column_stride, ptrdiff_t L_stride,
                                                                       ptrdiff_t L_row_stride, ptrdiff_t L_column_stride,
                                                                       KX_REAL *out, ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(K, L, count, n, K_stride, K_row_stride, K_column_stride, L_stride, L_row_stride, L_column_stride,
                              out, out_stride, 1);
}
#endif
#endif
