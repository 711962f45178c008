/* A certified lower bound of a transport cost, for a tenth of the price of solving it.

   A few Sinkhorn sweeps in float32 give column potentials that are nearly right. Their c-transforms in float64, rows from columns and
   columns from rows, satisfy f_i + g_j <= C_ij whatever the sweeps did, so a.f + b.g is a lower bound by weak duality. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <float.h>

#include "kernels/transport_internal.h"
#include "runtime/sum.h"
#include "runtime/vector_math.h"

enum { GROUP = 4 }; /* rows whose sums are taken together */

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

typedef struct kx_bound_scratch {
    float *kernel, *v, *sums, *a, *b; /* rows of `stride`; a of the rows rounded up */
    double *f, *g;
} kx_bound_scratch_t;

static size_t lay_out(kx_bound_scratch_t *s, int64_t m, int64_t n, char *block) {
    kx_layout_t layout = {0, 0};
    const int64_t rows = round_up(m, GROUP), stride = round_up(n, 16);
    if (stride > INT64_MAX / 16 / rows) return 0;
    size_t kernel = kx_layout_add(&layout, rows * stride, sizeof(float)), v = kx_layout_add(&layout, stride, sizeof(float));
    size_t sums = kx_layout_add(&layout, stride, sizeof(float)), a = kx_layout_add(&layout, rows, sizeof(float));
    size_t b = kx_layout_add(&layout, stride, sizeof(float));
    size_t f = kx_layout_add(&layout, m, sizeof(double)), g = kx_layout_add(&layout, stride, sizeof(double));
    if (layout.overflow) return 0;
    if (block) {
        s->kernel = (float *)(block + kernel);
        s->v = (float *)(block + v);
        s->sums = (float *)(block + sums);
        s->a = (float *)(block + a);
        s->b = (float *)(block + b);
        s->f = (double *)(block + f);
        s->g = (double *)(block + g);
    }
    return layout.bytes;
}

size_t KX_KERNEL(kx_transport_bound_bytes)(int64_t m, int64_t n) {
    kx_bound_scratch_t s = {0};
    return lay_out(&s, m, n, NULL);
}

/* v <- b / K'(a / (K v)): both half sweeps in one pass over the kernel. */
static void sweep(const kx_bound_scratch_t *s, int64_t rows, int64_t stride) {
    for (int64_t j = 0; j < stride; j++) s->sums[j] = 0;
    for (int64_t i = 0; i < rows; i += GROUP) {
        const float *k0 = s->kernel + i * stride, *k1 = k0 + stride, *k2 = k1 + stride, *k3 = k2 + stride;
        kx_f32v t0 = kx_f32v_set(0), t1 = t0, t2 = t0, t3 = t0;
        for (int64_t j = 0; j < stride; j += KX_F32_LANES) {
            const kx_f32v v = kx_f32v_load(s->v + j);
            t0 = kx_f32v_fma(kx_f32v_load(k0 + j), v, t0);
            t1 = kx_f32v_fma(kx_f32v_load(k1 + j), v, t1);
            t2 = kx_f32v_fma(kx_f32v_load(k2 + j), v, t2);
            t3 = kx_f32v_fma(kx_f32v_load(k3 + j), v, t3);
        }
        float u[GROUP];
        kx_f32v_sum4(u, t0, t1, t2, t3);
        for (int r = 0; r < GROUP; r++) u[r] = s->a[i + r] / (u[r] > 1e-30f ? u[r] : 1e-30f);
        const kx_f32v u0 = kx_f32v_set(u[0]), u1 = kx_f32v_set(u[1]), u2 = kx_f32v_set(u[2]), u3 = kx_f32v_set(u[3]);
        for (int64_t j = 0; j < stride; j += KX_F32_LANES) {
            kx_f32v sum = kx_f32v_fma(kx_f32v_load(k0 + j), u0, kx_f32v_load(s->sums + j));
            sum = kx_f32v_fma(kx_f32v_load(k1 + j), u1, sum);
            sum = kx_f32v_fma(kx_f32v_load(k2 + j), u2, sum);
            kx_f32v_store(s->sums + j, kx_f32v_fma(kx_f32v_load(k3 + j), u3, sum));
        }
    }
    for (int64_t j = 0; j < stride; j++) s->v[j] = s->b[j] / (s->sums[j] > 1e-30f ? s->sums[j] : 1e-30f);
}

