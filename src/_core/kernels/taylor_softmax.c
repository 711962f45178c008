/* Taylor softmax of rows and its gradient, in double arithmetic for both precisions.

   f(x) = 1 + x (1 + x/2 (1 + x/3 (...))). Near its minimum f is small and its terms are not: for order 20 Horner's rule is off by
   8e-12 there. From order 4 on (float32: 22) each step carries what it lost: the product's and the quotient's remainders
   by FMA, the sum's by Knuth's two-sum (Graillat, Langlois and Louvet's compensated Horner rule, with the divisions in it).

   A row whose largest power could overflow goes entry by entry with exponents of their own. */
#include "kexue/kx_softmax.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/simd.h"
#include "runtime/flags.h"
#include "runtime/sum.h"

enum { BLOCK = 1024, ABREAST = 2 }; /* vectors side by side hide the latency of a step */

typedef struct operands {
    const char *x, *grad; /* grad: NULL for the function itself */
    char *out;
    int64_t count, n;
    ptrdiff_t x_row, x_step, grad_row, grad_step, out_row, out_step, size;
    int64_t order;
    double lowest;
    double limit; /* up to here powers are of ordinary size: |x|^order / order! <= 2^500 */
    int is_compensated;
} operands;

/* Entries are read once more for each pass over a row of more than a block. */
typedef struct row {
    double x[BLOCK], grad[BLOCK], f[BLOCK];
} row;

static double read_entry(const operands *o, const char *p) {
    double wide;
    float narrow;
    if (o->size == 4) return memcpy(&narrow, p, 4), (double)narrow;
    return memcpy(&wide, p, 8), wide;
}
static void write_entry(const operands *o, char *p, double value) {
    const float narrow = (float)value;
    memcpy(p, o->size == 4 ? (const void *)&narrow : (const void *)&value, (size_t)o->size);
}

/* An entry that is no more than `lowest` becomes it; a NaN stays. */
static double at_least(double x, double lowest) { return isless(x, lowest) ? lowest : x; }

/* Entries first .. first + count; zeros fill the last vectors. */
static void gather(const operands *o, int64_t number, int64_t first, int64_t count, row *r) {
    const char *x = o->x + number * o->x_row + first * o->x_step;
    if (o->size == 8 && o->x_step == 8) memcpy(r->x, x, (size_t)count * 8);
    else
        for (int64_t i = 0; i < count; i++) r->x[i] = read_entry(o, x + i * o->x_step);
    if (o->lowest > -(double)INFINITY)
        for (int64_t i = 0; i < count; i++) r->x[i] = at_least(r->x[i], o->lowest);
    for (int64_t i = count; i % (ABREAST * KX_F64_LANES) != 0; i++) r->x[i] = 0;
    if (!o->grad) return;
    const char *grad = o->grad + number * o->grad_row + first * o->grad_step;
    for (int64_t i = 0; i < count; i++) r->grad[i] = read_entry(o, grad + i * o->grad_step);
}

static KX_ALWAYS_INLINE void polynomial(const double *x, int64_t order, int is_compensated, double *f) {
    const kx_f64v one = kx_f64v_set(1);
    kx_f64v t[ABREAST], lost[ABREAST], v[ABREAST];
    for (int i = 0; i < ABREAST; i++) t[i] = one, lost[i] = kx_f64v_set(0), v[i] = kx_f64v_load(x + i * KX_F64_LANES);
    for (int64_t k = order; k > 0; k--) {
        const kx_f64v divisor = kx_f64v_set((double)k), inverse = kx_f64v_set(1 / (double)k);
        for (int i = 0; i < ABREAST; i++) {
            const kx_f64v product = kx_f64v_mul(v[i], t[i]), quotient = kx_f64v_mul(product, inverse);
            const kx_f64v sum = kx_f64v_add(quotient, one);
            if (is_compensated) {
                const kx_f64v rest = kx_f64v_sub(kx_f64v_residual(quotient, divisor, product),
                                                 kx_f64v_residual(v[i], t[i], product));
                const kx_f64v part = kx_f64v_sub(sum, quotient);
                const kx_f64v of_sum = kx_f64v_add(kx_f64v_sub(quotient, kx_f64v_sub(sum, part)), kx_f64v_sub(one, part));
                lost[i] = kx_f64v_fma(kx_f64v_fma(v[i], lost[i], rest), inverse, of_sum);
            }
            t[i] = sum;
        }
    }
    for (int i = 0; i < ABREAST; i++) kx_f64v_store(f + i * KX_F64_LANES, kx_f64v_add(t[i], lost[i]));
}

