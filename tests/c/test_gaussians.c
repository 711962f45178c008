/* Entropy, divergences and gradients of Gaussians: against plain long double formulas and finite differences of them, in
   every form, layout and size of batch; bad and singular matrices; equal and nearly equal arguments; what fails. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

enum { ENTROPY, KL, BHATTACHARYYA, HELLINGER, FUNCTIONS };
enum { FORMS = 3, MOST = 300, MANY = 37 };
static const char *const names[] = {"entropy", "kl", "bhattacharyya", "hellinger"};
static const char *const forms[] = {"covariance", "cholesky", "diagonal"};

typedef long double real; /* of the reference; matrices are in rows of MOST */

/* What the exact covariance is for a form's data (as many entries as the form has, in rows of n). */
static void covariance_of(int form, const real *data, int64_t n, real *cov) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            real sum = 0;
            if (form == KX_GAUSSIAN_COVARIANCE) sum = data[i * n + j];
            else if (form == KX_GAUSSIAN_DIAGONAL) sum = i == j ? data[i] : 0;
            else
                for (int64_t k = 0; k <= j; k++) sum += data[i * n + k] * data[j * n + k];
            cov[i * n + j] = cov[j * n + i] = sum;
        }
}

/* log det S, and with v: |L^-1 v|^2; with other: tr(S^-1 other). */
static real determinant(const real *s, int64_t n, const real *v, real *square, const real *other, real *trace) {
    static real l[MOST * MOST], x[MOST], y[MOST];
    real sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            real rest = s[i * n + j];
            for (int64_t k = 0; k < j; k++) rest -= l[i * n + k] * l[j * n + k];
            l[i * n + j] = i == j ? sqrtl(rest) : rest / l[j * n + j];
            if (i == j) sum += logl(rest);
        }
    if (square) *square = 0;
    for (int64_t i = 0; i < n && v; i++) {
        x[i] = v[i];
        for (int64_t k = 0; k < i; k++) x[i] -= l[i * n + k] * x[k];
        x[i] /= l[i * n + i];
        *square += x[i] * x[i];
    }
    if (trace) *trace = 0;
    for (int64_t c = 0; c < n && other; c++) {
        for (int64_t i = 0; i < n; i++) {
            x[i] = other[i * n + c];
            for (int64_t k = 0; k < i; k++) x[i] -= l[i * n + k] * x[k];
            x[i] /= l[i * n + i];
        }
        for (int64_t i = n - 1; i >= c; i--) {
            y[i] = x[i];
            for (int64_t k = i + 1; k < n; k++) y[i] -= l[k * n + i] * y[k];
            y[i] /= l[i * n + i];
        }
        *trace += y[c];
    }
    return sum;
}

static real reference(int function, int form, const real *mean_p, const real *p, const real *mean_q, const real *q, int64_t n) {
    static real sp[MOST * MOST], sq[MOST * MOST], difference[MOST];
    real square, trace;
    covariance_of(form, p, n, sp);
    if (function == ENTROPY) return n / 2.0L * (1 + logl(2 * acosl(-1))) + determinant(sp, n, NULL, NULL, NULL, NULL) / 2;
    covariance_of(form, q, n, sq);
    for (int64_t i = 0; i < n; i++) difference[i] = mean_p[i] - mean_q[i];
    const real of_p = determinant(sp, n, NULL, NULL, NULL, NULL);
    if (function == KL) {
        const real of_q = determinant(sq, n, difference, &square, sp, &trace);
        return (square + trace - n - (of_p - of_q)) / 2;
    }
    const real of_q = determinant(sq, n, NULL, NULL, NULL, NULL);
    for (int64_t i = 0; i < n * n; i++) sp[i] = (sp[i] + sq[i]) / 2;
    const real mean = determinant(sp, n, difference, &square, NULL, NULL), distance = square / 8 + mean / 2 - (of_p + of_q) / 4;
    return function == HELLINGER ? sqrtl(-expm1l(-distance)) : distance;
}

/* A batch as the reference has it, with the memory that a call sees. */
typedef struct batch {
    int64_t items, entries; /* of an item */
    int is_matrix, is_single;
    real *values;
    char *memory;
    size_t bytes;
    kx_batch_t batch;
} batch;

