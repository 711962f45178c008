/* The entropic barycenter of histograms over shared costs.

   Each histogram k has potentials x_k of the barycenter's bins, with sum_k shares_k x_k = 0. A pass of its own makes the rows of
   its plan right and gives the column sums c_k; p = prod_k c_k^shares_k is what they agree on, and x_k + log p - log c_k the next
   point. The steps of all histograms are one step of the accelerator, whose dual objective is sum_k shares_k a_k.phi_k. */
#include "kexue/kx_sinkhorn.h"

#include "isa/kernel.h"

#define KX_BARYCENTER_PARAMETERS                                                                                             \
    (const kx_ctx_t *ctx, const double *histograms, const double *M, int64_t count, int64_t m, int64_t n, ptrdiff_t row_stride, \
     const double *shares, double reg, const kx_sinkhorn_options_t *options, double *barycenter, double *error,                 \
     int64_t *iterations)

KX_DISPATCH(kx_transport_barycenter, KX_BARYCENTER_PARAMETERS,
            (ctx, histograms, M, count, m, n, row_stride, shares, reg, options, barycenter, error, iterations))

#ifndef KX_DISPATCH_PASS
#include "kernels/sinkhorn_internal.h"

/* Potentials beyond it are not put on the shared kernel. */
#define LARGEST_POTENTIAL 300.0

typedef struct kx_barycenter_job {
    const double *histograms;
    int64_t count, m, n;
    int shared;                 /* all passes use the kernel that was made at x = 0 */
    kx_sinkhorn_arena_t *arenas; /* one a worker; the first one's kernel is the shared one */
    double *K;
    kx_sinkhorn_state_t all;     /* x, phi and r of all histograms, one after the other, for the accelerator; z: the kernel's row tops */
} kx_barycenter_job_t;

/* The column sums of a range of histograms: their logarithms in r, the rows' potentials in phi. */
static kx_status_t run_histograms(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_barycenter_job_t *job = (const kx_barycenter_job_t *)arg;
    kx_sinkhorn_state_t *s = &job->arenas[kx_task_worker(task)].state;
    kx_status_t status = KX_OK;
    for (int64_t k = begin; k < end && status == KX_OK; k++) {
        const double *a = job->histograms + k * job->m;
        double *log_sums = job->all.r + k * s->stride;
        for (int64_t i = 0; i < s->rows; i++) s->a[i] = i < s->m ? a[i] : 0;
        memcpy(s->x, job->all.x + k * s->stride, (size_t)s->stride * sizeof(double));
        s->rate = job->all.rate;
        s->K = job->shared ? job->K : NULL;
        if (job->shared) {
            memset(s->x_absorbed, 0, (size_t)s->stride * sizeof(double));
            memcpy(s->row_top, job->all.z, (size_t)s->rows * sizeof(double));
            for (int64_t j = 0; j < s->stride; j += KX_F64_LANES) kx_f64v_store(s->q + j, kx_f64v_exp(kx_f64v_load(s->x + j)));
            status = KX_KERNEL(kx_sinkhorn_pass)(s);
        } else {
            status = KX_KERNEL(kx_sinkhorn_absorb)(s);
        }
        if (status != KX_OK) return status;
        KX_KERNEL(kx_sinkhorn_row_potentials)(s);
        memcpy(job->all.phi + k * s->rows, s->phi, (size_t)s->rows * sizeof(double));
        kx_f64v least = kx_f64v_set(INFINITY);
        for (int64_t j = 0; j < s->stride; j += KX_F64_LANES) {
            const kx_f64v sum = kx_f64v_mul(kx_f64v_load(s->s + j), kx_f64v_load(s->q + j));
            least = kx_f64v_min(sum, least);
            kx_f64v_store(log_sums + j, kx_f64v_log(sum));
        }
        for (int64_t j = s->n; j < s->stride; j++) log_sums[j] = 0;
        if (kx_f64v_reduce_min(least) >= KX_SINKHORN_LEAST_SUM) continue;
        if (job->shared) return KX_E_INTERNAL; /* the shared kernel has lost a column: the caller makes kernels of their own */
        double *log_shares = s->phi; /* copied already */
        for (int64_t i = 0; i < s->m; i++) log_shares[i] = log(s->w[i]) - s->row_top[i];
        for (int64_t j = 0; j < s->n; j++) {
            if (!(s->s[j] >= KX_SINKHORN_LEAST_SUM)) log_sums[j] = KX_KERNEL(kx_sinkhorn_column_log_sum)(s, log_shares, j);
            if (!(fabs(log_sums[j]) <= DBL_MAX)) return KX_E_INFEASIBLE;
        }
    }
    return status;
}