/* f of a block, of this order or of one less. Order 2 is ((x + 1)^2 + 1) / 2: no cancellation. */
static void polynomials(const operands *o, const double *x, int64_t count, int64_t order, double *f) {
    if (order == 2) {
        for (int64_t i = 0; i < count; i++) f[i] = 0.5 * ((x[i] + 1) * (x[i] + 1) + 1);
        return;
    }
    for (int64_t i = 0; i < count; i += ABREAST * KX_F64_LANES) {
        if (o->is_compensated) polynomial(x + i, order, 1, f + i);
        else polynomial(x + i, order, 0, f + i);
    }
}

/* m 2^exponent, where powers below 2^-3000 are as good as that. */
static double times_power(double m, int64_t exponent) { return ldexp(m, exponent < -3000 ? -3000 : (int)exponent); }

/* f(x) = m 2^exponent for any finite x, m within [0.5, 1). An order of some millions is beyond an int's exponents. */
static double scaled_value(const operands *o, double x, int64_t order, int64_t *exponent) {
    double m = 1;
    int64_t e = 0;
    int shift = 0, x_exponent;
    if (!(fabs(x) > o->limit)) {
        double same[ABREAST * KX_F64_LANES], f[ABREAST * KX_F64_LANES];
        for (int i = 0; i < ABREAST * KX_F64_LANES; i++) same[i] = x;
        polynomials(o, same, 1, order, f);
        m = frexp(f[0], &shift);
        *exponent = shift;
        return m;
    }
    const double x_mantissa = frexp(x, &x_exponent);
    for (int64_t k = order; k > 0; k--) {
        m = frexp(m * x_mantissa / (double)k, &shift);
        e += shift + x_exponent;
        if (e > 64) m += times_power(1, -e);
        else m = times_power(m, e) + 1, e = 0;
    }
    m = frexp(m, &shift);
    *exponent = e + shift;
    return m;
}

static void neumaier(double *total, double *lost, double value) {
    const double sum = *total + value;
    *lost += fabs(*total) >= fabs(value) ? (*total - sum) + value : (value - sum) + *total;
    *total = sum;
}

static double clamped_entry(const operands *o, const char *p) { return at_least(read_entry(o, p), o->lowest); }

/* A row with huge entries, all finite. */
static void huge_row(const operands *o, const char *x, const char *grad, char *out) {
    int64_t top = -2000, e;
    for (int64_t i = 0; i < o->n; i++) {
        scaled_value(o, clamped_entry(o, x + i * o->x_step), o->order, &e);
        if (e > top) top = e;
    }
    double total = 0, lost = 0, product = 0, product_lost = 0;
    for (int64_t i = 0; i < o->n; i++) {
        const double m = scaled_value(o, clamped_entry(o, x + i * o->x_step), o->order, &e), f = times_power(m, e - top);
        neumaier(&total, &lost, f);
        if (grad) neumaier(&product, &product_lost, f * read_entry(o, grad + i * o->grad_step));
    }
    const double sum = total + lost, mean = (product + product_lost) / sum;
    for (int64_t i = 0; i < o->n; i++) {
        const double entry = clamped_entry(o, x + i * o->x_step);
        const double m = scaled_value(o, entry, grad ? o->order - 1 : o->order, &e), f = times_power(m, e - top) / sum;
        if (!grad) write_entry(o, out + i * o->out_step, f);
        else {
            const double slope = entry > o->lowest ? f * (read_entry(o, grad + i * o->grad_step) - mean) : 0;
            write_entry(o, out + i * o->out_step, slope);
        }
    }
}

