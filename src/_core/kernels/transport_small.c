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
    int64_t arcs_padded;
    const double *cost;
    double *potential;     /* u of rows, -v of columns, by node; so both change with the same sign */
    uint64_t *path;        /* plane after plane: path[plane * nodes + node] */
    int64_t *flow;
    int32_t *row, *column; /* of an arc; nodes are row and sink + column */
} kx_small_t;

enum { LANES = 8 };

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static size_t lay_out(kx_small_t *s, int64_t m, int64_t n, char *block) {
    kx_layout_t layout = {0, 0};
    s->m = m;
    s->n = n;
    s->stride = round_up(n, LANES);
    s->sink = round_up(m, LANES);
    s->nodes = s->sink + s->stride;
    s->arcs = m + n - 1;
    s->arcs_padded = round_up(s->arcs, LANES);
    int64_t planes = (s->arcs + 63) / 64;
    size_t potential = kx_layout_add(&layout, s->nodes, sizeof(double));
    size_t path = kx_layout_add(&layout, planes * s->nodes, sizeof(uint64_t));
    size_t flow = kx_layout_add(&layout, s->arcs_padded, sizeof(int64_t));
    if (block) {
        s->potential = (double *)(block + potential);
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

/* The cheapest open column of a row, or -1. */
static inline int64_t cheapest_open(const double *costs, const double *open, int64_t stride) {
    kx_f64v best = kx_f64v_set(INFINITY);
    for (int64_t j = 0; j < stride; j += KX_F64_LANES)
        best = kx_f64v_min(kx_f64v_add(kx_f64v_load(costs + j), kx_f64v_load(open + j)), best);
    const double least = kx_f64v_reduce_min(best);
    return least < INFINITY ? kx_first_at_most(costs, open, stride, least) : -1;
}

/* The row-minimum start on costs less their column minimum (which saves a tenth of the pivots): the rows take turns, each
   gives what it can to its cheapest column that is still open. Every step closes one row or column (never both, thanks to the
   perturbation), so the arcs form a tree whose nodes, in the reverse order of closing, each hang from one already placed. */
static inline void start(kx_small_t *s, kx_emd_problem_t *p, const int planes, uint64_t *source_below) {
    const int64_t stride = s->stride;
    double *open = s->potential + s->sink; /* minus the column minimum, or infinity once a column is closed */
    int64_t *left_a = p->units_a, *left_b = p->units_b;
    uint64_t open_rows[KX_EMD_SMALL_NODES / 64];
    const int row_words = (int)((s->m + 63) / 64);
    for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
        kx_f64v least = kx_f64v_set(INFINITY);
        for (int64_t i = 0; i < s->m; i++) least = kx_f64v_min(kx_f64v_load(s->cost + i * stride + j), least);
        least = kx_f64v_select(kx_f64v_less(least, kx_f64v_set(INFINITY)), least, kx_f64v_set(0));
        kx_f64v_store(open + j, kx_f64v_sub(kx_f64v_set(0), least));
    }
    for (int64_t j = s->n; j < stride; j++) open[j] = INFINITY;
    for (int w = 0; w < row_words; w++) open_rows[w] = ~(uint64_t)0;
    if (s->m & 63) open_rows[row_words - 1] = ((uint64_t)1 << (s->m & 63)) - 1;
    memset(s->path, 0, (size_t)(planes * s->nodes) * sizeof *s->path);
    for (int w = 0; w < planes; w++) source_below[w] = 0;
    for (int64_t k = s->arcs; k < s->arcs_padded; k++) s->flow[k] = 0;

    /* A row's search is one long chain of dependent instructions, so AHEAD of them run side by side; a row whose column was
       closed by the ones before it searches again. Rows and columns come out as one at a time. */
    enum { AHEAD = 4 };
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
        for (int r = 0; r < batch; r++) places[r] = cheapest_open(s->cost + rows[r] * stride, open, stride);
        for (int r = 0; r < batch && k < s->arcs; r++, k++) {
            const int64_t row = rows[r];
            int64_t j = places[r];
            if (j < 0 || left_b[j] == 0) j = cheapest_open(s->cost + row * stride, open, stride);
            if (j < 0) /* only forbidden arcs are left */
                for (j = 0; left_b[j] == 0;) j++;
            const int64_t a = left_a[row], b = left_b[j];
            const int row_closes = a < b || k == s->arcs - 1;
            const int64_t amount = a < b ? a : b;
            left_a[row] = a - amount;
            left_b[j] = b - amount;
            kx_put(open, j, row_closes ? open[j] : INFINITY);
            open_rows[row >> 6] &= ~((uint64_t)row_closes << (row & 63));
            source_below[k >> 6] |= (uint64_t)row_closes << (k & 63);
            s->flow[k] = amount;
            s->row[k] = (int32_t)row;
            s->column[k] = (int32_t)j;
        }
    }

    double *potential = s->potential;
    memset(potential, 0, (size_t)s->nodes * sizeof *potential);
    for (int64_t k = s->arcs - 1; k >= 0; k--) {
        const int64_t row = s->row[k], column = s->sink + s->column[k];
        const int row_below = (int)(source_below[k >> 6] >> (k & 63) & 1);
        const double c = kx_emd_cost(p, s->row[k], s->column[k]);
        const int64_t child = row_below ? row : column, parent = row + column - child;
        potential[child] = potential[parent] + (row_below ? c : -c);
        for (int w = 0; w < planes; w++)
            s->path[w * s->nodes + child] =
                s->path[w * s->nodes + parent] | (w == (int)(k >> 6) ? (uint64_t)1 << (k & 63) : 0);
    }
}

