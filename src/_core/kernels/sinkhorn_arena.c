/* The memory of entropic transport: one block for each worker, cut for the largest problem, and the weights that go into it. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/sinkhorn_internal.h"
#include "runtime/sum.h"

size_t KX_KERNEL(kx_sinkhorn_arena_cut)(kx_sinkhorn_arena_t *arena, int64_t m, int64_t n, int64_t size, int64_t workers,
                                        const kx_sinkhorn_options_t *options, char *block) {
    kx_layout_t layout = {0, 0};
    kx_sinkhorn_state_t *s = &arena->state;
    kx_sinkhorn_accelerator_t *accelerator = &arena->accelerator;
    const int64_t rows = kx_round_up(m, KX_SINKHORN_ROUND), stride = kx_round_up(n, KX_SINKHORN_ROUND);
    const int64_t memory = options->memory ? options->memory : KX_SINKHORN_MEMORY;
    if (size < 1) return 0;
    int64_t blocks = size / KX_SINKHORN_BLOCK + 1;
    blocks = blocks < KX_SINKHORN_BLOCKS ? blocks : KX_SINKHORN_BLOCKS;
    struct { double **to; int64_t count; } doubles[] = {
        {&s->K, options->method == KX_SINKHORN_LOG ? 0 : size},
        {&s->scratch, KX_SINKHORN_GROUP * stride * workers}, {&s->a, rows}, {&s->b, stride}, {&s->log_b, stride}, {&s->x, stride},
        {&s->x_absorbed, stride}, {&s->q, stride}, {&s->s, stride}, {&s->r, stride}, {&s->t, rows}, {&s->w, rows},
        {&s->row_top, rows}, {&s->phi, rows}, {&s->partial, blocks * stride}, {&s->z, stride},
        {&accelerator->previous_x, stride}, {&accelerator->previous_r, stride}, {&accelerator->previous_phi, rows},
        {&accelerator->dx, memory * stride}, {&accelerator->dr, memory * stride}, {&arena->full_a, m}, {&arena->full_b, n},
        {&arena->full_u, m}, {&arena->full_v, n}, {&arena->block_costs, blocks},
    };
    struct { int64_t **to; int64_t count; } integers[] = {
        {&arena->row_index, m}, {&arena->column_index, n}, {&arena->row_place, m}, {&arena->column_place, n},
    };
    for (size_t k = 0; k < sizeof doubles / sizeof *doubles; k++) {
        const size_t at = kx_layout_add(&layout, doubles[k].count, sizeof(double));
        if (block) *doubles[k].to = doubles[k].count ? (double *)(block + at) : NULL;
    }
    for (size_t k = 0; k < sizeof integers / sizeof *integers; k++) {
        const size_t at = kx_layout_add(&layout, integers[k].count, sizeof(int64_t));
        if (block) *integers[k].to = (int64_t *)(block + at);
    }
    arena->block = block;
    arena->largest_n = n;
    arena->largest_size = size;
    return layout.overflow ? 0 : layout.bytes;
}

kx_status_t KX_KERNEL(kx_sinkhorn_take_weights)(const double *weights, int64_t n, double *copy, int64_t *place, int64_t *taken,
                                                double *total) {
    const kx_f64v zero = kx_f64v_set(0);
    kx_f64v check = zero, lowest = zero, highest = zero; /* highest of -weight */
    for (int64_t i = 0; i < n; i += KX_F64_LANES) {
        const int64_t left = n - i;
        kx_f64v w = kx_f64v_set(1.0 / (double)n);
        if (weights) w = left >= KX_F64_LANES ? kx_f64v_load(weights + i) : kx_f64v_load_part(weights + i, left, 0);
        check = kx_f64v_fma(w, zero, check);
        lowest = kx_f64v_min(w, lowest);
        highest = kx_f64v_min(kx_f64v_sub(zero, w), highest);
    }
    if (kx_f64v_sum(check) != 0) return KX_E_NONFINITE;
    if (kx_f64v_reduce_min(lowest) < 0) return KX_E_NEGATIVE;
    const double largest = -kx_f64v_reduce_min(highest);
    if (!(largest > 0)) return KX_E_EMPTY;
    /* By the largest first, so that neither the sum nor a share leaves the range. */
    for (int64_t i = 0; i < n; i++) copy[i] = (weights ? weights[i] : 1.0 / (double)n) / largest;
    const double sum = kx_sum(copy, n);
    *total = sum * largest;
    if (!(*total <= DBL_MAX)) return KX_E_OVERFLOW;
    *taken = 0;
    for (int64_t i = 0; i < n; i++) {
        place[*taken] = i;
        *taken += copy[i] >= KX_SINKHORN_LEAST_WEIGHT;
    }
    for (int64_t i = 0; i < n; i++) copy[i] /= sum;
    return KX_OK;
}

void KX_KERNEL(kx_sinkhorn_arena_release)(const kx_ctx_t *ctx, kx_sinkhorn_arena_t *arena) {
    kx_release(ctx, arena->compact);
    kx_release(ctx, arena->newton);
}

void KX_KERNEL(kx_sinkhorn_set_sizes)(kx_sinkhorn_state_t *s, int64_t m, int64_t n) {
    s->m = m;
    s->n = n;
    s->rows = kx_round_up(s->m, KX_SINKHORN_ROUND);
    s->stride = kx_round_up(s->n, KX_SINKHORN_ROUND);
    s->block_rows = KX_SINKHORN_BLOCK / s->stride + 1;
    if (s->block_rows < s->rows / KX_SINKHORN_BLOCKS + 1) s->block_rows = s->rows / KX_SINKHORN_BLOCKS + 1;
    s->block_rows = kx_round_up(s->block_rows, KX_SINKHORN_GROUP);
    s->blocks = (s->rows + s->block_rows - 1) / s->block_rows;
}

void KX_KERNEL(kx_sinkhorn_set_weights)(kx_sinkhorn_arena_t *arena) {
    kx_sinkhorn_state_t *s = &arena->state;
    for (int64_t i = 0; i < s->rows; i++) {
        s->a[i] = i < s->m ? arena->full_a[arena->row_place[i]] : 0;
        s->t[i] = 1;
        s->w[i] = 0;
        s->row_top[i] = 0;
    }
    for (int64_t j = 0; j < s->stride; j++) {
        s->b[j] = j < s->n ? arena->full_b[arena->column_place[j]] : 1;
        s->x[j] = 0;
    }
    for (int64_t j = 0; j < s->stride; j += KX_F64_LANES) kx_f64v_store(s->log_b + j, kx_f64v_log(kx_f64v_load(s->b + j)));
}

#endif
