/* The Walsh-Hadamard transform against its definition in long double, in every layout; subsampled transforms against the explicit matrix. */
#include <fenv.h>

#include "check.h"
#include "kexue/kexue.h"
#include "runtime/memory.h"

enum { MOST = 1 << 14 };

static int entry(int64_t i, int64_t j) {
    int64_t common = i & j;
    int sign = 1;
    for (; common; common &= common - 1) sign = -sign;
    return sign;
}

/* In place, stage by stage. */
static void transform(long double *x, int64_t n) {
    for (int64_t distance = 1; distance < n; distance *= 2)
        for (int64_t i = 0; i < n; i++)
            if (!(i & distance)) {
                const long double a = x[i], b = x[i + distance];
                x[i] = a + b;
                x[i + distance] = a - b;
            }
}

static void check_reference(void) {
    long double x[64], y[64];
    for (int64_t n = 1; n <= 64; n *= 2) {
        for (int64_t i = 0; i < n; i++) x[i] = y[i] = (long double)check_uniform(-1, 1);
        transform(y, n);
        for (int64_t i = 0; i < n; i++) {
            long double sum = 0;
            for (int64_t j = 0; j < n; j++) sum += x[j] * entry(i, j);
            CHECK(fabsl(sum - y[i]) < 1e-17L * n, "n %d, %d", (int)n, (int)i);
        }
    }
}

/* Rows of n numbers: row i, entry j at (i * row + j * step) numbers from `first`, in and out; `shift` bytes off any alignment. */
typedef struct layout {
    const char *name;
    int by_columns, step, reversed, shift;
} layout;
static const layout layouts[] = {
    {"contiguous", 0, 1, 0, 0}, {"columns", 1, 1, 0, 0}, {"wide", 0, 3, 0, 0}, {"reversed", 0, 1, 1, 0}, {"misaligned", 0, 1, 0, 1},
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

typedef struct placed {
    void *block;
    char *first;
    ptrdiff_t row, step;
} placed;

static placed place(const layout *l, int64_t rows, int64_t n, size_t item) {
    placed p = {malloc((size_t)(rows * n * l->step) * item + 8), NULL, 0, 0};
    p.step = (ptrdiff_t)item * (l->by_columns ? rows : l->step);
    p.row = (ptrdiff_t)item * (l->by_columns ? 1 : n * l->step);
    p.first = (char *)p.block + l->shift;
    if (l->reversed) {
        p.first += (rows - 1) * p.row + (n - 1) * p.step;
        p.row = -p.row;
        p.step = -p.step;
    }
    return p;
}
static double get(const placed *p, int64_t i, int64_t j, int narrow) {
    const char *at = p->first + i * p->row + j * p->step;
    float f;
    double d;
    if (narrow) { memcpy(&f, at, sizeof f); return (double)f; }
    memcpy(&d, at, sizeof d);
    return d;
}
static void set(const placed *p, int64_t i, int64_t j, int narrow, double value) {
    char *at = p->first + i * p->row + j * p->step;
    const float f = (float)value;
    if (narrow) memcpy(at, &f, sizeof f);
    else memcpy(at, &value, sizeof value);
}

static kx_status_t call(const placed *x, const placed *y, int64_t rows, int64_t n, int narrow, int orthonormal) {
    if (narrow)
        return (orthonormal ? kx_walsh_hadamard_orthonormal_f32 : kx_walsh_hadamard_f32)(
            (const float *)(void *)x->first, rows, n, x->row, x->step, (float *)(void *)y->first, y->row, y->step);
    return (orthonormal ? kx_walsh_hadamard_orthonormal_f64 : kx_walsh_hadamard_f64)(
        (const double *)(void *)x->first, rows, n, x->row, x->step, (double *)(void *)y->first, y->row, y->step);
}

static void check_transform(int64_t rows, int64_t n, const layout *in, const layout *out, int in_place, int narrow, int orthonormal) {
    static long double expected[MOST];
    static double kept[4 * MOST];
    const size_t item = narrow ? sizeof(float) : sizeof(double);
    placed x = place(in, rows, n, item), y = in_place ? x : place(out, rows, n, item);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            kept[i * n + j] = narrow ? (double)(float)check_uniform(-1, 1) : check_uniform(-1, 1);
            set(&x, i, j, narrow, kept[i * n + j]);
        }
    feclearexcept(FE_ALL_EXCEPT);
    CHECK(call(&x, &y, rows, n, narrow, orthonormal) == KX_OK, "n %d", (int)n);
    CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "flags");
    for (int64_t i = 0; i < rows; i++) {
        long double size = 0, worst = 0;
        for (int64_t j = 0; j < n; j++) expected[j] = (long double)kept[i * n + j], size += fabsl(expected[j]);
        transform(expected, n);
        const long double scale = orthonormal ? 1 / sqrtl((long double)n) : 1;
        for (int64_t j = 0; j < n; j++) worst = fmaxl(worst, fabsl((long double)get(&y, i, j, narrow) - expected[j] * scale));
        const long double eps = narrow ? 0x1p-23L : 0x1p-52L;
        CHECK(worst <= eps * size * scale * (log2l((long double)n) + 1), "%s to %s, n %d, row %d of %d, narrow %d: %Lg of %Lg", in->name,
              out->name, (int)n, (int)i, (int)rows, narrow, worst, size);
    }
    if (!in_place) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++) CHECK(get(&x, i, j, narrow) == kept[i * n + j], "the input was changed");
        free(y.block);
    }
    free(x.block);
}