/* The invalid flag if the row has an infinity and no NaN. */
static int evaluate_row(const operands *o, int64_t number, row *r) {
    const int fits = o->n <= BLOCK;
    char *out = o->out + number * o->out_row;
    double largest = 0, total = 0, lost = 0, product = 0, product_lost = 0;
    int is_nan = 0;
    for (int64_t first = 0; first < o->n; first += BLOCK) {
        const int64_t count = o->n - first < BLOCK ? o->n - first : BLOCK;
        gather(o, number, first, count, r);
        for (int64_t i = 0; i < count; i++) {
            const double size = fabs(r->x[i]);
            largest = size > largest ? size : largest;
            is_nan |= r->x[i] != r->x[i];
        }
    }
    if (largest > o->limit && largest <= 0x1.fffffffffffffp1023 && !is_nan) {
        huge_row(o, o->x + number * o->x_row, o->grad ? o->grad + number * o->grad_row : NULL, out);
        return 0;
    }
    const int has_value = largest <= o->limit && !is_nan;
    for (int64_t first = 0; first < o->n && has_value; first += BLOCK) {
        const int64_t count = o->n - first < BLOCK ? o->n - first : BLOCK;
        if (!fits) gather(o, number, first, count, r);
        polynomials(o, r->x, count, o->order, r->f);
        neumaier(&total, &lost, kx_sum(r->f, count));
        if (!o->grad) continue;
        double products[BLOCK];
        for (int64_t i = 0; i < count; i++) products[i] = r->f[i] * r->grad[i];
        neumaier(&product, &product_lost, kx_sum(products, count));
    }
    const double sum = has_value ? total + lost : (double)NAN, mean = (product + product_lost) / sum;
    for (int64_t first = 0; first < o->n; first += BLOCK) {
        const int64_t count = o->n - first < BLOCK ? o->n - first : BLOCK;
        char *to = out + first * o->out_step;
        if (!fits) gather(o, number, first, count, r);
        if (!has_value) {
            for (int64_t i = 0; i < count; i++) write_entry(o, to + i * o->out_step, sum);
        } else if (o->grad) {
            polynomials(o, r->x, count, o->order - 1, r->f);
            for (int64_t i = 0; i < count; i++) r->f[i] = r->x[i] > o->lowest ? r->f[i] / sum * (r->grad[i] - mean) : 0;
            for (int64_t i = 0; i < count; i++) write_entry(o, to + i * o->out_step, r->f[i]);
        } else {
            if (!fits) polynomials(o, r->x, count, o->order, r->f);
            for (int64_t i = 0; i < count; i++) r->f[i] /= sum;
            for (int64_t i = 0; i < count; i++) write_entry(o, to + i * o->out_step, r->f[i]);
        }
    }
    return has_value || is_nan ? 0 : FE_INVALID;
}

static kx_status_t evaluate(operands *o) {
    const int before = kx_flags_begin();
    int due = 0;
    row r;
    double bits = 500;
    for (int64_t k = 2; k <= o->order; k++) bits += log2((double)k);
    o->limit = exp2(fmin(bits / (double)o->order, 1000));
    o->is_compensated = o->order > (o->size == 8 ? 2 : 20);
    for (int64_t i = 0; i < o->count; i++) due |= evaluate_row(o, i, &r);
    kx_flags_end(before, due);
    return KX_OK;
}
#endif

#define PARAMETERS(real)                                                                                              \
    (const real *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, int64_t order, double lowest, \
     real *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
#define VJP_PARAMETERS(real)                                                                                             \
    (const real *x, const real *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,               \
     ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, int64_t order, double lowest, real *out, ptrdiff_t out_row_stride, \
     ptrdiff_t out_stride)
#define ARGUMENTS (x, rows, n, x_row_stride, x_stride, order, lowest, out, out_row_stride, out_stride)
#define VJP_ARGUMENTS                                                                                                 \
    (x, grad, rows, n, x_row_stride, x_stride, grad_row_stride, grad_stride, order, lowest, out, out_row_stride, out_stride)

KX_DISPATCH(kx_softmax_taylor_f32, PARAMETERS(float), ARGUMENTS)
KX_DISPATCH(kx_softmax_taylor_f64, PARAMETERS(double), ARGUMENTS)
KX_DISPATCH(kx_softmax_taylor_vjp_f32, VJP_PARAMETERS(float), VJP_ARGUMENTS)
KX_DISPATCH(kx_softmax_taylor_vjp_f64, VJP_PARAMETERS(double), VJP_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#define PLAIN                                                                                                            \
    operands o = {(const char *)x, NULL, (char *)out, rows, n, x_row_stride, x_stride, 0, 0, out_row_stride, out_stride, \
                  (ptrdiff_t)sizeof *x, order, lowest, 0, 0};                                                            \
    return evaluate(&o);
#define WITH_GRADIENT                                                                                                   \
    operands o = {(const char *)x, (const char *)grad, (char *)out, rows, n, x_row_stride, x_stride, grad_row_stride,   \
                  grad_stride, out_row_stride, out_stride, (ptrdiff_t)sizeof *x, order, lowest, 0, 0};                  \
    return evaluate(&o);
kx_status_t KX_KERNEL(kx_softmax_taylor_f32) PARAMETERS(float) { PLAIN }
kx_status_t KX_KERNEL(kx_softmax_taylor_f64) PARAMETERS(double) { PLAIN }
kx_status_t KX_KERNEL(kx_softmax_taylor_vjp_f32) VJP_PARAMETERS(float) { WITH_GRADIENT }
kx_status_t KX_KERNEL(kx_softmax_taylor_vjp_f64) VJP_PARAMETERS(double) { WITH_GRADIENT }
#endif