/* layout 0: contiguous; 1: columns first; 2: every stride large and negative, not aligned; 3: items innermost */
static batch make_batch(int is_matrix, int64_t n, int64_t items, int is_single, int layout, int broadcast, const real *values) {
    batch b = {items, is_matrix ? n * n : n, is_matrix, is_single, NULL, NULL, 0, {NULL, 0, 0, 0}};
    const ptrdiff_t size = is_single ? 4 : 8, rows = n, columns = is_matrix ? n : 1, count = broadcast ? 1 : items;
    ptrdiff_t base = 0;
    switch (layout) {
        case 0: b.batch.column = size, b.batch.row = columns * size, b.batch.batch = rows * columns * size; break;
        case 1: b.batch.row = size, b.batch.column = rows * size, b.batch.batch = rows * columns * size; break;
        case 2:
            b.batch.column = -2 * size, b.batch.row = -(2 * columns + 1) * size;
            b.batch.batch = -(rows + 1) * (2 * columns + 1) * size - 1;
            base = -(rows * b.batch.row + columns * b.batch.column + count * b.batch.batch);
            break;
        default: b.batch.batch = size, b.batch.column = (count + 1) * size, b.batch.row = columns * b.batch.column;
    }
    b.bytes = (size_t)(2 * (rows + 2) * (2 * columns + 2) * (count + 2) * size + 64);
    b.memory = malloc(b.bytes);
    b.values = malloc((size_t)(items * b.entries + 1) * sizeof *b.values);
    memset(b.memory, 0xff, b.bytes); /* NaNs */
    b.batch.data = b.memory + base;
    for (int64_t k = 0; k < items; k++)
        for (int64_t i = 0; i < b.entries; i++) {
            const real given = values[(broadcast ? 0 : k) * b.entries + i];
            b.values[k * b.entries + i] = is_single ? (real)(float)given : (real)(double)given;
        }
    if (broadcast) b.batch.batch = 0;
    return b;
}

/* `lower`: NaN stays above the diagonal, where nothing may be read. */
static void fill_batch(batch *b, int64_t n, int lower) {
    for (int64_t k = 0; k < b->items; k++)
        for (int64_t i = 0; i < b->entries; i++) {
            const int64_t row = b->is_matrix ? i / n : i, column = b->is_matrix ? i % n : 0;
            if (lower && b->is_matrix && column > row) continue;
            char *to = (char *)(uintptr_t)b->batch.data + k * b->batch.batch + row * b->batch.row + column * b->batch.column;
            const double wide = (double)b->values[k * b->entries + i];
            const float narrow = (float)wide;
            memcpy(to, b->is_single ? (const void *)&narrow : (const void *)&wide, b->is_single ? 4 : 8);
        }
}
static double read_batch(const batch *b, int64_t n, int64_t item, int64_t i) {
    const int64_t row = b->is_matrix ? i / n : i, column = b->is_matrix ? i % n : 0;
    const char *from = (const char *)b->batch.data + item * b->batch.batch + row * b->batch.row + column * b->batch.column;
    double wide;
    float narrow;
    if (!b->is_single) return memcpy(&wide, from, 8), wide;
    return memcpy(&narrow, from, 4), (double)narrow;
}
static void free_batch(batch *b) { free(b->values), free(b->memory); }

/* Random data of a form: covariances A A^T / n + 1/2, their factors, variances. */
static void random_form(int form, int64_t n, int64_t items, real *to) {
    static real a[MOST * MOST];
    const int64_t entries = form == KX_GAUSSIAN_DIAGONAL ? n : n * n;
    for (int64_t k = 0; k < items; k++, to += entries) {
        for (int64_t i = 0; i < n * n; i++) a[i] = (real)check_uniform(-1, 1);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                if (form == KX_GAUSSIAN_DIAGONAL) {
                    to[i] = (real)exp(check_uniform(-2, 2));
                    continue;
                }
                real sum = form == KX_GAUSSIAN_COVARIANCE && i == j ? 0.5L : 0;
                for (int64_t c = 0; c < n && form == KX_GAUSSIAN_COVARIANCE; c++) sum += a[i * n + c] * a[j * n + c] / n;
                if (form == KX_GAUSSIAN_CHOLESKY) sum = i == j ? (real)check_uniform(0.5, 1.5) : a[i * n + j] / sqrtl((real)n);
                to[i * n + j] = sum;
                to[j * n + i] = form == KX_GAUSSIAN_COVARIANCE || i == j ? sum : 0;
            }
    }
}

typedef struct problem {
    int64_t n, items;
    int form, is_single;
    batch mean_p, p, mean_q, q;
} problem;

/* layouts: a digit for each operand; broadcast: a bit for each */
static problem make_problem(int form, int64_t n, int64_t items, int is_single, const int *layouts, unsigned broadcast) {
    const int is_matrix = form != KX_GAUSSIAN_DIAGONAL;
    real *values = malloc((size_t)(n * n * items + n * items + 1) * sizeof *values);
    problem o = {n, items, form, is_single, {0}, {0}, {0}, {0}};
    batch *means[2] = {&o.mean_p, &o.mean_q}, *covs[2] = {&o.p, &o.q};
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < n * items; i++) values[i] = (real)check_uniform(-1, 1);
        *means[k] = make_batch(0, n, items, is_single, layouts[2 * k], broadcast >> (2 * k) & 1, values);
        random_form(form, n, items, values);
        *covs[k] = make_batch(is_matrix, n, items, is_single, layouts[2 * k + 1], broadcast >> (2 * k + 1) & 1, values);
        fill_batch(means[k], n, 0), fill_batch(covs[k], n, 1);
    }
    free(values);
    return o;
}
static void free_problem(problem *o) { free_batch(&o->mean_p), free_batch(&o->p), free_batch(&o->mean_q), free_batch(&o->q); }

