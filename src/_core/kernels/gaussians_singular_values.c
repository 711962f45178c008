/* Singular values of small matrices side by side in the lanes of vectors.

   Golub and Kahan's bidiagonalisation by reflections, with one pass over the rest of the matrix for both reflections of a step:
   the left one's product with the matrix, y = A^T x, is summed while the step before makes the column x. Of the reflection I -
   tau v v^T, v differs from x in the first entry alone, so that A^T v is y and a multiple of A's first row. Then dqds (Fernando
   and Parlett 1994) on the squares of the bidiagonal, q_i = d_i^2 and e_i = off-diagonal^2, all lanes sweeping together, each
   over its own block lo .. hi - 1 with its own shift.

   M^T M is never formed: it would leave singular values below 1e-8 of the largest without a digit. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_transport_internal.h"

enum { LANES = KX_F64_LANES };

#if KX_SIMD_AVX512
enum { BLOCK = 8 }; /* rows of a pass whose coefficients fit the registers, and whose entries stay in the first-level cache */
#else
enum { BLOCK = 2 };
#endif

#define LOWEST_SQUARE 1e-290 /* of columns and rows that are reflected, and of divisors */
#define NEGLIGIBLE_SQUARE 1e-34 /* off-diagonal squares against all squares */
#define SPLITTING_SQUARE 1e-31 /* ... and against a shift */
#define NEGLIGIBLE 5e-17 /* a change of a square against it */

static KX_ALWAYS_INLINE kx_f64v at(const double *a, int64_t i) { return kx_f64v_load(a + i * LANES); }
static KX_ALWAYS_INLINE void put(double *a, int64_t i, kx_f64v v) { kx_f64v_store(a + i * LANES, v); }

/* |a| with the sign of b, and the factor tau = 2 / |v|^2 of the reflection with v = x + size e_1, x_1 = first, |x|^2 = square. */
static KX_ALWAYS_INLINE kx_f64v reflection(kx_f64v first, kx_f64v square, kx_f64v *size) {
    const kx_f64v zero = kx_f64v_set(0), norm = kx_f64v_sqrt(square);
    *size = kx_f64v_select(kx_f64v_less(first, zero), kx_f64v_sub(zero, norm), norm);
    const kx_f64v half = kx_f64v_fma(kx_f64v_abs(first), norm, square);
    return kx_f64v_select(kx_f64v_less(kx_f64v_set(LOWEST_SQUARE), half), kx_f64v_div(kx_f64v_set(1), half), zero);
}

typedef struct step {
    const double *w, *u;
    double *y;
    kx_f64v tau, wu;
    int64_t k, n;
} step;

/* a_i -= v_i w^T + t_i u^T, t_i = tau (a_i - v_i w^T) u, for `rows` rows from a; y += x_i a_i, x the next column. */
static KX_ALWAYS_INLINE void update_rows(double *a, const int rows, const step *s) {
    const int64_t n = s->n, first = s->k + 1;
    const kx_f64v zero = kx_f64v_set(0);
    kx_f64v v[8], t[8], x[8];
    for (int r = 0; r < rows; r++) v[r] = at(a, r * n + s->k), t[r] = zero;
    for (int64_t j = first; j < n; j++) {
        const kx_f64v u = at(s->u, j);
        for (int r = 0; r < rows; r++) t[r] = kx_f64v_fma(at(a, r * n + j), u, t[r]);
    }
    for (int r = 0; r < rows; r++) {
        t[r] = kx_f64v_sub(zero, kx_f64v_mul(s->tau, kx_f64v_sub(t[r], kx_f64v_mul(v[r], s->wu))));
        v[r] = kx_f64v_sub(zero, v[r]);
        x[r] = kx_f64v_fma(v[r], at(s->w, first), kx_f64v_fma(t[r], at(s->u, first), at(a, r * n + first)));
    }
    for (int64_t j = first; j < n; j++) {
        const kx_f64v w = at(s->w, j), u = at(s->u, j);
        kx_f64v y = at(s->y, j);
        for (int r = 0; r < rows; r++) {
            const kx_f64v b = kx_f64v_fma(v[r], w, kx_f64v_fma(t[r], u, at(a, r * n + j)));
            put(a, r * n + j, b);
            y = kx_f64v_fma(x[r], b, y);
        }
        put(s->y, j, y);
    }
}