static void check_transforms(void) {
    static const int rows[] = {1, 2, 3, 7, 17, 35};
    for (int narrow = 0; narrow < 2; narrow++)
        for (int64_t n = 1; n <= MOST; n *= 2)
            for (int in = 0; in < LAYOUTS; in++)
                for (int out = 0; out < LAYOUTS; out++) {
                    if (n > 1024 && in != out && in * out != 0) continue;
                    int64_t count = rows[check_random() % 6];
                    if (count * n > 4 * MOST) count = 1 + (int64_t)(check_random() % 3);
                    check_transform(count, n, &layouts[in], &layouts[out], in == out && check_random() % 2, narrow, (int)(check_random() % 2));
                }
}

/* A row has one transform, to the bit, wherever its numbers are and whatever is beside it. */
static void check_layouts_agree(void) {
    static double values[MOST], plain[MOST];
    for (int narrow = 0; narrow < 2; narrow++)
        for (int64_t n = 1; n <= 4096; n *= 2)
            for (int in = 0; in < LAYOUTS; in++)
                for (int out = 0; out < LAYOUTS; out++) {
                    const int64_t rows = n > 256 ? 7 : 23; /* of vectors in columns, some are left over */
                    const size_t item = narrow ? sizeof(float) : sizeof(double);
                    const int orthonormal = (int)(check_random() % 2);
                    placed x = place(&layouts[in], rows, n, item), y = place(&layouts[out], rows, n, item);
                    placed one = {values, (char *)values, 0, (ptrdiff_t)item}, result = {plain, (char *)plain, 0, (ptrdiff_t)item};
                    for (int64_t i = 0; i < rows * n; i++) set(&x, i / n, i % n, narrow, check_uniform(-1, 1));
                    call(&x, &y, rows, n, narrow, orthonormal);
                    int64_t differ = 0;
                    for (int64_t i = 0; i < rows; i++) {
                        for (int64_t j = 0; j < n; j++) set(&one, 0, j, narrow, get(&x, i, j, narrow));
                        call(&one, &result, 1, n, narrow, orthonormal);
                        for (int64_t j = 0; j < n; j++) differ += get(&y, i, j, narrow) != get(&result, 0, j, narrow);
                    }
                    CHECK(differ == 0, "%s to %s, n %d, narrow %d: %d differ", layouts[in].name, layouts[out].name, (int)n, narrow, (int)differ);
                    free(x.block);
                    free(y.block);
                }
}

/* Integers have exact transforms, and broadcast rows are read once each. */
static void check_exact(void) {
    static float x[MOST], y[3 * MOST], z[MOST];
    for (int64_t n = 1; n <= MOST; n *= 2) {
        for (int64_t j = 0; j < n; j++) x[j] = (float)((int)(check_random() % 201) - 100);
        kx_walsh_hadamard_f32(x, 3, n, 0, sizeof(float), y, n * (ptrdiff_t)sizeof(float), sizeof(float));
        for (int i = 0; i < 3; i++) {
            kx_walsh_hadamard_f32(y + i * n, 1, n, 0, sizeof(float), z, 0, sizeof(float));
            for (int64_t j = 0; j < n; j++) CHECK(z[j] == x[j] * (float)n, "twice, n %d, %d: %g, not %g", (int)n, (int)j, (double)z[j], (double)(x[j] * (float)n));
        }
    }
}

