/* Projection by a dense matrix of signs, which is a function of a key.

   With a table look a vector, a few columns at a time (the four Russians' way): of a row's five numbers (four, in float64) the 32
   (16) sums with all signs fill two registers, of which a vector of components picks its own by one permutation. That and an
   addition stand for five FMAs; on a Zen 5 the pair took 0.34 ns, one FMA 0.30. The indices are made once for a panel of columns,
   the tables once for a row and a block of columns. Without such a permutation, an index is the sign itself, and the step is the
   FMA. */
#ifndef KX_REAL
#include "kexue/kx_projection.h"

#include "isa/kernel.h"

#define KX_RADEMACHER_PARAMETERS(REAL)                                                                                       \
    (const kx_ctx_t *ctx, const uint64_t key[2], const REAL *x, int64_t rows, int64_t d, ptrdiff_t row_stride,               \
     int64_t n_components, double scale, REAL *y, ptrdiff_t y_stride)
#define KX_RADEMACHER_ADJOINT_PARAMETERS(REAL)                                                                               \
    (const kx_ctx_t *ctx, const uint64_t key[2], const REAL *y, int64_t rows, int64_t n_components, ptrdiff_t y_stride,      \
     int64_t d, double scale, REAL *z, ptrdiff_t z_stride)
#define KX_RADEMACHER_CSR_PARAMETERS(REAL)                                                                                   \
    (const kx_ctx_t *ctx, const uint64_t key[2], const int64_t *row_starts, const int64_t *indices, const REAL *data,        \
     int64_t rows, int64_t d, int64_t n_components, double scale, REAL *y, ptrdiff_t y_stride)
#define KX_RADEMACHER_MATRIX_PARAMETERS(REAL)                                                                                \
    (const kx_ctx_t *ctx, const uint64_t key[2], int64_t n_components, int64_t first_column, int64_t d, double scale,        \
     REAL *matrix, ptrdiff_t row_stride)

KX_DISPATCH(kx_projection_rademacher_f32, KX_RADEMACHER_PARAMETERS(float),
            (ctx, key, x, rows, d, row_stride, n_components, scale, y, y_stride))
KX_DISPATCH(kx_projection_rademacher_f64, KX_RADEMACHER_PARAMETERS(double),
            (ctx, key, x, rows, d, row_stride, n_components, scale, y, y_stride))
KX_DISPATCH(kx_projection_rademacher_adjoint_f32, KX_RADEMACHER_ADJOINT_PARAMETERS(float),
            (ctx, key, y, rows, n_components, y_stride, d, scale, z, z_stride))
KX_DISPATCH(kx_projection_rademacher_adjoint_f64, KX_RADEMACHER_ADJOINT_PARAMETERS(double),
            (ctx, key, y, rows, n_components, y_stride, d, scale, z, z_stride))
KX_DISPATCH(kx_projection_rademacher_csr_f32, KX_RADEMACHER_CSR_PARAMETERS(float),
            (ctx, key, row_starts, indices, data, rows, d, n_components, scale, y, y_stride))
KX_DISPATCH(kx_projection_rademacher_csr_f64, KX_RADEMACHER_CSR_PARAMETERS(double),
            (ctx, key, row_starts, indices, data, rows, d, n_components, scale, y, y_stride))
KX_DISPATCH(kx_projection_rademacher_matrix_f32, KX_RADEMACHER_MATRIX_PARAMETERS(float),
            (ctx, key, n_components, first_column, d, scale, matrix, row_stride))
KX_DISPATCH(kx_projection_rademacher_matrix_f64, KX_RADEMACHER_MATRIX_PARAMETERS(double),
            (ctx, key, n_components, first_column, d, scale, matrix, row_stride))

#ifndef KX_DISPATCH_PASS
#include "isa/simd.h"
#include "runtime/memory.h"
#include "runtime/philox.h"

