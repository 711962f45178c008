/* Network simplex for problems of hundreds to many thousands of nodes.

   The same tree and the same algebra as in transport_small.c, transposed: for each arc of the basis a bitset of the nodes
   behind it (the side away from the root). The cycle is found by walking two parent chains until an arc has both ends of the
   entering arc behind it; a pivot adds the leaving arc's bitset to those of the cycle. So its cost depends on the
   length of the cycle, and the potentials change by masked vector additions.

   Pricing reads a float32 copy of the costs, shifted by the row minima so that an offset does not cost digits; each candidate
   is confirmed in float64, and the end is proved in float64 over all arcs. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <float.h>

#include "kernels/transport_internal.h"

typedef struct kx_large {
    int64_t m, n, nodes, arcs;
    int64_t words;           /* of a bitset of nodes, padded to whole cache lines */
    int64_t stride;          /* of the float32 costs, in elements */
    float *cost32;           /* the shifted and scaled copy that is priced */
    double *shift;           /* by node: what was taken from a row of the copy; 0 for columns */
    double scale;            /* and the copy is multiplied by this power of two */
    double *potential;       /* u of rows, -v of columns, by node */
    float *potential32;      /* (potential - shift) * scale */
    int32_t *parent;
    int32_t *parent_arc;
    uint64_t *behind;        /* arc after arc, `words` each */
    int64_t *flow;
    int32_t *path_row, *path_column; /* arcs on the two sides of the cycle */
    double *row_buffer;      /* a row in float64 */
    float *open;             /* 0, or infinity once a column is closed */
} kx_large_t;

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static kx_layout_t lay_out(kx_large_t *s, int64_t m, int64_t n, char *block) {
    kx_layout_t layout = {0, 0};
    s->m = m;
    s->n = n;
    s->nodes = m + n;
    s->arcs = m + n - 1;
    s->words = round_up((s->nodes + 63) / 64, 8);
    s->stride = round_up(n, 16);
    int64_t nodes_padded = s->words * 64;
    size_t shifted = 0;
    if (s->stride > INT64_MAX / 8 / m) layout.overflow = 1;
    else shifted = kx_layout_add(&layout, m * s->stride, sizeof(float));
    size_t shift = kx_layout_add(&layout, nodes_padded + 64, sizeof(double));
    size_t potential = kx_layout_add(&layout, nodes_padded + 64, sizeof(double));
    size_t potential32 = kx_layout_add(&layout, nodes_padded + 64, sizeof(float));
    size_t parent = kx_layout_add(&layout, s->nodes, sizeof(int32_t));
    size_t parent_arc = kx_layout_add(&layout, s->nodes, sizeof(int32_t));
    size_t behind = kx_layout_add(&layout, s->arcs * s->words, sizeof(uint64_t));
    size_t flow = kx_layout_add(&layout, s->arcs, sizeof(int64_t));
    size_t path_row = kx_layout_add(&layout, s->nodes, sizeof(int32_t));
    size_t path_column = kx_layout_add(&layout, s->nodes, sizeof(int32_t));
    size_t row_buffer = kx_layout_add(&layout, s->stride, sizeof(double));
    size_t open = kx_layout_add(&layout, s->stride, sizeof(float));
    if (block) {
        s->cost32 = (float *)(block + shifted);
        s->shift = (double *)(block + shift);
        s->potential = (double *)(block + potential);
        s->potential32 = (float *)(block + potential32);
        s->parent = (int32_t *)(block + parent);
        s->parent_arc = (int32_t *)(block + parent_arc);
        s->behind = (uint64_t *)(block + behind);
        s->flow = (int64_t *)(block + flow);
        s->path_row = (int32_t *)(block + path_row);
        s->path_column = (int32_t *)(block + path_column);
        s->row_buffer = (double *)(block + row_buffer);
        s->open = (float *)(block + open);
    }
    return layout;
}

