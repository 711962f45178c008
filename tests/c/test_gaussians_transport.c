/* Wasserstein distances of Gaussians, the map and the gradient: against long double factors and Jacobi rotations, in every
   form, layout and size of batch; singular values of all kinds; nearly singular, singular and indefinite matrices; equal and
   nearly equal arguments; extreme scales; what fails. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

typedef long double real;
enum { MOST = 72 };
enum { COVARIANCE = KX_GAUSSIAN_COVARIANCE, CHOLESKY = KX_GAUSSIAN_CHOLESKY, DIAGONAL = KX_GAUSSIAN_DIAGONAL };

/* ---- the reference, in rows of n ---- */

static double normal(void) {
    return sqrt(-2 * log(1 - check_uniform(0, 1))) * cos(6.283185307179586 * check_uniform(0, 1));
}

/* Rotates the rows of b until they are orthogonal; v gets the rotations. */
static void orthogonalize(real *b, real *v, int64_t n) {
    for (int64_t i = 0; i < n * n; i++) v[i] = i / n == i % n;
    for (int sweep = 0, moved = 1; moved && sweep < 60; sweep++) {
        moved = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = i + 1; k < n; k++) {
                real above = 0, below = 0, product = 0;
                for (int64_t j = 0; j < n; j++) {
                    above += b[i * n + j] * b[i * n + j];
                    below += b[k * n + j] * b[k * n + j];
                    product += b[i * n + j] * b[k * n + j];
                }
                if (!(fabsl(product) > 4 * LDBL_EPSILON * sqrtl(above) * sqrtl(below))) continue;
                moved = 1;
                const real zeta = (below - above) / (2 * product);
                const real t = copysignl(1, zeta) / (fabsl(zeta) + hypotl(1, zeta)), c = 1 / hypotl(1, t), s = c * t;
                for (int64_t j = 0; j < n; j++) {
                    const real x = b[i * n + j], y = b[k * n + j], vx = v[i * n + j], vy = v[k * n + j];
                    b[i * n + j] = c * x - s * y, b[k * n + j] = s * x + c * y;
                    v[i * n + j] = c * vx - s * vy, v[k * n + j] = s * vx + c * vy;
                }
            }
    }
}

static real length(const real *row, int64_t n) {
    real sum = 0;
    for (int64_t j = 0; j < n; j++) sum += row[j] * row[j];
    return sqrtl(sum);
}

/* Jacobi's rotations of a symmetric s: a factor of what it has above zero. */
static void root_factor(real *s, real *f, int64_t n) {
    static real v[MOST * MOST];
    for (int64_t i = 0; i < n * n; i++) v[i] = i / n == i % n;
    for (int sweep = 0, moved = 1; moved && sweep < 60; sweep++) {
        moved = 0;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                const real off = s[p * n + q];
                if (fabsl(off) <= 1e-24L * (fabsl(s[p * n + p]) + fabsl(s[q * n + q]))) continue;
                moved = 1;
                const real zeta = (s[q * n + q] - s[p * n + p]) / (2 * off);
                const real t = copysignl(1, zeta) / (fabsl(zeta) + hypotl(1, zeta)), c = 1 / hypotl(1, t), d = c * t;
                for (int64_t k = 0; k < n; k++) {
                    const real x = s[k * n + p], y = s[k * n + q];
                    s[k * n + p] = c * x - d * y, s[k * n + q] = d * x + c * y;
                }
                for (int64_t k = 0; k < n; k++) {
                    const real x = s[p * n + k], y = s[q * n + k], vx = v[k * n + p], vy = v[k * n + q];
                    s[p * n + k] = c * x - d * y, s[q * n + k] = d * x + c * y;
                    v[k * n + p] = c * vx - d * vy, v[k * n + q] = d * vx + c * vy;
                }
                s[p * n + q] = s[q * n + p] = 0;
            }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) f[i * n + j] = v[i * n + j] * sqrtl(fmaxl(s[j * n + j], 0));
}

/* Factors of what a form's data mean. */
static void factor_of(int form, const real *data, int64_t n, real *f) {
    static real s[MOST * MOST];
    if (form == COVARIANCE) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) s[i * n + j] = s[j * n + i] = data[i * n + j];
        root_factor(s, f, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            f[i * n + j] = form == DIAGONAL ? (i == j ? sqrtl(data[i]) : 0) : j <= i ? data[i * n + j] : 0;
}

typedef struct distance {
    real w2, scale; /* W, and the root of the traces */
} distance;

/* |D|^2 + tr Sp + tr Sq - 2 times the singular values of Fp^T Fq; where that cancels, by the differences of the factors turned
   to each other, for which both must have full rank. */
static distance wasserstein(const real *fp, const real *fq, const real *means, int64_t n) {
    static real b[MOST * MOST], v[MOST * MOST];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            b[i * n + j] = 0;
            for (int64_t k = 0; k < n; k++) b[i * n + j] += fp[k * n + i] * fq[k * n + j];
        }
    orthogonalize(b, v, n);
    real sum = 0, trace = 0, shift = 0, differences = 0;
    for (int64_t j = 0; j < n; j++) {
        const real size = length(b + j * n, n);
        sum += size;
        trace += length(fp + j * n, n) * length(fp + j * n, n) + length(fq + j * n, n) * length(fq + j * n, n);
        shift += means[j] * means[j];
        for (int64_t i = 0; i < n; i++) {
            real d = 0;
            for (int64_t k = 0; k < n; k++) {
                const real unit = size > 0 ? b[j * n + k] / size : 0;
                d += fp[i * n + k] * v[j * n + k] - fq[i * n + k] * unit;
            }
            differences += d * d;
        }
    }
    const real by_traces = trace - 2 * sum;
    return (distance){sqrtl(shift + (by_traces > 1e-4L * trace || trace == 0 ? by_traces : differences)), sqrtl(trace)};
}

/* ---- batches ---- */

typedef struct batch {
    char *memory;
    kx_batch_t view;
    int is_float, is_vector;
    int64_t items, n;
} batch;

static real entry(const batch *b, int64_t item, int64_t i, int64_t j) {
    const char *from = (const char *)b->view.data + item * b->view.batch + i * b->view.row + j * b->view.column;
    float single;
    double value;
    if (b->is_float) {
        memcpy(&single, from, sizeof single);
        return (real)single;
    }
    memcpy(&value, from, sizeof value);
    return (real)value;
}