#if KX_SIMD_AVX512
enum { HAS_LOOKUP = 1, TILE_ROWS = 4, TILE_VECTORS = 4 };
#elif KX_SIMD_AVX2
enum { HAS_LOOKUP = 0, TILE_ROWS = 6, TILE_VECTORS = 2 };
#else
enum { HAS_LOOKUP = 0, TILE_ROWS = 2, TILE_VECTORS = 2 };
#endif
enum {
    STREAM = 256,              /* components that one Philox block has bits for */
    BLOCK_GROUPS = 32,         /* of columns, whose tables stay in the first cache */
    CHUNK_ROWS = 48,           /* a multiple of every TILE_ROWS */
    PANEL_BYTES = 1 << 24,     /* of indices */
    SLAB = 1 << 15,            /* outputs of a panel: at least BLOCK_GROUPS of groups fit it */
    BATCH = 4,                 /* entries of a CSR row for which sums are read and written once */
    CHUNK_ENTRIES = 1 << 18    /* of R times one number, that a chunk of CSR rows adds: about 20 us */
};

typedef struct kx_rademacher_job {
    uint64_t key[2];
    const void *x;
    const int64_t *row_starts, *indices;
    int64_t rows, inputs, outputs; /* d and n_components, or the other way round */
    ptrdiff_t row_stride, y_stride;
    double scale;
    void *y;
    /* the panel: index vectors of groups of inputs from first_input, for outputs from first_output, rounded up to whole streams
       */
    int64_t first_input, first_output, groups;
    void *panel;
    uint64_t *blocks; /* of CSR: Philox's, for all columns of each stream, or NULL where they are made as they are needed */
} kx_rademacher_job_t;

static kx_status_t fill_blocks(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rademacher_job_t *job = (const kx_rademacher_job_t *)arg;
    for (int64_t i = begin; i < end; i++) {
        if (i % STREAM == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        kx_philox_block(job->key, (uint64_t)(i % job->inputs) + 1, (uint64_t)(i / job->inputs), job->blocks + 4 * i);
    }
    return KX_OK;
}

/* with room to round up */
static int sizes_fit(const uint64_t *key, int64_t rows, int64_t d, int64_t n_components) {
    return key && rows >= 0 && d >= 0 && n_components >= 0 && d <= INT64_MAX - 4096 && n_components <= INT64_MAX - 4096;
}

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#define KX_BITS uint32_t
#define KX_LOOKUP kx_f32v_lookup32
#include "projection_rademacher.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef KX_BITS
#undef KX_LOOKUP

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define KX_BITS uint64_t
#define KX_LOOKUP kx_f64v_lookup16
#include "projection_rademacher.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef KX_BITS
#undef KX_LOOKUP
#endif

#else /* the template */

#define GROUP KX_TYPED(GROUP)
#define TABLE KX_TYPED(TABLE)
#define TILE KX_TYPED(TILE)

/* Columns of a group, numbers of its table, components of a tile */
enum {
    GROUP = HAS_LOOKUP ? (KX_LANES == 16 ? 5 : 4) : 1,
    TABLE = HAS_LOOKUP ? 2 * KX_LANES : 1,
    TILE = TILE_VECTORS * KX_LANES
};

/* The indices of a group's columns for the components of a stream: bit b is that of column b; or, without a lookup, the sign as a
   number. They go to tiles that are `stride` apart. */
static void KX_TYPED(fill_indices)(const uint64_t (*words)[4], KX_REAL *panel, int64_t stride) {
    const KX_REAL unit = 1;
    KX_BITS one;
    memcpy(&one, &unit, sizeof one);
    for (int part = 0; part < STREAM / 32; part++) {
        KX_BITS indices[32];
        for (int k = 0; k < 32; k++) indices[k] = HAS_LOOKUP ? 0 : one;
        for (int b = 0; b < GROUP; b++) {
            const uint32_t bits = (uint32_t)(words[b][part / 2] >> (part % 2 * 32));
            const int shift = HAS_LOOKUP ? b : (int)sizeof(KX_REAL) * 8 - 1;
            for (int k = 0; k < 32; k++) indices[k] |= (KX_BITS)((bits >> k) & 1) << shift;
        }
        for (int k = 0; k < 32; k += KX_LANES) {
            const int c = part * 32 + k;
            memcpy(panel + c / TILE * stride + c % TILE, indices + k, KX_LANES * sizeof *indices);
        }
    }
}

/* Of the panel's streams of groups [begin, end): stream by stream, all groups of each */
static kx_status_t KX_TYPED(fill_panel)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rademacher_job_t *job = (const kx_rademacher_job_t *)arg;
    uint64_t words[GROUP][4];
    for (int64_t i = begin; i < end; i++) {
        const int64_t part = i / job->groups, g = i % job->groups, stream = job->first_output / STREAM + part;
        if (g % BLOCK_GROUPS == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        for (int b = 0; b < GROUP; b++)
            kx_philox_block(job->key, (uint64_t)(job->first_input + g * GROUP + b) + 1, (uint64_t)stream, words[b]);
        KX_TYPED(fill_indices)((const uint64_t(*)[4])words, (KX_REAL *)job->panel + part * STREAM * job->groups + g * TILE,
                               job->groups * TILE);
    }
    return KX_OK;
}

/* The same for R instead of its transpose: inputs are components, and outputs columns. */
static kx_status_t KX_TYPED(fill_adjoint_panel)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rademacher_job_t *job = (const kx_rademacher_job_t *)arg;
    for (int64_t i = begin; i < end; i++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        KX_REAL *place = (KX_REAL *)job->panel + i / TILE * TILE * job->groups + i % TILE;
        uint64_t words[4];
        int64_t stream = -1;
        for (int64_t g = 0; g < job->groups; g++, place += TILE) {
            const KX_REAL unit = 1;
            KX_BITS index = 0;
            if (!HAS_LOOKUP) memcpy(&index, &unit, sizeof index);
            for (int b = 0; b < GROUP; b++) {
                const int64_t c = job->first_input + g * GROUP + b;
                if (c / STREAM != stream) {
                    stream = c / STREAM;
                    kx_philox_block(job->key, (uint64_t)(job->first_output + i) + 1, (uint64_t)stream, words);
                }
                const KX_BITS bit = (KX_BITS)(words[c % STREAM / 64] >> (c % 64) & 1);
                index |= bit << (HAS_LOOKUP ? b : (int)sizeof(KX_REAL) * 8 - 1);
            }
            memcpy(place, &index, sizeof index);
        }
    }
    return KX_OK;
}

