/* HSIC's product sum under permutations of one side: sum over i != j of K[i, j] L[p[i], p[j]].

   For a group of as many rows as there are lanes, the rows p[i] of L are transposed in registers to a column of vectors, one for each
   of L's columns; then the sum is over loads of whole vectors at places p[j], with no gather instruction. The rows of K are packed once, in
   that shape, above the diagonal only. */
#ifndef KX_REAL
#include "kexue/kx_independence.h"

#include "isa/kernel.h"

#define KX_PERMUTATION_PARAMETERS(REAL)                                                                                      \
    (const kx_ctx_t *ctx, const REAL *k, const REAL *l, int64_t n, const int32_t *permutations, int64_t count, double *sums)

KX_DISPATCH(kx_independence_permutation_sums_f32, KX_PERMUTATION_PARAMETERS(float), (ctx, k, l, n, permutations, count, sums))
KX_DISPATCH(kx_independence_permutation_sums_f64, KX_PERMUTATION_PARAMETERS(double), (ctx, k, l, n, permutations, count, sums))

#ifndef KX_DISPATCH_PASS
#include "isa/simd.h"
#include "isa/transpose.h"
#include "kernels/independence_internal.h"

enum { POLL_GROUPS = 16 };

typedef struct kx_permutation_job {
    const void *packed, *l;
    int64_t n;
    const int32_t *permutations;
    double *sums;
    char *columns; /* one array for each worker */
    size_t columns_bytes;
} kx_permutation_job_t;

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_LOAD_F64 kx_f64v_load_f32
#include "independence_permutation.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_LOAD_F64

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define KX_LOAD_F64 kx_f64v_load
#include "independence_permutation.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_LOAD_F64
#endif

#else /* the template */

/* columns[c] = the entries c of the rows */
static inline void KX_TYPED(transpose_rows)(const KX_REAL *const *rows, int64_t n, KX_REAL *columns) {
    int64_t c = 0;
    KX_VECTOR square[KX_LANES];
    for (; c + KX_LANES <= n; c += KX_LANES) {
        for (int r = 0; r < KX_LANES; r++) square[r] = V(load)(rows[r] + c);
        V(transpose)(square);
        for (int r = 0; r < KX_LANES; r++) V(store)(columns + (c + r) * KX_LANES, square[r]);
    }
    for (; c < n; c++)
        for (int r = 0; r < KX_LANES; r++) columns[c * KX_LANES + r] = rows[r][c];
}

/* Groups of rows one after the other, that of row i with the columns i .. n - 1; zero on the diagonal, below it, and in the
   lanes beyond the last row, which repeat that row elsewhere. */
static void KX_TYPED(pack_half)(const KX_REAL *k, int64_t n, KX_REAL *packed) {
    for (int64_t i = 0; i < n; i += KX_LANES) {
        const KX_REAL *rows[KX_LANES];
        const int count = n - i < KX_LANES ? (int)(n - i) : KX_LANES;
        for (int r = 0; r < KX_LANES; r++) rows[r] = k + (i + (r < count ? r : count - 1)) * n + i;
        KX_TYPED(transpose_rows)(rows, n - i, packed);
        for (int r = 0; r < KX_LANES; r++)
            for (int c = 0; c < count && (c <= r || r >= count); c++) packed[c * KX_LANES + r] = 0;
        packed += (n - i) * KX_LANES;
    }
}

