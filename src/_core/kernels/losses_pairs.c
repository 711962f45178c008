/* Cosines of pairs of rows, normalisation by the Euclidean norm, and their gradients. Sums in float64, by blocks, and two-sums
   over blocks. Where squares of float64 entries leave the range in which sums of them
   are accurate, the entries are scaled by powers of two, and once more read. */
#ifndef KX_REAL
#include "kexue/kx_losses_ranking.h"

#include "isa/kernel.h"

#define KX_COSINE_PARAMETERS(real)                                                                                     \
    (const real *u, const real *v, int64_t rows, int64_t n, ptrdiff_t u_row, ptrdiff_t u_step, ptrdiff_t v_row,        \
     ptrdiff_t v_step, real *cosines, ptrdiff_t cosine_step)
#define KX_COSINE_ARGUMENTS (u, v, rows, n, u_row, u_step, v_row, v_step, cosines, cosine_step)
#define KX_COSINE_VJP_PARAMETERS                                                                                       \
    (const kx_losses_vectors_t *u, const kx_losses_vectors_t *v, const kx_losses_vectors_t *upstream, int64_t rows, int64_t n,  \
     const kx_losses_vectors_t *du, const kx_losses_vectors_t *dv)
#define KX_COSINE_VJP_ARGUMENTS (u, v, upstream, rows, n, du, dv)
#define KX_NORMALIZE_PARAMETERS(real)                                                                                  \
    (const real *x, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step, real *out, ptrdiff_t out_row, ptrdiff_t out_step)
#define KX_NORMALIZE_ARGUMENTS (x, rows, n, x_row, x_step, out, out_row, out_step)
#define KX_NORMALIZE_VJP_PARAMETERS(real)                                                                              \
    (const real *x, const real *upstream, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step,                  \
     ptrdiff_t upstream_row, ptrdiff_t upstream_step, real *out, ptrdiff_t out_row, ptrdiff_t out_step)
