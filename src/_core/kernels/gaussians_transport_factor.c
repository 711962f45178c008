/* Reading covariances for optimal transport: scaled by powers of two, factored side by side in lanes, or one by one where that
   is not enough. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_transport_internal.h"

enum { LANES = KX_F64_LANES };

/* The least pivot, of its diagonal entry, that a factorisation in double does not hurt: the root of an eigenvalue 1e-6 has lost
   1e-13. */
#define LEAST_PIVOT 1e-6

/* Any layout and type to LANES contiguous matrices (or vectors: columns = 1) of double. */
static void widen(const kx_batch_t *batch, int is_float, int64_t first, int64_t count, int64_t rows, int64_t columns, int lower,
                  double *to) {
    for (int64_t l = 0; l < count; l++)
        for (int64_t i = 0; i < rows; i++) {
            const char *from = (const char *)batch->data + (first + l) * batch->batch + i * batch->row;
            for (int64_t j = 0; j < (lower ? i + 1 : columns); j++)
                to[(l * rows + i) * columns + j] = kx_transport_read(from + j * batch->column, is_float);
        }
}

static void scale_lanes(double *a, int64_t count, const double *factors) {
    const kx_f64v by = kx_f64v_load(factors);
    for (int64_t i = 0; i < count; i++) kx_f64v_store(a + i * LANES, kx_f64v_mul(kx_f64v_load(a + i * LANES), by));
}

/* Sets the lanes' exponents, so that 2^(per_power exponent) is about the size; 1 if any is not 0. */
static int choose_scale(kx_f64v size, int per_power, int *exponent, double *factors) {
    double sizes[LANES];
    int any = 0;
    kx_f64v_store(sizes, size);
    for (int l = 0; l < LANES; l++) {
        exponent[l] = kx_transport_exponent(sizes[l]) / per_power;
        factors[l] = ldexp(1, -per_power * exponent[l]);
        any |= exponent[l] != 0;
    }
    return any;
}

void KX_KERNEL(kx_transport_factor)(kx_transport_side_t *side, int64_t first, int64_t count, double *scratch) {
    const int64_t n = side->n;
    const kx_f64v zero = kx_f64v_set(0);
    double *a = side->factor, factors[LANES];
    if (side->is_float) {
        const kx_batch_t wide = {scratch, n * n * (ptrdiff_t)sizeof *a, n * (ptrdiff_t)sizeof *a, sizeof *a};
        widen(side->batch, 1, first, count, n, n, 1, scratch);
        kx_lanes_pack_f64(&wide, 0, count, n, KX_LANES_LOWER, a);
    } else kx_lanes_pack_f64(side->batch, first, count, n, KX_LANES_LOWER, a);
    kx_lanes_clear_above_f64(a, n);
    kx_f64v size = zero, trace = zero;
    side->doubtful = 0;
    if (side->form == KX_GAUSSIAN_CHOLESKY) {
        unsigned wrong = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) size = kx_f64v_max(size, kx_f64v_abs(kx_f64v_load(a + (i * n + j) * LANES)));
        if (choose_scale(size, 1, side->exponent, factors)) scale_lanes(a, n * n, factors);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                const kx_f64v entry = kx_f64v_load(a + (i * n + j) * LANES);
                trace = kx_f64v_fma(entry, entry, trace);
            }
        for (int64_t i = 0; i < n; i++) {
            const kx_f64v diagonal = kx_f64v_load(a + (i * n + i) * LANES);
            kx_f64v_store(side->inverse + i * LANES, kx_f64v_div(kx_f64v_set(1), diagonal));
            wrong |= ~kx_f64m_bits(kx_f64v_less(zero, kx_f64v_abs(diagonal)));
        }
        kx_f64v_store(side->trace, trace);
        for (int l = 0; l < LANES; l++) {
            side->spread[l] = 1;
            if (!isfinite(side->trace[l])) side->trace[l] = (double)NAN;
            if (wrong >> l & 1 || isnan(side->trace[l])) side->doubtful |= 1u << l;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) size = kx_f64v_max(size, kx_f64v_abs(kx_f64v_load(a + (i * n + i) * LANES)));
    if (choose_scale(size, 2, side->exponent, factors)) scale_lanes(a, n * n, factors);
    double *diagonal = scratch;
    for (int64_t i = 0; i < n; i++) {
        const kx_f64v entry = kx_f64v_load(a + (i * n + i) * LANES);
        kx_f64v_store(diagonal + i * LANES, entry);
        trace = kx_f64v_add(trace, entry);
    }
    kx_lanes_pivots_t pivots;
    kx_lanes_cholesky_f64(a, n, side->inverse, &pivots);
    kx_lanes_clear_above_f64(a, n);
    side->doubtful = pivots.bad;
    kx_f64v spread = zero, most = kx_f64v_set(1 / LEAST_PIVOT);
    for (int64_t i = 0; i < n; i++) {
        const kx_f64v entry = kx_f64v_load(diagonal + i * LANES), inverse = kx_f64v_load(side->inverse + i * LANES);
        const kx_f64v ratio = kx_f64v_mul(kx_f64v_mul(entry, inverse), inverse);
        side->doubtful |= ~kx_f64m_bits(kx_f64v_less(ratio, most));
        spread = kx_f64v_add(spread, kx_f64v_sqrt(kx_f64v_max(ratio, zero)));
    }
    side->doubtful &= (1u << LANES) - 1;
    kx_f64v_store(side->trace, trace);
    kx_f64v_store(side->spread, n ? kx_f64v_div(spread, kx_f64v_set((double)n)) : spread);
}

