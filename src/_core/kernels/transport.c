/* Exact transport: preparation, the choice of a solver, and what is made of its basis. */
#ifndef KX_REAL
#include "kexue/kx_transport.h"

#include "isa/kernel.h"

#define KX_EMD_PARAMETERS(real)                                                                                       \
    (const kx_ctx_t *ctx, const double *a, const double *b, const real *M, int64_t count, const int64_t *a_offsets,   \
     const int64_t *b_offsets, const int64_t *M_offsets, int64_t m, int64_t n, ptrdiff_t row_stride,                  \
     const kx_emd_options_t *options, const kx_emd_outputs_t *outputs, int64_t *failed)
#define KX_EMD_ARGUMENTS (ctx, a, b, M, count, a_offsets, b_offsets, M_offsets, m, n, row_stride, options, outputs, failed)

#ifdef KX_DISPATCH_PASS

void kx_emd_options_init(kx_emd_options_t *options) {
    options->totals_tolerance = 1e-9;
    options->max_iter = 0;
}

#else
#include <float.h>

#include "kernels/transport_internal.h"
#include "runtime/sum.h"

size_t KX_KERNEL(kx_emd_arena_cut)(kx_emd_arena_t *arena, int64_t m, int64_t n, char *block) {
    kx_layout_t layout = {0, 0};
    int64_t nodes = m + n, arcs = m + n - 1;
    arena->small = nodes <= KX_EMD_SMALL_NODES;
    int64_t stride = (n + 7) / 8 * 8;
    size_t row_index = kx_layout_add(&layout, m, sizeof(int64_t));
    size_t column_index = kx_layout_add(&layout, n, sizeof(int64_t));
    size_t weights = kx_layout_add(&layout, nodes, sizeof(double));
    size_t units_a = kx_layout_add(&layout, m, sizeof(int64_t));
    size_t units_b = kx_layout_add(&layout, n, sizeof(int64_t));
    size_t cost = arena->small ? kx_layout_add(&layout, m * stride, sizeof(double)) : 0;
    size_t arc_row = kx_layout_add(&layout, arcs, sizeof(int32_t));
    size_t arc_column = kx_layout_add(&layout, arcs, sizeof(int32_t));
    size_t arc_units = kx_layout_add(&layout, arcs, sizeof(int64_t));
    size_t arc_mass = kx_layout_add(&layout, arcs, sizeof(double));
    size_t terms = kx_layout_add(&layout, arcs, sizeof(double));
    size_t potentials = kx_layout_add(&layout, nodes, sizeof(double));
    size_t full_u = kx_layout_add(&layout, m, sizeof(double));
    size_t full_v = kx_layout_add(&layout, n, sizeof(double));
    size_t degree = kx_layout_add(&layout, nodes, sizeof(int32_t));
    size_t incident = kx_layout_add(&layout, nodes, sizeof(int32_t));
    size_t order = kx_layout_add(&layout, nodes, sizeof(int32_t));
    size_t solver = arena->small ? KX_KERNEL(kx_emd_small_bytes)(m, n) : KX_KERNEL(kx_emd_large_bytes)(m, n);
    if (solver == 0) layout.overflow = 1;
    size_t scratch = kx_layout_add(&layout, (int64_t)solver, 1);
    if (layout.overflow) return 0;
    if (block) {
        kx_emd_problem_t *p = &arena->problem;
        arena->block = block;
        p->row_index = (int64_t *)(block + row_index);
        p->column_index = (int64_t *)(block + column_index);
        p->weights = (double *)(block + weights);
        p->units_a = (int64_t *)(block + units_a);
        p->units_b = (int64_t *)(block + units_b);
        p->cost = arena->small ? (double *)(block + cost) : NULL;
        p->arc_row = (int32_t *)(block + arc_row);
        p->arc_column = (int32_t *)(block + arc_column);
        p->arc_units = (int64_t *)(block + arc_units);
        p->arc_mass = (double *)(block + arc_mass);
        p->potentials = (double *)(block + potentials);
        arena->terms = (double *)(block + terms);
        arena->full_u = (double *)(block + full_u);
        arena->full_v = (double *)(block + full_v);
        arena->degree = (int32_t *)(block + degree);
        arena->incident = (int32_t *)(block + incident);
        arena->order = (int32_t *)(block + order);
        arena->scratch = block + scratch;
    }
    return layout.bytes;
}

