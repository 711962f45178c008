/* Codes of bits: signs of numbers, all distances, and the nearest codes.

   CODES codes are taken into registers, a word of many codes in a vector, and go past all queries of a tile: a query's word is
   one broadcast load, and per vector and word there are an exclusive or, a count and an addition. A query's distances are
   compared with the k-th best so far by their least, so the usual end is one branch not taken for CODES pairs. 1e6 codes of 128
   bits, 64 queries, k = 10: 3.6 ms against faiss's 40 (one core of Zen 5, both with AVX512_VPOPCNTDQ; 9.9 ms with x86-64-v4
   alone, 20 with v3). */
#ifndef KX_FORM
#include "kexue/kx_hamming.h"

#include "isa/kernel.h"

#define KX_PACK_PARAMETERS(real)                                                                                     \
    (const real *x, int64_t rows, int64_t columns, ptrdiff_t x_row_stride, ptrdiff_t x_stride, uint64_t *codes,      \
     ptrdiff_t code_stride)
#define KX_DISTANCES_PARAMETERS                                                                                      \
    (const kx_ctx_t *ctx, const uint64_t *queries, int64_t query_count, const uint64_t *codes, int64_t code_count,   \
     int64_t words, int32_t *distances)
#define KX_NEIGHBORS_PARAMETERS                                                                                      \
    (const kx_ctx_t *ctx, const uint64_t *queries, int64_t query_count, const uint64_t *codes, int64_t code_count,   \
     int64_t words, int64_t k, int32_t *distances, int64_t *indices)

KX_DISPATCH(kx_hamming_pack_f32, KX_PACK_PARAMETERS(float), (x, rows, columns, x_row_stride, x_stride, codes, code_stride))
KX_DISPATCH(kx_hamming_pack_f64, KX_PACK_PARAMETERS(double), (x, rows, columns, x_row_stride, x_stride, codes, code_stride))
KX_DISPATCH(kx_hamming_distances, KX_DISTANCES_PARAMETERS, (ctx, queries, query_count, codes, code_count, words, distances))
KX_DISPATCH(kx_hamming_neighbors, KX_NEIGHBORS_PARAMETERS,
            (ctx, queries, query_count, codes, code_count, words, k, distances, indices))

#ifndef KX_DISPATCH_PASS
#include <math.h>

#include "isa/popcount.h"
#include "runtime/memory.h"

enum {
    VECTORS = 4,
    CODES = VECTORS * KX_U64_LANES,
    QUERIES = 128,      /* of a tile at most */
    CODES_ALIGN = 64,   /* segments of codes begin at multiples: a vector's codes are of one */
    SEGMENT = 1 << 15,  /* codes, at least: each segment looks for k anew */
    SMALL_WORK = 1 << 18, /* pairs of words that one thread has compared before another has begun */
    POLL_WORK = 1 << 12,  /* words compared with blocks between two looks at the clock: some 10 us */
    SHORT_SUM = 16,     /* words that bytes can count */
    LEAST_ROOM = 64,
    MERGES = 16         /* chunks of queries whose segments are merged */
};
/* Of a worker's candidates: queries of a tile are fewer if k is large. */
#define TILE_BYTES ((int64_t)1 << 25)
#define MERGED_ENTRIES ((int64_t)1 << 24)

/* What a query has found. A candidate is nearer than `limit`, the k-th best distance so far (or more than any): one at the same
   distance has a higher index than the k that are there. */
typedef struct kx_nearest {
    int64_t *indices;
    int32_t *distances;
    int64_t *counts; /* of each distance below the limit */
    int64_t size, below; /* candidates that are held; that are below the limit, always less than k */
} kx_nearest_t;

typedef struct kx_hamming_job {
    const uint64_t *queries, *codes;
    int64_t query_count, code_count, words, k;
    int64_t tile, segments, segment, room;
    char *memory;
    size_t worker_bytes, block_part, limit_part, nearest_part, count_part, index_part, distance_part;
    int32_t *distances;
    int64_t *indices;
    int32_t *segment_distances; /* of each segment k, or as many as it has codes; NULL if there is one segment */
    int64_t *segment_indices;
} kx_hamming_job_t;