int KX_KERNEL(kx_transport_factor_item)(kx_transport_side_t *side, int64_t item, int lane, int keep_order, double *scratch,
                                        double *least) {
    const int64_t n = side->n;
    const int is_given = side->form == KX_GAUSSIAN_CHOLESKY;
    double *s = scratch, *f = scratch + n * n, size = 0, check = 0, trace = 0;
    widen(side->batch, side->is_float, item, 1, n, n, 1, s);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            check += s[i * n + j] * 0;
            if (is_given || i == j) size = fmax(size, fabs(s[i * n + j]));
        }
    const int per_power = is_given ? 1 : 2, exponent = kx_transport_exponent(size) / per_power;
    const double scale = ldexp(1, -per_power * exponent);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            s[i * n + j] *= scale;
            if (i != j) s[j * n + i] = is_given ? 0 : s[i * n + j];
        }
    int is_fine = check == 0;
    *least = check;
    if (is_given) {
        for (int64_t i = 0; i < n * n; i++) f[i] = s[i], trace += s[i] * s[i];
        for (int64_t i = 0; i < n; i++)
            if (keep_order && s[i * n + i] == 0) is_fine = 0;
    } else {
        const double rounding = side->is_float ? 0x1p-23 : 0x1p-52;
        for (int64_t i = 0; i < n; i++) trace += s[i * n + i];
        is_fine = KX_KERNEL(kx_semidefinite_factor)(s, n, rounding, keep_order, f + n * n, f, least);
        *least = ldexp(*least, 2 * exponent);
    }
    for (int64_t i = 0; i < n * n; i++) side->factor[i * LANES + lane] = is_fine ? f[i] : 0;
    for (int64_t i = 0; i < n; i++) side->inverse[i * LANES + lane] = is_fine && keep_order ? 1 / f[i * n + i] : 0;
    side->trace[lane] = fmax(trace, 0);
    side->spread[lane] = 1;
    side->exponent[lane] = exponent;
    return is_fine;
}

static void pack_means(const kx_batch_t *mean, int is_float, int64_t first, int64_t count, int64_t n, double *scratch,
                       double *v) {
    if (is_float) {
        const kx_batch_t wide = {scratch, n * (ptrdiff_t)sizeof *v, sizeof *v, 0};
        widen(mean, 1, first, count, n, 1, 0, scratch);
        kx_lanes_pack_vector_f64(&wide, 0, count, n, v);
    } else kx_lanes_pack_vector_f64(mean, first, count, n, v);
}

void KX_KERNEL(kx_transport_difference)(const kx_batch_t *mean_p, const kx_batch_t *mean_q, int is_float, int64_t first,
                                        int64_t count, int64_t n, double *scratch, double *difference, double *squares,
                                        int *exponent) {
    double *other = scratch + n * LANES, factors[LANES];
    pack_means(mean_p, is_float, first, count, n, scratch, difference);
    pack_means(mean_q, is_float, first, count, n, scratch, other);
    kx_f64v size = kx_f64v_set(0), sum = size;
    for (int64_t i = 0; i < n; i++) {
        const kx_f64v d = kx_f64v_sub(kx_f64v_load(difference + i * LANES), kx_f64v_load(other + i * LANES));
        kx_f64v_store(difference + i * LANES, d);
        size = kx_f64v_max(size, kx_f64v_abs(d));
    }
    if (choose_scale(size, 1, exponent, factors)) scale_lanes(difference, n, factors);
    for (int64_t i = 0; i < n; i++) {
        const kx_f64v d = kx_f64v_load(difference + i * LANES);
        sum = kx_f64v_fma(d, d, sum);
    }
    kx_f64v_store(squares, sum);
}
#endif