/* Three steps of a pivot over whole bitsets. The vectoriser made 370 ns of a pivot at 20 x 30 from the plain form, the
   AVX-512 form takes 70: masks are registers there, not arrays. */
#ifdef KX_SIMD_AVX512

/* The least flow among the arcs of `set`. */
static inline int64_t least_flow(const int64_t *flow, const uint64_t *set, int planes, int64_t padded) {
    __m512i least = _mm512_set1_epi64(INT64_MAX);
    for (int64_t k = 0; k < padded; k += 8) {
        __mmask8 in = (__mmask8)(set[planes == 1 ? 0 : k >> 6] >> (k & 63));
        least = _mm512_mask_min_epi64(least, in, least, _mm512_load_si512(flow + k));
    }
    return _mm512_reduce_min_epi64(least);
}

/* Moves theta around the cycle and returns the arc of `falling` whose flow was theta. */
static inline int64_t move_flow(int64_t *flow, const uint64_t *falling, const uint64_t *rising, int64_t theta, int planes,
                                int64_t padded) {
    const __m512i by = _mm512_set1_epi64(theta);
    int64_t leaving = 0;
    for (int w = 0; w < planes; w++) {
        uint64_t at_theta = 0;
        int64_t end = padded - 64 * w < 64 ? padded - 64 * w : 64;
        for (int64_t k = 0; k < end; k += 8) {
            __mmask8 down = (__mmask8)(falling[w] >> k), up = (__mmask8)(rising[w] >> k);
            __m512i f = _mm512_load_si512(flow + 64 * w + k);
            at_theta |= (uint64_t)_mm512_mask_cmpeq_epi64_mask(down, f, by) << k;
            f = _mm512_mask_sub_epi64(f, down, f, by);
            f = _mm512_mask_add_epi64(f, up, f, by);
            _mm512_store_si512(flow + 64 * w + k, f);
        }
        if (at_theta) leaving = 64 * w + kx_lowest_bit(at_theta);
    }
    return leaving;
}

/* For the nodes whose path has the bit: the potential changes and the cycle is added to the path. */
static inline void move_nodes(const kx_small_t *s, int plane, uint64_t bit, const uint64_t *cycle, double change, int planes) {
    const __m512i test = _mm512_set1_epi64((long long)bit);
    const __m512d by = _mm512_set1_pd(change);
    for (int64_t x = 0; x < s->nodes; x += 8) {
        __mmask8 behind = _mm512_test_epi64_mask(_mm512_load_si512(s->path + plane * s->nodes + x), test);
        __m512d potential = _mm512_load_pd(s->potential + x);
        _mm512_store_pd(s->potential + x, _mm512_mask_add_pd(potential, behind, potential, by));
        for (int w = 0; w < planes; w++) {
            uint64_t *at = s->path + w * s->nodes + x;
            __m512i bits = _mm512_load_si512(at);
            _mm512_store_si512(at, _mm512_mask_xor_epi64(bits, behind, bits, _mm512_set1_epi64((long long)cycle[w])));
        }
    }
}

#else

static inline int64_t least_flow(const int64_t *flow, const uint64_t *set, int planes, int64_t padded) {
    int64_t least = INT64_MAX;
    (void)padded;
    for (int w = 0; w < planes; w++)
        for (uint64_t bits = set[w]; bits; bits &= bits - 1) {
            int64_t f = flow[64 * w + kx_lowest_bit(bits)];
            least = f < least ? f : least;
        }
    return least;
}

