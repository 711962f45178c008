/* KL of two softmaxes, in float64 for both precisions. With d = b - a less its mean under p = softmax(a), as it was rounded,

       KL = log1p(T + m) - m,  T = E_p (e^d - 1 - d),  m = E_p d,

   where T has positive terms alone, and m is the mean's own rounding. Three passes over a row: the extremes, exponentials and the
   mean, T; and the gradient. */
#ifndef KX_REAL
#include "kexue/kx_losses_contrastive.h"

#include "isa/kernel.h"

#define KX_KL_PARAMETERS(real)                                                                                                 \
    (const real *a, const real *b, int64_t count, int64_t n, ptrdiff_t a_stride, ptrdiff_t b_stride, double *scratch,          \
     real *loss, real *grad, ptrdiff_t grad_stride)
#define KX_KL_ARGUMENTS (a, b, count, n, a_stride, b_stride, scratch, loss, grad, grad_stride)
KX_DISPATCH(kx_losses_softmax_kl_f32, KX_KL_PARAMETERS(float), KX_KL_ARGUMENTS)
KX_DISPATCH(kx_losses_softmax_kl_f64, KX_KL_PARAMETERS(double), KX_KL_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <math.h>

#include "runtime/flags.h"
#include "runtime/lane_sum.h"
#include "runtime/vector_math.h"

enum { BLOCK = 64 * KX_F64_LANES }; /* entries whose sums are added plainly */
/* e^-700 is a normal number, and e^690 times 1e8 is finite. */
static const double FARTHEST = 700, MOST = 690;

typedef struct kx_excess {
    double excess, mean, highest; /* T, m, the largest d */
} kx_excess_t;

static double total_of(const kx_lane_sum_t *sum) {
    const double total = kx_f64v_sum(sum->total);
    return isfinite(total) ? total + kx_f64v_sum(sum->lost) : total;
}

/* The first `count` lanes 1, the others 0. */
static inline kx_f64v ones_of(int64_t count) {
    static const double ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
    return kx_f64v_load_part(ones, count, 0);
}
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define LOAD kx_f64v_load
#define LOAD_PART kx_f64v_load_part
#define STORE kx_f64v_store
#include "losses_softmax_kl.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef LOAD
#undef LOAD_PART
#undef STORE

#define KX_REAL float
#define KX_SUFFIX f32
#define LOAD kx_f64v_load_f32
#define LOAD_PART kx_f64v_load_part_f32
#define STORE kx_f64v_store_f32
#include "losses_softmax_kl.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS
static KX_ALWAYS_INLINE kx_f64v KX_TYPED(load)(const KX_REAL *p, int64_t count, KX_REAL fill) {
    return count >= KX_F64_LANES ? LOAD(p) : LOAD_PART(p, count, fill);
}

static KX_ALWAYS_INLINE void KX_TYPED(store)(KX_REAL *p, int64_t count, kx_f64v value) {
    if (count >= KX_F64_LANES) {
        STORE(p, value);
        return;
    }
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, value);
    for (int64_t l = 0; l < count; l++) p[l] = (KX_REAL)lanes[l];
}

/* T and m; d is less than `mean` by `second`. */
static kx_excess_t KX_TYPED(add_excess)(const KX_REAL *a, const KX_REAL *b, int64_t n, const double *e, double *growth,
                                        double weight, double mean, double second) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), means = kx_f64v_set(mean), seconds = kx_f64v_set(second);
    kx_f64v lowest = zero; /* of minus d */
    kx_lane_sum_t sums[2] = {{zero, zero}, {zero, zero}};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
        kx_f64v excesses = zero, rests = zero;
        for (int64_t k = begin; k < end; k += KX_F64_LANES) {
            const kx_f64v x = KX_TYPED(load)(a + k, n - k, 0), y = KX_TYPED(load)(b + k, n - k, 0);
            kx_f64v d = kx_f64v_sub(kx_f64v_sub(kx_f64v_sub(y, x), means), seconds);
            if (n - k < KX_F64_LANES) d = kx_f64v_mul(d, ones_of(n - k));
            lowest = kx_f64v_min(kx_f64v_sub(zero, d), lowest);
            kx_f64v power, r;
            const kx_f64v rest = kx_f64v_exp_parts(kx_f64v_clamp_magnitude(d, 746), &power, &r), s = kx_f64v_scale(one, power);
            /* s (1 + r + rest) - 1 - d, where s is 1 for small d */
            const kx_f64v excess = kx_f64v_fma(s, rest, kx_f64v_fma(s, r, kx_f64v_sub(kx_f64v_sub(s, one), d)));
            const kx_f64v p = kx_f64v_load(e + k);
            excesses = kx_f64v_fma(p, excess, excesses), rests = kx_f64v_fma(p, d, rests);
            if (growth) kx_f64v_store(growth + k, kx_f64v_add(excess, d));
        }
        kx_lane_sum_add(sums, excesses), kx_lane_sum_add(sums + 1, rests);
    }
    return (kx_excess_t){total_of(sums) / weight, total_of(sums + 1) / weight, -kx_f64v_reduce_min(lowest)};
}

