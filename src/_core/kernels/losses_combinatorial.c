/* Elementary symmetric polynomials by exchanges with the k best items, see kx_losses_combinatorial.h.

   A side (the best, or the others) is a product of factors q_i + p_i z, of which coefficients 0 .. M are wanted: plain, q = 1 and
   p = y or x, where these stay far from the exponents' ends, or as distributions, q = 1 - p. The lanes of vectors take the items
   in turn, each to a polynomial of its own, and a tree of products joins these. The gradient goes the same way back: the
   polynomial before an item, met with what the result is worth by the coefficients after it, gives the item's share. Prefix
   polynomials are kept for a block of items, and one for each block before: memory by the root of n, for one more pass.

   A distribution's cells below 2^-900 are set to that, so that no arithmetic is on subnormal numbers; all sets that they stand
   for have less than 2^-800 of the probability, of which the result is not less than 1 / (3 n): the sum of independent trials has
   its mode next to its mean (Darroch 1964, doi:10.1214/aoms/1177703287), and the mean is k, within a quarter. */
#include "kexue/kx_losses_combinatorial.h"

#include "isa/kernel.h"

#define KX_COMBINATORIAL_PARAMETERS(real)                                                                                 \
    (const kx_ctx_t *ctx, const real *scores, const unsigned char *targets, const int64_t *counts, const double *fillers, \
     int64_t rows, int64_t n, ptrdiff_t counts_stride, ptrdiff_t fillers_stride, real *value, real *grad)

KX_DISPATCH(kx_losses_combinatorial_f32, KX_COMBINATORIAL_PARAMETERS(float),
            (ctx, scores, targets, counts, fillers, rows, n, counts_stride, fillers_stride, value, grad))
KX_DISPATCH(kx_losses_combinatorial_f64, KX_COMBINATORIAL_PARAMETERS(double),
            (ctx, scores, targets, counts, fillers, rows, n, counts_stride, fillers_stride, value, grad))

#ifndef KX_DISPATCH_PASS
#include <float.h>
#include <math.h>
#include <string.h>

#include "isa/simd.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

enum {
    L = KX_F64_LANES,
    TOGETHER = 4,         /* items of a lane to a pass over its polynomial */
    STORED = 1 << 16,     /* numbers of prefix polynomials that are kept without blocks: half of a second-level cache */
    FEW = 32,             /* best items that are kept in order */
    HALVINGS = 14,
    PLAIN_EXPONENT = 450, /* coefficients of both sides are within 2^+-450 then, and their products in range */
};

#define DISTRIBUTION_FLOOR 0x1p-900
#define NEGLIGIBLE 0x1p-64

typedef struct job {
    const char *scores;
    const unsigned char *targets;
    const char *counts, *fillers;
    ptrdiff_t counts_stride, fillers_stride;
    char *value, *grad;
    int64_t n;
    size_t size;
    struct work *works;
} job;

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
    char *block, *polynomials;
    size_t polynomial_bytes;
    double *score, *exponent, *p, *q; /* exponent: later the gradient */
    int64_t *place;
    side best, others;
    int64_t budget; /* of cells until the next look at the task */
} work;

static double read_real(const char *p, size_t size) {
    double wide;
    float narrow;
    if (size == 4) return memcpy(&narrow, p, 4), (double)narrow;
    return memcpy(&wide, p, 8), wide;
}
static void write_real(char *p, size_t size, double value) {
    const float narrow = (float)value;
    memcpy(p, size == 4 ? (const void *)&narrow : (const void *)&value, size);
}

/* A sum that keeps what its roundings lose. */
typedef struct exact_sum {
    double total, lost;
} exact_sum;
static void add_exactly(exact_sum *sum, double a) {
    const double total = sum->total + a, part = total - sum->total;
    sum->lost += (sum->total - (total - part)) + (a - part);
    sum->total = total;
}
static void add_product(exact_sum *sum, double a, double b) {
    const double product = a * b;
    add_exactly(sum, product);
    sum->lost += fma(a, b, -product);
}
static double value_with(const exact_sum *sum, double rest) {
    return isfinite(sum->total) ? sum->total + (sum->lost + rest) : sum->total;
}

