/* What the files of entropic transport share. Not public.

   Everything is in units of reg: x_j = v_j / reg are the columns' potentials, phi_i = u_i / reg the rows'. A pass at x makes the rows
   exact, phi_i = -log sum_j b_j exp(x_j - M_ij / reg), and gives the columns' sums, in one reading of the kernel. Sinkhorn's
   next x is x + r with r_j = log b_j - log(column sum j). At (phi, x) the dual objective is a.phi + b.x, the rows being exact. */
#ifndef KX_SINKHORN_INTERNAL_H
#define KX_SINKHORN_INTERNAL_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "isa/kernel.h"
#include "kexue/kx_sinkhorn.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

enum {
    KX_SINKHORN_GROUP = 4,      /* rows whose sums are taken together */
    KX_SINKHORN_ROUND = KX_F64_LANES > KX_SINKHORN_GROUP ? KX_F64_LANES : KX_SINKHORN_GROUP, /* of rows and columns */
    KX_SINKHORN_USUAL_MEMORY = 10,
    KX_SINKHORN_MEMORY = 20,    /* the longest memory of Anderson's acceleration */
    KX_SINKHORN_BLOCK = 262144, /* entries of the kernel, at least, whose column sums are kept apart so that they may run at one time */
    KX_SINKHORN_BLOCKS = 32,    /* such blocks at most: their sums are O(n) memory */
};

/* Where the costs range over more than this many times reg, the regularisation may be lowered to it step by step, by the factor, from the
   first level whose range is at most KX_SINKHORN_SCALING_FIRST; beyond the second bound it always is. */
#define KX_SINKHORN_SCALING_FROM 80.0
#define KX_SINKHORN_SCALING_ALWAYS 500.0
enum { KX_SINKHORN_SCALING_FIRST = 50, KX_SINKHORN_SCALING_FACTOR = 4 };
/* exp of less than this is made 0: what it would add to a row is below 1e-277 of it, and subnormal numbers are slow. */
#define KX_SINKHORN_FLOOR (-640.0)
/* Column sums below it may be short of flushed entries, and are computed anew from the logarithms. */
#define KX_SINKHORN_LEAST_SUM 1e-255
/* Weights that are a smaller share of the largest take no part in the iteration; they get the potentials that extend the others'. */
#define KX_SINKHORN_LEAST_WEIGHT 1e-150

typedef struct kx_sinkhorn_state {
    const kx_ctx_t *ctx;
    int64_t next_poll;    /* of kx_ctx_should_stop; kept from problem to problem, each of which may be over before it is due */
    int64_t m, n;         /* rows and columns that take part */
    int64_t rows, stride; /* rounded up; beyond m and n: a = 0, K = 1; b = 1, q = 1, K = 0, s = 1 */
    int64_t block_rows, blocks;
    const void *M;        /* NULL: the costs are those of points */
    ptrdiff_t row_stride; /* bytes */
    int is_f32;
    const double *x_points, *y_points; /* m x dimension; dimension x stride */
    int64_t dimension;
    double cost_factor;   /* of the squared distance */
    int take_root;
    int symmetric;        /* the same points and weights on both sides */
    double *generated;    /* KX_SINKHORN_GROUP rows of costs a worker */
    double offset, rate;  /* an entry's exponent is (offset - M) rate */
    double range;         /* of the finite costs */
    int has_forbidden;
    double common_top;    /* an upper bound of all exponents that all rows use, or NaN */
    int making;           /* the pass that runs makes the kernel */
    double farthest;      /* no |x| of mean 0 is beyond it */
    double *K;            /* rows x stride, or NULL: the log domain */
    double *scratch;      /* KX_SINKHORN_GROUP rows a worker */
    double *a, *b, *log_b;
    double *x, *x_absorbed, *q, *s, *r; /* stride each; q = exp(x - x_absorbed) */
    double *t, *w, *row_top, *phi;      /* rows each; w = a / t, phi = -row_top - log t */
    double *partial;                    /* blocks x stride */
    double *z;                          /* x + log b, of an absorbing pass */
    double error;                       /* L1, of the columns at (phi, x) */
} kx_sinkhorn_state_t;