/* The room's candidates without those that others have beaten: k or fewer. */
static void drop_beaten(kx_nearest_t *nearest, uint64_t limit, int64_t k) {
    int64_t kept = 0, ties = k - nearest->below;
    for (int64_t i = 0; i < nearest->size; i++) {
        const uint64_t distance = (uint64_t)nearest->distances[i];
        if (distance > limit || (distance == limit && ties-- <= 0)) continue;
        nearest->distances[kept] = nearest->distances[i];
        nearest->indices[kept++] = nearest->indices[i];
    }
    nearest->size = kept;
}

/* Codes first .. of one block; `near` has a bit for each that was below the limit. */
KX_NEVER_INLINE static void take(const kx_hamming_job_t *job, kx_nearest_t *nearest, uint64_t *limit,
                                 const uint64_t *distances, uint64_t near, int64_t first) {
    uint64_t now = *limit;
    for (; near; near &= near - 1) {
        const int lane = kx_lowest_bit(near);
        const uint64_t distance = distances[lane];
        if (distance >= now) continue;
        if (nearest->size == job->room) drop_beaten(nearest, now, job->k);
        nearest->distances[nearest->size] = (int32_t)distance;
        nearest->indices[nearest->size++] = first + lane;
        nearest->counts[distance]++;
        for (nearest->below++; nearest->below >= job->k;) nearest->below -= nearest->counts[--now];
    }
    *limit = now;
}

/* The k best in order: a counting sort, which keeps the order of equal distances. */
static void put_in_order(kx_nearest_t *nearest, uint64_t limit, int64_t k, int32_t *distances, int64_t *indices) {
    drop_beaten(nearest, limit, k);
    int64_t place = 0;
    for (uint64_t distance = 0; distance < limit; distance++) {
        const int64_t count = nearest->counts[distance];
        nearest->counts[distance] = place;
        place += count;
    }
    nearest->counts[limit] = place;
    for (int64_t i = 0; i < nearest->size; i++) {
        place = nearest->counts[nearest->distances[i]]++;
        distances[place] = nearest->distances[i];
        indices[place] = nearest->indices[i];
    }
}

/* Of a query and segment s: k results, or as many as it has codes. */
static int64_t results_of(const kx_hamming_job_t *job, int64_t s) {
    const int64_t left = job->code_count - s * job->segment, count = left < job->segment ? left : job->segment;
    return count < job->k ? count : job->k;
}

/* CODES codes, the first `count` of which there are: word w of code c to block[w * CODES + c], 0 for the others. */
static void interleave(const uint64_t *codes, int64_t count, int64_t words, uint64_t *block) {
    for (int64_t w = 0; w < words; w++)
        for (int64_t c = 0; c < CODES; c++) block[w * CODES + c] = c < count ? codes[c * words + w] : 0;
}

#define KX_FORM bytes
#define KX_TARGET
#define KX_ADD kx_bits_add
#define KX_TOTAL kx_bits_total
#include "hamming.c"
#undef KX_FORM
#undef KX_TARGET
#undef KX_ADD
#undef KX_TOTAL

#if KX_HAVE_VPOPCNTDQ
#define KX_FORM counted
#define KX_TARGET KX_VPOPCNTDQ_TARGET
#define KX_ADD(sum, a) kx_u64v_add(sum, kx_u64v_count(a))
#define KX_TOTAL(sum) (sum)
#include "hamming.c"
#undef KX_FORM
#undef KX_TARGET
#undef KX_ADD
#undef KX_TOTAL
#define KX_CHOOSE(name) (kx_isa_extensions() & KX_EXTENSION_VPOPCNTDQ ? name##_counted : name##_bytes)
#else
#define KX_CHOOSE(name) name##_bytes
#endif

