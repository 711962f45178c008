/* Newton's method on the columns' potentials, for problems on which first-order steps crawl.

   The dual objective as a function of x, the rows' potentials being the best for it, is concave; its gradient is b - c for the column sums
   c of the plan P, and minus its Hessian is S = diag(c) - P' diag(1/a) P, positive semidefinite with the constants in its kernel.
   Steps solve (S + damping diag(b)) d = b - c and are kept if the objective rises as it should; the damping, at 1 about a Sinkhorn step,
   falls after a good step and grows after a bad one. A step costs m n^2 / 2 + n^3 / 6 multiplications; near the solution
   the error is squared each time. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/sinkhorn_internal.h"

enum { TILE_ROWS = 4, TILE_VECTORS = 2, CHUNK = 64 };

size_t KX_KERNEL(kx_sinkhorn_newton_bytes)(int64_t stride) {
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, 2 * stride * stride, sizeof(double));
    kx_layout_add(&layout, CHUNK * stride, sizeof(double));
    kx_layout_add(&layout, 4 * stride, sizeof(double));
    return layout.overflow ? 0 : layout.bytes;
}

/* lower triangle of S, rows of `stride`; what lies above it is not read. */
static void add_products(double *S, const double *chunk, int64_t count, int64_t stride) {
    const int64_t width = TILE_VECTORS * KX_F64_LANES;
    for (int64_t j = 0; j < stride; j += TILE_ROWS)
        for (int64_t k = 0; k <= j + TILE_ROWS - 1; k += width) {
            kx_f64v sum[TILE_ROWS][TILE_VECTORS];
            const int two = k + width <= stride;
            for (int r = 0; r < TILE_ROWS; r++)
                for (int v = 0; v < TILE_VECTORS; v++) sum[r][v] = kx_f64v_set(0);
            for (int64_t i = 0; i < count; i++) {
                const double *row = chunk + i * stride;
                const kx_f64v first = kx_f64v_load(row + k), second = two ? kx_f64v_load(row + k + KX_F64_LANES) : first;
                for (int r = 0; r < TILE_ROWS; r++) {
                    const kx_f64v value = kx_f64v_set(row[j + r]);
                    sum[r][0] = kx_f64v_fma(value, first, sum[r][0]);
                    sum[r][1] = kx_f64v_fma(value, second, sum[r][1]);
                }
            }
            for (int r = 0; r < TILE_ROWS; r++)
                for (int v = 0; v < 1 + two; v++) {
                    double *to = S + (j + r) * stride + k + v * KX_F64_LANES;
                    kx_f64v_store(to, kx_f64v_sub(kx_f64v_load(to), sum[r][v]));
                }
        }
}

static int make_system(kx_sinkhorn_state_t *state, double *S, double *chunk) {
    const int64_t n = state->n, stride = state->stride;
    for (int64_t j = 0; j < stride; j++) memset(S + j * stride, 0, (size_t)stride * sizeof *S);
    for (int64_t begin = 0; begin < state->m; begin += CHUNK) {
        if (kx_ctx_should_stop(state->ctx, &state->next_poll)) return 0;
        const int64_t count = state->m - begin < CHUNK ? state->m - begin : CHUNK;
        for (int64_t i = 0; i < count; i++) {
            /* P_ij / sqrt(a_i) */
            const kx_f64v scale = kx_f64v_set(state->w[begin + i] / sqrt(state->a[begin + i]));
            const double *row = state->K + (begin + i) * stride;
            for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
                const kx_f64v mass = kx_f64v_mul(kx_f64v_load(row + j), kx_f64v_load(state->q + j));
                kx_f64v_store(chunk + i * stride + j, kx_f64v_mul(mass, scale));
            }
        }
        add_products(S, chunk, count, stride);
    }
    for (int64_t j = 0; j < n; j++) S[j * stride + j] += state->s[j] * state->q[j];
    for (int64_t j = n; j < stride; j++) S[j * stride + j] = 1;
    return 1;
}

