/* The optimal map between Gaussians, and the gradient of their squared Wasserstein distance.

   With Sp = Lp Lp^T, Sq = Fq Fq^T and Fq^T Lp = A s V^T, T = W s W^T for W = Lp^-T V. From q to p it is the same with A and
   Lq^-T: one decomposition serves both.

   Where the covariances are next to each other, G = I - T has lost its digits, and the distance's gradient divides it by the
   small distance. From T Sp T = Sq,

       Sp G + G Sp = Sp - Sq + G Sp G,

   where an error of G on the right counts by its product with G. So the left one is solved for, by the eigenvectors of Sp. */
#include "kexue/kx_gaussians.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_transport_internal.h"
#include "runtime/flags.h"

enum { LANES = KX_F64_LANES };

/* Of the largest entry of I - T: below it, the equation is solved. */
#define NEAR 0x1p-6

typedef struct task {
    const kx_ctx_t *ctx;
    const kx_batch_t *mean_p, *cov_p, *mean_q, *cov_q;
    int64_t items, n;
    kx_gaussian_form_t form;
    int is_float, is_invalid, is_map;
    const kx_batch_out_t *by_mean_p, *by_p, *by_mean_q, *by_q; /* by_p is the map, where that is asked for */
    kx_transport_side_t p, q;
    double *rows, *vectors, *map, *inverse, *scratch, *item_scratch, *squares, *panel;
    double *near[4], *difference, *eigenvalues; /* of the gradient alone */
} task;

static const kx_batch_out_t not_wanted = {NULL, 0, 0, 0};

/* What became of a side's lanes. */
typedef struct verdict {
    unsigned indefinite, invalid; /* not positive definite; not even semidefinite */
} verdict;

/* Lanes that are nearly singular get a triangular factor in twice the precision, and singular ones any factor. */
static verdict factor_side(task *t, kx_transport_side_t *side, int64_t first, int64_t count) {
    verdict v = {0, 0};
    double least;
    KX_KERNEL(kx_transport_factor)(side, first, count, t->scratch);
    for (int l = 0; l < LANES; l++) {
        if (!(side->doubtful >> l & 1)) continue;
        const int64_t item = first + (l < count ? l : count - 1);
        if (KX_KERNEL(kx_transport_factor_item)(side, item, l, 1, t->item_scratch, &least)) continue;
        v.indefinite |= 1u << l;
        if (!KX_KERNEL(kx_transport_factor_item)(side, item, l, 0, t->item_scratch, &least)) v.invalid |= 1u << l;
        for (int64_t i = 0; i < side->n; i++) side->inverse[i * LANES + l] = 1; /* so that nothing there becomes infinite */
    }
    return v;
}