/* One pass at x through the stored kernel: t, w, s from q. */
kx_status_t KX_KERNEL(kx_sinkhorn_pass)(kx_sinkhorn_state_t *state);
/* One pass at x through the costs: makes the kernel anew where there is room for it, with q = 1. */
kx_status_t KX_KERNEL(kx_sinkhorn_absorb)(kx_sinkhorn_state_t *state);
/* log of the sum of column j, from the costs; log_shares[i] = log w_i - row_top_i. */
double KX_KERNEL(kx_sinkhorn_column_log_sum)(const kx_sinkhorn_state_t *state, const double *log_shares, int64_t j);
/* phi from t. */
void KX_KERNEL(kx_sinkhorn_row_potentials)(kx_sinkhorn_state_t *state);

/* The plan at (phi, x) and its cost. */
typedef struct kx_sinkhorn_forming {
    const kx_sinkhorn_state_t *state;
    void *plan; /* NULL: the cost alone */
    int plan_is_f32, wants_cost;
    int64_t plan_columns;
    const int64_t *row_index, *column_index; /* where the state's rows and columns are in the plan; NULL: the same */
    double *block_costs;                     /* one a block */
} kx_sinkhorn_forming_t;
kx_status_t KX_KERNEL(kx_sinkhorn_form)(const kx_sinkhorn_forming_t *forming, double *cost);

/* ---- acceleration ---- */

typedef struct kx_sinkhorn_accelerator {
    int kind, memory; /* kx_sinkhorn_acceleration_t, resolved */
    int count;        /* differences held */
    int next;         /* where the next one goes */
    int accepted;     /* previous_* hold the last accepted point */
    double *previous_x, *previous_r, *previous_phi;
    double *dx, *dr;  /* memory x stride */
    double gram[KX_SINKHORN_MEMORY * KX_SINKHORN_MEMORY];
    double promise; /* share of the squared residual by which a step must raise the dual objective */
    double previous_error;
    double relaxation, window_error; /* error at the start of the window over which the rate is measured */
    int steps;                       /* of the window */
} kx_sinkhorn_accelerator_t;

void KX_KERNEL(kx_sinkhorn_accelerator_reset)(kx_sinkhorn_accelerator_t *accelerator);
/* Looks at the pass that was just made at x, whose residual is r and rows' potentials are phi. Returns 0 where the dual objective
   has fallen, and x becomes the plain step from the last accepted point; else 1, and x becomes the next point. */
int KX_KERNEL(kx_sinkhorn_accelerate)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state);

/* The same in parts, for leaps that are taken now and then between plain steps: record a pass whose b / s is in r and make x the plain step
   from it; make x the leap from the last recorded pass, whose rows' potentials are phi (0: it is the plain step, the leap being too
   long); and whether the leap has lost, x being the plain step in its place then. */
void KX_KERNEL(kx_sinkhorn_record)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state);
int KX_KERNEL(kx_sinkhorn_leap)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state);
int KX_KERNEL(kx_sinkhorn_has_lost)(kx_sinkhorn_accelerator_t *accelerator, kx_sinkhorn_state_t *state);

/* How far the dual objective has risen from (previous_phi, previous_x) to the state's point; *noise is what rounding makes of 0. */
double KX_KERNEL(kx_sinkhorn_dual_change)(const kx_sinkhorn_state_t *state, const double *previous_x, const double *previous_phi,
                                          double *noise);

/* ---- Newton's method ---- */

size_t KX_KERNEL(kx_sinkhorn_newton_bytes)(int64_t stride);
typedef enum kx_newton_outcome { KX_NEWTON_STEP, KX_NEWTON_REFUSED, KX_NEWTON_CANCELLED } kx_newton_outcome_t;
/* Sets x to a damped Newton step from the point of the last pass or, with `keep`, of the step before (with another damping). Refused: the
   step cannot be taken. `promised` receives the rise of the dual objective to first order. */
kx_newton_outcome_t KX_KERNEL(kx_sinkhorn_newton_step)(kx_sinkhorn_state_t *state, char *memory, int keep, double damping,
                                                       double *promised);

