/* Network simplex for problems of up to a few hundred nodes.

   The basis is a spanning tree whose arcs keep their slot number for as long as they are in the basis. For each node there
   is a bitset of the slots on its path to the root. Adding two paths over GF(2) gives the cycle that an entering arc closes,
   and when the entering arc takes the leaving arc's slot, the new path of every node behind the leaving arc is its old one
   plus that cycle. So a pivot is masked vector work over the nodes: no parent pointers, no walks, no branches to
   mispredict.

   Flows are int64 and perturbed (transport.c), so ties cannot occur: each pivot strictly decreases the cost and the method
   ends. The row-minimum start needs no artificial arcs. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <float.h>

#include "kernels/transport_internal.h"

typedef struct kx_small {
    int64_t m, n, stride;  /* stride: n rounded up to whole vectors */
    int64_t sink;          /* node number of column 0: m rounded up */
    int64_t nodes;         /* sink + stride */
    int64_t arcs;          /* m + n - 1 */
    int64_t block;         /* rows priced at a time */
    const double *cost;
    double *potential;     /* u of rows, -v of columns, by node; so both change with the same sign */
    int64_t fixed_stride;
    int32_t *fixed;        /* costs less their column's minimum in fixed point: multiples of 2^key_bits */
    int32_t *fixed_potential; /* the same for them, and in the low bits what makes a reduced cost tell its row and column */
    int column_bits, key_bits;
    uint64_t *path;        /* plane after plane: path[plane * nodes + node] */
    int64_t *flow;
    int32_t *row, *column; /* of an arc; nodes are row and sink + column */
} kx_small_t;

enum {
    LANES = 8,
    FIXED_LANES = 16,
    FIXED_FORBIDDEN = 1 << 29, /* ordinary fixed costs are below 2^28 */
    FIXED_CLOSED = 1 << 30
};

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static size_t lay_out(kx_small_t *s, int64_t m, int64_t n, char *block) {
    kx_layout_t layout = {0, 0};
    s->m = m;
    s->n = n;
    s->stride = round_up(n, LANES);
    s->sink = round_up(m, LANES);
    s->nodes = s->sink + s->stride;
    s->arcs = m + n - 1;
    s->fixed_stride = round_up(n, FIXED_LANES);
    /* All rows up to 32, half of them up to 64, 16 above: fastest or within 3% from 5 x 7 to 128 x 128. */
    s->block = m <= 32 ? m : m <= 64 ? (m + 1) / 2 : 16;
    int64_t planes = (s->arcs + 63) / 64;
    size_t potential = kx_layout_add(&layout, s->nodes, sizeof(double));
    size_t fixed = kx_layout_add(&layout, m * s->fixed_stride, sizeof(int32_t));
    size_t fixed_potential = kx_layout_add(&layout, s->nodes + FIXED_LANES, sizeof(int32_t));
    size_t path = kx_layout_add(&layout, planes * s->nodes, sizeof(uint64_t));
    size_t flow = kx_layout_add(&layout, planes * 64, sizeof(int64_t));
    if (block) {
        s->potential = (double *)(block + potential);
        s->fixed = (int32_t *)(block + fixed);
        s->fixed_potential = (int32_t *)(block + fixed_potential);
        s->path = (uint64_t *)(block + path);
        s->flow = (int64_t *)(block + flow);
    }
    return layout.bytes;
}

size_t KX_KERNEL(kx_emd_small_bytes)(int64_t m, int64_t n) {
    kx_small_t s = {0};
    return lay_out(&s, m, n, NULL);
}

/* The next set bit after `index`, cyclically; there is one. */
static inline int64_t next_bit(const uint64_t *set, int words, int64_t index) {
    int word = (int)((index + 1) >> 6);
    if (word < words) {
        uint64_t rest = set[word] & (~(uint64_t)0 << ((index + 1) & 63));
        while (!rest && ++word < words) rest = set[word];
        if (rest) return 64 * word + kx_lowest_bit(rest);
    }
    for (word = 0; !set[word];) word++;
    return 64 * word + kx_lowest_bit(set[word]);
}