static void check_special_values(void) {
    static double x[3 * 128], y[3 * 128];
    for (int i = 0; i < 3 * 128; i++) x[i] = check_uniform(-1, 1);
    x[128 + 77] = NAN;
    kx_walsh_hadamard_f64(x, 3, 128, 128 * sizeof(double), sizeof(double), y, 128 * sizeof(double), sizeof(double));
    for (int i = 0; i < 3 * 128; i++) CHECK(isnan(y[i]) == (i / 128 == 1), "NaN stays in its row: %d", i);
    for (int64_t n = 3; n <= 96; n *= 2) {
        feclearexcept(FE_ALL_EXCEPT);
        y[n] = 5;
        CHECK(kx_walsh_hadamard_f64(x, 1, n, 0, sizeof(double), y, 0, sizeof(double)) == KX_E_ARGUMENT, "n %d", (int)n);
        CHECK(fetestexcept(FE_INVALID), "n %d raises invalid", (int)n);
        for (int64_t j = 0; j < n; j++) CHECK(isnan(y[j]), "n %d", (int)n);
        CHECK(y[n] == 5, "nothing beyond");
    }
    CHECK(kx_walsh_hadamard_f64(x, 0, 8, 0, sizeof(double), y, 0, sizeof(double)) == KX_OK, "no rows");
    feclearexcept(FE_ALL_EXCEPT);
}

static double srht_entry(const kx_srht_t *s, int64_t c, int64_t j) {
    return s->scale * entry(s->samples[c], j) * (s->signs[j / 64] >> (j % 64) & 1 ? -1 : 1);
}

typedef struct srht_case {
    kx_srht_t s;
    uint64_t signs[MOST / 64];
    int64_t samples[3 * 256];
} srht_case;

static void fill(srht_case *c, int64_t d, int64_t sampled) {
    int64_t size = 1;
    while (size < d) size *= 2;
    for (int64_t i = 0; i < MOST / 64; i++) c->signs[i] = check_random();
    for (int64_t i = 0; i < sampled; i++) c->samples[i] = (int64_t)(check_random() % (uint64_t)size);
    c->s = (kx_srht_t){d, size, sampled, c->signs, c->samples, 0.25};
}

