/* One document and one pair of documents: what pairwise distances and the search index have in common. */
#ifndef KX_REAL
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <float.h>

#include "kernels/documents_internal.h"

kx_status_t KX_KERNEL(kx_document_normalize)(const int32_t *words, const double *weights, int64_t count, int64_t vocabulary,
                                             const double *factors, int32_t *kept_words, double *kept_weights, int64_t *kept) {
    double total = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < count; k++) {
        const int32_t word = words[k];
        if (word < 0 || word >= vocabulary || (k > 0 && word <= words[k - 1])) return KX_E_ARGUMENT;
        double weight = weights[k];
        if (weight < 0) return KX_E_NEGATIVE;
        if (factors) weight = factors[word] > 0 ? weight / factors[word] : 0;
        if (!(weight <= DBL_MAX)) return KX_E_OVERFLOW;
        if (weight == 0) continue;
        kept_words[n] = word;
        kept_weights[n++] = weight;
        total += weight;
    }
    if (!(total <= DBL_MAX)) return KX_E_OVERFLOW;
    for (int64_t k = 0; k < n; k++) kept_weights[k] /= total;
    *kept = n;
    return KX_OK;
}

/* When the dual bound is tried before a solve, and how: more sweeps pay where a solve is dear. */
enum { BOUND_ENTRIES = 256, BOUND_SWEEPS = 3, LONG_ENTRIES = 1024, LONG_SWEEPS = 8 };
static const double BOUND_REG_SHARE = 0.1;

/* What two documents do not share: equal words are at distance 0, and for a metric cost some optimal plan leaves the common mass
   where it is. Fills the kept places and weights of both sides. */
static void cancel_shared(const kx_document_side_t *x, const kx_document_side_t *y, kx_document_scratch_t *s, int64_t *m,
                          int64_t *n) {
    int64_t k = 0, l = 0, m_left = 0, n_left = 0;
    while (k < x->count || l < y->count) {
        const int32_t x_word = k < x->count ? x->words[k] : INT32_MAX, y_word = l < y->count ? y->words[l] : INT32_MAX;
        double x_weight = x_word <= y_word ? x->weights[k] : 0, y_weight = y_word <= x_word ? y->weights[l] : 0;
        const double larger = x_weight > y_weight ? x_weight : y_weight;
        double shared = x_weight < y_weight ? x_weight : y_weight;
        /* Equal but for the rounding of the totals. */
        if (larger - shared <= 4 * DBL_EPSILON * larger) x_weight = y_weight = shared;
        if (x_word <= y_word) {
            s->rows[m_left] = x->places[k++];
            s->a[m_left] = x_weight - shared;
            m_left += s->a[m_left] > 0;
        }
        if (y_word <= x_word) {
            s->columns[n_left] = y->places[l++];
            s->b[n_left] = y_weight - shared;
            n_left += s->b[n_left] > 0;
        }
    }
    *m = m_left;
    *n = n_left;
}

size_t KX_KERNEL(kx_document_scratch_cut)(kx_document_scratch_t *scratch, int64_t m, int64_t n, kx_document_use_t use,
                                          char *block) {
    kx_layout_t layout = {0, 0};
    if (m < 1) m = 1;
    if (n < 1) n = 1;
    size_t a = kx_layout_add(&layout, m + 1, sizeof(double)), b = kx_layout_add(&layout, n + 1, sizeof(double));
    size_t rows = kx_layout_add(&layout, m + 1, sizeof(int32_t)), columns = kx_layout_add(&layout, n + 1, sizeof(int32_t));
    if (n > INT64_MAX / 64 / m) return 0;
    /* The relaxed bounds use it for the cheapest cost of each column. */
    size_t costs = kx_layout_add(&layout, use == KX_USE_RELAXED ? n : m * n, sizeof(double));
    size_t solver = use == KX_USE_RELAXED ? 64 : KX_KERNEL(kx_emd_arena_bytes)(m, n);
    if (use == KX_USE_ENTROPIC) solver = KX_KERNEL(kx_sinkhorn_arena_cut)(&scratch->sinkhorn, m, n, kx_sinkhorn_kernel_size(m, n), 1, scratch->sinkhorn_options, NULL);
    size_t bounding = use == KX_USE_LIMITED ? KX_KERNEL(kx_transport_bound_bytes)(m, n) : 64;
    if (solver == 0 || bounding == 0) layout.overflow = 1;
    size_t arena = kx_layout_add(&layout, (int64_t)solver, 1), bound = kx_layout_add(&layout, (int64_t)bounding, 1);
    if (layout.overflow) return 0;
    if (block) {
        scratch->a = (double *)(block + a);
        scratch->b = (double *)(block + b);
        scratch->rows = (int32_t *)(block + rows);
        scratch->columns = (int32_t *)(block + columns);
        scratch->costs = (double *)(block + costs);
        scratch->arena_block = block + arena;
        scratch->bound_block = use == KX_USE_LIMITED ? block + bound : NULL;
        if (use == KX_USE_ENTROPIC)
            KX_KERNEL(kx_sinkhorn_arena_cut)(&scratch->sinkhorn, m, n, kx_sinkhorn_kernel_size(m, n), 1, scratch->sinkhorn_options, block + arena);
    }
    return layout.bytes;
}

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_REAL_EPSILON FLT_EPSILON
#include "document_pairs.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_REAL_EPSILON

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_REAL_EPSILON DBL_EPSILON
#include "document_pairs.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_REAL_EPSILON
#endif

#else /* the template */

