/* What the files of exact transport share: the prepared problem, its basis, and the solvers. Not public. */
#ifndef KX_TRANSPORT_INTERNAL_H
#define KX_TRANSPORT_INTERNAL_H

#include "isa/kernel.h"
#include "isa/simd.h"
#include "kexue/kx_transport.h"
#include "runtime/memory.h"

/* Up to this many nodes the solver of transport_small.c is used, above it that of transport_large.c: 128 x 128 takes them 85 and
   170 us, 200 x 200 about the same (float64 costs of points of the plane; random ones favour the small one to 250 x 250). */
enum { KX_EMD_SMALL_NODES = 384 };

/* Uniform square problems up to this many rows are solved as assignments. */
enum { KX_EMD_ASSIGNMENT_SIZE = 64 };

/* One problem with zero weights removed. Rows and columns below are indices of what is left; row_index and column_index
   lead back to the caller's. */
typedef struct kx_emd_problem {
    int64_t m, n;
    const void *M;           /* the caller's costs; rows are row_stride bytes apart */
    ptrdiff_t row_stride;
    int is_f32;
    int columns_removed;     /* column_index is not the identity */
    int64_t *row_index, *column_index;
    double total_a;
    int mass_exponent;       /* weights, masses and units are 2^-mass_exponent times the caller's */
    double *weights;         /* of the m rows and then the n columns that are left, of equal totals */
    int64_t *units_a, *units_b; /* the same in int64 units, perturbed so that no basis is degenerate */
    double largest;          /* max |M| over finite entries */
    double forbidden;        /* what a forbidden arc costs while it is in the basis */
    int has_forbidden;
    /* small problems: a padded float64 copy of what is left */
    double *cost;
    int64_t cost_stride;     /* in elements */
    int is_assignment;       /* as many rows as columns, all weights equal */
    /* the basis: m + n - 1 arcs, or the m arcs of an assignment */
    int64_t arcs;
    int32_t *arc_row, *arc_column;
    int64_t *arc_units;
    double *arc_mass;
    double *potentials;      /* u of the m rows, then v of the n columns */
    int unit_bits;           /* the low bits of units that hold the perturbation */
    double unit;             /* the mass of one unit above them */
    double noise;            /* mass on forbidden arcs up to this is rounding, not infeasibility */
    int64_t iterations, max_iter;
} kx_emd_problem_t;

/* The cost of an arc of the basis. */
static inline double kx_emd_cost(const kx_emd_problem_t *p, int64_t i, int64_t j) {
    double c;
    if (p->cost) {
        c = p->cost[i * p->cost_stride + j];
    } else {
        const char *row = (const char *)p->M + p->row_index[i] * p->row_stride;
        c = p->is_f32 ? (double)((const float *)row)[p->column_index[j]] : ((const double *)row)[p->column_index[j]];
    }
    return c <= p->largest ? c : p->forbidden;
}

static inline void kx_emd_prefetch_cost(const kx_emd_problem_t *p, int64_t i, int64_t j) {
    const char *row = (const char *)p->M + p->row_index[i] * p->row_stride;
    kx_prefetch(row + p->column_index[j] * (int64_t)(p->is_f32 ? sizeof(float) : sizeof(double)));
}

