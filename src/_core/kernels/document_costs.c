/* Tables of distances between word vectors: the ground costs of WMD and WRD, a block of words against a block of words.

   One side is packed to whole vectors and zero padded, the other read where it lies; four by four (two by four without AVX-512)
   sums stay in registers. Each sum has its own fixed order, so a distance does not depend on the block it is computed in. */
#ifndef KX_REAL
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/documents_internal.h"

#ifdef KX_SIMD_AVX512
enum { TILE_ROWS = 4 };
#else
enum { TILE_ROWS = 2 };
#endif
enum { TILE_COLUMNS = 4 };

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_MASK_BITS kx_f32m_bits
#include "document_costs.c"
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
#include "document_costs.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_MASK_BITS
#endif

#else /* the template */

/* Copies the rows `words` of the vectors, times a factor for each if there are any, to rows of `stride` numbers. */
void KX_KERNEL(KX_TYPED(kx_document_pack))(const KX_REAL *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                           int64_t count, const double *factors, KX_REAL *packed, int64_t stride) {
    for (int64_t r = 0; r < count; r++) {
        const KX_REAL *row = (const KX_REAL *)((const char *)vectors + words[r] * row_stride);
        KX_REAL *out = packed + r * stride;
        if (factors) {
            const double factor = factors[r];
            for (int64_t k = 0; k < dimension; k++) out[k] = (KX_REAL)((double)row[k] * factor);
        } else {
            memcpy(out, row, (size_t)dimension * sizeof *out);
        }
        for (int64_t k = dimension; k < stride; k++) out[k] = 0;
    }
    for (int64_t r = count; r % TILE_COLUMNS; r++) memset(packed + r * stride, 0, (size_t)stride * sizeof *packed);
}

/* Sums of squared differences of TILE_ROWS rows and TILE_COLUMNS packed ones. What of a row does not fill a vector is in `tails`,
   padded with zeros. */
static inline void KX_TYPED(squared_tile)(const KX_REAL *const *x, const KX_REAL *tails, const KX_REAL *y, int64_t whole,
                                          int64_t dimension, int64_t stride, KX_REAL *out, int64_t out_stride) {
    KX_VECTOR sums[TILE_ROWS][TILE_COLUMNS], columns[TILE_COLUMNS];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE_COLUMNS; c++) sums[r][c] = V(set)(0);
    for (int64_t k = 0; k < whole; k += KX_LANES) {
        for (int c = 0; c < TILE_COLUMNS; c++) columns[c] = V(load)(y + c * stride + k);
        for (int r = 0; r < TILE_ROWS; r++) {
            KX_VECTOR row = V(load)(x[r] + k);
            for (int c = 0; c < TILE_COLUMNS; c++) {
                KX_VECTOR difference = V(sub)(row, columns[c]);
                sums[r][c] = V(fma)(difference, difference, sums[r][c]);
            }
        }
    }
    if (whole < dimension) {
        for (int c = 0; c < TILE_COLUMNS; c++) columns[c] = V(load)(y + c * stride + whole);
        for (int r = 0; r < TILE_ROWS; r++) {
            KX_VECTOR row = V(load)(tails + r * KX_LANES);
            for (int c = 0; c < TILE_COLUMNS; c++) {
                KX_VECTOR difference = V(sub)(row, columns[c]);
                sums[r][c] = V(fma)(difference, difference, sums[r][c]);
            }
        }
    }
    for (int r = 0; r < TILE_ROWS; r++) V(sum4)(out + r * out_stride, sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
}