/* Matrices out of the lanes, in either type. */
static void unpack(task *t, double *a, int64_t first, int64_t count, kx_lanes_part_t part, unsigned bad,
                   const kx_batch_out_t *out) {
    const int64_t n = t->n;
    if (!out->data) return;
    kx_lanes_spoil_f64(a, n * n, bad);
    if (bad & ((1u << count) - 1)) t->is_invalid = 1;
    if (!t->is_float) {
        kx_lanes_unpack_f64(a, first, count, n, part, out);
        return;
    }
    const kx_batch_out_t wide = {t->scratch, n * n * (ptrdiff_t)sizeof *a, n * (ptrdiff_t)sizeof *a, sizeof *a};
    kx_lanes_unpack_f64(a, 0, count, n, part, &wide);
    for (int64_t l = 0; l < count; l++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                kx_transport_write((char *)out->data + (first + l) * out->batch + i * out->row + j * out->column,
                                   t->scratch[(l * n + i) * n + j], 1);
}

/* t->inverse = 2^(to - from) times the sum of s_j z_j z_j^T, z_j = L^-T u_j, for the unit vectors u_j that are the rows or,
   unless `is_unit`, the rows divided by s_j. */
static void make_map(task *t, const kx_transport_side_t *from, const kx_transport_side_t *to, const double *rows, int is_unit) {
    const int64_t n = t->n;
    const kx_f64v zero = kx_f64v_set(0), lowest = kx_f64v_set(1e-290);
    double scales[LANES];
    int is_scaled = 0;
    kx_lanes_inverse_f64(from->factor, n, from->inverse, t->panel, t->inverse);
    kx_lanes_multiply_f64(rows, KX_LANES_PLAIN, t->inverse, KX_LANES_TRIANGLE, n, KX_LANES_FULL, 0, t->map);
    for (int64_t j = 0; j < n; j++) {
        const kx_f64v square = kx_f64v_load(t->squares + j * LANES), root = kx_f64v_sqrt(kx_f64v_sqrt(square));
        const kx_f64v part = is_unit ? root : kx_f64v_div(kx_f64v_set(1), root);
        const kx_f64v factor = kx_f64v_select(kx_f64v_less(lowest, square), part, zero);
        for (int64_t i = 0; i < n; i++) {
            double *entry = t->map + (j * n + i) * LANES;
            kx_f64v_store(entry, kx_f64v_mul(kx_f64v_load(entry), factor));
        }
    }
    kx_lanes_multiply_f64(t->map, KX_LANES_TRANSPOSED, t->map, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, t->inverse);
    for (int l = 0; l < LANES; l++) {
        scales[l] = ldexp(1, to->exponent[l] - from->exponent[l]);
        is_scaled |= to->exponent[l] != from->exponent[l];
    }
    if (is_scaled)
        for (int64_t i = 0; i < n * n; i++)
            kx_f64v_store(t->inverse + i * LANES, kx_f64v_mul(kx_f64v_load(t->inverse + i * LANES), kx_f64v_load(scales)));
}

/* The largest entry in each lane. */
static void measure(const double *a, int64_t size, double *most) {
    kx_f64v largest = kx_f64v_set(0);
    for (int64_t i = 0; i < size; i++) largest = kx_f64v_max(largest, kx_f64v_abs(kx_f64v_load(a + i * LANES)));
    kx_f64v_store(most, largest);
}

/* t->difference = the covariances of p less those of q: before anything is written, for a gradient may take an operand's place. */
static void subtract_covariances(task *t, int64_t first, int64_t count) {
    const kx_batch_t *a = t->p.batch, *b = t->q.batch;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t j = 0; j <= i; j++)
            for (int64_t l = 0; l < LANES; l++) {
                const int64_t item = first + (l < count ? l : count - 1);
                const char *place = (const char *)a->data + item * a->batch + i * a->row + j * a->column;
                const char *other = (const char *)b->data + item * b->batch + i * b->row + j * b->column;
                const double d = kx_transport_read(place, t->is_float) - kx_transport_read(other, t->is_float);
                t->difference[(i * t->n + j) * LANES + l] = t->difference[(j * t->n + i) * LANES + l] = d;
            }
}

/* right = the covariances of `from` less those of `to`, of which the exponents are 0 */
static void take_difference(task *t, const kx_transport_side_t *from, const kx_transport_side_t *to, double *right) {
    const int64_t n = t->n;
    if (t->form == KX_GAUSSIAN_CHOLESKY) { /* (U V^T + V U^T) / 2, U the factors' difference and V their sum */
        double *u = t->near[1], *v = t->near[2];
        for (int64_t i = 0; i < n * n * LANES; i += LANES) {
            const kx_f64v l = kx_f64v_load(from->factor + i), other = kx_f64v_load(to->factor + i);
            kx_f64v_store(u + i, kx_f64v_mul(kx_f64v_set(0.5), kx_f64v_sub(l, other)));
            kx_f64v_store(v + i, kx_f64v_add(l, other));
        }
        kx_lanes_multiply_f64(u, KX_LANES_TRIANGLE, v, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_FULL, 0, right);
        kx_lanes_multiply_f64(v, KX_LANES_TRIANGLE, u, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_FULL, 1, right);
        return;
    }
    const kx_f64v sign = kx_f64v_set(from == &t->p ? 1 : -1);
    for (int64_t i = 0; i < n * n * LANES; i += LANES) kx_f64v_store(right + i, kx_f64v_mul(sign, kx_f64v_load(t->difference + i)));
}