size_t KX_KERNEL(kx_emd_large_bytes)(int64_t m, int64_t n) {
    kx_large_t s = {0};
    kx_layout_t layout = lay_out(&s, m, n, NULL);
    return layout.overflow ? 0 : layout.bytes;
}

/* Row i of what is left, in float64, forbidden arcs as infinity. */
static const double *row_f64(const kx_large_t *s, const kx_emd_problem_t *p, int64_t i) {
    const char *row = (const char *)p->M + p->row_index[i] * p->row_stride;
    if (!p->is_f32 && !p->columns_removed) return (const double *)row;
    for (int64_t j = 0; j < s->n; j++) {
        int64_t column = p->column_index[j];
        s->row_buffer[j] = p->is_f32 ? (double)((const float *)row)[column] : ((const double *)row)[column];
    }
    return s->row_buffer;
}

static void copy_costs(kx_large_t *s, const kx_emd_problem_t *p) {
    int exponent;
    frexp(p->largest, &exponent);
    memset(s->shift, 0, (size_t)(s->words * 64 + 64) * sizeof *s->shift);
    s->scale = p->largest > 0 ? ldexp(1.0, exponent > -900 ? -exponent : 900) : 1.0;
    for (int64_t i = 0; i < s->m; i++) {
        const double *c = row_f64(s, p, i);
        kx_f64v running = kx_f64v_set(INFINITY);
        int64_t j = 0;
        for (; j + KX_F64_LANES <= s->n; j += KX_F64_LANES) running = kx_f64v_min(kx_f64v_load(c + j), running);
        double shift = kx_f64v_reduce_min(running);
        for (; j < s->n; j++) shift = c[j] < shift ? c[j] : shift;
        if (!(shift < INFINITY)) shift = 0;
        s->shift[i] = shift;
        float *out = s->cost32 + i * s->stride;
        const double scale = s->scale;
        for (j = 0; j < s->n; j++) out[j] = (float)((c[j] - shift) * scale);
        for (; j < s->stride; j++) out[j] = INFINITY;
    }
}

/* min over columns of c + w in float32, whole padded row */
static inline float row_least(const float *c, const float *w, int64_t stride) {
    kx_f32v b0 = kx_f32v_set(INFINITY), b1 = b0, b2 = b0, b3 = b0;
    int64_t j = 0;
    for (; j + 4 * KX_F32_LANES <= stride; j += 4 * KX_F32_LANES) {
        b0 = kx_f32v_min(kx_f32v_add(kx_f32v_load(c + j), kx_f32v_load(w + j)), b0);
        b1 = kx_f32v_min(kx_f32v_add(kx_f32v_load(c + j + KX_F32_LANES), kx_f32v_load(w + j + KX_F32_LANES)), b1);
        b2 = kx_f32v_min(kx_f32v_add(kx_f32v_load(c + j + 2 * KX_F32_LANES), kx_f32v_load(w + j + 2 * KX_F32_LANES)), b2);
        b3 = kx_f32v_min(kx_f32v_add(kx_f32v_load(c + j + 3 * KX_F32_LANES), kx_f32v_load(w + j + 3 * KX_F32_LANES)), b3);
    }
    for (; j < stride; j += KX_F32_LANES) b0 = kx_f32v_min(kx_f32v_add(kx_f32v_load(c + j), kx_f32v_load(w + j)), b0);
    return kx_f32v_reduce_min(kx_f32v_min(kx_f32v_min(b0, b1), kx_f32v_min(b2, b3)));
}

/* The first column whose c + w is at most `least`. */
static inline int64_t row_place(const float *c, const float *w, int64_t n, float least) {
    const kx_f32v bound = kx_f32v_set(least);
    for (int64_t j = 0; j < n; j += KX_F32_LANES) {
        unsigned above = kx_f32m_bits(kx_f32v_less(bound, kx_f32v_add(kx_f32v_load(c + j), kx_f32v_load(w + j))));
        unsigned hit = ~above & ((1u << KX_F32_LANES) - 1);
        if (hit) return j + kx_lowest_bit(hit);
    }
    return 0;
}