/* Squares of the bidiagonal: q its diagonal, e what is beside it. */
static void bidiagonalize(double *a, int64_t n, double *q, double *e, double *y, double *w, double *u) {
    const kx_f64v zero = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j++) put(y, j, zero);
    for (int64_t i = 0; i < n; i++) {
        const kx_f64v x = at(a, i * n);
        for (int64_t j = 0; j < n; j++) put(y, j, kx_f64v_fma(x, at(a, i * n + j), at(y, j)));
    }
    for (int64_t k = 0; k < n; k++) {
        double *row = a + k * n * LANES;
        const kx_f64v square = at(y, k);
        put(q, k, square);
        put(e, k, zero);
        if (k == n - 1) break;
        kx_f64v size;
        const kx_f64v x = at(row, k), tau = reflection(x, square, &size), v = kx_f64v_add(x, size);
        kx_f64v row_square = zero;
        for (int64_t j = k + 1; j < n; j++) {
            const kx_f64v b = at(row, j), product = kx_f64v_mul(tau, kx_f64v_fma(size, b, at(y, j)));
            const kx_f64v rest = kx_f64v_sub(b, kx_f64v_mul(v, product));
            put(w, j, product);
            put(u, j, rest);
            put(y, j, zero);
            row_square = kx_f64v_fma(rest, rest, row_square);
        }
        put(e, k, row_square);
        step s = {w, u, y, reflection(at(u, k + 1), row_square, &size), zero, k, n};
        put(u, k + 1, kx_f64v_add(at(u, k + 1), size));
        for (int64_t j = k + 1; j < n; j++) s.wu = kx_f64v_fma(at(w, j), at(u, j), s.wu);
        int64_t i = k + 1;
        for (; i + BLOCK <= n; i += BLOCK) update_rows(a + i * n * LANES, BLOCK, &s);
        for (; i + 2 <= n; i += 2) update_rows(a + i * n * LANES, 2, &s);
        if (i < n) update_rows(a + i * n * LANES, 1, &s);
    }
}

/* The lanes' blocks and what the sweeps are to know of them. */
typedef struct blocks {
    double *q, *e, *old_q, *old_e, *base, *values;
    kx_f64v shift, total, floor, failures;
    int64_t lo[LANES], hi[LANES];
} blocks;

typedef struct sweep {
    kx_f64v bottom, above;               /* the last q, the q above it */
    kx_f64v off_bottom;                  /* e between those */
    kx_f64v least, least_before;         /* of the d before the last, before the last but one */
    kx_f64v tail, tail_before;           /* sum of the products of e/q upwards from there */
    kx_f64v least_off;                   /* of the e above off_bottom */
} sweep;