/* The tables of a row's groups, `apart` numbers from one to the next; numbers from d on count as 0. */
static void KX_TYPED(fill_tables)(const KX_REAL *x, int64_t count, int64_t groups, int64_t apart, KX_REAL *tables) {
#if KX_SIMD_AVX512
    KX_VECTOR signs[GROUP - 1];
    for (int b = 0; b < GROUP - 1; b++) {
        KX_REAL lanes[KX_LANES];
        for (int k = 0; k < KX_LANES; k++) lanes[k] = (KX_REAL)(1 - 2 * ((k >> b) & 1));
        signs[b] = V(load)(lanes);
    }
    for (int64_t g = 0; g < groups; g++, x += GROUP, count -= GROUP, tables += apart) {
        KX_REAL last[GROUP] = {0};
        const KX_REAL *numbers = x;
        if (count < GROUP) {
            for (int64_t b = 0; b < count; b++) last[b] = x[b];
            numbers = last;
        }
        KX_VECTOR sums = V(mul)(V(set)(numbers[0]), signs[0]);
        for (int b = 1; b < GROUP - 1; b++) sums = V(fma)(V(set)(numbers[b]), signs[b], sums);
        const KX_VECTOR highest = V(set)(numbers[GROUP - 1]);
        V(store)(tables, V(add)(sums, highest));
        V(store)(tables + KX_LANES, V(sub)(sums, highest));
    }
#else
    for (int64_t g = 0; g < groups; g++) tables[g * apart] = g < count ? x[g] : 0;
#endif
}

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(step)(KX_VECTOR sum, const KX_REAL *table, KX_VECTOR index) {
#if KX_SIMD_AVX512
    return V(add)(sum, KX_LOOKUP(table, index));
#else
    return V(fma)(V(set)(*table), index, sum);
#endif
}

/* TILE_ROWS rows by TILE components over `groups` groups, added to what is in y unless it is the first; times scale if it is the
   last. */
