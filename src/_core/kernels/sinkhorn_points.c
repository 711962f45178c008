/* Entropic transport between points: the costs are made row by row in every pass through them, and never kept. */
#include "kexue/kx_sinkhorn.h"

#include "isa/kernel.h"

#define KX_POINTS_PARAMETERS                                                                                                 \
    (const kx_ctx_t *ctx, const kx_sinkhorn_points_t *points, const kx_sinkhorn_options_t *options,                            \
     const kx_sinkhorn_outputs_t *outputs)

KX_DISPATCH(kx_transport_sinkhorn_points, KX_POINTS_PARAMETERS, (ctx, points, options, outputs))

#ifndef KX_DISPATCH_PASS
#include "kernels/sinkhorn_internal.h"

/* Kernels of up to this many entries are kept: a pass through one takes a sixth of one through the costs. */
enum { KEPT = 1 << 24 };

/* A copy of the points that take part, of length 1 for the cosine; transposed with rows of `stride`, or not (stride 0). */
static kx_status_t take_points(const double *from, const int64_t *place, int64_t n, int64_t dimension, int is_cosine, double *to,
                               int64_t stride) {
    for (int64_t j = 0; j < n; j++) {
        const double *point = from + place[j] * dimension;
        double largest = 0, square = 0;
        for (int64_t k = 0; k < dimension; k++) {
            if (!(fabs(point[k]) <= DBL_MAX)) return KX_E_NONFINITE;
            largest = fabs(point[k]) > largest ? fabs(point[k]) : largest;
        }
        for (int64_t k = 0; is_cosine && k < dimension; k++) square += point[k] / largest * (point[k] / largest);
        if (is_cosine && !(largest > 0)) return KX_E_EMPTY;
        const double norm = is_cosine ? sqrt(square) : 1, scale = is_cosine ? largest : 1;
        for (int64_t k = 0; k < dimension; k++) to[stride ? k * stride + j : j * dimension + k] = point[k] / scale / norm;
    }
    for (int64_t k = 0; stride && k < dimension; k++)
        for (int64_t j = n; j < stride; j++) to[k * stride + j] = INFINITY;
    return KX_OK;
}

/* A bound of all distances: from both sets to the first point. */
static double farthest_pair(const kx_sinkhorn_state_t *s) {
    double far_x = 0, far_y = 0;
    for (int64_t i = 0; i < s->m; i++) {
        double square = 0;
        for (int64_t k = 0; k < s->dimension; k++) {
            const double difference = s->x_points[i * s->dimension + k] - s->x_points[k];
            square += difference * difference;
        }
        far_x = square > far_x ? square : far_x;
    }
    for (int64_t j = 0; j < s->n; j++) {
        double square = 0;
        for (int64_t k = 0; k < s->dimension; k++) {
            const double difference = s->y_points[k * s->stride + j] - s->x_points[k];
            square += difference * difference;
        }
        far_y = square > far_y ? square : far_y;
    }
    return sqrt(far_x) + sqrt(far_y);
}