/* One sweep. Lanes whose block begins later run idle up to there: with e = 0, d begins anew with every q. */
static KX_ALWAYS_INLINE void run_sweep(blocks *b, sweep *r, int64_t begin, int64_t end, const int has_low, kx_f64v low,
                                       kx_f64v last) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), infinite = kx_f64v_set((double)INFINITY);
    const kx_f64v lowest = kx_f64v_set(LOWEST_SQUARE), highest_tail = kx_f64v_set(1e10), shift = b->shift;
    const kx_f64v last_but_one = kx_f64v_sub(last, one);
    kx_f64v bottom = zero, above = zero, off_bottom = zero, least = infinite, least_before = infinite, tail = zero;
    kx_f64v tail_before = zero, least_off = infinite;
    kx_f64v keep = at(b->q, begin), d = kx_f64v_sub(keep, shift), index = kx_f64v_set((double)begin);
    put(b->old_q, begin, keep);
    for (int64_t j = begin; j < end; j++) {
        const kx_f64m inside = kx_f64v_less(index, last), before = kx_f64v_less(index, last_but_one);
        const kx_f64m idle = kx_f64v_less(index, low);
        const kx_f64v q_next = at(b->q, j + 1), e = at(b->e, j), e_used = has_low ? kx_f64v_select(idle, zero, e) : e;
        const kx_f64v q = kx_f64v_add(d, e_used);
        const kx_f64m regular = kx_f64v_less(lowest, q);
        const kx_f64v inverse = kx_f64v_select(regular, kx_f64v_div(one, q), zero);
        const kx_f64v ratio = kx_f64v_select(regular, kx_f64v_mul(d, inverse), one);
        const kx_f64v e_new = kx_f64v_mul(e_used, kx_f64v_mul(q_next, inverse));
        put(b->old_q, j + 1, q_next);
        put(b->old_e, j, e);
        const kx_f64v q_kept = kx_f64v_select(inside, q, keep), e_kept = kx_f64v_select(inside, e_new, e);
        put(b->q, j, has_low ? kx_f64v_select(idle, keep, q_kept) : q_kept);
        put(b->e, j, has_low ? kx_f64v_select(idle, e, e_kept) : e_kept);
        least_before = kx_f64v_select(inside, least, least_before);
        least = kx_f64v_select(inside, kx_f64v_min(least, has_low ? kx_f64v_select(idle, infinite, d) : d), least);
        above = kx_f64v_select(inside, q, above);
        off_bottom = kx_f64v_select(inside, e_new, off_bottom);
        tail_before = kx_f64v_select(inside, tail, tail_before);
        const kx_f64v tail_new = kx_f64v_mul(kx_f64v_mul(e_new, inverse), kx_f64v_add(one, tail));
        tail = kx_f64v_select(inside, kx_f64v_min(tail_new, highest_tail), tail);
        const kx_f64v off = kx_f64v_select(before, e_new, infinite);
        least_off = kx_f64v_min(least_off, has_low ? kx_f64v_select(idle, infinite, off) : off);
        d = kx_f64v_fma(ratio, q_next, kx_f64v_sub(zero, shift));
        bottom = kx_f64v_select(inside, d, bottom);
        keep = kx_f64v_select(inside, d, q_next);
        if (has_low) keep = kx_f64v_select(idle, q_next, keep);
        index = kx_f64v_add(index, one);
    }
    put(b->q, end, keep);
    r->bottom = bottom, r->above = above, r->off_bottom = off_bottom, r->least = least, r->least_before = least_before;
    r->tail = tail, r->tail_before = tail_before, r->least_off = least_off;
}

/* Ends blocks of one: its value, and then the block above with the shift it had when it was split off. */
static void end_single_blocks(blocks *b, int lane, double *total) {
    while (b->hi[lane] > 0 && b->hi[lane] - b->lo[lane] == 1) {
        const int64_t i = --b->hi[lane];
        b->values[i * LANES + lane] = *total + b->q[i * LANES + lane];
        if (i == 0) break;
        *total = b->base[(i - 1) * LANES + lane];
        int64_t lo = i - 1;
        while (lo > 0 && !(b->e[(lo - 1) * LANES + lane] < 0)) lo--;
        b->lo[lane] = lo;
    }
}

/* The next shift, below the least eigenvalue if the estimate holds: d_n (1 - b)/(1 + b)-like, where the tail b estimates by how
   much the last unit vector is off the eigenvector; a part of the least d where it is far off,
       or where that is not at the end. */
static KX_ALWAYS_INLINE kx_f64v next_shift(kx_f64v bottom, kx_f64v least, kx_f64v tail) {
    const kx_f64v one = kx_f64v_set(1), zero = kx_f64v_set(0);
    const kx_f64v near = kx_f64v_sub(one, kx_f64v_mul(kx_f64v_set(5), tail));
    const kx_f64v bound = kx_f64v_div(kx_f64v_sub(one, kx_f64v_sqrt(tail)), kx_f64v_add(one, tail));
    kx_f64v factor = kx_f64v_select(kx_f64v_less(tail, kx_f64v_set(0.1)), near, bound);
    factor = kx_f64v_select(kx_f64v_less(kx_f64v_add(bottom, bottom), least), factor, bound); /* near needs a gap */
    kx_f64v shift = kx_f64v_mul(bottom, factor);
    const kx_f64v part = kx_f64v_mul(kx_f64v_min(bottom, least), kx_f64v_set(0.25));
    shift = kx_f64v_select(kx_f64v_less(tail, kx_f64v_set(0.56)), shift, part);
    shift = kx_f64v_select(kx_f64v_less(least, bottom), kx_f64v_min(shift, kx_f64v_mul(least, kx_f64v_set(0.7))), shift);
    return kx_f64v_max(shift, zero);
}