static int workers_of(const kx_ctx_t *ctx) { return ctx && ctx->workers > 1 ? ctx->workers : 1; }
static int64_t at_most(int64_t a, int64_t most) { return a < most ? a : most; }
static int is_small(int64_t queries, int64_t codes, int64_t words) {
    return (double)queries * (double)codes * (double)words < SMALL_WORK;
}
static int are_bad(int64_t query_count, int64_t code_count, int64_t words) {
    return query_count < 0 || code_count < 0 || words < 1 || words > KX_HAMMING_MAX_WORDS;
}

kx_status_t KX_KERNEL(kx_hamming_distances) KX_DISTANCES_PARAMETERS {
    if (are_bad(query_count, code_count, words)) return KX_E_ARGUMENT;
    if (query_count == 0 || code_count == 0) return KX_OK;
    kx_hamming_job_t job = {.queries = queries, .codes = codes, .query_count = query_count, .code_count = code_count,
                            .words = words, .distances = distances};
    job.tile = query_count < QUERIES / 4 ? query_count : QUERIES / 4; /* rows of the result: a page of each is open */
    job.segment = kx_round_up(code_count < SEGMENT ? code_count : SEGMENT, CODES_ALIGN);
    job.segments = (code_count + job.segment - 1) / job.segment;
    const int64_t tasks = (query_count + job.tile - 1) / job.tile * job.segments;
    kx_layout_t layout = {0};
    job.block_part = kx_layout_add(&layout, CODES * words, sizeof(uint64_t));
    job.worker_bytes = layout.bytes;
    layout.bytes = 0;
    kx_layout_add(&layout, at_most(workers_of(ctx), tasks), job.worker_bytes);
    if (layout.overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!job.memory) return KX_E_MEMORY;
    const kx_status_t status =
        kx_parallel_for(ctx, tasks, is_small(query_count, code_count, words) ? tasks : 1, KX_CHOOSE(measure), &job);
    kx_release(ctx, job.memory);
    return status;
}

