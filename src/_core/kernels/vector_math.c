/* exp and log of arrays; the methods are in runtime/vector_math.h. The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_vector_math.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "runtime/vector_math.h"
#endif

#define KX_TEMPLATE "kernels/vector_math.c"
#include "isa/each_real.h"

#else /* the template */

KX_DISPATCH(KX_TYPED(kx_vector_exp), (const KX_REAL *x, int64_t n, KX_REAL *out), (x, n, out))
KX_DISPATCH(KX_TYPED(kx_vector_log), (const KX_REAL *x, int64_t n, KX_REAL *out), (x, n, out))

#ifndef KX_DISPATCH_PASS

/* The last few items go by way of a padded vector. */
static KX_ALWAYS_INLINE kx_status_t KX_TYPED(evaluate)(KX_VECTOR (*function)(KX_VECTOR), const KX_REAL *x, int64_t n,
                                                       KX_REAL *out) {
    int64_t i = 0;
    for (; i + KX_LANES <= n; i += KX_LANES) V(store)(out + i, function(V(load)(x + i)));
    if (i < n) {
        KX_REAL last[KX_LANES];
        for (int64_t j = 0; j < KX_LANES; j++) last[j] = i + j < n ? x[i + j] : 1;
        V(store)(last, function(V(load)(last)));
        memcpy(out + i, last, (size_t)(n - i) * sizeof *out);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_vector_exp))(const KX_REAL *x, int64_t n, KX_REAL *out) {
    return KX_TYPED(evaluate)(V(exp), x, n, out);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_vector_log))(const KX_REAL *x, int64_t n, KX_REAL *out) {
    return KX_TYPED(evaluate)(V(log), x, n, out);
}
#endif
#endif