static double sum_of_lanes(kx_f64v a) {
    double lanes[L], sum = 0;
    kx_f64v_store(lanes, a);
    for (int l = 0; l < L; l++) sum += lanes[l];
    return sum;
}

/* The rank-th largest of the numbers, rank >= 1, which it moves about (Hoare's selection). */
static double select_largest(double *numbers, int64_t count, int64_t rank) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        const double a = numbers[low], b = numbers[low + (high - low) / 2], c = numbers[high];
        const double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t i = low, j = high;
        while (i <= j) {
            while (numbers[i] > pivot) i++;
            while (numbers[j] < pivot) j--;
            if (i > j) break;
            const double moved = numbers[i];
            numbers[i++] = numbers[j];
            numbers[j--] = moved;
        }
        if (rank - 1 <= j) high = j;
        else if (rank - 1 >= i) low = i;
        else break;
    }
    return numbers[rank - 1];
}

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
        w->polynomials = kx_allocate(w->ctx, layout.bytes);
        if (!w->polynomials) return KX_E_MEMORY;
        w->polynomial_bytes = layout.bytes;
    }
    set_arrays(&w->best, w->polynomials, best, prefixes);
    set_arrays(&w->others, w->polynomials, others, prefixes);
    *numbers = (double *)(w->polynomials + of_numbers);
    return KX_OK;
}

/* ---- a row ---- */

/* Plain factors: p = e^exponent, and its sum. */
static double set_plain(work *w, const side *s) {
    kx_f64v sum = kx_f64v_set(0);
    for (int64_t i = s->first; i < s->first + s->vectors * L; i += L) {
        const kx_f64v p = kx_f64v_exp_below(kx_f64v_load(w->exponent + i));
        kx_f64v_store(w->p + i, p);
        kx_f64v_store(w->q + i, kx_f64v_set(1));
        sum = kx_f64v_add(sum, p);
    }
    return sum_of_lanes(sum);
}

/* p = sigmoid(exponent + shift): its sum, and that of p (1 - p). */
static double add_up_trials(const work *w, const side *s, double shift, double *variance) {
    const kx_f64v one = kx_f64v_set(1), zero = kx_f64v_set(0), shifts = kx_f64v_set(shift);
    kx_f64v sum = zero, spread = zero;
    for (int64_t i = s->first; i < s->first + s->vectors * L; i += L) {
        const kx_f64v u = kx_f64v_add(kx_f64v_load(w->exponent + i), shifts);
        const kx_f64v e = kx_f64v_exp_below(kx_f64v_sub(zero, kx_f64v_abs(u))), inverse = kx_f64v_div(one, kx_f64v_add(one, e));
        const kx_f64v less = kx_f64v_mul(e, inverse);
        sum = kx_f64v_add(sum, kx_f64v_select(kx_f64v_less(zero, u), inverse, less));
        spread = kx_f64v_fma(less, inverse, spread);
    }
    *variance += sum_of_lanes(spread);
    return sum_of_lanes(sum);
}