static void set(const batch *b, int64_t item, int64_t i, int64_t j, double value) {
    const ptrdiff_t start = (const char *)b->view.data - b->memory;
    char *to = b->memory + start + item * b->view.batch + i * b->view.row + j * b->view.column;
    const float single = (float)value;
    if (b->is_float) memcpy(to, &single, sizeof single);
    else memcpy(to, &value, sizeof value);
}

/* Layouts: 0 contiguous, 1 transposed, 2 backwards with gaps and unaligned, 3 one item for all. */
static batch make_batch(int64_t items, int64_t n, int is_vector, int is_float, int layout) {
    batch b = {NULL, {NULL, 0, 0, 0}, is_float, is_vector, items, n};
    const ptrdiff_t size = is_float ? 4 : 8, width = is_vector ? 1 : n;
    const size_t bytes = (size_t)(items * (n + 1) * (width + 1) * size * 2 + 16);
    b.memory = malloc(bytes);
    memset(b.memory, 0xff, bytes); /* NaN in all that is not set */
    b.view = (kx_batch_t){b.memory, n * width * size, width * size, size};
    if (layout == 1 && !is_vector) b.view.row = size, b.view.column = n * size;
    if (layout == 2) {
        b.view.column = -2 * size, b.view.row = -2 * width * size, b.view.batch = 2 * n * width * size + size;
        if (is_vector) b.view.row = -2 * size;
        b.view.data = b.memory + 3 + 2 * n * width * size;
    }
    if (layout == 3) b.view.batch = 0;
    return b;
}

/* S = X X^T / k + shift I from k normal vectors, a factor of such, or variances. The upper triangle stays NaN. */
static void fill(const batch *b, int form, int64_t item, int64_t k, double shift) {
    const int64_t n = b->n;
    double *x = malloc((size_t)(n * k + 1) * sizeof *x);
    for (int64_t i = 0; i < n * k; i++) x[i] = normal();
    for (int64_t i = 0; i < n; i++) {
        if (form == DIAGONAL) {
            set(b, item, i, 0, check_uniform(0, 2) + shift);
            continue;
        }
        for (int64_t j = 0; j <= i; j++) {
            double sum = i == j ? shift : 0;
            for (int64_t c = 0; c < k; c++) sum += x[i * k + c] * x[j * k + c] / (double)k;
            set(b, item, i, j, form == COVARIANCE ? sum : i == j ? 0.5 + check_uniform(0, 1) : 0.3 * normal());
        }
    }
    free(x);
}

static void get_data(const batch *b, int form, int64_t item, real *data) {
    for (int64_t i = 0; i < b->n; i++) {
        if (form == DIAGONAL) data[i] = entry(b, item, i, 0);
        else
            for (int64_t j = 0; j <= i; j++) data[i * b->n + j] = entry(b, item, i, j);
    }
}

typedef struct problem {
    batch mean_p, cov_p, mean_q, cov_q;
    int64_t items, n;
    int form, is_float;
} problem;

static problem make_problem(int64_t items, int64_t n, int form, int is_float, int layout_p, int layout_q) {
    problem o = {.items = items, .n = n, .form = form, .is_float = is_float};
    o.mean_p = make_batch(items, n, 1, is_float, layout_p), o.mean_q = make_batch(items, n, 1, is_float, layout_q);
    o.cov_p = make_batch(items, n, form == DIAGONAL, is_float, layout_p);
    o.cov_q = make_batch(items, n, form == DIAGONAL, is_float, layout_q);
    for (int64_t l = 0; l < items; l++) {
        for (int64_t i = 0; i < n; i++) set(&o.mean_p, l, i, 0, normal()), set(&o.mean_q, l, i, 0, normal());
        fill(&o.cov_p, form, l, 2 * n, 0.05), fill(&o.cov_q, form, l, 2 * n, 0.05);
    }
    return o;
}

static void free_problem(problem *o) {
    free(o->mean_p.memory), free(o->cov_p.memory), free(o->mean_q.memory), free(o->cov_q.memory);
}

static void distances(const problem *o, int squared, double *out) {
    float *narrow = malloc((size_t)(o->items + 1) * sizeof *narrow);
    kx_status_t status;
    if (o->is_float) {
        status = kx_gaussian_w2_f32(NULL, &o->mean_p.view, &o->cov_p.view, &o->mean_q.view, &o->cov_q.view, o->items, o->n,
                                    (kx_gaussian_form_t)o->form, squared, narrow, sizeof *narrow);
        for (int64_t l = 0; l < o->items; l++) out[l] = (double)narrow[l];
    } else
        status = kx_gaussian_w2_f64(NULL, &o->mean_p.view, &o->cov_p.view, &o->mean_q.view, &o->cov_q.view, o->items, o->n,
                                    (kx_gaussian_form_t)o->form, squared, out, sizeof *out);
    CHECK(status == KX_OK, "%s", kx_status_name(status));
    free(narrow);
}

static distance exact_distance(const problem *o, int64_t item) {
    static real data[MOST * MOST], fp[MOST * MOST], fq[MOST * MOST], means[MOST];
    get_data(&o->cov_p, o->form, item, data);
    factor_of(o->form, data, o->n, fp);
    get_data(&o->cov_q, o->form, item, data);
    factor_of(o->form, data, o->n, fq);
    for (int64_t i = 0; i < o->n; i++) means[i] = entry(&o->mean_p, item, i, 0) - entry(&o->mean_q, item, i, 0);
    return wasserstein(fp, fq, means, o->n);
}

/* To `tolerance` of the distance, and to 4 sqrt(n) eps of the traces' root. */
static void check_distances(const char *what, const problem *o, double tolerance) {
    double *out = malloc((size_t)(o->items + 1) * sizeof *out), *squares = malloc((size_t)(o->items + 1) * sizeof *out);
    distances(o, 0, out), distances(o, 1, squares);
    for (int64_t l = 0; l < o->items; l++) {
        const distance exact = exact_distance(o, l);
        const double unit = (double)(exact.w2 * (real)tolerance + exact.scale * 4 * sqrtl((real)o->n) * (real)DBL_EPSILON);
        const double rounding = o->is_float ? 0x1p-23 : 0x1p-52;
        const double error = (double)fabsl((real)out[l] - exact.w2);
        CHECK(error <= unit + (double)exact.w2 * rounding,
              "%s, form %d, n = %d, item %d of %d: %.17g is off by %g, %g of the traces", what,
              o->form, (int)o->n, (int)l, (int)o->items, out[l], error, error / (double)exact.scale);
        CHECK(fabs(squares[l] - out[l] * out[l]) <= 4 * rounding * squares[l], "%s: squared %.17g of %.17g", what, squares[l],
              out[l]);
    }
    free(out), free(squares);
}

