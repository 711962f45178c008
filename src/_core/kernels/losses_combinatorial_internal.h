/* Products of factors q_i + p_i z as polynomials, and their gradients, for losses_combinatorial.c.

   A side (the best, or the others) is a product of factors q_i + p_i z, of which coefficients 0 .. M are wanted: plain, q = 1 and
   p = y or x, where these stay far from the exponents' ends, or as distributions, q = 1 - p. The lanes of vectors take the items
   in turn, each to a polynomial of its own, and a tree of products joins these. The gradient goes the same way back: the
   polynomial before an item, met with what the result is worth by the coefficients after it, gives the item's share. Prefix
   polynomials are kept for a block of items, and one for each block before: memory by the root of n, for one more pass.

   A distribution's cells below 2^-900 are set to that, so that no arithmetic is on subnormal numbers; all sets that they stand
   for have less than 2^-800 of the probability, of which the result is not less than 1 / (3 n): the sum of independent trials has
   its mode next to its mean (Darroch 1964, doi:10.1214/aoms/1177703287), and the mean is k, within a quarter. */
#ifndef KX_LOSSES_COMBINATORIAL_INTERNAL_H
#define KX_LOSSES_COMBINATORIAL_INTERNAL_H

#include <math.h>
#include <string.h>

#include "isa/kernel.h"
#include "isa/simd.h"
#include "runtime/memory.h"

enum {
    L = KX_F64_LANES,
    TOGETHER = 4,     /* items of a lane to a pass over its polynomial */
    STORED = 1 << 16, /* numbers of prefix polynomials that are kept without blocks: half of a second-level cache */
};

#define DISTRIBUTION_FLOOR 0x1p-900

/* One side of a row: `items` of them from `first` of the work's arrays on, in `vectors` vectors. */
typedef struct side {
    int64_t first, items, vectors;
    int64_t most;   /* the highest coefficient that is wanted */
    int64_t degree; /* of a lane */
    int64_t block;  /* vectors between the prefix polynomials that are kept */
    double sum;     /* of p */
    double *lanes, *adjoint, *kept, *prefixes;
    double *tree, *tree_adjoint; /* the lanes' polynomials, their products two by two, and so on to one */
} side;

typedef struct work {
    const kx_ctx_t *ctx;
    kx_task_t *task;
    char *polynomials;
    size_t polynomial_bytes;
    double *score, *exponent, *p, *q; /* exponent: later the gradient */
    int64_t *place;
    side best, others;
    int64_t budget; /* of cells until the next look at the task */
} work;

static int should_stop(work *w, int64_t cells) {
    w->budget -= cells;
    if (w->budget > 0) return 0;
    w->budget = 1 << 15;
    return kx_task_should_stop(w->task);
}

/* ---- products of factors, an item for each lane ---- */

static KX_ALWAYS_INLINE kx_f64v cell(kx_f64v p, kx_f64v q, kx_f64v below, kx_f64v here, int normal) {
    if (!normal) return kx_f64v_fma(p, below, here);
    return kx_f64v_max(kx_f64v_fma(p, below, kx_f64v_mul(q, here)), kx_f64v_set(DISTRIBUTION_FLOOR));
}

/* Vectors `from` to `to` into e, which has the product of those before `from`; both multiples of TOGETHER. */
static KX_ALWAYS_INLINE void multiply(const double *p, const double *q, int64_t from, int64_t to, int64_t degree, double *e,
                                      int normal) {
    for (int64_t i = from; i < to; i += TOGETHER) {
        kx_f64v factor[TOGETHER], rest[TOGETHER], below[TOGETHER];
        for (int t = 0; t < TOGETHER; t++) {
            factor[t] = kx_f64v_load(p + (i + t) * L);
            rest[t] = kx_f64v_load(q + (i + t) * L);
            below[t] = kx_f64v_set(0);
        }
        const int64_t top = i + TOGETHER < degree ? i + TOGETHER : degree;
        for (int64_t m = 0; m <= top; m++) {
            kx_f64v here = kx_f64v_load(e + m * L);
            for (int t = 0; t < TOGETHER; t++) {
                const kx_f64v next = cell(factor[t], rest[t], below[t], here, normal);
                below[t] = here;
                here = next;
            }
            kx_f64v_store(e + m * L, here);
        }
    }
}

