/* Gradients of which a part is dropped: 32 random bytes, compared with the first digit of p, are the mask of 32 items. The
   template below is compiled for double and for float.

   A Philox block is 20 wide multiplications, about as long as 32 floats take from memory and back: one byte an item is what
   keeps a core at the speed of memory. Blocks are made for a tile of items at a time: compared one by one, each would wait for
   its words to be stored (16.6 ns a block in place of 6.8 on a Zen 5). */
#ifndef KX_REAL
#include "kexue/kx_child_tuning.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "isa/byte_masks.h"
#include "runtime/philox.h"

enum {
    BLOCK = KX_COMPARED_BYTES,
    TILE_BLOCKS = 64,
    TILE = TILE_BLOCKS * BLOCK,
    COLUMNS = 2048, /* sums that stay in the first cache */
    GRAIN = 1 << 15 /* items of a chunk: 10 us or so, and a multiple of TILE */
};

typedef struct kx_child_tuning_job {
    uint64_t key[2], first_position;
    int keeps_all;
    uint8_t digit; /* the first of p in base 256 */
    double rest;   /* of p behind it, in [0, 1) */
    const uint8_t *mask;
    const void *x;
    double scale;
    void *out;
} kx_child_tuning_job_t;

/* The item's first digit is that of p: the next ones decide. p ends after some digits, and u is not less than p then. */
static KX_NEVER_INLINE unsigned is_kept(const uint64_t key[2], uint64_t block, int byte, double rest) {
    for (uint64_t k = 1; rest > 0; k++) {
        uint64_t words[4];
        kx_philox_block(key, block + 1, k, words);
        const uint64_t random = words[byte / 8] >> (byte % 8 * 8) & 255;
        const uint64_t digit = (uint64_t)(rest * 256);
        if (random != digit) return random < digit;
        rest = rest * 256 - (double)digit;
    }
    return 0;
}

/* Bit i is set where position 32 first + i is kept, for some blocks from `first`; and there are 64 bits more to read. Positions
   wrap. */
static void fill_kept(const kx_child_tuning_job_t *job, uint64_t first, int blocks, uint32_t kept[TILE_BLOCKS + 3]) {
    uint64_t words[TILE_BLOCKS + 1][4];
    const uint64_t last = UINT64_MAX / BLOCK;
    for (int b = 0; b < blocks; b++) kx_philox_block(job->key, ((first + (uint64_t)b) & last) + 1, 0, words[b]);
    for (int b = 0; b < blocks; b++) {
        uint32_t equal;
        kept[b] = kx_bytes_below(words[b], job->digit, &equal);
        if (job->rest > 0)
            for (; equal; equal &= equal - 1) {
                const int byte = kx_lowest_bit(equal);
                kept[b] |= (uint32_t)is_kept(job->key, (first + (uint64_t)b) & last, byte, job->rest) << byte;
            }
    }
    kept[blocks] = kept[blocks + 1] = 0;
}

static KX_ALWAYS_INLINE unsigned bits_from(const uint32_t *bits, int64_t place) {
    const uint64_t pair = bits[place / 32] | (uint64_t)bits[place / 32 + 1] << 32;
    return (unsigned)(pair >> (place % 32));
}
#endif

#define KX_TEMPLATE "kernels/child_tuning.c"
#include "isa/each_real.h"

#else /* the template */

KX_DISPATCH(KX_TYPED(kx_child_tuning_drop),
            (const kx_ctx_t *ctx, const uint64_t key[2], uint64_t first_position, const KX_REAL *x, int64_t n, double p,
             double scale, KX_REAL *out),
            (ctx, key, first_position, x, n, p, scale, out))
KX_DISPATCH(KX_TYPED(kx_child_tuning_mask),
            (const kx_ctx_t *ctx, const uint8_t *mask, const KX_REAL *x, int64_t n, double scale, KX_REAL *out),
            (ctx, mask, x, n, scale, out))
KX_DISPATCH(KX_TYPED(kx_child_tuning_add_squares), (const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t stride, double *sums),
            (x, rows, n, stride, sums))

#ifndef KX_DISPATCH_PASS

/* Chosen before the product: what is dropped raises no flag. */
static KX_ALWAYS_INLINE void KX_TYPED(keep_vector)(KX_MASK kept, const KX_REAL *x, KX_VECTOR scale, KX_REAL *out) {
    V(store)(out, V(mul_or_zero)(kept, V(load)(x), scale));
}
static KX_ALWAYS_INLINE void KX_TYPED(keep_item)(unsigned kept, const KX_REAL *x, KX_REAL scale, KX_REAL *out) {
    const KX_REAL chosen = kept & 1 ? *x : 0;
    *out = chosen * scale;
}

/* How many items there are before the first whose address is a multiple of a vector's size: a store that crosses a line of the
   cache counts as two. */
static KX_ALWAYS_INLINE int64_t KX_TYPED(unaligned)(const KX_REAL *out, int64_t n) {
    const int64_t items = (int64_t)((0 - (uintptr_t)out / sizeof *out) % KX_LANES);
    return items < n ? items : n;
}