kx_status_t KX_KERNEL(KX_TYPED(kx_document_scan))(const KX_REAL *row, int64_t dimension, double *factor) {
    double largest = 0, sum = 0;
    int sound = 1;
    for (int64_t d = 0; d < dimension; d++) {
        double size = fabs((double)row[d]);
        sound &= size <= DBL_MAX;
        largest = size > largest ? size : largest;
    }
    if (!sound) return KX_E_NONFINITE;
    if (!factor) return KX_OK;
    /* Scaled by a power of two, so that neither the squares nor the factor can leave the range. */
    int exponent;
    frexp(largest, &exponent);
    const double scale = ldexp(1.0, exponent > -1000 ? -exponent : 1000);
    for (int64_t d = 0; d < dimension; d++) sum += (double)row[d] * scale * ((double)row[d] * scale);
    /* Below the normal numbers 1 / norm may overflow. */
    *factor = largest >= DBL_MIN ? scale / sqrt(sum) : 0;
    return KX_OK;
}

/* max over the two sides of sum of weight * cheapest cost */
static double KX_TYPED(relaxed)(const KX_REAL *table, ptrdiff_t row_step, ptrdiff_t column_step, const int32_t *rows,
                                const double *a, int64_t m, const int32_t *columns, const double *b, int64_t n,
                                double *cheapest) {
    double from_rows = 0, from_columns = 0;
    for (int64_t j = 0; j < n; j++) cheapest[j] = INFINITY;
    for (int64_t i = 0; i < m; i++) {
        const KX_REAL *row = table + rows[i] * row_step;
        double least = INFINITY;
        for (int64_t j = 0; j < n; j++) {
            double c = (double)row[columns[j] * column_step];
            least = c < least ? c : least;
            cheapest[j] = c < cheapest[j] ? c : cheapest[j];
        }
        from_rows += a[i] * least;
    }
    for (int64_t j = 0; j < n; j++) from_columns += b[j] * cheapest[j];
    return from_rows > from_columns ? from_rows : from_columns;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_document_distance))(kx_document_scratch_t *s, const KX_REAL *table, ptrdiff_t row_step,
                                                      ptrdiff_t column_step, const kx_document_side_t *x,
                                                      const kx_document_side_t *y, kx_document_metric_t metric, double limit,
                                                      kx_task_t *task, double *distance) {
    int64_t m = x->count, n = y->count;
    const int32_t *rows = x->places, *columns = y->places;
    const double *a = x->weights, *b = y->weights;
    if (metric == KX_WMD) {
        cancel_shared(x, y, s, &m, &n);
        rows = s->rows;
        columns = s->columns;
        a = s->a;
        b = s->b;
        if (m == 0 || n == 0) {
            *distance = 0;
            return KX_OK;
        }
    }
    if (metric == KX_RELAXED_WMD || metric == KX_RELAXED_WRD) {
        *distance = KX_TYPED(relaxed)(table, row_step, column_step, rows, a, m, columns, b, n, s->costs);
        return KX_OK;
    }
    if (m == 1 || n == 1) { /* one word moves to all or all to one: nothing to choose */
        double sum = 0;
        for (int64_t r = 0; r < m; r++)
            for (int64_t c = 0; c < n; c++)
                sum += (m == 1 ? b[c] : a[r]) * (double)table[rows[r] * row_step + columns[c] * column_step];
        *distance = sum;
        return KX_OK;
    }
    double *costs = s->costs, largest = 0;
    for (int64_t r = 0; r < m; r++) {
        const KX_REAL *row = table + rows[r] * row_step;
        for (int64_t c = 0; c < n; c++) {
            const double cost = (double)row[columns[c] * column_step];
            costs[r * n + c] = cost;
            largest = cost > largest ? cost : largest;
        }
    }
    if (isinf(largest)) return KX_E_OVERFLOW; /* the solver would take it for a forbidden move */
    if (metric == KX_ENTROPIC_WMD)
        return KX_KERNEL(kx_sinkhorn_solve_cost)(&s->sinkhorn, a, b, costs, m, n, s->reg, s->sinkhorn_options, distance);
    if (limit < INFINITY && s->bound_block && m * n >= BOUND_ENTRIES) {
        double *f, *g;
        const double bound =
            KX_KERNEL(kx_transport_bound)(costs, n, a, b, m, n, m * n < LONG_ENTRIES ? BOUND_SWEEPS : LONG_SWEEPS,
                                          BOUND_REG_SHARE, s->bound_block, &f, &g);
        /* What is left of two documents has totals below 1 that may differ by rounding. */
        if (bound > limit * (1 + 4 * (double)KX_REAL_EPSILON) + 1e-14 * (double)(m + n) * largest) {
            *distance = INFINITY;
            return KX_OK;
        }
    }
    KX_KERNEL(kx_emd_arena_cut)(&s->arena, m, n, s->arena_block);
    /* Both sides were normalised to the same total. What is left after cancelling differs by rounding, which may be all there is. */
    const kx_emd_options_t options = {1.0, 0};
    const kx_emd_outputs_t outputs = {distance, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    const ptrdiff_t row_bytes = n * (ptrdiff_t)sizeof(double);
    kx_status_t status = KX_KERNEL(kx_emd_solve_f64)(&s->arena, a, b, costs, m, n, row_bytes, &options, &outputs, 0, task);
    if (status == KX_E_OVERFLOW) { /* costs near the end of the range, which the solver leaves room at */
        for (int64_t k = 0; k < m * n; k++) costs[k] = ldexp(costs[k], -300);
        status = KX_KERNEL(kx_emd_solve_f64)(&s->arena, a, b, costs, m, n, row_bytes, &options, &outputs, 0, task);
        *distance = ldexp(*distance, 300);
    }
    return status;
}
#endif