/* Row i of the prefixes gets the product of the vectors before from + i; row 0 is there. */
static KX_ALWAYS_INLINE void list_prefixes(const double *p, const double *q, int64_t from, int64_t to, int64_t degree,
                                           double *rows, int normal) {
    for (int64_t i = from; i + 1 < to; i++, rows += (degree + 1) * L) {
        const kx_f64v factor = kx_f64v_load(p + i * L), rest = kx_f64v_load(q + i * L);
        double *next = rows + (degree + 1) * L;
        kx_f64v below = kx_f64v_set(0);
        for (int64_t m = 0; m <= (i < degree ? i : degree); m++) {
            const kx_f64v here = kx_f64v_load(rows + m * L);
            kx_f64v_store(next + m * L, cell(factor, rest, below, here, normal));
            below = here;
        }
        if (i < degree) kx_f64v_store(next + (i + 1) * L, cell(factor, rest, below, kx_f64v_set(0), normal));
    }
}

/* From what the result is worth by the coefficients after vector `to` to the same before `from`, and each item's share on the
   way: the gradient by p where q is held. */
static KX_ALWAYS_INLINE void go_back(const double *p, const double *q, int64_t from, int64_t to, int64_t degree,
                                     const double *rows, double *adjoint, double *share, int normal) {
    rows += (to - from) * (degree + 1) * L;
    for (int64_t i = to - 1; i >= from; i--) {
        rows -= (degree + 1) * L;
        const kx_f64v factor = kx_f64v_load(p + i * L), rest = kx_f64v_load(q + i * L);
        const int64_t end = i + 1 < degree ? i + 1 : degree;
        kx_f64v here = kx_f64v_load(adjoint), sum = kx_f64v_set(0), other = kx_f64v_set(0);
        int64_t m = 0;
        for (; m + 1 < end; m += 2) { /* two sums: half of the wait */
            const kx_f64v next = kx_f64v_load(adjoint + (m + 1) * L), last = kx_f64v_load(adjoint + (m + 2) * L);
            sum = kx_f64v_fma(next, kx_f64v_load(rows + m * L), sum);
            other = kx_f64v_fma(last, kx_f64v_load(rows + (m + 1) * L), other);
            kx_f64v_store(adjoint + m * L, cell(factor, rest, next, here, normal));
            kx_f64v_store(adjoint + (m + 1) * L, cell(factor, rest, last, next, normal));
            here = last;
        }
        if (m < end) {
            const kx_f64v next = kx_f64v_load(adjoint + (m + 1) * L);
            sum = kx_f64v_fma(next, kx_f64v_load(rows + m * L), sum);
            kx_f64v_store(adjoint + m * L, cell(factor, rest, next, here, normal));
        }
        kx_f64v_store(share + i * L, kx_f64v_add(sum, other));
    }
}

static KX_NEVER_INLINE void multiply_as(const double *p, const double *q, int64_t from, int64_t to, int64_t degree, double *e,
                                        int normal) {
    if (normal) multiply(p, q, from, to, degree, e, 1);
    else multiply(p, q, from, to, degree, e, 0);
}
static KX_NEVER_INLINE void list_prefixes_as(const double *p, const double *q, int64_t from, int64_t to, int64_t degree,
                                             double *rows, int normal) {
    if (normal) list_prefixes(p, q, from, to, degree, rows, 1);
    else list_prefixes(p, q, from, to, degree, rows, 0);
}
static KX_NEVER_INLINE void go_back_as(const double *p, const double *q, int64_t from, int64_t to, int64_t degree,
                                       const double *rows, double *adjoint, double *share, int normal) {
    if (normal) go_back(p, q, from, to, degree, rows, adjoint, share, 1);
    else go_back(p, q, from, to, degree, rows, adjoint, share, 0);
}

/* ---- the tree of products ---- */

static void add_multiple(double factor, const double *x, double *y, int64_t count) {
    const kx_f64v factors = kx_f64v_set(factor);
    int64_t i = 0;
    for (; i + L <= count; i += L) kx_f64v_store(y + i, kx_f64v_fma(factors, kx_f64v_load(x + i), kx_f64v_load(y + i)));
    for (; i < count; i++) y[i] += factor * x[i];
}