static kx_status_t call(int function, const problem *o, const kx_ctx_t *ctx, void *out, ptrdiff_t stride) {
    const kx_batch_t *mp = &o->mean_p.batch, *p = &o->p.batch, *mq = &o->mean_q.batch, *q = &o->q.batch;
    const kx_gaussian_form_t form = (kx_gaussian_form_t)o->form;
    if (o->is_single) switch (function) {
            case ENTROPY: return kx_gaussian_entropy_f32(ctx, p, o->items, o->n, form, out, stride);
            case KL: return kx_gaussian_kl_f32(ctx, mp, p, mq, q, o->items, o->n, form, out, stride);
            case BHATTACHARYYA: return kx_gaussian_bhattacharyya_f32(ctx, mp, p, mq, q, o->items, o->n, form, out, stride);
            default: return kx_gaussian_hellinger_f32(ctx, mp, p, mq, q, o->items, o->n, form, out, stride);
        }
    switch (function) {
        case ENTROPY: return kx_gaussian_entropy_f64(ctx, p, o->items, o->n, form, out, stride);
        case KL: return kx_gaussian_kl_f64(ctx, mp, p, mq, q, o->items, o->n, form, out, stride);
        case BHATTACHARYYA: return kx_gaussian_bhattacharyya_f64(ctx, mp, p, mq, q, o->items, o->n, form, out, stride);
        default: return kx_gaussian_hellinger_f64(ctx, mp, p, mq, q, o->items, o->n, form, out, stride);
    }
}

/* Into doubles; items apart by two entries, of which the other is not to change. */
static void values_of(int function, const problem *o, double *values) {
    const size_t size = o->is_single ? 4 : 8;
    char *out = malloc((size_t)(2 * o->items + 2) * size);
    memset(out, 0x3c, (size_t)(2 * o->items + 2) * size);
    const kx_status_t status = call(function, o, NULL, out, (ptrdiff_t)(2 * size));
    CHECK(status == KX_OK, "%s: status %d", names[function], status);
    for (int64_t i = 0; i < o->items; i++) {
        float narrow;
        if (o->is_single) memcpy(&narrow, out + 2 * (size_t)i * size, 4), values[i] = (double)narrow;
        else memcpy(values + i, out + 2 * (size_t)i * size, 8);
    }
    for (int64_t i = 0; i <= o->items; i++)
        for (size_t k = 0; k < size && (i < o->items || size == 8); k++)
            CHECK(out[(2 * (size_t)i + 1) * size + k] == 0x3c, "%s wrote between its results", names[function]);
    free(out);
}

static double worst[FUNCTIONS][FORMS][2];

static void test_values(int function, int form, int64_t n, int64_t items, int is_single) {
    int layouts[4];
    for (int k = 0; k < 4; k++) layouts[k] = (int)(check_random() % 4);
    const unsigned broadcast = check_random() % 3 == 0 ? (unsigned)(check_random() % 16) : 0;
    problem o = make_problem(form, n, items, is_single, layouts, broadcast);
    double *values = malloc((size_t)items * sizeof *values);
    const int64_t matrix = o.p.entries;
    feclearexcept(FE_ALL_EXCEPT);
    values_of(function, &o, values);
    const int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
    CHECK(flags == 0, "%s, %s: flags %x", names[function], forms[form], (unsigned)flags);
    for (int64_t k = 0; k < items; k++) {
        const real exact = reference(function, form, o.mean_p.values + k * n, o.p.values + k * matrix, o.mean_q.values + k * n,
                                     o.q.values + k * matrix, n);
        const double eps = is_single ? (double)FLT_EPSILON : DBL_EPSILON;
        const double error = (double)(fabsl((real)values[k] - exact) / (fabsl(exact) + 1e-300L)) / eps / sqrt((double)n);
        if (!(error <= worst[function][form][is_single])) worst[function][form][is_single] = isnan(error) ? INFINITY : error;
    }
    free(values);
    free_problem(&o);
}

