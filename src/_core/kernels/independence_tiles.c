/* Tiles of distances, scalar products and kernels of points; the kernel matrix.

   The product of tiles is not left to BLAS: OpenBLAS ran 256 x 256 x 50 at 56 GFLOP/s here and its own threads get in the way of ours, this
   runs the same, as differences, at 110, and gives the same bits everywhere. */
#ifndef KX_REAL
#include "kexue/kx_independence.h"

#include "isa/kernel.h"

#define KX_MATRIX_PARAMETERS(REAL)                                                                                           \
    (const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others, int64_t n, int64_t m, REAL *matrix)

KX_DISPATCH(kx_independence_matrix_f32, KX_MATRIX_PARAMETERS(float), (ctx, x, others, n, m, matrix))
KX_DISPATCH(kx_independence_matrix_f64, KX_MATRIX_PARAMETERS(double), (ctx, x, others, n, m, matrix))

#ifndef KX_DISPATCH_PASS
#include "kernels/independence_internal.h"
#include "runtime/vector_math.h"

#if KX_SIMD_AVX512
enum { TILE_ROWS = 8 };
#elif KX_SIMD_AVX2
enum { TILE_ROWS = 4 };
#else
enum { TILE_ROWS = 2 };
#endif
enum { VECTORS = 3, DEPTH = 1024 }; /* a panel's part of DEPTH coordinates stays in the second cache */

typedef enum tile_mode { PRODUCTS, SQUARES, SIZES } tile_mode_t;

typedef struct kx_matrix_job {
    const kx_independence_points_t *x;
    const void *rows, *columns;
    int64_t n, m;
    void *matrix;
} kx_matrix_job_t;

kx_status_t KX_KERNEL(kx_independence_check)(const kx_independence_points_t *x, int64_t n) {
    if (!x || n < 0 || x->dimension < 0 || (int)x->kind < KX_INDEPENDENCE_LINEAR || x->kind > KX_INDEPENDENCE_LAPLACE) return KX_E_ARGUMENT;
    if (!x->points && n > 0 && x->dimension > 0) return KX_E_ARGUMENT;
    if (x->kind == KX_INDEPENDENCE_POLYNOMIAL && x->degree < 0) return KX_E_ARGUMENT;
    /* the bytes of a line of either, rounded up, are then a number */
    return n > INT64_MAX / 1024 || x->dimension > INT64_MAX / 1024 ? KX_E_OVERFLOW : KX_OK;
}

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#include "independence_tiles.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#include "independence_tiles.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#endif

#else /* the template */

#define PANEL KX_PASTE(KX_PANEL_, KX_SUFFIX)
#define BLOCK KX_PASTE(KX_BLOCK_, KX_SUFFIX)

void KX_KERNEL(KX_TYPED(kx_independence_pack))(const kx_independence_points_t *x, int64_t n, KX_REAL *packed) {
    const int64_t d = x->dimension;
    if (d == 0) return; /* there may be no points to point to */
    for (int64_t base = 0; base < n; base += PANEL) {
        KX_REAL *panel = packed + base * d;
        for (int64_t r = 0; r < PANEL; r++) {
            if (base + r >= n) {
                for (int64_t k = 0; k < d; k++) panel[k * PANEL + r] = 0;
                continue;
            }
            const KX_REAL *point = (const KX_REAL *)((const char *)x->points + (base + r) * x->row_stride);
            for (int64_t k = 0; k < d; k++) panel[k * PANEL + r] = point[k];
        }
    }
}

/* TILE_ROWS rows by VECTORS vectors of columns, in registers; `depth` coordinates, added to what is there unless these are the first. */
static KX_ALWAYS_INLINE void KX_TYPED(add_tile)(const KX_REAL *rows, const KX_REAL *panel, int64_t depth, tile_mode_t mode,
                                                int is_first, KX_REAL *tile) {
    KX_VECTOR sums[TILE_ROWS][VECTORS], columns[VECTORS];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < VECTORS; c++) sums[r][c] = is_first ? V(set)(0) : V(load)(tile + r * PANEL + c * KX_LANES);
    for (int64_t k = 0; k < depth; k++) {
        for (int c = 0; c < VECTORS; c++) columns[c] = V(load)(panel + k * PANEL + c * KX_LANES);
        for (int r = 0; r < TILE_ROWS; r++) {
            const KX_VECTOR row = V(set)(rows[k * PANEL + r]);
            for (int c = 0; c < VECTORS; c++) {
                if (mode == PRODUCTS) {
                    sums[r][c] = V(fma)(row, columns[c], sums[r][c]);
                } else {
                    const KX_VECTOR difference = V(sub)(row, columns[c]);
                    sums[r][c] = mode == SQUARES ? V(fma)(difference, difference, sums[r][c]) : V(add)(sums[r][c], V(abs)(difference));
                }
            }
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < VECTORS; c++) V(store)(tile + r * PANEL + c * KX_LANES, sums[r][c]);
}

static KX_ALWAYS_INLINE void KX_TYPED(fill_tile)(int64_t d, const KX_REAL *rows, int64_t count, const KX_REAL *panel, tile_mode_t mode,
                                                 KX_REAL *tile) {
    for (int64_t base = 0; base == 0 || base < d; base += DEPTH) {
        const int64_t depth = d - base < DEPTH ? d - base : DEPTH;
        for (int64_t i = 0; i < count; i += TILE_ROWS)
            KX_TYPED(add_tile)(rows + (i / PANEL * d + base) * PANEL + i % PANEL, panel + base * PANEL, depth, mode, base == 0,
                               tile + i * PANEL);
    }
}