static kx_status_t KX_TYPED(permute)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_permutation_job_t *job = (const kx_permutation_job_t *)arg;
    const int64_t n = job->n;
    KX_REAL *columns = (KX_REAL *)(job->columns + (size_t)kx_task_worker(task) * job->columns_bytes);
    for (int64_t b = begin; b < end; b++) {
        const int32_t *p = job->permutations + b * n;
        const KX_REAL *packed = (const KX_REAL *)job->packed;
        double total = 0, lost = 0;
        for (int64_t i = 0; i < n; i += KX_LANES) {
            if (i % (POLL_GROUPS * KX_LANES) == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED;
            const KX_REAL *rows[KX_LANES];
            for (int r = 0; r < KX_LANES; r++) rows[r] = (const KX_REAL *)job->l + p[i + r < n ? i + r : n - 1] * n;
            KX_TYPED(transpose_rows)(rows, n, columns);
            enum { KX_TYPED(PARTS) = KX_LANES / KX_F64_LANES, WAYS = 4 };
            kx_f64v parts[WAYS][KX_TYPED(PARTS)];
            for (int w = 0; w < WAYS; w++)
                for (int q = 0; q < KX_TYPED(PARTS); q++) parts[w][q] = kx_f64v_set(0);
            int64_t j = i;
            for (; j + WAYS <= n; j += WAYS)
                for (int w = 0; w < WAYS; w++)
                    for (int q = 0; q < KX_TYPED(PARTS); q++) {
                        const kx_f64v k = KX_LOAD_F64(packed + (j + w - i) * KX_LANES + q * KX_F64_LANES);
                        parts[w][q] = kx_f64v_fma(k, KX_LOAD_F64(columns + p[j + w] * KX_LANES + q * KX_F64_LANES), parts[w][q]);
                    }
            for (; j < n; j++)
                for (int q = 0; q < KX_TYPED(PARTS); q++) {
                    const kx_f64v k = KX_LOAD_F64(packed + (j - i) * KX_LANES + q * KX_F64_LANES);
                    parts[0][q] = kx_f64v_fma(k, KX_LOAD_F64(columns + p[j] * KX_LANES + q * KX_F64_LANES), parts[0][q]);
                }
            for (int q = 0; q < KX_TYPED(PARTS); q++) {
                const kx_f64v sum = kx_f64v_add(kx_f64v_add(parts[0][q], parts[1][q]), kx_f64v_add(parts[2][q], parts[3][q]));
                const double value = kx_f64v_sum(sum), next = total + value, part = next - total;
                lost += (total - (next - part)) + (value - part);
                total = next;
            }
            packed += (n - i) * KX_LANES;
        }
        job->sums[b] = 2 * (total + lost);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_permutation_sums)) KX_PERMUTATION_PARAMETERS(KX_REAL) {
    if (n < 0 || count < 0 || n > INT32_MAX) return KX_E_ARGUMENT;
    if (count == 0) return KX_OK;
    if (!sums || (n > 0 && (!k || !l || !permutations))) return KX_E_ARGUMENT;
    if (n > 0 && count > INT64_MAX / 4 / n) return KX_E_OVERFLOW; /* the bytes of the permutations */
    for (int64_t i = 0; i < n * count; i++)
        if (permutations[i] < 0 || permutations[i] >= n) return KX_E_ARGUMENT;
    const int64_t workers = ctx && ctx->workers > 1 ? (ctx->workers < count ? ctx->workers : count) : 1;
    kx_permutation_job_t job = {NULL, l, n, permutations, sums, NULL, 0};
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, n, KX_LANES * sizeof(KX_REAL));
    job.columns_bytes = layout.bytes;
    for (int64_t w = 1; w < workers; w++) kx_layout_add(&layout, n, KX_LANES * sizeof(KX_REAL));
    int64_t entries = 0;
    for (int64_t i = 0; i < n; i += KX_LANES) entries += (n - i) * KX_LANES;
    const size_t packed_at = kx_layout_add(&layout, entries, sizeof(KX_REAL));
    kx_layout_add(&layout, 1, 1);
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    job.columns = block;
    job.packed = block + packed_at;
    KX_TYPED(pack_half)(k, n, (KX_REAL *)(block + packed_at));
    const int is_small = (double)n * (double)n * (double)count < KX_SERIAL_WORK;
    const kx_status_t status = kx_parallel_for(ctx, count, is_small ? count : 1, KX_TYPED(permute), &job);
    kx_release(ctx, block);
    return status;
}
#endif