double KX_KERNEL(kx_transport_bound)(const double *costs, int64_t cost_stride, const double *a, const double *b, int64_t m,
                                     int64_t n, int sweeps, double reg_share, char *block, double **potentials_f,
                                     double **potentials_g) {
    kx_bound_scratch_t s = {0};
    lay_out(&s, m, n, block);
    const int64_t rows = round_up(m, GROUP), stride = round_up(n, 16);
    double excess = 0, total_a = 0, total_b = 0;
    for (int64_t i = 0; i < m; i++) {
        const double *c = costs + i * cost_stride;
        double least = c[0], sum = 0;
        for (int64_t j = 0; j < n; j++) {
            least = c[j] < least ? c[j] : least;
            sum += c[j];
        }
        s.f[i] = least;
        excess += sum / (double)n - least;
        total_a += a[i];
    }
    for (int64_t j = 0; j < n; j++) total_b += b[j];
    const double reg = reg_share * excess / (double)m;
    for (int64_t j = 0; j < n; j++) s.g[j] = 0;
    if (reg > 0 && reg <= DBL_MAX && sweeps > 0) {
        const double rate = -1 / reg;
        for (int64_t i = 0; i < rows; i++) {
            float *k = s.kernel + i * stride;
            s.a[i] = i < m ? (float)(a[i] / total_a) : 0;
            for (int64_t j = 0; j < stride; j++) {
                const double x = i < m && j < n ? (costs[i * cost_stride + j] - s.f[i]) * rate : -200;
                k[j] = (float)(x > -200 ? x : -200);
            }
            for (int64_t j = 0; j < stride; j += KX_F32_LANES) kx_f32v_store(k + j, kx_f32v_exp(kx_f32v_load(k + j)));
        }
        for (int64_t j = 0; j < stride; j++) {
            s.b[j] = j < n ? (float)(b[j] / total_b) : 0;
            s.v[j] = j < n ? 1.0f : 0.0f;
        }
        for (int k = 0; k < sweeps; k++) sweep(&s, rows, stride);
        for (int64_t j = 0; j < n; j++) s.v[j] = s.v[j] > 1e-30f ? s.v[j] : 1e-30f;
        for (int64_t j = 0; j < stride; j += KX_F32_LANES) kx_f32v_store(s.v + j, kx_f32v_log(kx_f32v_load(s.v + j)));
        for (int64_t j = 0; j < n; j++) s.g[j] = reg * (double)(s.v[j] < 1000.0f ? s.v[j] : 1000.0f);
    }
    for (int64_t i = 0; i < m; i++) {
        const double *c = costs + i * cost_stride;
        double least = INFINITY;
        for (int64_t j = 0; j < n; j++) {
            const double left = c[j] - s.g[j];
            least = left < least ? left : least;
        }
        s.f[i] = least;
    }
    for (int64_t j = 0; j < n; j++) s.g[j] = INFINITY;
    for (int64_t i = 0; i < m; i++) {
        const double *c = costs + i * cost_stride;
        const double f = s.f[i];
        for (int64_t j = 0; j < n; j++) {
            const double left = c[j] - f;
            s.g[j] = left < s.g[j] ? left : s.g[j];
        }
    }
    double value = 0;
    for (int64_t i = 0; i < m; i++) value += a[i] * s.f[i];
    for (int64_t j = 0; j < n; j++) value += b[j] * s.g[j];
    *potentials_f = s.f;
    *potentials_g = s.g;
    return value;
}
#endif