/* The factors of trials, the log of what they were divided by, and the largest mean of a lane. */
static double set_trials(work *w, side *s, double shift, double *highest_mean) {
    const kx_f64v one = kx_f64v_set(1), zero = kx_f64v_set(0), shifts = kx_f64v_set(shift);
    kx_f64v sum = zero, scale = zero, lost = zero; /* equal terms would be rounded the same way each time */
    for (int64_t i = s->first; i < s->first + s->vectors * L; i += L) {
        const kx_f64v u = kx_f64v_add(kx_f64v_load(w->exponent + i), shifts);
        const kx_f64v e = kx_f64v_exp_below(kx_f64v_sub(zero, kx_f64v_abs(u))), inverse = kx_f64v_div(one, kx_f64v_add(one, e));
        const kx_f64v less = kx_f64v_mul(e, inverse), p = kx_f64v_select(kx_f64v_less(zero, u), inverse, less);
        kx_f64v_store(w->p + i, p);
        kx_f64v_store(w->q + i, kx_f64v_select(kx_f64v_less(zero, u), less, inverse));
        sum = kx_f64v_add(sum, p);
        const kx_f64v term = kx_f64v_sub(kx_f64v_add(kx_f64v_max(u, zero), kx_f64v_log1p(e)), lost);
        const kx_f64v total = kx_f64v_add(scale, term);
        lost = kx_f64v_sub(kx_f64v_sub(total, scale), term);
        scale = total;
    }
    double means[L];
    kx_f64v_store(means, sum);
    *highest_mean = 0;
    for (int l = 0; l < L; l++) *highest_mean = means[l] > *highest_mean ? means[l] : *highest_mean;
    s->sum = sum_of_lanes(sum);
    return sum_of_lanes(scale);
}

/* The c at which a trial each with p = sigmoid(s - c), and a geometric number of fillers, have a mean of k: its distance from the
   reference, within a quarter of an item. `above` fillers are in the reference; `filler`: their score less the reference's, or
   -inf; `nearest`: the best of the others, likewise. */
static double find_tilt(const work *w, int64_t items, int64_t above, double filler, double nearest) {
    const double reach = log((double)items + 1) + 2;
    double low = nearest - reach, high = reach;
    if (filler > low) low = filler;
    double tilt = above > 0 ? log1p(1 / (double)above) : low > -1 ? low + 1 : 0;
    if (!(tilt < high)) tilt = low + (high - low) / 2;
    for (int step = 0; step < 200; step++) {
        double slope = 0;
        const double added = add_up_trials(w, &w->others, -tilt, &slope), removed = add_up_trials(w, &w->best, tilt, &slope);
        const double fillers = 1 / expm1(tilt - filler), excess = added - removed + fillers - (double)above;
        if (fabs(excess) <= 0.25) break;
        slope += fillers * (1 + fillers);
        if (excess > 0) low = tilt;
        else high = tilt;
        const double next = tilt + excess / slope;
        tilt = next > low && next < high ? next : low + (high - low) / 2;
        if (!(tilt > low && tilt < high)) break;
    }
    return tilt;
}

/* How many exchanges are to be looked at: the terms beyond are below 2^-64 of the first, by e_m <= e_1^m / m!. `squared`: on both
   sides. */
static int64_t exchanges_that_count(double product, int64_t most, int squared) {
    double term = 1; /* relative to the first */
    int64_t m = 1, units = 0; /* of 2^512 */
    for (; m < most; m++) {
        const double divisor = (double)(m + 1), ratio = product / (squared ? divisor * divisor : divisor);
        if (units == 0 && term < NEGLIGIBLE && ratio < 0.5) break;
        term *= ratio;
        if (term > 0x1p512) term *= 0x1p-512, units++;
        else if (units > 0 && term < 1) term *= 0x1p512, units--;
    }
    return m;
}

/* The scores that are present, and their places. */
static kx_status_t load_row(work *w, const job *j, const char *scores, const unsigned char *targets, int64_t *present) {
    double *score = w->score;
    int64_t *place = w->place, i = 0, count = 0;
    while (i < j->n) {
        if (i + L <= j->n) {
            const char *from = scores + (size_t)i * j->size;
            const kx_f64v some = j->size == 4 ? kx_f64v_load_f32((const float *)from) : kx_f64v_load((const double *)from);
            if (kx_f64v_all_between(kx_f64v_abs(some), 0, DBL_MAX)) {
                kx_f64v_store(score + count, some);
                for (int l = 0; l < L; l++) place[count + l] = i + l;
                count += L;
                i += L;
                continue;
            }
        }
        for (const int64_t end = i + L < j->n ? i + L : j->n; i < end; i++) {
            const double one = read_real(scores + (size_t)i * j->size, j->size);
            if (!isless(one, (double)INFINITY)) return KX_E_NONFINITE;
            score[count] = one;
            place[count] = i;
            if (one > -(double)INFINITY) count++;
            else if (targets && targets[i]) return KX_E_ARGUMENT;
        }
    }
    *present = count;
    return KX_OK;
}

