/* How the solution of an entropic problem is approached: which passes, which steps between them, and when to stop. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/sinkhorn_internal.h"

/* Newton's method takes two square matrices of this size at most. */
enum { NEWTON_COLUMNS = 2048, WINDOW = 10 };
/* Problems of fewer entries are small: a step of the acceleration takes as long as some passes. */
enum { LARGE = 8192, PERIOD = 4, SHORT_MEMORY = 4 };
/* Without lowering the regularisation step by step, potentials that are far away are reached at a constant speed, the error standing
   still. After as many passes with an error above this, the problem is one of these (mixtures 0.5 apart, range / reg = 100: 25
   passes for 70); otherwise it is solved sooner without (the plane at the same: 17 for 21). */
enum { TRIAL_PASSES = 12 };
#define TRIAL_ERROR 0.25
/* Scalings beyond it are absorbed into the potentials. */
#define LARGEST_SCALING 1e50
/* Where they never are: beyond it, entries that were made 0 would count. */
#define LARGEST_OF_ONE_KERNEL 1e100

/* The error of the columns, and b / s in r; 0 where a sum is too small to be trusted, or not a number. */
static int compare_columns(kx_sinkhorn_state_t *s) {
    kx_f64v error = kx_f64v_set(0), least = kx_f64v_set(INFINITY);
    for (int64_t j = 0; j < s->stride; j += KX_F64_LANES) {
        const kx_f64v sum = kx_f64v_load(s->s + j), b = kx_f64v_load(s->b + j);
        error = kx_f64v_add(error, kx_f64v_abs(kx_f64v_sub(kx_f64v_mul(sum, kx_f64v_load(s->q + j)), b)));
        least = kx_f64v_min(sum, least);
        kx_f64v_store(s->r + j, kx_f64v_div(b, sum));
    }
    s->error = kx_f64v_sum(error);
    return kx_f64v_reduce_min(least) >= KX_SINKHORN_LEAST_SUM && s->error <= DBL_MAX;
}

/* x from the scalings. */
void KX_KERNEL(kx_sinkhorn_read_scalings)(kx_sinkhorn_state_t *s) {
    for (int64_t j = 0; j < s->stride; j += KX_F64_LANES)
        kx_f64v_store(s->x + j, kx_f64v_add(kx_f64v_load(s->x_absorbed + j), kx_f64v_log(kx_f64v_load(s->q + j))));
}

/* The scalings from x; 0 where they are too large for the kernel as it is. */
static int make_scalings(kx_sinkhorn_state_t *s, double largest) {
    kx_f64v lowest = kx_f64v_set(0);
    for (int64_t j = 0; j < s->stride; j += KX_F64_LANES) {
        const kx_f64v change = kx_f64v_sub(kx_f64v_load(s->x + j), kx_f64v_load(s->x_absorbed + j));
        lowest = kx_f64v_min(kx_f64v_sub(kx_f64v_set(0), kx_f64v_abs(change)), lowest);
        kx_f64v_store(s->q + j, kx_f64v_exp(change));
    }
    return -kx_f64v_reduce_min(lowest) <= log(largest);
}

static int scalings_within(const kx_sinkhorn_state_t *s, const double *q, double largest) {
    int within = 1;
    for (int64_t j = 0; j < s->stride; j += KX_F64_LANES)
        within &= kx_f64v_all_between(kx_f64v_load(q + j), 1 / largest, largest);
    return within;
}

/* After a pass through the costs whose sums cannot all be had by adding: the step from their logarithms. */
static kx_status_t step_from_logarithms(kx_sinkhorn_state_t *s) {
    double *log_shares = s->phi; /* free between passes */
    for (int64_t i = 0; i < s->m; i++) log_shares[i] = log(s->w[i]) - s->row_top[i];
    for (int64_t j = 0; j < s->n; j++) {
        if (kx_ctx_should_stop(s->ctx, &s->next_poll)) return KX_E_CANCELLED;
        const double sum = s->s[j];
        const double log_sum =
            sum >= KX_SINKHORN_LEAST_SUM ? log(sum) : KX_KERNEL(kx_sinkhorn_column_log_sum)(s, log_shares, j);
        if (!(log_sum > -INFINITY)) return KX_E_INFEASIBLE;
        s->x[j] += s->log_b[j] - log_sum;
    }
    return KX_OK;
}

