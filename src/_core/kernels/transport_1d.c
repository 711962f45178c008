/* Exact transport on the line: for a cost |x - y|^p with p >= 1 the monotone plan is optimal (Santambrogio, Optimal Transport for
   Applied Mathematicians, doi 10.1007/978-3-319-20828-2, theorem 2.9), so a merge of the sorted points is enough. */
#include "kexue/kx_transport.h"

#include "isa/kernel.h"

#define KX_LINE_PARAMETERS                                                                                                   \
    (const kx_ctx_t *ctx, const double *x, const double *y, const double *a, const double *b, int64_t count,                  \
     const int64_t *x_order, const int64_t *y_order, const int64_t *a_offsets, const int64_t *b_offsets, int64_t m, int64_t n, \
     double power, const kx_emd_options_t *options, const kx_emd_outputs_t *outputs, int64_t *failed)
#define KX_LINE_ARGUMENTS \
    (ctx, x, y, a, b, count, x_order, y_order, a_offsets, b_offsets, m, n, power, options, outputs, failed)
KX_DISPATCH(kx_transport_emd_1d, KX_LINE_PARAMETERS, KX_LINE_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <float.h>
#include <math.h>

#include "runtime/sum.h"

typedef struct kx_line_job {
    const double *x, *y, *a, *b;
    const int64_t *x_order, *y_order, *a_offsets, *b_offsets;
    int64_t m, n;
    double power;
    const kx_emd_options_t *options;
    const kx_emd_outputs_t *outputs;
} kx_line_job_t;

static kx_status_t total_of(const double *weights, int64_t n, double *total) {
    *total = 1;
    if (!weights) return KX_OK;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(weights[i]) <= DBL_MAX)) return KX_E_NONFINITE;
        if (weights[i] < 0) return KX_E_NEGATIVE;
    }
    *total = kx_sum(weights, n);
    if (!(*total <= DBL_MAX)) return KX_E_OVERFLOW;
    return *total > 0 ? KX_OK : KX_E_EMPTY;
}

/* What a point still has to move, as an unevaluated sum: a heavy point that feeds a million others would lose the digits that the
   marginals promise. */
typedef struct kx_remainder {
    double high, low;
} kx_remainder_t;

static inline kx_remainder_t take(kx_remainder_t left, double mass) {
    const double high = left.high - mass;
    left.low += (left.high - high) - mass;
    left.high = high;
    return left;
}

static inline double cost_of(double x, double y, double power) {
    const double distance = fabs(x - y);
    if (power == 2) return distance * distance;
    return power == 1 ? distance : pow(distance, power);
}

static kx_status_t solve_line(const kx_line_job_t *job, int64_t index) {
    const int64_t m = job->m, n = job->n;
    const double *x = job->x + index * m, *y = job->y + index * n;
    const int64_t *x_order = job->x_order + index * m, *y_order = job->y_order + index * n;
    const char *a_bytes = (const char *)job->a, *b_bytes = (const char *)job->b;
    const double *a = job->a ? (const double *)(a_bytes + (job->a_offsets ? job->a_offsets[index] : 0)) : NULL;
    const double *b = job->b ? (const double *)(b_bytes + (job->b_offsets ? job->b_offsets[index] : 0)) : NULL;
    double total_a, total_b;
    kx_status_t status = total_of(a, m, &total_a);
    if (status == KX_OK) status = total_of(b, n, &total_b);
    if (status != KX_OK) return status;
    const double larger = total_a > total_b ? total_a : total_b;
    if (!(fabs(total_a - total_b) <= job->options->totals_tolerance * larger)) return KX_E_TOTALS;
    const double scale_b = total_a / total_b;

    const kx_emd_outputs_t *outputs = job->outputs;
    const int64_t slot = index * (m + n - 1);
    int64_t i = 0, j = 0, entries = 0;
    kx_remainder_t left_a = {0, 0}, left_b = {0, 0};
    double weight_a = 0, weight_b = 0, sum = 0, correction = 0;
    int64_t row = 0, column = 0;
    for (;;) {
        /* A remainder of a few roundings of its weight is an exact tie. */
        while (left_a.high + left_a.low <= 8 * DBL_EPSILON * weight_a && i < m) {
            row = x_order[i++];
            left_a.high = weight_a = a ? a[row] : 1.0 / (double)m;
            left_a.low = 0;
        }
        while (left_b.high + left_b.low <= 8 * DBL_EPSILON * weight_b && j < n) {
            column = y_order[j++];
            left_b.high = weight_b = b ? b[column] * scale_b : scale_b / (double)n;
            left_b.low = 0;
        }
        const double has_a = left_a.high + left_a.low, has_b = left_b.high + left_b.low;
        const double mass = has_a < has_b ? has_a : has_b;
        if (mass <= 8 * DBL_EPSILON * (weight_a < weight_b ? weight_a : weight_b)) break;
        left_a = take(left_a, mass);
        left_b = take(left_b, mass);
        const double term = mass * cost_of(x[row], y[column], job->power), t = sum + term;
        correction += sum >= term ? (sum - t) + term : (term - t) + sum;
        sum = t;
        if (outputs->rows && entries < m + n - 1) {
            outputs->rows[slot + entries] = row;
            outputs->columns[slot + entries] = column;
            outputs->masses[slot + entries] = mass;
            entries++;
        }
    }
    if (!(fabs(sum) <= DBL_MAX)) return KX_E_OVERFLOW;
    if (outputs->costs) outputs->costs[index] = sum + correction;
    if (outputs->rows) outputs->entry_counts[index] = entries;
    return KX_OK;
}

static kx_status_t solve_lines(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_line_job_t *job = (const kx_line_job_t *)arg;
    for (int64_t k = begin; k < end; k++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        kx_status_t status = solve_line(job, k);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_transport_emd_1d) KX_LINE_PARAMETERS {
    if (failed) *failed = -1;
    if (!x || !y || !x_order || !y_order || m < 1 || n < 1 || count < 0 || !options || !outputs || !(power >= 1)) return KX_E_ARGUMENT;
    if (m > INT64_MAX / 64 - n) return KX_E_OVERFLOW;
    kx_line_job_t job = {x, y, a, b, x_order, y_order, a_offsets, b_offsets, m, n, power, options, outputs};
    const int64_t grain = 1 + 8192 / (m + n);
    return kx_parallel_for(ctx, count, grain, solve_lines, &job);
}
#endif
