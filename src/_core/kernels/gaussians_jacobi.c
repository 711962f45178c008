/* Singular vectors of small matrices side by side in the lanes of vectors: one-sided Jacobi rotations (Hestenes 1958), which
   keep small singular values' digits (Demmel and Veselic 1992). The larger of two rows goes first, without which graded
   matrices take many sweeps. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_transport_internal.h"

enum { LANES = KX_F64_LANES, SWEEPS = 40 };

static KX_ALWAYS_INLINE kx_f64v at(const double *a, int64_t i) { return kx_f64v_load(a + i * LANES); }
static KX_ALWAYS_INLINE void put(double *a, int64_t i, kx_f64v v) { kx_f64v_store(a + i * LANES, v); }

static KX_ALWAYS_INLINE kx_f64v dot(const double *a, const double *b, int64_t n) {
    kx_f64v sums[4] = {kx_f64v_set(0), kx_f64v_set(0), kx_f64v_set(0), kx_f64v_set(0)};
    int64_t j = 0;
    for (; j + 4 <= n; j += 4)
        for (int k = 0; k < 4; k++) sums[k] = kx_f64v_fma(at(a, j + k), at(b, j + k), sums[k]);
    for (; j < n; j++) sums[0] = kx_f64v_fma(at(a, j), at(b, j), sums[0]);
    return kx_f64v_add(kx_f64v_add(sums[0], sums[1]), kx_f64v_add(sums[2], sums[3]));
}

static KX_ALWAYS_INLINE void rotate(double *a, double *b, int64_t n, kx_f64v c, kx_f64v s) {
    const kx_f64v minus_s = kx_f64v_sub(kx_f64v_set(0), s);
    for (int64_t j = 0; j < n; j++) {
        const kx_f64v x = at(a, j), y = at(b, j);
        put(a, j, kx_f64v_fma(c, x, kx_f64v_mul(minus_s, y)));
        put(b, j, kx_f64v_fma(s, x, kx_f64v_mul(c, y)));
    }
}

void KX_KERNEL(kx_lanes_orthogonalize_rows)(double *b, double *v, int64_t n, double *squares) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), tolerance = kx_f64v_set(sqrt((double)n) * 0x1p-52);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) put(v, i * n + j, i == j ? one : zero);
    for (int sweep = 0, moved = 1; moved && sweep < SWEEPS; sweep++) {
        moved = 0;
        for (int64_t i = 0; i < n; i++) put(squares, i, dot(b + i * n * LANES, b + i * n * LANES, n));
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = i + 1; k < n; k++) {
                double *first = b + i * n * LANES, *second = b + k * n * LANES;
                const kx_f64v product = dot(first, second, n), above = kx_f64v_max(at(squares, i), zero);
                const kx_f64v below = kx_f64v_max(at(squares, k), zero);
                const kx_f64v bound = kx_f64v_mul(tolerance, kx_f64v_mul(kx_f64v_sqrt(above), kx_f64v_sqrt(below)));
                const kx_f64m turned = kx_f64v_less(bound, kx_f64v_abs(product));
                if (!kx_f64m_bits(turned)) continue;
                moved = 1;
                const kx_f64v divisor = kx_f64v_select(turned, kx_f64v_add(product, product), one);
                const kx_f64v zeta = kx_f64v_div(kx_f64v_sub(below, above), divisor);
                const kx_f64v size = kx_f64v_min(kx_f64v_abs(zeta), kx_f64v_set(1e150));
                kx_f64v t = kx_f64v_div(one, kx_f64v_add(size, kx_f64v_sqrt(kx_f64v_fma(size, size, one))));
                t = kx_f64v_select(kx_f64v_less(zeta, zero), kx_f64v_sub(zero, t), t);
                kx_f64v c = kx_f64v_div(one, kx_f64v_sqrt(kx_f64v_fma(t, t, one))), s = kx_f64v_mul(c, t);
                kx_f64v x = kx_f64v_sub(above, kx_f64v_mul(t, product)), y = kx_f64v_fma(t, product, below);
                const kx_f64m exchanged = kx_f64v_less(x, y);
                const kx_f64v c_kept = c, x_kept = x;
                c = kx_f64v_select(exchanged, s, c), s = kx_f64v_select(exchanged, kx_f64v_sub(zero, c_kept), s);
                x = kx_f64v_select(exchanged, y, x), y = kx_f64v_select(exchanged, x_kept, y);
                c = kx_f64v_select(turned, c, one), s = kx_f64v_select(turned, s, zero);
                put(squares, i, kx_f64v_select(turned, x, above));
                put(squares, k, kx_f64v_select(turned, y, below));
                rotate(first, second, n, c, s);
                rotate(v + i * n * LANES, v + k * n * LANES, n, c, s);
            }
    }
    for (int64_t i = 0; i < n; i++) put(squares, i, dot(b + i * n * LANES, b + i * n * LANES, n));
}
#endif
