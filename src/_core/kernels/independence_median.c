/* The median of all pairwise distances, exactly, without keeping them.

   A radix selection by the bits of the distances (of their squares, if Euclidean), which order as they do: a pass over the tiles counts how many fall below a range
   and into each of its BINS parts; the range is then the part that holds the wanted rank. The first range is a guess from the pairs of a few
   points, wrong at times and then widened; with it, one pass is mostly enough to leave few enough numbers to be collected in a second. */
#ifndef KX_REAL
#include "kexue/kx_independence.h"

#include "isa/kernel.h"

#define KX_MEDIAN_PARAMETERS (const kx_ctx_t *ctx, const kx_independence_points_t *x, int64_t n, double *median)

KX_DISPATCH(kx_independence_median_distance_f32, KX_MEDIAN_PARAMETERS, (ctx, x, n, median))
KX_DISPATCH(kx_independence_median_distance_f64, KX_MEDIAN_PARAMETERS, (ctx, x, n, median))

#ifndef KX_DISPATCH_PASS
#include <float.h>

#include "kernels/independence_internal.h"

enum { BINS = 2048, COLLECTED = 1 << 20, GUESSING = 192, VECTORS = 3 };

/* A pass: numbers in [low, high) are counted by (number - low) >> shift, or written to `found` from the strip's own place on. */
typedef struct kx_median_job {
    const kx_independence_points_t *x;
    int64_t n, strips, blocks;
    const void *packed;
    uint64_t low, high;
    int shift;
    int64_t (*counts)[BINS + 1]; /* a strip's; the last: how many are below */
    uint64_t *found;
    uint64_t *least;
} kx_median_job_t;

static inline uint64_t bits_f64(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline double value_f64(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint64_t bits_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline double value_f32(uint64_t bits) {
    const uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return (double)value;
}

/* The number of rank `rank` of `count` numbers, which it moves about (Hoare's selection). */
static uint64_t select_rank(uint64_t *numbers, int64_t count, int64_t rank) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        const uint64_t a = numbers[low], b = numbers[low + (high - low) / 2], c = numbers[high];
        const uint64_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t i = low, j = high;
        while (i <= j) {
            while (numbers[i] < pivot) i++;
            while (numbers[j] > pivot) j--;
            if (i > j) break;
            const uint64_t moved = numbers[i];
            numbers[i++] = numbers[j];
            numbers[j--] = moved;
        }
        if (rank <= j) high = j;
        else if (rank >= i) low = i;
        else break;
    }
    return numbers[rank];
}

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_MASK_BITS kx_f32m_bits
#include "independence_median.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_MASK_BITS

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define KX_MASK_BITS kx_f64m_bits
#include "independence_median.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_MASK_BITS
#endif

#else /* the template */

#define PANEL KX_PASTE(KX_PANEL_, KX_SUFFIX)
#define BLOCK KX_PASTE(KX_BLOCK_, KX_SUFFIX)