/* kx_gaussian_..._gradient into batches of the outputs' layouts. */
static kx_status_t call_gradient(int function, const problem *o, const kx_ctx_t *ctx, const kx_batch_out_t *out) {
    const kx_batch_t *mp = &o->mean_p.batch, *p = &o->p.batch, *mq = &o->mean_q.batch, *q = &o->q.batch;
    const kx_gaussian_form_t form = (kx_gaussian_form_t)o->form;
    const int64_t items = o->items, n = o->n;
    if (o->is_single) switch (function) {
            case ENTROPY: return kx_gaussian_entropy_gradient_f32(ctx, p, items, n, form, out + 1);
            case KL: return kx_gaussian_kl_gradient_f32(ctx, mp, p, mq, q, items, n, form, out, out + 1, out + 2, out + 3);
            case BHATTACHARYYA:
                return kx_gaussian_bhattacharyya_gradient_f32(ctx, mp, p, mq, q, items, n, form, out, out + 1, out + 2, out + 3);
            default: return kx_gaussian_hellinger_gradient_f32(ctx, mp, p, mq, q, items, n, form, out, out + 1, out + 2, out + 3);
        }
    switch (function) {
        case ENTROPY: return kx_gaussian_entropy_gradient_f64(ctx, p, items, n, form, out + 1);
        case KL: return kx_gaussian_kl_gradient_f64(ctx, mp, p, mq, q, items, n, form, out, out + 1, out + 2, out + 3);
        case BHATTACHARYYA:
            return kx_gaussian_bhattacharyya_gradient_f64(ctx, mp, p, mq, q, items, n, form, out, out + 1, out + 2, out + 3);
        default: return kx_gaussian_hellinger_gradient_f64(ctx, mp, p, mq, q, items, n, form, out, out + 1, out + 2, out + 3);
    }
}

static void make_outputs(const problem *o, int layout, batch *made, kx_batch_out_t *out) {
    real *zeros = calloc((size_t)(o->p.entries * o->items + o->n * o->items + 1), sizeof *zeros);
    for (int k = 0; k < 4; k++) {
        made[k] = make_batch(k % 2 && o->p.is_matrix, o->n, o->items, o->is_single, layout, 0, zeros);
        const kx_batch_out_t to = {(void *)(uintptr_t)made[k].batch.data, made[k].batch.batch, made[k].batch.row,
                                   made[k].batch.column};
        out[k] = to;
    }
    free(zeros);
}

static double worst_gradient[FUNCTIONS][FORMS][2];

/* Against central differences of the reference along random directions: symmetric ones of a covariance, lower triangles of a
   factor. */
static void test_gradients(int function, int form, int64_t n, int64_t items, int is_single) {
    static real moved[4][2][MOST * MOST], direction[MOST * MOST];
    int layouts[4];
    for (int k = 0; k < 4; k++) layouts[k] = (int)(check_random() % 4);
    problem o = make_problem(form, n, items, is_single, layouts, check_random() % 3 == 0 ? (unsigned)(check_random() % 16) : 0);
    batch made[4];
    kx_batch_out_t out[4];
    make_outputs(&o, (int)(check_random() % 4), made, out);
    const int leave_out = (int)(check_random() % 6);
    for (int k = 0; k < 4; k++)
        if (k == leave_out && function != ENTROPY) out[k].data = NULL;
    feclearexcept(FE_ALL_EXCEPT);
    const kx_status_t status = call_gradient(function, &o, NULL, out);
    const int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
    CHECK(status == KX_OK && flags == 0, "gradient of %s: status %d, flags %x", names[function], status, (unsigned)flags);
    const batch *given[4] = {&o.mean_p, &o.p, &o.mean_q, &o.q};
    const real step = LDBL_MANT_DIG >= 64 ? 1e-6L : 1e-4L;
    for (int64_t item = 0; item < items; item++)
        for (int k = 0; k < 4; k++) {
            const int64_t entries = given[k]->entries;
            if (!out[k].data || (function == ENTROPY && k != 1)) {
                size_t untouched = 0;
                while (untouched < made[k].bytes && (unsigned char)made[k].memory[untouched] == 0xff) untouched++;
                CHECK(untouched == made[k].bytes, "an output that is not wanted was written");
                continue;
            }
            const int is_factor = form == KX_GAUSSIAN_CHOLESKY && k % 2;
            for (int64_t i = 0; i < entries; i++) direction[i] = (real)check_uniform(-1, 1);
            for (int64_t i = 0; i < n && given[k]->is_matrix; i++)
                for (int64_t j = i + 1; j < n; j++) direction[i * n + j] = is_factor ? 0 : direction[j * n + i];
            real derivative = 0, size = 0, got = 0;
            for (int side = 0; side < 2; side++) {
                for (int a = 0; a < 4; a++)
                    for (int64_t i = 0; i < given[a]->entries; i++)
                        moved[a][side][i] = given[a]->values[item * given[a]->entries + i] +
                                            (a == k ? (side ? step : -step) * direction[i] : 0);
                const real value = reference(function, form, moved[0][side], moved[1][side], moved[2][side], moved[3][side], n);
                derivative += (side ? value : -value) / (2 * step);
            }
            for (int64_t i = 0; i < entries; i++) {
                const double g = read_batch(made + k, n, item, i);
                got += (real)g * direction[i], size += fabsl((real)g * direction[i]);
                if (is_factor && i % n > i / n) CHECK(g == 0, "a factor's gradient above the diagonal: %g", g);
                if (form == KX_GAUSSIAN_COVARIANCE && k % 2) {
                    const double mirrored = read_batch(made + k, n, item, i % n * n + i / n);
                    CHECK(g == mirrored, "a gradient is not symmetric: %g and %g", g, mirrored);
                }
            }
            const double error = (double)(fabsl(got - derivative) / (size + 1e-300L));
            if (!(error <= worst_gradient[function][form][is_single]))
                worst_gradient[function][form][is_single] = isnan(error) ? INFINITY : error;
        }
    for (int k = 0; k < 4; k++) free_batch(made + k);
    free_problem(&o);
}