/* e, growth: n doubles each, and up to a vector more. Returns the loss, or NaN. */
static double KX_TYPED(kl_of_row)(const KX_REAL *a, const KX_REAL *b, int64_t n, double *e, double *growth, KX_REAL *grad) {
    const kx_f64v zero = kx_f64v_set(0);
    kx_f64v low = kx_f64v_set((double)a[0]), minus_high = kx_f64v_set(-(double)a[0]);
    for (int64_t k = 0; k < n; k += KX_F64_LANES) {
        const kx_f64v x = KX_TYPED(load)(a + k, n - k, a[0]);
        low = kx_f64v_min(x, low), minus_high = kx_f64v_min(kx_f64v_sub(zero, x), minus_high);
    }
    const double least = kx_f64v_reduce_min(low), top = -kx_f64v_reduce_min(minus_high);
    if (!(top - least <= FARTHEST)) return (double)NAN;

    const kx_f64v tops = kx_f64v_set(top);
    kx_lane_sum_t sums[2] = {{zero, zero}, {zero, zero}};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
        kx_f64v weights = zero, products = zero;
        for (int64_t k = begin; k < end; k += KX_F64_LANES) {
            const kx_f64v x = KX_TYPED(load)(a + k, n - k, (KX_REAL)top), y = KX_TYPED(load)(b + k, n - k, (KX_REAL)top);
            kx_f64v weight = kx_f64v_exp_below(kx_f64v_sub(x, tops));
            if (n - k < KX_F64_LANES) weight = kx_f64v_mul(weight, ones_of(n - k));
            kx_f64v_store(e + k, weight);
            weights = kx_f64v_add(weights, weight);
            products = kx_f64v_fma(weight, kx_f64v_sub(y, x), products);
        }
        kx_lane_sum_add(sums, weights), kx_lane_sum_add(sums + 1, products);
    }
    const double weight = total_of(sums), mean = total_of(sums + 1) / weight;
    if (!isfinite(mean)) return (double)NAN;

    kx_excess_t found = KX_TYPED(add_excess)(a, b, n, e, grad ? growth : NULL, weight, mean, 0);
    /* T has lost the square of m: once more, with m taken from d */
    if (found.mean * found.mean > 0x1p-54 * found.excess)
        found = KX_TYPED(add_excess)(a, b, n, e, grad ? growth : NULL, weight, mean, found.mean);
    if (!(found.highest <= MOST)) return (double)NAN;
    const double total = found.excess + found.mean;
    if (grad) {
        const kx_f64v totals = kx_f64v_set(total), factor = kx_f64v_set(1 / (weight * (1 + total)));
        for (int64_t k = 0; k < n; k += KX_F64_LANES) {
            const kx_f64v change = kx_f64v_sub(kx_f64v_load(growth + k), totals);
            KX_TYPED(store)(grad + k, n - k, kx_f64v_mul(kx_f64v_mul(kx_f64v_load(e + k), factor), change));
        }
    }
    /* log1p(u) - m; for a small u = T + m, which may be m alone, T + (log1p(u) - u) */
    const double u = total;
    const double loss = fabs(u) > 1e-3 ? log1p(u) - found.mean
                                       : found.excess - u * u * (1. / 2 - u * (1. / 3 - u * (1. / 4 - u * (1. / 5 - u / 6))));
    return loss < 0 ? 0 : loss;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_softmax_kl)) KX_KL_PARAMETERS(KX_REAL) {
    if (count < 0 || n < 1) return KX_E_ARGUMENT;
    const int flags = kx_flags_begin();
    for (int64_t r = 0; r < count; r++) {
        const KX_REAL *row = (const KX_REAL *)(const void *)((const char *)a + r * a_stride);
        const KX_REAL *other = (const KX_REAL *)(const void *)((const char *)b + r * b_stride);
        KX_REAL *to = grad ? (KX_REAL *)(void *)((char *)grad + r * grad_stride) : NULL;
        loss[r] = (KX_REAL)KX_TYPED(kl_of_row)(row, other, n, scratch, scratch + n + 16, to);
    }
    kx_flags_end(flags, 0);
    return KX_OK;
}
#endif /* KX_DISPATCH_PASS */

#endif