/* Of the lanes in `events`: what a deflation, a split or a bottom of 0 changes. */
typedef struct outcome {
    unsigned deflated, split, zero;
    kx_f64v value, bottom, splitting;
} outcome;

static KX_NEVER_INLINE unsigned apply(blocks *b, const outcome *o, unsigned running) {
    double total[LANES], shift[LANES], value[LANES], bottom[LANES], splitting[LANES];
    kx_f64v_store(total, b->total), kx_f64v_store(shift, b->shift), kx_f64v_store(value, o->value);
    kx_f64v_store(bottom, o->bottom), kx_f64v_store(splitting, o->splitting);
    for (int l = 0; l < LANES; l++) {
        const unsigned bit = 1u << l;
        if (!((o->deflated | o->split | o->zero) & bit)) continue;
        if (o->deflated & bit) {
            b->values[--b->hi[l] * LANES + l] = value[l];
            b->q[(b->hi[l] - 1) * LANES + l] = bottom[l];
        }
        if (o->zero & bit) {
            b->q[(b->hi[l] - 1) * LANES + l] = 0;
            shift[l] = 0;
        }
        if (o->split & bit) {
            int64_t j = b->hi[l] - 2;
            while (j >= b->lo[l] && !(b->e[j * LANES + l] <= splitting[l])) j--;
            if (j >= b->lo[l]) {
                b->base[j * LANES + l] = total[l];
                b->e[j * LANES + l] = -1;
                b->lo[l] = j + 1;
            }
            shift[l] = 0;
        }
        const int64_t hi = b->hi[l];
        end_single_blocks(b, l, total + l);
        if (b->hi[l] < hi) shift[l] = 0;
        if (b->hi[l] == 0) running &= ~bit;
    }
    b->total = kx_f64v_load(total), b->shift = kx_f64v_load(shift);
    return running;
}