/* n items, of which the first has the bit `place`. */
static KX_ALWAYS_INLINE void KX_TYPED(keep)(const uint32_t *kept, int64_t place, const KX_REAL *x, int64_t n, KX_REAL scale,
                                            KX_REAL *out) {
    const KX_VECTOR scales = V(set)(scale);
    const int64_t head = KX_TYPED(unaligned)(out, n);
    int64_t i = 0;
    for (; i < head; i++) KX_TYPED(keep_item)(bits_from(kept, place + i), x + i, scale, out + i);
    for (; i + KX_LANES <= n; i += KX_LANES)
        KX_TYPED(keep_vector)(M(from_bits)(bits_from(kept, place + i) & ((1u << KX_LANES) - 1)), x + i, scales, out + i);
    for (; i < n; i++) KX_TYPED(keep_item)(bits_from(kept, place + i), x + i, scale, out + i);
}

static kx_status_t KX_TYPED(drop)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_child_tuning_job_t *job = (const kx_child_tuning_job_t *)arg;
    uint32_t kept[TILE_BLOCKS + 3];
    if (kx_task_should_stop(task)) return KX_E_CANCELLED;
    if (job->keeps_all) memset(kept, 0xff, sizeof kept);
    for (int64_t i = begin, count; i < end; i += count) {
        const uint64_t position = job->first_position + (uint64_t)i;
        const int64_t offset = (int64_t)(position % BLOCK);
        count = end - i < TILE ? end - i : TILE;
        if (!job->keeps_all) fill_kept(job, position / BLOCK, (int)((offset + count + BLOCK - 1) / BLOCK), kept);
        KX_TYPED(keep)(kept, offset, (const KX_REAL *)job->x + i, count, (KX_REAL)job->scale, (KX_REAL *)job->out + i);
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(mask)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_child_tuning_job_t *job = (const kx_child_tuning_job_t *)arg;
    const KX_REAL *x = (const KX_REAL *)job->x, scale = (KX_REAL)job->scale;
    KX_REAL *out = (KX_REAL *)job->out;
    const KX_VECTOR scales = V(set)(scale);
    const int64_t head = begin + KX_TYPED(unaligned)(out + begin, end - begin);
    int64_t i = begin;
    if (kx_task_should_stop(task)) return KX_E_CANCELLED;
    for (; i < head; i++) KX_TYPED(keep_item)(job->mask[i] != 0, x + i, scale, out + i);
    for (; i + KX_LANES <= end; i += KX_LANES) KX_TYPED(keep_vector)(M(from_bytes)(job->mask + i), x + i, scales, out + i);
    for (; i < end; i++) KX_TYPED(keep_item)(job->mask[i] != 0, x + i, scale, out + i);
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_child_tuning_drop))(const kx_ctx_t *ctx, const uint64_t key[2], uint64_t first_position,
                                                      const KX_REAL *x, int64_t n, double p, double scale, KX_REAL *out) {
    kx_child_tuning_job_t job = {.first_position = first_position, .x = x, .scale = scale, .out = out};
    if (n < 0 || !(p > 0 && p <= 1) || !(scale >= 0 && scale <= (sizeof *x == 4 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023)))
        return KX_E_ARGUMENT;
    if (n == 0) return KX_OK;
    if (!key || !x || !out) return KX_E_ARGUMENT;
    memcpy(job.key, key, sizeof job.key);
    job.keeps_all = p == 1;
    if (p < 1) {
        job.digit = (uint8_t)(p * 256);
        job.rest = p * 256 - (double)job.digit;
    }
    return kx_parallel_for(ctx, n, GRAIN, KX_TYPED(drop), &job);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_child_tuning_mask))(const kx_ctx_t *ctx, const uint8_t *mask, const KX_REAL *x, int64_t n,
                                                      double scale, KX_REAL *out) {
    kx_child_tuning_job_t job = {.mask = mask, .x = x, .scale = scale, .out = out};
    if (n < 0 || !(scale >= 0 && scale <= (sizeof *x == 4 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023))) return KX_E_ARGUMENT;
    if (n == 0) return KX_OK;
    if (!mask || !x || !out) return KX_E_ARGUMENT;
    return kx_parallel_for(ctx, n, GRAIN, KX_TYPED(mask), &job);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_child_tuning_add_squares))(const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t stride,
                                                             double *sums) {
    if (rows < 0 || n < 0) return KX_E_ARGUMENT;
    if (rows == 0 || n == 0) return KX_OK;
    if (!x || !sums) return KX_E_ARGUMENT;
    for (int64_t first = 0; first < n; first += COLUMNS) {
        const int64_t count = n - first < COLUMNS ? n - first : COLUMNS;
        double *KX_RESTRICT to = sums + first;
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            const KX_REAL *row[4];
            for (int k = 0; k < 4; k++) row[k] = (const KX_REAL *)(const void *)((const char *)x + (r + k) * stride) + first;
            for (int64_t i = 0; i < count; i++) {
                const double a = (double)row[0][i], b = (double)row[1][i], c = (double)row[2][i], d = (double)row[3][i];
                to[i] += (a * a + b * b) + (c * c + d * d);
            }
        }
        for (; r < rows; r++) {
            const KX_REAL *row = (const KX_REAL *)(const void *)((const char *)x + r * stride) + first;
            for (int64_t i = 0; i < count; i++) to[i] += (double)row[i] * (double)row[i];
        }
    }
    return KX_OK;
}
#endif
#endif