/* A pass at x, through the kernel as it is where q belongs to x and to it, else through the costs. Where the sums do not come out, the
   pass is made again through the costs, and a step is taken from their logarithms until they do. */
static kx_status_t evaluate(kx_sinkhorn_state_t *s, const kx_sinkhorn_options_t *options, int absorb, int q_is_ahead,
                            int64_t *iterations) {
    for (int64_t attempt = 0;; attempt++) {
        const int absorbed = absorb || !s->K;
        kx_status_t status = absorbed ? KX_KERNEL(kx_sinkhorn_absorb)(s) : KX_KERNEL(kx_sinkhorn_pass)(s);
        if (status != KX_OK) return status;
        ++*iterations;
        if (compare_columns(s)) return KX_OK;
        if (options->method == KX_SINKHORN_KERNEL) return KX_E_OVERFLOW;
        if (attempt > 64) return KX_E_OVERFLOW; /* as of weights over hundreds of decades */
        if (!absorbed && q_is_ahead) KX_KERNEL(kx_sinkhorn_read_scalings)(s);
        if (absorbed) {
            status = step_from_logarithms(s);
            if (status != KX_OK) return status;
        }
        absorb = 1;
    }
}

/* r = log(b / (s q)) from b / s. */
static void take_logarithms(kx_sinkhorn_state_t *s) {
    for (int64_t j = 0; j < s->stride; j += KX_F64_LANES) {
        const kx_f64v ratio = kx_f64v_div(kx_f64v_load(s->r + j), kx_f64v_load(s->q + j));
        kx_f64v_store(s->r + j, kx_f64v_log(ratio));
    }
}

/* r of the symmetric iteration: to the mean of x and the rows' potentials, which at the solution are x (up to a constant, which is left
   out). Feydy et al., arXiv:1810.08278, section 3.1. */
static void step_symmetrically(kx_sinkhorn_state_t *s) {
    double mean = 0;
    for (int64_t j = 0; j < s->n; j++) mean += s->b[j] * (s->phi[j] - s->x[j]);
    for (int64_t j = 0; j < s->stride; j++) s->r[j] = j < s->n ? (s->phi[j] - s->x[j] - mean) / 2 : 0;
}

static void set_up_accelerator(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_options_t *options, int kind) {
    kx_sinkhorn_state_t *s = &arena->state;
    kx_sinkhorn_accelerator_t *accelerator = &arena->accelerator;
    const int64_t size = s->m * s->n;
    accelerator->kind = kind;
    accelerator->memory = options->memory;
    /* Sinkhorn's step gains half of the residual's square, to second order; a tenth of that is asked for. */
    accelerator->promise = s->symmetric ? 0 : 0.05;
    /* In small problems the step is dearer than the pass: 30 x 30 takes 0.3 us with four differences, 0.45 with ten. In large ones it is
       not to be seen: 600 x 600 in clusters, range / reg = 1000, takes 130 to 177 passes with twenty, 245 to 382 with ten. */
    if (!options->memory) {
        accelerator->memory = size < LARGE ? SHORT_MEMORY : KX_SINKHORN_USUAL_MEMORY;
        if (size >= 8 * LARGE) accelerator->memory = KX_SINKHORN_MEMORY;
    }
    /* The differences span no more than this, and more of them than that are dependent. */
    if (accelerator->memory > s->m) accelerator->memory = (int)s->m;
    if (accelerator->memory > s->n) accelerator->memory = (int)s->n;
    KX_KERNEL(kx_sinkhorn_accelerator_reset)(accelerator);
}