/* The eigenvalues of the lanes' B^T B in b->values; bits of lanes that were not finished. */
static unsigned squares_of_values(blocks *b, int64_t n) {
    const kx_f64v zero = kx_f64v_set(0), negligible = kx_f64v_set(NEGLIGIBLE);
    outcome o = {0, (1u << LANES) - 1, 0, zero, zero, b->floor};
    for (int l = 0; l < LANES; l++) b->lo[l] = 0, b->hi[l] = n;
    b->shift = b->total = b->failures = zero;
    unsigned running = apply(b, &o, o.split);
    kx_f64v low = zero, last = zero;
    int64_t begin = 0, end = 0;
    int events = 1;
    for (int64_t round = 0; running && round < 30 * n + 100; round++) {
        if (events) {
            double lows[LANES], lasts[LANES];
            begin = n, end = 0;
            for (int l = 0; l < LANES; l++) {
                lows[l] = (double)b->lo[l], lasts[l] = running >> l & 1 ? (double)(b->hi[l] - 1) : -1;
                if (!(running >> l & 1)) continue;
                begin = b->lo[l] < begin ? b->lo[l] : begin;
                end = b->hi[l] - 1 > end ? b->hi[l] - 1 : end;
            }
            low = kx_f64v_load(lows), last = kx_f64v_load(lasts);
        }
        sweep r;
        if (kx_f64m_bits(kx_f64v_less(zero, low))) run_sweep(b, &r, begin, end, 1, low, last);
        else run_sweep(b, &r, begin, end, 0, low, last);

        /* A bottom below 0 by less than a rounding of the value is 0. */
        const kx_f64v reached = kx_f64v_add(b->total, b->shift), slack = kx_f64v_mul(negligible, reached);
        const kx_f64m inner = kx_f64v_less(r.least, zero);
        const unsigned far_below = kx_f64m_bits(kx_f64v_less(r.bottom, kx_f64v_sub(zero, slack)));
        const unsigned failed = (kx_f64m_bits(inner) | far_below) & running, fine = running & ~failed;
        const kx_f64v part = kx_f64v_mul(b->shift, kx_f64v_set(0.25));
        kx_f64v retry = kx_f64v_mul(kx_f64v_add(b->shift, r.bottom), kx_f64v_set(1 - 4e-16));
        retry = kx_f64v_select(inner, part, kx_f64v_max(retry, part));
        retry = kx_f64v_select(kx_f64v_less(b->failures, kx_f64v_set(1.5)), retry, zero);
        if (failed) {
            const kx_f64m mask = kx_f64m_from_bits(failed);
            for (int64_t j = begin; j <= end; j++) {
                put(b->q, j, kx_f64v_select(mask, at(b->old_q, j), at(b->q, j)));
                put(b->e, j, kx_f64v_select(mask, at(b->old_e, j), at(b->e, j)));
            }
        }

        const kx_f64v bottom = kx_f64v_max(r.bottom, zero);
        const unsigned is_negative = kx_f64m_bits(kx_f64v_less(r.bottom, zero));
        o.value = kx_f64v_add(reached, bottom);
        const kx_f64v least = kx_f64v_add(reached, kx_f64v_min(bottom, r.least));
        o.splitting = kx_f64v_max(b->floor, kx_f64v_mul(kx_f64v_set(SPLITTING_SQUARE), least));
        const unsigned has_gap = ~kx_f64m_bits(kx_f64v_less(r.above, kx_f64v_add(bottom, bottom)));
        const unsigned is_small = ~kx_f64m_bits(kx_f64v_less(kx_f64v_mul(negligible, o.value), r.off_bottom));
        const unsigned is_tiny = ~kx_f64m_bits(kx_f64v_less(o.splitting, r.off_bottom));
        o.deflated = (is_tiny | (is_small & has_gap)) & fine;
        o.split = ~kx_f64m_bits(kx_f64v_less(o.splitting, r.least_off)) & fine;
        const kx_f64m one_less = kx_f64m_from_bits(o.deflated), advanced = kx_f64m_from_bits(fine);
        o.bottom = kx_f64v_select(one_less, kx_f64v_add(r.above, r.off_bottom), bottom);
        o.zero = (~kx_f64m_bits(kx_f64v_less(slack, o.bottom)) | (is_negative & ~o.deflated)) & fine;
        const kx_f64v shift = next_shift(o.bottom, kx_f64v_select(one_less, r.least_before, r.least),
                                         kx_f64v_select(one_less, r.tail_before, r.tail));
        b->total = kx_f64v_select(advanced, reached, b->total);
        b->shift = kx_f64v_select(advanced, shift, retry);
        b->failures = kx_f64v_select(advanced, zero, kx_f64v_add(b->failures, kx_f64v_set(1)));
        events = (o.deflated | o.split | o.zero) != 0;
        if (events) running = apply(b, &o, running);
    }
    return running;
}

unsigned KX_KERNEL(kx_lanes_singular_values)(double *m, int64_t n, double *work, double *values) {
    const int64_t size = n * LANES;
    if (n == 0) return 0;
    blocks b = {.q = work, .e = work + size, .old_q = work + 2 * size, .old_e = work + 3 * size, .base = work + 4 * size,
                .values = values};
    bidiagonalize(m, n, b.q, b.e, work + 5 * size, work + 6 * size, work + 7 * size);
    kx_f64v sum = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j++) sum = kx_f64v_add(sum, kx_f64v_add(at(b.q, j), at(b.e, j)));
    b.floor = kx_f64v_mul(sum, kx_f64v_set(NEGLIGIBLE_SQUARE));
    /* from large to small: the bottom then converges sooner */
    const kx_f64m rising = kx_f64v_less(at(b.q, 0), at(b.q, n - 1));
    for (int64_t i = 0, j = n - 1; i < j; i++, j--) {
        const kx_f64v top = at(b.q, i), bottom = at(b.q, j);
        put(b.q, i, kx_f64v_select(rising, bottom, top));
        put(b.q, j, kx_f64v_select(rising, top, bottom));
        const kx_f64v first = at(b.e, i), second = at(b.e, j - 1);
        put(b.e, i, kx_f64v_select(rising, second, first));
        put(b.e, j - 1, kx_f64v_select(rising, first, second));
    }
    const unsigned unfinished = squares_of_values(&b, n);
    for (int64_t j = 0; j < n; j++) put(values, j, kx_f64v_sqrt(kx_f64v_max(at(values, j), kx_f64v_set(0))));
    return unfinished;
}
#endif