/* p and the error from the logarithms of the column sums, which become the steps. */
static void agree(kx_barycenter_job_t *job, const double *shares, double *log_p) {
    const int64_t stride = job->arenas[0].state.stride;
    kx_f64v error = kx_f64v_set(0);
    for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
        kx_f64v sum = kx_f64v_set(0);
        for (int64_t k = 0; k < job->count; k++)
            sum = kx_f64v_fma(kx_f64v_set(shares[k]), kx_f64v_load(job->all.r + k * stride + j), sum);
        kx_f64v_store(log_p + j, sum);
        const kx_f64v p = kx_f64v_exp(sum);
        for (int64_t k = 0; k < job->count; k++) {
            double *at = job->all.r + k * stride + j;
            const kx_f64v r = kx_f64v_load(at);
            const kx_f64v away = kx_f64v_abs(kx_f64v_sub(kx_f64v_exp(r), p));
            error = kx_f64v_fma(kx_f64v_set(shares[k]), away, error);
            kx_f64v_store(at, kx_f64v_sub(sum, r));
        }
    }
    job->all.error = kx_f64v_sum(error);
}

static double largest_of(const double *x, int64_t n) {
    double largest = 0;
    for (int64_t j = 0; j < n; j++) largest = fabs(x[j]) > largest ? fabs(x[j]) : largest;
    return largest;
}

static kx_status_t iterate(const kx_ctx_t *ctx, kx_barycenter_job_t *job, kx_sinkhorn_accelerator_t *accelerator,
                           const double *shares, double tolerance, int64_t max_iter, double *log_p, int64_t *iterations) {
    kx_sinkhorn_state_t *first = &job->arenas[0].state, *all = &job->all;
    const int64_t size = job->count * first->stride, grain = 1 + 65536 / (job->m * job->n);
    int64_t next_poll = 0;
    kx_status_t status = KX_OK;
    job->shared = job->K && largest_of(all->x, size) <= LARGEST_POTENTIAL;
    if (job->K) {
        first->K = job->K;
        first->rate = all->rate;
        memset(first->x, 0, (size_t)first->stride * sizeof(double));
        for (int64_t i = 0; i < first->rows; i++) first->a[i] = i < first->m ? 1 : 0;
        status = KX_KERNEL(kx_sinkhorn_absorb)(first);
        if (status != KX_OK) return status;
        memcpy(job->all.z, first->row_top, (size_t)first->rows * sizeof(double));
    }
    KX_KERNEL(kx_sinkhorn_accelerator_reset)(accelerator);
    for (;;) {
        if (kx_ctx_should_stop(ctx, &next_poll)) return KX_E_CANCELLED;
        status = kx_parallel_for(ctx, job->count, grain, run_histograms, job);
        if (status == KX_E_INTERNAL && job->shared) {
            job->shared = 0;
            continue;
        }
        if (status != KX_OK) return status;
        ++*iterations;
        agree(job, shares, log_p);
        if (all->error <= tolerance) return KX_OK;
        const int accepted = KX_KERNEL(kx_sinkhorn_accelerate)(accelerator, all);
        if (*iterations >= max_iter && accepted) return KX_W_MAXITER;
        if (job->shared && largest_of(all->x, size) > LARGEST_POTENTIAL) job->shared = 0;
    }
}