/* The lower Cholesky factor of S + damping diag(b), with the reciprocals of its diagonal. */
static kx_newton_outcome_t factor(kx_sinkhorn_state_t *state, const double *S, double *L, double damping) {
    const double *b = state->b;
    const int64_t stride = state->stride;
    for (int64_t i = 0; i < stride; i += TILE_ROWS) {
        if (kx_ctx_should_stop(state->ctx, &state->next_poll)) return KX_NEWTON_CANCELLED;
        for (int r = 0; r < TILE_ROWS; r++) {
            memcpy(L + (i + r) * stride, S + (i + r) * stride, (size_t)(i + r + 1) * sizeof *L);
            memset(L + (i + r) * stride + i + r + 1, 0, (size_t)(stride - i - r - 1) * sizeof *L);
            L[(i + r) * stride + i + r] += damping * b[i + r];
        }
        double *rows = L + i * stride;
        for (int64_t j = 0; j < i + TILE_ROWS; j++) {
            const double *other = L + j * stride;
            kx_f64v sum[TILE_ROWS];
            for (int r = 0; r < TILE_ROWS; r++) sum[r] = kx_f64v_set(0);
            const int64_t whole = j / KX_F64_LANES * KX_F64_LANES;
            for (int64_t k = 0; k < whole; k += KX_F64_LANES) {
                const kx_f64v values = kx_f64v_load(other + k);
                for (int r = 0; r < TILE_ROWS; r++) sum[r] = kx_f64v_fma(values, kx_f64v_load(rows + r * stride + k), sum[r]);
            }
            double sums[TILE_ROWS];
            kx_f64v_sum4(sums, sum[0], sum[1], sum[2], sum[3]);
            for (int r = 0; r < TILE_ROWS; r++) {
                if (i + r < j) continue;
                double *row = rows + r * stride, left = row[j] - sums[r];
                for (int64_t k = whole; k < j; k++) left -= row[k] * other[k];
                if (i + r > j) row[j] = left * other[j];
                else if (left > 0) row[j] = 1 / sqrt(left);
                else return KX_NEWTON_REFUSED;
            }
        }
    }
    return KX_NEWTON_STEP;
}

static void substitute(const double *L, double *d, int64_t stride) {
    for (int64_t i = 0; i < stride; i++) {
        double sum = d[i];
        for (int64_t k = 0; k < i; k++) sum -= L[i * stride + k] * d[k];
        d[i] = sum * L[i * stride + i];
    }
    for (int64_t i = stride - 1; i >= 0; i--) {
        d[i] *= L[i * stride + i];
        for (int64_t k = 0; k < i; k++) d[k] -= L[i * stride + k] * d[i];
    }
}

kx_newton_outcome_t KX_KERNEL(kx_sinkhorn_newton_step)(kx_sinkhorn_state_t *state, char *memory, int keep, double damping,
                                                       double *promised) {
    const int64_t n = state->n, stride = state->stride;
    kx_layout_t layout = {0, 0};
    double *S = (double *)(memory + kx_layout_add(&layout, 2 * stride * stride, sizeof(double))), *L = S + stride * stride;
    double *chunk = (double *)(memory + kx_layout_add(&layout, CHUNK * stride, sizeof(double)));
    double *gradient = (double *)(memory + kx_layout_add(&layout, 4 * stride, sizeof(double)));
    double *d = gradient + stride, *x = d + stride;
    if (!keep) {
        if (!make_system(state, S, chunk)) return KX_NEWTON_CANCELLED;
        for (int64_t j = 0; j < stride; j++) {
            gradient[j] = j < n ? state->b[j] - state->s[j] * state->q[j] : 0;
            x[j] = state->x[j];
        }
    }
    const kx_newton_outcome_t factored = factor(state, S, L, damping);
    if (factored != KX_NEWTON_STEP) return factored;
    memcpy(d, gradient, (size_t)stride * sizeof *d);
    substitute(L, d, stride);
    double gain = 0, mean = 0;
    for (int64_t j = 0; j < n; j++) gain += gradient[j] * d[j], mean += state->b[j] * (x[j] + d[j]);
    int sound = 1;
    for (int64_t j = 0; j < n; j++) {
        state->x[j] = x[j] + d[j] - mean;
        sound &= fabs(state->x[j]) <= state->farthest;
    }
    *promised = gain;
    return sound && gain > 0 ? KX_NEWTON_STEP : KX_NEWTON_REFUSED;
}
#endif