/* int32 potentials wrap where a signed addition must not. */
static inline int32_t wrapping_add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

/* Fixed-point costs: pricing them takes a third of the time of float64, because 16 fit into a vector and because a reduced
   cost's low bits tell its place, so no second look is needed. The prices find the way and float64 has the last word. */
static void make_fixed(kx_small_t *s) {
    double *column_least = s->potential;
    kx_f64v high = kx_f64v_set(-INFINITY), low = kx_f64v_set(INFINITY);
    const kx_f64v infinity = kx_f64v_set(INFINITY);
    for (int64_t j = 0; j < s->stride; j += KX_F64_LANES) {
        kx_f64v least = infinity;
        for (int64_t i = 0; i < s->m; i++) {
            const kx_f64v c = kx_f64v_load(s->cost + i * s->stride + j);
            least = kx_f64v_min(c, least);
            high = kx_f64v_max(kx_f64v_select(kx_f64v_less(c, infinity), c, high), high);
        }
        low = kx_f64v_min(least, low);
        kx_f64v_store(column_least + j, kx_f64v_select(kx_f64v_less(least, infinity), least, kx_f64v_set(0)));
    }
    const double spread = -kx_f64v_reduce_min(kx_f64v_sub(kx_f64v_set(0), high)) - kx_f64v_reduce_min(low);
    int exponent = 0, row_bits = 0;
    while ((int64_t)1 << s->column_bits < s->fixed_stride) s->column_bits++;
    while ((int64_t)1 << row_bits < s->block) row_bits++;
    s->key_bits = s->column_bits + row_bits;
    frexp(spread, &exponent);
    const kx_f64v scale = kx_f64v_set(ldexp(1.0, 28 - s->key_bits - (exponent > -900 ? exponent : -900)));
    const kx_f64v most = kx_f64v_set(ldexp(1.0, 29 - s->key_bits));
    for (int64_t i = 0; i < s->m; i++) {
        const double *c = s->cost + i * s->stride;
        int32_t *fixed = s->fixed + i * s->fixed_stride;
        int64_t j = 0;
        for (; j < s->stride; j += KX_F64_LANES) {
            const kx_f64v above = kx_f64v_sub(kx_f64v_load(c + j), kx_f64v_load(column_least + j));
            kx_f64v_store_i32(fixed + j, kx_f64v_min(kx_f64v_mul(above, scale), most), s->key_bits);
        }
        for (; j < s->fixed_stride; j++) fixed[j] = FIXED_FORBIDDEN;
    }
}

/* The cheapest open column of a row, or -1. */
static inline int64_t cheapest_open(const kx_small_t *s, int64_t row, const int32_t *open) {
    const int32_t *costs = s->fixed + row * s->fixed_stride;
    kx_i32v best = kx_i32v_set(INT32_MAX);
    for (int64_t j = 0; j < s->fixed_stride; j += KX_F32_LANES)
        best = kx_i32v_min(kx_i32v_add(kx_i32v_load(costs + j), kx_i32v_load(open + j)), best);
    const int32_t least = kx_i32v_reduce_min(best);
    return least < FIXED_FORBIDDEN ? least & ((1 << s->column_bits) - 1) : -1;
}

/* The row-minimum start on costs less their column minimum (which saves a tenth of the pivots): the rows take turns, each
   gives what it can to its cheapest column that is still open. Every step closes one row or column (never both, thanks to the
   perturbation), so the arcs form a tree whose nodes, in the reverse order of closing, each hang from one already placed. */