static kx_status_t KX_TYPED(go_through)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    kx_median_job_t *job = (kx_median_job_t *)arg;
    const int64_t d = job->x->dimension;
    const KX_VECTOR low = V(set)((KX_REAL)KX_TYPED(value)(job->low)), high = V(set)((KX_REAL)KX_TYPED(value)(job->high - 1));
    alignas(64) KX_REAL tile[BLOCK * PANEL];
    for (int64_t strip = begin; strip < end; strip++) {
        uint64_t *found = job->found;
        for (int64_t s = 0; found && s < strip; s++) found += job->counts[s][0];
        uint64_t least = UINT64_MAX;
        int64_t *counts = job->counts[strip];
        if (!found) memset(counts, 0, sizeof job->counts[strip]);
        const int64_t last = kx_strip_begin(strip + 1, job->strips, job->blocks, 1);
        for (int64_t block = kx_strip_begin(strip, job->strips, job->blocks, 1); block < last; block++) {
            const int64_t i = block * BLOCK, rows = job->n - i < BLOCK ? job->n - i : BLOCK;
            for (int64_t j = i; j < job->n; j += PANEL) {
                if (kx_task_should_stop(task)) return KX_E_CANCELLED;
                KX_KERNEL(KX_TYPED(kx_independence_tile))(job->x, (const KX_REAL *)job->packed + i * d, rows,
                                                          (const KX_REAL *)job->packed + j * d, 1, tile);
                for (int64_t r = 0; r < rows; r++) {
                    const int64_t first = i + r + 1 > j ? i + r + 1 - j : 0, beyond = job->n - j < PANEL ? job->n - j : PANEL;
                    if (first >= beyond) continue;
                    const KX_REAL *row = tile + r * PANEL;
                    uint64_t below = 0, above = 0;
                    for (int v = 0; v < VECTORS; v++) {
                        const KX_VECTOR values = V(load)(row + v * KX_LANES);
                        below |= (uint64_t)KX_MASK_BITS(V(less)(values, low)) << (v * KX_LANES);
                        above |= (uint64_t)KX_MASK_BITS(V(less)(high, values)) << (v * KX_LANES);
                    }
                    const uint64_t pairs = ((UINT64_C(1) << beyond) - 1) >> first << first;
                    if (!found) counts[BINS] += kx_count_bits(below & pairs);
                    for (uint64_t rest = pairs & ~below & ~above; rest; rest &= rest - 1) {
                        const uint64_t bits = KX_TYPED(bits)(row[kx_lowest_bit(rest)]);
                        if (bits - job->low >= job->high - job->low) continue; /* where a caller makes subnormal numbers 0 */
                        if (found) *found++ = bits;
                        else if (job->least) least = bits < least ? bits : least;
                        else counts[(bits - job->low) >> job->shift]++;
                    }
                }
            }
        }
        if (job->least) job->least[strip] = least;
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(pass)(const kx_ctx_t *ctx, kx_median_job_t *job) {
    const int is_small = (double)job->n * (double)job->n * (double)job->x->dimension < KX_SERIAL_WORK;
    return kx_parallel_for(ctx, job->strips, is_small ? job->strips : 1, KX_TYPED(go_through), job);
}

/* The number of the rank. *up_to: how many are not above it; *next: the least that is, if it was met. `top` is above all. */
static kx_status_t KX_TYPED(find_rank)(const kx_ctx_t *ctx, kx_median_job_t *job, int64_t rank, uint64_t top, uint64_t *number,
                                       int64_t *up_to, uint64_t *next) {
    for (;;) {
        job->shift = 0;
        while ((job->high - 1 - job->low) >> job->shift >= BINS) job->shift++;
        kx_status_t status = KX_TYPED(pass)(ctx, job);
        if (status != KX_OK) return status;
        int64_t below = 0, bin = 0, inside = 0;
        for (int64_t s = 0; s < job->strips; s++) below += job->counts[s][BINS];
        const int64_t lower = below;
        for (; bin < BINS; bin++, below += inside) {
            inside = 0;
            for (int64_t s = 0; s < job->strips; s++) inside += job->counts[s][bin];
            if (below + inside > rank) break;
        }
        if (rank < lower) { /* the guess was too high, or too low */
            job->high = job->low;
            job->low = 0;
            continue;
        }
        if (bin == BINS) {
            job->low = job->high;
            job->high = top;
            continue;
        }
        job->low += (uint64_t)bin << job->shift;
        if (job->high - job->low > (uint64_t)1 << job->shift) job->high = job->low + ((uint64_t)1 << job->shift);
        if (job->high - job->low == 1) {
            *number = job->low;
            *up_to = below + inside;
            return KX_OK;
        }
        if (inside > COLLECTED) continue;
        for (int64_t s = 0; s < job->strips; s++) job->counts[s][0] = job->counts[s][bin];
        job->found = (uint64_t *)kx_allocate(ctx, (size_t)inside * sizeof *job->found);
        if (!job->found) return KX_E_MEMORY;
        uint64_t *found = job->found;
        status = KX_TYPED(pass)(ctx, job);
        job->found = NULL;
        if (status == KX_OK) {
            *number = select_rank(found, inside, rank - below);
            *up_to = below;
            for (int64_t k = 0; k < inside; k++) {
                *up_to += found[k] <= *number;
                if (found[k] > *number && found[k] < *next) *next = found[k];
            }
        }
        kx_release(ctx, found);
        return status;
    }
}

/* A range that holds the median of the pairs of some points. */
static void KX_TYPED(guess)(const kx_independence_points_t *x, int64_t n, KX_REAL *packed, uint64_t *numbers, uint64_t *low,
                            uint64_t *high) {
    const int64_t step = n / GUESSING;
    kx_independence_points_t some = *x;
    some.row_stride *= step;
    KX_KERNEL(KX_TYPED(kx_independence_pack))(&some, GUESSING, packed);
    alignas(64) KX_REAL tile[BLOCK * PANEL];
    int64_t count = 0;
    for (int64_t i = 0; i < GUESSING; i += BLOCK)
        for (int64_t j = i; j < GUESSING; j += PANEL) {
            const int64_t rows = GUESSING - i < BLOCK ? GUESSING - i : BLOCK;
            KX_KERNEL(KX_TYPED(kx_independence_tile))(x, packed + i * x->dimension, rows, packed + j * x->dimension, 1, tile);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < PANEL && j + c < GUESSING; c++)
                    if (j + c > i + r) numbers[count++] = KX_TYPED(bits)(tile[r * PANEL + c]);
        }
    *low = select_rank(numbers, count, count * 11 / 25);
    *high = select_rank(numbers, count, count * 14 / 25) + 1;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_median_distance)) KX_MEDIAN_PARAMETERS {
    kx_status_t status = KX_KERNEL(kx_independence_check)(x, n);
    if (status != KX_OK) return status;
    if (n < 2 || n > INT64_C(3000000000) || !median) return KX_E_ARGUMENT;
    for (int64_t i = 0; i < n && x->dimension > 0; i++) { /* a NaN is in no range */
        const KX_REAL *point = (const KX_REAL *)((const char *)x->points + i * x->row_stride);
        for (int64_t k = 0; k < x->dimension; k++)
            if (!(fabs((double)point[k]) <= DBL_MAX)) return KX_E_NONFINITE;
    }
    const uint64_t top = KX_TYPED(bits)((KX_REAL)INFINITY) + 1;
    kx_median_job_t job = {.x = x, .n = n, .blocks = (n + BLOCK - 1) / BLOCK, .low = 0, .high = top};
    job.strips = job.blocks < KX_STRIPS ? job.blocks : KX_STRIPS;
    kx_layout_t layout = {0, 0};
    const size_t packed_at = kx_layout_add(&layout, kx_round_up(n > GUESSING ? n : GUESSING, PANEL),
                                           (size_t)(x->dimension + !x->dimension) * sizeof(KX_REAL));
    const size_t counts_at = kx_layout_add(&layout, job.strips, sizeof *job.counts);
    const size_t least_at = kx_layout_add(&layout, job.strips, sizeof *job.least);
    const size_t numbers_at = kx_layout_add(&layout, GUESSING * (GUESSING - 1) / 2, sizeof(uint64_t));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    job.packed = block + packed_at;
    job.counts = (int64_t (*)[BINS + 1])(block + counts_at);
    if (n >= 2 * GUESSING)
        KX_TYPED(guess)(x, n, (KX_REAL *)(block + packed_at), (uint64_t *)(block + numbers_at), &job.low, &job.high);
    KX_KERNEL(KX_TYPED(kx_independence_pack))(x, n, (KX_REAL *)(block + packed_at));
    const int64_t pairs = n % 2 ? (n - 1) / 2 * n : n / 2 * (n - 1);
    uint64_t lower = 0, next = UINT64_MAX;
    int64_t up_to = 0;
    status = KX_TYPED(find_rank)(ctx, &job, (pairs - 1) / 2, top, &lower, &up_to, &next);
    const int is_between = pairs % 2 == 0 && up_to == pairs / 2;
    if (status == KX_OK && is_between && next == UINT64_MAX) {
        job.low = lower + 1;
        job.high = top;
        job.least = (uint64_t *)(block + least_at);
        status = KX_TYPED(pass)(ctx, &job);
        for (int64_t s = 0; s < job.strips; s++) next = job.least[s] < next ? job.least[s] : next;
    }
    kx_release(ctx, block);
    if (status != KX_OK) return status;
    double first = KX_TYPED(value)(lower), second = is_between ? KX_TYPED(value)(next) : first;
    if (x->kind != KX_INDEPENDENCE_LAPLACE) first = sqrt(first), second = sqrt(second);
    *median = 0.5 * first + 0.5 * second;
    return *median <= DBL_MAX ? KX_OK : KX_E_NONFINITE;
}
#undef PANEL
#undef BLOCK
#endif
