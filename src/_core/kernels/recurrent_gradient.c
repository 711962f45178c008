/* Backpropagation through time: the gradients by the gates of a step, and their product with the
   transpose of U, from the last step on. */
#ifndef KX_REAL
#include "kexue/kx_recurrent.h"

#include "isa/kernel.h"

#define KX_RECURRENT_GRADIENT_PARAMETERS(real)                                                                        \
    (const kx_ctx_t *ctx, const kx_recurrent_t *network, const real *gates, const real *states, const real *cells,    \
     const real *state_gradients, const real *cell_gradients, real *gate_gradients, real *start_gradients,           \
     real *cell_start_gradients)
#define KX_RECURRENT_GRADIENT_ARGUMENTS                                                                               \
    (ctx, network, gates, states, cells, state_gradients, cell_gradients, gate_gradients, start_gradients, cell_start_gradients)
KX_DISPATCH(kx_recurrent_gradient_f32, KX_RECURRENT_GRADIENT_PARAMETERS(float), KX_RECURRENT_GRADIENT_ARGUMENTS)
KX_DISPATCH(kx_recurrent_gradient_f64, KX_RECURRENT_GRADIENT_PARAMETERS(double), KX_RECURRENT_GRADIENT_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include "kernels/recurrent_internal.h"
#endif

#define KX_TEMPLATE "kernels/recurrent_gradient.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/recurrent_tiles.h"

typedef struct KX_TYPED(job) {
    const kx_recurrent_t *network;
    kx_recurrent_shape_t shape;
    const KX_REAL *gates, *states, *cells, *state_gradients, *cell_gradients;
    KX_REAL *gate_gradients, *start_gradients, *cell_start_gradients;
    KX_TYPED(matrix) first, second;
    int64_t padded, state_row, row, chunk;
    char *memory;
    size_t worker_bytes, state_part, cell_part, reset_part, gate_part, step_part;
} KX_TYPED(job);

/* A row of what one step of one sequence has, padded; `gates` become the gradients by their pre-activations in `p`. */
typedef struct KX_TYPED(step) {
    const KX_REAL *gates, *h, *h_before, *c, *c_before;
    KX_REAL *p, *dh, *dc, *du;
    int64_t padded;
} KX_TYPED(step);

/* The transposes of `count` blocks of U, one below the other, each with rows of zeros below it up to `padded`. */
static KX_TYPED(matrix) KX_TYPED(pack_transposed)(const kx_recurrent_t *network, int blocks, int first, int count, int64_t padded,
                                                  int64_t width, KX_REAL *memory) {
    const int64_t size = network->size, depth = count * padded;
    const KX_REAL *weights = (const KX_REAL *)network->weights + first * size;
    memset(memory, 0, (size_t)(depth * width) * sizeof *memory);
    for (int64_t j = 0; j < size; j++) {
        KX_REAL *to = memory + j / WIDTH * WIDTH * depth + j % WIDTH;
        const KX_REAL *from = weights + j * blocks * size;
        for (int block = 0; block < count; block++)
            for (int64_t k = 0; k < size; k++) to[(block * padded + k) * WIDTH] = from[block * size + k];
    }
    return (KX_TYPED(matrix)){memory, (ptrdiff_t)(WIDTH * depth), WIDTH, depth, width};
}

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(by_sigma)(KX_VECTOR value, KX_VECTOR gradient) {
    return V(mul)(gradient, V(mul)(value, V(sub)(V(set)(1), value)));
}
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(by_tanh)(KX_VECTOR value, KX_VECTOR gradient) {
    return V(mul)(gradient, V(sub)(V(set)(1), V(mul)(value, value)));
}

/* dh and dc become what goes to the step before besides the products with U. */
static KX_ALWAYS_INLINE void KX_TYPED(last_gates)(const kx_recurrent_kind_t kind, const KX_TYPED(step) * s) {
    const int64_t padded = s->padded;
    const KX_VECTOR zero = V(set)(0), one = V(set)(1);
    for (int64_t j = 0; j < padded; j += KX_LANES) {
        const KX_VECTOR dh = V(load)(s->dh + j);
        KX_VECTOR before = zero;
        if (kind == KX_RECURRENT_TANH) {
            V(store)(s->p + j, KX_TYPED(by_tanh)(V(load)(s->h + j), dh));
        } else if (kind == KX_RECURRENT_RELU) {
            const KX_VECTOR h = V(load)(s->h + j); /* a NaN is not less, and 0 h keeps it */
            V(store)(s->p + j, V(select)(V(less)(zero, h), dh, V(mul)(zero, h)));
        } else if (kind == KX_RECURRENT_LSTM) {
            const KX_VECTOR f = V(load)(s->gates + j), i = V(load)(s->gates + padded + j), g = V(load)(s->gates + 2 * padded + j);
            const KX_VECTOR o = V(load)(s->gates + 3 * padded + j), out = KX_TYPED(tanh)(V(load)(s->c + j));
            const KX_VECTOR dc = V(add)(V(load)(s->dc + j), KX_TYPED(by_tanh)(out, V(mul)(dh, o)));
            V(store)(s->p + j, KX_TYPED(by_sigma)(f, V(mul)(dc, V(load)(s->c_before + j))));
            V(store)(s->p + padded + j, KX_TYPED(by_sigma)(i, V(mul)(dc, g)));
            V(store)(s->p + 2 * padded + j, KX_TYPED(by_tanh)(g, V(mul)(dc, i)));
            V(store)(s->p + 3 * padded + j, KX_TYPED(by_sigma)(o, V(mul)(dh, out)));
            V(store)(s->dc + j, V(mul)(dc, f));
        } else if (kind == KX_RECURRENT_GRU || kind == KX_RECURRENT_GRU_SINGLE) {
            const int64_t last = kind == KX_RECURRENT_GRU ? 2 * padded : padded;
            const KX_VECTOR z = V(load)(s->gates + j), n = V(load)(s->gates + last + j);
            V(store)(s->p + last + j, KX_TYPED(by_tanh)(n, V(mul)(dh, z)));
            V(store)(s->p + j, V(mul)(dh, V(sub)(n, V(load)(s->h_before + j)))); /* the gradient by z; its own is still to come */
            before = V(mul)(dh, V(sub)(one, z));
        } else if (kind == KX_RECURRENT_GRU_AFTER) {
            const KX_VECTOR z = V(load)(s->gates + j), r = V(load)(s->gates + padded + j), n = V(load)(s->gates + 2 * padded + j);
            const KX_VECTOR q = V(load)(s->gates + 3 * padded + j), dn = KX_TYPED(by_tanh)(n, V(mul)(dh, V(sub)(one, z)));
            V(store)(s->p + j, KX_TYPED(by_sigma)(z, V(mul)(dh, V(sub)(V(load)(s->h_before + j), n))));
            V(store)(s->p + padded + j, KX_TYPED(by_sigma)(r, V(mul)(dn, q)));
            V(store)(s->p + 2 * padded + j, dn), V(store)(s->p + 3 * padded + j, V(mul)(dn, r));
            before = V(mul)(dh, z);
        } else {
            const KX_VECTOR z = V(load)(s->gates + j), r = V(load)(s->gates + padded + j), n = V(load)(s->gates + 2 * padded + j);
            const KX_VECTOR dc = V(fma)(dh, r, V(load)(s->dc + j)), c_before = V(load)(s->c_before + j);
            V(store)(s->p + j, KX_TYPED(by_sigma)(z, V(mul)(dc, V(sub)(n, c_before))));
            V(store)(s->p + padded + j, KX_TYPED(by_sigma)(r, V(mul)(dh, V(load)(s->c + j))));
            V(store)(s->p + 2 * padded + j, KX_TYPED(by_tanh)(n, V(mul)(dc, z)));
            V(store)(s->dc + j, V(mul)(dc, V(sub)(one, z)));
        }
        V(store)(s->dh + j, before);
    }
}

/* After du = dn U_n^T, the gradient by r h' */
static KX_ALWAYS_INLINE void KX_TYPED(reset_gates)(const int is_single, const KX_TYPED(step) * s) {
    const int64_t padded = s->padded;
    for (int64_t j = 0; j < padded; j += KX_LANES) {
        const KX_VECTOR z = V(load)(s->gates + j), r = is_single ? z : V(load)(s->gates + padded + j), du = V(load)(s->du + j);
        const KX_VECTOR dr = V(mul)(du, V(load)(s->h_before + j)), dz = V(load)(s->p + j);
        V(store)(s->p + j, KX_TYPED(by_sigma)(z, is_single ? V(add)(dz, dr) : dz));
        if (!is_single) V(store)(s->p + padded + j, KX_TYPED(by_sigma)(r, dr));
        V(store)(s->dh + j, V(fma)(du, r, V(load)(s->dh + j)));
    }
}

static void KX_TYPED(last_gates_of)(kx_recurrent_kind_t kind, const KX_TYPED(step) * s) {
    switch (kind) {
        case KX_RECURRENT_TANH: KX_TYPED(last_gates)(KX_RECURRENT_TANH, s); break;
        case KX_RECURRENT_RELU: KX_TYPED(last_gates)(KX_RECURRENT_RELU, s); break;
        case KX_RECURRENT_LSTM: KX_TYPED(last_gates)(KX_RECURRENT_LSTM, s); break;
        case KX_RECURRENT_GRU: KX_TYPED(last_gates)(KX_RECURRENT_GRU, s); break;
        case KX_RECURRENT_GRU_AFTER: KX_TYPED(last_gates)(KX_RECURRENT_GRU_AFTER, s); break;
        case KX_RECURRENT_GRU_SINGLE: KX_TYPED(last_gates)(KX_RECURRENT_GRU_SINGLE, s); break;
        default: KX_TYPED(last_gates)(KX_RECURRENT_GRU_PROPOSAL, s);
    }
}

/* A row of `size` numbers a block, from and to padded blocks. */
static KX_ALWAYS_INLINE void KX_TYPED(spread)(const KX_REAL *from, int64_t place, int blocks, int64_t size, int64_t padded,
                                              KX_REAL *to) {
    for (int block = 0; block < blocks; block++)
        memcpy(to + block * padded, from + place + block * size, (size_t)size * sizeof *to);
}
static KX_ALWAYS_INLINE void KX_TYPED(gather)(const KX_REAL *from, int blocks, int64_t size, int64_t padded, KX_REAL *to) {
    for (int block = 0; block < blocks; block++) memcpy(to + block * size, from + block * padded, (size_t)size * sizeof *to);
}

/* Gates and states of step t: where they are, unless they need padding, or the state before is that of the start. */
static KX_TYPED(step) KX_TYPED(values_of)(const KX_TYPED(job) *job, int64_t sequence, int64_t t, KX_REAL *parts) {
    const kx_recurrent_t *network = job->network;
    const int64_t size = network->size, padded = job->padded, place = sequence * network->steps + t;
    const int blocks = job->shape.kept_blocks, has_cell = job->shape.has_cell, is_whole = size == padded;
    KX_REAL *h = parts + blocks * padded, *h_before = h + padded, *c = h_before + padded, *c_before = c + padded;
    KX_TYPED(step) step = {.gates = parts, .h = h, .h_before = h_before, .c = c, .c_before = c_before, .padded = padded};
    if (is_whole && blocks) step.gates = job->gates + place * blocks * size;
    else KX_TYPED(spread)(job->gates, place * blocks * size, blocks, size, padded, parts);
    if (is_whole) step.h = job->states + place * size;
    else KX_TYPED(spread)(job->states, place * size, 1, size, padded, h);
    if (t == 0) KX_TYPED(begin_rows)(network->start, sequence, 1, size, padded, h_before);
    else if (is_whole) step.h_before = job->states + (place - 1) * size;
    else KX_TYPED(spread)(job->states, (place - 1) * size, 1, size, padded, h_before);
    if (!has_cell) return step;
    if (is_whole) step.c = job->cells + place * size;
    else KX_TYPED(spread)(job->cells, place * size, 1, size, padded, c);
    if (t == 0) KX_TYPED(begin_rows)(network->cell_start, sequence, 1, size, padded, c_before);
    else if (is_whole) step.c_before = job->cells + (place - 1) * size;
    else KX_TYPED(spread)(job->cells, (place - 1) * size, 1, size, padded, c_before);
    return step;
}

static void KX_TYPED(prefetch)(const KX_REAL *from, int64_t n) {
    for (int64_t j = 0; j < n; j += 64 / (int64_t)sizeof *from) kx_prefetch_far(from + j);
}

static void KX_TYPED(add_row)(const KX_REAL *from, int64_t n, KX_REAL *to) {
    for (int64_t j = 0; j < n; j++) to[j] += from[j];
}

static kx_status_t KX_TYPED(run)(kx_task_t *task, void *arg, int64_t first_chunk, int64_t end_chunk) {
    const KX_TYPED(job) *job = (const KX_TYPED(job) *)arg;
    const kx_recurrent_t *network = job->network;
    const kx_recurrent_shape_t shape = job->shape;
    const int64_t size = network->size, padded = job->padded, steps = network->steps, row = job->row, state_row = job->state_row;
    const int kept = shape.kept_blocks ? shape.kept_blocks : 1;
    const size_t bytes = (size_t)size * sizeof(KX_REAL);
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    KX_REAL *dh = (KX_REAL *)(void *)(memory + job->state_part), *dc = (KX_REAL *)(void *)(memory + job->cell_part);
    KX_REAL *du = (KX_REAL *)(void *)(memory + job->reset_part), *p = (KX_REAL *)(void *)(memory + job->gate_part);
    KX_REAL *parts = (KX_REAL *)(void *)(memory + job->step_part); /* of a row: gates, h, h', c, c' */
    const int64_t parts_row = (shape.kept_blocks + 4) * padded;
    KX_TYPED(step) rows_of_steps[KX_RECURRENT_MOST_ROWS];
    for (int64_t chunk = first_chunk; chunk < end_chunk; chunk++) {
        const int64_t begin = chunk * job->chunk;
        const int64_t rows = network->sequences - begin < job->chunk ? network->sequences - begin : job->chunk;
        memset(dh, 0, (size_t)(rows * state_row) * sizeof *dh);
        memset(dc, 0, (size_t)(rows * padded) * sizeof *dc);
        memset(p, 0, (size_t)(rows * row) * sizeof *p);
        memset(parts, 0, (size_t)(rows * parts_row) * sizeof *parts);
        for (int64_t t = steps - 1; t >= 0; t--) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            for (int64_t i = 0; i < rows; i++) {
                const int64_t place = (begin + i) * steps + t;
                KX_TYPED(step) *step = &rows_of_steps[i];
                *step = KX_TYPED(values_of)(job, begin + i, t, parts + i * parts_row);
                step->p = p + i * row, step->dh = dh + i * state_row, step->dc = dc + i * padded, step->du = du + i * state_row;
                if (shape.has_cell && job->cell_gradients)
                    KX_TYPED(add_row)(job->cell_gradients + place * size, size, step->dc);
                KX_TYPED(add_row)(job->state_gradients + place * size, size, step->dh);
                KX_TYPED(last_gates_of)(network->kind, step);
                /* A step's rows are far apart, so nothing fetches them but this. */
                if (t > 0) {
                    KX_TYPED(prefetch)(job->gates + (place - 1) * shape.kept_blocks * size, shape.kept_blocks * size);
                    KX_TYPED(prefetch)(job->state_gradients + (place - 1) * size, size);
                    if (t > 1) KX_TYPED(prefetch)(job->states + (place - 2) * size, size);
                    if (t > 1 && shape.has_cell) KX_TYPED(prefetch)(job->cells + (place - 2) * size, size);
                }
            }
            if (shape.is_reset) {
                memset(du, 0, (size_t)(rows * state_row) * sizeof *du);
                KX_TYPED(multiply_add)(rows, p + shape.first_blocks * padded, row, &job->second, du, state_row);
                for (int64_t i = 0; i < rows; i++)
                    if (shape.first_blocks == 1) KX_TYPED(reset_gates)(1, &rows_of_steps[i]);
                    else KX_TYPED(reset_gates)(0, &rows_of_steps[i]);
            }
            KX_TYPED(multiply_add)(rows, p, row, &job->first, dh, state_row);
            if (network->kind == KX_RECURRENT_GRU_AFTER)
                KX_TYPED(multiply_add)(rows, p + 3 * padded, row, &job->second, dh, state_row);
            for (int64_t i = 0; i < rows; i++)
                KX_TYPED(gather)(p + i * row, kept, size, padded, job->gate_gradients + ((begin + i) * steps + t) * kept * size);
        }
        for (int64_t i = 0; i < rows; i++) {
            memcpy(job->start_gradients + (begin + i) * size, dh + i * state_row, bytes);
            if (shape.has_cell) memcpy(job->cell_start_gradients + (begin + i) * size, dc + i * padded, bytes);
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_recurrent_gradient)) KX_RECURRENT_GRADIENT_PARAMETERS(KX_REAL) {
    const kx_status_t checked = KX_KERNEL(kx_recurrent_check)(network);
    if (checked != KX_OK) return checked;
    if (network->sequences == 0 || network->size == 0) return KX_OK;
    const kx_recurrent_shape_t shape = kx_recurrent_shape(network->kind);
    if (!start_gradients || (shape.has_cell && !cell_start_gradients)) return KX_E_ARGUMENT;
    const int has_all = network->weights && states && state_gradients && gate_gradients && (cells || !shape.has_cell);
    if (network->steps > 0 && (!has_all || (shape.kept_blocks && !gates))) return KX_E_ARGUMENT;
    KX_TYPED(job) job = {.network = network, .shape = shape, .gates = gates, .states = states, .cells = cells};
    job.state_gradients = state_gradients, job.cell_gradients = cell_gradients;
    job.gate_gradients = gate_gradients, job.start_gradients = start_gradients, job.cell_start_gradients = cell_start_gradients;
    const int second_blocks = shape.blocks - shape.first_blocks;
    const int64_t size = network->size, padded = kx_round_up(size, KX_LANES), width = kx_round_up(padded, WIDTH);
    job.padded = padded, job.state_row = width, job.row = (shape.kept_blocks ? shape.kept_blocks : 1) * padded;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1, share = (network->sequences - 1) / workers + 1;
    job.chunk = share < KX_RECURRENT_MOST_ROWS ? kx_round_up(share, TILE_ROWS) : KX_RECURRENT_MOST_ROWS;
    if (job.chunk > network->sequences) job.chunk = network->sequences;
    const int64_t chunks = (network->sequences - 1) / job.chunk + 1, used = workers < chunks ? workers : chunks;
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    const size_t number = sizeof(KX_REAL);
    job.state_part = kx_layout_add(&layout, job.chunk * width, number);
    job.cell_part = kx_layout_add(&layout, job.chunk * padded, number);
    job.reset_part = kx_layout_add(&layout, job.chunk * width, number);
    job.gate_part = kx_layout_add(&layout, job.chunk * job.row, number);
    job.step_part = kx_layout_add(&layout, job.chunk * (shape.kept_blocks + 4) * padded, number);
    job.worker_bytes = layout.bytes;
    const size_t first_part = kx_layout_add(&whole, shape.first_blocks * padded * width, number);
    const size_t second_part = kx_layout_add(&whole, second_blocks * padded * width, number);
    size_t rows_part = 0;
    if (!layout.overflow) rows_part = kx_layout_add(&whole, used, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!memory) return KX_E_MEMORY;
    job.memory = memory + rows_part;
    if (network->steps > 0) {
        job.first = KX_TYPED(pack_transposed)(network, shape.blocks, 0, shape.first_blocks, padded, width,
                                              (KX_REAL *)(void *)(memory + first_part));
        job.second = KX_TYPED(pack_transposed)(network, shape.blocks, shape.first_blocks, second_blocks, padded, width,
                                               (KX_REAL *)(void *)(memory + second_part));
    }
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, chunks, 1, KX_TYPED(run), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, memory);
    return status;
}
#undef WIDTH
#endif
#endif