/* The highest coefficient of a product of 2^level lanes. */
static int64_t degree_at(const side *s, int level) {
    const int64_t degree = s->degree << level;
    return degree < s->most ? degree : s->most;
}
static int64_t tree_size(const side *s) {
    int64_t size = 0;
    for (int level = 0; L >> level; level++) size += (int64_t)(L >> level) * (degree_at(s, level) + 1);
    return size;
}

/* What a distribution's coefficients below 2^-500 stand for is negligible. */
static int counts(double coefficient, int normal) { return normal ? coefficient > 0x1p-500 : coefficient != 0; }

static kx_status_t join(work *w, side *s, int normal) {
    double *nodes = s->tree;
    int64_t size = degree_at(s, 0) + 1;
    for (int l = 0; l < L; l++)
        for (int64_t m = 0; m < size; m++) nodes[l * size + m] = s->lanes[m * L + l];
    for (int level = 0; L >> (level + 1); level++) {
        const int64_t above = degree_at(s, level + 1) + 1;
        double *product = nodes + (L >> level) * size;
        for (int node = 0; node < L >> (level + 1); node++) {
            const double *a = nodes + 2 * node * size, *b = a + size;
            double *out = product + node * above;
            memset(out, 0, (size_t)above * sizeof *out);
            for (int64_t i = 0; i < size; i++) {
                if (!counts(a[i], normal)) continue;
                add_multiple(a[i], b, out + i, above - i < size ? above - i : size);
                if (should_stop(w, size / L + 1)) return KX_E_CANCELLED;
            }
        }
        nodes = product;
        size = above;
    }
    return KX_OK;
}

/* From what the result is worth by the product's coefficients, at the end of the adjoint tree, to the same by the lanes'. */
static kx_status_t part(work *w, side *s, int normal) {
    int levels = 0;
    while (L >> levels > 1) levels++;
    const int64_t end = tree_size(s);
    double *nodes = s->tree + end - (s->most + 1), *worth = s->tree_adjoint + end - (s->most + 1);
    for (int level = levels - 1; level >= 0; level--) {
        const int64_t size = degree_at(s, level) + 1, above = degree_at(s, level + 1) + 1;
        double *below = nodes - (L >> level) * size, *below_worth = worth - (L >> level) * size;
        memset(below_worth, 0, (size_t)((L >> level) * size) * sizeof *below_worth);
        for (int node = 0; node < L >> level; node++) {
            const double *other = below + (node ^ 1) * size, *from = worth + node / 2 * above;
            for (int64_t j = 0; j < size; j++) {
                if (!counts(other[j], normal)) continue;
                add_multiple(other[j], from + j, below_worth + node * size, above - j < size ? above - j : size);
                if (should_stop(w, size / L + 1)) return KX_E_CANCELLED;
            }
        }
        nodes = below;
        worth = below_worth;
    }
    const int64_t size = degree_at(s, 0) + 1;
    for (int l = 0; l < L; l++)
        for (int64_t m = 0; m < size; m++) s->adjoint[m * L + l] = worth[l * size + m];
    return KX_OK;
}

/* ---- a side ---- */

static const double *product_of(const side *s) { return s->tree + tree_size(s) - (s->most + 1); }
static double *worth_of(const side *s) { return s->tree_adjoint + tree_size(s) - (s->most + 1); }

/* A sum of independent trials of this mean is not beyond it but with a probability of 2^-100 / n (Bernstein's inequality). */
static int64_t highest_of(double mean, int64_t n) {
    const double log_share = 69.4 + log((double)n + 1);
    return (int64_t)(mean + log_share / 3 + sqrt(log_share * log_share / 9 + 2 * mean * log_share)) + 1;
}

static kx_status_t to_polynomial(work *w, side *s, int normal, int with_gradient) {
    const double *p = w->p + s->first, *q = w->q + s->first;
    const int64_t row = (s->degree + 1) * L;
    memset(s->lanes, 0, (size_t)row * sizeof *s->lanes);
    for (int l = 0; l < L; l++) s->lanes[l] = 1;
    for (int64_t from = 0; from < s->vectors; from += s->block) {
        const int64_t to = s->vectors - from < s->block ? s->vectors : from + s->block;
        if (with_gradient) memcpy(s->kept + from / s->block * row, s->lanes, (size_t)row * sizeof *s->lanes);
        multiply_as(p, q, from, to, s->degree, s->lanes, normal);
        if (should_stop(w, (to - from) * (s->degree + 1))) return KX_E_CANCELLED;
    }
    return join(w, s, normal);
}