/* ---- tests ---- */

static void test_reference_values(void) {
    const double sp[] = {2, 9, 9, .5, 1.5, 9, .3, -.2, 1}, sq[] = {1, 9, 9, -.3, 2, 9, .1, .4, 1.5},
        one[] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    const double mp[] = {1, 2, -1}, mq[] = {0, 1, .5}, zero[] = {0, 0, 0};
    const double t[] = {0.7548408151866203, -0.26287063730283, -0.09720109337297, -0.26287063730283, 1.2358901011217602,
                        0.28311685232052,
                        -0.09720109337297, 0.28311685232052, 1.2672020313769483};
    const kx_batch_t p = {sp, 0, 24, 8}, q = {sq, 0, 24, 8}, unit = {one, 0, 24, 8}, mean_p = {mp, 0, 8, 0},
        mean_q = {mq, 0, 8, 0};
    const kx_batch_t origin = {zero, 0, 8, 0};
    double w, map[9];
    kx_gaussian_w2_f64(NULL, &mean_p, &p, &mean_q, &q, 1, 3, KX_GAUSSIAN_COVARIANCE, 1, &w, 8);
    CHECK(fabs(w - 4.85743844164397) < 1e-14, "%.17g", w);
    kx_gaussian_w2_f64(NULL, &mean_p, &p, &origin, &unit, 1, 3, KX_GAUSSIAN_COVARIANCE, 1, &w, 8);
    CHECK(fabs(w - 6.33298656231089) < 1e-14, "%.17g", w);
    kx_gaussian_w2_f64(NULL, &origin, &unit, &origin, &unit, 1, 3, KX_GAUSSIAN_COVARIANCE, 0, &w, 8);
    CHECK(w == 0, "%g", w);
    const kx_batch_out_t out = {map, 0, 24, 8};
    kx_gaussian_ot_map_f64(NULL, &p, &q, 1, 3, KX_GAUSSIAN_COVARIANCE, &out);
    for (int i = 0; i < 9; i++) CHECK(fabs(map[i] - t[i]) < 1e-13, "entry %d: %.17g", i, map[i]);
    const double vp[] = {1, 4}, vq[] = {9, 1};
    const kx_batch_t variance_p = {vp, 0, 8, 0}, variance_q = {vq, 0, 8, 0};
    kx_gaussian_w2_f64(NULL, &origin, &variance_p, &origin, &variance_q, 1, 2, KX_GAUSSIAN_DIAGONAL, 1, &w, 8);
    CHECK(w == 5, "%.17g", w);
}

static void test_batches(void) {
    const int64_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70};
    for (int s = 0; s < 16; s++)
        for (int form = 0; form < 3; form++)
            for (int is_float = 0; is_float < 2; is_float++) {
                const int64_t items = sizes[s] > 20 ? 3 : 1 + (7 * s + 5 * form + 3 * is_float) % 19;
                problem o = make_problem(items, sizes[s], form, is_float, (s + form) % 4, (s + form + 1 + is_float) % 4);
                check_distances("batch", &o, 1e-14);
                free_problem(&o);
            }
    double out = 7;
    const kx_batch_t nothing = {NULL, 0, 0, 0};
    CHECK(kx_gaussian_w2_f64(NULL, &nothing, &nothing, &nothing, &nothing, 0, 3, KX_GAUSSIAN_COVARIANCE, 0, &out,
                             8) == KX_OK && out == 7,
          "an empty batch");
    CHECK(kx_gaussian_w2_f64(NULL, &nothing, &nothing, &nothing, &nothing, -1, 3, KX_GAUSSIAN_COVARIANCE, 0, &out,
                             8) == KX_E_ARGUMENT,
          "a negative size");
}

/* An item's result does not depend on the items beside it. */
static void test_neighbours(void) {
    const int64_t n = 9, items = 23;
    problem o = make_problem(items, n, COVARIANCE, 0, 0, 0), alone = o;
    double together[23], single;
    for (int64_t l = 0; l < items; l += 3)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) set(&o.cov_q,
                                                 l,
                                                     i,
                                                         j,
                                                             (double)entry(&o.cov_p, l, i,
                                                                           j) * (l % 2 ? 1 : 1 + 1e-9 * (double)(i + j)));
    distances(&o, 0, together);
    alone.items = 1;
    for (int64_t l = 0; l < items; l++) {
        alone.cov_p.view.data = (const char *)o.cov_p.view.data + l * o.cov_p.view.batch;
        alone.cov_q.view.data = (const char *)o.cov_q.view.data + l * o.cov_q.view.batch;
        alone.mean_p.view.data = (const char *)o.mean_p.view.data + l * o.mean_p.view.batch;
        alone.mean_q.view.data = (const char *)o.mean_q.view.data + l * o.mean_q.view.batch;
        distances(&alone, 0, &single);
        CHECK(single == together[l], "item %d: %.17g, alone %.17g", (int)l, together[l], single);
    }
    free_problem(&o);
}

/* A random matrix with orthonormal rows, by two rounds of Gram and Schmidt. */
static void random_rotation(real *q, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) q[i * n + j] = (real)normal();
        for (int round = 0; round < 2; round++) {
            for (int64_t k = 0; k < i; k++) {
                real product = 0;
                for (int64_t j = 0; j < n; j++) product += q[i * n + j] * q[k * n + j];
                for (int64_t j = 0; j < n; j++) q[i * n + j] -= product * q[k * n + j];
            }
            const real size = length(q + i * n, n);
            for (int64_t j = 0; j < n; j++) q[i * n + j] /= size;
        }
    }
}

enum { SPECTRA = 12 };
static real spectrum(int kind, int64_t i, int64_t n) {
    const real at = n > 1 ? (real)i / (real)(n - 1) : 0;
    switch (kind) {
    case 0: return powl(10, -8 * at);
    case 1: return powl(10, -30 * at);
    case 2: return i < (n + 1) / 2;
    case 3: return 1;
    case 4: return i ? 1e-8L : 1;
    case 5: return i == 0;
    case 6: return 1 + at;
    case 7: return i < n / 2 ? 1 : 1e-9L;
    case 8: return 1 + 1e-12L * at;
    case 9: return powl(10, -120 * at);
    case 10: return i % 2 ? 1 : 3;
    default: return 0;
    }
}

