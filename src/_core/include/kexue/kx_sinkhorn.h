/* kexue: entropic optimal transport between discrete measures (Sinkhorn's algorithm).

   min <P, M> + reg sum_ij P_ij log(P_ij / (a_i b_j)) over P >= 0 with row sums a and column sums b. The optimum is
   P_ij = a_i b_j exp((u_i + v_j - M_ij) / reg) for potentials u, v in the units of the cost, which are given so that sum a u = sum b v; the
   optimal value is sum a u + sum b v.

   Costs: finite numbers; +infinity forbids an arc. Weights: non-negative, of the same total within totals_tolerance (relative); NULL
   weights are uniform and sum to 1; points of weight 0 take no part, and get the potential that extends the others' (so do those whose weight is below 1e-150 of the
   largest, and their mass is not in the plan).

   A problem ends when the L1 norm of the error of its marginals is at most `tolerance` times the total, or after max_iter passes over the
   kernel, with the status KX_W_MAXITER and the error it reached. The plan's rows are exact, its columns are not (unless rounded).
   Cuturi, Sinkhorn distances, arXiv:1306.0895; Schmitzer, Stabilized sparse scaling, arXiv:1610.06519. */
#ifndef KX_SINKHORN_H
#define KX_SINKHORN_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kx_sinkhorn_method {
    KX_SINKHORN_AUTO,
    KX_SINKHORN_KERNEL,     /* one kernel; KX_E_OVERFLOW where its scalings leave the range of float64 */
    KX_SINKHORN_STABILIZED, /* scalings that grow are absorbed into the potentials, the kernel is made anew */
    KX_SINKHORN_LOG         /* no kernel: one exp for each entry and pass, O(m + n) memory */
} kx_sinkhorn_method_t;

typedef enum kx_sinkhorn_acceleration {
    KX_SINKHORN_ACCELERATION_AUTO,
    KX_SINKHORN_PLAIN,
    KX_SINKHORN_ANDERSON,
    KX_SINKHORN_OVERRELAXATION,
    KX_SINKHORN_NEWTON /* O(m n^2) a step; with a kernel, and up to 2048 columns: beyond, it is automatic */
} kx_sinkhorn_acceleration_t;

typedef struct kx_sinkhorn_options {
    double tolerance;        /* default 1e-9 */
    double totals_tolerance; /* default 1e-9 */
    int64_t max_iter;        /* default 10000 */
    int32_t method;          /* kx_sinkhorn_method_t */
    int32_t acceleration;    /* kx_sinkhorn_acceleration_t */
    int32_t epsilon_scaling; /* 0 never, 1 always, -1 (default) where it was measured to pay */
    int32_t memory;          /* of Anderson's acceleration, 1 to 20; 0 (default): 5 to 20 by the problem's size */
    int32_t round_plans;     /* move the plans onto the marginals (Altschuler, Weed and Rigollet, arXiv:1705.09634) */
} kx_sinkhorn_options_t;

/* The defaults above, both choices automatic. */
void kx_sinkhorn_options_init(kx_sinkhorn_options_t *options);

/* `count` problems. Without row_counts and column_counts all are m x n; with them (both or none) problem k is row_counts[k] x
   column_counts[k], and m and n are the largest. Problem k reads a + a_offsets[k] bytes and so on; NULL offsets: all read the first.
   Rows of M are row_stride bytes apart (row_strides[k] where given). With row_indices, a's entry i belongs to row row_indices[i] of M, where
   row_indices lies parallel to a (so in CSR); likewise columns. reg: one for each problem, or one for all (reg_offsets NULL).
   u, v: NULL, or potentials to start from, in the units of the cost (v is used where both are given). */
typedef struct kx_sinkhorn_problems {
    int64_t count, m, n;
    const int64_t *row_counts, *column_counts;
    const double *a, *b;
    const void *M;
    const double *reg;
    const double *u, *v;
    const int64_t *a_offsets, *b_offsets, *M_offsets, *reg_offsets, *u_offsets, *v_offsets;
    ptrdiff_t row_stride;
    const int64_t *row_strides;
    const int64_t *row_indices, *column_indices;
} kx_sinkhorn_problems_t;