#define KX_NORMALIZE_VJP_ARGUMENTS (x, upstream, rows, n, x_row, x_step, upstream_row, upstream_step, out, out_row, out_step)
KX_DISPATCH(kx_losses_cosine_pairs_f32, KX_COSINE_PARAMETERS(float), KX_COSINE_ARGUMENTS)
KX_DISPATCH(kx_losses_cosine_pairs_f64, KX_COSINE_PARAMETERS(double), KX_COSINE_ARGUMENTS)
KX_DISPATCH(kx_losses_cosine_pairs_vjp_f32, KX_COSINE_VJP_PARAMETERS, KX_COSINE_VJP_ARGUMENTS)
KX_DISPATCH(kx_losses_cosine_pairs_vjp_f64, KX_COSINE_VJP_PARAMETERS, KX_COSINE_VJP_ARGUMENTS)
KX_DISPATCH(kx_losses_l2_normalize_f32, KX_NORMALIZE_PARAMETERS(float), KX_NORMALIZE_ARGUMENTS)
KX_DISPATCH(kx_losses_l2_normalize_f64, KX_NORMALIZE_PARAMETERS(double), KX_NORMALIZE_ARGUMENTS)
KX_DISPATCH(kx_losses_l2_normalize_vjp_f32, KX_NORMALIZE_VJP_PARAMETERS(float), KX_NORMALIZE_VJP_ARGUMENTS)
KX_DISPATCH(kx_losses_l2_normalize_vjp_f64, KX_NORMALIZE_VJP_PARAMETERS(double), KX_NORMALIZE_VJP_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/simd.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"

enum { BLOCK = 512 }; /* entries whose sums are added plainly, in 16 lanes or more */
static const double COSINE_LEAST = 1e-8, NORM_LEAST = 1e-12;

typedef struct kx_row {
    char *data;
    ptrdiff_t step;
    double scale; /* a power of two */
} kx_row_t;

/* Sums over the entries of a scaled row x, and of it and y. */
typedef struct kx_row_sums {
    double xx, yy, xy;
} kx_row_sums_t;

static inline kx_row_t row_of(const kx_losses_vectors_t *rows, int64_t r) {
    return (kx_row_t){(char *)rows->data + r * rows->row, rows->step, 1};
}

/* What is due: the invalid flag for an infinity. */
static inline int flags_of(kx_row_sums_t sums) {
    const double infinity = (double)INFINITY;
    return fabs(sums.xx) == infinity || fabs(sums.yy) == infinity ? FE_INVALID : 0;
}

static inline int are_squares_ordinary(double sum) { return sum > 0x1p-900 && sum < 0x1p900; }

/* The scale at which the largest entry is next to 1, as far as its inverse is finite too; 1 for a row of zeros, or one that is
   not finite. */
static double scale_of(double largest) {
    int exponent;
    if (!(largest > 0 && largest < (double)INFINITY)) return 1;
    frexp(largest, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : exponent > 1000 ? -1000 : -exponent);
}
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_IS_DOUBLE 1
#include "losses_pairs.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_IS_DOUBLE

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_IS_DOUBLE 0
#include "losses_pairs.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS
/* Entries k, k + 1, ..: `count` of them, at most a vector; the rest is 0. */
static KX_ALWAYS_INLINE kx_f64v KX_TYPED(load)(const int is_contiguous, const kx_row_t *row, int64_t k, int64_t count) {
    const char *from = row->data + k * row->step;
    if (is_contiguous) {
#if KX_IS_DOUBLE
        const double *entries = (const double *)(const void *)from;
        return count >= KX_F64_LANES ? kx_f64v_load(entries) : kx_f64v_load_part(entries, count, 0);
#else
        const float *entries = (const float *)(const void *)from;
        return count >= KX_F64_LANES ? kx_f64v_load_f32(entries) : kx_f64v_load_part_f32(entries, count, 0);
#endif
    }
    double lanes[KX_F64_LANES];
    for (int l = 0; l < KX_F64_LANES; l++) {
        KX_REAL entry = 0;
        if (l < count) memcpy(&entry, from + l * row->step, sizeof entry);
        lanes[l] = (double)entry;
    }
    return kx_f64v_load(lanes);
}

static KX_ALWAYS_INLINE void KX_TYPED(store)(const int is_contiguous, char *to, ptrdiff_t step, int64_t count, kx_f64v value) {
    if (is_contiguous && count >= KX_F64_LANES) {
#if KX_IS_DOUBLE
        kx_f64v_store((double *)(void *)to, value);
#else
        kx_f64v_store_f32((float *)(void *)to, value);
#endif
        return;
    }
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, value);
    for (int l = 0; l < KX_F64_LANES && l < count; l++) {
        const KX_REAL entry = (KX_REAL)lanes[l];
        memcpy(to + l * step, &entry, sizeof entry);
    }
}