static void check_srht(int64_t d, int64_t sampled, int64_t n) {
    static srht_case c;
    static double x[8 * MOST], y[8 * 3 * 256], y3[8 * 3 * 256], back[8 * MOST];
    static float xf[8 * MOST], yf[8 * 3 * 256], backf[8 * MOST];
    static int64_t indptr[9], indices[8 * MOST];
    static double data[8 * MOST], ys[8 * 3 * 256];
    static float dataf[8 * MOST], ysf[8 * 3 * 256];
    fill(&c, d, sampled);
    const int64_t pitch = d + 3;
    const double density = check_uniform(0, 1) * check_uniform(0, 1);
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        indptr[i] = count;
        for (int64_t j = 0; j < d; j++) {
            const int used = check_uniform(0, 1) < density;
            x[i * pitch + j] = used ? (double)(xf[i * pitch + j] = (float)check_uniform(-1, 1)) : (xf[i * pitch + j] = 0, 0.0);
            if (used && count < 8 * MOST) indices[count] = j, dataf[count] = xf[i * pitch + j], data[count++] = x[i * pitch + j];
        }
    }
    indptr[n] = count;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    CHECK(kx_srht_f64(&ctx, &c.s, x, n, pitch * (ptrdiff_t)sizeof(double), y) == KX_OK, "dense");
    CHECK(kx_srht_f32(&ctx, &c.s, xf, n, pitch * (ptrdiff_t)sizeof(float), yf) == KX_OK, "dense");
    CHECK(kx_srht_csr_f64(&ctx, &c.s, n, indptr, indices, data, ys) == KX_OK, "csr");
    CHECK(kx_srht_csr_f32(&ctx, &c.s, n, indptr, indices, dataf, ysf) == KX_OK, "csr");
    ctx.workers = 3;
    CHECK(kx_srht_f64(&ctx, &c.s, x, n, pitch * (ptrdiff_t)sizeof(double), y3) == KX_OK, "three workers");
    CHECK(memcmp(y, y3, (size_t)(n * sampled) * sizeof(double)) == 0, "workers do not matter");
    CHECK(kx_srht_adjoint_f64(NULL, &c.s, y, n, sampled * (ptrdiff_t)sizeof(double), back) == KX_OK, "adjoint");
    CHECK(kx_srht_adjoint_f32(NULL, &c.s, yf, n, sampled * (ptrdiff_t)sizeof(float), backf) == KX_OK, "adjoint");
    for (int64_t i = 0; i < n; i++) {
        long double size = 0;
        for (int64_t j = 0; j < d; j++) size += fabsl((long double)x[i * pitch + j]);
        const long double allowed = (size + 1) * (log2l((long double)c.s.size) + 2) * 0.25L;
        for (int64_t k = 0; k < sampled; k++) {
            long double sum = 0;
            for (int64_t j = 0; j < d; j++) sum += (long double)x[i * pitch + j] * srht_entry(&c.s, k, j);
            const int64_t at = i * sampled + k;
            CHECK(fabsl(sum - y[at]) <= allowed * 0x1p-52L, "d %d, %d samples: %g", (int)d, (int)sampled, y[at]);
            CHECK(fabsl(sum - ys[at]) <= allowed * 0x1p-52L, "csr, d %d, %d samples: %g", (int)d, (int)sampled, ys[at]);
            CHECK(fabsl(sum - yf[at]) <= allowed * 0x1p-23L, "f32, d %d, %d samples: %g", (int)d, (int)sampled, (double)yf[at]);
            CHECK(fabsl(sum - ysf[at]) <= allowed * 0x1p-23L, "csr f32, d %d, %d samples: %g", (int)d, (int)sampled, (double)ysf[at]);
        }
        for (int64_t j = 0; j < d; j++) {
            long double sum = 0, amount = 0, sumf = 0;
            for (int64_t k = 0; k < sampled; k++) {
                sum += (long double)y[i * sampled + k] * srht_entry(&c.s, k, j);
                sumf += (long double)yf[i * sampled + k] * srht_entry(&c.s, k, j);
                amount += fabsl((long double)y[i * sampled + k]);
            }
            /* samples may be repeated, and are then added up first */
            const long double most = (amount + 1) * (log2l((long double)c.s.size) + 2 + (long double)sampled / (long double)c.s.size) * 0.25L;
            CHECK(fabsl(sum - back[i * d + j]) <= most * 0x1p-52L, "adjoint, d %d, %d samples", (int)d, (int)sampled);
            CHECK(fabsl(sumf - backf[i * d + j]) <= most * 0x1p-22L, "adjoint f32, d %d, %d samples", (int)d, (int)sampled);
        }
    }
}

static void check_srht_arguments(void) {
    static srht_case c;
    double x[64] = {0}, y[64];
    const int64_t indptr[2] = {0, 1}, beyond[1] = {40}, before[1] = {-1};
    fill(&c, 40, 5);
    c.samples[4] = 64;
    CHECK(kx_srht_f64(NULL, &c.s, x, 1, 0, y) == KX_E_ARGUMENT, "a sample out of range");
    c.samples[4] = 63;
    CHECK(kx_srht_csr_f64(NULL, &c.s, 1, indptr, beyond, x, y) == KX_E_ARGUMENT, "a column out of range");
    CHECK(kx_srht_csr_f64(NULL, &c.s, 1, indptr, before, x, y) == KX_E_ARGUMENT, "a negative column");
    c.s.size = 48;
    CHECK(kx_srht_f64(NULL, &c.s, x, 1, 0, y) == KX_E_ARGUMENT, "no power of two");
    c.s.size = 32;
    CHECK(kx_srht_f64(NULL, &c.s, x, 1, 0, y) == KX_E_ARGUMENT, "shorter than the rows");
    fill(&c, 1, 3);
    CHECK(kx_srht_f64(NULL, &c.s, x, 0, 0, y) == KX_OK, "no rows");
    x[0] = 3;
    CHECK(kx_srht_f64(NULL, &c.s, x, 1, 0, y) == KX_OK && fabs(y[2]) == 0.75, "one number");
}

