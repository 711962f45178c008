/* A certified lower bound of a transport cost, for a tenth of the price of solving it.

   A few Sinkhorn sweeps in float32 give column potentials that are nearly right. Their c-transforms in float64, rows from columns and
   columns from rows, satisfy f_i + g_j <= C_ij whatever the sweeps did, so a.f + b.g is a lower bound by weak duality. */
#include "kexue/kx_transport.h"

#include "isa/kernel.h"

#define KX_BOUND_PARAMETERS                                                                                              \
    (const kx_ctx_t *ctx, const double *a, const double *b, const double *M, int64_t count, const int64_t *a_offsets,      \
     const int64_t *b_offsets, const int64_t *M_offsets, int64_t m, int64_t n, ptrdiff_t row_stride, int64_t sweeps,       \
     double reg_share, double totals_tolerance, double *bounds, double *u, double *v, int64_t *failed)

KX_DISPATCH(kx_transport_lower_bound, KX_BOUND_PARAMETERS,
            (ctx, a, b, M, count, a_offsets, b_offsets, M_offsets, m, n, row_stride, sweeps, reg_share, totals_tolerance, bounds,
             u, v, failed))

#ifndef KX_DISPATCH_PASS
#include <float.h>

#include "kernels/transport_internal.h"
#include "runtime/sum.h"
#include "runtime/vector_math.h"

enum {
    GROUP = 4,    /* rows whose sums are taken together */
    FLOOR = -200  /* exp of this is 0 in float32 */
};

typedef struct kx_bound_scratch {
    float *kernel, *v, *sums, *a, *b; /* rows of `stride`; a of the rows rounded up */
    double *f, *g;
} kx_bound_scratch_t;

static size_t lay_out(kx_bound_scratch_t *s, int64_t m, int64_t n, char *block) {
    kx_layout_t layout = {0, 0};
    const int64_t rows = kx_round_up(m, GROUP), stride = kx_round_up(n, 16);
    if (stride > INT64_MAX / 16 / rows) return 0;
    size_t kernel = kx_layout_add(&layout, rows * stride, sizeof(float)), v = kx_layout_add(&layout, stride, sizeof(float));
    size_t sums = kx_layout_add(&layout, stride, sizeof(float)), a = kx_layout_add(&layout, rows, sizeof(float));
    size_t b = kx_layout_add(&layout, stride, sizeof(float));
    size_t f = kx_layout_add(&layout, m, sizeof(double)), g = kx_layout_add(&layout, stride, sizeof(double));
    if (layout.overflow) return 0;
    if (block) {
        s->kernel = (float *)(block + kernel);
        s->v = (float *)(block + v);
        s->sums = (float *)(block + sums);
        s->a = (float *)(block + a);
        s->b = (float *)(block + b);
        s->f = (double *)(block + f);
        s->g = (double *)(block + g);
    }
    return layout.bytes;
}

size_t KX_KERNEL(kx_transport_bound_bytes)(int64_t m, int64_t n) {
    kx_bound_scratch_t s = {0};
    return lay_out(&s, m, n, NULL);
}