/* First-order passes until the error is at most `tolerance` (KX_OK), *iterations reaches `limit` (KX_W_MAXITER), or the fall of the error
   promises more than `patience` passes to come (KX_W_MAXITER; 0: never). Where `stuck` is given, it is set after TRIAL_PASSES that have
   hardly moved the error, and that is the end. At the end the state is that of the last pass. */
static kx_status_t iterate(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_options_t *options, double tolerance, int64_t limit,
                           int64_t patience, int *stuck, int64_t *iterations) {
    kx_sinkhorn_state_t *s = &arena->state;
    kx_sinkhorn_accelerator_t *accelerator = &arena->accelerator;
    const int automatic = options->acceleration == KX_SINKHORN_ACCELERATION_AUTO || options->acceleration == KX_SINKHORN_NEWTON;
    const int one_kernel = options->method == KX_SINKHORN_KERNEL;
    const double largest = one_kernel ? LARGEST_OF_ONE_KERNEL : LARGEST_SCALING;
    const int64_t size = s->m * s->n, polls = 1 + 65536 / size;
    const int plain = !s->symmetric && options->acceleration == KX_SINKHORN_PLAIN;
    int absorb = 1, slow_windows = 0;
    int64_t next_look = WINDOW;
    double window_error = 0;
    set_up_accelerator(arena, options, automatic ? KX_SINKHORN_ANDERSON : options->acceleration);
    for (int64_t passes = 1;; passes++) {
        if (passes % polls == 0 && kx_ctx_should_stop(s->ctx, &s->next_poll)) return KX_E_CANCELLED;
        const kx_status_t status = evaluate(s, options, absorb, plain, iterations);
        if (status != KX_OK) return status;
        absorb = 0;
        if (s->error <= tolerance) return KX_OK;
        if (stuck && passes == TRIAL_PASSES && s->error > TRIAL_ERROR) {
            *stuck = 1;
            return KX_W_MAXITER;
        }
        if (plain) {
            if (*iterations >= limit) return KX_W_MAXITER;
            double *next = s->r;
            s->r = s->q;
            s->q = next;
            if (!s->K || !scalings_within(s, s->q, largest)) {
                if (one_kernel) return KX_E_OVERFLOW;
                KX_KERNEL(kx_sinkhorn_read_scalings)(s);
                absorb = 1;
            }
            continue;
        }
        KX_KERNEL(kx_sinkhorn_row_potentials)(s);
        if (s->symmetric) step_symmetrically(s);
        else take_logarithms(s);
        const int accepted = KX_KERNEL(kx_sinkhorn_accelerate)(accelerator, s);
        if (*iterations >= limit && accepted) return KX_W_MAXITER;
        if (patience && accepted && passes >= next_look) {
            const double fall = log(window_error / s->error) / WINDOW; /* a pass */
            /* Anderson's errors fall in leaps; the dearer a Newton step, the more looks in a row must agree. */
            const double to_come = (double)(patience + patience * s->n / 128);
            slow_windows = window_error > 0 && log(s->error / tolerance) > fall * to_come ? slow_windows + 1 : 0;
            if (slow_windows > s->n / 64) return KX_W_MAXITER;
            window_error = s->error;
            next_look = passes + WINDOW;
        }
        if (s->K && !make_scalings(s, largest)) {
            if (one_kernel) return KX_E_OVERFLOW;
            absorb = 1;
        }
    }
}

/* The same for small problems, where a step of the acceleration takes as long as some passes: plain steps, and a leap after every PERIOD
   of them from the differences they have left (Banerjee et al., periodic Pulay mixing, doi:10.1016/j.cplett.2016.01.033). */
