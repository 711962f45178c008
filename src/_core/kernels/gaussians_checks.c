/* Whether matrices are what they are taken for: the kernels of the Gaussians read the lower triangles alone.

   The sum of the differences across the diagonal is enough for nearly all matrices: squares of LANES x LANES entries are
   transposed in registers, and each entry is loaded once. Where the sum is above the limit, or not a number, each difference is
   looked at.

   The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_gaussians.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/simd.h"
#include "isa/transpose.h"
#include "runtime/flags.h"

/* From this n on: 1000 matrices of 64 x 64 float64 take 1.2 ms instead of 1.8, those of 16 x 16 none the less. */
enum { PREFETCHED = 32 };
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define KX_BITS uint64_t
#define INFINITE_BITS UINT64_C(0x7ff0000000000000)
#include "gaussians_checks.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_BITS
#undef INFINITE_BITS

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_BITS uint32_t
#define INFINITE_BITS UINT32_C(0x7f800000)
#include "gaussians_checks.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS

static KX_ALWAYS_INLINE double KX_TYPED(at)(const char *place) {
    KX_REAL value;
    memcpy(&value, place, sizeof value);
    return (double)value;
}

/* The bits but the sign: 0 for zeros, and at least those of infinity for what is not finite. */
static KX_ALWAYS_INLINE KX_BITS KX_TYPED(magnitude)(const char *place) {
    KX_BITS bits;
    memcpy(&bits, place, sizeof bits);
    return bits & ~(KX_BITS)0 >> 1;
}

static KX_ALWAYS_INLINE KX_BITS KX_TYPED(is_infinite)(const char *place) { return KX_TYPED(magnitude)(place) >= INFINITE_BITS; }

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(load)(const char *place) {
    return V(load)((const KX_REAL *)(const void *)place);
}

/* Of rows without gaps; not a number where an entry is not finite. The squares are scattered over the matrix, beyond what the
   processor foresees: with `ahead`, the same places of the next matrix are prefetched, `ahead` bytes away. Into the second cache:
   two matrices of 64 x 64 have no room in the first (Zen 4: gaussian_kl takes 6% less than with the first; at 32 x 32 the same). */
static KX_ALWAYS_INLINE double KX_TYPED(sum_of_differences)(const char *a, ptrdiff_t row, int64_t n, ptrdiff_t ahead) {
    const ptrdiff_t size = (ptrdiff_t)sizeof(KX_REAL);
    const int64_t whole = n - n % KX_LANES;
    KX_VECTOR sums[2] = {V(set)(0), V(set)(0)};
    for (int64_t i = 0; i < whole; i += KX_LANES) {
        for (int64_t j = 0; j <= i; j += KX_LANES) {
            KX_VECTOR square[KX_LANES];
            for (int k = 0; k < KX_LANES; k++) {
                square[k] = KX_TYPED(load)(a + (i + k) * row + j * size);
                if (ahead) kx_prefetch_far(a + ahead + (i + k) * row + j * size);
            }
            V(transpose)(square);
            for (int k = 0; k < KX_LANES; k++) {
                const KX_VECTOR across = KX_TYPED(load)(a + (j + k) * row + i * size);
                if (ahead) kx_prefetch_far(a + ahead + (j + k) * row + i * size);
                sums[k & 1] = V(add)(sums[k & 1], V(abs)(V(sub)(square[k], across)));
            }
        }
    }
    KX_REAL lanes[KX_LANES];
    V(store)(lanes, V(add)(sums[0], sums[1]));
    double sum = 0;
    for (int k = 0; k < KX_LANES; k++) sum += (double)lanes[k];
    for (int64_t i = whole; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) sum += fabs(KX_TYPED(at)(a + i * row + j * size) - KX_TYPED(at)(a + j * row + i * size));
    }
    return sum;
}

static int KX_TYPED(is_not_symmetric)(const char *a, ptrdiff_t row, ptrdiff_t column, int64_t n, double tolerance,
                                      ptrdiff_t ahead) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const double diagonal = fabs(KX_TYPED(at)(a + i * (row + column)));
        largest = diagonal > largest ? diagonal : largest;
    }
    const double limit = tolerance * largest;
    if (column == (ptrdiff_t)sizeof(KX_REAL)) {
        const double sum =
            n < PREFETCHED ? KX_TYPED(sum_of_differences)(a, row, n, 0) : KX_TYPED(sum_of_differences)(a, row, n, ahead);
        if (sum <= limit) return 0;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const double low = KX_TYPED(at)(a + i * row + j * column), high = KX_TYPED(at)(a + j * row + i * column);
            if (!(fabs(low - high) <= limit)) return 1;
        }
    }
    return 0;
}

static int KX_TYPED(is_not_a_factor)(const char *a, ptrdiff_t row, ptrdiff_t column, int64_t n) {
    KX_BITS above = 0, infinite = 0;
    for (int64_t i = 0; i < n; i++) {
        const char *entries = a + i * row;
        if (column == (ptrdiff_t)sizeof(KX_REAL)) { /* for the vectoriser */
            for (int64_t j = 0; j <= i; j++) infinite |= KX_TYPED(is_infinite)(entries + j * (ptrdiff_t)sizeof(KX_REAL));
            for (int64_t j = i + 1; j < n; j++) above |= KX_TYPED(magnitude)(entries + j * (ptrdiff_t)sizeof(KX_REAL));
        } else {
            for (int64_t j = 0; j <= i; j++) infinite |= KX_TYPED(is_infinite)(entries + j * column);
            for (int64_t j = i + 1; j < n; j++) above |= KX_TYPED(magnitude)(entries + j * column);
        }
    }
    return (above | infinite) != 0;
}
#endif

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_flaws))(const kx_batch_t *matrices, int64_t items, int64_t n, kx_gaussian_form_t form,
                                                   double tolerance, uint8_t *flaws) {
    if (items < 0 || n < 0 || (form != KX_GAUSSIAN_COVARIANCE && form != KX_GAUSSIAN_CHOLESKY)) return KX_E_ARGUMENT;
    const int before = kx_flags_begin();
    int flaw = 0;
    for (int64_t i = 0; i < items; i++) {
        if (i == 0 || matrices->batch != 0) {
            const char *a = (const char *)matrices->data + i * matrices->batch;
            const ptrdiff_t ahead = i + 1 < items ? matrices->batch : 0;
            flaw = form == KX_GAUSSIAN_COVARIANCE
                       ? KX_TYPED(is_not_symmetric)(a, matrices->row, matrices->column, n, tolerance, ahead)
                       : KX_TYPED(is_not_a_factor)(a, matrices->row, matrices->column, n);
        }
        if (flaw) flaws[i] = 1;
    }
    kx_flags_end(before, 0);
    return KX_OK;
}
#endif

KX_DISPATCH(KX_TYPED(kx_gaussian_flaws),
            (const kx_batch_t *matrices, int64_t items, int64_t n, kx_gaussian_form_t form, double tolerance, uint8_t *flaws),
            (matrices, items, n, form, tolerance, flaws))
#endif