/* G = I - T in t->inverse, of lanes in which it is small, from the equation above. */
static void refine(task *t, const kx_transport_side_t *from, const kx_transport_side_t *to) {
    const int64_t n = t->n, size = n * n;
    const kx_f64v zero = kx_f64v_set(0), lowest = kx_f64v_set(1e-290);
    double *right = t->near[0], *vectors = t->near[1], *product = t->near[2], *other = t->near[3], most[LANES];
    unsigned near = 0, equal = 0;
    measure(t->inverse, size, most);
    for (int l = 0; l < LANES; l++)
        if (most[l] < NEAR && from->exponent[l] == 0 && to->exponent[l] == 0) near |= 1u << l;
    if (!near) return;
    take_difference(t, from, to, right);
    measure(right, size, most);
    for (int l = 0; l < LANES; l++)
        if (most[l] == 0) equal |= 1u << l;
    kx_lanes_multiply_f64(from->factor, KX_LANES_TRIANGLE_TRANSPOSED, t->inverse, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, product);
    kx_lanes_multiply_f64(product, KX_LANES_TRANSPOSED, product, KX_LANES_PLAIN, n, KX_LANES_FULL, 1, right);

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            kx_f64v_store(vectors + (i * n + j) * LANES, kx_f64v_load(from->factor + (j * n + i) * LANES));
    KX_KERNEL(kx_lanes_orthogonalize_rows)(vectors, other, n, t->eigenvalues);
    for (int64_t i = 0; i < n; i++) {
        const kx_f64v square = kx_f64v_max(kx_f64v_load(t->eigenvalues + i * LANES), lowest);
        const kx_f64v scale = kx_f64v_div(kx_f64v_set(1), kx_f64v_sqrt(square));
        kx_f64v_store(t->eigenvalues + i * LANES, square);
        for (int64_t j = 0; j < n; j++) {
            double *entry = vectors + (i * n + j) * LANES;
            kx_f64v_store(entry, kx_f64v_mul(kx_f64v_load(entry), scale));
        }
    }
    kx_lanes_multiply_f64(vectors, KX_LANES_PLAIN, right, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, product);
    kx_lanes_multiply_f64(product, KX_LANES_PLAIN, vectors, KX_LANES_TRANSPOSED, n, KX_LANES_FULL, 0, other);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double *entry = other + (i * n + j) * LANES;
            const kx_f64v sum = kx_f64v_add(kx_f64v_load(t->eigenvalues + i * LANES), kx_f64v_load(t->eigenvalues + j * LANES));
            kx_f64v_store(entry, kx_f64v_div(kx_f64v_load(entry), sum));
        }
    kx_lanes_multiply_f64(vectors, KX_LANES_TRANSPOSED, other, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, product);
    kx_lanes_multiply_f64(product, KX_LANES_PLAIN, vectors, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, right);
    const kx_f64m is_near = kx_f64m_from_bits(near), is_equal = kx_f64m_from_bits(equal);
    for (int64_t i = 0; i < size * LANES; i += LANES) {
        const kx_f64v solved = kx_f64v_select(is_equal, zero, kx_f64v_load(right + i));
        kx_f64v_store(t->inverse + i, kx_f64v_select(is_near, solved, kx_f64v_load(t->inverse + i)));
    }
}

/* From the map in t->inverse: I - T, or by the factor, the lower triangle of 2 (I - T) L. */
static void write_gradient(task *t, const kx_transport_side_t *side, const kx_transport_side_t *to, int64_t first, int64_t count,
                           unsigned bad, const kx_batch_out_t *out) {
    const int64_t n = t->n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double *entry = t->inverse + (i * n + j) * LANES;
            kx_f64v_store(entry, kx_f64v_sub(kx_f64v_set(i == j ? 1 : 0), kx_f64v_load(entry)));
        }
    refine(t, side, to);
    if (t->form == KX_GAUSSIAN_COVARIANCE) {
        unpack(t, t->inverse, first, count, KX_LANES_SYMMETRIC, bad, out);
        return;
    }
    double scales[LANES];
    for (int l = 0; l < LANES; l++) scales[l] = ldexp(1, 1 + side->exponent[l]);
    kx_lanes_multiply_f64(t->inverse, KX_LANES_PLAIN, side->factor, KX_LANES_TRIANGLE, n, KX_LANES_LOWER, 0, t->map);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double *entry = t->map + (i * n + j) * LANES;
            kx_f64v_store(entry, kx_f64v_mul(kx_f64v_load(entry), kx_f64v_load(scales)));
        }
    kx_lanes_clear_above_f64(t->map, n);
    unpack(t, t->map, first, count, KX_LANES_FULL, bad, out);
}