/* The k best of a query's segments, in order: taken as codes were, an ascending list at a time. */
static kx_status_t merge(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    kx_hamming_job_t *job = (kx_hamming_job_t *)arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    kx_nearest_t nearest = {.indices = (int64_t *)(void *)(memory + job->index_part),
                            .distances = (int32_t *)(void *)(memory + job->distance_part),
                            .counts = (int64_t *)(void *)(memory + job->count_part)};
    const size_t results = (size_t)((job->segments - 1) * results_of(job, 0) + results_of(job, job->segments - 1));
    for (int64_t q = begin; q < end; q++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        uint64_t limit = (uint64_t)(64 * job->words + 1);
        nearest.size = nearest.below = 0;
        memset(nearest.counts, 0, (size_t)(64 * job->words + 1) * sizeof *nearest.counts);
        const int32_t *distances = job->segment_distances + (size_t)q * results;
        const int64_t *indices = job->segment_indices + (size_t)q * results;
        for (int64_t s = 0; s < job->segments; s++) {
            const int64_t count = results_of(job, s);
            for (int64_t i = 0; i < count; i++) {
                const uint64_t distance = (uint64_t)distances[i];
                if (distance >= limit) break;
                take(job, &nearest, &limit, &distance, 1, indices[i]);
            }
            distances += count;
            indices += count;
        }
        put_in_order(&nearest, limit, job->k, job->distances + q * job->k, job->indices + q * job->k);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_hamming_neighbors) KX_NEIGHBORS_PARAMETERS {
    if (are_bad(query_count, code_count, words) || k < 0 || k > code_count) return KX_E_ARGUMENT;
    if (query_count == 0 || k == 0) return KX_OK;
    kx_hamming_job_t job = {.queries = queries, .codes = codes, .query_count = query_count, .code_count = code_count,
                            .words = words, .k = k, .distances = distances, .indices = indices};
    const int workers = workers_of(ctx);
    const int64_t bits = 64 * words + 1;
    job.room = code_count < LEAST_ROOM || k > code_count / 2 ? code_count : k < LEAST_ROOM / 2 ? LEAST_ROOM : 2 * k;
    const double query_bytes = 12.0 * (double)job.room + 8.0 * (double)bits;
    job.tile = query_bytes * QUERIES <= (double)TILE_BYTES ? QUERIES : (int64_t)((double)TILE_BYTES / query_bytes);
    if (job.tile > query_count) job.tile = query_count;
    if (job.tile < 1) job.tile = 1;
    const int64_t tiles = (query_count + job.tile - 1) / job.tile;

    /* Segments share out the codes where queries alone would leave workers idle. That their number depends on the workers does
       not show: there is one answer. */
    const int small = is_small(query_count, code_count, words);
    job.segments = 1;
    if (workers > 1 && !small && tiles < 4 * workers) {
        job.segments = (4 * workers + tiles - 1) / tiles;
        const int64_t most = code_count / SEGMENT;
        if (job.segments > most) job.segments = most;
        const int64_t entries = k < code_count / 4 ? k * job.segments : code_count;
        if ((double)query_count * (double)entries > (double)MERGED_ENTRIES) job.segments = 1;
        if (job.segments < 1) job.segments = 1;
    }
    job.segment = kx_round_up((code_count + job.segments - 1) / job.segments, CODES_ALIGN);
    job.segments = (code_count + job.segment - 1) / job.segment;

    kx_layout_t layout = {0};
    job.block_part = kx_layout_add(&layout, CODES * words, sizeof(uint64_t));
    job.limit_part = kx_layout_add(&layout, job.tile, sizeof(uint64_t));
    job.nearest_part = kx_layout_add(&layout, job.tile, sizeof(kx_nearest_t));
    job.count_part = kx_layout_add(&layout, job.tile * bits, sizeof(int64_t));
    if (job.room > INT64_MAX / 16 / job.tile) return KX_E_OVERFLOW;
    job.index_part = kx_layout_add(&layout, job.tile * job.room, sizeof(int64_t));
    job.distance_part = kx_layout_add(&layout, job.tile * job.room, sizeof(int32_t));
    job.worker_bytes = layout.bytes;
    const int overflow = layout.overflow;
    layout.bytes = 0;
    const int64_t tasks = tiles * job.segments, most_chunks = tasks < MERGES ? MERGES : tasks;
    kx_layout_add(&layout, at_most(workers, most_chunks), job.worker_bytes);
    const int64_t results = (job.segments - 1) * results_of(&job, 0) + results_of(&job, job.segments - 1);
    size_t segment_indices = 0, segment_distances = 0;
    if (job.segments > 1) {
        segment_indices = kx_layout_add(&layout, query_count * results, sizeof(int64_t));
        segment_distances = kx_layout_add(&layout, query_count * results, sizeof(int32_t));
    }
    if (layout.overflow || overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!job.memory) return KX_E_MEMORY;
    if (job.segments > 1) {
        job.segment_indices = (int64_t *)(void *)(job.memory + segment_indices);
        job.segment_distances = (int32_t *)(void *)(job.memory + segment_distances);
    }
    kx_status_t status = kx_parallel_for(ctx, tasks, small ? tasks : 1, KX_CHOOSE(search), &job);
    if (status == KX_OK && job.segments > 1)
        status = kx_parallel_for(ctx, query_count, kx_round_up(query_count, MERGES) / MERGES, merge, &job);
    kx_release(ctx, job.memory);
    return status;
}

/* isless: a < 0 raises the invalid flag for a NaN, and so do the plain vectors' comparisons. */
#if KX_SIMD_AVX512 || KX_SIMD_AVX2
enum { HAS_QUIET_LESS = 1 };
#else
enum { HAS_QUIET_LESS = 0 };
#endif
static int has_plus_f32(float a) { return !isless(a, 0.0f); }
static int has_plus_f64(double a) { return !isless(a, 0.0); }

#define KX_PACK(real, suffix, VECTOR, LANES)                                                                                    \
    static uint64_t pack_word_##suffix(const char *x, int64_t count, ptrdiff_t stride) {                                        \
        uint64_t word = 0;                                                                                                      \
        int64_t i = 0;                                                                                                          \
        if (HAS_QUIET_LESS && stride == (ptrdiff_t)sizeof(real)) {                                                              \
            const VECTOR zero = VECTOR##_set(0);                                                                                \
            for (; i + LANES <= count; i += LANES) {                                                                            \
                const VECTOR values = VECTOR##_load((const real *)(const void *)(x + i * stride));                              \
                const uint64_t minus = kx_##suffix##m_bits(VECTOR##_less(values, zero));                                        \
                word |= (minus ^ (((uint64_t)1 << LANES) - 1)) << i;                                                            \
            }                                                                                                                   \
        }                                                                                                                       \
        for (; i < count; i++) {                                                                                                \
            real value;                                                                                                         \
            memcpy(&value, x + i * stride, sizeof value);                                                                       \
            word |= (uint64_t)has_plus_##suffix(value) << i;                                                                    \
        }                                                                                                                       \
        return word;                                                                                                            \
    }                                                                                                                           \
    kx_status_t KX_KERNEL(kx_hamming_pack_##suffix) KX_PACK_PARAMETERS(real) {                                                  \
        for (int64_t r = 0; r < rows; r++) {                                                                                    \
            const char *row = (const char *)x + r * x_row_stride;                                                               \
            uint64_t *code = (uint64_t *)(void *)((char *)codes + r * code_stride);                                             \
            for (int64_t i = 0; i < columns; i += 64)                                                                           \
                code[i / 64] = pack_word_##suffix(row + i * x_stride, columns - i < 64 ? columns - i : 64, x_stride);           \
        }                                                                                                                       \
        return KX_OK;                                                                                                           \
    }
