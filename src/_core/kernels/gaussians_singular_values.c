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
enum { BLOCK = 8, SMALL_BLOCK = 4 }; /* rows of a pass whose coefficients fit the registers */
#else
enum { BLOCK = 2, SMALL_BLOCK = 2 };
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
    const int64_t cache = kx_first_cache_bytes() * 3 / 4; /* for a block's rows, which are read twice: 64 x 64 59 us and not 69 */
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
        if (BLOCK * (n - k) * LANES * (int64_t)sizeof *a < cache)
            for (; i + BLOCK <= n; i += BLOCK) update_rows(a + i * n * LANES, BLOCK, &s);
        for (; i + SMALL_BLOCK <= n; i += SMALL_BLOCK) update_rows(a + i * n * LANES, SMALL_BLOCK, &s);
        for (; i + 2 <= n; i += 2) update_rows(a + i * n * LANES, 2, &s);
        if (i < n) update_rows(a + i * n * LANES, 1, &s);
    }
}

/* The blocks of a group's lanes. */
typedef struct blocks {
    double *q, *e, *old_q, *old_e, *base, *values;
    kx_f64v shift, total, floor, failures;
    kx_f64v low, last; /* the first and the last row of each lane's block; -1 where a lane has ended */
    int64_t begin, end, lo[LANES], hi[LANES];
    unsigned running;
} blocks;

/* A sweep of a group, up to some row. */
typedef struct sweep {
    kx_f64v d, q;                /* the next row's, before it is transformed */
    kx_f64v bottom, above;       /* the last q, the q above it */
    kx_f64v off_bottom;          /* e between those */
    kx_f64v least, least_before; /* of the d before the last, before the last but one */
    kx_f64v tail, tail_before;   /* sum of the products of e/q upwards from there */
    kx_f64v least_off;           /* of the e above off_bottom */
} sweep;

static KX_ALWAYS_INLINE void begin_sweep(sweep *s, const blocks *b, int64_t begin) {
    const kx_f64v zero = kx_f64v_set(0), infinite = kx_f64v_set((double)INFINITY);
    s->q = at(b->q, begin), s->d = kx_f64v_sub(s->q, b->shift);
    s->bottom = s->above = s->off_bottom = s->tail = s->tail_before = zero;
    s->least = s->least_before = s->least_off = infinite;
    put(b->old_q, begin, s->q);
}

/* Row j. Lanes whose block begins later run idle up to there: with e = 0, d begins anew with every q. */
static KX_ALWAYS_INLINE void sweep_row(sweep *s, const blocks *b, int64_t j, kx_f64v index, const int has_low) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), infinite = kx_f64v_set((double)INFINITY);
    const kx_f64m inside = kx_f64v_less(index, b->last), before = kx_f64v_less(kx_f64v_add(index, one), b->last);
    const kx_f64m idle = kx_f64v_less(index, b->low);
    const kx_f64v d = s->d, q_next = at(b->q, j + 1), e = at(b->e, j), e_used = has_low ? kx_f64v_select(idle, zero, e) : e;
    const kx_f64v q = kx_f64v_add(d, e_used);
    const kx_f64m regular = kx_f64v_less(kx_f64v_set(LOWEST_SQUARE), q);
    const kx_f64v quotient = kx_f64v_div(one, q), inverse = kx_f64v_select(regular, quotient, zero);
    const kx_f64v ratio = kx_f64v_select(regular, kx_f64v_mul(d, quotient), one);
    const kx_f64v e_new = kx_f64v_mul(e_used, kx_f64v_mul(q_next, inverse));
    put(b->old_q, j + 1, q_next);
    put(b->old_e, j, e);
    const kx_f64v q_kept = kx_f64v_select(inside, q, s->q), e_kept = kx_f64v_select(inside, e_new, e);
    put(b->q, j, has_low ? kx_f64v_select(idle, s->q, q_kept) : q_kept);
    put(b->e, j, has_low ? kx_f64v_select(idle, e, e_kept) : e_kept);
    s->least_before = kx_f64v_select(inside, s->least, s->least_before);
    s->least = kx_f64v_select(inside, kx_f64v_min(s->least, has_low ? kx_f64v_select(idle, infinite, d) : d), s->least);
    s->above = kx_f64v_select(inside, q, s->above);
    s->off_bottom = kx_f64v_select(inside, e_new, s->off_bottom);
    s->tail_before = kx_f64v_select(inside, s->tail, s->tail_before);
    const kx_f64v tail = kx_f64v_mul(kx_f64v_mul(e_new, inverse), kx_f64v_add(one, s->tail));
    s->tail = kx_f64v_select(inside, kx_f64v_min(tail, kx_f64v_set(1e10)), s->tail);
    const kx_f64v off = kx_f64v_select(before, e_new, infinite);
    s->least_off = kx_f64v_min(s->least_off, has_low ? kx_f64v_select(idle, infinite, off) : off);
    s->d = kx_f64v_fma(ratio, q_next, kx_f64v_sub(zero, b->shift));
    s->bottom = kx_f64v_select(inside, s->d, s->bottom);
    s->q = kx_f64v_select(inside, s->d, q_next);
    if (has_low) s->q = kx_f64v_select(idle, q_next, s->q);
}