static void run_groups(task *t) {
    const int64_t n = t->n;
    verdict p = {0, 0}, q = {0, 0};
    for (int64_t first = 0; first < t->items; first += LANES) {
        const int64_t count = t->items - first < LANES ? t->items - first : LANES;
        if (first == 0 || t->p.batch->batch != 0) p = factor_side(t, &t->p, first, count);
        if (first == 0 || t->q.batch->batch != 0) q = factor_side(t, &t->q, first, count);
        const unsigned bad_p = p.indefinite | q.invalid, bad_q = q.indefinite | p.invalid;
        kx_lanes_multiply_f64(t->p.factor, KX_LANES_TRANSPOSED, t->q.factor, KX_LANES_PLAIN, n, KX_LANES_FULL, 0, t->rows);
        KX_KERNEL(kx_lanes_orthogonalize_rows)(t->rows, t->vectors, n, t->squares);
        if (!t->is_map && t->form == KX_GAUSSIAN_COVARIANCE) subtract_covariances(t, first, count);
        if (t->by_p->data) {
            make_map(t, &t->p, &t->q, t->vectors, 1);
            if (t->is_map) unpack(t, t->inverse, first, count, KX_LANES_SYMMETRIC, bad_p, t->by_p);
            else write_gradient(t, &t->p, &t->q, first, count, bad_p, t->by_p);
        }
        if (!t->is_map && t->by_q->data) {
            make_map(t, &t->q, &t->p, t->rows, 0);
            write_gradient(t, &t->q, &t->p, first, count, bad_q, t->by_q);
        }
    }
}