/* What to write; NULL: not wanted. Contiguous, problem after problem; for problems of several sizes the offsets (in items) of each
   problem's u, v and plan, and for equal sizes they may be NULL. Plans are of M's precision. */
typedef struct kx_sinkhorn_outputs {
    double *costs;  /* <P, M>, of the rounded plan where plans are written and rounded */
    double *values; /* the optimal value with the entropic term */
    double *gaps;   /* the value of the plan as it is, before rounding, less the optimal value */
    double *errors; /* L1 error of the marginals over the total, of the same plan */
    double *u, *v;
    void *plans;
    const int64_t *u_offsets, *v_offsets, *plan_offsets;
    int64_t *iterations; /* passes over the kernel */
    int32_t *statuses;
} kx_sinkhorn_outputs_t;

/* Returns the failure of the first problem that fails (its index in *failed when failed is not NULL), else the largest warning.
   Memory beyond inputs and outputs, per worker: 8 m n bytes (none for KX_SINKHORN_LOG without weights of 0) and O(m + n). Few large
   problems share the workers, many are shared out to them; the result is the same to the bit. */
kx_status_t kx_transport_sinkhorn_f64(const kx_ctx_t *ctx, const kx_sinkhorn_problems_t *problems,
                                      const kx_sinkhorn_options_t *options, const kx_sinkhorn_outputs_t *outputs, int64_t *failed);
kx_status_t kx_transport_sinkhorn_f32(const kx_ctx_t *ctx, const kx_sinkhorn_problems_t *problems,
                                      const kx_sinkhorn_options_t *options, const kx_sinkhorn_outputs_t *outputs, int64_t *failed);

/* The cost between two points. */
typedef enum kx_cost {
    KX_COST_SQEUCLIDEAN, /* |x - y|^2 */
    KX_COST_EUCLIDEAN,   /* |x - y| */
    KX_COST_COSINE       /* 1 - x.y / (|x| |y|); no point may be 0 (KX_E_EMPTY) */
} kx_cost_t;

/* One problem between weighted points, x m x dimension and y n x dimension, contiguous; y NULL: between x and itself, with the weights a on
   both sides, by the symmetric iteration. */
typedef struct kx_sinkhorn_points {
    int64_t m, n, dimension;
    const double *x, *y;
    const double *a, *b;
    double reg;
    int32_t cost; /* kx_cost_t */
} kx_sinkhorn_points_t;

/* The optimal value (with the entropic term), error, number of passes and status of the problem; costs, gaps, plans and potentials are not
   written. Kernels of up to 2^24 entries are kept, costs are never: O((m + n) dimension) memory beyond. */
kx_status_t kx_transport_sinkhorn_points(const kx_ctx_t *ctx, const kx_sinkhorn_points_t *points, const kx_sinkhorn_options_t *options,
                                         const kx_sinkhorn_outputs_t *outputs);

/* The histogram p over n bins that minimises sum_k shares_k OT(histograms_k, p), OT being min <P, M> + reg sum P log P over the plans
   between them: `count` histograms over m bins of the same total 1 (count x m, contiguous), M m x n with contiguous rows row_stride bytes apart,
   finite, shares positive of sum 1. Iterative Bregman projections (Benamou et al., arXiv:1412.5154), accelerated. The error is
   sum_k shares_k |column sums of plan k - p| in the L1 norm. `options`: tolerance, max_iter, acceleration, epsilon_scaling, memory. */
kx_status_t kx_transport_barycenter(const kx_ctx_t *ctx, const double *histograms, const double *M, int64_t count, int64_t m, int64_t n,
                                    ptrdiff_t row_stride, const double *shares, double reg, const kx_sinkhorn_options_t *options,
                                    double *barycenter, double *error, int64_t *iterations);

#ifdef __cplusplus
}
#endif
#endif
