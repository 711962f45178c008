/* Steps longer than Sinkhorn's, and the guard that takes them back.

   Near the solution x -> x + r(x) is linear, and its matrix is self-adjoint in the inner product with weights b, with spectrum in [0, 1):
   Anderson's acceleration (doi:10.1137/10078356X) minimises the weighted residual over the last few differences, which is a
   truncated Krylov method. A step counts only if it gains at least a tenth of what the plain step is sure to gain on the dual
   objective, so the accelerated iteration converges wherever the plain one does. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/sinkhorn_internal.h"

static double dot_with_weights(const double *weights, const double *x, int64_t n) {
    kx_f64v sum = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j += KX_F64_LANES) sum = kx_f64v_fma(kx_f64v_load(weights + j), kx_f64v_load(x + j), sum);
    return kx_f64v_sum(sum);
}

/* sum weights (x - y), and the largest |x|. */
static double weighted_change(const double *weights, const double *x, const double *y, int64_t n, double *largest) {
    kx_f64v sum = kx_f64v_set(0), top = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j += KX_F64_LANES) {
        const kx_f64v xj = kx_f64v_load(x + j);
        sum = kx_f64v_fma(kx_f64v_load(weights + j), kx_f64v_sub(xj, kx_f64v_load(y + j)), sum);
        top = kx_f64v_max(kx_f64v_abs(xj), top);
    }
    const double lowest = -kx_f64v_reduce_min(kx_f64v_sub(kx_f64v_set(0), top));
    *largest = lowest > *largest ? lowest : *largest;
    return kx_f64v_sum(sum);
}

double KX_KERNEL(kx_sinkhorn_dual_change)(const kx_sinkhorn_state_t *state, const double *previous_x, const double *previous_phi,
                                          double *noise) {
    double largest = 1;
    const double change = weighted_change(state->b, state->x, previous_x, state->stride, &largest) +
                          weighted_change(state->a, state->phi, previous_phi, state->rows, &largest);
    *noise = 64 * DBL_EPSILON * largest;
    return change;
}