/* v <- b / K'(a / (K v)): both half sweeps in one pass over the kernel. */
static void sweep(const kx_bound_scratch_t *s, int64_t rows, int64_t stride) {
    for (int64_t j = 0; j < stride; j++) s->sums[j] = 0;
    for (int64_t i = 0; i < rows; i += GROUP) {
        const float *k0 = s->kernel + i * stride, *k1 = k0 + stride, *k2 = k1 + stride, *k3 = k2 + stride;
        kx_f32v t0 = kx_f32v_set(0), t1 = t0, t2 = t0, t3 = t0;
        for (int64_t j = 0; j < stride; j += KX_F32_LANES) {
            const kx_f32v v = kx_f32v_load(s->v + j);
            t0 = kx_f32v_fma(kx_f32v_load(k0 + j), v, t0);
            t1 = kx_f32v_fma(kx_f32v_load(k1 + j), v, t1);
            t2 = kx_f32v_fma(kx_f32v_load(k2 + j), v, t2);
            t3 = kx_f32v_fma(kx_f32v_load(k3 + j), v, t3);
        }
        float u[GROUP];
        kx_f32v_sum4(u, t0, t1, t2, t3);
        for (int r = 0; r < GROUP; r++) u[r] = s->a[i + r] / (u[r] > 1e-30f ? u[r] : 1e-30f);
        const kx_f32v u0 = kx_f32v_set(u[0]), u1 = kx_f32v_set(u[1]), u2 = kx_f32v_set(u[2]), u3 = kx_f32v_set(u[3]);
        for (int64_t j = 0; j < stride; j += KX_F32_LANES) {
            kx_f32v sum = kx_f32v_fma(kx_f32v_load(k0 + j), u0, kx_f32v_load(s->sums + j));
            sum = kx_f32v_fma(kx_f32v_load(k1 + j), u1, sum);
            sum = kx_f32v_fma(kx_f32v_load(k2 + j), u2, sum);
            kx_f32v_store(s->sums + j, kx_f32v_fma(kx_f32v_load(k3 + j), u3, sum));
        }
    }
    for (int64_t j = 0; j < stride; j++) s->v[j] = s->b[j] / (s->sums[j] > 1e-30f ? s->sums[j] : 1e-30f);
}

double KX_KERNEL(kx_transport_bound)(const double *costs, int64_t cost_stride, const double *a, const double *b, int64_t m,
                                     int64_t n, int64_t sweeps, double reg_share, char *block, double **potentials_f,
                                     double **potentials_g) {
    kx_bound_scratch_t s = {0};
    lay_out(&s, m, n, block);
    const int64_t rows = kx_round_up(m, GROUP), stride = kx_round_up(n, 16);
    double excess = 0, total_a = 0, total_b = 0;
    for (int64_t i = 0; i < m; i++) {
        const double *c = costs + i * cost_stride;
        kx_f64v least = kx_f64v_set(INFINITY), sums = kx_f64v_set(0);
        int64_t j = 0;
        for (; j + KX_F64_LANES <= n; j += KX_F64_LANES) {
            least = kx_f64v_min(kx_f64v_load(c + j), least);
            sums = kx_f64v_add(kx_f64v_load(c + j), sums);
        }
        double sum = kx_f64v_sum(sums);
        s.f[i] = kx_f64v_reduce_min(least);
        for (; j < n; j++) {
            s.f[i] = c[j] < s.f[i] ? c[j] : s.f[i];
            sum += c[j];
        }
        excess += sum / (double)n - s.f[i];
        total_a += a[i];
    }
    for (int64_t j = 0; j < n; j++) total_b += b[j];
    const double reg = reg_share * excess / (double)m;
    for (int64_t j = 0; j < n; j++) s.g[j] = 0;
    if (reg > 0 && reg <= DBL_MAX && sweeps > 0) {
        const double rate = -1 / reg;
        for (int64_t i = 0; i < rows; i++) {
            float *k = s.kernel + i * stride;
            s.a[i] = i < m ? (float)(a[i] / total_a) : 0;
            int64_t j = 0;
            if (i < m) {
                const double *c = costs + i * cost_stride;
                const kx_f64v least = kx_f64v_set(s.f[i]), rates = kx_f64v_set(rate), low = kx_f64v_set(FLOOR);
                for (; j + KX_F64_LANES <= n; j += KX_F64_LANES)
                    kx_f64v_store_f32(k + j, kx_f64v_max(kx_f64v_mul(kx_f64v_sub(kx_f64v_load(c + j), least), rates), low));
                for (; j < n; j++) {
                    const double x = (c[j] - s.f[i]) * rate;
                    k[j] = (float)(x > FLOOR ? x : FLOOR);
                }
            }
            for (; j < stride; j++) k[j] = FLOOR;
            for (j = 0; j < stride; j += KX_F32_LANES) kx_f32v_store(k + j, kx_f32v_exp(kx_f32v_load(k + j)));
        }
        for (int64_t j = 0; j < stride; j++) {
            s.b[j] = j < n ? (float)(b[j] / total_b) : 0;
            s.v[j] = j < n ? 1.0f : 0.0f;
        }
        for (int64_t k = 0; k < sweeps; k++) sweep(&s, rows, stride);
        for (int64_t j = 0; j < n; j++) s.v[j] = s.v[j] > 1e-30f ? s.v[j] : 1e-30f;
        for (int64_t j = 0; j < stride; j += KX_F32_LANES) kx_f32v_store(s.v + j, kx_f32v_log(kx_f32v_load(s.v + j)));
        for (int64_t j = 0; j < n; j++) s.g[j] = reg * (double)(s.v[j] < 1000.0f ? s.v[j] : 1000.0f);
    }
    for (int64_t i = 0; i < m; i++) {
        const double *c = costs + i * cost_stride;
        kx_f64v least = kx_f64v_set(INFINITY);
        int64_t j = 0;
        for (; j + KX_F64_LANES <= n; j += KX_F64_LANES)
            least = kx_f64v_min(kx_f64v_sub(kx_f64v_load(c + j), kx_f64v_load(s.g + j)), least);
        s.f[i] = kx_f64v_reduce_min(least);
        for (; j < n; j++) s.f[i] = c[j] - s.g[j] < s.f[i] ? c[j] - s.g[j] : s.f[i];
    }
    for (int64_t j = 0; j < n; j++) s.g[j] = INFINITY;
    for (int64_t i = 0; i < m; i++) {
        const double *c = costs + i * cost_stride;
        const double f = s.f[i];
        for (int64_t j = 0; j < n; j++) {
            const double left = c[j] - f;
            s.g[j] = left < s.g[j] ? left : s.g[j];
        }
    }
    double value = 0;
    for (int64_t i = 0; i < m; i++) value += a[i] * s.f[i];
    for (int64_t j = 0; j < n; j++) value += b[j] * s.g[j];
    *potentials_f = s.f;
    *potentials_g = s.g;
    return value;
}