static int64_t count_above(const double *score, int64_t count, double threshold) {
    const kx_f64v thresholds = kx_f64v_set(threshold);
    int64_t above = 0, i = 0;
    for (; i + L <= count; i += L) above += kx_count_bits(kx_f64m_bits(kx_f64v_less(thresholds, kx_f64v_load(score + i))));
    for (; i < count; i++) above += score[i] > threshold;
    return above;
}

/* Those among which the rank-th largest is, and its rank among them: by halving the range, of which a pass over the scores is far
   quicker than one that moves them. */
static int64_t narrow_down(const double *score, int64_t count, int64_t *rank, double *candidates) {
    double least = score[0], most = score[0];
    for (int64_t i = 1; i < count; i++) {
        least = score[i] < least ? score[i] : least;
        most = score[i] > most ? score[i] : most;
    }
    double low = -(double)INFINITY; /* the range is above it, and not above `most` */
    int64_t above_low = count, above_most = 0;
    for (int step = 0; step < HALVINGS && above_low - above_most > FEW; step++) {
        const double middle = least / 2 + most / 2;
        const int64_t above = count_above(score, count, middle);
        if (above >= *rank) {
            low = least = middle;
            above_low = above;
        } else {
            most = middle;
            above_most = above;
        }
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        candidates[kept] = score[i];
        kept += (score[i] > low) & (score[i] <= most);
    }
    *rank -= above_most;
    return kept;
}

/* The rank-th largest score, 1 <= rank <= count. A few are found by comparing all with the least of the best so far. */
static double find_threshold(const double *score, int64_t count, int64_t rank, double *scratch) {
    double best[FEW];
    if (rank > FEW) {
        int64_t left = rank;
        const int64_t candidates = narrow_down(score, count, &left, scratch);
        return select_largest(scratch, candidates, left);
    }
    int64_t held = 0, i = 0;
    while (i < count) {
        if (held == rank && i + L <= count) {
            const kx_f64m is_above = kx_f64v_less(kx_f64v_set(best[rank - 1]), kx_f64v_load(score + i));
            if (!kx_f64m_bits(is_above)) {
                i += L;
                continue;
            }
        }
        for (const int64_t end = i + L < count ? i + L : count; i < end; i++) {
            if (held == rank && !(score[i] > best[rank - 1])) continue;
            int64_t at = held < rank ? held++ : rank - 1;
            for (; at > 0 && best[at - 1] < score[i]; at--) best[at] = best[at - 1];
            best[at] = score[i];
        }
    }
    return best[rank - 1];
}

static int are_unwanted(const unsigned char *targets, int64_t first) {
    static const unsigned char none[L] = {0};
    return !targets || memcmp(targets + first, none, L) == 0;
}

