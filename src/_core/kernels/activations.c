/* SquarePlus. The template below is compiled for float and for double. */
#ifndef KX_REAL
#include "kexue/kx_activations.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "isa/simd.h"
#endif

#define KX_REAL float
#define KX_SUFFIX f32
#include "activations.c"
#undef KX_REAL
#undef KX_SUFFIX

#define KX_REAL double
#define KX_SUFFIX f64
#include "activations.c"
#undef KX_REAL
#undef KX_SUFFIX
#else

KX_DISPATCH(KX_TYPED(kx_activations_squareplus),
            (const KX_REAL *x, const KX_REAL *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (x, b, n, x_stride, b_stride, out, out_stride))

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_squareplus))(const KX_REAL *x, const KX_REAL *b, int64_t n, ptrdiff_t x_stride,
                                                           ptrdiff_t b_stride, KX_REAL *out, ptrdiff_t out_stride) {
    const char *px = (const char *)x, *pb = (const char *)b;
    char *po = (char *)out;
    for (int64_t i = 0; i < n; i++) {
        KX_REAL xi, bi;
        memcpy(&xi, px + i * x_stride, sizeof xi);
        memcpy(&bi, pb + i * b_stride, sizeof bi);
        KX_REAL h = (KX_REAL)sqrt((double)xi * (double)xi + (double)bi);
        KX_REAL y = xi >= 0 ? (KX_REAL)0.5 * (xi + h) : bi / (2 * (h - xi));
        memcpy(po + i * out_stride, &y, sizeof y);
    }
    return KX_OK;
}
#endif
#endif