static KX_ALWAYS_INLINE void start(kx_small_t *s, kx_emd_problem_t *p, const int planes, uint64_t *source_below) {
    int32_t open[KX_EMD_SMALL_NODES]; /* the column's number, or FIXED_CLOSED */
    int64_t *left_a = p->units_a, *left_b = p->units_b;
    uint64_t open_rows[KX_EMD_SMALL_NODES / 64];
    const int row_words = planes == 1 ? 1 : (int)((s->m + 63) / 64);
    make_fixed(s);
    for (int64_t j = 0; j < s->n; j++) open[j] = (int32_t)j;
    for (int64_t j = s->n; j < s->fixed_stride; j++) open[j] = FIXED_CLOSED;
    for (int w = 0; w < row_words; w++) open_rows[w] = ~(uint64_t)0;
    if (s->m & 63) open_rows[row_words - 1] = ((uint64_t)1 << (s->m & 63)) - 1;
    memset(s->path, 0, (size_t)(planes * s->nodes) * sizeof *s->path);
    for (int w = 0; w < planes; w++) source_below[w] = 0;
    for (int64_t k = s->arcs; k < 64 * planes; k++) s->flow[k] = 0;

    /* A row's search is one long chain of dependent instructions, so AHEAD of them run side by side; a row whose column was
       closed by the ones before it searches again. Rows and columns come out as one at a time. */
    enum { AHEAD = 8 };
    int64_t i = -1;
    for (int64_t k = 0; k < s->arcs;) {
        int64_t rows[AHEAD], places[AHEAD];
        int batch = 0;
        for (; batch < AHEAD; batch++) {
            i = next_bit(open_rows, row_words, i);
            if (batch > 0 && i == rows[0]) break; /* once around */
            rows[batch] = i;
        }
        i = rows[batch - 1];
        for (int r = 0; r < batch; r++) places[r] = cheapest_open(s, rows[r], open);
        for (int r = 0; r < batch && k < s->arcs; r++, k++) {
            const int64_t row = rows[r];
            int64_t j = places[r];
            if (j < 0 || left_b[j] == 0) j = cheapest_open(s, row, open);
            if (j < 0) /* only forbidden arcs are left */
                for (j = 0; left_b[j] == 0;) j++;
            const int64_t a = left_a[row], b = left_b[j];
            const int row_closes = a < b || k == s->arcs - 1;
            const int64_t amount = a < b ? a : b;
            left_a[row] = a - amount;
            left_b[j] = b - amount;
            kx_i32v_put(open, j, row_closes ? (int32_t)j : FIXED_CLOSED);
            open_rows[row >> 6] &= ~((uint64_t)row_closes << (row & 63));
            source_below[k >> 6] |= (uint64_t)row_closes << (k & 63);
            s->flow[k] = amount;
            s->row[k] = (int32_t)row;
            s->column[k] = (int32_t)j;
        }
    }

    double *potential = s->potential;
    int32_t *fixed_potential = s->fixed_potential;
    memset(potential, 0, (size_t)s->nodes * sizeof *potential);
    memset(fixed_potential, 0, (size_t)(s->nodes + FIXED_LANES) * sizeof *fixed_potential);
    for (int64_t k = s->arcs - 1; k >= 0; k--) {
        const int64_t row = s->row[k], column = s->sink + s->column[k];
        const int row_below = (int)(source_below[k >> 6] >> (k & 63) & 1);
        const double c = kx_emd_cost(p, s->row[k], s->column[k]);
        const int64_t child = row_below ? row : column, parent = row + column - child;
        potential[child] = potential[parent] + (row_below ? c : -c);
        const int32_t fixed = s->fixed[s->row[k] * s->fixed_stride + s->column[k]];
        fixed_potential[child] = wrapping_add(fixed_potential[parent], row_below ? fixed : -fixed);
        for (int w = 0; w < planes; w++)
            s->path[w * s->nodes + child] =
                s->path[w * s->nodes + parent] | (w == (int)(k >> 6) ? (uint64_t)1 << (k & 63) : 0);
    }
    for (int64_t i = 0, place = 0; i < s->m; i++, place = place + 1 < s->block ? place + 1 : 0)
        fixed_potential[i] = wrapping_add(fixed_potential[i], -(int32_t)(place << s->column_bits));
    for (int64_t j = 0; j < s->fixed_stride; j++)
        fixed_potential[s->sink + j] = wrapping_add(fixed_potential[s->sink + j], (int32_t)j);
}