static inline void toggle(uint64_t *bits, const uint64_t *with, int64_t words) {
    for (int64_t w = 0; w < words; w++) bits[w] ^= with[w];
}

static inline int has_bit(const uint64_t *bits, int64_t index) { return (int)(bits[index >> 6] >> (index & 63) & 1); }

/* The row-minimum start of transport_small.c. */
static void start(kx_large_t *s, kx_emd_problem_t *p) {
    int64_t *left_a = p->units_a, *left_b = p->units_b;
    for (int64_t j = 0; j < s->stride; j++) s->open[j] = INFINITY;
    for (int64_t row = 0; row < s->m; row++) {
        const float *c = s->cost32 + row * s->stride;
        for (int64_t j = 0; j < s->n; j++) s->open[j] = c[j] < s->open[j] ? c[j] : s->open[j];
    }
    for (int64_t j = 0; j < s->n; j++) s->open[j] = s->open[j] < INFINITY ? -s->open[j] : 0.0f;
    int64_t i = 0;
    uint8_t *closed_is_row = (uint8_t *)s->path_row;
    for (int64_t k = 0; k < s->arcs; k++) {
        while (left_a[i] == 0) i = i + 1 < s->m ? i + 1 : 0;
        const float *c = s->cost32 + i * s->stride;
        float least = row_least(c, s->open, s->stride);
        int64_t j = 0;
        if (least < INFINITY) {
            j = row_place(c, s->open, s->stride, least);
        } else { /* only forbidden arcs are left */
            while (left_b[j] == 0) j++;
        }
        int64_t amount = left_a[i] < left_b[j] ? left_a[i] : left_b[j];
        left_a[i] -= amount;
        left_b[j] -= amount;
        s->flow[k] = amount;
        p->arc_row[k] = (int32_t)i;
        p->arc_column[k] = (int32_t)j;
        closed_is_row[k] = left_a[i] == 0 && (left_b[j] > 0 || k == s->arcs - 1);
        if (left_b[j] == 0) s->open[j] = INFINITY;
        i = i + 1 < s->m ? i + 1 : 0;
    }
    memset(s->behind, 0, (size_t)(s->arcs * s->words) * sizeof *s->behind);
    memset(s->potential, 0, (size_t)(s->words * 64 + 64) * sizeof *s->potential);
    for (int64_t x = 0; x < s->nodes; x++) s->parent[x] = s->parent_arc[x] = -1;
    for (int64_t k = s->arcs - 1; k >= 0; k--) {
        int32_t row = p->arc_row[k], column = (int32_t)(s->m + p->arc_column[k]);
        int32_t child = closed_is_row[k] ? row : column, parent = closed_is_row[k] ? column : row;
        s->parent[child] = parent;
        s->parent_arc[child] = (int32_t)k;
    }
    /* Children before parents: what is behind an arc is its child and what is behind the child's own arcs. */
    for (int64_t k = 0; k < s->arcs; k++) {
        int32_t row = p->arc_row[k], column = (int32_t)(s->m + p->arc_column[k]);
        int32_t child = s->parent_arc[row] == k ? row : column;
        uint64_t *own = s->behind + k * s->words;
        own[child >> 6] |= (uint64_t)1 << (child & 63);
        int32_t up = s->parent_arc[s->parent[child]];
        if (up >= 0) toggle(s->behind + up * s->words, own, s->words);
    }
}

static void round_potentials(kx_large_t *s) {
    for (int64_t x = 0; x < s->words * 64 + 64; x++)
        s->potential32[x] = (float)((s->potential[x] - s->shift[x]) * s->scale);
}

/* The potentials anew from the tree: what thousands of additions have rounded is gone, and an arc of the basis has a reduced
   cost of one rounding, which the tolerance covers. */