/* With Lq = I, the distance has the sum of the singular values of Lp in it: of rotated spectra, and of some plain matrices. */
static void test_singular_values(void) {
    static real q[MOST * MOST], b[MOST * MOST], v[MOST * MOST];
    for (int64_t n = 1; n <= 70; n += n < 20 ? 1 : n == 20 ? 12 : n == 32 ? 32 : 6)
        for (int kind = 0; kind < SPECTRA + 5; kind++) {
            problem o = make_problem(1, n, CHOLESKY, 0, 0, 0);
            random_rotation(q, n);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) b[i * n + j] = kind < SPECTRA ? q[i * n + j] * spectrum(kind, j, n) : 0;
            for (int64_t i = 0; i < n; i++) {
                set(&o.mean_p, 0, i, 0, 0), set(&o.mean_q, 0, i, 0, 0);
                for (int64_t j = 0; j <= i; j++) {
                    double value = i == j;
                    set(&o.cov_q, 0, i, j, value);
                    if (kind == SPECTRA) value = 1;
                    if (kind == SPECTRA + 1) value = i == j ? (double)(i + 1) : 0;
                    if (kind == SPECTRA + 2) value = i == j + 1;
                    if (kind == SPECTRA + 3) value = i == j ? 1 : i == j + 1 ? 1e-9 : 0;
                    if (kind == SPECTRA + 4) value = j == 0;
                    set(&o.cov_p, 0, i, j, value);
                }
            }
            if (kind < SPECTRA) {
                /* b to lower triangular by reflections of its columns, from the right */
                for (int64_t k = 0; k < n; k++) {
                    real square = 0;
                    for (int64_t j = k; j < n; j++) square += b[k * n + j] * b[k * n + j];
                    if (square == 0) continue;
                    const real size = copysignl(sqrtl(square), b[k * n + k]);
                    for (int64_t j = 0; j < n; j++) v[j] = j < k ? 0 : b[k * n + j];
                    v[k] += size;
                    const real factor = 2 / (length(v, n) * length(v, n));
                    for (int64_t i = k; i < n; i++) {
                        real product = 0;
                        for (int64_t j = k; j < n; j++) product += b[i * n + j] * v[j];
                        for (int64_t j = k; j < n; j++) b[i * n + j] -= factor * product * v[j];
                    }
                }
                for (int64_t i = 0; i < n; i++)
                    for (int64_t j = 0; j <= i; j++) set(&o.cov_p, 0, i, j, (double)b[i * n + j]);
            }
            real sum = 0, trace = (real)n;
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    b[i * n + j] = j <= i ? entry(&o.cov_p, 0, i, j) : 0;
                    trace += b[i * n + j] * b[i * n + j];
                }
            orthogonalize(b, v, n);
            for (int64_t i = 0; i < n; i++) sum += length(b + i * n, n);
            double square;
            distances(&o, 1, &square);
            const double error = (double)fabsl((real)square - (trace - 2 * sum));
            CHECK(error <= 3e-15 * (double)trace, "spectrum %d, n = %d: off by %g of %g", kind, (int)n, error, (double)trace);
            free_problem(&o);
        }
}

/* S = R diag(e) R^T, rounded */
static void set_spectrum(const batch *b, int64_t item, const real *rotation, const real *eigenvalues) {
    const int64_t n = b->n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            real sum = 0;
            for (int64_t k = 0; k < n; k++) sum += rotation[k * n + i] * rotation[k * n + j] * eigenvalues[k];
            set(b, item, i, j, (double)sum);
        }
}

static void test_nearly_singular(void) {
    static real r[MOST * MOST], e[MOST];
    const int64_t sizes[] = {2, 3, 5, 8, 16, 24};
    for (int s = 0; s < 6; s++)
        for (int digits = 6; digits <= 18; digits++) {
            const int64_t n = sizes[s];
            problem o = make_problem(5, n, COVARIANCE, 0, 0, 0);
            for (int64_t l = 0; l < o.items; l++) {
                for (int64_t i = 0; i < n; i++) {
                    e[i] = l % 2 ? powl(10, -digits * (real)i / (real)(n - 1)) : i + 1 == n ? powl(10,
                                                                                                   -digits) : 1 / (real)(i + 1);
                    set(&o.mean_p, l, i, 0, 0), set(&o.mean_q, l, i, 0, 0);
                }
                random_rotation(r, n);
                set_spectrum(&o.cov_p, l, r, e);
                if (l > 2) random_rotation(r, n), set_spectrum(&o.cov_q, l, r, e);
            }
            /* The reference, too, has an error of 1e-19 in eigenvalues, and the root of that in the distance. */
            check_distances("nearly singular", &o, digits > 16 ? 1e-9 : 1e-10);
            free_problem(&o);
        }
}

static void test_singular(void) {
    const int64_t sizes[] = {1, 2, 3, 6, 12, 20};
    for (int s = 0; s < 6; s++)
        for (int is_float = 0; is_float < 2; is_float++)
            for (int kind = 0; kind < 5; kind++) {
                const int64_t n = sizes[s];
                problem o = make_problem(3, n, COVARIANCE, is_float, 0, 2);
                for (int64_t l = 0; l < o.items; l++) {
                    for (int64_t i = 0; i < n; i++)
                        for (int64_t j = 0; j <= i; j++) {
                            /* whole numbers: no rounding */
                            const double one = (double)((i % 3 + 1) * (j % 3 + 1)),
                                other = i % 2 && j % 2 ? 2 : i % 2 || j % 2 ? 0 : 1;
                            if (kind == 0) set(&o.cov_p, l, i, j, one);
                            if (kind == 1) set(&o.cov_p, l, i, j, one + other), set(&o.cov_q, l, i, j, one);
                            if (kind == 2) set(&o.cov_p, l, i, j, 0);
                            if (kind == 3) set(&o.cov_p, l, i, j, 0), set(&o.cov_q, l, i, j, l ? one : 0);
                            if (kind == 4) set(&o.cov_q, l, i, j, i == j && i % 2 ? 4 : 0);
                        }
                    if (kind == 3)
                        for (int64_t i = 0; i < n; i++) set(&o.mean_q, l, i, 0, (double)entry(&o.mean_p, l, i, 0));
                }
                feclearexcept(FE_ALL_EXCEPT);
                check_distances("singular", &o, 1e-9);
                CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "singular, kind %d: flags are raised", kind);
                free_problem(&o);
            }
    /* of low rank by rounded data: semidefinite to rounding, in both types */
    for (int is_float = 0; is_float < 2; is_float++) {
        problem o = make_problem(9, 12, COVARIANCE, is_float, 0, 1);
        for (int64_t l = 0; l < o.items; l++) fill(&o.cov_p, COVARIANCE, l, 1 + l, 0);
        check_distances("low rank", &o, is_float ? 1e-6 : 1e-9);
        int64_t item;
        double value;
        if (is_float) kx_gaussian_first_not_semidefinite_f32(NULL, &o.cov_p.view, o.items, o.n, KX_GAUSSIAN_COVARIANCE, &item,
                                                             &value);
        else kx_gaussian_first_not_semidefinite_f64(NULL, &o.cov_p.view, o.items, o.n, KX_GAUSSIAN_COVARIANCE, &item, &value);
        CHECK(item == -1 && value == 0, "low rank: item %d, %g", (int)item, value);
        free_problem(&o);
    }
    /* a factor of zeros and variances of zero */
    for (int form = CHOLESKY; form <= DIAGONAL; form++) {
        problem o = make_problem(11, 6, form, 0, 0, 0);
        for (int64_t l = 0; l < o.items; l += 2)
            for (int64_t i = l % 3; i < o.n; i++)
                for (int64_t j = 0; j <= (form == DIAGONAL ? 0 : i); j++) set(&o.cov_q, l, i, j, 0);
        check_distances("zeros", &o, 1e-13);
        free_problem(&o);
    }
}