/* Three steps of a pivot over whole bitsets. The vectoriser made 370 ns of a pivot at 20 x 30 from the plain form, the
   AVX-512 form takes 70: masks are registers there, not arrays. */
#ifdef KX_SIMD_AVX512

/* The least flow among the arcs of `set`. */
static inline int64_t least_flow(const int64_t *flow, const uint64_t *set, const int planes, const int groups) {
    __m512i least = _mm512_set1_epi64(INT64_MAX), other = least;
    for (int w = 0; w < planes; w++)
        for (int k = 0; k < 8 * groups; k += 16) {
            const __mmask8 in = (__mmask8)(set[w] >> k), next = (__mmask8)(set[w] >> (k + 8));
            least = _mm512_mask_min_epi64(least, in, least, _mm512_load_si512(flow + 64 * w + k));
            other = _mm512_mask_min_epi64(other, next, other, _mm512_load_si512(flow + 64 * w + k + 8));
        }
    return _mm512_reduce_min_epi64(_mm512_min_epi64(least, other));
}

/* Moves theta around the cycle. The arc of `falling` whose flow was theta is left with it, for the one that enters in its
   place, and returned. */
static inline int64_t move_flow(int64_t *flow, const uint64_t *falling, const uint64_t *rising, int64_t theta, const int planes,
                                const int groups) {
    const __m512i by = _mm512_set1_epi64(theta);
    int64_t leaving = 0;
    for (int w = 0; w < planes; w++) {
        uint64_t at_theta = 0;
        for (int k = 0; k < 8 * groups; k += 8) {
            const __mmask8 down = (__mmask8)(falling[w] >> k), up = (__mmask8)(rising[w] >> k);
            __m512i f = _mm512_load_si512(flow + 64 * w + k);
            const __mmask8 equal = _mm512_mask_cmpeq_epi64_mask(down, f, by);
            f = _mm512_mask_sub_epi64(f, down & (__mmask8)~equal, f, by);
            f = _mm512_mask_add_epi64(f, up, f, by);
            _mm512_store_si512(flow + 64 * w + k, f);
            at_theta |= (uint64_t)equal << k;
        }
        if (at_theta) leaving = 64 * w + kx_lowest_bit(at_theta);
    }
    return leaving;
}

/* For the nodes whose path has the bit: the potentials change and the cycle is added to the path. */
static inline void move_nodes(const kx_small_t *s, int plane, uint64_t bit, const uint64_t *cycle, double change,
                              int32_t fixed_change, const int planes) {
    const __m512i test = _mm512_set1_epi64((long long)bit);
    const __m512d by = _mm512_set1_pd(change);
    const __m256i fixed_by = _mm256_set1_epi32(fixed_change);
    for (int64_t x = 0; x < s->nodes; x += 8) {
        const __mmask8 behind = _mm512_test_epi64_mask(_mm512_load_si512(s->path + plane * s->nodes + x), test);
        const __m512d potential = _mm512_load_pd(s->potential + x);
        _mm512_store_pd(s->potential + x, _mm512_mask_add_pd(potential, behind, potential, by));
        __m256i *at_fixed = (__m256i *)(s->fixed_potential + x);
        const __m256i fixed = _mm256_load_si256(at_fixed);
        _mm256_store_si256(at_fixed, _mm256_mask_add_epi32(fixed, behind, fixed, fixed_by));
        for (int w = 0; w < planes; w++) {
            uint64_t *at = s->path + w * s->nodes + x;
            const __m512i bits = _mm512_load_si512(at);
            _mm512_store_si512(at, _mm512_mask_xor_epi64(bits, behind, bits, _mm512_set1_epi64((long long)cycle[w])));
        }
    }
}

#else

static inline int64_t least_flow(const int64_t *flow, const uint64_t *set, const int planes, const int groups) {
    int64_t least = INT64_MAX;
    (void)groups;
    for (int w = 0; w < planes; w++)
        for (uint64_t bits = set[w]; bits; bits &= bits - 1) {
            int64_t f = flow[64 * w + kx_lowest_bit(bits)];
            least = f < least ? f : least;
        }
    return least;
}

