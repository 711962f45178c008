/* Recurrent networks step by step: a product of the states with packed panels of U, and the gates while that is in the cache. */
#ifndef KX_REAL
#include "kexue/kx_recurrent.h"

#include "isa/kernel.h"

#define KX_RECURRENT_PARAMETERS(real) \
    (const kx_ctx_t *ctx, const kx_recurrent_t *network, const real *inputs, real *states, real *cells, real *gates)
KX_DISPATCH(kx_recurrent_f32, KX_RECURRENT_PARAMETERS(float), (ctx, network, inputs, states, cells, gates))
KX_DISPATCH(kx_recurrent_f64, KX_RECURRENT_PARAMETERS(double), (ctx, network, inputs, states, cells, gates))

#ifndef KX_DISPATCH_PASS
#include "kernels/recurrent_internal.h"

kx_status_t KX_KERNEL(kx_recurrent_check)(const kx_recurrent_t *network) {
    if (!network || network->sequences < 0 || network->steps < 0 || network->size < 0) return KX_E_ARGUMENT;
    if ((int)network->kind < KX_RECURRENT_TANH || network->kind > KX_RECURRENT_GRU_PROPOSAL) return KX_E_ARGUMENT;
    const int64_t most = INT64_MAX >> 8;
    if (network->size > 1 << 24 || (network->steps > 0 && network->sequences > most / network->steps)) return KX_E_OVERFLOW;
    if (network->size > 0 && network->sequences * network->steps > most / network->size) return KX_E_OVERFLOW;
    return KX_OK;
}
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#include "recurrent.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#include "recurrent.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/recurrent_tiles.h"

typedef struct KX_TYPED(job) {
    const kx_recurrent_t *network;
    kx_recurrent_shape_t shape;
    const KX_REAL *inputs;
    KX_REAL *states, *cells, *gates;
    KX_TYPED(matrix) first, second; /* of h', of r h' */
    int64_t padded, row, chunk;     /* a block of a unit's gates, a row of them, sequences of a chunk */
    char *memory;
    size_t worker_bytes, state_part, cell_part, reset_part, gate_part;
} KX_TYPED(job);

/* Where U has no columns to pad, and is used too seldom to be worth the copy, it stays where it is. */
static KX_TYPED(matrix) KX_TYPED(pack)(const kx_recurrent_t *network, int blocks, int first, int count, int64_t padded, int in_place,
                                       KX_REAL *memory) {
    const int64_t size = network->size, width = kx_round_up(count * padded, WIDTH);
    const KX_REAL *weights = (const KX_REAL *)network->weights + first * size;
    if (in_place) return (KX_TYPED(matrix)){weights, WIDTH, (ptrdiff_t)(blocks * size), size, width};
    for (int64_t j = 0; j < width; j += KX_LANES) {
        const int64_t block = j / padded, unit = j % padded, there = block < count && unit < size ? size - unit : 0;
        const size_t bytes = (size_t)(there < KX_LANES ? there : KX_LANES) * sizeof *memory;
        KX_REAL *to = memory + j / WIDTH * WIDTH * size + j % WIDTH;
        const KX_REAL *from = weights + (bytes ? block * size + unit : 0);
        for (int64_t k = 0; k < size; k++) {
            memset(to + k * WIDTH, 0, KX_LANES * sizeof *to);
            memcpy(to + k * WIDTH, from + k * blocks * size, bytes);
        }
    }
    return (KX_TYPED(matrix)){memory, (ptrdiff_t)(WIDTH * size), WIDTH, size, width};
}