/* One sweep of one group, or of two in turns: a row waits for the division of the row before, and so does not wait alone. */
static KX_ALWAYS_INLINE void run_sweeps(const blocks *first, const blocks *second, sweep *first_out, sweep *second_out,
                                        int64_t begin,
                                        int64_t end, const int is_pair, const int has_low) {
    sweep r, s;
    const blocks a = *first, b = is_pair ? *second : *first;
    kx_f64v index = kx_f64v_set((double)begin);
    begin_sweep(&r, &a, begin);
    if (is_pair) begin_sweep(&s, &b, begin);
    for (int64_t j = begin; j < end; j++) {
        sweep_row(&r, &a, j, index, has_low);
        if (is_pair) sweep_row(&s, &b, j, index, has_low);
        index = kx_f64v_add(index, kx_f64v_set(1));
    }
    put(a.q, end, r.q);
    *first_out = r;
    if (is_pair) {
        put(b.q, end, s.q);
        *second_out = s;
    }
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

/* What a sweep brought about: lanes that lose their last row or are split in two or whose bottom is 0. */
typedef struct outcome {
    unsigned deflated, split, zero;
    kx_f64v value, bottom, splitting;
} outcome;

static KX_NEVER_INLINE void apply(blocks *b, const outcome *o, int64_t n) {
    double total[LANES], shift[LANES], value[LANES], bottom[LANES], splitting[LANES], low[LANES], last[LANES];
    kx_f64v_store(total, b->total), kx_f64v_store(shift, b->shift), kx_f64v_store(value, o->value);
    kx_f64v_store(bottom, o->bottom), kx_f64v_store(splitting, o->splitting);
    b->begin = n, b->end = 0;
    for (int l = 0; l < LANES; l++) {
        const unsigned bit = 1u << l;
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
        if (b->hi[l] == 0) b->running &= ~bit;
        low[l] = (double)b->lo[l], last[l] = (double)(b->hi[l] - 1);
        if (b->hi[l] == 0) continue;
        b->begin = b->lo[l] < b->begin ? b->lo[l] : b->begin;
        b->end = b->hi[l] - 1 > b->end ? b->hi[l] - 1 : b->end;
    }
    b->total = kx_f64v_load(total), b->shift = kx_f64v_load(shift);
    b->low = kx_f64v_load(low), b->last = kx_f64v_load(last);
}

static KX_ALWAYS_INLINE void end_sweep(blocks *b, const sweep *r, int64_t begin, int64_t end, int64_t n) {
    const kx_f64v zero = kx_f64v_set(0);
    outcome o;
    /* A bottom below 0 by less than a rounding of the value is 0. */
    const kx_f64v reached = kx_f64v_add(b->total, b->shift), slack = kx_f64v_mul(kx_f64v_set(NEGLIGIBLE), reached);
    const kx_f64m inner = kx_f64v_less(r->least, zero);
    const unsigned far_below = kx_f64m_bits(kx_f64v_less(r->bottom, kx_f64v_sub(zero, slack)));
    const unsigned failed = (kx_f64m_bits(inner) | far_below) & b->running, fine = b->running & ~failed;
    const kx_f64v part = kx_f64v_mul(b->shift, kx_f64v_set(0.25));
    kx_f64v retry = kx_f64v_mul(kx_f64v_add(b->shift, r->bottom), kx_f64v_set(1 - 4e-16));
    retry = kx_f64v_select(inner, part, kx_f64v_max(retry, part));
    retry = kx_f64v_select(kx_f64v_less(b->failures, kx_f64v_set(1.5)), retry, zero);
    if (failed) {
        const kx_f64m mask = kx_f64m_from_bits(failed);
        for (int64_t j = begin; j <= end; j++) {
            put(b->q, j, kx_f64v_select(mask, at(b->old_q, j), at(b->q, j)));
            if (j < end) put(b->e, j, kx_f64v_select(mask, at(b->old_e, j), at(b->e, j)));
        }
    }

    const kx_f64v bottom = kx_f64v_max(r->bottom, zero);
    const unsigned is_negative = kx_f64m_bits(kx_f64v_less(r->bottom, zero));
    const kx_f64v least = kx_f64v_add(reached, kx_f64v_min(bottom, r->least));
    o.value = kx_f64v_add(reached, bottom);
    o.splitting = kx_f64v_max(b->floor, kx_f64v_mul(kx_f64v_set(SPLITTING_SQUARE), least));
    const unsigned has_gap = ~kx_f64m_bits(kx_f64v_less(r->above, kx_f64v_add(bottom, bottom)));
    const unsigned is_small = ~kx_f64m_bits(kx_f64v_less(kx_f64v_mul(kx_f64v_set(NEGLIGIBLE), o.value), r->off_bottom));
    const unsigned is_tiny = ~kx_f64m_bits(kx_f64v_less(o.splitting, r->off_bottom));
    o.deflated = (is_tiny | (is_small & has_gap)) & fine;
    o.split = ~kx_f64m_bits(kx_f64v_less(o.splitting, r->least_off)) & fine;
    const kx_f64m one_less = kx_f64m_from_bits(o.deflated), advanced = kx_f64m_from_bits(fine);
    o.bottom = kx_f64v_select(one_less, kx_f64v_add(r->above, r->off_bottom), bottom);
    o.zero = (~kx_f64m_bits(kx_f64v_less(slack, o.bottom)) | (is_negative & ~o.deflated)) & fine;
    const kx_f64v shift = next_shift(o.bottom, kx_f64v_select(one_less, r->least_before, r->least),
                                     kx_f64v_select(one_less, r->tail_before, r->tail));
    b->total = kx_f64v_select(advanced, reached, b->total);
    b->shift = kx_f64v_select(advanced, shift, retry);
    b->failures = kx_f64v_select(advanced, zero, kx_f64v_add(b->failures, kx_f64v_set(1)));
    if (o.deflated | o.split | o.zero) apply(b, &o, n);
}

/* The bidiagonal's arrays in a group's work space, and the sweeps' start: from large to small, as the bottom then converges
   sooner. */
static void begin_blocks(blocks *b, double *work, int64_t n) {
    const int64_t size = n * LANES;
    b->q = work, b->e = work + size, b->old_q = work + 2 * size, b->old_e = work + 3 * size, b->base = work + 4 * size;
    b->values = work + 5 * size;
    kx_f64v sum = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j++) sum = kx_f64v_add(sum, kx_f64v_add(at(b->q, j), at(b->e, j)));
    const kx_f64m rising = kx_f64v_less(at(b->q, 0), at(b->q, n - 1));
    for (int64_t i = 0, j = n - 1; i < j; i++, j--) {
        const kx_f64v top = at(b->q, i), bottom = at(b->q, j);
        put(b->q, i, kx_f64v_select(rising, bottom, top));
        put(b->q, j, kx_f64v_select(rising, top, bottom));
        const kx_f64v first = at(b->e, i), second = at(b->e, j - 1);
        put(b->e, i, kx_f64v_select(rising, second, first));
        put(b->e, j - 1, kx_f64v_select(rising, first, second));
    }
    b->floor = kx_f64v_mul(sum, kx_f64v_set(NEGLIGIBLE_SQUARE));
    b->shift = b->total = b->failures = kx_f64v_set(0);
    b->running = (1u << LANES) - 1;
    for (int l = 0; l < LANES; l++) b->lo[l] = 0, b->hi[l] = n;
    const outcome o = {0, b->running, 0, b->shift, b->shift, b->floor};
    apply(b, &o, n);
}