/* METHODS R20, in every form that has them */
static void test_reference_values(void) {
    const real mean_p[3] = {1, 2, -1}, mean_q[3] = {0, 1, 0.5L};
    const real p[9] = {2, 0.5L, 0.3L, 0.5L, 1.5L, -0.2L, 0.3L, -0.2L, 1};
    const real q[9] = {1, -0.3L, 0.1L, -0.3L, 2, 0.4L, 0.1L, 0.4L, 1.5L};
    const double expected[FUNCTIONS] = {4.709935797624345, 2.698669730719506, 0.5435350047057395, 0.6475400594872182};
    const double units[2] = {0, 1};
    double value;
    for (int is_single = 0; is_single < 2; is_single++)
        for (int function = 0; function < FUNCTIONS; function++) {
            problem o = {3, 1, KX_GAUSSIAN_COVARIANCE, is_single, make_batch(0, 3, 1, is_single, 0, 0, mean_p),
                         make_batch(1, 3, 1, is_single, 0, 0, p), make_batch(0, 3, 1, is_single, 0, 0, mean_q),
                         make_batch(1, 3, 1, is_single, 0, 0, q)};
            fill_batch(&o.mean_p, 3, 0), fill_batch(&o.p, 3, 0), fill_batch(&o.mean_q, 3, 0), fill_batch(&o.q, 3, 0);
            values_of(function, &o, &value);
            CHECK(fabs(value / expected[function] - 1) < (is_single ? 1e-6 : 2e-15), "%s: %.17g", names[function], value);
            free_problem(&o);
        }
    const double matrix_q[9] = {1, -0.3, 0.1, -0.3, 2, 0.4, 0.1, 0.4, 1.5}, at_p[3] = {1, 2, -1}, at_q[3] = {0, 1, 0.5};
    const double matrix_p[9] = {2, 0.5, 0.3, 0.5, 1.5, -0.2, 0.3, -0.2, 1}, identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    const kx_batch_t mp = {at_p, 0, 8, 0}, sp = {matrix_p, 0, 24, 8}, mq = {at_q, 0, 8, 0}, sq = {matrix_q, 0, 24, 8};
    const kx_batch_t zero = {units, 0, 0, 0}, unit = {identity, 0, 24, 8};
    kx_gaussian_kl_f64(NULL, &mq, &sq, &mp, &sp, 1, 3, KX_GAUSSIAN_COVARIANCE, &value, 8);
    CHECK(fabs(value / 2.2028601111034596 - 1) < 2e-15, "KL(q || p) = %.17g", value);
    kx_gaussian_kl_f64(NULL, &mp, &sp, &zero, &unit, 1, 3, KX_GAUSSIAN_COVARIANCE, &value, 8);
    CHECK(fabs(value / 3.296879801989673 - 1) < 2e-15, "KL(p || N(0, I)) = %.17g", value);
}

/* Exactly 0 for equal arguments, and gradients that are 0 too, or of the order of rounding. */
static void test_equal(int form, int64_t n, int is_single) {
    const int layouts[4] = {0, 0, 0, 0};
    problem o = make_problem(form, n, 9, is_single, layouts, 0), same = o;
    same.mean_q = o.mean_p, same.q = o.p;
    double values[9];
    for (int function = KL; function < FUNCTIONS; function++) {
        values_of(function, &same, values);
        for (int k = 0; k < 9; k++)
            CHECK(values[k] == 0, "%s of equal arguments, %s, n = %d: %g", names[function], forms[form], (int)n, values[k]);
        batch made[4];
        kx_batch_out_t out[4];
        make_outputs(&o, 0, made, out);
        call_gradient(function, &same, NULL, out);
        for (int k = 0; k < 4; k++)
            for (int64_t i = 0; i < 9 * made[k].entries; i++) {
                const double g = read_batch(made + k, n, i / made[k].entries, i % made[k].entries);
                CHECK(g == 0, "gradient of %s at equal arguments: %g", names[function], g);
            }
        for (int k = 0; k < 4; k++) free_batch(made + k);
    }
    free_problem(&o);
}