static kx_status_t solve_points(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_points_t *points, const kx_sinkhorn_options_t *options,
                                const kx_sinkhorn_outputs_t *outputs, double *x, double *y) {
    kx_sinkhorn_state_t *s = &arena->state;
    const int symmetric = !points->y, is_cosine = points->cost == KX_COST_COSINE;
    const double *b = symmetric ? points->a : points->b, *y_points = symmetric ? points->x : points->y;
    double total_b;
    int64_t m, n, iterations;
    kx_status_t status = KX_KERNEL(kx_sinkhorn_take_weights)(points->a, points->m, arena->full_a, arena->row_place, &m, &arena->total);
    if (status == KX_OK)
        status = KX_KERNEL(kx_sinkhorn_take_weights)(b, points->n, arena->full_b, arena->column_place, &n, &total_b);
    if (status != KX_OK) return status;
    if (!(fabs(arena->total - total_b) <= options->totals_tolerance * (arena->total > total_b ? arena->total : total_b)))
        return KX_E_TOTALS;
    KX_KERNEL(kx_sinkhorn_set_sizes)(s, m, n);
    KX_KERNEL(kx_sinkhorn_set_weights)(arena);
    status = take_points(points->x, arena->row_place, m, points->dimension, is_cosine, x, 0);
    if (status == KX_OK) status = take_points(y_points, arena->column_place, n, points->dimension, is_cosine, y, s->stride);
    if (status != KX_OK) return status;
    s->M = NULL;
    s->is_f32 = 0;
    s->x_points = x;
    s->y_points = y;
    s->dimension = points->dimension;
    s->cost_factor = is_cosine ? 0.5 : 1; /* half the squared distance of points of length 1 */
    s->take_root = points->cost == KX_COST_EUCLIDEAN;
    s->symmetric = symmetric;
    s->has_forbidden = 0;
    s->offset = 0;
    const double distance = farthest_pair(s);
    s->range = s->take_root ? distance : s->cost_factor * distance * distance;
    if (!(s->range / points->reg <= DBL_MAX / 1e8 && 1 / points->reg <= DBL_MAX)) return KX_E_OVERFLOW;
    const kx_status_t ended = KX_KERNEL(kx_sinkhorn_solve)(arena, points->reg, 0, options, &iterations);
    if (ended < KX_OK) return ended;
    KX_KERNEL(kx_sinkhorn_read_scalings)(s);
    KX_KERNEL(kx_sinkhorn_row_potentials)(s);
    double value = -log(arena->total);
    for (int64_t i = 0; i < m; i++) value += s->a[i] * s->phi[i];
    for (int64_t j = 0; j < n; j++) value += s->b[j] * s->x[j];
    value *= arena->total * points->reg;
    if (!(fabs(value) <= DBL_MAX)) return KX_E_OVERFLOW;
    if (outputs->values) outputs->values[0] = value;
    if (outputs->errors) outputs->errors[0] = s->error;
    if (outputs->iterations) outputs->iterations[0] = iterations;
    if (outputs->statuses) outputs->statuses[0] = (int32_t)ended;
    return ended;
}

kx_status_t KX_KERNEL(kx_transport_sinkhorn_points) KX_POINTS_PARAMETERS {
    if (!points || !options || !outputs || !points->x || points->m < 1 || points->n < 1 || points->dimension < 1) return KX_E_ARGUMENT;
    if (!points->y && points->m != points->n) return KX_E_ARGUMENT;
    if (!(points->reg > 0 && points->reg <= DBL_MAX) || !kx_sinkhorn_options_sound(options)) return KX_E_ARGUMENT;
    if (points->cost < KX_COST_SQEUCLIDEAN || points->cost > KX_COST_COSINE) return KX_E_ARGUMENT;
    if (points->m > INT32_MAX / 4 || points->n > INT32_MAX / 4 || points->dimension > INT32_MAX) return KX_E_OVERFLOW;
    kx_sinkhorn_options_t chosen = *options;
    if (points->m * points->n > KEPT && chosen.method == KX_SINKHORN_AUTO) chosen.method = KX_SINKHORN_LOG;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1, m = points->m, n = points->n;
    const int64_t stride = kx_round_up(n, KX_SINKHORN_ROUND);
    kx_sinkhorn_arena_t arena;
    memset(&arena, 0, sizeof arena);
    kx_layout_t layout = {0, 0};
    const size_t own = KX_KERNEL(kx_sinkhorn_arena_cut)(&arena, m, n, kx_sinkhorn_kernel_size(m, n), workers, &chosen, NULL);
    kx_layout_add(&layout, own > INT64_MAX ? -1 : (int64_t)own, 1);
    const size_t x = kx_layout_add(&layout, m * points->dimension, sizeof(double));
    const size_t y = kx_layout_add(&layout, stride * points->dimension, sizeof(double));
    const size_t generated = kx_layout_add(&layout, KX_SINKHORN_GROUP * stride * workers, sizeof(double));
    if (own == 0 || layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    KX_KERNEL(kx_sinkhorn_arena_cut)(&arena, m, n, kx_sinkhorn_kernel_size(m, n), workers, &chosen, block);
    arena.state.ctx = ctx;
    arena.state.generated = (double *)(block + generated);
    const kx_status_t status = solve_points(&arena, points, &chosen, outputs, (double *)(block + x), (double *)(block + y));
    KX_KERNEL(kx_sinkhorn_arena_release)(ctx, &arena);
    kx_release(ctx, block);
    return status;
}
#endif