static kx_status_t iterate_periodically(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_options_t *options, double tolerance,
                                        int64_t limit, int64_t patience, int *stuck, int64_t *iterations) {
    kx_sinkhorn_state_t *s = &arena->state;
    kx_sinkhorn_accelerator_t *accelerator = &arena->accelerator;
    const int64_t polls = 1 + 65536 / (s->m * s->n);
    int absorb = 1, leapt = 0, plain_steps = 0, slow_windows = 0;
    int64_t next_look = WINDOW;
    double window_error = 0;
    set_up_accelerator(arena, options, KX_SINKHORN_ANDERSON);
    for (int64_t passes = 1;; passes++) {
        if (passes % polls == 0 && kx_ctx_should_stop(s->ctx, &s->next_poll)) return KX_E_CANCELLED;
        const kx_status_t status = evaluate(s, options, absorb, 0, iterations);
        if (status != KX_OK) return status;
        absorb = 0;
        if (s->error <= tolerance) return KX_OK;
        if (leapt) {
            leapt = 0;
            KX_KERNEL(kx_sinkhorn_row_potentials)(s);
            if (KX_KERNEL(kx_sinkhorn_has_lost)(accelerator, s)) {
                absorb = !make_scalings(s, LARGEST_SCALING);
                continue;
            }
        }
        if (stuck && passes >= TRIAL_PASSES) {
            *stuck = s->error > TRIAL_ERROR;
            if (*stuck) return KX_W_MAXITER;
            stuck = NULL;
        }
        if (*iterations >= limit) return KX_W_MAXITER;
        if (patience && passes >= next_look) {
            const double fall = log(window_error / s->error) / WINDOW; /* a pass */
            slow_windows = window_error > 0 && log(s->error / tolerance) > fall * (double)patience ? slow_windows + 1 : 0;
            if (slow_windows == 3) return KX_W_MAXITER; /* one look too early: 17.6 us for 12.8, 30 x 30 at range / reg = 100 */
            window_error = s->error;
            next_look = passes + WINDOW;
        }
        KX_KERNEL(kx_sinkhorn_record)(accelerator, s);
        if (++plain_steps >= PERIOD && accelerator->count > 1) {
            plain_steps = 0;
            KX_KERNEL(kx_sinkhorn_row_potentials)(s);
            leapt = KX_KERNEL(kx_sinkhorn_leap)(accelerator, s);
            absorb = !make_scalings(s, LARGEST_SCALING);
        } else {
            double *next = s->r;
            s->r = s->q;
            s->q = next;
            absorb = !scalings_within(s, s->q, LARGEST_SCALING);
        }
    }
}