/* sum weights x y for x = each of `count` rows of n. Four at a time: the sum over the lanes is most of it for short rows. */
static void dots(const double *weights, const double *rows, int count, const double *y, int64_t n, double *sums) {
    for (int k = 0; k < count; k += 4) {
        const double *x[4];
        for (int i = 0; i < 4; i++) x[i] = rows + (k + i < count ? k + i : k) * n;
        kx_f64v sum0 = kx_f64v_set(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
        for (int64_t j = 0; j < n; j += KX_F64_LANES) {
            const kx_f64v weighted = kx_f64v_mul(kx_f64v_load(weights + j), kx_f64v_load(y + j));
            sum0 = kx_f64v_fma(kx_f64v_load(x[0] + j), weighted, sum0);
            sum1 = kx_f64v_fma(kx_f64v_load(x[1] + j), weighted, sum1);
            sum2 = kx_f64v_fma(kx_f64v_load(x[2] + j), weighted, sum2);
            sum3 = kx_f64v_fma(kx_f64v_load(x[3] + j), weighted, sum3);
        }
        double four[4];
        kx_f64v_sum4(four, sum0, sum1, sum2, sum3);
        for (int i = 0; i < 4 && k + i < count; i++) sums[k + i] = four[i];
    }
}

/* Solves the k x k system gram y = y in place, by elimination along the diagonal, with a ridge. Returns 0 where it is not positive. */
static int solve(const kx_sinkhorn_accelerator_t *accelerator, int k, double *y) {
    enum { WIDTH = (KX_SINKHORN_MEMORY + 1 + 7) / 8 * 8 };
    double system[KX_SINKHORN_MEMORY][WIDTH], trace = 0;
    const double *gram = accelerator->gram;
    for (int i = 0; i < k; i++) trace += gram[i * KX_SINKHORN_MEMORY + i];
    const double ridge = 1e-12 * trace / k;
    const int width = (k + 1 + KX_F64_LANES - 1) / KX_F64_LANES * KX_F64_LANES;
    for (int i = 0; i < k; i++) {
        for (int j = 0; j < width; j++) system[i][j] = j < k ? gram[i * KX_SINKHORN_MEMORY + j] : 0;
        system[i][i] += ridge;
        system[i][k] = y[i];
    }
    for (int i = 0; i < k; i++) {
        if (!(system[i][i] > 0)) return 0;
        const double inverse = 1 / system[i][i];
        for (int r = i + 1; r < k; r++) {
            const kx_f64v share = kx_f64v_set(-system[r][i] * inverse);
            for (int j = i / KX_F64_LANES * KX_F64_LANES; j < width; j += KX_F64_LANES)
                kx_f64v_store(&system[r][j], kx_f64v_fma(share, kx_f64v_load(&system[i][j]), kx_f64v_load(&system[r][j])));
        }
    }
    for (int i = k - 1; i >= 0; i--) {
        double sum = system[i][k];
        for (int j = i + 1; j < k; j++) sum -= system[i][j] * y[j];
        y[i] = sum / system[i][i];
    }
    return 1;
}

static void add_difference(kx_sinkhorn_accelerator_t *accelerator, const kx_sinkhorn_state_t *state) {
    const int64_t n = state->stride;
    const int at = accelerator->next;
    double *dx = accelerator->dx + at * n, *dr = accelerator->dr + at * n;
    for (int64_t j = 0; j < n; j += KX_F64_LANES) {
        kx_f64v_store(dx + j, kx_f64v_sub(kx_f64v_load(state->x + j), kx_f64v_load(accelerator->previous_x + j)));
        kx_f64v_store(dr + j, kx_f64v_sub(kx_f64v_load(state->r + j), kx_f64v_load(accelerator->previous_r + j)));
    }
    accelerator->next = (at + 1) % accelerator->memory;
    if (accelerator->count < accelerator->memory) accelerator->count++;
    double products[KX_SINKHORN_MEMORY];
    dots(state->b, accelerator->dr, accelerator->count, dr, n, products);
    for (int i = 0; i < accelerator->count; i++)
        accelerator->gram[i * KX_SINKHORN_MEMORY + at] = accelerator->gram[at * KX_SINKHORN_MEMORY + i] = products[i];
}

/* A constant added to x changes nothing, and extrapolation may add a large one, in which digits would drown. Returns the largest |x|,
   and the largest change from `from` in *moved. */
static double centre(kx_sinkhorn_state_t *state, const double *from, double *moved) {
    const kx_f64v mean = kx_f64v_set(dot_with_weights(state->b, state->x, state->stride)), zero = kx_f64v_set(0);
    kx_f64v lowest = zero, least = zero;
    for (int64_t j = 0; j < state->stride; j += KX_F64_LANES) {
        const kx_f64v x = kx_f64v_sub(kx_f64v_load(state->x + j), mean);
        least = kx_f64v_min(kx_f64v_sub(zero, kx_f64v_abs(kx_f64v_sub(x, kx_f64v_load(from + j)))), least);
        lowest = kx_f64v_min(kx_f64v_sub(zero, kx_f64v_abs(x)), lowest);
        kx_f64v_store(state->x + j, x);
    }
    for (int64_t j = state->n; j < state->stride; j++) state->x[j] = 0;
    *moved = -kx_f64v_reduce_min(least);
    return -kx_f64v_reduce_min(lowest);
}

static void step_plainly(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state) {
    for (int64_t j = 0; j < state->stride; j++) state->x[j] = accelerator->previous_x[j] + accelerator->previous_r[j];
    KX_KERNEL(kx_sinkhorn_accelerator_reset)(accelerator);
}

/* The next point, from the last accepted one, which is the state's. */
static void extrapolate(const kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state) {
    const int64_t n = state->stride;
    const int k = accelerator->count;
    double y[KX_SINKHORN_MEMORY];
    dots(state->b, accelerator->dr, k, state->r, n, y);
    const int mixed = k > 0 && solve(accelerator, k, y);
    for (int64_t j = 0; j < n; j += KX_F64_LANES) {
        kx_f64v x = kx_f64v_add(kx_f64v_load(state->x + j), kx_f64v_load(state->r + j));
        for (int i = 0; mixed && i < k; i++) {
            const kx_f64v step = kx_f64v_add(kx_f64v_load(accelerator->dx + i * n + j), kx_f64v_load(accelerator->dr + i * n + j));
            x = kx_f64v_fma(kx_f64v_set(-y[i]), step, x);
        }
        kx_f64v_store(state->x + j, x);
    }
}

/* Successive over-relaxation of both half steps by omega (Thibault et al., doi:10.3390/a14050143), with the rows eliminated:
   x + omega^2 r + (omega - 1)^2 (x - previous x). The best omega is 2 / (1 + sqrt(1 - rate)) for the rate of the plain iteration, which is measured over
   WINDOW steps, at first plain ones and then through Young's relation of the two rates. */
enum { WINDOW = 12 };

/* The longest step of an entry: what moves farther needs a new kernel, which costs as much as seven passes, and often another one to
   come back (1000 points in clusters, range / reg = 333: 136 passes in 17 ms, for 651 in 450). */
#define LEAP 100.0

static void relax(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state, int first) {
    const int64_t n = state->stride;
    if (first) accelerator->steps = 0;
    if (accelerator->steps == 0) accelerator->window_error = state->error;
    if (++accelerator->steps > WINDOW) {
        const double omega = accelerator->relaxation, lambda = pow(state->error / accelerator->window_error, 1.0 / WINDOW);
        double rate = -1;
        if (lambda > omega - 1 && lambda < 1) rate = (lambda + omega - 1) * (lambda + omega - 1) / (lambda * omega * omega);
        if (rate > 0 && rate < 1) accelerator->relaxation = 2 / (1 + sqrt(1 - rate));
        accelerator->steps = 0;
    }
    const double square = accelerator->relaxation * accelerator->relaxation;
    const double momentum = first ? 0 : (accelerator->relaxation - 1) * (accelerator->relaxation - 1);
    const kx_f64v squares = kx_f64v_set(square), momenta = kx_f64v_set(momentum);
    for (int64_t j = 0; j < n; j += KX_F64_LANES) {
        const kx_f64v x = kx_f64v_load(state->x + j), change = kx_f64v_sub(x, kx_f64v_load(accelerator->previous_x + j));
        kx_f64v_store(accelerator->previous_x + j, x);
        const kx_f64v step = kx_f64v_mul(squares, kx_f64v_load(state->r + j));
        kx_f64v_store(state->x + j, kx_f64v_add(x, momentum > 0 ? kx_f64v_fma(momenta, change, step) : step));
    }
}

void KX_KERNEL(kx_sinkhorn_accelerator_reset)(kx_sinkhorn_accelerator_t *accelerator) {
    accelerator->count = accelerator->next = accelerator->accepted = accelerator->steps = 0;
    accelerator->relaxation = 1;
}

void KX_KERNEL(kx_sinkhorn_record)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state) {
    const int64_t n = state->stride;
    double *dx = accelerator->dx + accelerator->next * n, *dr = accelerator->dr + accelerator->next * n;
    for (int64_t j = 0; j < n; j += KX_F64_LANES) {
        const kx_f64v x = kx_f64v_load(state->x + j), next = kx_f64v_log(kx_f64v_load(state->r + j));
        const kx_f64v r = kx_f64v_sub(kx_f64v_add(kx_f64v_load(state->x_absorbed + j), next), x);
        kx_f64v_store(dx + j, kx_f64v_sub(x, kx_f64v_load(accelerator->previous_x + j)));
        kx_f64v_store(dr + j, kx_f64v_sub(r, kx_f64v_load(accelerator->previous_r + j)));
        kx_f64v_store(accelerator->previous_x + j, x);
        kx_f64v_store(accelerator->previous_r + j, r);
        kx_f64v_store(state->x + j, kx_f64v_add(x, r));
    }
    if (accelerator->accepted) { /* else there is nothing to differ from */
        accelerator->next = (accelerator->next + 1) % accelerator->memory;
        if (accelerator->count < accelerator->memory) accelerator->count++;
    }
    accelerator->accepted = 1;
}