static kx_status_t run_matrices(task *t) {
    const int64_t n = t->n;
    kx_layout_t layout = {0, 0};
    const int64_t near = t->is_map ? 0 : n;
    size_t at[18];
    for (int k = 0; k < 7; k++) at[k] = kx_layout_add(&layout, n * n * LANES, sizeof(double));
    for (int k = 7; k < 10; k++) at[k] = kx_layout_add(&layout, n * LANES, sizeof(double));
    at[10] = kx_layout_add(&layout, KX_LANES_TILE * n * LANES, sizeof(double));
    at[11] = kx_layout_add(&layout, 4 * n * n + 2 * n, sizeof(double));
    for (int k = 12; k < 16; k++) at[k] = kx_layout_add(&layout, near * n * LANES, sizeof(double));
    at[16] = kx_layout_add(&layout, near * LANES, sizeof(double));
    at[17] = kx_layout_add(&layout, near * n * LANES, sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(t->ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    double *arrays[18];
    for (int k = 0; k < 18; k++) arrays[k] = (double *)(void *)(block + at[k]);
    t->p = (kx_transport_side_t){.batch = t->cov_p, .n = n, .form = t->form, .is_float = t->is_float, .factor = arrays[0],
                                 .inverse = arrays[7]};
    t->q = (kx_transport_side_t){.batch = t->cov_q, .n = n, .form = t->form, .is_float = t->is_float, .factor = arrays[1],
                                 .inverse = arrays[8]};
    t->rows = arrays[2], t->vectors = arrays[3], t->map = arrays[4], t->inverse = arrays[5], t->scratch = arrays[6];
    t->squares = arrays[9], t->panel = arrays[10], t->item_scratch = arrays[11];
    for (int k = 0; k < 4; k++) t->near[k] = arrays[12 + k];
    t->eigenvalues = arrays[16], t->difference = arrays[17];
    run_groups(t);
    kx_release(t->ctx, block);
    return KX_OK;
}

static double entry(const kx_batch_t *v, int64_t item, int64_t j, int is_float) {
    return kx_transport_read((const char *)v->data + item * v->batch + j * v->row, is_float);
}
static void set_entry(const kx_batch_out_t *v, int64_t item, int64_t j, double value, int is_float) {
    if (v->data) kx_transport_write((char *)v->data + item * v->batch + j * v->row, value, is_float);
}

/* 1 - sqrt(to / from), without cancellation */
static double diagonal_gradient(double from, double to) {
    const double root = sqrt(from);
    return (from - to) / root / (root + sqrt(to));
}

static void run_diagonal(task *t) {
    for (int64_t i = 0; i < t->items; i++) {
        unsigned bad_p = 0, bad_q = 0;
        for (int64_t j = 0; j < t->n; j++) {
            const double p = entry(t->cov_p, i, j, t->is_float), q = entry(t->cov_q, i, j, t->is_float);
            const int is_p = p >= 0 && p < (double)INFINITY, is_q = q >= 0 && q < (double)INFINITY;
            bad_p |= !(is_p && p > 0 && is_q), bad_q |= !(is_q && q > 0 && is_p);
        }
        t->is_invalid |= (bad_p && t->by_p->data) || (!t->is_map && bad_q && t->by_q->data);
        for (int64_t j = 0; j < t->n; j++) {
            const double p = entry(t->cov_p, i, j, t->is_float), q = entry(t->cov_q, i, j, t->is_float);
            const double by_p = bad_p ? (double)NAN : t->is_map ? sqrt(q) / sqrt(p) : diagonal_gradient(p, q);
            set_entry(t->by_p, i, j, by_p, t->is_float);
            if (!t->is_map) set_entry(t->by_q, i, j, bad_q ? (double)NAN : diagonal_gradient(q, p), t->is_float);
        }
    }
}

static void write_means(const task *t) {
    if (!t->by_mean_p->data && !t->by_mean_q->data) return;
    for (int64_t i = 0; i < t->items; i++)
        for (int64_t j = 0; j < t->n; j++) {
            const double d = 2 * (entry(t->mean_p, i, j, t->is_float) - entry(t->mean_q, i, j, t->is_float));
            set_entry(t->by_mean_p, i, j, d, t->is_float);
            set_entry(t->by_mean_q, i, j, -d, t->is_float);
        }
}

static kx_status_t run(task *t) {
    kx_status_t status = kx_gaussian_check(t->items, t->n, t->form);
    if (status != KX_OK || t->items == 0) return status;
    const kx_batch_out_t **const outputs[4] = {&t->by_mean_p, &t->by_p, &t->by_mean_q, &t->by_q};
    for (int k = 0; k < 4; k++)
        if (!*outputs[k]) *outputs[k] = &not_wanted;
    const int flags = kx_flags_begin();
    if (!t->is_map) write_means(t);
    if (t->by_p->data || (!t->is_map && t->by_q->data)) {
        if (t->form == KX_GAUSSIAN_DIAGONAL) run_diagonal(t);
        else status = run_matrices(t);
    }
    kx_flags_end(flags, t->is_invalid ? FE_INVALID : 0);
    return status;
}

static kx_status_t find_not_semidefinite(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                         kx_gaussian_form_t form, int is_float, int64_t *item, double *value) {
    *item = -1;
    *value = 0;
    const kx_status_t status = kx_gaussian_check(items, n, form);
    if (status != KX_OK || items == 0) return status;
    const int64_t distinct = cov->batch == 0 ? 1 : items;
    if (form == KX_GAUSSIAN_DIAGONAL) {
        for (int64_t i = 0; i < distinct; i++)
            for (int64_t j = 0; j < n; j++) {
                const double variance = entry(cov, i, j, is_float);
                if (isgreaterequal(variance, 0) && isless(variance, (double)INFINITY)) continue;
                /* By the sign: clang makes of isless and a choice a comparison that raises invalid. */
                *item = i, *value = variance == variance && signbit(variance) ? variance : (double)NAN;
                return KX_OK;
            }
        return KX_OK;
    }
    kx_layout_t layout = {0, 0};
    const size_t factor = kx_layout_add(&layout, n * n * LANES, sizeof(double)),
        scratch = kx_layout_add(&layout, n * n * LANES, sizeof(double));
    const size_t inverse = kx_layout_add(&layout, n * LANES, sizeof(double)),
        one = kx_layout_add(&layout, 4 * n * n + 2 * n, sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    kx_transport_side_t side = {.batch = cov, .n = n, .form = form, .is_float = is_float,
                                .factor = (double *)(void *)(block + factor),
                                .inverse = (double *)(void *)(block + inverse)};
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < distinct && *item < 0; first += LANES) {
        const int64_t count = distinct - first < LANES ? distinct - first : LANES;
        KX_KERNEL(kx_transport_factor)(&side, first, count, (double *)(void *)(block + scratch));
        for (int l = 0; l < (int)count && *item < 0; l++) {
            if (!(side.doubtful >> l & 1)) continue;
            double least;
            if (!KX_KERNEL(kx_transport_factor_item)(&side, first + l, l, 0, (double *)(void *)(block + one), &least))
                *item = first + l, *value = least;
        }
    }
    kx_flags_end(flags, 0);
    kx_release(ctx, block);
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_gaussian_ot_map_f64)(const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q,
                                              int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *map) {
    task t = {.ctx = ctx, .cov_p = cov_p, .cov_q = cov_q, .items = items, .n = n, .form = form, .is_float = 0, .is_map = 1,
              .by_p = map};
    return run(&t);
}
kx_status_t KX_KERNEL(kx_gaussian_w2_gradient_f64)(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                   const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                                   kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                                   const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                                   const kx_batch_out_t *grad_cov_q) {
    task t = {.ctx = ctx, .mean_p = mean_p, .cov_p = cov_p, .mean_q = mean_q, .cov_q = cov_q, .items = items, .n = n,
              .form = form, .is_float = 0, .by_mean_p = grad_mean_p, .by_p = grad_cov_p, .by_mean_q = grad_mean_q,
              .by_q = grad_cov_q};
    return run(&t);
}
kx_status_t KX_KERNEL(kx_gaussian_first_not_semidefinite_f64)(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items,
                                                              int64_t n, kx_gaussian_form_t form, int64_t *item,
                                                              double *value) {
    return find_not_semidefinite(ctx, cov, items, n, form, 0, item, value);
}

kx_status_t KX_KERNEL(kx_gaussian_ot_map_f32)(const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q,
                                              int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *map) {
    task t = {.ctx = ctx, .cov_p = cov_p, .cov_q = cov_q, .items = items, .n = n, .form = form, .is_float = 1, .is_map = 1,
              .by_p = map};
    return run(&t);
}
kx_status_t KX_KERNEL(kx_gaussian_w2_gradient_f32)(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                   const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                                   kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                                   const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                                   const kx_batch_out_t *grad_cov_q) {
    task t = {.ctx = ctx, .mean_p = mean_p, .cov_p = cov_p, .mean_q = mean_q, .cov_q = cov_q, .items = items, .n = n,
              .form = form, .is_float = 1, .by_mean_p = grad_mean_p, .by_p = grad_cov_p, .by_mean_q = grad_mean_q,
              .by_q = grad_cov_q};
    return run(&t);
}
kx_status_t KX_KERNEL(kx_gaussian_first_not_semidefinite_f32)(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items,
                                                              int64_t n, kx_gaussian_form_t form, int64_t *item,
                                                              double *value) {
    return find_not_semidefinite(ctx, cov, items, n, form, 1, item, value);
}
#endif

KX_DISPATCH(kx_gaussian_ot_map_f64,
            (const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q, int64_t items, int64_t n,
             kx_gaussian_form_t form, const kx_batch_out_t *map),
            (ctx, cov_p, cov_q, items, n, form, map))
KX_DISPATCH(kx_gaussian_w2_gradient_f64,
            (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
             const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
             const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q),
            (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q))
KX_DISPATCH(kx_gaussian_first_not_semidefinite_f64,
            (const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, int64_t *item,
             double *value),
            (ctx, cov, items, n, form, item, value))

KX_DISPATCH(kx_gaussian_ot_map_f32,
            (const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q, int64_t items, int64_t n,
             kx_gaussian_form_t form, const kx_batch_out_t *map),
            (ctx, cov_p, cov_q, items, n, form, map))
KX_DISPATCH(kx_gaussian_w2_gradient_f32,
            (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
             const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
             const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q),
            (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q))
KX_DISPATCH(kx_gaussian_first_not_semidefinite_f32,
            (const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, int64_t *item,
             double *value),
            (ctx, cov, items, n, form, item, value))