/* Nearly equal arguments: small results keep their digits, which long double shows for changes of 1e-6. */
static double worst_near[FUNCTIONS][FORMS];
static void test_nearly_equal(int form, int64_t n, double change, int broadcast) {
    const int layouts[4] = {0, 0, 0, 0};
    problem o = make_problem(form, n, 9, 0, layouts, broadcast ? 10 : 0);
    const batch *from[2] = {&o.mean_p, &o.p};
    batch *to[2] = {&o.mean_q, &o.q};
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < 9 * from[k]->entries; i++) { /* at least half of it: less is lost in long double */
            const double part = check_uniform(-change, change);
            to[k]->values[i] = (real)(double)(from[k]->values[i] * (1 + (real)(part / 2 + copysign(change / 2, part))));
        }
        for (int64_t i = 0; i < 9 * from[k]->entries && form == KX_GAUSSIAN_COVARIANCE && k; i++) {
            const int64_t row = i % (n * n) / n, column = i % n;
            if (column > row) to[k]->values[i] = to[k]->values[i / (n * n) * n * n + column * n + row];
        }
        for (int64_t i = from[k]->entries; i < 9 * from[k]->entries && broadcast && k; i++)
            to[k]->values[i] = to[k]->values[i % from[k]->entries];
        /* means far apart for the items that come first: what is kept of the covariances must do for the last item too */
        for (int64_t i = 0; i < 8 * n && broadcast && !k; i++) to[k]->values[i] += 2;
        fill_batch(to[k], n, 1);
    }
    double values[9];
    for (int function = KL; function < FUNCTIONS; function++) {
        values_of(function, &o, values);
        for (int64_t k = 0; k < 9; k++) {
            const real exact = reference(function, form, o.mean_p.values + k * n, o.p.values + k * o.p.entries,
                                         o.mean_q.values + k * n, o.q.values + k * o.q.entries, n);
            const double error = (double)(fabsl((real)values[k] - exact) / exact);
            if (!(error <= worst_near[function][form])) worst_near[function][form] = isnan(error) ? INFINITY : error;
        }
    }
    free_problem(&o);
}

/* Bad matrices: NaN and the flag for these items, the same bits as without them for the others, and the diagnosis. */
static void test_bad_pivots(int form, int64_t n, int is_single) {
    const int layouts[4] = {0, 0, 0, 0};
    problem o = make_problem(form, n, MANY, is_single, layouts, 0);
    const int64_t entries = o.p.entries, bad_p = 11, bad_q = 29, pivot = n - 1, spot = o.p.is_matrix ? pivot * n + pivot : pivot;
    double before[FUNCTIONS][MANY], after[MANY], value;
    for (int function = 0; function < FUNCTIONS; function++) values_of(function, &o, before[function]);
    int64_t item, where;
    const kx_gaussian_form_t kind = (kx_gaussian_form_t)form;
    if (is_single) kx_gaussian_first_bad_pivot_f32(NULL, &o.p.batch, MANY, n, kind, &item, &where, &value);
    else kx_gaussian_first_bad_pivot_f64(NULL, &o.p.batch, MANY, n, kind, &item, &where, &value);
    CHECK(item == -1 && where == -1 && value == 0, "a bad pivot in good matrices: %d, %d", (int)item, (int)where);
    o.p.values[bad_p * entries + spot] = -2, o.q.values[bad_q * entries + spot] = NAN;
    fill_batch(&o.p, n, 1), fill_batch(&o.q, n, 1);
    for (int function = 0; function < FUNCTIONS; function++) {
        feclearexcept(FE_ALL_EXCEPT);
        values_of(function, &o, after);
        CHECK(fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW) == FE_INVALID, "%s: flags", names[function]);
        for (int k = 0; k < MANY; k++) {
            const int is_bad = k == bad_p || (k == bad_q && function != ENTROPY);
            CHECK(is_bad ? isnan(after[k]) : after[k] == before[function][k], "%s, %s: item %d is %g, was %g", names[function],
                  forms[form], k, after[k], before[function][k]);
        }
        batch made[4];
        kx_batch_out_t out[4];
        make_outputs(&o, 1, made, out);
        feclearexcept(FE_ALL_EXCEPT);
        call_gradient(function, &o, NULL, out);
        CHECK(fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW) == FE_INVALID, "gradient of %s: flags", names[function]);
        for (int a = 0; a < 4; a++)
            for (int64_t i = 0; i < MANY * made[a].entries && (a == 1 || function != ENTROPY); i++) {
                const int64_t k = i / made[a].entries;
                const int is_bad = k == bad_p || (k == bad_q && function != ENTROPY);
                const double g = read_batch(made + a, n, k, i % made[a].entries);
                CHECK(is_bad ? isnan(g) : isfinite(g), "gradient of %s, %s: item %d has %g", names[function], forms[form],
                      (int)k, g);
            }
        for (int a = 0; a < 4; a++) free_batch(made + a);
    }
    if (is_single) kx_gaussian_first_bad_pivot_f32(NULL, &o.p.batch, MANY, n, kind, &item, &where, &value);
    else kx_gaussian_first_bad_pivot_f64(NULL, &o.p.batch, MANY, n, kind, &item, &where, &value);
    CHECK(item == bad_p && where == pivot && value <= -2, "bad p: item %d, pivot %d, %g", (int)item, (int)where, value);
    if (is_single) kx_gaussian_first_bad_pivot_f32(NULL, &o.q.batch, MANY, n, kind, &item, &where, &value);
    else kx_gaussian_first_bad_pivot_f64(NULL, &o.q.batch, MANY, n, kind, &item, &where, &value);
    CHECK(item == bad_q && where == pivot && isnan(value), "bad q: item %d, pivot %d, %g", (int)item, (int)where, value);
    free_problem(&o);
}