static void refresh_potentials(kx_large_t *s, const kx_emd_problem_t *p) {
    uint8_t *known = (uint8_t *)s->path_column;
    memset(known, 0, (size_t)s->nodes);
    for (int32_t seed = 0; seed < s->nodes; seed++) {
        int64_t depth = 0;
        for (int32_t x = seed; x >= 0 && !known[x]; x = s->parent[x]) {
            known[x] = 1;
            s->path_row[depth++] = x;
        }
        while (depth-- > 0) {
            int32_t x = s->path_row[depth], k = s->parent_arc[x];
            if (k < 0) {
                s->potential[x] = 0;
                continue;
            }
            double c = kx_emd_cost(p, p->arc_row[k], p->arc_column[k]);
            s->potential[x] = s->potential[s->parent[x]] + (x < s->m ? c : -c);
        }
    }
    round_potentials(s);
}

/* Adds `change` to the potentials of a set of nodes and to their float32 images. Those drift away by their own roundings, which
   only costs a vain look at a candidate now and then; rounding them anew here took half of a pivot's time at 1000 x 1000. */
static void shift_potentials(kx_large_t *s, const uint64_t *set, double change) {
    int64_t members = 0;
    for (int64_t w = 0; w < s->words; w++) members += kx_count_bits(set[w]);
    /* Only differences matter: where most nodes would move, the others move the other way. */
    const uint64_t flip = 2 * members > s->nodes ? ~(uint64_t)0 : 0;
    if (flip) change = -change;
    const kx_f64v by = kx_f64v_set(change);
    const kx_f32v by32 = kx_f32v_set((float)(change * s->scale));
    for (int64_t w = 0; w < s->words; w++) {
        const uint64_t bits = set[w] ^ flip;
        if (!bits) continue;
        for (int x = 0; x < 64; x += KX_F64_LANES) {
            double *at = s->potential + 64 * w + x;
            kx_f64v_store(at, kx_f64v_add_where(kx_f64m_from_bits((unsigned)(bits >> x)), kx_f64v_load(at), by));
        }
        for (int x = 0; x < 64; x += KX_F32_LANES) {
            float *at = s->potential32 + 64 * w + x;
            kx_f32v_store(at, kx_f32v_add_where(kx_f32m_from_bits((unsigned)(bits >> x)), kx_f32v_load(at), by32));
        }
    }
}

/* The arcs from `start` up to the one that has `other` behind it too; their number. */
static inline int32_t climb(const kx_large_t *s, int32_t start, int32_t other, int32_t *arcs) {
    int32_t steps = 0;
    for (int32_t x = start, arc; (arc = s->parent_arc[x]) >= 0 && !has_bit(s->behind + arc * s->words, other); x = s->parent[x])
        arcs[steps++] = arc;
    return steps;
}

/* Rows and columns alternate on the way up, so every other arc loses flow, beginning with the first. */
static inline int32_t least_falling(const kx_large_t *s, const int32_t *arcs, int32_t steps, int64_t *theta) {
    int32_t place = -1;
    for (int32_t k = 0; k < steps; k += 2) {
        const int64_t flow = s->flow[arcs[k]];
        place = flow < *theta ? k : place;
        *theta = flow < *theta ? flow : *theta;
    }
    return place;
}

static inline void turn(kx_large_t *s, const int32_t *arcs, int32_t steps, int64_t theta, int32_t slot) {
    const uint64_t *moving = s->behind + slot * s->words;
    for (int32_t k = 0; k < steps; k++) {
        s->flow[arcs[k]] += k & 1 ? theta : -theta;
        if (arcs[k] != slot) toggle(s->behind + arcs[k] * s->words, moving, s->words);
    }
}