/* The gates that need h' alone, or all of a kind whose gates do. p: pre-activations, gates when it returns; u: r h' */
static KX_ALWAYS_INLINE void KX_TYPED(first_gates)(const kx_recurrent_kind_t kind, int64_t padded, KX_REAL *p, KX_REAL *h, KX_REAL *c,
                                                   KX_REAL *u) {
    const KX_VECTOR one = V(set)(1);
    for (int64_t j = 0; j < padded; j += KX_LANES) {
        if (kind == KX_RECURRENT_TANH) {
            V(store)(h + j, KX_TYPED(tanh)(V(load)(p + j)));
        } else if (kind == KX_RECURRENT_RELU) {
            V(store)(h + j, V(max)(V(set)(0), V(load)(p + j)));
        } else if (kind == KX_RECURRENT_LSTM) {
            const KX_VECTOR f = KX_TYPED(sigma)(V(load)(p + j)), i = KX_TYPED(sigma)(V(load)(p + padded + j));
            const KX_VECTOR g = KX_TYPED(tanh)(V(load)(p + 2 * padded + j)), o = KX_TYPED(sigma)(V(load)(p + 3 * padded + j));
            const KX_VECTOR cell = V(fma)(f, V(load)(c + j), V(mul)(i, g));
            V(store)(c + j, cell), V(store)(h + j, V(mul)(o, KX_TYPED(tanh)(cell)));
            V(store)(p + j, f), V(store)(p + padded + j, i), V(store)(p + 2 * padded + j, g), V(store)(p + 3 * padded + j, o);
        } else if (kind == KX_RECURRENT_GRU) {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j)), r = KX_TYPED(sigma)(V(load)(p + padded + j));
            V(store)(u + j, V(mul)(r, V(load)(h + j)));
            V(store)(p + j, z), V(store)(p + padded + j, r);
        } else if (kind == KX_RECURRENT_GRU_SINGLE) {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j));
            V(store)(u + j, V(mul)(z, V(load)(h + j))), V(store)(p + j, z);
        } else if (kind == KX_RECURRENT_GRU_AFTER) {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j)), r = KX_TYPED(sigma)(V(load)(p + padded + j));
            const KX_VECTOR n = KX_TYPED(tanh)(V(fma)(r, V(load)(p + 2 * padded + j), V(load)(p + 3 * padded + j)));
            V(store)(h + j, V(fma)(V(sub)(one, z), n, V(mul)(z, V(load)(h + j))));
            V(store)(p + j, z), V(store)(p + padded + j, r), V(store)(p + 3 * padded + j, n);
        } else {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j)), r = KX_TYPED(sigma)(V(load)(p + padded + j));
            const KX_VECTOR n = KX_TYPED(tanh)(V(load)(p + 2 * padded + j));
            const KX_VECTOR cell = V(fma)(V(sub)(one, z), V(load)(c + j), V(mul)(z, n));
            V(store)(c + j, cell), V(store)(h + j, V(mul)(r, cell));
            V(store)(p + j, z), V(store)(p + padded + j, r), V(store)(p + 2 * padded + j, n);
        }
    }
}

/* h = (1 - z) h' + z n */
static KX_ALWAYS_INLINE void KX_TYPED(second_gates)(int64_t padded, const KX_REAL *z, KX_REAL *n, KX_REAL *h) {
    for (int64_t j = 0; j < padded; j += KX_LANES) {
        const KX_VECTOR gate = V(load)(z + j), value = KX_TYPED(tanh)(V(load)(n + j));
        V(store)(h + j, V(fma)(V(sub)(V(set)(1), gate), V(load)(h + j), V(mul)(gate, value)));
        V(store)(n + j, value);
    }
}

static void KX_TYPED(first_gates_of)(kx_recurrent_kind_t kind, int64_t padded, KX_REAL *p, KX_REAL *h, KX_REAL *c, KX_REAL *u) {
    switch (kind) {
        case KX_RECURRENT_TANH: KX_TYPED(first_gates)(KX_RECURRENT_TANH, padded, p, h, c, u); break;
        case KX_RECURRENT_RELU: KX_TYPED(first_gates)(KX_RECURRENT_RELU, padded, p, h, c, u); break;
        case KX_RECURRENT_LSTM: KX_TYPED(first_gates)(KX_RECURRENT_LSTM, padded, p, h, c, u); break;
        case KX_RECURRENT_GRU: KX_TYPED(first_gates)(KX_RECURRENT_GRU, padded, p, h, c, u); break;
        case KX_RECURRENT_GRU_AFTER: KX_TYPED(first_gates)(KX_RECURRENT_GRU_AFTER, padded, p, h, c, u); break;
        case KX_RECURRENT_GRU_SINGLE: KX_TYPED(first_gates)(KX_RECURRENT_GRU_SINGLE, padded, p, h, c, u); break;
        default: KX_TYPED(first_gates)(KX_RECURRENT_GRU_PROPOSAL, padded, p, h, c, u);
    }
}