typedef struct kx_bound_job {
    const kx_ctx_t *ctx;
    const double *a, *b, *M;
    const int64_t *a_offsets, *b_offsets, *M_offsets;
    int64_t m, n, sweeps;
    ptrdiff_t row_stride;
    double reg_share, totals_tolerance;
    double *bounds, *u, *v;
    int64_t *failed; /* one a worker */
    char **blocks;   /* one a worker */
} kx_bound_job_t;

/* A copy of the weights, uniform ones for NULL. */
static kx_status_t take_weights(const char *weights, const int64_t *offsets, int64_t k, int64_t n, double *copy, double *total) {
    const double *from = (const double *)(weights && offsets ? weights + offsets[k] : weights);
    for (int64_t i = 0; i < n; i++) {
        copy[i] = from ? from[i] : 1.0 / (double)n;
        if (!(fabs(copy[i]) <= DBL_MAX)) return KX_E_NONFINITE;
        if (copy[i] < 0) return KX_E_NEGATIVE;
    }
    *total = kx_sum(copy, n);
    if (!(*total <= DBL_MAX)) return KX_E_OVERFLOW;
    return *total > 0 ? KX_OK : KX_E_EMPTY;
}

static kx_status_t bound_one(const kx_bound_job_t *job, int64_t k, char *block) {
    const int64_t m = job->m, n = job->n;
    kx_layout_t layout = {0, 0};
    double *a = (double *)(block + kx_layout_add(&layout, m, sizeof(double)));
    double *b = (double *)(block + kx_layout_add(&layout, n, sizeof(double)));
    double total_a, total_b, *f, *g;
    kx_status_t status = take_weights((const char *)job->a, job->a_offsets, k, m, a, &total_a);
    if (status == KX_OK) status = take_weights((const char *)job->b, job->b_offsets, k, n, b, &total_b);
    if (status != KX_OK) return status;
    if (!(fabs(total_a - total_b) <= job->totals_tolerance * (total_a > total_b ? total_a : total_b))) return KX_E_TOTALS;
    for (int64_t j = 0; j < n; j++) b[j] *= total_a / total_b;
    const char *M = (const char *)job->M + (job->M_offsets ? job->M_offsets[k] : 0);
    for (int64_t i = 0; i < m; i++) {
        const double *row = (const double *)(M + i * job->row_stride);
        int finite = 1;
        for (int64_t j = 0; j < n; j++) finite &= fabs(row[j]) <= DBL_MAX / 1e8;
        if (!finite) return KX_E_NONFINITE;
    }
    job->bounds[k] = KX_KERNEL(kx_transport_bound)((const double *)M, job->row_stride / (ptrdiff_t)sizeof(double), a, b, m, n,
                                                   job->sweeps, job->reg_share, block + layout.bytes, &f, &g);
    if (job->u) memcpy(job->u + k * m, f, (size_t)m * sizeof *f);
    if (job->v) memcpy(job->v + k * n, g, (size_t)n * sizeof *g);
    return KX_OK;
}

