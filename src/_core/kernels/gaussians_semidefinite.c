/* A factor F of one matrix S = F F^T that is singular or nearly so, in twice the precision.

   tr (Sp^1/2 Sq Sp^1/2)^1/2 has roots of eigenvalues: an error of 1e-16 in a factorisation is one of 1e-8 in it. So S is
   reduced with numbers of two doubles, by L D L^T with the largest pivot first, until what is left is of the size of the
   input's rounding. That rest R has its eigenvalues computed, those below zero are taken for zero, and F = P (L D^1/2, V
   r^1/2). To leave the part of R below zero out moves S by no more than its projection to the semidefinite matrices does. The
   factor is rounded to double at the end: the sum of the singular values of Fq^T Fp moves as much as F does, not by the root of
   it. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_transport_internal.h"

typedef struct twofold {
    double high, low;
} twofold;

static KX_ALWAYS_INLINE double fused(double a, double b, double c) {
#if KX_SIMD_GENERIC
    return kx_fused_f64(a, b, c);
#else
    return fma(a, b, c);
#endif
}

static twofold divide(twofold a, twofold b) {
    const double quotient = a.high / b.high, rest = fused(-quotient, b.high, a.high);
    const double low = (rest + (a.low - quotient * b.low)) / b.high, high = quotient + low;
    return (twofold){high, low - (high - quotient)};
}

static double root(twofold a) {
    const double high = sqrt(a.high);
    return high > 0 ? high + (fused(-high, high, a.high) + a.low) / (2 * high) : 0;
}

/* row -= factor * pivot_row, from `begin` on */
static void eliminate(double *high, double *low, const double *pivot_high, const double *pivot_low, twofold factor,
                      int64_t begin, int64_t n) {
    const kx_f64v f = kx_f64v_set(factor.high), f_low = kx_f64v_set(factor.low), zero = kx_f64v_set(0);
    for (int64_t j = begin; j < n; j += KX_F64_LANES) {
        const int64_t count = n - j;
        const int whole = count >= KX_F64_LANES;
        const kx_f64v p = whole ? kx_f64v_load(pivot_high + j) : kx_f64v_load_part(pivot_high + j, count, 0);
        const kx_f64v p_low = whole ? kx_f64v_load(pivot_low + j) : kx_f64v_load_part(pivot_low + j, count, 0);
        const kx_f64v a = whole ? kx_f64v_load(high + j) : kx_f64v_load_part(high + j, count, 0);
        const kx_f64v a_low = whole ? kx_f64v_load(low + j) : kx_f64v_load_part(low + j, count, 0);
        const kx_f64v product = kx_f64v_mul(f, p);
        kx_f64v rest = kx_f64v_sub(zero, kx_f64v_residual(f, p, product)); /* f p - product */
        rest = kx_f64v_add(rest, kx_f64v_add(kx_f64v_mul(f, p_low), kx_f64v_mul(f_low, p)));
        const kx_f64v sum = kx_f64v_sub(a, product), back = kx_f64v_sub(sum, a);
        const kx_f64v error = kx_f64v_sub(kx_f64v_sub(a, kx_f64v_sub(sum, back)), kx_f64v_add(product, back));
        const kx_f64v tail = kx_f64v_add(a_low, kx_f64v_sub(error, rest)), r = kx_f64v_add(sum, tail);
        const kx_f64v r_low = kx_f64v_sub(tail, kx_f64v_sub(r, sum));
        if (whole) kx_f64v_store(high + j, r), kx_f64v_store(low + j, r_low);
        else kx_f64v_store_part(high + j, count, r), kx_f64v_store_part(low + j, count, r_low);
    }
}

static void swap(double *a, double *b) {
    const double c = *a;
    *a = *b, *b = c;
}

static void swap_rows_and_columns(double *a, int64_t n, int64_t i, int64_t j) {
    for (int64_t k = 0; k < n; k++) swap(a + i * n + k, a + j * n + k);
    for (int64_t k = 0; k < n; k++) swap(a + k * n + i, a + k * n + j);
}

static kx_f64v read(const double *row, int64_t j, int64_t n) {
    return n - j >= KX_F64_LANES ? kx_f64v_load(row + j) : kx_f64v_load_part(row + j, n - j, 0);
}

static void write(double *row, int64_t j, int64_t n, kx_f64v v) {
    if (n - j >= KX_F64_LANES) kx_f64v_store(row + j, v);
    else kx_f64v_store_part(row + j, n - j, v);
}

static double dot(const double *a, const double *b, int64_t n) {
    kx_f64v sum = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j += KX_F64_LANES) sum = kx_f64v_fma(read(a, j, n), read(b, j, n), sum);
    return kx_f64v_sum(sum);
}

static void rotate(double *a, double *b, int64_t n, double cosine, double sine) {
    const kx_f64v c = kx_f64v_set(cosine), s = kx_f64v_set(sine), minus_s = kx_f64v_set(-sine);
    for (int64_t j = 0; j < n; j += KX_F64_LANES) {
        const kx_f64v x = read(a, j, n), y = read(b, j, n);
        write(a, j, n, kx_f64v_fma(c, x, kx_f64v_mul(minus_s, y)));
        write(b, j, n, kx_f64v_fma(s, x, kx_f64v_mul(c, y)));
    }
}