/* The distance of two rows whose squares leave the range or its accurate part: differences scaled by a power of two. */
static KX_NEVER_INLINE double KX_TYPED(scaled_distance)(const KX_REAL *x, const KX_REAL *y, int64_t dimension) {
    double largest = 0, sum = 0;
    int exponent;
    for (int64_t k = 0; k < dimension; k++) {
        const double size = fabs(0.5 * (double)x[k] - 0.5 * (double)y[k]);
        largest = size > largest ? size : largest;
    }
    if (largest == 0) return 0;
    frexp(largest, &exponent);
    for (int64_t k = 0; k < dimension; k++) {
        const double part = ldexp(0.5 * (double)x[k] - 0.5 * (double)y[k], -exponent);
        sum += part * part;
    }
    return ldexp(sqrt(sum), exponent + 1);
}

/* Squared sums to costs. Those outside of [low, high] are rare: equal words, and vectors of extreme size. */
static inline void KX_TYPED(finish_row)(const KX_REAL *x, const KX_REAL *y, int64_t columns, int64_t dimension, int64_t stride,
                                        int take_root, double scale, KX_REAL *row) {
    const int is_f32 = sizeof(KX_REAL) == sizeof(float);
    const KX_VECTOR factor = V(set)((KX_REAL)scale);
    const KX_VECTOR low = V(set)((KX_REAL)(is_f32 ? 1e-28 : 1e-280)), high = V(set)((KX_REAL)(is_f32 ? 1e37 : 1e300));
    for (int64_t j = 0; j < columns; j += KX_LANES) {
        const KX_VECTOR square = V(load)(row + j);
        KX_VECTOR value = take_root ? V(sqrt)(square) : square;
        V(store)(row + j, V(mul)(value, factor));
        const uint64_t present = columns - j < KX_LANES ? ((uint64_t)1 << (columns - j)) - 1 : ~(uint64_t)0;
        uint64_t outside = (KX_MASK_BITS(V(less)(square, low)) | KX_MASK_BITS(V(less)(high, square))) & present;
        for (; outside; outside &= outside - 1) {
            const int64_t column = j + kx_lowest_bit(outside);
            const double distance = KX_TYPED(scaled_distance)(x, y + column * stride, dimension);
            row[column] = (KX_REAL)((take_root ? distance : distance * distance) * scale);
        }
    }
}

void KX_KERNEL(KX_TYPED(kx_document_table))(const KX_REAL *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                            const KX_REAL *y, int64_t rows, int64_t columns, int64_t stride, int take_root,
                                            double scale, int are_far, KX_REAL *table, int64_t table_stride) {
    const int64_t whole = dimension / KX_LANES * KX_LANES;
    KX_REAL tails[TILE_ROWS * KX_LANES];
    memset(tails, 0, sizeof tails);
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
        const KX_REAL *x[TILE_ROWS];
        for (int64_t r = 0; r < TILE_ROWS; r++) {
            const int64_t row = i + r < rows ? i + r : rows - 1;
            x[r] = (const KX_REAL *)((const char *)vectors + (words ? words[row] : row) * row_stride);
            for (int64_t k = whole; k < dimension; k++) tails[r * KX_LANES + k - whole] = x[r][k]; /* memcpy's call costs more */
            if (!are_far) continue;
            /* The next rows on their way while these are worked on: the hardware's own prefetching left half of the time waiting.
               To the second cache, since the first is full of y: a search 8 to 11 % sooner where it has 32 kB. */
            const int64_t next = row + TILE_ROWS < rows ? row + TILE_ROWS : rows - 1;
            const char *ahead = (const char *)vectors + (words ? words[next] : next) * row_stride;
            for (int64_t k = 0; k < dimension * (int64_t)sizeof(KX_REAL); k += 64) kx_prefetch_far(ahead + k);
        }
        for (int64_t j = 0; j < columns; j += TILE_COLUMNS)
            KX_TYPED(squared_tile)(x, tails, y + j * stride, whole, dimension, stride, table + i * table_stride + j, table_stride);
        for (int64_t r = 0; r < TILE_ROWS && i + r < rows; r++)
            KX_TYPED(finish_row)(x[r], y, columns, dimension, stride, take_root, scale, table + (i + r) * table_stride);
    }
}
#endif
