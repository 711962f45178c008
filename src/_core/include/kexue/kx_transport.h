/* kexue: exact optimal transport between discrete measures.

   min <P, M> over P >= 0 with row sums a and column sums b (the earth mover's distance). With potentials u, v that satisfy
   u_i + v_j <= M_ij, every feasible plan costs at least sum a u + sum b v; at the optimum both are equal. `gap`
   in the result is the difference that is left, so it certifies the answer.

   Costs: any finite numbers, negative ones included; +infinity forbids an arc. Weights: non-negative, same total within
   totals_tolerance (relative); b is then rescaled to the total of a. NULL weights are uniform and sum to 1. Zero
   weights are allowed; so are m = 1 or n = 1.

   Method: primal network simplex with perturbed int64 flows (transport_small.c, transport_large.c); shortest augmenting paths for
   small uniform square problems (transport_assignment.c). Worst case exponential in theory; about
   O(m n sqrt(m + n)) in practice.  Peyre & Cuturi, Computational Optimal Transport, doi 10.1561/2200000073, chapter 3. */
#ifndef KX_TRANSPORT_H
#define KX_TRANSPORT_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kx_emd_options {
    double totals_tolerance; /* relative difference of the two totals that is accepted; default 1e-9 */
    int64_t max_iter;        /* pivots (or augmenting steps); 0: no limit that a sound problem reaches */
} kx_emd_options_t;

/* The defaults above, no limit. */
void kx_emd_options_init(kx_emd_options_t *options);

typedef struct kx_emd_result {
    double cost;          /* <P, M> */
    double gap;           /* cost - (sum a u + sum b v) */
    int64_t iterations;   /* pivots */
    kx_status_t status;   /* how the solve ended */
} kx_emd_result_t;

/* What to write; NULL: not wanted. All contiguous, one problem after the other. The sparse plan of a problem has at most
   m + n - 1 entries, sorted by row and then column, in slots of m + n - 1; entry_counts receives their number. */
typedef struct kx_emd_outputs {
    double *costs;   /* count */
    double *plans;   /* count x m x n */
    double *u, *v;   /* count x m, count x n */
    int64_t *rows, *columns;
    double *masses;
    int64_t *entry_counts;
    kx_emd_result_t *results; /* count */
    int32_t *statuses;        /* count: how each solve ended */
} kx_emd_outputs_t;

/* `count` problems of one shape; problem k reads a + a_offsets[k] bytes, and so on (NULL offsets: all read the first, so for
   count = 1). Weights are float64; M has contiguous rows that are row_stride bytes apart.
   The weights are checked (KX_E_NONFINITE, KX_E_NEGATIVE, KX_E_EMPTY, KX_E_TOTALS), M is checked for NaN and -infinity. Returns the
   failure of the first problem that fails (its index in *failed when failed is not NULL), else the largest warning.
   Memory beyond inputs and outputs, per worker: O(m n) for m + n <= 384; above it O(m + n) + (m + n)^2 / 8 bytes, and a float32
   copy of M. */
kx_status_t kx_transport_emd_f64(const kx_ctx_t *ctx, const double *a, const double *b, const double *M, int64_t count,
                                 const int64_t *a_offsets, const int64_t *b_offsets, const int64_t *M_offsets, int64_t m,
                                 int64_t n, ptrdiff_t row_stride, const kx_emd_options_t *options,
                                 const kx_emd_outputs_t *outputs, int64_t *failed);
kx_status_t kx_transport_emd_f32(const kx_ctx_t *ctx, const double *a, const double *b, const float *M, int64_t count,
                                 const int64_t *a_offsets, const int64_t *b_offsets, const int64_t *M_offsets, int64_t m,
                                 int64_t n, ptrdiff_t row_stride, const kx_emd_options_t *options,
                                 const kx_emd_outputs_t *outputs, int64_t *failed);

/* Transport on the line under the cost |x - y|^power, power >= 1, by sorting: O(m + n) once x_order and y_order (the indices that
   sort each problem's points, finite ones) are given. Points and orders are contiguous, problem after problem; weights as above.
   Writes costs and the sparse plan; potentials, plans and results are not written. */
kx_status_t kx_transport_emd_1d(const kx_ctx_t *ctx, const double *x, const double *y, const double *a, const double *b,
                                int64_t count, const int64_t *x_order, const int64_t *y_order, const int64_t *a_offsets,
                                const int64_t *b_offsets, int64_t m, int64_t n, double power, const kx_emd_options_t *options,
                                const kx_emd_outputs_t *outputs, int64_t *failed);

/* Lower bounds of `count` transport costs, certified by potentials with u_i + v_j <= M_ij (up to a rounding), for a small part of the
   price of solving: `sweeps` Sinkhorn sweeps at a regularisation of reg_share times the mean cost above its row's minimum, then
   c-transforms. Weights and offsets as in kx_transport_emd_f64; M finite. bounds: count; u, v: NULL, or count x m and count x n. */
kx_status_t kx_transport_lower_bound(const kx_ctx_t *ctx, const double *a, const double *b, const double *M, int64_t count,
                                     const int64_t *a_offsets, const int64_t *b_offsets, const int64_t *M_offsets, int64_t m,
                                     int64_t n, ptrdiff_t row_stride, int64_t sweeps, double reg_share, double totals_tolerance,
                                     double *bounds, double *u, double *v, int64_t *failed);

#ifdef __cplusplus
}
#endif
#endif