static void test_not_semidefinite(void) {
    for (int form = 0; form < 3; form++)
        for (int is_float = 0; is_float < 2; is_float++) {
            const int64_t n = 5, items = 21;
            problem o = make_problem(items, n, form, is_float, 0, 0);
            double before[21], out[21], value;
            int64_t item;
            distances(&o, 0, before);
            const double below = form == CHOLESKY ? (double)NAN : -0.25;
            for (int64_t j = 0; j < n && form == COVARIANCE; j++) set(&o.cov_q, 13, n - 1, j, 0);
            set(&o.cov_q, 13, n - 1, form == DIAGONAL ? 0 : n - 1, below);
            set(&o.cov_p, 4, 2, form == DIAGONAL ? 0 : 1, (double)NAN);
            set(&o.cov_p, 17, 2, form == DIAGONAL ? 0 : 1, (double)INFINITY);
            feclearexcept(FE_ALL_EXCEPT);
            distances(&o, 0, out);
            CHECK(fetestexcept(FE_INVALID | FE_OVERFLOW | FE_DIVBYZERO) == FE_INVALID, "form %d: flags %x", form,
                  fetestexcept(FE_ALL_EXCEPT));
            for (int64_t l = 0; l < items; l++) {
                if (l == 13 || l == 4 || l == 17) CHECK(isnan(out[l]), "form %d, item %d: %g", form, (int)l, out[l]);
                else CHECK(out[l] == before[l], "form %d, item %d: %g", form, (int)l, out[l]);
            }
            if (is_float) kx_gaussian_first_not_semidefinite_f32(NULL, &o.cov_q.view, items, n, (kx_gaussian_form_t)form, &item,
                                                                 &value);
            else kx_gaussian_first_not_semidefinite_f64(NULL, &o.cov_q.view, items, n, (kx_gaussian_form_t)form, &item, &value);
            CHECK(item == 13 && (form == CHOLESKY ? isnan(value) : fabs(value + 0.25) < 1e-6), "form %d: item %d, %g", form,
                  (int)item, value);
            if (is_float) kx_gaussian_first_not_semidefinite_f32(NULL, &o.cov_p.view, items, n, (kx_gaussian_form_t)form, &item,
                                                                 &value);
            else kx_gaussian_first_not_semidefinite_f64(NULL, &o.cov_p.view, items, n, (kx_gaussian_form_t)form, &item, &value);
            CHECK(item == 4 && isnan(value), "form %d: item %d, %g", form, (int)item, value);
            free_problem(&o);
        }
}

static void test_nearly_equal(void) {
    const int64_t sizes[] = {1, 2, 3, 6, 16, 24};
    for (int s = 0; s < 6; s++)
        for (int form = 0; form < 3; form++)
            for (int digits = 2; digits <= 15; digits++) {
                const int64_t n = sizes[s];
                problem o = make_problem(9, n, form, 0, 0, 0);
                for (int64_t l = 0; l < o.items; l++)
                    for (int64_t i = 0; i < n; i++) {
                        set(&o.mean_q, l, i, 0, (double)entry(&o.mean_p, l, i, 0) + (l % 2 ? pow(10, -digits) * normal() : 0));
                        for (int64_t j = 0; j <= (form == DIAGONAL ? 0 : i); j++)
                            set(&o.cov_q, l, i, j, (double)entry(&o.cov_p, l, i, j) + 0.01 * pow(10, -digits) * normal());
                    }
                check_distances("nearly equal", &o, 1e-10);
                free_problem(&o);
            }
}

static void test_equal(void) {
    for (int form = 0; form < 3; form++)
        for (int is_float = 0; is_float < 2; is_float++)
            for (int64_t n = 1; n < 40; n += 6) {
                problem o = make_problem(10, n, form, is_float, 0, 1);
                double out[10];
                for (int64_t l = 0; l < o.items; l++) {
                    if (form == COVARIANCE && l % 2) fill(&o.cov_p, form, l, n / 2 + 1, 0);
                    for (int64_t i = 0; i < n; i++) {
                        set(&o.mean_q, l, i, 0, (double)entry(&o.mean_p, l, i, 0));
                        for (int64_t j = 0; j <= (form == DIAGONAL ? 0 : i); j++) set(&o.cov_q, l, i, j,
                                                                                      (double)entry(&o.cov_p, l, i, j));
                    }
                }
                distances(&o, 0, out);
                for (int64_t l = 0; l < o.items; l++) CHECK(out[l] == 0, "equal, form %d, n = %d, item %d: %g", form, (int)n,
                                                            (int)l, out[l]);
                free_problem(&o);
            }
}

