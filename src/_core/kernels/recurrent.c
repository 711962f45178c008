/* Recurrent networks: products of some steps' inputs with W, then step by step of the states with U, both in packed panels, and
   the gates while their rows are in the cache. */
#ifndef KX_REAL
#include "kexue/kx_recurrent.h"

#include "isa/kernel.h"

#define KX_RECURRENT_PARAMETERS(real) \
    (const kx_ctx_t *ctx, const kx_recurrent_t *network, real *states, real *cells, real *gates)
KX_DISPATCH(kx_recurrent_f32, KX_RECURRENT_PARAMETERS(float), (ctx, network, states, cells, gates))
KX_DISPATCH(kx_recurrent_f64, KX_RECURRENT_PARAMETERS(double), (ctx, network, states, cells, gates))

#ifndef KX_DISPATCH_PASS
#include "kernels/recurrent_internal.h"

kx_status_t KX_KERNEL(kx_recurrent_check)(const kx_recurrent_t *network) {
    if (!network || network->sequences < 0 || network->steps < 0 || network->size < 0) return KX_E_ARGUMENT;
    if (network->dimension < 0) return KX_E_ARGUMENT;
    if ((int)network->kind < KX_RECURRENT_TANH || network->kind > KX_RECURRENT_GRU_PROPOSAL) return KX_E_ARGUMENT;
    const int64_t most = INT64_MAX >> 8;
    if (network->size > 1 << 24 || network->dimension > most) return KX_E_OVERFLOW;
    if (network->steps > 0 && network->sequences > most / network->steps) return KX_E_OVERFLOW;
    const int64_t rows = network->sequences * network->steps;
    if (network->size > 0 && rows > most / network->size) return KX_E_OVERFLOW;
    if (network->dimension > 0 && rows > most / network->dimension) return KX_E_OVERFLOW;
    return KX_OK;
}
#endif

#define KX_TEMPLATE "kernels/recurrent.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/recurrent_tiles.h"

typedef struct KX_TYPED(job) {
    const kx_recurrent_t *network;
    kx_recurrent_shape_t shape;
    KX_REAL *states, *cells, *gates;
    KX_TYPED(matrix) inputs, first, second; /* W, and U's columns for h' and for r h' */
    int64_t padded, place[4], row;          /* a gate's units, where each begins in a row of all */
    int64_t chunk, steps;                   /* sequences of a chunk, steps whose inputs are multiplied together */
    char *memory;
    size_t worker_bytes, state_part, cell_part, reset_part, input_part, bias_part, gate_part;
} KX_TYPED(job);

/* Blocks of columns of a matrix, the i-th to column place[i] - place[0]. Where there is nothing to pad, and the matrix is
   used too seldom to be worth the copy, it stays where it is. */
static KX_TYPED(matrix) KX_TYPED(pack)(const void *weights, int64_t depth, int64_t size, int blocks, int first, int count,
                                       const int64_t *place, int64_t width, int in_place, KX_REAL *memory) {
    const KX_REAL *from = (const KX_REAL *)weights + first * size;
    if (count == 0 || depth == 0) return (KX_TYPED(matrix)){memory, 0, 0, 0, 0};
    if (in_place) return (KX_TYPED(matrix)){from, WIDTH, (ptrdiff_t)(blocks * size), depth, width};
    memset(memory, 0, (size_t)(depth * width) * sizeof *memory);
    for (int block = 0; block < count; block++)
        for (int64_t j = 0; j < size;) {
            const int64_t column = place[first + block] - place[first] + j, room = WIDTH - column % WIDTH;
            const int64_t taken = size - j < room ? size - j : room;
            KX_REAL *to = memory + column / WIDTH * WIDTH * depth + column % WIDTH;
            for (int64_t k = 0; k < depth; k++)
                memcpy(to + k * WIDTH, from + k * blocks * size + block * size + j, (size_t)taken * sizeof *to);
            j += taken;
        }
    return (KX_TYPED(matrix)){memory, (ptrdiff_t)(WIDTH * depth), WIDTH, depth, width};
}