/* y may be NULL. */
static KX_ALWAYS_INLINE kx_row_sums_t KX_TYPED(add_rows)(const int is_contiguous, const int has_two, const kx_row_t *x,
                                                         const kx_row_t *y, int64_t n) {
    const kx_f64v zero = kx_f64v_set(0), x_scale = kx_f64v_set(x->scale), y_scale = kx_f64v_set(has_two ? y->scale : 1);
    kx_lane_sum_t sums[3] = {{zero, zero}, {zero, zero}, {zero, zero}};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
        kx_f64v parts[3][2];
        for (int i = 0; i < 6; i++) parts[i / 2][i % 2] = zero;
        for (int64_t k = begin; k < end; k += 2 * KX_F64_LANES)
            for (int i = 0; i < 2; i++) {
                const int64_t first = k + i * KX_F64_LANES;
                if (i && first >= end) break;
                const kx_f64v p = kx_f64v_mul(x_scale, KX_TYPED(load)(is_contiguous, x, first, end - first));
                parts[0][i] = kx_f64v_fma(p, p, parts[0][i]);
                if (!has_two) continue;
                const kx_f64v q = kx_f64v_mul(y_scale, KX_TYPED(load)(is_contiguous, y, first, end - first));
                parts[1][i] = kx_f64v_fma(q, q, parts[1][i]);
                parts[2][i] = kx_f64v_fma(p, q, parts[2][i]);
            }
        for (int i = 0; i < 3; i++) kx_lane_sum_add(sums + i, kx_f64v_add(parts[i][0], parts[i][1]));
    }
    double totals[4], lost[4];
    kx_f64v_sum4(totals, sums[0].total, sums[1].total, sums[2].total, zero);
    kx_f64v_sum4(lost, sums[0].lost, sums[1].lost, sums[2].lost, zero);
    for (int i = 0; i < 3; i++) totals[i] += fabs(lost[i]) < (double)INFINITY ? lost[i] : 0; /* beside an infinity it is NaN */
    return (kx_row_sums_t){totals[0], totals[1], totals[2]};
}
static kx_row_sums_t KX_TYPED(add_products)(const kx_row_t *x, const kx_row_t *y, int64_t n) {
    const int is_contiguous = x->step == sizeof(KX_REAL) && (!y || y->step == sizeof(KX_REAL));
    if (y) return is_contiguous ? KX_TYPED(add_rows)(1, 1, x, y, n) : KX_TYPED(add_rows)(0, 1, x, y, n);
    return is_contiguous ? KX_TYPED(add_rows)(1, 0, x, y, n) : KX_TYPED(add_rows)(0, 0, x, y, n);
}

static double KX_TYPED(largest)(const kx_row_t *x, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        KX_REAL entry;
        memcpy(&entry, x->data + i * x->step, sizeof entry);
        if (!(fabs((double)entry) <= largest)) largest = fabs((double)entry);
        if (!(largest < (double)INFINITY)) break;
    }
    return largest;
}

/* The same for rows of any magnitude: their scales are set. */
static kx_row_sums_t KX_TYPED(measure)(kx_row_t *x, kx_row_t *y, int64_t n) {
    kx_row_sums_t sums = KX_TYPED(add_products)(x, y, n);
    if (sizeof(KX_REAL) == sizeof(float) || (are_squares_ordinary(sums.xx) && (!y || are_squares_ordinary(sums.yy)))) return sums;
    x->scale = scale_of(KX_TYPED(largest)(x, n));
    if (y) y->scale = scale_of(KX_TYPED(largest)(y, n));
    return KX_TYPED(add_products)(x, y, n);
}

/* Of what the sums tell: the scaled norms, at least the scaled `least`, and whether it is the norm itself. */
static inline double KX_TYPED(norm)(double squares, double scale, double least, int *is_long) {
    const double norm = sqrt(squares);
    *is_long = !(norm < least * scale);
    return *is_long ? norm : least * scale;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_cosine_pairs)) KX_COSINE_PARAMETERS(KX_REAL) {
    if (rows < 0 || n < 0) return KX_E_ARGUMENT;
    const int flags = kx_flags_begin();
    int due = 0;
    for (int64_t r = 0; r < rows; r++) {
        kx_row_t a = {(char *)u + r * u_row, u_step, 1}, b = {(char *)v + r * v_row, v_step, 1};
        const kx_row_sums_t sums = KX_TYPED(measure)(&a, &b, n);
        due |= flags_of(sums);
        int is_long;
        const double of_a = KX_TYPED(norm)(sums.xx, a.scale, COSINE_LEAST, &is_long);
        const double of_b = KX_TYPED(norm)(sums.yy, b.scale, COSINE_LEAST, &is_long);
        const double cosine = sums.xy / of_a / of_b;
        const KX_REAL value = (KX_REAL)(cosine > 1 ? 1 : cosine < -1 ? -1 : cosine);
        memcpy((char *)cosines + r * cosine_step, &value, sizeof value);
    }
    kx_flags_end(flags, due);
    return KX_OK;
}