/* Eigenvalues and eigenvectors (rows of v) of the symmetric a of r rows, both `step` apart. a + shift I is semidefinite, so that
   its singular values are its eigenvalues, and one-sided rotations find them, which go along rows: at r = 156 in a tenth of the
   time of two-sided ones. */
static void diagonalize(double *a, double *v, int64_t r, int64_t step, double *values) {
    double shift = 0;
    for (int64_t i = 0; i < r; i++) shift += dot(a + i * step, a + i * step, r);
    shift = sqrt(shift);
    for (int64_t i = 0; i < r; i++) {
        a[i * step + i] += shift;
        for (int64_t j = 0; j < r; j++) v[i * step + j] = i == j;
    }
    for (int sweep = 0, moved = 1; moved && sweep < 40; sweep++) {
        moved = 0;
        for (int64_t i = 0; i < r; i++) values[i] = dot(a + i * step, a + i * step, r);
        for (int64_t p = 0; p < r; p++)
            for (int64_t q = p + 1; q < r; q++) {
                const double product = dot(a + p * step, a + q * step, r);
                if (fabs(product) <= sqrt((double)r) * 0x1p-52 * sqrt(values[p] * values[q])) continue;
                moved = 1;
                const double zeta = (values[q] - values[p]) / (2 * product), size = fmin(fabs(zeta), 1e150);
                const double t = copysign(1 / (size + sqrt(1 + size * size)), zeta), c = 1 / sqrt(1 + t * t);
                rotate(a + p * step, a + q * step, r, c, c * t);
                rotate(v + p * step, v + q * step, r, c, c * t);
                values[p] -= t * product, values[q] += t * product;
            }
    }
    for (int64_t i = 0; i < r; i++) values[i] = dot(a + i * step, v + i * step, r) - shift;
}

int KX_KERNEL(kx_semidefinite_factor)(double *s, int64_t n, double rounding, int keep_order, double *work, double *f,
                                      double *least) {
    double *low = work, *v = work + n * n, *order = work + 2 * n * n, *values = order + n;
    double largest = 0, check = 0;
    for (int64_t i = 0; i < n * n; i++) check += s[i] * 0;
    *least = check;
    if (!(check == 0)) return 0;
    for (int64_t i = 0; i < n; i++) {
        order[i] = (double)i;
        for (int64_t j = 0; j < n; j++) largest = fmax(largest, fabs(s[i * n + j]));
    }
    const double floor = (double)n * rounding * largest;
    memset(low, 0, (size_t)(n * n) * sizeof *low);
    memset(f, 0, (size_t)(n * n) * sizeof *f);
    int64_t k = 0;
    for (; k < n; k++) {
        int64_t best = k;
        if (keep_order) {
            /* a positive pivot that twice the precision has digits of */
            if (!(s[k * n + k] > (double)n * 0x1p-98 * largest)) {
                *least = s[k * n + k];
                return 0;
            }
        } else {
            for (int64_t i = k; i < n; i++)
                if (s[i * n + i] > s[best * n + best]) best = i;
            double off = 0;
            for (int64_t j = k; j < n; j++) off = fmax(off, fabs(s[best * n + j]));
            /* no row of a semidefinite matrix is larger than its largest pivot */
            if (!(s[best * n + best] > 0.5 * floor) || off > s[best * n + best] * (1 + 1e-9)) break;
            if (best != k) {
                swap_rows_and_columns(s, n, k, best);
                swap_rows_and_columns(low, n, k, best);
                swap(order + k, order + best);
                for (int64_t c = 0; c < k; c++) swap(f + k * n + c, f + best * n + c);
            }
        }
        const twofold pivot = {s[k * n + k], low[k * n + k]};
        const double scale = root(pivot);
        f[k * n + k] = scale;
        for (int64_t i = k + 1; i < n; i++) {
            const twofold factor = divide((twofold){s[i * n + k], low[i * n + k]}, pivot);
            f[i * n + k] = factor.high * scale;
            eliminate(s + i * n, low + i * n, s + k * n, low + k * n, factor, k + 1, n);
        }
    }
    const int64_t rank = k, rest = n - k;
    *least = 0;
    if (rest > 0) {
        double *r = s + rank * n + rank;
        double size = 0;
        for (int64_t i = 0; i < rest; i++)
            for (int64_t j = 0; j < rest; j++) size = fmax(size, fabs(r[i * n + j]));
        if (size > 0) {
            for (int64_t i = 0; i < rest; i++)
                for (int64_t j = 0; j < rest; j++) r[i * n + j] /= size;
            diagonalize(r, v, rest, n, values);
            for (int64_t j = 0; j < rest; j++) {
                const double value = values[j] * size, length = sqrt(fmax(value, 0));
                *least = fmin(*least, value);
                for (int64_t i = 0; i < rest; i++) f[(rank + i) * n + rank + j] = v[j * n + i] * length;
            }
        }
    }
    if (keep_order) return 1;
    for (int64_t i = 0; i < n; i++) memcpy(low + (int64_t)order[i] * n, f + i * n, (size_t)n * sizeof *f);
    memcpy(f, low, (size_t)(n * n) * sizeof *f);
    return *least >= -8 * floor;
}
#endif