static KX_NEVER_INLINE kx_status_t solve_row(work *w, const job *j, int64_t number) {
    const char *scores = j->scores + (size_t)(number * j->n) * j->size;
    const unsigned char *targets = j->targets ? j->targets + number * j->n : NULL;
    int64_t k, present = 0, wanted = 0;
    double filler = -(double)INFINITY;
    memcpy(&k, j->counts + number * j->counts_stride, sizeof k);
    if (j->fillers) {
        memcpy(&filler, j->fillers + number * j->fillers_stride, sizeof filler);
        if (!isfinite(filler)) return KX_E_NONFINITE;
    }
    if (k < 0) return KX_E_ARGUMENT;
    const kx_status_t loaded = load_row(w, j, scores, targets, &present);
    if (loaded != KX_OK) return loaded;
    if (targets)
        for (int64_t i = 0; i < j->n; i++) wanted += targets[i] != 0;
    if (wanted > k) return KX_E_ARGUMENT;
    char *value = j->value ? j->value + (size_t)number * j->size : NULL;
    char *grad = j->grad ? j->grad + (size_t)(number * j->n) * j->size : NULL;
    if (grad) memset(grad, 0, (size_t)j->n * j->size);
    if (!j->fillers && k > present) {
        if (value) write_real(value, j->size, -(double)INFINITY);
        return KX_OK;
    }

    int64_t taken = k < present ? k : present;
    double threshold = (double)INFINITY; /* the score of the last that is taken */
    if (taken > 0) threshold = find_threshold(w->score, present, taken, w->p);
    if (j->fillers && k > 0 && (k > present || !(threshold > filler))) {
        taken = count_above(w->score, present, filler);
        threshold = filler;
    }
    int64_t fillers = k - taken;
    int64_t ties = taken - count_above(w->score, present, threshold);
    side *best = &w->best, *others = &w->others;
    best->first = 0;
    best->items = taken;
    best->vectors = kx_round_up((taken + L - 1) / L, TOGETHER);
    others->first = best->vectors * L;
    others->items = present - taken;
    others->vectors = kx_round_up((others->items + L - 1) / L, TOGETHER);
    int64_t next_best = best->first, next_other = others->first;
    int64_t wanted_others = 0;
    double nearest = -(double)INFINITY;
    exact_sum linear = {0, 0};
    /* What a score adds to the sum: only what is not in both sets, so that nothing cancels. */
    int64_t *place = w->place + present; /* the second half of the array, by slot */
    const kx_f64v thresholds = kx_f64v_set(threshold);
    kx_f64v nearest_of_lanes = kx_f64v_set(nearest);
    for (int64_t i = 0; i < present;) {
        if (i + L <= present && present == j->n && are_unwanted(targets, i)) {
            const kx_f64v some = kx_f64v_load(w->score + i), exponents = kx_f64v_sub(some, thresholds);
            if (kx_f64m_bits(kx_f64v_less(some, thresholds)) == (1u << L) - 1) {
                kx_f64v_store(w->exponent + next_other, exponents);
                nearest_of_lanes = kx_f64v_max(nearest_of_lanes, exponents);
                for (int l = 0; l < L; l++) place[next_other + l] = i + l;
                next_other += L;
                i += L;
                continue;
            }
        }
        for (const int64_t end = i + L < present ? i + L : present; i < end; i++) {
            const double score = w->score[i];
            const int is_wanted = targets && targets[w->place[i]];
            if (score > threshold || (score == threshold && ties > 0)) {
                ties -= score == threshold;
                w->exponent[next_best] = threshold - score;
                place[next_best++] = w->place[i];
                if (!is_wanted) add_exactly(&linear, score);
            } else {
                const double exponent = score - threshold;
                w->exponent[next_other] = exponent;
                place[next_other++] = w->place[i];
                nearest = exponent > nearest ? exponent : nearest;
                wanted_others += is_wanted;
                if (is_wanted) add_exactly(&linear, -score);
            }
        }
    }
    double lanes[L];
    kx_f64v_store(lanes, nearest_of_lanes);
    for (int l = 0; l < L; l++) nearest = lanes[l] > nearest ? lanes[l] : nearest;
    if (j->fillers) add_product(&linear, (double)(targets ? wanted - taken : fillers), filler);
    if (fillers > others->items) fillers = others->items; /* more places than items change nothing else */
    for (int64_t i = next_best; i < best->first + best->vectors * L; i++) w->exponent[i] = -(double)INFINITY;
    for (int64_t i = next_other; i < others->first + others->vectors * L; i++) w->exponent[i] = -(double)INFINITY;

    /* Exchanges: of the best, up to `best->most` go, and as many others or fillers come; in place of the reference's fillers,
       more of the others. */
    const double filler_offset = j->fillers ? filler - threshold : -(double)INFINITY;
    double filler_ratio = exp(filler_offset), excess = 0;
    best->sum = set_plain(w, best);
    others->sum = set_plain(w, others);
    best->most = taken;
    if (!j->fillers && others->items < taken) best->most = others->items;
    if (fillers == 0 && best->most > 1)
        best->most = exchanges_that_count(best->sum * (others->sum + filler_ratio), best->most, !j->fillers);
    others->most = others->items < best->most + fillers ? others->items : best->most + fillers;
    int normal = (double)(best->most + others->most) * log2((double)present + 2) > 2 * PLAIN_EXPONENT;
    double tilt = 0, best_mean = 0, others_mean = 0;
    if (normal) {
        tilt = find_tilt(w, present, fillers, filler_offset, nearest);
        filler_ratio = exp(filler_offset - tilt);
        excess = set_trials(w, best, tilt, &best_mean) + set_trials(w, others, -tilt, &others_mean);
        if (j->fillers) excess += (double)fillers * tilt - log(-expm1(filler_offset - tilt));
        const int64_t most_best = highest_of(best->sum, present), most_others = highest_of(others->sum, present);
        best->most = best->most < most_best ? best->most : most_best;
        others->most = others->most < most_others ? others->most : most_others;
        if (!j->fillers) best->most = others->most = best->most < others->most ? best->most : others->most;
    }
    plan_side(best, present, normal, best_mean);
    plan_side(others, present, normal, others_mean);
    const int64_t extended = best->most + fillers; /* the others with fillers have coefficients to here */
    double *b;
    kx_status_t status = find_room(w, grad != NULL, extended + 1, &b);
    if (status == KX_OK) status = to_polynomial(w, best, normal, grad != NULL);
    if (status == KX_OK) status = to_polynomial(w, others, normal, grad != NULL);
    if (status != KX_OK) return status;

    const double *a = product_of(best), *product = product_of(others), scale = normal ? -expm1(filler_offset - tilt) : 1;
    double last = 0, rest = 0; /* rest: without the others' coefficient 0, where it is 1 */
    for (int64_t m = 0; m <= extended; m++) {
        const double coefficient = m <= others->most ? scale * product[m] : 0;
        b[m] = last = coefficient + filler_ratio * last;
        rest = (m == 0 ? 0 : coefficient) + filler_ratio * rest;
        if (m == fillers && !normal) excess = rest;
    }
    double total = 0;
    for (int64_t m = 1; m <= best->most; m++) total += a[m] * b[m + fillers];
    if (normal) {
        total += a[0] * b[fillers];
        excess += log(total);
    } else {
        total += excess;
        excess = log1p(total);
        total += 1;
    }
    if (value) write_real(value, j->size, value_with(&linear, excess));
    if (!grad) return KX_OK;

    memcpy(worth_of(best), b + fillers, (size_t)(best->most + 1) * sizeof *b);
    last = 0;
    for (int64_t m = extended; m >= 0; m--) {
        last = (m >= fillers ? a[m - fillers] : 0) + filler_ratio * last;
        if (m <= others->most) worth_of(others)[m] = scale * last;
    }
    status = to_shares(w, best, normal);
    if (status == KX_OK) status = to_shares(w, others, normal);
    if (status != KX_OK) return status;
    const kx_f64v totals = kx_f64v_set(total);
    for (int64_t i = 0; i < others->first + others->vectors * L; i += L)
        kx_f64v_store(w->exponent + i, kx_f64v_mul(kx_f64v_load(w->p + i), kx_f64v_div(kx_f64v_load(w->exponent + i), totals)));
    for (int64_t i = 0; i < next_best; i++) {
        const int64_t at = place[i];
        write_real(grad + (size_t)at * j->size, j->size, targets && targets[at] ? -w->exponent[i] : 1 - w->exponent[i]);
    }
    if (j->size == 4) {
        float *narrow = (float *)grad;
        for (int64_t i = others->first; i < next_other; i++) narrow[place[i]] = (float)w->exponent[i];
    } else {
        double *wide = (double *)grad;
        for (int64_t i = others->first; i < next_other; i++) wide[place[i]] = w->exponent[i];
    }
    for (int64_t i = others->first; wanted_others > 0 && i < next_other; i++) {
        const int64_t at = place[i];
        if (!targets[at]) continue;
        wanted_others--;
        write_real(grad + (size_t)at * j->size, j->size, w->exponent[i] - 1);
    }
    return KX_OK;
}