/* The entering arc (row, column) of the given reduced cost goes in, the blocking arc goes out. */
static void pivot(kx_large_t *s, kx_emd_problem_t *p, int32_t row, int32_t column, double reduced) {
    const int32_t from = row, to = (int32_t)(s->m + column);
    const int32_t row_steps = climb(s, from, to, s->path_row), column_steps = climb(s, to, from, s->path_column);
    int64_t theta = INT64_MAX;
    const int32_t row_place = least_falling(s, s->path_row, row_steps, &theta);
    const int32_t column_place = least_falling(s, s->path_column, column_steps, &theta);
    const int leaving_on_row_side = column_place < 0;
    const int32_t place = leaving_on_row_side ? row_place : column_place;
    const int32_t slot = (leaving_on_row_side ? s->path_row : s->path_column)[place];
    turn(s, s->path_row, row_steps, theta, slot);
    turn(s, s->path_column, column_steps, theta, slot);
    shift_potentials(s, s->behind + slot * s->words, leaving_on_row_side ? reduced : -reduced);

    /* Hang the moving part by its end of the entering arc; the arcs up to the leaving one turn over. */
    int32_t x = leaving_on_row_side ? from : to, above = from + to - x, arc = slot;
    for (int32_t k = 0; k <= place; k++) {
        const int32_t next = s->parent[x], next_arc = s->parent_arc[x];
        s->parent[x] = above;
        s->parent_arc[x] = arc;
        above = x;
        x = next;
        arc = next_arc;
    }
    s->flow[slot] = theta;
    p->arc_row[slot] = row;
    p->arc_column[slot] = column;
}

static inline double reduced_cost(const kx_large_t *s, const kx_emd_problem_t *p, int64_t i, int64_t j) {
    return kx_emd_cost(p, i, j) - s->potential[i] + s->potential[s->m + j];
}

typedef struct kx_candidate {
    double reduced;
    int32_t row, column;
} kx_candidate_t;

/* Rows priced at a time, and the share of the best reduced cost below which the other rows' candidates are left for later:
   16 and 0.1 were best or within 3% from 200 x 200 to 2000 x 2000. */
enum { BLOCK_ROWS = 16 };
static const double KEEP_SHARE = 0.1;

/* Fills candidates with the best arc of each row of the block that looks promising in float32 and is in float64. Their
   float64 costs come from anywhere in a large matrix, so all are asked for before the first is used. */
static int price_f32(kx_large_t *s, const kx_emd_problem_t *p, int64_t first, int64_t last, double tolerance,
                     kx_candidate_t *candidates) {
    int looked_at = 0, count = 0;
    const float *w = s->potential32 + s->m;
    for (int64_t i = first; i < last; i++) {
        const float *c = s->cost32 + i * s->stride;
        float least = row_least(c, w, s->stride);
        if (!(least < s->potential32[i])) continue;
        int64_t j = row_place(c, w, s->stride, least);
        if (j >= s->n) continue;
        kx_emd_prefetch_cost(p, i, j);
        candidates[looked_at].row = (int32_t)i;
        candidates[looked_at++].column = (int32_t)j;
    }
    for (int k = 0; k < looked_at; k++) {
        kx_candidate_t candidate = candidates[k];
        candidate.reduced = reduced_cost(s, p, candidate.row, candidate.column);
        if (candidate.reduced < -tolerance) candidates[count++] = candidate;
    }
    return count;
}

static int price_f64(kx_large_t *s, const kx_emd_problem_t *p, int64_t first, int64_t last, double tolerance,
                     kx_candidate_t *candidates) {
    int count = 0;
    const double *w = s->potential + s->m;
    for (int64_t i = first; i < last; i++) {
        const double *c = row_f64(s, p, i);
        kx_f64v best = kx_f64v_set(INFINITY);
        int64_t j = 0;
        for (; j + KX_F64_LANES <= s->n; j += KX_F64_LANES)
            best = kx_f64v_min(kx_f64v_add(kx_f64v_load(c + j), kx_f64v_load(w + j)), best);
        double least = kx_f64v_reduce_min(best);
        for (; j < s->n; j++) least = c[j] + w[j] < least ? c[j] + w[j] : least;
        if (!(least - s->potential[i] < -tolerance)) continue;
        for (j = 0; j < s->n && !(c[j] + w[j] <= least); j++) {}
        double reduced = reduced_cost(s, p, i, j);
        if (!(reduced < -tolerance)) continue;
        candidates[count].reduced = reduced;
        candidates[count].row = (int32_t)i;
        candidates[count++].column = (int32_t)j;
    }
    return count;
}