/* The gates that need h' alone, or all of a kind whose gates do. p: pre-activations, gates when it returns; u: r h' */
static KX_ALWAYS_INLINE void KX_TYPED(first_gates)(const kx_recurrent_kind_t kind, int64_t padded, const int64_t *place,
                                                   KX_REAL *p, KX_REAL *h, KX_REAL *c, KX_REAL *u) {
    const KX_VECTOR one = V(set)(1);
    KX_REAL *p1 = p + place[1], *p2 = p + place[2], *p3 = p + place[3];
    for (int64_t j = 0; j < padded; j += KX_LANES) {
        if (kind == KX_RECURRENT_TANH) {
            V(store)(h + j, KX_TYPED(tanh)(V(load)(p + j)));
        } else if (kind == KX_RECURRENT_RELU) {
            V(store)(h + j, V(max)(V(set)(0), V(load)(p + j)));
        } else if (kind == KX_RECURRENT_LSTM) {
            const KX_VECTOR f = KX_TYPED(sigma)(V(load)(p + j)), i = KX_TYPED(sigma)(V(load)(p1 + j));
            const KX_VECTOR g = KX_TYPED(tanh)(V(load)(p2 + j)), o = KX_TYPED(sigma)(V(load)(p3 + j));
            const KX_VECTOR cell = V(fma)(f, V(load)(c + j), V(mul)(i, g));
            V(store)(c + j, cell), V(store)(h + j, V(mul)(o, KX_TYPED(tanh)(cell)));
            V(store)(p + j, f), V(store)(p1 + j, i), V(store)(p2 + j, g), V(store)(p3 + j, o);
        } else if (kind == KX_RECURRENT_GRU) {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j)), r = KX_TYPED(sigma)(V(load)(p1 + j));
            V(store)(u + j, V(mul)(r, V(load)(h + j)));
            V(store)(p + j, z), V(store)(p1 + j, r);
        } else if (kind == KX_RECURRENT_GRU_SINGLE) {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j));
            V(store)(u + j, V(mul)(z, V(load)(h + j))), V(store)(p + j, z);
        } else if (kind == KX_RECURRENT_GRU_AFTER) {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j)), r = KX_TYPED(sigma)(V(load)(p1 + j));
            const KX_VECTOR n = KX_TYPED(tanh)(V(fma)(r, V(load)(p3 + j), V(load)(p2 + j)));
            V(store)(h + j, V(fma)(V(sub)(one, z), n, V(mul)(z, V(load)(h + j))));
            V(store)(p + j, z), V(store)(p1 + j, r), V(store)(p2 + j, n);
        } else {
            const KX_VECTOR z = KX_TYPED(sigma)(V(load)(p + j)), r = KX_TYPED(sigma)(V(load)(p1 + j));
            const KX_VECTOR n = KX_TYPED(tanh)(V(load)(p2 + j));
            const KX_VECTOR cell = V(fma)(V(sub)(one, z), V(load)(c + j), V(mul)(z, n));
            V(store)(c + j, cell), V(store)(h + j, V(mul)(r, cell));
            V(store)(p + j, z), V(store)(p1 + j, r), V(store)(p2 + j, n);
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

static void KX_TYPED(first_gates_of)(kx_recurrent_kind_t kind, int64_t padded, const int64_t *place, KX_REAL *p, KX_REAL *h,
                                     KX_REAL *c, KX_REAL *u) {
    switch (kind) {
        case KX_RECURRENT_TANH: KX_TYPED(first_gates)(KX_RECURRENT_TANH, padded, place, p, h, c, u); break;
        case KX_RECURRENT_RELU: KX_TYPED(first_gates)(KX_RECURRENT_RELU, padded, place, p, h, c, u); break;
        case KX_RECURRENT_LSTM: KX_TYPED(first_gates)(KX_RECURRENT_LSTM, padded, place, p, h, c, u); break;
        case KX_RECURRENT_GRU: KX_TYPED(first_gates)(KX_RECURRENT_GRU, padded, place, p, h, c, u); break;
        case KX_RECURRENT_GRU_AFTER: KX_TYPED(first_gates)(KX_RECURRENT_GRU_AFTER, padded, place, p, h, c, u); break;
        case KX_RECURRENT_GRU_SINGLE: KX_TYPED(first_gates)(KX_RECURRENT_GRU_SINGLE, padded, place, p, h, c, u); break;
        default: KX_TYPED(first_gates)(KX_RECURRENT_GRU_PROPOSAL, padded, place, p, h, c, u);
    }
}

/* Pre-activations of `steps` steps from step t on, without what the states add: of step t + s and sequence begin + i at row
   s * rows + i. */
static void KX_TYPED(project)(const KX_TYPED(job) *job, int64_t begin, int64_t rows, int64_t t, int64_t steps,
                              const KX_REAL *bias, KX_REAL *x, KX_REAL *p) {
    const int64_t dimension = job->network->dimension;
    for (int64_t s = 0; s < steps; s++)
        for (int64_t i = 0; i < rows; i++) {
            const KX_REAL *from = (const KX_REAL *)job->network->inputs + ((begin + i) * job->network->steps + t + s) * dimension;
            if (dimension) memcpy(x + (s * rows + i) * dimension, from, (size_t)dimension * sizeof *x);
            memcpy(p + (s * rows + i) * job->row, bias, (size_t)job->row * sizeof *p);
        }
    KX_TYPED(multiply_add)(rows * steps, x, dimension, &job->inputs, p, job->row);
}

/* A row of biases, where the gates are; what no gate has is 0. */
static void KX_TYPED(spread_bias)(const KX_TYPED(job) *job, KX_REAL *out) {
    const kx_recurrent_t *network = job->network;
    const size_t bytes = (size_t)network->size * sizeof *out;
    memset(out, 0, (size_t)job->row * sizeof *out);
    if (network->bias)
        for (int block = 0; block < job->shape.blocks; block++)
            memcpy(out + job->place[block], (const KX_REAL *)network->bias + block * network->size, bytes);
    if (network->kind == KX_RECURRENT_GRU_AFTER && network->recurrent_bias)
        memcpy(out + job->place[3], network->recurrent_bias, bytes);
}

static kx_status_t KX_TYPED(run)(kx_task_t *task, void *arg, int64_t first_chunk, int64_t end_chunk) {
    const KX_TYPED(job) *job = (const KX_TYPED(job) *)arg;
    const kx_recurrent_t *network = job->network;
    const kx_recurrent_shape_t shape = job->shape;
    const int64_t size = network->size, padded = job->padded, steps = network->steps, row = job->row;
    const size_t bytes = (size_t)size * sizeof(KX_REAL);
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    KX_REAL *h = (KX_REAL *)(void *)(memory + job->state_part), *c = (KX_REAL *)(void *)(memory + job->cell_part);
    KX_REAL *u = (KX_REAL *)(void *)(memory + job->reset_part), *x = (KX_REAL *)(void *)(memory + job->input_part);
    KX_REAL *bias = (KX_REAL *)(void *)(memory + job->bias_part), *rows_of_gates = (KX_REAL *)(void *)(memory + job->gate_part);
    KX_TYPED(spread_bias)(job, bias);
    for (int64_t chunk = first_chunk; chunk < end_chunk; chunk++) {
        const int64_t begin = chunk * job->chunk;
        const int64_t rows = network->sequences - begin < job->chunk ? network->sequences - begin : job->chunk;
        KX_TYPED(begin_rows)(network->start, begin, rows, size, padded, h);
        KX_TYPED(begin_rows)(shape.has_cell ? network->cell_start : NULL, begin, rows, size, padded, c);
        for (int64_t t = 0; t < steps; t++) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            if (t % job->steps == 0) {
                const int64_t left = steps - t;
                KX_TYPED(project)(job, begin, rows, t, left < job->steps ? left : job->steps, bias, x, rows_of_gates);
            }
            KX_REAL *p = rows_of_gates + t % job->steps * rows * row;
            KX_TYPED(multiply_add)(rows, h, padded, &job->first, p, row);
            if (network->kind == KX_RECURRENT_GRU_AFTER)
                KX_TYPED(multiply_add)(rows, h, padded, &job->second, p + job->place[3], row);
            for (int64_t i = 0; i < rows; i++)
                KX_TYPED(first_gates_of)(network->kind, padded, job->place, p + i * row, h + i * padded, c + i * padded,
                                         u + i * padded);
            if (shape.is_reset) {
                const int64_t last = job->place[shape.first_blocks];
                KX_TYPED(multiply_add)(rows, u, padded, &job->second, p + last, row);
                for (int64_t i = 0; i < rows; i++)
                    KX_TYPED(second_gates)(padded, p + i * row, p + i * row + last, h + i * padded);
            }
            for (int64_t i = 0; i < rows; i++) {
                const int64_t there = (begin + i) * steps + t;
                memcpy(job->states + there * size, h + i * padded, bytes);
                if (shape.has_cell) memcpy(job->cells + there * size, c + i * padded, bytes);
                if (job->gates)
                    for (int block = 0; block < shape.kept_blocks; block++)
                        memcpy(job->gates + (there * shape.kept_blocks + block) * size, p + i * row + job->place[block], bytes);
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
    if (!network->weights || !states || (shape.has_cell && !cells)) return KX_E_ARGUMENT;
    if (network->dimension > 0 && (!network->inputs || !network->input_weights)) return KX_E_ARGUMENT;
    KX_TYPED(job) job = {.network = network, .shape = shape, .states = states, .cells = cells, .gates = gates};
    const int64_t size = network->size, padded = kx_round_up(size, KX_LANES), dimension = network->dimension;
    const int second_blocks = shape.blocks - shape.first_blocks;
    const int64_t first_width = kx_round_up(shape.first_blocks * padded, WIDTH);
    const int64_t second_width = kx_round_up(second_blocks * padded, WIDTH);
    const int64_t width = first_width + second_width;
    /* Each group of gates has whole panels, so that the columns that pad one are never another's. */
    job.padded = padded;
    for (int block = 0; block < 4; block++)
        job.place[block] = block < shape.first_blocks ? block * padded : first_width + (block - shape.first_blocks) * padded;
    if (network->kind == KX_RECURRENT_GRU_AFTER) job.place[3] = width;
    job.row = width + (network->kind == KX_RECURRENT_GRU_AFTER ? second_width : 0);
    /* A result does not depend on the chunk that its sequence is in, so chunks may depend on the workers. */
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1, share = (network->sequences - 1) / workers + 1;
    job.chunk = share < KX_RECURRENT_MOST_ROWS ? kx_round_up(share, TILE_ROWS) : KX_RECURRENT_MOST_ROWS;
    if (job.chunk > network->sequences) job.chunk = network->sequences;
    job.steps = KX_RECURRENT_MOST_ROWS / job.chunk < network->steps ? KX_RECURRENT_MOST_ROWS / job.chunk : network->steps;
    const int64_t chunks = (network->sequences - 1) / job.chunk + 1, used = workers < chunks ? workers : chunks;
    const int in_place = width == shape.blocks * size && network->steps * ((network->sequences - 1) / TILE_ROWS + 1) <= 8;
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    const size_t number = sizeof(KX_REAL);
    job.state_part = kx_layout_add(&layout, job.chunk * padded, number);
    job.cell_part = kx_layout_add(&layout, job.chunk * padded, number);
    job.reset_part = kx_layout_add(&layout, job.chunk * padded, number);
    job.input_part = kx_layout_add(&layout, job.chunk * job.steps, (size_t)(dimension + 1) * number);
    job.bias_part = kx_layout_add(&layout, job.row, number);
    job.gate_part = kx_layout_add(&layout, job.chunk * job.steps * job.row, number);
    job.worker_bytes = layout.bytes;
    const size_t input_part = kx_layout_add(&whole, in_place ? 0 : width, (size_t)(dimension + 1) * number);
    const size_t first_part = kx_layout_add(&whole, in_place ? 0 : first_width, (size_t)size * number);
    const size_t second_part = kx_layout_add(&whole, in_place ? 0 : second_width, (size_t)size * number);
    size_t rows_part = 0;
    if (!layout.overflow) rows_part = kx_layout_add(&whole, used, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!memory) return KX_E_MEMORY;
    job.memory = memory + rows_part;
    job.inputs = KX_TYPED(pack)(network->input_weights, dimension, size, shape.blocks, 0, shape.blocks, job.place, width,
                                in_place, (KX_REAL *)(void *)(memory + input_part));
    job.first = KX_TYPED(pack)(network->weights, size, size, shape.blocks, 0, shape.first_blocks, job.place, first_width,
                               in_place, (KX_REAL *)(void *)(memory + first_part));
    job.second = KX_TYPED(pack)(network->weights, size, size, shape.blocks, shape.first_blocks, second_blocks, job.place,
                                second_width, in_place, (KX_REAL *)(void *)(memory + second_part));
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, chunks, 1, KX_TYPED(run), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, memory);
    return status;
}
#undef WIDTH
#endif
#endif