/* The same with Newton's method; KX_W_MAXITER also where it gets no further, as in the noise. */
static kx_status_t iterate_newton(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_options_t *options, double tolerance, int64_t limit,
                                  int64_t *iterations) {
    kx_sinkhorn_state_t *s = &arena->state;
    double *previous_x = arena->accelerator.previous_x, *previous_phi = arena->accelerator.previous_phi;
    double damping = 1e-3, promised, noise, previous_error;
    if (!arena->newton) {
        const int64_t widest = arena->largest_n < NEWTON_COLUMNS ? arena->largest_n : NEWTON_COLUMNS;
        const int64_t stride = kx_round_up(widest, KX_SINKHORN_ROUND);
        arena->newton = (char *)kx_allocate(s->ctx, KX_KERNEL(kx_sinkhorn_newton_bytes)(stride));
        if (!arena->newton) return KX_E_MEMORY;
    }
    KX_KERNEL(kx_sinkhorn_read_scalings)(s);
    KX_KERNEL(kx_sinkhorn_row_potentials)(s);
    while (s->error > tolerance) {
        memcpy(previous_x, s->x, (size_t)s->stride * sizeof(double));
        memcpy(previous_phi, s->phi, (size_t)s->rows * sizeof(double));
        previous_error = s->error;
        for (int keep = 0;; keep = 1, damping *= 16) {
            if (kx_ctx_should_stop(s->ctx, &s->next_poll)) return KX_E_CANCELLED;
            const int last = damping > 1e6 || *iterations >= limit;
            if (last) {
                memcpy(s->x, previous_x, (size_t)s->stride * sizeof(double));
            } else {
                const kx_newton_outcome_t outcome =
                    KX_KERNEL(kx_sinkhorn_newton_step)(s, arena->newton, keep, damping, &promised);
                if (outcome == KX_NEWTON_CANCELLED) return KX_E_CANCELLED;
                if (outcome == KX_NEWTON_REFUSED) continue;
            }
            const int absorb = !make_scalings(s, LARGEST_SCALING);
            const kx_status_t status = evaluate(s, options, absorb, 0, iterations);
            if (status != KX_OK) return status;
            KX_KERNEL(kx_sinkhorn_row_potentials)(s);
            if (last) return KX_W_MAXITER;
            const double change = KX_KERNEL(kx_sinkhorn_dual_change)(s, previous_x, previous_phi, &noise);
            if (promised > noise ? change >= 0.1 * promised : change >= -noise && s->error < previous_error) break;
        }
        damping = damping / 16 > 1e-12 ? damping / 16 : 1e-12;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_sinkhorn_solve)(kx_sinkhorn_arena_t *arena, double final_reg, int warm,
                                          const kx_sinkhorn_options_t *options, int64_t *iterations) {
    kx_sinkhorn_state_t *s = &arena->state;
    *iterations = 0;
    const int far = s->range > KX_SINKHORN_SCALING_FROM * final_reg && options->method != KX_SINKHORN_KERNEL && !warm;
    int scaled = options->epsilon_scaling > 0 && !warm, stuck = 0;
    int on_trial = options->epsilon_scaling < 0 && far;
    if (on_trial && s->range > KX_SINKHORN_SCALING_ALWAYS * final_reg) scaled = 1, on_trial = 0;
    double reg = final_reg;
    while (scaled && reg < s->range / KX_SINKHORN_SCALING_FIRST) reg *= KX_SINKHORN_SCALING_FACTOR;
    for (;;) {
        const int last = reg <= final_reg;
        const double tolerance = last ? options->tolerance : 1e-2;
        s->rate = 1 / (last ? final_reg : reg);
        s->farthest = 2 * s->range * s->rate + 1000;
        /* First-order passes for as long as a few Newton steps take, then these. */
        const int able = s->K && options->method != KX_SINKHORN_KERNEL && s->n <= NEWTON_COLUMNS;
        const int automatic = options->acceleration == KX_SINKHORN_ACCELERATION_AUTO;
        const int newton = able && (automatic || options->acceleration == KX_SINKHORN_NEWTON);
        int64_t limit = options->max_iter, patience = 0;
        if (newton && options->acceleration == KX_SINKHORN_NEWTON) limit = *iterations + 5;
        else if (newton) patience = 40 + 3 * s->n / 2, limit = *iterations + patience;
        if (limit > options->max_iter) limit = options->max_iter;
        const int small = automatic && s->K && !s->symmetric && s->m * s->n < LARGE && options->method != KX_SINKHORN_KERNEL;
        kx_status_t status = (small ? iterate_periodically : iterate)(arena, options, tolerance, limit, patience,
                                                                      on_trial ? &stuck : NULL, iterations);
        if (stuck) {
            stuck = on_trial = 0;
            memset(s->x, 0, (size_t)s->stride * sizeof(double));
            while (reg < s->range / KX_SINKHORN_SCALING_FIRST) reg *= KX_SINKHORN_SCALING_FACTOR;
            continue;
        }
        if (status == KX_W_MAXITER && newton && *iterations < options->max_iter)
            status = iterate_newton(arena, options, tolerance, options->max_iter, iterations);
        if (status == KX_W_MAXITER && last && newton && *iterations < options->max_iter) {
            KX_KERNEL(kx_sinkhorn_read_scalings)(s);
            status = iterate(arena, options, tolerance, options->max_iter, 0, NULL, iterations);
        }
        if (status < KX_OK || last) return status;
        KX_KERNEL(kx_sinkhorn_read_scalings)(s);
        const double next = *iterations < options->max_iter ? reg / KX_SINKHORN_SCALING_FACTOR : final_reg;
        for (int64_t j = 0; j < s->n; j++) s->x[j] *= reg / next;
        reg = next;
    }
}

#endif