static inline int64_t move_flow(int64_t *flow, const uint64_t *falling, const uint64_t *rising, int64_t theta, const int planes,
                                const int groups) {
    int64_t leaving = 0;
    (void)groups;
    for (int w = 0; w < planes; w++) {
        for (uint64_t bits = falling[w]; bits; bits &= bits - 1) {
            int64_t k = 64 * w + kx_lowest_bit(bits);
            if (flow[k] == theta) leaving = k;
            flow[k] -= theta;
        }
        for (uint64_t bits = rising[w]; bits; bits &= bits - 1) flow[64 * w + kx_lowest_bit(bits)] += theta;
    }
    flow[leaving] = theta;
    return leaving;
}

#ifdef KX_SIMD_AVX2
static inline void move_nodes(const kx_small_t *s, int plane, uint64_t bit, const uint64_t *cycle, double change,
                              int32_t fixed_change, const int planes) {
    const __m256i test = _mm256_set1_epi64x((long long)bit);
    const __m256d by = _mm256_set1_pd(change);
    const __m128i fixed_by = _mm_set1_epi32(fixed_change);
    for (int64_t x = 0; x < s->nodes; x += 4) {
        const __m256i own = _mm256_load_si256((const __m256i *)(s->path + plane * s->nodes + x));
        const __m256i behind = _mm256_cmpeq_epi64(_mm256_and_si256(own, test), test);
        const __m256d wide = _mm256_castsi256_pd(behind);
        _mm256_store_pd(s->potential + x, _mm256_add_pd(_mm256_load_pd(s->potential + x), _mm256_and_pd(wide, by)));
        const __m128 low = _mm_castpd_ps(_mm256_castpd256_pd128(wide)), high = _mm_castpd_ps(_mm256_extractf128_pd(wide, 1));
        const __m128i narrow = _mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
        __m128i *fixed = (__m128i *)(s->fixed_potential + x);
        _mm_store_si128(fixed, _mm_add_epi32(_mm_load_si128(fixed), _mm_and_si128(narrow, fixed_by)));
        for (int w = 0; w < planes; w++) {
            __m256i *at = (__m256i *)(s->path + w * s->nodes + x);
            const __m256i turned = _mm256_and_si256(behind, _mm256_set1_epi64x((long long)cycle[w]));
            _mm256_store_si256(at, _mm256_xor_si256(_mm256_load_si256(at), turned));
        }
    }
}
#else
static inline void move_nodes(const kx_small_t *s, int plane, uint64_t bit, const uint64_t *cycle, double change,
                              int32_t fixed_change, const int planes) {
    for (int64_t x = 0; x < s->nodes; x++) {
        uint64_t behind = s->path[plane * s->nodes + x] & bit;
        uint64_t all = behind ? ~(uint64_t)0 : 0;
        s->potential[x] += behind ? change : 0.0;
        s->fixed_potential[x] = wrapping_add(s->fixed_potential[x], behind ? fixed_change : 0);
        for (int w = 0; w < planes; w++) s->path[w * s->nodes + x] ^= cycle[w] & all;
    }
}
#endif

#endif

static KX_ALWAYS_INLINE kx_i32v least_of_columns(const kx_small_t *s, int64_t first, int64_t last, int64_t column,
                                                 const int vectors) {
    const int32_t *c = s->fixed + first * s->fixed_stride + column, *w = s->fixed_potential + s->sink + column;
    kx_i32v best[2 * FIXED_LANES / 4];
    for (int k = 0; k < vectors; k++) best[k] = kx_i32v_set(INT32_MAX);
    for (int64_t i = first; i < last; i++, c += s->fixed_stride) {
        const kx_i32v u = kx_i32v_set(s->fixed_potential[i]);
        for (int k = 0; k < vectors; k++) best[k] = kx_i32v_min(kx_i32v_sub(kx_i32v_load(c + k * KX_F32_LANES), u), best[k]);
    }
    for (int k = 0; k < vectors; k++) best[k] = kx_i32v_add(best[k], kx_i32v_load(w + k * KX_F32_LANES));
    for (int k = 1; k < vectors; k++) best[0] = kx_i32v_min(best[0], best[k]);
    return best[0];
}