size_t KX_KERNEL(kx_emd_arena_bytes)(int64_t m, int64_t n) {
    kx_emd_arena_t arena;
    size_t most = KX_KERNEL(kx_emd_arena_cut)(&arena, m, n, NULL);
    if (most == 0 || arena.small) return most;
    for (int64_t rows = 1; rows <= m && rows < KX_EMD_SMALL_NODES; rows++) {
        const int64_t columns = KX_EMD_SMALL_NODES - rows < n ? KX_EMD_SMALL_NODES - rows : n;
        const size_t bytes = KX_KERNEL(kx_emd_arena_cut)(&arena, rows, columns, NULL);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* The weights that are left, their index, and their total. */
static kx_status_t take_weights(const double *weights, int64_t n, double *kept, int64_t *index, int64_t *count, double *total) {
    if (!weights) {
        for (int64_t i = 0; i < n; i++) {
            kept[i] = 1.0 / (double)n;
            index[i] = i;
        }
        *count = n;
        *total = 1.0;
        return KX_OK;
    }
    int finite = 1, negative = 0, zeros = 0;
    for (int64_t i = 0; i < n; i++) {
        finite &= fabs(weights[i]) <= DBL_MAX;
        negative |= weights[i] < 0;
        zeros |= weights[i] == 0;
    }
    if (!finite) return KX_E_NONFINITE;
    if (negative) return KX_E_NEGATIVE;
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        kept[k] = weights[i];
        index[k] = i;
        k += zeros ? weights[i] > 0 : 1;
    }
    *count = k;
    if (k == 0) return KX_E_EMPTY;
    *total = kx_sum(kept, k);
    return *total <= DBL_MAX ? KX_OK : KX_E_OVERFLOW;
}

/* int64 units of the weights: the real part in the high bits, and in the low ones a perturbation that makes no proper
   subset of rows balance a subset of columns: +1 for each row, +m for the last column (Orden). So every basis is
   non-degenerate, pivots never tie, and the simplex method ends. An arc's share of the perturbation is at most m in size, less than
   half a unit, so rounding to units takes it off. */
static void make_units(kx_emd_problem_t *p) {
    int bits = 1;
    while (((int64_t)1 << bits) <= 2 * p->m) bits++;
    const double scale = ldexp(1.0, 61 - bits) / p->total_a;
    p->unit_bits = bits;
    p->unit = 1 / scale;
    const double *supply = p->weights, *demand = p->weights + p->m;
    int64_t total_a = 0, total_b = 0, largest_a = 0, largest_b = 0;
    for (int64_t i = 0; i < p->m; i++) {
        int64_t units = (int64_t)(supply[i] * scale + 0.5);
        units = units > 0 ? units : 1;
        p->units_a[i] = units << bits | 1;
        total_a += units;
    }
    for (int64_t j = 0; j < p->n; j++) {
        int64_t units = (int64_t)(demand[j] * scale + 0.5);
        units = units > 0 ? units : 1;
        p->units_b[j] = units << bits;
        total_b += units;
    }
    for (int64_t i = 1; i < p->m; i++) largest_a = p->units_a[i] > p->units_a[largest_a] ? i : largest_a;
    for (int64_t j = 1; j < p->n; j++) largest_b = p->units_b[j] > p->units_b[largest_b] ? j : largest_b;
    if (total_a > total_b) p->units_b[largest_b] += (total_a - total_b) << bits;
    else p->units_a[largest_a] += (total_b - total_a) << bits;
    p->units_b[p->n - 1] += p->m;
}

static int all_equal(const double *values, int64_t n) {
    int64_t differing = 0;
    for (int64_t i = 1; i < n; i++) differing += values[i] != values[0];
    return differing == 0;
}

/* Weights in, zero weights out, totals compared. */
static kx_status_t prepare_weights(kx_emd_problem_t *p, const double *a, const double *b, int64_t m, int64_t n,
                                   const kx_emd_options_t *options) {
    double total_b;
    kx_status_t status = take_weights(a, m, p->weights, p->row_index, &p->m, &p->total_a);
    if (status != KX_OK) return status;
    double *demand = p->weights + p->m;
    status = take_weights(b, n, demand, p->column_index, &p->n, &total_b);
    if (status != KX_OK) return status;
    double larger = p->total_a > total_b ? p->total_a : total_b;
    if (!(fabs(p->total_a - total_b) <= options->totals_tolerance * larger)) return KX_E_TOTALS;
    double scale_b = p->total_a / total_b;
    for (int64_t j = 0; j < p->n; j++) demand[j] *= scale_b;
    frexp(p->total_a, &p->mass_exponent);
    if (p->mass_exponent < -500 || p->mass_exponent > 500) { /* units per mass would leave the range */
        for (int64_t x = 0; x < p->m + p->n; x++) p->weights[x] = ldexp(p->weights[x], -p->mass_exponent);
        p->total_a = ldexp(p->total_a, -p->mass_exponent);
        larger = ldexp(larger, -p->mass_exponent);
    } else {
        p->mass_exponent = 0;
    }
    p->columns_removed = p->n != n;
    p->noise = 4 * (double)(p->m + p->n) * DBL_EPSILON * larger;
    p->is_assignment = p->m == p->n && p->n <= KX_EMD_ASSIGNMENT_SIZE && all_equal(p->weights, p->m) && all_equal(demand, p->n);
    p->arcs = p->m + p->n - 1;
    p->iterations = 0;
    p->max_iter = options->max_iter > 0 ? options->max_iter : 1000 * (m + n) + 100000;
    return KX_OK;
}

/* The masses of the basis from the weights themselves, leaf by leaf, and the potentials from the costs, root first: whatever
   the units rounded and the pivots accumulated is gone afterwards. */
static void read_tree(kx_emd_arena_t *arena) {
    kx_emd_problem_t *p = &arena->problem;
    const int32_t m = (int32_t)p->m, nodes = (int32_t)(p->m + p->n), arcs = nodes - 1, root = nodes - 1;
    int32_t *degree = arena->degree, *incident = arena->incident, *order = arena->order;
    double *left = p->potentials; /* what a node still has to move, until the potentials are set */
    memset(degree, 0, (size_t)nodes * sizeof *degree);
    memset(incident, 0, (size_t)nodes * sizeof *incident);
    for (int32_t k = 0; k < arcs; k++) {
        int32_t row = p->arc_row[k], column = m + p->arc_column[k];
        degree[row]++;
        degree[column]++;
        incident[row] ^= k; /* at a leaf the exclusive or is the one arc itself */
        incident[column] ^= k;
    }
    memcpy(left, p->weights, (size_t)nodes * sizeof *left);
    int32_t peeled = 0;
    for (int32_t seed = 0; seed < root; seed++) {
        for (int32_t x = seed; degree[x] == 1 && x != root;) {
            int32_t k = incident[x], other = p->arc_row[k] + m + p->arc_column[k] - x;
            double mass = left[x], weight = p->weights[x];
            /* What cancellation leaves of a weight that its other arcs use up: noise, or negative. */
            if (mass <= 32 * DBL_EPSILON * weight && mass != weight) mass = 0;
            p->arc_mass[k] = mass;
            order[peeled++] = x;
            degree[x] = 0;
            left[other] -= mass;
            degree[other]--;
            incident[other] ^= k;
            x = other;
        }
    }
    double *potentials = p->potentials;
    potentials[root] = 0;
    while (peeled-- > 0) {
        int32_t x = order[peeled], k = incident[x], other = p->arc_row[k] + m + p->arc_column[k] - x;
        potentials[x] = kx_emd_cost(p, p->arc_row[k], p->arc_column[k]) - potentials[other];
    }
    if (p->has_forbidden)
        for (int32_t k = 0; k < arcs; k++)
            if (kx_emd_cost(p, p->arc_row[k], p->arc_column[k]) == p->forbidden) p->arc_mass[k] = 0;
}

static double unit_mass(const kx_emd_problem_t *p, int64_t arc) {
    return p->unit * (double)((p->arc_units[arc] + ((int64_t)1 << (p->unit_bits - 1))) >> p->unit_bits);
}

/* The cost of the basis, from the arcs' masses or from their units. */
static kx_status_t basis_cost(kx_emd_arena_t *arena, int from_units, double *cost) {
    const kx_emd_problem_t *p = &arena->problem;
    double forbidden = 0, *terms = arena->terms;
    for (int64_t k = 0; k < p->arcs; k++) {
        double c = kx_emd_cost(p, p->arc_row[k], p->arc_column[k]);
        if (p->has_forbidden && c == p->forbidden) {
            forbidden += unit_mass(p, k);
            c = 0;
        }
        terms[k] = (from_units ? unit_mass(p, k) : p->arc_mass[k]) * c;
    }
    *cost = ldexp(kx_sum(terms, p->arcs), p->mass_exponent);
    if (forbidden > p->noise) return KX_E_INFEASIBLE;
    return fabs(*cost) <= DBL_MAX ? KX_OK : KX_E_OVERFLOW;
}

/* The sparse plan, sorted by row and column: counting sort by row, then insertion within a row, as rows are short. */
static void write_entries(kx_emd_arena_t *arena, int64_t *rows, int64_t *columns, double *masses, int64_t *count) {
    const kx_emd_problem_t *p = &arena->problem;
    const int64_t arcs = p->arcs;
    /* Where row i's arcs begin, and where its next one goes. */
    int32_t *first = arena->incident, *next = arena->degree, *sorted = arena->order;
    memset(next, 0, (size_t)p->m * sizeof *next);
    for (int64_t k = 0; k < arcs; k++)
        if (p->arc_row[k] + 1 < p->m) next[p->arc_row[k] + 1]++;
    for (int64_t i = 1; i < p->m; i++) next[i] += next[i - 1];
    memcpy(first, next, (size_t)p->m * sizeof *first);
    for (int64_t k = 0; k < arcs; k++) {
        int32_t row = p->arc_row[k], at = next[row]++;
        for (; at > first[row] && p->arc_column[sorted[at - 1]] > p->arc_column[k]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = (int32_t)k;
    }
    int64_t written = 0;
    for (int64_t position = 0; position < arcs; position++) {
        int32_t k = sorted[position];
        if (p->arc_mass[k] == 0) continue;
        rows[written] = p->row_index[p->arc_row[k]];
        columns[written] = p->column_index[p->arc_column[k]];
        masses[written++] = ldexp(p->arc_mass[k], p->mass_exponent);
    }
    *count = written;
}

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_LOAD_LANES kx_f64v_load_f32
#include "transport.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_LOAD_LANES

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_LOAD_LANES kx_f64v_load
#include "transport.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_LOAD_LANES
#endif

KX_DISPATCH(kx_transport_emd_f32, KX_EMD_PARAMETERS(float), KX_EMD_ARGUMENTS)
KX_DISPATCH(kx_transport_emd_f64, KX_EMD_PARAMETERS(double), KX_EMD_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(kx_transport_emd_f32) KX_EMD_PARAMETERS(float) {
    return emd_f32 KX_EMD_ARGUMENTS;
}
kx_status_t KX_KERNEL(kx_transport_emd_f64) KX_EMD_PARAMETERS(double) {
    return emd_f64 KX_EMD_ARGUMENTS;
}
#endif

#else /* the template */

/* Largest finite size, forbidden arcs, and the refusal of NaN and -infinity; a small problem's rows are copied on the way. */
static kx_status_t KX_TYPED(prepare_costs)(kx_emd_problem_t *p, const KX_REAL *M, int64_t m, int64_t n, ptrdiff_t row_stride) {
    p->M = M;
    p->row_stride = row_stride;
    p->is_f32 = sizeof(KX_REAL) == sizeof(float);
    p->cost_stride = (p->n + 7) / 8 * 8;
    kx_f64v low = kx_f64v_set(INFINITY), high = kx_f64v_set(-INFINITY);
    double low_tail = INFINITY, high_tail = -INFINITY;
    unsigned all = (1u << KX_F64_LANES) - 1, sound = all;
    int sound_tail = 1;
    int64_t kept = 0;
    for (int64_t i = 0; i < m; i++) {
        const KX_REAL *row = (const KX_REAL *)((const char *)M + i * row_stride);
        const int in_use = kept < p->m && p->row_index[kept] == i;
        double *copy = p->cost && in_use ? p->cost + kept * p->cost_stride : NULL;
        kept += in_use;
        const int whole = in_use && !p->columns_removed;
        int64_t j = 0;
        for (; j + KX_F64_LANES <= n; j += KX_F64_LANES) {
            kx_f64v c = KX_LOAD_LANES(row + j);
            sound &= kx_f64m_bits(kx_f64v_less(kx_f64v_set(-INFINITY), c));
            if (!whole) continue;
            low = kx_f64v_min(c, low);
            high = kx_f64v_max(c, high);
            if (copy) kx_f64v_store(copy + j, c);
        }
        for (; j < n; j++) {
            double c = (double)row[j];
            sound_tail &= c > -INFINITY;
            if (!whole) continue;
            low_tail = c < low_tail ? c : low_tail;
            high_tail = c > high_tail ? c : high_tail;
            if (copy) copy[j] = c;
        }
        if (in_use && p->columns_removed)
            for (j = 0; j < p->n; j++) {
                double c = (double)row[p->column_index[j]];
                low_tail = c < low_tail ? c : low_tail;
                high_tail = c > high_tail ? c : high_tail;
                if (copy) copy[j] = c;
            }
        if (copy)
            for (j = p->n; j < p->cost_stride; j++) copy[j] = INFINITY;
    }
    if (sound != all || !sound_tail) return KX_E_NONFINITE;
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, high);
    for (int l = 0; l < KX_F64_LANES; l++) high_tail = lanes[l] > high_tail ? lanes[l] : high_tail;
    double least = kx_f64v_reduce_min(low);
    low_tail = least < low_tail ? least : low_tail;
    p->has_forbidden = high_tail == INFINITY;
    if (p->has_forbidden) {
        high_tail = -INFINITY;
        for (int64_t i = 0; i < p->m; i++) {
            const KX_REAL *row = (const KX_REAL *)((const char *)M + p->row_index[i] * row_stride);
            for (int64_t j = 0; j < p->n; j++) {
                double c = (double)row[p->column_index[j]];
                if (c > high_tail && c < INFINITY) high_tail = c;
            }
        }
        if (high_tail == -INFINITY) return KX_E_INFEASIBLE;
        low_tail = low_tail < high_tail ? low_tail : high_tail;
    }
    p->largest = fabs(low_tail) > fabs(high_tail) ? fabs(low_tail) : fabs(high_tail);
    /* Enough that a plan with one forbidden arc less is cheaper whatever the cycle that removes it does. */
    int64_t shorter = p->m < p->n ? p->m : p->n;
    p->forbidden = high_tail + ((double)shorter + 2) * (high_tail - low_tail) + p->largest;
    if (p->largest > DBL_MAX / 1e8 / (double)(shorter + 2)) return KX_E_OVERFLOW;
    if (!(p->forbidden > p->largest)) p->forbidden = p->largest > 0 ? 4 * p->largest : 1;
    return KX_OK;
}

/* Potentials of all rows and columns that satisfy u + v <= M exactly up to one rounding, balanced so that sum a u = sum b v;
   returns (sum a u + sum b v) / 2^exponent. The two sums may leave the range where neither their sum nor a potential does, so weights
   are taken in units of 2^exponent, which is about their total. */
static double KX_TYPED(certify)(kx_emd_arena_t *arena, int64_t m, int64_t n, int *exponent) {
    kx_emd_problem_t *p = &arena->problem;
    double *u = arena->full_u, *v = arena->full_v;
    const double total = frexp(p->total_a, exponent), unit = ldexp(1, -*exponent);
    for (int64_t j = 0; j < n; j++) v[j] = INFINITY;
    for (int64_t i = 0; i < p->m; i++) {
        const KX_REAL *row = (const KX_REAL *)((const char *)p->M + p->row_index[i] * p->row_stride);
        const double ui = p->potentials[i];
        for (int64_t j = 0; j < n; j++) {
            double t = (double)row[j] - ui;
            v[j] = t < v[j] ? t : v[j];
        }
    }
    for (int64_t j = 0; j < n; j++)
        if (!(v[j] <= DBL_MAX / 4)) v[j] = 0; /* lower is as sound, and leaves the others in the range */
    int64_t k = 0;
    double value_a = 0, value_b = 0;
    for (int64_t i = 0; i < m; i++) {
        if (k < p->m && p->row_index[k] == i) {
            u[i] = p->potentials[k];
            value_a += p->weights[k++] * unit * u[i];
            continue;
        }
        const KX_REAL *row = (const KX_REAL *)((const char *)p->M + i * p->row_stride);
        u[i] = INFINITY;
        for (int64_t j = 0; j < n; j++) {
            double t = (double)row[j] - v[j];
            u[i] = t < u[i] ? t : u[i];
        }
        if (!(fabs(u[i]) <= DBL_MAX)) u[i] = 0;
    }
    for (k = 0; k < p->n; k++) value_b += p->weights[p->m + k] * unit * v[p->column_index[k]];
    double shift = (value_b - value_a) / (2 * total);
    for (int64_t i = 0; i < m; i++) u[i] += shift;
    for (int64_t j = 0; j < n; j++) v[j] -= shift;
    return value_a + value_b;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_emd_solve))(kx_emd_arena_t *arena, const double *a, const double *b, const KX_REAL *M,
                                              int64_t m, int64_t n, ptrdiff_t row_stride, const kx_emd_options_t *options,
                                              const kx_emd_outputs_t *outputs, int64_t index, kx_task_t *task) {
    kx_emd_problem_t *p = &arena->problem;
    kx_status_t status = prepare_weights(p, a, b, m, n, options);
    if (status == KX_OK) status = KX_TYPED(prepare_costs)(p, M, m, n, row_stride);
    if (status != KX_OK) return status;
    int assignment = p->is_assignment && arena->small && !p->has_forbidden && options->max_iter == 0;
    kx_status_t ended = KX_OK;
    if (assignment) {
        ended = KX_KERNEL(kx_emd_assignment_solve)(p, task);
        if (ended < KX_OK) return ended;
        /* Labels that passed through costs far larger than the chosen ones have lost the digits that matter. */
        if (p->largest > 1e5 * kx_emd_largest_in_basis(p)) {
            assignment = 0;
            p->arcs = p->m + p->n - 1;
        }
    }
    if (!assignment) {
        make_units(p);
        ended = arena->small ? KX_KERNEL(kx_emd_small_solve)(p, arena->scratch, task)
                             : KX_KERNEL(kx_emd_large_solve)(p, arena->scratch, task);
    }
    if (ended < KX_OK) return ended;
    const int wants_tree = outputs->u || outputs->v || outputs->results || outputs->plans || outputs->rows;
    double cost = 0;
    /* Units are good for m + n roundings of the largest cost. Where that is 1e-10 of the result or less, the masses need not
       be read from the tree, which takes 4% of a 20 x 30 problem. */
    int from_units = arena->small && !assignment;
    if (from_units) {
        status = basis_cost(arena, 1, &cost);
        if (status != KX_OK) return status;
        from_units = fabs(cost) >= 1e-3 * p->largest * ldexp(p->total_a, p->mass_exponent);
    }
    if (!assignment && (wants_tree || !from_units)) read_tree(arena);
    if (!from_units) {
        status = basis_cost(arena, 0, &cost);
        if (status != KX_OK) return status;
    }
    if (outputs->costs) outputs->costs[index] = cost;
    if (outputs->statuses) outputs->statuses[index] = (int32_t)ended;
    if (outputs->u || outputs->v || outputs->results) {
        int exponent;
        double dual = KX_TYPED(certify)(arena, m, n, &exponent);
        if (outputs->u) memcpy(outputs->u + index * m, arena->full_u, (size_t)m * sizeof(double));
        if (outputs->v) memcpy(outputs->v + index * n, arena->full_v, (size_t)n * sizeof(double));
        if (outputs->results) {
            exponent += p->mass_exponent;
            kx_emd_result_t result = {cost, ldexp(ldexp(cost, -exponent) - dual, exponent), p->iterations, ended};
            outputs->results[index] = result;
        }
    }
    if (outputs->plans) {
        double *plan = outputs->plans + index * m * n;
        memset(plan, 0, (size_t)(m * n) * sizeof *plan);
        for (int64_t k = 0; k < p->arcs; k++)
            plan[p->row_index[p->arc_row[k]] * n + p->column_index[p->arc_column[k]]] = ldexp(p->arc_mass[k], p->mass_exponent);
    }
    if (outputs->rows) {
        int64_t at = index * (m + n - 1);
        write_entries(arena, outputs->rows + at, outputs->columns + at, outputs->masses + at, outputs->entry_counts + index);
    }
    return ended;
}

typedef struct KX_TYPED(emd_batch) {
    const kx_ctx_t *ctx;
    const double *a, *b;
    const KX_REAL *M;
    const int64_t *a_offsets, *b_offsets, *M_offsets;
    int64_t m, n;
    ptrdiff_t row_stride;
    const kx_emd_options_t *options;
    const kx_emd_outputs_t *outputs;
    kx_emd_arena_t *arenas; /* one a worker, made at its first problem */
    int64_t *first_failed;  /* one a worker */
    size_t bytes;
} KX_TYPED(emd_batch);

static kx_status_t KX_TYPED(solve_range)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const KX_TYPED(emd_batch) *batch = (const KX_TYPED(emd_batch) *)arg;
    kx_emd_arena_t *arena = &batch->arenas[kx_task_worker(task)];
    if (!arena->block) {
        char *block = (char *)kx_allocate(batch->ctx, batch->bytes);
        if (!block) return KX_E_MEMORY;
        KX_KERNEL(kx_emd_arena_cut)(arena, batch->m, batch->n, block);
    }
    kx_status_t worst = KX_OK;
    for (int64_t k = begin; k < end; k++) {
        if ((k - begin) % 16 == 15 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        const char *a = (const char *)batch->a, *b = (const char *)batch->b, *M = (const char *)batch->M;
        if (a && batch->a_offsets) a += batch->a_offsets[k];
        if (b && batch->b_offsets) b += batch->b_offsets[k];
        if (batch->M_offsets) M += batch->M_offsets[k];
        kx_status_t status =
            KX_KERNEL(KX_TYPED(kx_emd_solve))(arena, (const double *)a, (const double *)b, (const KX_REAL *)M, batch->m,
                                              batch->n, batch->row_stride, batch->options, batch->outputs, k, task);
        if (status < KX_OK) {
            /* One that was told to stop has not failed. */
            if (status != KX_E_CANCELLED) batch->first_failed[kx_task_worker(task)] = k;
            return status;
        }
        worst = status > worst ? status : worst;
    }
    return worst;
}

static kx_status_t KX_TYPED(emd) KX_EMD_PARAMETERS(KX_REAL) {
    if (failed) *failed = -1;
    if (!M || m < 1 || n < 1 || count < 0 || !options || !outputs) return KX_E_ARGUMENT;
    if (m > INT32_MAX / 4 || n > INT32_MAX / 4) return KX_E_OVERFLOW;
    kx_emd_arena_t shape;
    KX_TYPED(emd_batch) batch = {ctx, a, b, M, a_offsets, b_offsets, M_offsets, m, n, row_stride, options, outputs, NULL, NULL, 0};
    batch.bytes = KX_KERNEL(kx_emd_arena_cut)(&shape, m, n, NULL);
    if (batch.bytes == 0) return KX_E_OVERFLOW;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    /* The grain keeps a chunk above some 20 microseconds, which is what handing it to a thread may cost. */
    int64_t grain = 1 + 16384 / (m * n + 1);
    if (workers > count / grain + 1) workers = count / grain + 1;
    size_t each = sizeof(kx_emd_arena_t) + sizeof(int64_t);
    char *block = (char *)kx_allocate(ctx, (size_t)workers * each);
    if (!block) return KX_E_MEMORY;
    memset(block, 0, (size_t)workers * each);
    batch.arenas = (kx_emd_arena_t *)block;
    batch.first_failed = (int64_t *)(block + (size_t)workers * sizeof(kx_emd_arena_t));
    for (int64_t w = 0; w < workers; w++) batch.first_failed[w] = -1;
    kx_status_t status = kx_parallel_for(ctx, count, grain, KX_TYPED(solve_range), &batch);
    int64_t lowest = -1;
    for (int64_t w = 0; w < workers; w++) {
        int64_t k = batch.first_failed[w];
        if (k >= 0 && (lowest < 0 || k < lowest)) lowest = k;
        kx_release(ctx, batch.arenas[w].block);
    }
    if (failed && lowest >= 0) *failed = lowest;
    kx_release(ctx, block);
    return status;
}
#endif