int KX_KERNEL(kx_sinkhorn_leap)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state) {
    const int64_t n = state->stride;
    const size_t bytes = (size_t)n * sizeof(double);
    double moved;
    for (int i = 0; i < accelerator->count; i++)
        dots(state->b, accelerator->dr, accelerator->count, accelerator->dr + i * n, n, accelerator->gram + i * KX_SINKHORN_MEMORY);
    memcpy(accelerator->previous_phi, state->phi, (size_t)state->rows * sizeof(double));
    accelerator->previous_error = state->error;
    memcpy(state->x, accelerator->previous_x, bytes);
    memcpy(state->r, accelerator->previous_r, bytes);
    extrapolate(accelerator, state);
    const double farthest = centre(state, accelerator->previous_x, &moved);
    if (farthest <= state->farthest && moved <= LEAP) return 1;
    step_plainly(accelerator, state);
    return 0;
}

int KX_KERNEL(kx_sinkhorn_has_lost)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state) {
    double noise, square;
    const double change = KX_KERNEL(kx_sinkhorn_dual_change)(state, accelerator->previous_x, accelerator->previous_phi, &noise);
    dots(state->b, accelerator->previous_r, 1, accelerator->previous_r, state->stride, &square);
    const double promised = accelerator->promise * square;
    /* In the noise the errors decide. */
    const int lost = promised > noise ? change < (promised < accelerator->promise ? promised : accelerator->promise)
                                      : change < -noise || state->error > 4 * accelerator->previous_error;
    if (!lost && change == change) return 0;
    step_plainly(accelerator, state);
    return 1;
}

int KX_KERNEL(kx_sinkhorn_accelerate)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state) {
    const int64_t n = state->stride;
    const size_t bytes = (size_t)n * sizeof(double);
    if (accelerator->accepted) {
        if (KX_KERNEL(kx_sinkhorn_has_lost)(accelerator, state)) return 0;
        if (accelerator->kind == KX_SINKHORN_ANDERSON) add_difference(accelerator, state);
    }
    const int first = !accelerator->accepted;
    memcpy(accelerator->previous_r, state->r, bytes);
    memcpy(accelerator->previous_phi, state->phi, (size_t)state->rows * sizeof(double));
    accelerator->previous_error = state->error;
    accelerator->accepted = 1;
    if (accelerator->kind == KX_SINKHORN_OVERRELAXATION && !state->symmetric) {
        relax(accelerator, state, first);
    } else {
        memcpy(accelerator->previous_x, state->x, bytes);
        extrapolate(accelerator, state);
    }
    /* Potentials differ by no more than the costs and the weights ask for; steps beyond come from residuals that hardly change. */
    double moved;
    const double farthest = centre(state, accelerator->previous_x, &moved);
    if (!(farthest <= state->farthest && moved <= LEAP)) step_plainly(accelerator, state);
    return 1;
}
#endif