/* The least reduced cost of rows first .. last - 1 in fixed point, its place in the low bits. */
static inline int32_t price_fixed(const kx_small_t *s, int64_t first, int64_t last) {
    const int64_t stride = s->fixed_stride;
    kx_i32v overall = kx_i32v_set(INT32_MAX);
    int64_t j = 0;
    for (; j + 2 * FIXED_LANES <= stride; j += 2 * FIXED_LANES)
        overall = kx_i32v_min(overall, least_of_columns(s, first, last, j, 2 * FIXED_LANES / KX_F32_LANES));
    if (j < stride) overall = kx_i32v_min(overall, least_of_columns(s, first, last, j, FIXED_LANES / KX_F32_LANES));
    return kx_i32v_reduce_min(overall);
}

/* The least reduced cost of rows first .. last - 1 and where it is. */
static inline double price(const kx_small_t *s, int64_t first, int64_t last, int64_t *row, int64_t *column) {
    const double *w = s->potential + s->sink;
    double least_of_group[KX_EMD_SMALL_NODES];
    kx_f64v overall = kx_f64v_set(INFINITY);
    const int64_t stride = s->stride;
    int64_t j = 0;
    for (; j + 4 * KX_F64_LANES <= stride; j += 4 * KX_F64_LANES) {
        const double *c = s->cost + first * stride + j;
        kx_f64v b0 = kx_f64v_set(INFINITY), b1 = b0, b2 = b0, b3 = b0;
        for (int64_t i = first; i < last; i++, c += stride) {
            kx_f64v u = kx_f64v_set(s->potential[i]);
            b0 = kx_f64v_min(kx_f64v_sub(kx_f64v_load(c), u), b0);
            b1 = kx_f64v_min(kx_f64v_sub(kx_f64v_load(c + KX_F64_LANES), u), b1);
            b2 = kx_f64v_min(kx_f64v_sub(kx_f64v_load(c + 2 * KX_F64_LANES), u), b2);
            b3 = kx_f64v_min(kx_f64v_sub(kx_f64v_load(c + 3 * KX_F64_LANES), u), b3);
        }
        b0 = kx_f64v_add(b0, kx_f64v_load(w + j));
        b1 = kx_f64v_add(b1, kx_f64v_load(w + j + KX_F64_LANES));
        b2 = kx_f64v_add(b2, kx_f64v_load(w + j + 2 * KX_F64_LANES));
        b3 = kx_f64v_add(b3, kx_f64v_load(w + j + 3 * KX_F64_LANES));
        kx_f64v_store(least_of_group + j, b0);
        kx_f64v_store(least_of_group + j + KX_F64_LANES, b1);
        kx_f64v_store(least_of_group + j + 2 * KX_F64_LANES, b2);
        kx_f64v_store(least_of_group + j + 3 * KX_F64_LANES, b3);
        overall = kx_f64v_min(overall, kx_f64v_min(kx_f64v_min(b0, b1), kx_f64v_min(b2, b3)));
    }
    for (; j < stride; j += KX_F64_LANES) {
        const double *c = s->cost + first * stride + j;
        kx_f64v b0 = kx_f64v_set(INFINITY);
        for (int64_t i = first; i < last; i++, c += stride)
            b0 = kx_f64v_min(kx_f64v_sub(kx_f64v_load(c), kx_f64v_set(s->potential[i])), b0);
        b0 = kx_f64v_add(b0, kx_f64v_load(w + j));
        kx_f64v_store(least_of_group + j, b0);
        overall = kx_f64v_min(overall, b0);
    }
    const double least = kx_f64v_reduce_min(overall);
    const int64_t at = kx_first_at_most(least_of_group, NULL, stride, least);
    const double *c = s->cost + at;
    const double weight = w[at];
    uint64_t rows = 0;
    for (int64_t i = first; i < last; i++)
        rows |= (uint64_t)(c[i * stride] - s->potential[i] + weight <= least) << (i - first);
    *row = first + kx_lowest_bit(rows);
    *column = at;
    return least;
}