static kx_status_t solve_rows(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    work *w = j->works + kx_task_worker(task);
    w->task = task;
    w->budget = 0;
    for (int64_t row = begin; row < end; row++) {
        if (should_stop(w, j->n)) return KX_E_CANCELLED;
        const kx_status_t status = solve_row(w, j, row);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

static kx_status_t run(const kx_ctx_t *ctx, job *j, int64_t rows) {
    if (rows < 0 || j->n < 0) return KX_E_ARGUMENT;
    if (rows > INT64_MAX / 64 / (j->n + 1)) return KX_E_OVERFLOW;
    if (rows == 0 || (!j->value && !j->grad)) return KX_OK;
    if (!j->counts || (!j->scores && j->n > 0)) return KX_E_ARGUMENT;
    const int64_t slots = j->n + 2 * TOGETHER * L, grain = 1 + 16384 / (j->n + 32), chunks = (rows + grain - 1) / grain;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    workers = workers < chunks ? workers : chunks;
    kx_layout_t layout = {0, 0};
    const size_t score = kx_layout_add(&layout, slots, 8), exponent = kx_layout_add(&layout, slots, 8);
    const size_t p = kx_layout_add(&layout, slots, 8), q = kx_layout_add(&layout, slots, 8);
    const size_t place = kx_layout_add(&layout, 2 * slots, 8), each = layout.bytes;
    if (layout.overflow || each > SIZE_MAX / 4 / (size_t)workers) return KX_E_OVERFLOW;
    layout.bytes = each * (size_t)workers;
    const size_t works = kx_layout_add(&layout, workers, sizeof(work));
    char *block = kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    j->works = (work *)(block + works);
    for (int64_t i = 0; i < workers; i++) {
        work *w = j->works + i;
        char *base = block + (size_t)i * each;
        memset(w, 0, sizeof *w);
        w->ctx = ctx;
        w->score = (double *)(base + score), w->exponent = (double *)(base + exponent);
        w->p = (double *)(base + p), w->q = (double *)(base + q);
        w->place = (int64_t *)(base + place);
    }
    kx_ctx_t limited;
    if (ctx) limited = *ctx;
    else kx_ctx_init(&limited);
    limited.workers = (int)workers;
    const kx_status_t status = kx_parallel_for(&limited, rows, grain, solve_rows, j);
    for (int64_t i = 0; i < workers; i++) kx_release(ctx, j->works[i].polynomials);
    kx_release(ctx, block);
    return status;
}

kx_status_t KX_KERNEL(kx_losses_combinatorial_f32) KX_COMBINATORIAL_PARAMETERS(float) {
    job j = {(const char *)scores, targets, (const char *)counts, (const char *)fillers, counts_stride, fillers_stride,
             (char *)value, (char *)grad, n, sizeof(float), NULL};
    return run(ctx, &j, rows);
}

kx_status_t KX_KERNEL(kx_losses_combinatorial_f64) KX_COMBINATORIAL_PARAMETERS(double) {
    job j = {(const char *)scores, targets, (const char *)counts, (const char *)fillers, counts_stride, fillers_stride,
             (char *)value, (char *)grad, n, sizeof(double), NULL};
    return run(ctx, &j, rows);
}
#endif