/* An allocator that refuses one call, and knows what is held. */
typedef struct watch {
    int refused, made, held, asked;
    size_t bytes;
} watch;
static void *watched_allocate(void *state, size_t bytes) {
    watch *w = state;
    if (w->made++ == w->refused) return NULL;
    w->held++;
    w->bytes = bytes;
    return kx_allocate(NULL, bytes);
}
static void watched_release(void *state, void *block) {
    ((watch *)state)->held--;
    kx_release(NULL, block);
}
static int cancel_at_once(void *state) {
    ((watch *)state)->asked++;
    return 1;
}

static kx_status_t call_srht(int which, const kx_ctx_t *ctx, const kx_srht_t *s, const double *x, int64_t n, const int64_t *indptr,
                             const int64_t *indices, double *out) {
    if (which == 0) return kx_srht_f64(ctx, s, x, n, 0, out);
    if (which == 1) return kx_srht_adjoint_f64(ctx, s, x, n, 0, out);
    return kx_srht_csr_f64(ctx, s, n, indptr, indices, x, out);
}

static void check_srht_context(void) {
    static srht_case c;
    static double x[MOST], y[MOST];
    static int64_t indices[MOST];
    const int64_t indptr[2] = {0, 8192};
    fill(&c, 8192, 700);
    for (int64_t j = 0; j < 8192; j++) indices[j] = j;
    for (int which = 0; which < 3; which++) {
        watch w = {0};
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.allocator = (kx_allocator_t){watched_allocate, watched_release, &w};
        CHECK(call_srht(which, &ctx, &c.s, x, 1, indptr, indices, y) == KX_E_MEMORY && w.made == 1 && w.held == 0, "call %d, no memory", which);
        w.refused = -1;
        ctx.workers = 1000;
        CHECK(call_srht(which, &ctx, &c.s, x, 1, indptr, indices, y) == KX_OK && w.held == 0, "call %d", which);
        CHECK(w.bytes <= 8192 * sizeof(double), "call %d: a row is the work of one, with %d bytes", which, (int)w.bytes);
        CHECK(call_srht(which, &ctx, &c.s, NULL, 1, indptr, indices, y) == KX_E_ARGUMENT, "call %d, no numbers", which);
        CHECK(call_srht(which, &ctx, &c.s, x, 1, indptr, indices, NULL) == KX_E_ARGUMENT, "call %d, no result", which);
    }
    CHECK(kx_srht_csr_f64(NULL, &c.s, 1, NULL, indices, x, y) == KX_E_ARGUMENT, "no row starts");
    CHECK(kx_srht_csr_f64(NULL, &c.s, 1, indptr, NULL, x, y) == KX_E_ARGUMENT, "no columns");
    CHECK(kx_srht_f64(NULL, NULL, x, 1, 0, y) == KX_E_ARGUMENT, "no transform");
    CHECK(kx_srht_f64(NULL, &c.s, x, -1, 0, y) == KX_E_ARGUMENT, "-1 rows");

    /* seconds, of one row again and again */
    static double many[200000 * 2];
    c.s.sampled = 2;
    watch w = {.refused = -1};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator = (kx_allocator_t){watched_allocate, watched_release, &w};
    ctx.cancel = cancel_at_once;
    ctx.cancel_state = &w;
    CHECK(kx_srht_f64(&ctx, &c.s, x, 200000, 0, many) == KX_E_CANCELLED && w.asked == 1 && w.held == 0, "dense, cancelled");

    /* no columns: nothing to read, whatever the stride */
    fill(&c, 0, 3);
    memset(y, 0x55, sizeof y);
    CHECK(kx_srht_f64(NULL, &c.s, NULL, 2, -8, y) == KX_OK && y[0] == 0 && y[5] == 0, "no columns");
}

int main(void) {
    static const int64_t dimensions[] = {1, 2, 5, 8, 31, 64, 100, 256, 300, 700, 1024, 2000, 4096};
    static const int64_t sampled[] = {1, 3, 16, 37, 64, 256, 700};
    check_reference();
    check_transforms();
    check_layouts_agree();
    check_exact();
    check_special_values();
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++)
        for (size_t k = 0; k < sizeof sampled / sizeof sampled[0]; k++)
            check_srht(dimensions[i], sampled[k], dimensions[i] > 300 ? 2 : 8);
    check_srht_arguments();
    check_srht_context();
    return check_report();
}