static KX_NEVER_INLINE void KX_TYPED(add_tile)(const KX_REAL *tables, const KX_REAL *panel, int64_t groups, int is_first,
                                               int is_last, KX_REAL scale, KX_REAL *const *y) {
    KX_VECTOR sums[TILE_ROWS][TILE_VECTORS];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE_VECTORS; c++) sums[r][c] = is_first ? V(set)(0) : V(load)(y[r] + c * KX_LANES);
    for (int64_t g = 0; g < groups; g++) {
        for (int c = 0; c < TILE_VECTORS; c++) {
            const KX_VECTOR index = V(load)(panel + g * TILE + c * KX_LANES);
            for (int r = 0; r < TILE_ROWS; r++)
                sums[r][c] = KX_TYPED(step)(sums[r][c], tables + (g * TILE_ROWS + r) * TABLE, index);
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE_VECTORS; c++)
            V(store)(y[r] + c * KX_LANES, is_last ? V(mul)(sums[r][c], V(set)(scale)) : sums[r][c]);
}

static kx_status_t KX_TYPED(add_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rademacher_job_t *job = (const kx_rademacher_job_t *)arg;
    alignas(64) KX_REAL tables[BLOCK_GROUPS * TILE_ROWS * TABLE], part[TILE_ROWS][TILE];
    for (int64_t base = 0; base < job->groups; base += BLOCK_GROUPS) {
        const int64_t groups = job->groups - base < BLOCK_GROUPS ? job->groups - base : BLOCK_GROUPS;
        const int64_t column = job->first_input + base * GROUP;
        const int is_first = column == 0, is_last = column + groups * GROUP >= job->inputs;
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        for (int64_t i = begin; i < end; i += TILE_ROWS) {
            const int64_t count = end - i < TILE_ROWS ? end - i : TILE_ROWS;
            for (int64_t r = 0; r < TILE_ROWS; r++) { /* beyond the last row: the last again */
                const char *row = (const char *)job->x + (r < count ? i + r : end - 1) * job->row_stride;
                const KX_REAL *x = (const KX_REAL *)row + column;
                for (int64_t k = 0; k < BLOCK_GROUPS * GROUP * (int64_t)sizeof *x; k += 64)
                    kx_prefetch_far((const char *)(x + BLOCK_GROUPS * GROUP) + k);
                KX_TYPED(fill_tables)(x, job->inputs - column, groups, TILE_ROWS * TABLE, tables + r * TABLE);
            }
            for (int64_t c = 0; c < job->outputs; c += TILE) {
                const KX_REAL *panel = (const KX_REAL *)job->panel + c * job->groups + base * TILE;
                const size_t width = (size_t)(job->outputs - c < TILE ? job->outputs - c : TILE) * sizeof(KX_REAL);
                KX_REAL *y[TILE_ROWS];
                for (int r = 0; r < TILE_ROWS; r++) y[r] = (KX_REAL *)((char *)job->y + (i + r) * job->y_stride) + c;
                if (count == TILE_ROWS && width == sizeof *part) {
                    KX_TYPED(add_tile)(tables, panel, groups, is_first, is_last, (KX_REAL)job->scale, y);
                    continue;
                }
                KX_REAL *places[TILE_ROWS];
                for (int r = 0; r < TILE_ROWS; r++) {
                    places[r] = part[r];
                    if (!is_first && r < count) memcpy(part[r], y[r], width);
                }
                KX_TYPED(add_tile)(tables, panel, groups, is_first, is_last, (KX_REAL)job->scale, places);
                for (int64_t r = 0; r < count; r++) memcpy(y[r], part[r], width);
            }
        }
    }
    return KX_OK;
}