void KX_KERNEL(kx_lanes_bidiagonalize)(double *m, int64_t n, double *work) {
    const int64_t size = n * LANES;
    if (n > 0) bidiagonalize(m, n, work, work + size, work + 2 * size, work + 3 * size, work + 4 * size);
}

void KX_KERNEL(kx_lanes_singular_values)(double *const *work, int groups, int64_t n, unsigned *unfinished, double **values) {
    blocks b[2];
    sweep r[2];
    const kx_f64v zero = kx_f64v_set(0);
    unfinished[0] = unfinished[1] = 0;
    for (int g = 0; g < groups; g++) {
        values[g] = work[g] + 5 * n * LANES;
        if (n > 0) begin_blocks(b + g, work[g], n);
    }
    if (n == 0) return;
    for (int64_t round = 0; round < 30 * n + 100; round++) {
        const int is_pair = groups == 2 && b[0].running && b[1].running, g = !b[0].running;
        if (g == groups || !b[g].running) break;
        int64_t begin = b[g].begin, end = b[g].end;
        unsigned has_low = kx_f64m_bits(kx_f64v_less(zero, b[g].low));
        if (is_pair) {
            begin = b[1].begin < begin ? b[1].begin : begin, end = b[1].end > end ? b[1].end : end;
            has_low |= kx_f64m_bits(kx_f64v_less(zero, b[1].low));
        }
        if (is_pair && has_low) run_sweeps(b, b + 1, r, r + 1, begin, end, 1, 1);
        else if (is_pair) run_sweeps(b, b + 1, r, r + 1, begin, end, 1, 0);
        else if (has_low) run_sweeps(b + g, b + g, r + g, r + g, begin, end, 0, 1);
        else run_sweeps(b + g, b + g, r + g, r + g, begin, end, 0, 0);
        end_sweep(b + g, r + g, begin, end, n);
        if (is_pair) end_sweep(b + 1, r + 1, begin, end, n);
    }
    for (int g = 0; g < groups; g++) {
        unfinished[g] = b[g].running;
        for (int64_t j = 0; j < n; j++) put(values[g], j, kx_f64v_sqrt(kx_f64v_max(at(values[g], j), zero)));
    }
}
#endif
