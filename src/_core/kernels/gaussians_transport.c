/* The 2-Wasserstein distance of Gaussians. gaussians_transport_map.c has the map and the gradient.

   With factors S = F F^T, tr (Sp^1/2 Sq Sp^1/2)^1/2 is the sum of the singular values of Fq^T Fp, and that is how most items
   are done, a group of LANES at a time. The items for which that is not good enough are done once more: those with a nearly
   singular matrix, whose factors need twice the precision, and those whose traces cancel. Of the latter, with Fq^T Fp = A s
   V^T,

       tr Sp + tr Sq - 2 tr s = |Fp V - Fq A|^2 = min over orthogonal U of |Fp - Fq U|^2,

   a sum of squares of differences, in which an error of A or V counts by its square. */
#include "kexue/kx_gaussians.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_transport_internal.h"
#include "runtime/flags.h"

enum { LANES = KX_F64_LANES };

/* Of the traces: the traces' difference below it has lost more than five digits. */
#define CANCELLED 1e-4

typedef struct task {
    const kx_ctx_t *ctx;
    const kx_batch_t *mean_p, *cov_p, *mean_q, *cov_q;
    int64_t items, n;
    kx_gaussian_form_t form;
    int is_squared, is_float, is_invalid, is_overflow;
    char *out;
    ptrdiff_t out_stride;
    kx_transport_side_t p, q;
    double *product, *work[2], *scratch, *means, *difference;
    char *block;
    /* of the items that are done once more */
    kx_transport_side_t careful_p, careful_q;
    double *item_scratch, *other, *vectors;
    char *careful_block;
    int64_t pending[LANES];
    int pending_count;
} task;

/* What a lane's result is made of; sizes are in units of 4^exponent. */
typedef struct parts {
    double cov, traces, means;
    int cov_exponent, means_exponent;
} parts;

static double total_of(const parts *a, int *exponent) {
    *exponent = a->means == 0 ? a->cov_exponent : a->cov == 0 ? a->means_exponent
              : a->cov_exponent > a->means_exponent ? a->cov_exponent : a->means_exponent;
    if (a->cov_exponent == 0 && a->means_exponent == 0) return a->cov + a->means;
    return ldexp(a->cov, 2 * (a->cov_exponent - *exponent)) + ldexp(a->means, 2 * (a->means_exponent - *exponent));
}

static void write_result(task *t, int64_t item, const parts *a) {
    int exponent;
    double value = total_of(a, &exponent);
    if (!t->is_squared) value = sqrt(value);
    if (exponent) value = ldexp(value, t->is_squared ? 2 * exponent : exponent);
    if (isnan(a->cov)) t->is_invalid = 1;
    if (kx_transport_write(t->out + item * t->out_stride, value, t->is_float) && isfinite(a->cov + a->means)) t->is_overflow = 1;
}

/* The traces and the factors' scales, relative to the larger one. */
static double relative_scales(const kx_transport_side_t *p, const kx_transport_side_t *q, int lane, double *scale_p,
                              double *scale_q, int *exponent) {
    const int ep = p->exponent[lane], eq = q->exponent[lane];
    *exponent = ep > eq ? ep : eq;
    *scale_p = *scale_q = 1;
    if (ep != eq) *scale_p = ldexp(1, ep - *exponent), *scale_q = ldexp(1, eq - *exponent);
    return p->trace[lane] * *scale_p * *scale_p + q->trace[lane] * *scale_q * *scale_q;
}

static void sum_values(const double *values, int64_t n, double *sums) {
    kx_f64v sum = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j++) sum = kx_f64v_add(sum, kx_f64v_load(values + j * LANES));
    kx_f64v_store(sums, sum);
}