/* Fills in the fields of the panel. */
static kx_status_t KX_TYPED(multiply)(const kx_ctx_t *ctx, kx_rademacher_job_t *job, int is_adjoint) {
    const int64_t outputs = job->outputs, all_groups = (job->inputs + GROUP - 1) / GROUP;
    KX_REAL *const y = (KX_REAL *)job->y;
    if (job->rows == 0 || outputs == 0) return KX_OK;
    if (!y || (!job->x && job->inputs > 0)) return KX_E_ARGUMENT;
    if (job->inputs == 0) {
        for (int64_t i = 0; i < job->rows; i++) memset((char *)y + i * job->y_stride, 0, (size_t)outputs * sizeof *y);
        return KX_OK;
    }
    const int64_t padded = outputs < SLAB ? kx_round_up(outputs, STREAM) : SLAB;
    int64_t most = PANEL_BYTES / (int64_t)sizeof *y / padded / BLOCK_GROUPS * BLOCK_GROUPS;
    if (most > all_groups) most = all_groups;
    job->panel = kx_allocate(ctx, (size_t)(padded * most) * sizeof *y);
    if (!job->panel) return KX_E_MEMORY;
    kx_status_t status = KX_OK;
    int64_t next_poll_ns = 0;
    for (int64_t first = 0; status == KX_OK && first < outputs; first += padded) {
        job->first_output = first;
        job->outputs = outputs - first < padded ? outputs - first : padded;
        job->y = y + first;
        for (int64_t group = 0; status == KX_OK && group < all_groups; group += most) {
            if (kx_ctx_should_stop(ctx, &next_poll_ns)) { /* for few rows, a panel is over before it would ask */
                status = KX_E_CANCELLED;
                break;
            }
            job->first_input = group * GROUP;
            job->groups = all_groups - group < most ? all_groups - group : most;
            const int64_t width = kx_round_up(job->outputs, STREAM);
            if (is_adjoint) status = kx_parallel_for(ctx, width, STREAM, KX_TYPED(fill_adjoint_panel), job);
            else status = kx_parallel_for(ctx, width / STREAM * job->groups, 8 * BLOCK_GROUPS, KX_TYPED(fill_panel), job);
            if (status == KX_OK) status = kx_parallel_for(ctx, job->rows, CHUNK_ROWS, KX_TYPED(add_rows), job);
        }
    }
    kx_release(ctx, job->panel);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_projection_rademacher)) KX_RADEMACHER_PARAMETERS(KX_REAL) {
    if (!sizes_fit(key, rows, d, n_components)) return KX_E_ARGUMENT;
    kx_rademacher_job_t job = {.key = {key[0], key[1]}, .x = x, .rows = rows, .inputs = d, .outputs = n_components,
                               .row_stride = row_stride, .y_stride = y_stride, .scale = scale, .y = y};
    return KX_TYPED(multiply)(ctx, &job, 0);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_projection_rademacher_adjoint)) KX_RADEMACHER_ADJOINT_PARAMETERS(KX_REAL) {
    if (!sizes_fit(key, rows, d, n_components)) return KX_E_ARGUMENT;
    kx_rademacher_job_t job = {.key = {key[0], key[1]}, .x = y, .rows = rows, .inputs = n_components, .outputs = d,
                               .row_stride = y_stride, .y_stride = z_stride, .scale = scale, .y = z};
    return KX_TYPED(multiply)(ctx, &job, 1);
}