static kx_status_t bound_range(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_bound_job_t *job = (const kx_bound_job_t *)arg;
    const int worker = kx_task_worker(task);
    if (!job->blocks[worker]) {
        kx_layout_t layout = {0, 0};
        kx_layout_add(&layout, job->m, sizeof(double));
        kx_layout_add(&layout, job->n, sizeof(double));
        kx_layout_add(&layout, (int64_t)KX_KERNEL(kx_transport_bound_bytes)(job->m, job->n), 1);
        job->blocks[worker] = (char *)kx_allocate(job->ctx, layout.bytes);
        if (!job->blocks[worker]) return KX_E_MEMORY;
    }
    for (int64_t k = begin; k < end; k++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        kx_status_t status = bound_one(job, k, job->blocks[worker]);
        if (status != KX_OK) {
            job->failed[worker] = k;
            return status;
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_transport_lower_bound) KX_BOUND_PARAMETERS {
    if (failed) *failed = -1;
    if (!M || m < 1 || n < 1 || count < 0 || sweeps < 0 || !(reg_share > 0) || !bounds) return KX_E_ARGUMENT;
    if (row_stride % (ptrdiff_t)sizeof(double) != 0) return KX_E_ARGUMENT;
    if (m > INT32_MAX / 4 || n > INT32_MAX / 4 || KX_KERNEL(kx_transport_bound_bytes)(m, n) == 0) return KX_E_OVERFLOW;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    char *memory = (char *)kx_allocate(ctx, (size_t)workers * (sizeof(char *) + sizeof(int64_t)));
    if (!memory) return KX_E_MEMORY;
    kx_bound_job_t job = {ctx, a, b, M, a_offsets, b_offsets, M_offsets, m, n, sweeps, row_stride, reg_share, totals_tolerance,
                          bounds, u, v, (int64_t *)memory, (char **)(memory + (size_t)workers * sizeof(int64_t))};
    for (int64_t w = 0; w < workers; w++) {
        job.failed[w] = -1;
        job.blocks[w] = NULL;
    }
    kx_status_t status = kx_parallel_for(ctx, count, 1 + 65536 / (m * n + 1), bound_range, &job);
    for (int64_t w = 0; w < workers; w++) {
        if (failed && job.failed[w] >= 0 && (*failed < 0 || job.failed[w] < *failed)) *failed = job.failed[w];
        kx_release(ctx, job.blocks[w]);
    }
    kx_release(ctx, memory);
    return status;
}
#endif