/* The potentials anew from the tree: what additions have rounded is gone. A node's depth is the number of arcs on its path. */
static void refresh_potentials(kx_small_t *s, const kx_emd_problem_t *p, int planes, const uint64_t *source_below) {
    int32_t first[KX_EMD_SMALL_NODES + 2], sorted[KX_EMD_SMALL_NODES];
    int32_t depth[KX_EMD_SMALL_NODES];
    memset(first, 0, sizeof first);
    for (int64_t k = 0; k < s->arcs; k++) {
        const int row_below = (int)(source_below[k >> 6] >> (k & 63) & 1);
        const int64_t child = row_below ? s->row[k] : s->sink + s->column[k];
        depth[k] = 0;
        for (int w = 0; w < planes; w++) depth[k] += kx_count_bits(s->path[w * s->nodes + child]);
        first[depth[k] + 1]++;
    }
    for (int64_t d = 1; d <= s->arcs; d++) first[d + 1] += first[d];
    for (int64_t k = 0; k < s->arcs; k++) sorted[first[depth[k]]++] = (int32_t)k;
    for (int64_t position = 0; position < s->arcs; position++) {
        const int64_t k = sorted[position];
        const int row_below = (int)(source_below[k >> 6] >> (k & 63) & 1);
        const int64_t row = s->row[k], column = s->sink + s->column[k];
        const double c = kx_emd_cost(p, s->row[k], s->column[k]);
        const int64_t child = row_below ? row : column, parent = row + column - child;
        s->potential[child] = s->potential[parent] + (row_below ? c : -c);
    }
}