static kx_status_t KX_TYPED(add_entries)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rademacher_job_t *job = (const kx_rademacher_job_t *)arg;
    const KX_REAL *data = (const KX_REAL *)job->x;
    const KX_VECTOR scale = V(set)((KX_REAL)job->scale);
    alignas(64) KX_REAL sums[STREAM];
    for (int64_t i = begin; i < end; i++) {
        for (int64_t stream = 0; stream * STREAM < job->outputs; stream++) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            const int64_t left = job->outputs - stream * STREAM, width = left < STREAM ? left : STREAM;
            memset(sums, 0, sizeof sums);
            for (int64_t e = job->row_starts[i]; e < job->row_starts[i + 1]; e += BATCH) {
                uint64_t words[BATCH][4] = {{0}};
                KX_VECTOR plus[BATCH], minus[BATCH];
                for (int b = 0; b < BATCH; b++) {
                    const int is_entry = e + b < job->row_starts[i + 1];
                    const KX_REAL value = is_entry ? data[e + b] : 0;
                    plus[b] = V(set)(value);
                    minus[b] = V(set)(-value);
                    if (!is_entry) continue;
                    const int64_t j = job->indices[e + b];
                    if (job->blocks) memcpy(words[b], job->blocks + (stream * job->inputs + j) * 4, sizeof words[b]);
                    else kx_philox_block(job->key, (uint64_t)j + 1, (uint64_t)stream, words[b]);
                }
                for (int64_t c = 0; c < width; c += KX_LANES) {
                    KX_VECTOR sum = V(load)(sums + c);
                    for (int b = 0; b < BATCH; b++) {
                        const unsigned bits = (unsigned)(words[b][c / 64] >> (c % 64)) & ((1u << KX_LANES) - 1);
                        sum = V(add)(sum, V(select)(KX_PASTE(KX_MASK, _from_bits)(bits), minus[b], plus[b]));
                    }
                    V(store)(sums + c, sum);
                }
            }
            for (int64_t c = 0; c < width; c += KX_LANES) V(store)(sums + c, V(mul)(V(load)(sums + c), scale));
            memcpy((KX_REAL *)((char *)job->y + i * job->y_stride) + stream * STREAM, sums, (size_t)width * sizeof *sums);
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_projection_rademacher_csr)) KX_RADEMACHER_CSR_PARAMETERS(KX_REAL) {
    if (!sizes_fit(key, rows, d, n_components)) return KX_E_ARGUMENT;
    if (rows == 0 || n_components == 0) return KX_OK;
    if (!y || !row_starts || row_starts[0] < 0) return KX_E_ARGUMENT;
    for (int64_t i = 0; i < rows; i++)
        if (row_starts[i + 1] < row_starts[i]) return KX_E_ARGUMENT;
    const int64_t entries = row_starts[rows] - row_starts[0];
    if (entries > 0 && (!indices || !data)) return KX_E_ARGUMENT;
    int64_t columns = 0;
    for (int64_t e = row_starts[0]; e < row_starts[rows]; e++) {
        if (indices[e] < 0 || indices[e] >= d) return KX_E_ARGUMENT;
        columns = indices[e] >= columns ? indices[e] + 1 : columns;
    }
    kx_rademacher_job_t job = {.key = {key[0], key[1]}, .x = data, .row_starts = row_starts, .indices = indices, .rows = rows,
                               .inputs = columns, .outputs = n_components, .y_stride = y_stride, .scale = scale, .y = y};
    const int64_t streams = (n_components - 1) / STREAM + 1, most = PANEL_BYTES / 4 / (int64_t)sizeof *job.blocks;
    kx_status_t status = KX_OK;
    if (columns <= entries / 2 && columns > 0 && columns <= most / streams) {
        job.blocks = (uint64_t *)kx_allocate(ctx, (size_t)(columns * streams) * 4 * sizeof *job.blocks);
        if (!job.blocks) return KX_E_MEMORY;
        status = kx_parallel_for(ctx, columns * streams, 16 * STREAM, fill_blocks, &job);
    }
    const double work = ((double)entries / (double)rows + 1) * (double)kx_round_up(n_components, STREAM);
    const int64_t grain = work < CHUNK_ENTRIES ? (int64_t)(CHUNK_ENTRIES / work) : 1;
    if (status == KX_OK) status = kx_parallel_for(ctx, rows, grain, KX_TYPED(add_entries), &job);
    kx_release(ctx, job.blocks);
    return status;
}

static kx_status_t KX_TYPED(write_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rademacher_job_t *job = (const kx_rademacher_job_t *)arg;
    const KX_REAL plus = (KX_REAL)job->scale, minus = -plus;
    uint64_t words[4];
    for (int64_t stream = begin; stream < end; stream++) {
        for (int64_t j = 0; j < job->inputs; j++) {
            if (j % STREAM == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED;
            kx_philox_block(job->key, (uint64_t)(job->first_input + j) + 1, (uint64_t)stream, words);
            for (int64_t k = 0; k < STREAM && stream * STREAM + k < job->outputs; k++) {
                KX_REAL *row = (KX_REAL *)((char *)job->y + (stream * STREAM + k) * job->y_stride);
                row[j] = words[k / 64] >> (k % 64) & 1 ? minus : plus;
            }
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_projection_rademacher_matrix)) KX_RADEMACHER_MATRIX_PARAMETERS(KX_REAL) {
    if (!sizes_fit(key, first_column, d, n_components) || first_column > INT64_MAX - d) return KX_E_ARGUMENT;
    if (d == 0 || n_components == 0) return KX_OK;
    if (!matrix) return KX_E_ARGUMENT;
    kx_rademacher_job_t job = {.key = {key[0], key[1]}, .inputs = d, .outputs = n_components, .y_stride = row_stride,
                               .scale = scale, .y = matrix, .first_input = first_column};
    return kx_parallel_for(ctx, (n_components - 1) / STREAM + 1, 1, KX_TYPED(write_rows), &job);
}
#undef GROUP
#undef TABLE
#undef TILE
#endif
