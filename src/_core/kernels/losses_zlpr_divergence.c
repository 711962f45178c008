/* The symmetric divergence of two rows of scores: sum (sigma(s) - sigma(t)) (s - t).

   With d = |s - t|, sigma(max) - sigma(min) = sigma(max) sigma(-min) (1 - e^-d): all factors are positive and none is a
   difference that cancels. sigma(x) = 1 / (1 + q) or q / (1 + q) with q = e^-|x|, which never overflows. */
#ifndef KX_REAL
#include "kexue/kx_losses.h"

#include "isa/kernel.h"

#define KX_DIVERGENCE_PARAMETERS(real)                                                                                         \
    (const kx_ctx_t *ctx, const real *s, const real *t, const uint8_t *mask, int64_t count, int64_t n, ptrdiff_t s_stride,     \
     ptrdiff_t t_stride, ptrdiff_t mask_stride, real *loss, real *grad_s, real *grad_t, ptrdiff_t grad_stride)
#define KX_DIVERGENCE_ARGUMENTS                                                                                                \
    (ctx, s, t, mask, count, n, s_stride, t_stride, mask_stride, loss, grad_s, grad_t, grad_stride)

KX_DISPATCH(kx_losses_zlpr_symmetric_kl_f32, KX_DIVERGENCE_PARAMETERS(float), KX_DIVERGENCE_ARGUMENTS)
KX_DISPATCH(kx_losses_zlpr_symmetric_kl_f64, KX_DIVERGENCE_PARAMETERS(double), KX_DIVERGENCE_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/byte_masks.h"
#include "isa/transpose.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"
#include "runtime/vector_math.h"

enum { GROUP = 8, CHUNK_ENTRIES = 1 << 15, POLL_ROWS = 64 };

typedef struct kx_divergence_job {
    const char *s, *t;
    const uint8_t *mask;
    int64_t n;
    ptrdiff_t s_stride, t_stride, mask_stride, grad_stride;
    char *loss, *grad_s, *grad_t;
} kx_divergence_job_t;
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define LARGEST 0x1.fffffffffffffp1023
#include "losses_zlpr_divergence.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef LARGEST

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#define KX_IS_FLOAT 1
#define LARGEST 0x1.fffffep127f
#include "losses_zlpr_divergence.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS

/* 1 - e^-d for d >= 0, without cancelling where d is small. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(one_minus_exp)(KX_VECTOR d) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1));
    KX_VECTOR exponent, r;
    /* e^-100 is below half an ulp of 1; the minimum is its second operand where that is NaN */
    const KX_VECTOR x = V(sub)(zero, V(min)(V(set)(R(100)), d));
    const KX_VECTOR rest = V(exp_parts)(x, &exponent, &r);
    const KX_VECTOR power = V(scale)(one, exponent);
    return V(sub)(V(sub)(one, power), V(mul)(power, V(add)(r, rest)));
}

static KX_ALWAYS_INLINE void KX_TYPED(row_step)(const int has_mask, const int has_gradient, const KX_REAL *s, const KX_REAL *t,
                                                const uint8_t *mask, KX_REAL *grad_s, KX_REAL *grad_t, int64_t width,
                                                KX_VECTOR *sum) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1));
    const int is_whole = width == KX_LANES;
    KX_VECTOR a = is_whole ? V(load)(s) : V(load_part)(s, width, R(0)), b = is_whole ? V(load)(t) : V(load_part)(t, width, R(0));
    if (has_mask) {
        const KX_MASK chosen = is_whole ? M(from_bytes)(mask) : M(from_bytes_part)(mask, width);
        a = V(select)(chosen, a, zero);
        b = V(select)(chosen, b, zero);
    }
    /* both -inf: both 0 */
    const KX_VECTOR least = V(set)(-LARGEST);
    const KX_VECTOR low = V(select)(V(less)(a, least), V(select)(V(less)(b, least), one, zero), zero);
    const KX_MASK absent = V(less)(zero, low);
    a = V(select)(absent, zero, a);
    b = V(select)(absent, zero, b);

    const KX_VECTOR d = V(sub)(a, b), size = V(abs)(d);
    const KX_VECTOR q_a = V(exp)(V(sub)(zero, V(abs)(a))), q_b = V(exp)(V(sub)(zero, V(abs)(b)));
    const KX_VECTOR r_a = V(div)(one, V(add)(one, q_a)), r_b = V(div)(one, V(add)(one, q_b));
    const KX_MASK a_is_less = V(less)(a, b);
    const KX_MASK a_is_negative = V(less)(a, zero), b_is_negative = V(less)(b, zero);
    /* sigma(max) sigma(-min) */
    const KX_VECTOR up_a = V(select)(a_is_negative, q_a, one), down_a = V(select)(a_is_negative, one, q_a);
    const KX_VECTOR up_b = V(select)(b_is_negative, q_b, one), down_b = V(select)(b_is_negative, one, q_b);
    const KX_VECTOR product = V(select)(a_is_less, V(mul)(V(mul)(up_b, r_b), V(mul)(down_a, r_a)),
                                        V(mul)(V(mul)(up_a, r_a), V(mul)(down_b, r_b)));
    const KX_VECTOR difference = V(mul)(product, KX_TYPED(one_minus_exp)(size));
    *sum = V(add)(*sum, V(mul)(difference, size));
    if (!has_gradient) return;
    const KX_VECTOR slope_a = V(mul)(q_a, V(mul)(r_a, r_a)), slope_b = V(mul)(q_b, V(mul)(r_b, r_b));
    KX_VECTOR by_s = V(add)(V(mul)(slope_a, size), difference), by_t = V(add)(V(mul)(slope_b, size), difference);
    by_s = V(select)(a_is_less, V(sub)(zero, by_s), by_s);
    by_t = V(select)(a_is_less, by_t, V(sub)(zero, by_t));
    if (is_whole) {
        V(store)(grad_s, by_s);
        V(store)(grad_t, by_t);
    } else {
        V(store_part)(grad_s, width, by_s);
        V(store_part)(grad_t, width, by_t);
    }
}