static void test_scales(void) {
    const int exponents[] = {-1000, -600, -300, 300, 600, 1000};
    for (int form = 0; form < 3; form++)
        for (int k = 0; k < 6; k++)
            for (int which = 0; which < 3; which++) {
                const int64_t n = 6;
                problem o = make_problem(5, n, form, 0, 0, 0);
                /* powers of two: the covariances of both by 4^a, the means by 2^a, is the distance times 2^a */
                const int a = exponents[k] / 2;
                double before[5], out[5];
                distances(&o, 0, before);
                for (int64_t l = 0; l < o.items; l++)
                    for (int64_t i = 0; i < n; i++) {
                        const double mean = (double)(entry(&o.mean_p, l, i, 0) - entry(&o.mean_q, l, i, 0));
                        set(&o.mean_q, l, i, 0, 0);
                        set(&o.mean_p, l, i, 0, which == 0 ? ldexp(mean, a) : which == 1 ? mean : 0);
                        for (int64_t j = 0; j <= (form == DIAGONAL ? 0 : i); j++) {
                            const int by = form == CHOLESKY ? a : 2 * a;
                            set(&o.cov_p, l, i, j, ldexp((double)entry(&o.cov_p, l, i, j), by));
                            if (which != 2) set(&o.cov_q, l, i, j, ldexp((double)entry(&o.cov_q, l, i, j), by));
                        }
                    }
                if (which == 0) {
                    distances(&o, 0, out);
                    for (int64_t l = 0; l < o.items; l++)
                        CHECK(fabs(ldexp(out[l], -a) / before[l] - 1) < 1e-14, "form %d, 2^%d: %g of %g", form, a, out[l],
                              before[l]);
                } else if (abs(a) < 400) check_distances("scaled", &o, 1e-13);
                free_problem(&o);
            }
    /* too large for the type */
    problem o = make_problem(1, 3, COVARIANCE, 1, 0, 0);
    double out;
    for (int64_t i = 0; i < 3; i++) set(&o.cov_p, 0, i, i, 3e38);
    set(&o.mean_p, 0, 1, 0, 3e30);
    feclearexcept(FE_ALL_EXCEPT);
    distances(&o, 1, &out);
    CHECK(isinf(out) && fetestexcept(FE_OVERFLOW) && !fetestexcept(FE_INVALID), "%g", out);
    set(&o.mean_p, 0, 1, 0, (double)INFINITY);
    feclearexcept(FE_ALL_EXCEPT);
    distances(&o, 0, &out);
    CHECK(isinf(out) && !fetestexcept(FE_OVERFLOW | FE_INVALID), "%g", out);
    set(&o.mean_p, 0, 1, 0, (double)NAN);
    distances(&o, 0, &out);
    CHECK(isnan(out) && !fetestexcept(FE_INVALID), "%g", out);
    free_problem(&o);
}

/* ---- the map and the gradient ---- */

typedef struct outputs {
    batch mean_p, cov_p, mean_q, cov_q;
} outputs;

static kx_batch_out_t writable(const batch *b) {
    return (kx_batch_out_t){b->memory + ((const char *)b->view.data - b->memory), b->view.batch, b->view.row, b->view.column};
}

static outputs gradients(const problem *o, int layout) {
    outputs g = {make_batch(o->items, o->n, 1, o->is_float, layout), make_batch(o->items, o->n, o->form == DIAGONAL, o->is_float,
                                                                                layout),
                 make_batch(o->items, o->n, 1, o->is_float, layout), make_batch(o->items, o->n, o->form == DIAGONAL, o->is_float,
                                                                                layout)};
    const kx_batch_out_t a = writable(&g.mean_p), b = writable(&g.cov_p), c = writable(&g.mean_q), d = writable(&g.cov_q);
    const kx_status_t status =
        o->is_float ? kx_gaussian_w2_gradient_f32(NULL, &o->mean_p.view, &o->cov_p.view, &o->mean_q.view, &o->cov_q.view,
                                                  o->items, o->n,
                                                  (kx_gaussian_form_t)o->form, &a, &b, &c, &d)
                    : kx_gaussian_w2_gradient_f64(NULL, &o->mean_p.view, &o->cov_p.view, &o->mean_q.view, &o->cov_q.view,
                                                  o->items, o->n,
                                                  (kx_gaussian_form_t)o->form, &a, &b, &c, &d);
    CHECK(status == KX_OK, "%s", kx_status_name(status));
    return g;
}

static void free_outputs(outputs *g) {
    free(g->mean_p.memory), free(g->cov_p.memory), free(g->mean_q.memory), free(g->cov_q.memory);
}

static batch map_of(const problem *o, int layout) {
    batch map = make_batch(o->items, o->n, o->form == DIAGONAL, o->is_float, layout);
    const kx_batch_out_t out = writable(&map);
    const kx_status_t status =
        o->is_float
            ? kx_gaussian_ot_map_f32(NULL, &o->cov_p.view, &o->cov_q.view, o->items, o->n, (kx_gaussian_form_t)o->form, &out)
            : kx_gaussian_ot_map_f64(NULL, &o->cov_p.view, &o->cov_q.view, o->items, o->n, (kx_gaussian_form_t)o->form, &out);
    CHECK(status == KX_OK, "%s", kx_status_name(status));
    return map;
}

static void covariance_of(const problem *o, const batch *b, int64_t item, real *s) {
    static real data[MOST * MOST];
    const int64_t n = o->n;
    get_data(b, o->form, item, data);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            real sum = 0;
            if (o->form == COVARIANCE) sum = data[i * n + j];
            else if (o->form == DIAGONAL) sum = i == j ? data[i] : 0;
            else
                for (int64_t k = 0; k <= j; k++) sum += data[i * n + k] * data[j * n + k];
            s[i * n + j] = s[j * n + i] = sum;
        }
}

/* T is symmetric, positive, and T Sp T = Sq. */
static void check_map(const problem *o, const batch *map, int64_t item, double tolerance) {
    static real p[MOST * MOST], q[MOST * MOST], t[MOST * MOST], half[MOST * MOST];
    const int64_t n = o->n;
    covariance_of(o, &o->cov_p, item, p), covariance_of(o, &o->cov_q, item, q);
    real worst = 0, largest = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            t[i * n + j] = o->form == DIAGONAL ? (i == j ? entry(map, item, i, 0) : 0) : entry(map, item, i, j);
            if (o->form != DIAGONAL && entry(map, item, i, j) != entry(map, item, j, i)) worst = INFINITY;
        }
    for (int64_t i = 0; i < n; i++) {
        if (!(t[i * n + i] >= 0)) worst = INFINITY;
        for (int64_t j = 0; j < n; j++) {
            half[i * n + j] = 0;
            for (int64_t k = 0; k < n; k++) half[i * n + j] += t[i * n + k] * p[k * n + j];
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            real sum = -q[i * n + j];
            for (int64_t k = 0; k < n; k++) sum += half[i * n + k] * t[k * n + j];
            worst = fmaxl(worst, fabsl(sum)), largest = fmaxl(largest, fabsl(q[i * n + j]));
        }
    CHECK(worst <= (real)tolerance * largest, "form %d, n = %d, item %d: T Sp T is off by %Lg of %Lg", o->form, (int)n,
          (int)item, worst, largest);
}