/* out = (by_y y - by_x x) factor last: two factors, whose product may overflow where the result does not. Without y, by_x x
   factor, whose by_x factor may underflow. */
static KX_ALWAYS_INLINE void KX_TYPED(combine)(const int is_contiguous, const int has_two, const kx_row_t *x, const kx_row_t *y,
                                               int64_t n, double by_x, double by_y, double factor, double last, char *out,
                                               ptrdiff_t step) {
    const kx_f64v of_x = kx_f64v_set(by_x), of_y = kx_f64v_set(by_y), first = kx_f64v_set(factor), second = kx_f64v_set(last);
    for (int64_t k = 0; k < n; k += KX_F64_LANES) {
        kx_f64v value = kx_f64v_mul(of_x, KX_TYPED(load)(is_contiguous, x, k, n - k));
        if (has_two) {
            const kx_f64v other = kx_f64v_mul(of_y, KX_TYPED(load)(is_contiguous, y, k, n - k));
            value = kx_f64v_mul(kx_f64v_mul(kx_f64v_sub(other, value), first), second);
        } else {
            value = kx_f64v_mul(value, first);
        }
        KX_TYPED(store)(is_contiguous, out + k * step, step, n - k, value);
    }
}
static void KX_TYPED(write)(const kx_row_t *x, const kx_row_t *y, int64_t n, double by_x, double by_y, double factor, double last,
                            char *out, ptrdiff_t step) {
    const ptrdiff_t size = sizeof(KX_REAL);
    const int is_contiguous = x->step == size && step == size && (!y || y->step == size);
    if (y) {
        if (is_contiguous) KX_TYPED(combine)(1, 1, x, y, n, by_x, by_y, factor, last, out, step);
        else KX_TYPED(combine)(0, 1, x, y, n, by_x, by_y, factor, last, out, step);
    } else if (is_contiguous) {
        KX_TYPED(combine)(1, 0, x, y, n, by_x, by_y, factor, last, out, step);
    } else {
        KX_TYPED(combine)(0, 0, x, y, n, by_x, by_y, factor, last, out, step);
    }
}

/* What the gradient by one of a pair is made of: g (y / |y| - along x / |x|) / |x|, with norms of scaled rows; `along` is the
   cosine, or 0 for a short x. */