KX_PACK(float, f32, kx_f32v, KX_F32_LANES)
KX_PACK(double, f64, kx_f64v, KX_F64_LANES)
#endif

#else /* the template */

/* The distances of CODES codes to one query. `words` of at most 4 are a constant, and then `code` is in registers. */
KX_TARGET static KX_ALWAYS_INLINE void KX_PASTE(count_, KX_FORM)(const kx_u64v *code, const uint64_t *block,
                                                                  const uint64_t *query, const int64_t words,
                                                                  kx_u64v *distances) {
    if (words <= 4) {
        kx_u64v sums[VECTORS];
        for (int v = 0; v < VECTORS; v++) sums[v] = kx_u64v_set(0);
        for (int64_t w = 0; w < words; w++) {
            const kx_u64v bits = kx_u64v_set(query[w]);
            for (int v = 0; v < VECTORS; v++) sums[v] = KX_ADD(sums[v], kx_u64v_xor(code[w * VECTORS + v], bits));
        }
        for (int v = 0; v < VECTORS; v++) distances[v] = KX_TOTAL(sums[v]);
        return;
    }
    for (int v = 0; v < VECTORS; v++) distances[v] = kx_u64v_set(0);
    for (int64_t begin = 0; begin < words; begin += SHORT_SUM) {
        const int64_t end = words - begin < SHORT_SUM ? words : begin + SHORT_SUM;
        kx_u64v sums[VECTORS];
        for (int v = 0; v < VECTORS; v++) sums[v] = kx_u64v_set(0);
        for (int64_t w = begin; w < end; w++) {
            const kx_u64v bits = kx_u64v_set(query[w]);
            for (int v = 0; v < VECTORS; v++)
                sums[v] = KX_ADD(sums[v], kx_u64v_xor(kx_u64v_load(block + w * CODES + v * KX_U64_LANES), bits));
        }
        for (int v = 0; v < VECTORS; v++) distances[v] = kx_u64v_add(distances[v], KX_TOTAL(sums[v]));
    }
}

/* CODES codes as count_ takes them: word w of KX_U64_LANES codes in a vector. */
KX_TARGET static KX_ALWAYS_INLINE void KX_PASTE(gather_, KX_FORM)(const uint64_t *codes, int64_t count, const int64_t words,
                                                                   uint64_t *block, kx_u64v *code) {
    if (words > 4 || words == 3 || count < CODES) {
        interleave(codes, count, words, block);
        if (words <= 4)
            for (int64_t v = 0; v < words * VECTORS; v++) code[v] = kx_u64v_load(block + v * KX_U64_LANES);
        return;
    }
    for (int v = 0; v < VECTORS; v++) {
        kx_u64v parts[4];
        for (int64_t w = 0; w < words; w++) parts[w] = kx_u64v_load(codes + (v * words + w) * KX_U64_LANES);
        if (words == 2) kx_u64v_unzip(parts, parts + 1);
        if (words == 4) {
            kx_u64v_unzip(parts, parts + 1), kx_u64v_unzip(parts + 2, parts + 3);
            kx_u64v_unzip(parts, parts + 2), kx_u64v_unzip(parts + 1, parts + 3);
        }
        for (int64_t w = 0; w < words; w++) code[w * VECTORS + v] = parts[w];
    }
}