static inline int64_t move_flow(int64_t *flow, const uint64_t *falling, const uint64_t *rising, int64_t theta, int planes,
                                int64_t padded) {
    int64_t leaving = 0;
    (void)padded;
    for (int w = 0; w < planes; w++) {
        for (uint64_t bits = falling[w]; bits; bits &= bits - 1) {
            int64_t k = 64 * w + kx_lowest_bit(bits);
            if (flow[k] == theta) leaving = k;
            flow[k] -= theta;
        }
        for (uint64_t bits = rising[w]; bits; bits &= bits - 1) flow[64 * w + kx_lowest_bit(bits)] += theta;
    }
    return leaving;
}

static inline void move_nodes(const kx_small_t *s, int plane, uint64_t bit, const uint64_t *cycle, double change, int planes) {
    for (int64_t x = 0; x < s->nodes; x++) {
        uint64_t behind = s->path[plane * s->nodes + x] & bit;
        uint64_t all = behind ? ~(uint64_t)0 : 0;
        s->potential[x] += behind ? change : 0.0;
        for (int w = 0; w < planes; w++) s->path[w * s->nodes + x] ^= cycle[w] & all;
    }
}

#endif

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
static inline kx_status_t solve(kx_small_t *s, kx_emd_problem_t *p, kx_task_t *task, const int planes) {
    uint64_t source_below[KX_EMD_SMALL_NODES / 64 + 1]; /* arcs whose row is the end away from the root */
    uint64_t falling[KX_EMD_SMALL_NODES / 64 + 1], rising[KX_EMD_SMALL_NODES / 64 + 1];
    uint64_t cycle[KX_EMD_SMALL_NODES / 64 + 1];
    start(s, p, planes, source_below);

    const int64_t nodes = s->nodes;
    /* Half of the rows up to 32 of them, 16 above: measured from 5 x 7 to 128 x 128. */
    const int64_t block = s->m < 32 ? (s->m + 1) / 2 : 16;
    uint64_t *path = s->path;
    int64_t first = 0, rows_without = 0, proved_at = -1;
    double scale = p->largest + largest_potential(s);
    double tolerance = kx_emd_tolerance(scale, 0);
    int rounds = 0;

    for (;;) {
        if (rows_without >= s->m) {
            /* Costs far above those of the basis have rounded its potentials and widened the tolerance: once more, without them. */
            const double basis = kx_emd_largest_in_basis(p);
            if (scale <= 64 * basis || rounds++ == 16) break;
            refresh_potentials(s, p, planes, source_below);
            const double now = basis + largest_potential(s);
            if (rounds > 1 && now >= scale && p->iterations == proved_at) break;
            scale = now;
            tolerance = kx_emd_tolerance(scale, 0);
            proved_at = p->iterations;
            rows_without = 0;
        }
        int64_t last = first + block < s->m ? first + block : s->m;
        int64_t row, column;
        double reduced = price(s, first, last, &row, &column);
        int64_t priced = last - first;
        first = last < s->m ? last : 0;
        if (reduced >= -tolerance) {
            rows_without += priced;
            continue;
        }
        rows_without = 0;
        if (p->iterations++ >= p->max_iter) return KX_W_MAXITER;
        if ((p->iterations & 255) == 0 && task && kx_task_should_stop(task)) return KX_E_CANCELLED;

        /* The cycle, and which of its arcs lose flow: on the column's side those whose child is a column, on the row's
           side those whose child is a row. */
        const int64_t from = row, to = s->sink + column;
        for (int w = 0; w < planes; w++) {
            uint64_t from_row = path[w * nodes + from], from_column = path[w * nodes + to];
            cycle[w] = from_row ^ from_column;
            falling[w] = cycle[w] & ((from_column & ~source_below[w]) | (from_row & source_below[w]));
            rising[w] = cycle[w] & ~falling[w];
        }
        const int64_t theta = least_flow(s->flow, falling, planes, s->arcs_padded);
        const int64_t leaving = move_flow(s->flow, falling, rising, theta, planes, s->arcs_padded);

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
        move_nodes(s, plane, bit, cycle, reduced * (1 - 2 * (double)(column_moves & 1)), planes);
        s->flow[leaving] = theta;
        s->row[leaving] = (int32_t)row;
        s->column[leaving] = (int32_t)column;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_emd_small_solve)(kx_emd_problem_t *p, void *scratch, kx_task_t *task) {
    kx_small_t s = {0};
    lay_out(&s, p->m, p->n, scratch);
    s.cost = p->cost;
    s.row = p->arc_row;
    s.column = p->arc_column;
    kx_status_t status;
    if (s.arcs <= 64) status = solve(&s, p, task, 1);
    else if (s.arcs <= 128) status = solve(&s, p, task, 2);
    else status = solve(&s, p, task, (int)((s.arcs + 63) / 64));
    for (int64_t k = 0; k < s.arcs; k++) p->arc_units[k] = s.flow[k];
    return status;
}
#endif