static kx_status_t KX_TYPED(run)(kx_task_t *task, void *arg, int64_t first_chunk, int64_t end_chunk) {
    const KX_TYPED(job) *job = arg;
    const kx_recurrent_t *network = job->network;
    const kx_recurrent_shape_t shape = job->shape;
    const int64_t size = network->size, padded = job->padded, steps = network->steps, row = job->row;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    KX_REAL *h = (KX_REAL *)(void *)(memory + job->state_part), *c = (KX_REAL *)(void *)(memory + job->cell_part);
    KX_REAL *u = (KX_REAL *)(void *)(memory + job->reset_part), *p = (KX_REAL *)(void *)(memory + job->gate_part);
    for (int64_t chunk = first_chunk; chunk < end_chunk; chunk++) {
        const int64_t begin = chunk * job->chunk;
        const int64_t rows = network->sequences - begin < job->chunk ? network->sequences - begin : job->chunk;
        KX_TYPED(begin_rows)(network->start, begin, rows, size, padded, h);
        KX_TYPED(begin_rows)(shape.has_cell ? network->cell_start : NULL, begin, rows, size, padded, c);
        memset(p, 0, (size_t)(rows * row) * sizeof *p);
        for (int64_t t = 0; t < steps; t++) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            for (int64_t i = 0; i < rows; i++) {
                const KX_REAL *from = job->inputs + ((begin + i) * steps + t) * shape.blocks * size;
                KX_REAL *to = p + i * row;
                if (network->kind == KX_RECURRENT_GRU_AFTER) {
                    KX_TYPED(spread)(from, 2, size, padded, to);
                    if (network->bias) memcpy(to + 2 * padded, network->bias, (size_t)size * sizeof *to);
                    else memset(to + 2 * padded, 0, (size_t)size * sizeof *to);
                    memcpy(to + 3 * padded, from + 2 * size, (size_t)size * sizeof *to);
                } else {
                    KX_TYPED(spread)(from, shape.blocks, size, padded, to);
                }
            }
            KX_TYPED(multiply_add)(rows, h, padded, &job->first, p, row);
            for (int64_t i = 0; i < rows; i++)
                KX_TYPED(first_gates_of)(network->kind, padded, p + i * row, h + i * padded, c + i * padded, u + i * padded);
            if (shape.first_blocks < shape.blocks) {
                const int64_t last = shape.first_blocks * padded;
                KX_TYPED(multiply_add)(rows, u, padded, &job->second, p + last, row);
                for (int64_t i = 0; i < rows; i++) KX_TYPED(second_gates)(padded, p + i * row, p + i * row + last, h + i * padded);
            }
            for (int64_t i = 0; i < rows; i++) {
                const int64_t place = (begin + i) * steps + t;
                memcpy(job->states + place * size, h + i * padded, (size_t)size * sizeof *h);
                if (shape.has_cell) memcpy(job->cells + place * size, c + i * padded, (size_t)size * sizeof *c);
                if (job->gates)
                    KX_TYPED(gather)(p + i * row, shape.kept_blocks, size, padded, job->gates + place * shape.kept_blocks * size);
            }
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_recurrent)) KX_RECURRENT_PARAMETERS(KX_REAL) {
    const kx_status_t checked = KX_KERNEL(kx_recurrent_check)(network);
    if (checked != KX_OK) return checked;
    if (network->sequences == 0 || network->steps == 0 || network->size == 0) return KX_OK;
    const kx_recurrent_shape_t shape = kx_recurrent_shape(network->kind);
    if (!network->weights || !inputs || !states || (shape.has_cell && !cells)) return KX_E_ARGUMENT;
    KX_TYPED(job) job = {.network = network, .shape = shape, .inputs = inputs, .states = states, .cells = cells, .gates = gates};
    if (shape.kept_blocks == 0) job.gates = NULL;
    const int64_t size = network->size, padded = kx_round_up(size, KX_LANES);
    const int second_blocks = shape.blocks - shape.first_blocks;
    const int64_t first_width = kx_round_up(shape.first_blocks * padded, WIDTH), second_width = kx_round_up(second_blocks * padded, WIDTH);
    job.padded = padded;
    const int64_t rows_end = shape.first_blocks * padded + second_width, blocks_end = shape.local_blocks * padded;
    job.row = first_width > rows_end ? first_width : rows_end;
    if (blocks_end > job.row) job.row = blocks_end;
    const int is_whole = padded == size && first_width == shape.first_blocks * size && second_width == second_blocks * size;
    const int in_place = is_whole && network->steps * network->sequences <= 8;
    /* A result does not depend on the chunk that its sequence is in, so chunks may depend on the workers. */
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1, share = (network->sequences - 1) / workers + 1;
    job.chunk = share < MOST_ROWS ? kx_round_up(share, TILE_ROWS) : MOST_ROWS;
    if (job.chunk > network->sequences) job.chunk = network->sequences;
    const int64_t chunks = (network->sequences - 1) / job.chunk + 1, used = workers < chunks ? workers : chunks;
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    const size_t number = sizeof(KX_REAL);
    job.state_part = kx_layout_add(&layout, job.chunk * padded, number);
    job.cell_part = kx_layout_add(&layout, job.chunk * padded, number);
    job.reset_part = kx_layout_add(&layout, job.chunk * padded, number);
    job.gate_part = kx_layout_add(&layout, job.chunk * job.row, number);
    job.worker_bytes = layout.bytes;
    const size_t first_part = kx_layout_add(&whole, in_place ? 0 : size * first_width, number);
    const size_t second_part = kx_layout_add(&whole, in_place ? 0 : size * second_width, number);
    size_t rows_part = 0;
    if (!layout.overflow) rows_part = kx_layout_add(&whole, used, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    char *memory = kx_allocate(ctx, whole.bytes);
    if (!memory) return KX_E_MEMORY;
    job.memory = memory + rows_part;
    job.first = KX_TYPED(pack)(network, shape.blocks, 0, shape.first_blocks, padded, in_place, (KX_REAL *)(void *)(memory + first_part));
    job.second = KX_TYPED(pack)(network, shape.blocks, shape.first_blocks, second_blocks, padded, in_place,
                                (KX_REAL *)(void *)(memory + second_part));
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, chunks, 1, KX_TYPED(run), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, memory);
    return status;
}
#undef V
#undef WIDTH
#endif
#endif