KX_TARGET static KX_ALWAYS_INLINE kx_status_t KX_PASTE(search_words_, KX_FORM)(kx_task_t *task, const kx_hamming_job_t *job,
                                                                                char *memory, int64_t first_query,
                                                                                int64_t query_count, int64_t begin, int64_t end,
                                                                                const int64_t words) {
    uint64_t *block = (uint64_t *)(void *)(memory + job->block_part), *limits = (uint64_t *)(void *)(memory + job->limit_part);
    kx_nearest_t *nearest = (kx_nearest_t *)(void *)(memory + job->nearest_part);
    const uint64_t *queries = job->queries + first_query * words;
    kx_u64v code[VECTORS * 4], distances[VECTORS];
    const int64_t poll = CODES * (1 + POLL_WORK / (words * query_count));
    for (int64_t i = begin, next_poll = begin; i < end; i += CODES) {
        if (i >= next_poll) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            next_poll = i + poll;
        }
        const int64_t count = end - i < CODES ? end - i : CODES;
        const uint64_t there = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
        KX_PASTE(gather_, KX_FORM)(job->codes + i * words, count, words, block, code);
        for (int64_t q = 0; q < query_count; q++) {
            KX_PASTE(count_, KX_FORM)(code, block, queries + q * words, words, distances);
            const kx_u64v limit = kx_u64v_set(limits[q]);
            const kx_u64v least = kx_u64v_min_short(kx_u64v_min_short(distances[0], distances[1]),
                                                    kx_u64v_min_short(distances[2], distances[3]));
            if (kx_u64v_less_short(least, limit) == 0) continue;
            uint64_t near = 0, numbers[CODES];
            for (int v = 0; v < VECTORS; v++) {
                kx_u64v_store(numbers + v * KX_U64_LANES, distances[v]);
                near |= (uint64_t)kx_u64v_less_short(distances[v], limit) << (v * KX_U64_LANES);
            }
            take(job, nearest + q, limits + q, numbers, near & there, i);
        }
    }
    return KX_OK;
}

KX_TARGET static kx_status_t KX_PASTE(search_, KX_FORM)(kx_task_t *task, void *arg, int64_t first_task, int64_t end_task) {
    const kx_hamming_job_t *job = (const kx_hamming_job_t *)arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    uint64_t *limits = (uint64_t *)(void *)(memory + job->limit_part);
    kx_nearest_t *nearest = (kx_nearest_t *)(void *)(memory + job->nearest_part);
    const int64_t bits = 64 * job->words + 1;
    for (int64_t t = first_task; t < end_task; t++) {
        const int64_t first = t / job->segments * job->tile, s = t % job->segments;
        const int64_t count = job->query_count - first < job->tile ? job->query_count - first : job->tile;
        const int64_t begin = s * job->segment, end = s + 1 < job->segments ? begin + job->segment : job->code_count;
        kx_hamming_job_t part = *job;
        part.k = results_of(job, s);
        memset(memory + job->count_part, 0, (size_t)(count * bits) * sizeof(int64_t));
        for (int64_t q = 0; q < count; q++) {
            limits[q] = (uint64_t)bits;
            nearest[q] = (kx_nearest_t){.indices = (int64_t *)(void *)(memory + job->index_part) + q * job->room,
                                        .distances = (int32_t *)(void *)(memory + job->distance_part) + q * job->room,
                                        .counts = (int64_t *)(void *)(memory + job->count_part) + q * bits};
        }
        kx_status_t status;
        switch (job->words) {
        case 1: status = KX_PASTE(search_words_, KX_FORM)(task, &part, memory, first, count, begin, end, 1); break;
        case 2: status = KX_PASTE(search_words_, KX_FORM)(task, &part, memory, first, count, begin, end, 2); break;
        case 3: status = KX_PASTE(search_words_, KX_FORM)(task, &part, memory, first, count, begin, end, 3); break;
        case 4: status = KX_PASTE(search_words_, KX_FORM)(task, &part, memory, first, count, begin, end, 4); break;
        default: status = KX_PASTE(search_words_, KX_FORM)(task, &part, memory, first, count, begin, end, job->words);
        }
        if (status != KX_OK) return status;
        const int64_t before = s * results_of(job, 0); /* of a query's results */
        const int64_t all = (job->segments - 1) * results_of(job, 0) + results_of(job, job->segments - 1);
        int32_t *distances = job->segment_distances ? job->segment_distances : job->distances;
        int64_t *indices = job->segment_indices ? job->segment_indices : job->indices;
        for (int64_t q = 0; q < count; q++) {
            const int64_t row = first + q, place = job->segment_indices ? row * all + before : row * job->k;
            put_in_order(nearest + q, limits[q], part.k, distances + place, indices + place);
        }
    }
    return KX_OK;
}