/* A zero on a factor's or variances' diagonal: infinite without a flag where the formula says so. */
static void test_singular(int form, int is_single) {
    const int layouts[4] = {0, 0, 0, 0};
    const int64_t n = 5, spot = form == KX_GAUSSIAN_CHOLESKY ? 2 * n + 2 : 2;
    const double inf = (double)INFINITY, nan = (double)NAN;
    const double expected[2][FUNCTIONS] = {{-inf, inf, inf, 1}, {0, nan, inf, 1}}; /* of p, of q */
    for (int trial = 0; trial < 4; trial++)
        for (int side = trial % 2, function = side; function < FUNCTIONS; function++) {
            problem o = make_problem(form, n, 3, is_single, layouts, 0);
            batch *b = side ? &o.q : &o.p;
            b->values[b->entries + spot] = trial < 2 ? 0 : (real)-0.0;
            fill_batch(b, n, 1);
            double values[3];
            feclearexcept(FE_ALL_EXCEPT);
            values_of(function, &o, values);
            const int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), is_bad = isnan(expected[side][function]);
            CHECK(flags == (is_bad ? FE_INVALID : 0), "%s, singular: flags %x", names[function], (unsigned)flags);
            CHECK(is_bad ? isnan(values[1]) : values[1] == expected[side][function], "%s, singular: %g", names[function],
                  values[1]);
            CHECK(isfinite(values[0]) && isfinite(values[2]), "%s: neighbours of a singular one", names[function]);
            free_problem(&o);
        }
}

/* Variances whose quotient is beyond the numbers' range. */
static void test_far_apart(void) {
    const double p = 1e-200, q = 1e200, zero = 0;
    const kx_batch_t mean = {&zero, 0, 8, 0}, sp = {&p, 0, 8, 0}, sq = {&q, 0, 8, 0};
    const double exact = 0.5 * (log(0.5) + 200 * log(10.0));
    double value;
    kx_gaussian_bhattacharyya_f64(NULL, &mean, &sp, &mean, &sq, 1, 1, KX_GAUSSIAN_DIAGONAL, &value, 8);
    CHECK(fabs(value / exact - 1) < 1e-15, "variances 1e-200 and 1e200: %.17g for %.17g", value, exact);
}

static void *no_memory(void *state, size_t bytes) {
    (void)bytes;
    ++*(int *)state;
    return NULL;
}
static void no_release(void *state, void *block) { (void)state, (void)block; }