static double largest_potential(const kx_small_t *s) {
    double largest = 0;
    for (int64_t x = 0; x < s->nodes; x++) {
        const double size = fabs(s->potential[x]);
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* `planes` is a constant at the calls for small ones, so that the compiler makes a version for each. */
static KX_ALWAYS_INLINE kx_status_t solve(kx_small_t *s, kx_emd_problem_t *p, kx_task_t *task, const int planes,
                                          const int groups) {
    uint64_t source_below[KX_EMD_SMALL_NODES / 64 + 1]; /* arcs whose row is the end away from the root */
    uint64_t falling[KX_EMD_SMALL_NODES / 64 + 1], rising[KX_EMD_SMALL_NODES / 64 + 1];
    uint64_t cycle[KX_EMD_SMALL_NODES / 64 + 1];
    start(s, p, planes, source_below);

    const int64_t nodes = s->nodes;
    const int32_t place_mask = (int32_t)(((uint32_t)1 << s->key_bits) - 1), column_mask = (1 << s->column_bits) - 1;
    uint64_t *path = s->path;
    int64_t first = 0, rows_without = 0, proved_at = -1;
    int in_fixed = 1;
    double scale = p->largest + largest_potential(s);
    double tolerance = kx_emd_tolerance(scale);
    int rounds = 0;

    for (;;) {
        if (rows_without >= s->m && in_fixed) in_fixed = 0, rows_without = 0;
        if (rows_without >= s->m) {
            /* Costs far above those of the basis have rounded its potentials and widened the tolerance: once more, without them. */
            const double basis = kx_emd_largest_in_basis(p);
            if (scale <= 64 * basis || rounds++ == 16) break;
            refresh_potentials(s, p, planes, source_below);
            const double now = basis + largest_potential(s);
            if (rounds > 1 && now >= scale && p->iterations == proved_at) break;
            scale = now;
            tolerance = kx_emd_tolerance(scale);
            proved_at = p->iterations;
            rows_without = 0;
        }
        const int64_t last = first + s->block < s->m ? first + s->block : s->m, priced = last - first;
        int64_t row, column;
        int32_t key = 0;
        double reduced = 0;
        if (in_fixed) {
            key = price_fixed(s, first, last);
            row = first + ((key & place_mask) >> s->column_bits);
            column = key & column_mask;
            if (key < 0) {
                if (column < s->n) reduced = s->cost[row * s->stride + column] - s->potential[row] + s->potential[s->sink + column];
                if (!(reduced < -tolerance)) { /* fixed point sees no better or has wrapped around */
                    in_fixed = 0;
                    rows_without = 0;
                    continue;
                }
            }
        } else {
            reduced = price(s, first, last, &row, &column);
        }
        first = last < s->m ? last : 0;
        if (reduced >= -tolerance) {
            rows_without += priced;
            continue;
        }
        rows_without = 0;
        if (p->iterations++ >= p->max_iter) return KX_W_MAXITER;
        if ((p->iterations & 255) == 0 && task && kx_task_should_stop(task)) return KX_E_CANCELLED;
        /* It moves potentials by as much, whose roundings then hide smaller reduced costs: without this, pivots on them never end. */
        if (-reduced > scale) scale -= reduced, tolerance = kx_emd_tolerance(scale);

        /* The cycle, and which of its arcs lose flow: on the column's side those whose child is a column, on the row's
           side those whose child is a row. */
        const int64_t from = row, to = s->sink + column;
        for (int w = 0; w < planes; w++) {
            uint64_t from_row = path[w * nodes + from], from_column = path[w * nodes + to];
            cycle[w] = from_row ^ from_column;
            falling[w] = cycle[w] & ((from_column & ~source_below[w]) | (from_row & source_below[w]));
            rising[w] = cycle[w] & ~falling[w];
        }
        const int64_t theta = least_flow(s->flow, falling, planes, groups);
        const int64_t leaving = move_flow(s->flow, falling, rising, theta, planes, groups);

        const int plane = (int)(leaving >> 6);
        const uint64_t bit = (uint64_t)1 << (leaving & 63);
        /* Which side moves is a coin toss too, so the choice is made by masks. */
        const uint64_t column_moves = (uint64_t)0 - (path[plane * nodes + to] >> (leaving & 63) & 1);
        const uint64_t row_below = (uint64_t)0 - (source_below[plane] >> (leaving & 63) & 1);
        const uint64_t row_end = (uint64_t)s->row[leaving], column_end = (uint64_t)(s->sink + s->column[leaving]);
        const int64_t hanging = (int64_t)(column_end ^ ((row_end ^ column_end) & row_below));
        const int64_t moving_end = (int64_t)((uint64_t)from ^ ((uint64_t)(from ^ to) & column_moves));
        /* Arcs between the entering arc and the leaving one turn over. */
        for (int w = 0; w < planes; w++)
            source_below[w] ^= cycle[w] & path[w * nodes + moving_end] & ~path[w * nodes + hanging];
        source_below[plane] = (source_below[plane] & ~bit) | (bit & ~column_moves);

        cycle[plane] &= ~bit;
        const int32_t fixed_reduced = (int32_t)(((uint32_t)(key & ~place_mask) ^ (uint32_t)column_moves) - (uint32_t)column_moves);
        move_nodes(s, plane, bit, cycle, reduced * (1 - 2 * (double)(column_moves & 1)), fixed_reduced, planes);
        s->row[leaving] = (int32_t)row;
        s->column[leaving] = (int32_t)column;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_emd_small_solve)(kx_emd_problem_t *p, void *scratch, kx_task_t *task) {
    kx_small_t s = {0};
    lay_out(&s, p->m, p->n, (char *)scratch);
    s.cost = p->cost;
    s.row = p->arc_row;
    s.column = p->arc_column;
    kx_status_t status;
    if (s.arcs <= 16) status = solve(&s, p, task, 1, 2);
    else if (s.arcs <= 32) status = solve(&s, p, task, 1, 4);
    else if (s.arcs <= 64) status = solve(&s, p, task, 1, 8);
    else if (s.arcs <= 128) status = solve(&s, p, task, 2, 8);
    else status = solve(&s, p, task, (int)((s.arcs + 63) / 64), 8);
    for (int64_t k = 0; k < s.arcs; k++) p->arc_units[k] = s.flow[k];
    return status;
}
#endif