KX_TARGET static KX_ALWAYS_INLINE kx_status_t KX_PASTE(measure_words_, KX_FORM)(kx_task_t *task, const kx_hamming_job_t *job,
                                                                                 uint64_t *block, int64_t first_query,
                                                                                 int64_t end_query, int64_t begin, int64_t end,
                                                                                 const int64_t words) {
    kx_u64v code[VECTORS * 4], distances[VECTORS];
    const int64_t poll = CODES * (1 + POLL_WORK / (words * (end_query - first_query)));
    for (int64_t i = begin, next_poll = begin; i < end; i += CODES) {
        if (i >= next_poll) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            next_poll = i + poll;
        }
        const int64_t count = end - i < CODES ? end - i : CODES;
        KX_PASTE(gather_, KX_FORM)(job->codes + i * words, count, words, block, code);
        for (int64_t q = first_query; q < end_query; q++) {
            KX_PASTE(count_, KX_FORM)(code, block, job->queries + q * words, words, distances);
            int32_t *out = job->distances + q * job->code_count + i, last[CODES];
            int32_t *to = count < CODES ? last : out;
            for (int v = 0; v < VECTORS; v++) kx_u64v_store_short(to + v * KX_U64_LANES, distances[v]);
            if (count < CODES) memcpy(out, last, (size_t)count * sizeof *out);
        }
    }
    return KX_OK;
}

KX_TARGET static kx_status_t KX_PASTE(measure_, KX_FORM)(kx_task_t *task, void *arg, int64_t first_task, int64_t end_task) {
    const kx_hamming_job_t *job = (const kx_hamming_job_t *)arg;
    uint64_t *block = (uint64_t *)(void *)(job->memory + (size_t)kx_task_worker(task) * job->worker_bytes);
    for (int64_t t = first_task; t < end_task; t++) {
        const int64_t first = t / job->segments * job->tile, s = t % job->segments;
        const int64_t last = job->query_count - first < job->tile ? job->query_count : first + job->tile;
        const int64_t begin = s * job->segment, end = s + 1 < job->segments ? begin + job->segment : job->code_count;
        kx_status_t status;
        switch (job->words) {
        case 1: status = KX_PASTE(measure_words_, KX_FORM)(task, job, block, first, last, begin, end, 1); break;
        case 2: status = KX_PASTE(measure_words_, KX_FORM)(task, job, block, first, last, begin, end, 2); break;
        case 3: status = KX_PASTE(measure_words_, KX_FORM)(task, job, block, first, last, begin, end, 3); break;
        case 4: status = KX_PASTE(measure_words_, KX_FORM)(task, job, block, first, last, begin, end, 4); break;
        default: status = KX_PASTE(measure_words_, KX_FORM)(task, job, block, first, last, begin, end, job->words);
        }
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

#endif