static void test_failures(void) {
    const int layouts[4] = {0, 0, 0, 0};
    int refused = 0, flags;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = no_memory, ctx.allocator.release = no_release, ctx.allocator.state = &refused;
    problem o = make_problem(KX_GAUSSIAN_COVARIANCE, 3, 2, 0, layouts, 0);
    batch made[4];
    kx_batch_out_t out[4];
    make_outputs(&o, 0, made, out);
    double values[2] = {7, 7}, value;
    int64_t item, pivot;
    for (int function = 0; function < FUNCTIONS; function++) {
        problem changed = o;
        CHECK(call(function, &o, &ctx, values, 8) == KX_E_MEMORY, "%s: memory", names[function]);
        CHECK(call_gradient(function, &o, &ctx, out) == KX_E_MEMORY, "gradient of %s: memory", names[function]);
        changed.n = (int64_t)1 << 29;
        CHECK(call(function, &changed, NULL, values, 8) == KX_E_OVERFLOW, "%s: size", names[function]);
        CHECK(call_gradient(function, &changed, NULL, out) == KX_E_OVERFLOW, "gradient of %s: size", names[function]);
        changed.n = -1;
        CHECK(call(function, &changed, NULL, values, 8) == KX_E_ARGUMENT, "%s: n = -1", names[function]);
        CHECK(call_gradient(function, &changed, NULL, out) == KX_E_ARGUMENT, "gradient of %s: n = -1", names[function]);
        changed.n = 3, changed.items = -1;
        CHECK(call(function, &changed, NULL, values, 8) == KX_E_ARGUMENT, "%s: -1 items", names[function]);
        changed.items = 2, changed.form = 3;
        CHECK(call(function, &changed, NULL, values, 8) == KX_E_ARGUMENT, "%s: form 3", names[function]);
        changed.form = 0, changed.items = 0;
        CHECK(call(function, &changed, &ctx, values, 8) == KX_OK, "%s: no items", names[function]);
        CHECK(call_gradient(function, &changed, &ctx, out) == KX_OK, "gradient of %s: no items", names[function]);
        CHECK(values[0] == 7 && values[1] == 7, "%s wrote where it failed", names[function]);
        for (changed.items = 2, changed.n = 0, changed.form = 0; changed.form < FORMS; changed.form++) {
            double none[2] = {7, 7};
            feclearexcept(FE_ALL_EXCEPT);
            CHECK(call(function, &changed, NULL, none, 8) == KX_OK && none[0] == 0 && none[1] == 0, "%s: n = 0 gives %g",
                  names[function], none[0]);
            flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
            CHECK(call_gradient(function, &changed, NULL, out) == KX_OK && flags == 0, "gradient of %s: n = 0", names[function]);
        }
    }
    CHECK(kx_gaussian_first_bad_pivot_f64(&ctx, &o.p.batch, 2, 3, KX_GAUSSIAN_COVARIANCE, &item, &pivot, &value) == KX_E_MEMORY,
          "first bad pivot: memory");
    CHECK(refused == 2 * FUNCTIONS + 1, "%d allocations", refused);
    for (int k = 0; k < 4; k++) free_batch(made + k);
    free_problem(&o);
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 11, 16, 33, 64}, counts[] = {1, 2, 3, 7, 8, 9, 16, 17, MANY};
    printf("test_gaussians, %s\n", kx_isa_name());
    test_reference_values();
    test_far_apart();
    test_failures();
    for (int form = 0; form < FORMS; form++)
        for (int is_single = 0; is_single < 2; is_single++) {
            for (int function = 0; function < FUNCTIONS; function++)
                for (int k = 0; k < 11; k++)
                    for (int trial = 0; trial < (is_long ? 60 : 6); trial++) {
                        const int64_t items = sizes[k] > 30 ? 1 + (int64_t)(check_random() % 5) : counts[check_random() % 9];
                        test_values(function, form, sizes[k], items, is_single);
                        if (trial < 2 && sizes[k] < 64)
                            test_gradients(function, form, sizes[k], sizes[k] > 16 ? 2 : items, is_single);
                    }
            test_values(KL, form, MOST, 1, is_single);
            for (int k = 0; k < 11; k++) test_equal(form, sizes[k], is_single), test_bad_pivots(form, sizes[k], is_single);
            if (form != KX_GAUSSIAN_COVARIANCE) test_singular(form, is_single);
        }
    for (int form = 0; form < FORMS && LDBL_MANT_DIG >= 64; form++)
        for (int k = 0; k < 11; k++) {
            test_nearly_equal(form, sizes[k], 1e-6, k % 2), test_nearly_equal(form, sizes[k], 1e-6, 1 - k % 2);
            test_nearly_equal(form, sizes[k], 1e-3, k % 2);
        }
    for (int function = 0; function < FUNCTIONS; function++)
        for (int form = 0; form < FORMS; form++) {
            const double *values = worst[function][form], *slopes = worst_gradient[function][form];
            printf("%-13s %-10s eps sqrt(n): %6.2f, %6.2f (float32); gradient %.1e, %.1e; nearly equal %.1e\n", names[function],
                   forms[form], values[0], values[1], slopes[0], slopes[1], worst_near[function][form]);
            CHECK(values[0] < 60 && values[1] < 60, "%s, %s", names[function], forms[form]);
            CHECK(slopes[0] < (LDBL_MANT_DIG >= 64 ? 1e-8 : 1e-4) && slopes[1] < 1e-4, "gradient of %s, %s", names[function],
                  forms[form]);
            CHECK(worst_near[function][form] < 1e-4, "%s of nearly equal ones, %s", names[function], forms[form]);
        }
    return check_report();
}