kx_status_t KX_KERNEL(kx_transport_barycenter) KX_BARYCENTER_PARAMETERS {
    if (!histograms || !M || !shares || !options || !barycenter || count < 1 || m < 1 || n < 1) return KX_E_ARGUMENT;
    if (!(reg > 0 && reg <= DBL_MAX) || !kx_sinkhorn_options_sound(options)) return KX_E_ARGUMENT;
    if (m > INT32_MAX / 4 || n > INT32_MAX / 4 || count > INT32_MAX / 4) return KX_E_OVERFLOW;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    const int64_t rows = kx_round_up(m, KX_SINKHORN_ROUND), stride = kx_round_up(n, KX_SINKHORN_ROUND);
    if (stride > INT64_MAX / 256 / rows || (rows + stride) > INT64_MAX / 256 / KX_SINKHORN_MEMORY / count) return KX_E_OVERFLOW;
    const int memory = options->memory ? options->memory : KX_SINKHORN_USUAL_MEMORY;
    kx_sinkhorn_options_t chosen = *options;
    chosen.method = KX_SINKHORN_LOG;
    kx_sinkhorn_arena_t shape;
    const size_t own = KX_KERNEL(kx_sinkhorn_arena_cut)(&shape, m, n, kx_sinkhorn_kernel_size(m, n), 1, &chosen, NULL);
    kx_barycenter_job_t job = {histograms, count, m, n, 0, NULL, NULL, {0}};
    kx_sinkhorn_accelerator_t accelerator = {0};
    kx_layout_t layout = {0, 0};
    const size_t arenas = kx_layout_add(&layout, workers, sizeof(kx_sinkhorn_arena_t));
    const size_t blocks = kx_layout_add(&layout, workers > INT64_MAX / (int64_t)(own + 1) ? -1 : (int64_t)own * workers, 1);
    const size_t kernel = kx_layout_add(&layout, rows * stride, sizeof(double)), log_p_at = kx_layout_add(&layout, stride, sizeof(double));
    const size_t top = kx_layout_add(&layout, rows, sizeof(double));
    double **columns[] = {&job.all.x, &job.all.r, &job.all.b, &accelerator.previous_x, &accelerator.previous_r};
    double **of_rows[] = {&job.all.a, &job.all.phi, &accelerator.previous_phi};
    const size_t vectors = kx_layout_add(&layout, (5 + 2 * memory) * count * stride + 3 * count * rows, sizeof(double));
    if (own == 0 || layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    job.arenas = (kx_sinkhorn_arena_t *)(block + arenas);
    memset(job.arenas, 0, (size_t)workers * sizeof *job.arenas);
    job.K = (double *)(block + kernel);
    job.all.z = (double *)(block + top);
    double *at = (double *)(block + vectors), *log_p = (double *)(block + log_p_at);
    for (size_t k = 0; k < 5; k++, at += count * stride) *columns[k] = at;
    accelerator.dx = at, at += memory * count * stride;
    accelerator.dr = at, at += memory * count * stride;
    for (size_t k = 0; k < 3; k++, at += count * rows) *of_rows[k] = at;

    double least = INFINITY, largest = -INFINITY;
    kx_status_t status = KX_OK;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            const double cost = *(const double *)((const char *)M + i * row_stride + j * (ptrdiff_t)sizeof(double));
            if (!(fabs(cost) <= DBL_MAX)) status = KX_E_NONFINITE;
            least = cost < least ? cost : least;
            largest = cost > largest ? cost : largest;
        }
    for (int64_t k = 0; k < count * m; k++)
        if (!(histograms[k] >= 0 && histograms[k] <= DBL_MAX)) status = histograms[k] < 0 ? KX_E_NEGATIVE : KX_E_NONFINITE;
    if (status == KX_OK && !((largest - least) / reg <= DBL_MAX / 1e8 && 1 / reg <= DBL_MAX)) status = KX_E_OVERFLOW;
    if (status != KX_OK) {
        kx_release(ctx, block);
        return status;
    }
    for (int64_t w = 0; w < workers; w++) {
        kx_sinkhorn_arena_t *arena = &job.arenas[w];
        KX_KERNEL(kx_sinkhorn_arena_cut)(arena, m, n, kx_sinkhorn_kernel_size(m, n), 1, &chosen, block + blocks + (size_t)w * own);
        kx_sinkhorn_state_t *s = &arena->state;
        s->ctx = ctx;
        KX_KERNEL(kx_sinkhorn_set_sizes)(s, m, n);
        s->M = M;
        s->row_stride = row_stride;
        s->offset = least;
        s->range = largest - least;
        for (int64_t j = 0; j < stride; j++) s->b[j] = 1, s->log_b[j] = 0, s->x[j] = 0;
        for (int64_t i = 0; i < rows; i++) s->t[i] = 1, s->w[i] = s->row_top[i] = 0;
    }
    kx_sinkhorn_state_t *all = &job.all;
    all->m = all->rows = count * rows;
    all->n = all->stride = count * stride;
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < rows; i++) all->a[k * rows + i] = i < m ? shares[k] * histograms[k * m + i] : 0;
        for (int64_t j = 0; j < stride; j++) {
            all->b[k * stride + j] = j < n ? shares[k] / (double)n : 0;
            all->x[k * stride + j] = all->r[k * stride + j] = 0;
        }
    }
    accelerator.kind = options->acceleration == KX_SINKHORN_PLAIN ? KX_SINKHORN_PLAIN : KX_SINKHORN_ANDERSON;
    accelerator.memory = memory;
    const double range = largest - least;
    const int scaled = options->epsilon_scaling > 0 || (options->epsilon_scaling < 0 && range > KX_SINKHORN_SCALING_FROM * reg);
    double level = reg;
    int64_t passes = 0;
    while (scaled && level < range / KX_SINKHORN_SCALING_FIRST) level *= KX_SINKHORN_SCALING_FACTOR;
    for (;; level /= KX_SINKHORN_SCALING_FACTOR) {
        const int last = level <= reg;
        all->rate = 1 / (last ? reg : level);
        all->farthest = 2 * range * all->rate + 1000;
        status = iterate(ctx, &job, &accelerator, shares, last ? options->tolerance : 1e-2, options->max_iter, log_p, &passes);
        if (status < KX_OK || last) break;
        for (int64_t j = 0; j < all->n; j++) all->x[j] *= KX_SINKHORN_SCALING_FACTOR;
    }
    if (status >= KX_OK) {
        double sum = 0;
        for (int64_t j = 0; j < n; j++) sum += barycenter[j] = exp(log_p[j]);
        for (int64_t j = 0; j < n; j++) barycenter[j] /= sum;
        if (error) *error = all->error;
        if (iterations) *iterations = passes;
    }
    kx_release(ctx, block);
    return status;
}
#endif