typedef struct KX_TYPED(side) {
    kx_f64v of_x, of_y, factor;
} KX_TYPED(side);
static KX_ALWAYS_INLINE KX_TYPED(side) KX_TYPED(side_of)(const kx_row_t *x, const kx_row_t *y, double of_x, double of_y,
                                                         double along) {
    return (KX_TYPED(side)){kx_f64v_set(along / of_x * x->scale), kx_f64v_set(y->scale / of_y), kx_f64v_set(x->scale / of_x)};
}
static KX_ALWAYS_INLINE kx_f64v KX_TYPED(gradient)(const KX_TYPED(side) * side, kx_f64v x, kx_f64v y, kx_f64v g) {
    return kx_f64v_mul(kx_f64v_mul(kx_f64v_sub(kx_f64v_mul(side->of_y, y), kx_f64v_mul(side->of_x, x)), g), side->factor);
}
/* Both at once: the gradients may replace the rows. */
static KX_ALWAYS_INLINE void KX_TYPED(write_gradients)(const int is_contiguous, const kx_row_t *u, const kx_row_t *v, int64_t n,
                                                       const KX_TYPED(side) * sides, double g, const kx_row_t *du,
                                                       const kx_row_t *dv) {
    const kx_f64v upstream = kx_f64v_set(g);
    for (int64_t k = 0; k < n; k += KX_F64_LANES) {
        const kx_f64v x = KX_TYPED(load)(is_contiguous, u, k, n - k), y = KX_TYPED(load)(is_contiguous, v, k, n - k);
        KX_TYPED(store)(is_contiguous, du->data + k * du->step, du->step, n - k,
                        KX_TYPED(gradient)(sides, x, y, upstream));
        KX_TYPED(store)(is_contiguous, dv->data + k * dv->step, dv->step, n - k,
                        KX_TYPED(gradient)(sides + 1, y, x, upstream));
    }
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_cosine_pairs_vjp)) KX_COSINE_VJP_PARAMETERS {
    if (rows < 0 || n < 0) return KX_E_ARGUMENT;
    for (int64_t r = 0; r < rows; r++) {
        kx_row_t a = row_of(u, r), b = row_of(v, r);
        const int flags = kx_flags_begin();
        const kx_row_sums_t sums = KX_TYPED(measure)(&a, &b, n);
        int a_is_long, b_is_long;
        const double of_a = KX_TYPED(norm)(sums.xx, a.scale, COSINE_LEAST, &a_is_long);
        const double of_b = KX_TYPED(norm)(sums.yy, b.scale, COSINE_LEAST, &b_is_long);
        const double cosine = sums.xy / of_a / of_b;
        kx_flags_end(flags, flags_of(sums));
        KX_REAL g;
        memcpy(&g, (const char *)upstream->data + r * upstream->row, sizeof g);
        const KX_TYPED(side) sides[2] = {KX_TYPED(side_of)(&a, &b, of_a, of_b, a_is_long ? cosine : 0),
                                         KX_TYPED(side_of)(&b, &a, of_b, of_a, b_is_long ? cosine : 0)};
        const kx_row_t by_u = row_of(du, r), by_v = row_of(dv, r);
        const ptrdiff_t size = sizeof(KX_REAL);
        if (u->step == size && v->step == size && du->step == size && dv->step == size)
            KX_TYPED(write_gradients)(1, &a, &b, n, sides, (double)g, &by_u, &by_v);
        else KX_TYPED(write_gradients)(0, &a, &b, n, sides, (double)g, &by_u, &by_v);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_l2_normalize)) KX_NORMALIZE_PARAMETERS(KX_REAL) {
    if (rows < 0 || n < 0) return KX_E_ARGUMENT;
    const int flags = kx_flags_begin();
    int due = 0;
    for (int64_t r = 0; r < rows; r++) {
        kx_row_t row = {(char *)x + r * x_row, x_step, 1};
        const kx_row_sums_t sums = KX_TYPED(measure)(&row, NULL, n);
        due |= flags_of(sums);
        int is_long;
        const double norm = KX_TYPED(norm)(sums.xx, row.scale, NORM_LEAST, &is_long);
        KX_TYPED(write)(&row, NULL, n, row.scale, 0, 1 / norm, 1, (char *)out + r * out_row, out_step);
    }
    kx_flags_end(flags, due);
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_l2_normalize_vjp)) KX_NORMALIZE_VJP_PARAMETERS(KX_REAL) {
    if (rows < 0 || n < 0) return KX_E_ARGUMENT;
    for (int64_t r = 0; r < rows; r++) {
        kx_row_t row = {(char *)x + r * x_row, x_step, 1};
        kx_row_t g = {(char *)upstream + r * upstream_row, upstream_step, 1};
        const int flags = kx_flags_begin();
        const kx_row_sums_t sums = KX_TYPED(measure)(&row, &g, n);
        int is_long;
        const double norm = KX_TYPED(norm)(sums.xx, row.scale, NORM_LEAST, &is_long);
        kx_flags_end(flags, flags_of(sums));
        const double along = is_long ? sums.xy / norm : 0;
        KX_TYPED(write)(&row, &g, n, along / norm * row.scale, g.scale, row.scale / norm, 1 / g.scale, (char *)out + r * out_row,
                        out_step);
    }
    return KX_OK;
}
#endif
#endif