/* The cost of entry (i, j). */
static inline double kx_sinkhorn_cost(const kx_sinkhorn_state_t *state, int64_t i, int64_t j) {
    if (!state->M) {
        double square = 0;
        for (int64_t k = 0; k < state->dimension; k++) {
            const double difference = state->y_points[k * state->stride + j] - state->x_points[i * state->dimension + k];
            square += difference * difference;
        }
        square *= state->cost_factor;
        return state->take_root ? sqrt(square) : square;
    }
    const char *row = (const char *)state->M + i * state->row_stride;
    return state->is_f32 ? (double)((const float *)row)[j] : ((const double *)row)[j];
}

/* ---- one worker's memory ---- */

typedef struct kx_sinkhorn_arena {
    char *block;
    kx_sinkhorn_state_t state;
    kx_sinkhorn_accelerator_t accelerator;
    double *full_a, *full_b;           /* normalised weights of all rows and columns */
    int64_t *row_index, *column_index; /* of M, of those that take part */
    int64_t *row_place, *column_place; /* the same in a and b */
    double *full_u, *full_v, *block_costs;
    double *compact; /* a copy of the costs that take part, where not all do; a block of its own */
    char *newton;    /* what Newton's method works in; its own block */
    int64_t largest_n, largest_size; /* that the block was cut for */
    double total;
} kx_sinkhorn_arena_t;

static inline int64_t kx_sinkhorn_kernel_size(int64_t m, int64_t n) {
    const int64_t rows = kx_round_up(m, KX_SINKHORN_ROUND), stride = kx_round_up(n, KX_SINKHORN_ROUND);
    return stride > INT64_MAX / 64 / rows ? 0 : rows * stride;
}

static inline int kx_sinkhorn_options_sound(const kx_sinkhorn_options_t *options) {
    return options->tolerance >= 0 && options->max_iter >= 1 && options->memory >= 0 && options->memory <= KX_SINKHORN_MEMORY &&
           options->method >= KX_SINKHORN_AUTO && options->method <= KX_SINKHORN_LOG &&
           options->acceleration >= KX_SINKHORN_ACCELERATION_AUTO && options->acceleration <= KX_SINKHORN_NEWTON &&
           options->epsilon_scaling >= -1 && options->epsilon_scaling <= 1;
}

/* Cuts a block for problems of up to m rows and n columns with kernels of up to `size` entries (kx_sinkhorn_kernel_size; 0: too many);
   NULL: only measures it. 0: too large. */
size_t KX_KERNEL(kx_sinkhorn_arena_cut)(kx_sinkhorn_arena_t *arena, int64_t m, int64_t n, int64_t size, int64_t workers,
                                        const kx_sinkhorn_options_t *options, char *block);
/* Releases what a solve allocated beside the block: compact and newton. */
void KX_KERNEL(kx_sinkhorn_arena_release)(const kx_ctx_t *ctx, kx_sinkhorn_arena_t *arena);
/* The state's block structure, from m and n. */
void KX_KERNEL(kx_sinkhorn_set_sizes)(kx_sinkhorn_state_t *state, int64_t m, int64_t n);
/* Normalised weights, and which of them take part (their number in *taken). */
kx_status_t KX_KERNEL(kx_sinkhorn_take_weights)(const double *weights, int64_t n, double *copy, int64_t *place, int64_t *taken,
                                                double *total);
/* The state's weights, from those of all rows and columns and the places of the ones that take part; t, w and x are reset. */
void KX_KERNEL(kx_sinkhorn_set_weights)(kx_sinkhorn_arena_t *arena);

/* Iterates from the state's x until the error is small enough, or KX_W_MAXITER. The state is that of the last pass. */
kx_status_t KX_KERNEL(kx_sinkhorn_solve)(kx_sinkhorn_arena_t *arena, double reg, int warm, const kx_sinkhorn_options_t *options,
                                         int64_t *iterations);
/* The cost of the entropic plan of one problem of dense costs. */
kx_status_t KX_KERNEL(kx_sinkhorn_solve_cost)(kx_sinkhorn_arena_t *arena, const double *a, const double *b, const double *costs,
                                              int64_t m, int64_t n, double reg, const kx_sinkhorn_options_t *options, double *cost);
/* x of the last pass, from its scalings. */
void KX_KERNEL(kx_sinkhorn_read_scalings)(kx_sinkhorn_state_t *state);

#endif