/* max |c| over the arcs of the basis. */
static inline double kx_emd_largest_in_basis(const kx_emd_problem_t *p) {
    double largest = 0;
    for (int64_t k = 0; k < p->arcs; k++) {
        double size = fabs(kx_emd_cost(p, p->arc_row[k], p->arc_column[k]));
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* Below this a reduced cost counts as zero: a few roundings of `scale`, the largest cost and potential that make it up. */
static inline double kx_emd_tolerance(double scale) { return 2e-15 * scale; }

/* The first of `count` values (whole vectors) that is at most `bound`; there is one. 64 at a time without a branch: which
   vector it is in is a coin toss that the predictor loses. */
static inline int64_t kx_first_at_most(const double *values, const double *added, int64_t count, double bound) {
    const unsigned all = (1u << KX_F64_LANES) - 1;
    const kx_f64v limit = kx_f64v_set(bound);
    for (int64_t base = 0; base < count; base += 64) {
        const int64_t end = count - base < 64 ? count - base : 64;
        uint64_t hits = 0;
        for (int64_t j = 0; j < end; j += KX_F64_LANES) {
            kx_f64v value = kx_f64v_load(values + base + j);
            if (added) value = kx_f64v_add(value, kx_f64v_load(added + base + j));
            hits |= (uint64_t)(~kx_f64m_bits(kx_f64v_less(limit, value)) & all) << j;
        }
        if (hits) return base + kx_lowest_bit(hits);
    }
    return 0;
}

/* values[place] = value as a whole vector: the vector load that follows would stall on a narrow store. */
static inline void kx_put(double *values, int64_t place, double value) {
    double *group = values + place / KX_F64_LANES * KX_F64_LANES;
    kx_f64m lane = kx_f64m_from_bits(1u << (place % KX_F64_LANES));
    kx_f64v_store(group, kx_f64v_select(lane, kx_f64v_set(value), kx_f64v_load(group)));
}

/* Each fills the basis. KX_OK, KX_W_MAXITER, KX_E_CANCELLED. The assignment's also sets masses and potentials. */
size_t KX_KERNEL(kx_emd_small_bytes)(int64_t m, int64_t n);
kx_status_t KX_KERNEL(kx_emd_small_solve)(kx_emd_problem_t *p, void *scratch, kx_task_t *task);

kx_status_t KX_KERNEL(kx_emd_assignment_solve)(kx_emd_problem_t *p, kx_task_t *task);

/* 0: too large */
size_t KX_KERNEL(kx_emd_large_bytes)(int64_t m, int64_t n);
kx_status_t KX_KERNEL(kx_emd_large_solve)(kx_emd_problem_t *p, void *scratch, kx_task_t *task);

/* One worker's memory: the problem's arrays and the solver's scratch in one block, cut once and used for every problem of the
   batch. */
typedef struct kx_emd_arena {
    char *block;
    kx_emd_problem_t problem;
    void *scratch;
    int32_t *degree, *incident, *order; /* of the tree, in read_tree() */
    double *full_u, *full_v;
    double *terms; /* of the sum that is the cost */
    int small;
} kx_emd_arena_t;

/* Cuts a block for problems of this shape; with a NULL block it only tells the bytes (0: too large). */
size_t KX_KERNEL(kx_emd_arena_cut)(kx_emd_arena_t *arena, int64_t m, int64_t n, char *block);

/* The bytes of a block that can be cut for any shape up to m x n (0: too large). That may be more than m x n itself takes: small
   problems have another solver. */
size_t KX_KERNEL(kx_emd_arena_bytes)(int64_t m, int64_t n);

/* Solves problem `index` of the outputs. */
kx_status_t KX_KERNEL(kx_emd_solve_f32)(kx_emd_arena_t *arena, const double *a, const double *b, const float *M, int64_t m,
                                        int64_t n, ptrdiff_t row_stride, const kx_emd_options_t *options,
                                        const kx_emd_outputs_t *outputs, int64_t index, kx_task_t *task);
kx_status_t KX_KERNEL(kx_emd_solve_f64)(kx_emd_arena_t *arena, const double *a, const double *b, const double *M, int64_t m,
                                        int64_t n, ptrdiff_t row_stride, const kx_emd_options_t *options,
                                        const kx_emd_outputs_t *outputs, int64_t index, kx_task_t *task);

/* A lower bound of the cost of finite `costs` (rows of cost_stride numbers) between weights of equal totals, and its potentials,
   which lie in the block. reg_share: the regularisation as a share of the mean cost above its row's minimum. 0 bytes: too large. */
size_t KX_KERNEL(kx_transport_bound_bytes)(int64_t m, int64_t n);
double KX_KERNEL(kx_transport_bound)(const double *costs, int64_t cost_stride, const double *a, const double *b, int64_t m,
                                     int64_t n, int64_t sweeps, double reg_share, char *block, double **potentials_f,
                                     double **potentials_g);

#endif