static double largest_potential(const kx_large_t *s) {
    double largest = 0;
    for (int64_t x = 0; x < s->nodes; x++) {
        double size = fabs(s->potential[x]);
        largest = size > largest ? size : largest;
    }
    return largest;
}

kx_status_t KX_KERNEL(kx_emd_large_solve)(kx_emd_problem_t *p, void *scratch, kx_task_t *task) {
    kx_large_t s = {0};
    lay_out(&s, p->m, p->n, (char *)scratch);
    copy_costs(&s, p);
    start(&s, p);
    refresh_potentials(&s, p);

    kx_candidate_t candidates[BLOCK_ROWS];
    const int64_t block = s.m < BLOCK_ROWS ? s.m : BLOCK_ROWS;
    double scale = p->largest + largest_potential(&s), tolerance = kx_emd_tolerance(scale);
    int in_f64 = 0, rounds = 0;
    int64_t proved_at = -1;
    int64_t first = 0, rows_without = 0;
    kx_status_t status = KX_OK;
    for (;;) {
        if (rows_without >= s.m) {
            /* Proved once nothing has moved since the potentials were read anew; the limit is for rounding's sake. */
            if (in_f64 && (p->iterations == proved_at || rounds++ == 16)) break;
            in_f64 = 1;
            rows_without = 0;
            proved_at = p->iterations;
            refresh_potentials(&s, p);
            scale = kx_emd_largest_in_basis(p) + largest_potential(&s);
            tolerance = kx_emd_tolerance(scale);
        }
        int64_t last = first + block < s.m ? first + block : s.m;
        int count = in_f64 ? price_f64(&s, p, first, last, tolerance, candidates)
                           : price_f32(&s, p, first, last, tolerance, candidates);
        rows_without = count ? 0 : rows_without + last - first;
        first = last < s.m ? last : 0;
        double best_reduced = 0;
        while (count) {
            int best = -1;
            for (int k = 0; k < count;) {
                if (candidates[k].reduced >= -tolerance || candidates[k].reduced > KEEP_SHARE * best_reduced) {
                    candidates[k] = candidates[--count];
                    continue;
                }
                if (best < 0 || candidates[k].reduced < candidates[best].reduced) best = k;
                k++;
            }
            if (best < 0) break;
            kx_candidate_t chosen = candidates[best];
            candidates[best] = candidates[--count];
            if (best_reduced == 0) best_reduced = chosen.reduced;
            if (p->iterations++ >= p->max_iter) { status = KX_W_MAXITER; goto done; }
            if ((p->iterations & 63) == 0 && task && kx_task_should_stop(task)) return KX_E_CANCELLED;
            if ((p->iterations & 511) == 0) round_potentials(&s);
            /* As in transport_small.c: what moves potentials by more than they were hides smaller reduced costs. */
            if (-chosen.reduced > scale) scale -= chosen.reduced, tolerance = kx_emd_tolerance(scale);
            pivot(&s, p, chosen.row, chosen.column, chosen.reduced);
            for (int k = 0; k < count; k++)
                candidates[k].reduced = reduced_cost(&s, p, candidates[k].row, candidates[k].column);
        }
    }
done:
    for (int64_t k = 0; k < s.arcs; k++) p->arc_units[k] = s.flow[k];
    return status;
}
#endif