/* Lanes in which both factors are the same to the last bit. */
static unsigned equal_lanes(const task *t) {
    kx_f64v most = kx_f64v_set(0);
    double differences[LANES];
    for (int64_t i = 0; i < t->n * t->n; i++) {
        const kx_f64v d = kx_f64v_sub(kx_f64v_load(t->careful_p.factor + i * LANES),
                                      kx_f64v_load(t->careful_q.factor + i * LANES));
        most = kx_f64v_max(most, kx_f64v_abs(d));
    }
    kx_f64v_store(differences, most);
    unsigned equal = 0;
    for (int l = 0; l < LANES; l++)
        if (differences[l] == 0 && t->careful_p.exponent[l] == t->careful_q.exponent[l]) equal |= 1u << l;
    return equal;
}

/* |Fp V - Fq A|^2 with both factors scaled, from the orthogonal rows s_j a_j^T in t->product and V^T in t->vectors. Rows of
   zeros leave A without some columns. There Fq A counts as what Fq^T has outside of the others. */
static void procrustes(const task *t, const double *row_squares, const double *scales_p, const double *scales_q,
                       double *squares_out) {
    const int64_t n = t->n;
    const kx_f64v zero = kx_f64v_set(0), lowest = kx_f64v_set(1e-290), scale_p = kx_f64v_load(scales_p),
        scale_q = kx_f64v_load(scales_q);
    unsigned incomplete = 0;
    for (int64_t j = 0; j < n; j++) {
        const kx_f64v square = kx_f64v_load(row_squares + j * LANES);
        const kx_f64m is_there = kx_f64v_less(lowest, square);
        const kx_f64v scale = kx_f64v_select(is_there, kx_f64v_div(kx_f64v_set(1), kx_f64v_sqrt(square)), zero);
        incomplete |= ~kx_f64m_bits(is_there) & ((1u << LANES) - 1);
        for (int64_t i = 0; i < n; i++) {
            double *to = t->product + (j * n + i) * LANES;
            kx_f64v_store(to, kx_f64v_mul(kx_f64v_load(to), scale));
        }
    }
    kx_f64v sum = zero;
    kx_lanes_multiply_f64(t->vectors, KX_LANES_PLAIN, t->careful_p.factor, KX_LANES_TRANSPOSED, n, KX_LANES_FULL, 0, t->other);
    for (int64_t i = 0; i < n * n; i++) {
        double *to = t->other + i * LANES;
        kx_f64v_store(to, kx_f64v_mul(kx_f64v_load(to), scale_p));
    }
    kx_lanes_multiply_f64(t->product, KX_LANES_PLAIN, t->careful_q.factor, KX_LANES_TRANSPOSED, n, KX_LANES_FULL, 0, t->vectors);
    for (int64_t i = 0; i < n * n; i++) {
        const kx_f64v d = kx_f64v_sub(kx_f64v_load(t->other + i * LANES),
                                      kx_f64v_mul(scale_q, kx_f64v_load(t->vectors + i * LANES)));
        sum = kx_f64v_fma(d, d, sum);
    }
    if (incomplete) {
        kx_f64v rest = zero;
        kx_lanes_multiply_f64(t->product, KX_LANES_TRANSPOSED, t->vectors, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, t->other);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                const kx_f64v d = kx_f64v_sub(kx_f64v_load(t->careful_q.factor + (j * n + i) * LANES),
                                              kx_f64v_load(t->other + (i * n + j) * LANES));
                rest = kx_f64v_fma(d, d, rest);
            }
        rest = kx_f64v_mul(rest, kx_f64v_mul(scale_q, scale_q));
        sum = kx_f64v_select(kx_f64m_from_bits(incomplete), kx_f64v_add(sum, rest), sum);
    }
    kx_f64v_store(squares_out, sum);
}