static void test_map(void) {
    static real r[MOST * MOST], e[MOST];
    const int64_t sizes[] = {1, 2, 3, 5, 8, 17, 33};
    for (int s = 0; s < 7; s++)
        for (int form = 0; form < 3; form++)
            for (int is_float = 0; is_float < 2; is_float++) {
                problem o = make_problem(sizes[s] > 20 ? 3 : 11, sizes[s], form, is_float, s % 4, (s + form) % 4);
                batch map = map_of(&o, (s + 2 * form) % 3);
                for (int64_t l = 0; l < o.items; l++) check_map(&o, &map, l, is_float ? 1e-4 : 1e-12);
                free(map.memory);
                free_problem(&o);
            }
    for (int digits = 2; digits <= 8; digits++) {
        problem o = make_problem(9, 7, COVARIANCE, 0, 0, 0);
        for (int64_t l = 0; l < o.items; l++) {
            for (int64_t i = 0; i < o.n; i++) e[i] = powl(10, -digits * (real)i / (real)(o.n - 1));
            random_rotation(r, o.n);
            set_spectrum(&o.cov_p, l, r, e);
            if (l % 2) random_rotation(r, o.n), set_spectrum(&o.cov_q, l, r, e);
            if (l % 4 == 2) fill(&o.cov_q, COVARIANCE, l, 3, 0);
        }
        batch map = map_of(&o, 0);
        for (int64_t l = 0; l < o.items; l++) check_map(&o, &map, l, 1e-10);
        free(map.memory);
        free_problem(&o);
    }
    /* far apart in size */
    problem o = make_problem(3, 4, COVARIANCE, 0, 0, 0);
    for (int64_t i = 0; i < 4; i++)
        for (int64_t j = 0; j <= i; j++) set(&o.cov_q, 1, i, j, ldexp((double)entry(&o.cov_q, 1, i, j), -800));
    batch map = map_of(&o, 0);
    for (int64_t l = 0; l < 3; l++) check_map(&o, &map, l, 1e-12);
    free(map.memory);
    free_problem(&o);
}

static void test_gradient(void) {
    const int64_t sizes[] = {1, 2, 3, 5, 9};
    for (int s = 0; s < 5; s++)
        for (int form = 0; form < 3; form++)
            for (int is_float = 0; is_float < 2; is_float++) {
                const int64_t n = sizes[s];
                problem o = make_problem(11, n, form, is_float, s % 3, (s + form) % 3);
                outputs g = gradients(&o, (s + form) % 3);
                const real h = 1e-6L;
                static real data[2][MOST * MOST], f[2][MOST * MOST], means[MOST];
                for (int64_t l = 0; l < o.items; l += 5)
                    for (int side = 0; side < 2; side++) {
                        const batch *grad = side ? &g.cov_q : &g.cov_p, *by_mean = side ? &g.mean_q : &g.mean_p;
                        get_data(&o.cov_p, form, l, data[0]), get_data(&o.cov_q, form, l, data[1]);
                        for (int k = 0; k < 2; k++) factor_of(form, data[k], n, f[k]);
                        for (int64_t i = 0; i < n; i++) {
                            means[i] = entry(&o.mean_p, l, i, 0) - entry(&o.mean_q, l, i, 0);
                            const real by = entry(by_mean, l, i, 0), exact = (side ? -2 : 2) * means[i];
                            CHECK(fabsl(by - exact) <= (is_float ? 1e-6L : 1e-15L) * (1 + fabsl(exact)), "by mean %Lg, not %Lg",
                                  by, exact);
                        }
                        for (int64_t i = 0; i < n; i++)
                            for (int64_t j = 0; j <= (form == DIAGONAL ? 0 : i); j++) {
                                const int64_t at = form == DIAGONAL ? i : i * n + j;
                                const real kept = data[side][at];
                                real values[2];
                                for (int k = 0; k < 2; k++) {
                                    data[side][at] = kept + (k ? h : -h);
                                    factor_of(form, data[side], n, f[side]);
                                    const real w = wasserstein(f[0], f[1], means, n).w2;
                                    values[k] = w * w;
                                }
                                data[side][at] = kept;
                                real slope = (values[1] - values[0]) / (2 * h);
                                if (form == COVARIANCE && i != j) slope /= 2;
                                const real got = entry(grad, l, i, j);
                                CHECK(fabsl(got - slope) <= (is_float ? 1e-5L : 1e-8L) * (1 + fabsl(slope)),
                                      "form %d, n = %d, side %d, %d, %d: %Lg, not %Lg", form, (int)n, side, (int)i, (int)j, got,
                                          slope);
                                if (form == COVARIANCE) CHECK(entry(grad, l, j, i) == got, "not symmetric");
                                if (form == CHOLESKY && i != j) CHECK(entry(grad, l, j, i) == 0, "not zero above");
                            }
                    }
                free_outputs(&g);
                free_problem(&o);
            }
}

static int is_all_nan(const batch *b, int64_t item, int form) {
    for (int64_t i = 0; i < b->n; i++)
        for (int64_t j = 0; j < (form == DIAGONAL ? 1 : b->n); j++)
            if (!isnan(entry(b, item, i, j))) return 0;
    return 1;
}

