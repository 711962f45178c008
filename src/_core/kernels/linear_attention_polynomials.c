/* Monomials and tensor powers of rows: each number is one of a lower degree times one factor, in runs of neighbours. */
#ifndef KX_REAL
#include "kexue/kx_linear_attention.h"

#include "isa/kernel.h"

#define KX_POLYNOMIAL_PARAMETERS(real)                                                                                          \
    (const kx_ctx_t *ctx, kx_polynomial_t kind, const real *x, int64_t rows, ptrdiff_t row, int64_t d, int64_t degree,          \
     double scale, const double *degree_scales, real *out)
#define KX_POLYNOMIAL_ARGUMENTS (ctx, kind, x, rows, row, d, degree, scale, degree_scales, out)
KX_DISPATCH(kx_polynomial_features_size, (kx_polynomial_t kind, int64_t d, int64_t degree, int64_t *size), (kind, d, degree,
    size))
KX_DISPATCH(kx_polynomial_features_f32, KX_POLYNOMIAL_PARAMETERS(float), KX_POLYNOMIAL_ARGUMENTS)
KX_DISPATCH(kx_polynomial_features_f64, KX_POLYNOMIAL_PARAMETERS(double), KX_POLYNOMIAL_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <math.h>

#include "runtime/flags.h"
#include "runtime/memory.h"

static const int64_t LARGEST = (int64_t)1 << 48;

typedef struct kx_polynomial_job {
    kx_polynomial_t kind;
    const void *x;
    void *out;
    ptrdiff_t row;
    int64_t d, degree, size;
    double scale;
    const double *degree_scales;
    int64_t *counts;  /* [variables * (degree + 1) + m]: monomials of degree m in so many variables */
    double *powers;   /* of a worker's row: [i * (degree + 1) + e] is x_i^e / sqrt(e!) */
    size_t worker_powers;
} kx_polynomial_job_t;

kx_status_t KX_KERNEL(kx_polynomial_features_size)(kx_polynomial_t kind, int64_t d, int64_t degree, int64_t *size) {
    if (d < 0 || degree < 0 || !size || (int)kind < KX_POLYNOMIAL_MONOMIALS
        || kind > KX_POLYNOMIAL_TENSOR_POWER) return KX_E_ARGUMENT;
    if (d > LARGEST || degree > LARGEST) return KX_E_OVERFLOW;
    double estimate = 1, power = 1; /* exact while it is small, and never wrapped around */
    if (kind == KX_POLYNOMIAL_MONOMIALS) {
        const int64_t less = d < degree ? d : degree, more = d < degree ? degree : d;
        int64_t exact = 1; /* C(more + k, k), divisible in each step */
        for (int64_t k = 1; k <= less; k++) {
            estimate *= (double)(more + k) / (double)k;
            if (estimate > (double)LARGEST) return KX_E_OVERFLOW;
            const int64_t whole = exact / k, rest = exact % k;
            exact = whole * (more + k) + rest * (more + k) / k;
        }
        *size = exact;
        return KX_OK;
    }
    const double base = (double)(kind == KX_POLYNOMIAL_TENSORS ? d : d + 1);
    for (int64_t m = 1; m <= degree && power > 0; m++) {
        power *= base;
        estimate = kind == KX_POLYNOMIAL_TENSORS ? estimate + power : power;
        if (estimate > (double)LARGEST) return KX_E_OVERFLOW;
        if (base == 1 && kind == KX_POLYNOMIAL_TENSORS) {
            estimate = (double)(degree + 1);
            break;
        }
        if (base == 1) break;
    }
    *size = (int64_t)estimate;
    return KX_OK;
}
#endif

#define KX_TEMPLATE "kernels/linear_attention_polynomials.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS

static KX_ALWAYS_INLINE void KX_TYPED(scaled_run)(const KX_REAL *KX_RESTRICT from, int64_t count, KX_REAL factor,
                                                  KX_REAL *KX_RESTRICT to) {
    for (int64_t t = 0; t < count; t++) to[t] = factor * from[t];
}

static void KX_TYPED(monomials)(const kx_polynomial_job_t *job, const KX_REAL *x, double *powers, KX_REAL *out) {
    const int64_t d = job->d, degree = job->degree, stride = degree + 1;
    for (int64_t i = 0; i < d; i++) {
        double power = 1;
        for (int64_t e = 1; e <= degree; e++) powers[i * stride
            + e] = power = power * ((double)x[i] * job->scale) / sqrt((double)e);
    }
    /* Those whose first variable is i, e times, are x_i^e / sqrt(e!) times all of degree m - e in the variables after i: a run
       that ends where those of degree m - e end. */
    out[0] = 1;
    int64_t place = 1;
    for (int64_t m = 1; m <= degree; m++)
        for (int64_t i = 0; i < d; i++) {
            int64_t end = 1;
            for (int64_t e = m; e >= 1; e--) {
                if (e < m) end += job->counts[d * stride + m - e];
                const int64_t run = job->counts[(d - i - 1) * stride + m - e];
                double factor = powers[i * stride + e];
                if (job->degree_scales) factor *= job->degree_scales[m] / job->degree_scales[m - e];
                KX_TYPED(scaled_run)(out + end - run, run, (KX_REAL)factor, out + place);
                place += run;
            }
        }
}

static void KX_TYPED(tensors)(const kx_polynomial_job_t *job, const KX_REAL *x, KX_REAL *out) {
    int64_t length = 1;
    out[0] = 1;
    for (int64_t m = 1; m <= job->degree; m++) {
        const double factor = job->kind == KX_POLYNOMIAL_TENSORS ? job->scale / sqrt((double)m) : job->scale;
        KX_REAL *to = out + length;
        for (int64_t i = 0; i < job->d; i++) KX_TYPED(scaled_run)(out, length, (KX_REAL)((double)x[i] * factor), to + i * length);
        if (job->kind == KX_POLYNOMIAL_TENSORS) {
            out = to;
            length *= job->d;
        } else {
            length *= job->d + 1; /* the first of y = (1, x) leaves the power before where it is */
        }
        if (length == 0) break;
    }
}

static kx_status_t KX_TYPED(expand)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_polynomial_job_t *job = (const kx_polynomial_job_t *)arg;
    double *powers = job->powers + (size_t)kx_task_worker(task) * job->worker_powers;
    for (int64_t r = begin; r < end; r++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const KX_REAL *x = (const KX_REAL *)(const void *)((const char *)job->x + r * job->row);
        KX_REAL *out = (KX_REAL *)job->out + r * job->size;
        if (job->kind == KX_POLYNOMIAL_MONOMIALS) KX_TYPED(monomials)(job, x, powers, out);
        else KX_TYPED(tensors)(job, x, out);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_polynomial_features)) KX_POLYNOMIAL_PARAMETERS(KX_REAL) {
    kx_polynomial_job_t job = {.kind = kind, .x = x, .out = out, .row = row, .d = d, .degree = degree, .scale = scale,
                               .degree_scales = degree_scales};
    const kx_status_t sized = KX_KERNEL(kx_polynomial_features_size)(kind, d, degree, &job.size);
    if (sized != KX_OK) return sized;
    if (rows < 0) return KX_E_ARGUMENT;
    if (rows > INT64_MAX / (job.size * (int64_t)sizeof *out)) return KX_E_OVERFLOW;
    if (rows == 0) return KX_OK;
    if (d == 0) job.degree = degree = 0; /* a row is 1 for any degree, which may be large */
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (workers > rows) workers = rows;
    kx_layout_t layout = {0, 0};
    if (kind == KX_POLYNOMIAL_MONOMIALS && (d + 1) > INT64_MAX / 16 / (degree + 1) / workers) return KX_E_OVERFLOW;
    const int64_t table = kind == KX_POLYNOMIAL_MONOMIALS ? (d + 1) * (degree + 1) : 0;
    const size_t counts = kx_layout_add(&layout, table, sizeof(int64_t)), powers = kx_layout_add(&layout, table * workers + 1,
        sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    job.counts = (int64_t *)(void *)(memory + counts), job.powers = (double *)(void *)(memory + powers),
        job.worker_powers = (size_t)table;
    for (int64_t v = 0; table > 0 && v <= d; v++) /* all are within job.size */
        for (int64_t m = 0; m <= degree; m++)
            job.counts[v * (degree + 1) + m] =
                m == 0 ? 1 : v == 0 ? 0 : job.counts[(v - 1) * (degree + 1) + m] + job.counts[v * (degree + 1) + m - 1];
    const int64_t grain = job.size < 65536 ? 65536 / job.size : 1;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, rows, grain, KX_TYPED(expand), &job);
    kx_flags_end(flags, fetestexcept(FE_OVERFLOW));
    kx_release(ctx, memory);
    return status;
}
#endif
#endif