static KX_ALWAYS_INLINE double KX_TYPED(sum_row)(const int has_mask, const int has_gradient, const KX_REAL *s, const KX_REAL *t,
                                                 const uint8_t *mask, int64_t n, KX_REAL *grad_s, KX_REAL *grad_t) {
    kx_lane_sum_t total = {kx_f64v_set(0), kx_f64v_set(0)};
    for (int64_t first = 0; first < n; first += GROUP * KX_LANES) {
        const int64_t last = n - first < GROUP * KX_LANES ? n : first + GROUP * KX_LANES;
        KX_VECTOR sum = V(set)(R(0));
        for (int64_t i = first; i < last; i += KX_LANES) {
            const int64_t width = last - i < KX_LANES ? last - i : KX_LANES;
            KX_TYPED(row_step)(has_mask, has_gradient, s + i, t + i, has_mask ? mask + i : NULL, has_gradient ? grad_s + i : NULL,
                               has_gradient ? grad_t + i : NULL, width, &sum);
        }
        KX_REAL lanes[KX_LANES];
        V(store)(lanes, sum);
#if KX_IS_FLOAT
        kx_lane_sum_add(&total, kx_f64v_add(kx_f64v_load_f32(lanes), kx_f64v_load_f32(lanes + KX_F64_LANES)));
#else
        kx_lane_sum_add(&total, kx_f64v_load(lanes));
#endif
    }
    const double sum = kx_f64v_sum(total.total);
    return isfinite(sum) ? sum + kx_f64v_sum(total.lost) : sum; /* of an infinity nothing is lost */
}

static kx_status_t KX_TYPED(sum_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_divergence_job_t *job = (const kx_divergence_job_t *)arg;
    const int flags = kx_flags_begin(), has_gradient = job->grad_s != NULL;
    kx_status_t status = KX_OK;
    for (int64_t r = begin; r < end; r++) {
        if ((r - begin) % POLL_ROWS == 0 && kx_task_should_stop(task)) {
            status = KX_E_CANCELLED;
            break;
        }
        const KX_REAL *s = (const KX_REAL *)(const void *)(job->s + r * job->s_stride);
        const KX_REAL *t = (const KX_REAL *)(const void *)(job->t + r * job->t_stride);
        const uint8_t *mask = job->mask ? job->mask + r * job->mask_stride : NULL;
        KX_REAL *grad_s = has_gradient ? (KX_REAL *)(void *)(job->grad_s + r * job->grad_stride) : NULL;
        KX_REAL *grad_t = has_gradient ? (KX_REAL *)(void *)(job->grad_t + r * job->grad_stride) : NULL;
        double sum;
        if (mask)
            sum = has_gradient ? KX_TYPED(sum_row)(1, 1, s, t, mask, job->n, grad_s, grad_t)
                               : KX_TYPED(sum_row)(1, 0, s, t, mask, job->n, NULL, NULL);
        else
            sum = has_gradient ? KX_TYPED(sum_row)(0, 1, s, t, NULL, job->n, grad_s, grad_t)
                               : KX_TYPED(sum_row)(0, 0, s, t, NULL, job->n, NULL, NULL);
        ((KX_REAL *)(void *)job->loss)[r] = R(sum);
    }
    kx_flags_end(flags, 0);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_zlpr_symmetric_kl)) KX_DIVERGENCE_PARAMETERS(KX_REAL) {
    if (count < 0 || n < 0 || !grad_s != !grad_t) return KX_E_ARGUMENT;
    if (n > INT64_MAX / 64) return KX_E_OVERFLOW;
    kx_divergence_job_t job = {.s = (const char *)s, .t = (const char *)t, .mask = mask, .n = n, .s_stride = s_stride,
                               .t_stride = t_stride, .mask_stride = mask_stride, .grad_stride = grad_stride, .loss = (char *)loss,
                               .grad_s = (char *)grad_s, .grad_t = (char *)grad_t};
    return kx_parallel_for(ctx, count, 1 + CHUNK_ENTRIES / (n + 1), KX_TYPED(sum_rows), &job);
}

#endif /* KX_DISPATCH_PASS */

#endif