static KX_NEVER_INLINE void KX_TYPED(fill_products)(int64_t d, const KX_REAL *rows, int64_t count, const KX_REAL *panel, KX_REAL *tile) {
    KX_TYPED(fill_tile)(d, rows, count, panel, PRODUCTS, tile);
}
static KX_NEVER_INLINE void KX_TYPED(fill_squares)(int64_t d, const KX_REAL *rows, int64_t count, const KX_REAL *panel, KX_REAL *tile) {
    KX_TYPED(fill_tile)(d, rows, count, panel, SQUARES, tile);
}
static KX_NEVER_INLINE void KX_TYPED(fill_sizes)(int64_t d, const KX_REAL *rows, int64_t count, const KX_REAL *panel, KX_REAL *tile) {
    KX_TYPED(fill_tile)(d, rows, count, panel, SIZES, tile);
}

static inline KX_VECTOR KX_TYPED(power)(KX_VECTOR base, int32_t degree) {
    KX_VECTOR result = V(set)(1);
    for (; degree > 0; degree /= 2) {
        if (degree % 2) result = V(mul)(result, base);
        base = V(mul)(base, base);
    }
    return result;
}

void KX_KERNEL(KX_TYPED(kx_independence_tile))(const kx_independence_points_t *x, const KX_REAL *rows, int64_t count,
                                               const KX_REAL *panel, int is_distance, KX_REAL *tile) {
    const int64_t size = (count + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS * PANEL;
    if (x->kind == KX_INDEPENDENCE_LAPLACE) KX_TYPED(fill_sizes)(x->dimension, rows, count, panel, tile);
    else if (is_distance || x->kind == KX_INDEPENDENCE_RBF) KX_TYPED(fill_squares)(x->dimension, rows, count, panel, tile);
    else KX_TYPED(fill_products)(x->dimension, rows, count, panel, tile);
    if (is_distance || x->kind == KX_INDEPENDENCE_LINEAR) return;
    if (x->kind == KX_INDEPENDENCE_POLYNOMIAL) {
        const KX_VECTOR gamma = V(set)((KX_REAL)x->gamma), coef0 = V(set)((KX_REAL)x->coef0);
        for (int64_t i = 0; i < size; i += KX_LANES)
            V(store)(tile + i, KX_TYPED(power)(V(fma)(gamma, V(load)(tile + i), coef0), x->degree));
    } else {
        const KX_VECTOR rate = V(set)((KX_REAL)-x->gamma);
        for (int64_t i = 0; i < size; i += KX_LANES) V(store)(tile + i, V(exp_below)(V(mul)(rate, V(load)(tile + i))));
    }
}

static kx_status_t KX_TYPED(matrix_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_matrix_job_t *job = (const kx_matrix_job_t *)arg;
    const int64_t d = job->x->dimension;
    alignas(64) KX_REAL tile[BLOCK * PANEL];
    for (int64_t i = begin * BLOCK; i < end * BLOCK && i < job->n; i += BLOCK) {
        const int64_t rows = job->n - i < BLOCK ? job->n - i : BLOCK;
        for (int64_t j = 0; j < job->m; j += PANEL) {
            const size_t columns = (size_t)(job->m - j < PANEL ? job->m - j : PANEL);
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            KX_KERNEL(KX_TYPED(kx_independence_tile))(job->x, (const KX_REAL *)job->rows + i * d, rows,
                                                      (const KX_REAL *)job->columns + j * d, 0, tile);
            for (int64_t r = 0; r < rows; r++)
                memcpy((KX_REAL *)job->matrix + (i + r) * job->m + j, tile + r * PANEL, columns * sizeof *tile);
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_matrix)) KX_MATRIX_PARAMETERS(KX_REAL) {
    kx_status_t status = KX_KERNEL(kx_independence_check)(x, n);
    if (status == KX_OK) status = KX_KERNEL(kx_independence_check)(others, m);
    if (status != KX_OK) return status;
    if (x->dimension != others->dimension || (!matrix && n > 0 && m > 0)) return KX_E_ARGUMENT;
    if (n == 0 || m == 0) return KX_OK;
    const int is_same = x->points == others->points && x->row_stride == others->row_stride && n == m;
    kx_layout_t layout = {0, 0};
    const size_t rows_at = kx_layout_add(&layout, kx_round_up(n, PANEL), (size_t)(x->dimension + !x->dimension) * sizeof(KX_REAL));
    const size_t columns_at =
        is_same ? rows_at : kx_layout_add(&layout, kx_round_up(m, PANEL), (size_t)(x->dimension + !x->dimension) * sizeof(KX_REAL));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    KX_KERNEL(KX_TYPED(kx_independence_pack))(x, n, (KX_REAL *)(block + rows_at));
    if (!is_same) KX_KERNEL(KX_TYPED(kx_independence_pack))(others, m, (KX_REAL *)(block + columns_at));
    kx_matrix_job_t job = {x, block + rows_at, block + columns_at, n, m, matrix};
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    const int is_small = (double)n * (double)m * (double)x->dimension < KX_SERIAL_WORK;
    status = kx_parallel_for(ctx, blocks, is_small ? blocks : 1, KX_TYPED(matrix_rows), &job);
    kx_release(ctx, block);
    return status;
}
#undef PANEL
#undef BLOCK
#endif