/* Item 2 has a singular Sp, item 7 a singular Sq, item 9 a NaN in Sp. */
static void test_bad_maps(void) {
    for (int form = 0; form < 3; form++)
        for (int is_float = 0; is_float < 2; is_float++) {
            problem o = make_problem(13, 4, form, is_float, 0, 0);
            for (int64_t i = 1; i < 4; i++)
                for (int64_t j = 0; j <= (form == DIAGONAL ? 0 : i); j++) {
                    if (form == DIAGONAL ? i == 3 : i == 3 || j == 3) set(&o.cov_p, 2, i, j, 0), set(&o.cov_q, 7, i, j, 0);
                }
            set(&o.cov_p, 9, 1, 0, (double)NAN);
            feclearexcept(FE_ALL_EXCEPT);
            batch map = map_of(&o, 0);
            CHECK(fetestexcept(FE_INVALID | FE_OVERFLOW | FE_DIVBYZERO) == FE_INVALID, "map: flags");
            outputs g = gradients(&o, 0);
            for (int64_t l = 0; l < o.items; l++) {
                const int bad_p = l == 2 || l == 9, bad_q = l == 7 || l == 9;
                CHECK(is_all_nan(&map, l, form) == bad_p, "form %d: map of item %d", form, (int)l);
                if (!bad_p) check_map(&o, &map, l, is_float ? 1e-4 : 1e-12);
                CHECK(is_all_nan(&g.cov_p, l, form) == bad_p, "form %d: gradient by p of item %d", form, (int)l);
                CHECK(is_all_nan(&g.cov_q, l, form) == bad_q, "form %d: gradient by q of item %d", form, (int)l);
                CHECK(!isnan(entry(&g.mean_p, l, 0, 0)), "form %d: gradient by the mean of item %d", form, (int)l);
            }
            free(map.memory);
            free_outputs(&g);
            free_problem(&o);
        }
}

/* An allocator that has only so many blocks to give. */
static void *limited(void *state, size_t bytes) {
    int *left = state;
    return (*left)-- > 0 ? aligned_alloc(64, (bytes + 63) & ~(size_t)63) : NULL;
}
static void limited_release(void *state, void *block) {
    (void)state;
    free(block);
}

static void test_memory(void) {
    problem o = make_problem(3, 3, COVARIANCE, 0, 0, 0);
    for (int64_t i = 0; i < 3; i++)
        for (int64_t j = 0; j <= i; j++) set(&o.cov_p, 1, i, j, 1); /* which is done once more */
    int left;
    double out[3], map[27];
    const kx_batch_out_t to = {map, 72, 24, 8}, nowhere = {NULL, 0, 0, 0};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = limited, ctx.allocator.release = limited_release, ctx.allocator.state = &left;
    for (int blocks = 0; blocks < 3; blocks++) {
        left = blocks;
        const kx_status_t status = kx_gaussian_w2_f64(&ctx, &o.mean_p.view, &o.cov_p.view, &o.mean_q.view, &o.cov_q.view, 3, 3,
                                                      KX_GAUSSIAN_COVARIANCE, 0, out, 8);
        CHECK(status == (blocks < 2 ? KX_E_MEMORY : KX_OK), "%d blocks: %s", blocks, kx_status_name(status));
        left = blocks;
        CHECK(kx_gaussian_ot_map_f64(&ctx, &o.cov_p.view, &o.cov_q.view, 3, 3, KX_GAUSSIAN_COVARIANCE, &to) ==
              (blocks ? KX_OK : KX_E_MEMORY), "map, %d blocks", blocks);
        left = blocks;
        CHECK(kx_gaussian_w2_gradient_f64(&ctx, &o.mean_p.view, &o.cov_p.view, &o.mean_q.view, &o.cov_q.view, 3, 3,
                                          KX_GAUSSIAN_COVARIANCE,
                                          &nowhere, &nowhere, &nowhere, &to) == (blocks ? KX_OK : KX_E_MEMORY),
                                              "gradient, %d blocks", blocks);
        int64_t item;
        double value;
        left = blocks;
        CHECK(kx_gaussian_first_not_semidefinite_f64(&ctx, &o.cov_p.view, 3, 3, KX_GAUSSIAN_COVARIANCE, &item, &value) ==
              (blocks ? KX_OK : KX_E_MEMORY), "diagnosis, %d blocks", blocks);
    }
    free_problem(&o);
}

/* Outputs that are not wanted may have no kx_batch_out_t at all; to ask what is wrong raises no flag. */
static void test_nothing_wanted(void) {
    const double mean = 1, variances[] = {4, 9}, wrong[] = {1, (double)NAN};
    const kx_batch_t m = {&mean, 0, 8, 0}, p = {variances, 0, 8, 8}, q = {variances + 1, 0, 8, 8}, nan = {wrong, 0, 8, 0};
    for (int form = 0; form < 3; form++) {
        double by_p[1];
        const kx_batch_out_t to = {by_p, 8, 8, 8};
        CHECK(kx_gaussian_w2_gradient_f64(NULL, &m, &p, &m, &q, 1, 1, (kx_gaussian_form_t)form, NULL, &to, NULL, NULL) == KX_OK,
              "one output");
        CHECK(fabs(by_p[0] - (form == KX_GAUSSIAN_CHOLESKY ? -10 : -0.5)) < 1e-14, "form %d: %g", form, by_p[0]);
        CHECK(kx_gaussian_w2_gradient_f64(NULL, &m, &p, &m, &q, 1, 1, (kx_gaussian_form_t)form, NULL, NULL, NULL, NULL) == KX_OK,
              "no output");
        CHECK(kx_gaussian_ot_map_f64(NULL, &p, &q, 1, 1, (kx_gaussian_form_t)form, NULL) == KX_OK, "no map");
    }
    int64_t item;
    double value;
    feclearexcept(FE_ALL_EXCEPT);
    CHECK(kx_gaussian_first_not_semidefinite_f64(NULL, &nan, 1, 2, KX_GAUSSIAN_DIAGONAL, &item, &value) == KX_OK && item == 0 &&
          isnan(value), "a NaN variance");
    CHECK(!fetestexcept(FE_INVALID), "to look for a NaN raised a flag");
}

static void test_sizes(void) {
    problem o = make_problem(3, 3, COVARIANCE, 0, 0, 0);
    double out[3];
    const int64_t huge = INT64_C(1) << 40;
    CHECK(kx_gaussian_w2_f64(NULL, &o.mean_p.view, &o.cov_p.view, &o.mean_q.view, &o.cov_q.view, 1, huge, KX_GAUSSIAN_COVARIANCE,
                             0, out,
                             8) == KX_E_OVERFLOW, "a huge n");
    free_problem(&o);
}

int main(void) {
    test_reference_values();
    test_batches();
    test_neighbours();
    test_singular_values();
    test_nearly_singular();
    test_singular();
    test_not_semidefinite();
    test_nearly_equal();
    test_equal();
    test_scales();
    test_map();
    test_gradient();
    test_bad_maps();
    test_memory();
    test_nothing_wanted();
    test_sizes();
    return check_report();
}