static kx_status_t prepare_careful(task *t) {
    const int64_t n = t->n;
    kx_layout_t layout = {0, 0};
    size_t at[7];
    for (int k = 0; k < 4; k++) at[k] = kx_layout_add(&layout, n * n * LANES, sizeof(double));
    for (int k = 4; k < 6; k++) at[k] = kx_layout_add(&layout, n * LANES, sizeof(double));
    at[6] = kx_layout_add(&layout, 4 * n * n + 2 * n, sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    t->careful_block = (char *)kx_allocate(t->ctx, layout.bytes);
    if (!t->careful_block) return KX_E_MEMORY;
    double *arrays[7];
    for (int k = 0; k < 7; k++) arrays[k] = (double *)(void *)(t->careful_block + at[k]);
    t->careful_p = t->p, t->careful_q = t->q;
    t->careful_p.factor = arrays[0], t->careful_p.inverse = arrays[4];
    t->careful_q.factor = arrays[1], t->careful_q.inverse = arrays[5];
    t->other = arrays[2], t->vectors = arrays[3], t->item_scratch = arrays[6];
    return KX_OK;
}

/* Does the pending items once more; lanes that are left over hold matrices of zeros. */
static kx_status_t finish_pending(task *t) {
    const int64_t n = t->n, size = n * n * LANES;
    if (t->pending_count == 0) return KX_OK;
    if (!t->careful_block) {
        const kx_status_t status = prepare_careful(t);
        if (status != KX_OK) return status;
    }
    kx_transport_side_t *p = &t->careful_p, *q = &t->careful_q;
    parts results[LANES];
    unsigned invalid = 0, cancelled = 0;
    double scales_p[LANES], scales_q[LANES], sums[LANES], squares[LANES];
    memset(p->factor, 0, (size_t)size * sizeof(double)), memset(q->factor, 0, (size_t)size * sizeof(double));
    for (int l = 0; l < LANES; l++) {
        int exponents[LANES];
        double least;
        p->trace[l] = q->trace[l] = 0, p->exponent[l] = q->exponent[l] = 0;
        results[l].means = 0, results[l].means_exponent = 0;
        if (l >= t->pending_count) continue;
        const int64_t item = t->pending[l];
        if (!KX_KERNEL(kx_transport_factor_item)(p, item, l, 0, t->item_scratch, &least)) invalid |= 1u << l;
        if (!KX_KERNEL(kx_transport_factor_item)(q, item, l, 0, t->item_scratch, &least)) invalid |= 1u << l;
        KX_KERNEL(kx_transport_difference)(t->mean_p, t->mean_q, t->is_float, item, 1, n, t->means, t->difference, squares,
                                           exponents);
        results[l].means = squares[0], results[l].means_exponent = exponents[0];
    }
    const unsigned equal = equal_lanes(t);
    kx_lanes_multiply_f64(p->factor, KX_LANES_TRANSPOSED, q->factor, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, t->product);
    memcpy(t->other, t->product, (size_t)size * sizeof(double));
    KX_KERNEL(kx_lanes_bidiagonalize)(t->other, n, t->work[0]);
    unsigned unfinished[2];
    double *values[2];
    KX_KERNEL(kx_lanes_singular_values)(t->work, 1, n, unfinished, values);
    sum_values(values[0], n, sums);
    for (int l = 0; l < LANES; l++) {
        parts *a = results + l;
        int exponent;
        a->traces = relative_scales(p, q, l, scales_p + l, scales_q + l, &a->cov_exponent);
        a->cov = equal >> l & 1 ? 0 : fmax(a->traces - 2 * sums[l] * scales_p[l] * scales_q[l], 0);
        const double total = total_of(a, &exponent);
        if (total < ldexp(CANCELLED * a->traces, 2 * (a->cov_exponent - exponent))) cancelled |= 1u << l;
    }
    cancelled = (cancelled | unfinished[0]) & ~equal;
    if (cancelled) {
        double *lengths = t->work[0], *row_squares = t->difference;
        KX_KERNEL(kx_lanes_orthogonalize_rows)(t->product, t->vectors, n, row_squares);
        for (int64_t j = 0; j < n; j++)
            kx_f64v_store(lengths + j * LANES, kx_f64v_sqrt(kx_f64v_load(row_squares + j * LANES)));
        sum_values(lengths, n, sums);
        procrustes(t, row_squares, scales_p, scales_q, squares);
        for (int l = 0; l < LANES; l++) {
            if (!(cancelled >> l & 1)) continue;
            results[l].cov = results[l].traces - 2 * sums[l] * scales_p[l] * scales_q[l];
            if (results[l].cov < CANCELLED * results[l].traces) results[l].cov = squares[l];
        }
    }
    for (int l = 0; l < t->pending_count; l++) {
        if (invalid >> l & 1) results[l].cov = (double)NAN;
        write_result(t, t->pending[l], results + l);
    }
    t->pending_count = 0;
    return KX_OK;
}

/* What is known of a group when its singular values are not yet. */
typedef struct group {
    int64_t first;
    int count, cov_exponent[LANES], means_exponent[LANES];
    unsigned doubtful;
    double traces[LANES], scale[LANES], means[LANES], spread[LANES];
} group;

static void prepare_group(task *t, int64_t first, group *g, double *work) {
    const int64_t n = t->n;
    kx_transport_side_t *p = &t->p, *q = &t->q;
    g->first = first;
    g->count = t->items - first < LANES ? (int)(t->items - first) : LANES;
    if (first == 0 || p->batch->batch != 0) KX_KERNEL(kx_transport_factor)(p, first, g->count, t->scratch);
    if (first == 0 || q->batch->batch != 0) KX_KERNEL(kx_transport_factor)(q, first, g->count, t->scratch);
    KX_KERNEL(kx_transport_difference)(t->mean_p, t->mean_q, t->is_float, first, g->count, n, t->means, t->difference, g->means,
                                       g->means_exponent);
    kx_lanes_multiply_f64(q->factor, KX_LANES_TRIANGLE_TRANSPOSED, p->factor, KX_LANES_TRIANGLE, n, KX_LANES_FULL, 0, t->product);
    KX_KERNEL(kx_lanes_bidiagonalize)(t->product, n, work);
    g->doubtful = t->form == KX_GAUSSIAN_COVARIANCE ? p->doubtful | q->doubtful : 0;
    for (int l = 0; l < LANES; l++) {
        double scale_p, scale_q;
        g->traces[l] = relative_scales(p, q, l, &scale_p, &scale_q, g->cov_exponent + l);
        g->scale[l] = scale_p * scale_q;
        g->spread[l] = 0.5 * (p->spread[l] + q->spread[l]);
    }
}

static kx_status_t finish_group(task *t, const group *g, const double *values) {
    double sums[LANES];
    sum_values(values, t->n, sums);
    for (int l = 0; l < g->count; l++) {
        parts a = {.traces = g->traces[l], .means = g->means[l], .cov_exponent = g->cov_exponent[l],
                   .means_exponent = g->means_exponent[l]};
        int exponent;
        a.cov = a.traces - 2 * sums[l] * g->scale[l];
        if (a.cov < 0) a.cov = 0; /* not fmax: a NaN stays */
        const double bound = CANCELLED * g->spread[l] * a.traces, total = total_of(&a, &exponent);
        const int change = 2 * (a.cov_exponent - exponent), is_cancelled = total < (change ? ldexp(bound, change) : bound);
        if (!(g->doubtful >> l & 1) && !is_cancelled) {
            write_result(t, g->first + l, &a);
            continue;
        }
        t->pending[t->pending_count++] = g->first + l;
        if (t->pending_count < LANES) continue;
        const kx_status_t status = finish_pending(t);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

/* Two groups at a time, as singular values are found of two faster than of one and one. */
static kx_status_t run_groups(task *t) {
    for (int64_t first = 0; first < t->items; first += 2 * LANES) {
        const int count = t->items - first > LANES ? 2 : 1;
        group g[2];
        unsigned unfinished[2];
        double *values[2];
        for (int k = 0; k < count; k++) prepare_group(t, first + k * LANES, g + k, t->work[k]);
        KX_KERNEL(kx_lanes_singular_values)(t->work, count, t->n, unfinished, values);
        for (int k = 0; k < count; k++) {
            g[k].doubtful |= unfinished[k];
            const kx_status_t status = finish_group(t, g + k, values[k]);
            if (status != KX_OK) return status;
        }
    }
    return finish_pending(t);
}

enum { ENTRIES = 64 };

/* `width` entries of a vector to `to`, `fill` in the rest of the last lanes. */
static void read_entries(const kx_batch_t *from, int64_t item, int64_t begin, int64_t width, int is_float, double fill, double *to) {
    const char *entries = (const char *)from->data + item * from->batch + begin * from->row;
    if (!is_float && from->row == sizeof(double)) memcpy(to, entries, (size_t)width * sizeof *to);
    else
        for (int64_t j = 0; j < width; j++) to[j] = kx_transport_read(entries + j * from->row, is_float);
    for (int64_t j = width; j % LANES; j++) to[j] = fill;
}

/* The sum of the squares of (m_p - m_q) scale and of (sqrt(v_p) - sqrt(v_q)) scale; *largest: what is squared, at most. 0 if a variance is
   none. */
static int sum_diagonal(const task *t, int64_t item, double scale, double *sum, double *largest) {
    const kx_f64v zero = kx_f64v_set(0), below_zero = kx_f64v_set(-0x1p-1074), infinity = kx_f64v_set((double)INFINITY);
    kx_f64v total = zero, top = zero;
    unsigned good = (1u << LANES) - 1;
    double mean_p[ENTRIES], mean_q[ENTRIES], p[ENTRIES], q[ENTRIES];
    for (int64_t begin = 0; begin < t->n; begin += ENTRIES) {
        const int64_t width = t->n - begin < ENTRIES ? t->n - begin : ENTRIES;
        read_entries(t->mean_p, item, begin, width, t->is_float, 0, mean_p);
        read_entries(t->mean_q, item, begin, width, t->is_float, 0, mean_q);
        read_entries(t->cov_p, item, begin, width, t->is_float, 1, p);
        read_entries(t->cov_q, item, begin, width, t->is_float, 1, q);
        for (int64_t j = 0; j < width; j += LANES) {
            const kx_f64v vp = kx_f64v_load(p + j), vq = kx_f64v_load(q + j), unit = kx_f64v_set(scale);
            good &= kx_f64m_bits(kx_f64v_less(below_zero, vp)) & kx_f64m_bits(kx_f64v_less(below_zero, vq)) &
                    kx_f64m_bits(kx_f64v_less(vp, infinity)) & kx_f64m_bits(kx_f64v_less(vq, infinity));
            const kx_f64v roots = kx_f64v_add(kx_f64v_sqrt(vp), kx_f64v_sqrt(vq)); /* (v_p - v_q) / roots does not cancel */
            const kx_f64m is_positive = kx_f64v_less(zero, roots);
            const kx_f64v quotient = kx_f64v_div(kx_f64v_sub(vp, vq), kx_f64v_select(is_positive, roots, kx_f64v_set(1)));
            const kx_f64v d = kx_f64v_mul(kx_f64v_sub(kx_f64v_load(mean_p + j), kx_f64v_load(mean_q + j)), unit);
            const kx_f64v s = kx_f64v_mul(quotient, unit);
            total = kx_f64v_fma(d, d, kx_f64v_fma(s, s, total));
            top = kx_f64v_max(kx_f64v_abs(d), kx_f64v_max(kx_f64v_abs(s), top));
        }
    }
    double lanes[LANES];
    kx_f64v_store(lanes, top);
    *largest = 0;
    for (int l = 0; l < LANES; l++) *largest = fmax(*largest, lanes[l]);
    *sum = kx_f64v_sum(total);
    return good == (1u << LANES) - 1;
}

/* Of diagonal covariances. Where squares would over- or underflow, they are those of differences divided by a power of two near the largest. */
static void run_diagonal(task *t) {
    for (int64_t i = 0; i < t->items; i++) {
        double sum, largest;
        const int is_valid = sum_diagonal(t, i, 1, &sum, &largest), exponent = kx_transport_exponent(largest);
        if (exponent) sum_diagonal(t, i, ldexp(1, -exponent), &sum, &largest);
        if (!is_valid) sum = (double)NAN, t->is_invalid = 1;
        double value = t->is_squared ? sum : sqrt(sum);
        if (exponent) value = ldexp(value, t->is_squared ? 2 * exponent : exponent);
        if (kx_transport_write(t->out + i * t->out_stride, value, t->is_float) && isfinite(sum)) t->is_overflow = 1;
    }
}

static kx_status_t run_matrices(task *t) {
    const int64_t n = t->n;
    kx_layout_t layout = {0, 0};
    size_t at[10];
    for (int k = 0; k < 4; k++) at[k] = kx_layout_add(&layout, n * n * LANES, sizeof(double));
    at[4] = kx_layout_add(&layout, n * LANES, sizeof(double)), at[5] = kx_layout_add(&layout, n * LANES, sizeof(double));
    at[6] = kx_layout_add(&layout, KX_SINGULAR_VALUES_WORK * n * LANES, sizeof(double));
    at[7] = kx_layout_add(&layout, KX_SINGULAR_VALUES_WORK * n * LANES, sizeof(double));
    at[8] = kx_layout_add(&layout, 2 * n * LANES, sizeof(double)), at[9] = kx_layout_add(&layout, n * LANES, sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    t->block = (char *)kx_allocate(t->ctx, layout.bytes);
    if (!t->block) return KX_E_MEMORY;
    double *parts_of[10];
    for (int k = 0; k < 10; k++) parts_of[k] = (double *)(void *)(t->block + at[k]);
    t->p = (kx_transport_side_t){.batch = t->cov_p, .n = n, .form = t->form, .is_float = t->is_float, .factor = parts_of[0],
                                 .inverse = parts_of[4]};
    t->q = (kx_transport_side_t){.batch = t->cov_q, .n = n, .form = t->form, .is_float = t->is_float, .factor = parts_of[1],
                                 .inverse = parts_of[5]};
    t->product = parts_of[2], t->scratch = parts_of[3], t->work[0] = parts_of[6], t->work[1] = parts_of[7];
    t->means = parts_of[8], t->difference = parts_of[9];
    const kx_status_t status = run_groups(t);
    kx_release(t->ctx, t->careful_block);
    kx_release(t->ctx, t->block);
    return status;
}

static kx_status_t run(task *t) {
    kx_status_t status = kx_gaussian_check(t->items, t->n, t->form);
    if (status != KX_OK || t->items == 0) return status;
    const int flags = kx_flags_begin();
    if (t->form == KX_GAUSSIAN_DIAGONAL) run_diagonal(t);
    else status = run_matrices(t);
    kx_flags_end(flags, (t->is_invalid ? FE_INVALID : 0) | (t->is_overflow ? FE_OVERFLOW : 0));
    return status;
}

kx_status_t KX_KERNEL(kx_gaussian_w2_f64)(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                          const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                          kx_gaussian_form_t form, int squared, double *out, ptrdiff_t out_stride) {
    task t = {.ctx = ctx, .mean_p = mean_p, .cov_p = cov_p, .mean_q = mean_q, .cov_q = cov_q, .items = items, .n = n,
              .form = form, .is_squared = squared, .out = (char *)out, .out_stride = out_stride};
    return run(&t);
}
kx_status_t KX_KERNEL(kx_gaussian_w2_f32)(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                          const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                          kx_gaussian_form_t form, int squared, float *out, ptrdiff_t out_stride) {
    task t = {.ctx = ctx, .mean_p = mean_p, .cov_p = cov_p, .mean_q = mean_q, .cov_q = cov_q, .items = items, .n = n,
              .form = form, .is_squared = squared, .is_float = 1, .out = (char *)out, .out_stride = out_stride};
    return run(&t);
}
#endif

KX_DISPATCH(kx_gaussian_w2_f64,
            (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
             const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, int squared, double *out,
             ptrdiff_t out_stride),
            (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, squared, out, out_stride))
KX_DISPATCH(kx_gaussian_w2_f32,
            (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
             const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, int squared, float *out,
             ptrdiff_t out_stride),
            (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, squared, out, out_stride))