static kx_status_t to_shares(work *w, side *s, int normal) {
    const kx_status_t status = part(w, s, normal);
    if (status != KX_OK) return status;
    const double *p = w->p + s->first, *q = w->q + s->first;
    const int64_t row = (s->degree + 1) * L;
    for (int64_t from = (s->vectors - 1) / s->block * s->block; from >= 0; from -= s->block) {
        const int64_t to = s->vectors - from < s->block ? s->vectors : from + s->block;
        memcpy(s->prefixes, s->kept + from / s->block * row, (size_t)row * sizeof *s->prefixes);
        list_prefixes_as(p, q, from, to, s->degree, s->prefixes, normal);
        go_back_as(p, q, from, to, s->degree, s->prefixes, s->adjoint, w->exponent + s->first, normal);
        if (should_stop(w, 3 * (to - from) * (s->degree + 1))) return KX_E_CANCELLED;
    }
    return KX_OK;
}

static void plan_side(side *s, int64_t n, int normal, double highest_mean) {
    s->degree = s->most < s->vectors ? s->most : s->vectors;
    if (normal) {
        const int64_t highest = highest_of(highest_mean, n);
        s->degree = highest < s->degree ? highest : s->degree;
    }
    const int64_t row = (s->degree + 1) * L;
    s->block = s->vectors > 0 ? s->vectors : 1;
    if (s->vectors > STORED / row) {
        s->block = (int64_t)sqrt((double)s->vectors) + 1;
        const int64_t fitting = STORED / row;
        s->block = kx_round_up(s->block > fitting ? s->block : fitting, TOGETHER);
    }
}

static void add_arrays(const side *s, int with_gradient, kx_layout_t *layout, size_t *offsets) {
    const int64_t row = (s->degree + 1) * L, blocks = (s->vectors + s->block - 1) / s->block;
    if (with_gradient && blocks > INT64_MAX / 64 / row) layout->overflow = 1;
    offsets[0] = kx_layout_add(layout, row, sizeof(double));
    offsets[1] = kx_layout_add(layout, tree_size(s), sizeof(double));
    offsets[2] = kx_layout_add(layout, with_gradient ? row : 0, sizeof(double));
    offsets[3] = kx_layout_add(layout, with_gradient ? tree_size(s) : 0, sizeof(double));
    offsets[4] = kx_layout_add(layout, with_gradient && !layout->overflow ? blocks * row : 0, sizeof(double));
}
static void set_arrays(side *s, char *base, const size_t *offsets, size_t prefixes) {
    s->lanes = (double *)(base + offsets[0]);
    s->tree = (double *)(base + offsets[1]);
    s->adjoint = (double *)(base + offsets[2]);
    s->tree_adjoint = (double *)(base + offsets[3]);
    s->kept = (double *)(base + offsets[4]);
    s->prefixes = (double *)(base + prefixes);
}

/* Both sides' arrays, of which they take turns at the prefixes, and `extended` numbers. */
static kx_status_t find_room(work *w, int with_gradient, int64_t extended, double **numbers) {
    kx_layout_t layout = {0, 0};
    size_t best[5], others[5];
    add_arrays(&w->best, with_gradient, &layout, best);
    add_arrays(&w->others, with_gradient, &layout, others);
    int64_t most = 0;
    for (int i = 0; with_gradient && i < 2; i++) {
        const side *s = i ? &w->others : &w->best;
        const int64_t row = (s->degree + 1) * L;
        if (s->block > INT64_MAX / 64 / row) return KX_E_OVERFLOW;
        most = s->block * row > most ? s->block * row : most;
    }
    const size_t prefixes = kx_layout_add(&layout, most, sizeof(double));
    const size_t of_numbers = kx_layout_add(&layout, extended, sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    if (layout.bytes > w->polynomial_bytes) {
        kx_release(w->ctx, w->polynomials);
        w->polynomial_bytes = 0;
        w->polynomials = (char *)kx_allocate(w->ctx, layout.bytes);
        if (!w->polynomials) return KX_E_MEMORY;
        w->polynomial_bytes = layout.bytes;
    }
    set_arrays(&w->best, w->polynomials, best, prefixes);
    set_arrays(&w->others, w->polynomials, others, prefixes);
    *numbers = (double *)(w->polynomials + of_numbers);
    return KX_OK;
}

#endif
