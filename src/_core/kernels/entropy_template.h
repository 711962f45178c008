/* What the templates of the entropy family share: included by each, once for double and once for float, so without a guard. KX_REAL,
   KX_SUFFIX, KX_VECTOR, KX_MASK and KX_LANES are the template's. */

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(lanes_of)(const double *from) {
    KX_REAL values[KX_LANES];
    for (int k = 0; k < KX_LANES; k++) values[k] = (KX_REAL)from[k];
    return V(load)(values);
}
static KX_ALWAYS_INLINE void KX_TYPED(add_to)(double *total, KX_VECTOR sum) {
    KX_REAL values[KX_LANES];
    V(store)(values, sum);
    for (int k = 0; k < KX_LANES; k++) total[k] += (double)values[k];
}

/* How many of the entries at .. at + KX_LANES - 1 a lane's row has. */
static KX_ALWAYS_INLINE int64_t KX_TYPED(width_of)(const kx_entropy_lines_t *lines, int lane, int64_t at) {
    const int64_t left = lane < lines->rows ? lines->length[lane] - at : 0;
    return left < 0 ? 0 : left < KX_LANES ? left : KX_LANES;
}

/* Up to where all rows of the lanes at .. at + KX_LANES - 1 have entries. */
static int64_t KX_TYPED(shortest_of)(const kx_entropy_lines_t *lines, int at) {
    int64_t shortest = lines->count;
    for (int k = at; k < at + KX_LANES; k++) {
        const int64_t length = k < lines->rows ? lines->length[k] : 0;
        shortest = length < shortest ? length : shortest;
    }
    return shortest;
}

/* The rows' values side by side, `lanes` of them, and what is not there as `nothing`; a long row as it is, and `nothing` behind. Squares
   are transposed in registers, of rows of different lengths too: 2 to 3 times as fast as item by item. Full squares have a loop of their
   own, which gcc unrolls: the solver gains 7% at rows of 100. */
static void KX_TYPED(load_lines)(const KX_REAL *values, const kx_entropy_lines_t *lines, int lanes, KX_REAL nothing, KX_REAL *x) {
    if (lines->is_long) {
        for (int k = 0; k < lines->rows; k++, x += lines->count * lanes) {
            const int64_t length = lines->length[k];
            memcpy(x, values + lines->start[k], (size_t)length * sizeof *x);
            for (int64_t i = length; i < lines->count * lanes; i++) x[i] = nothing;
        }
        return;
    }
    for (int at = 0; at < lanes; at += KX_LANES) {
        const int64_t shortest = KX_TYPED(shortest_of)(lines, at);
        const int64_t *start = lines->start + at;
        int64_t j = 0;
        for (; j + KX_LANES <= shortest; j += KX_LANES) {
            KX_VECTOR square[KX_LANES];
            for (int k = 0; k < KX_LANES; k++) square[k] = V(load)(values + start[k] + j);
            V(transpose)(square);
            for (int k = 0; k < KX_LANES; k++) V(store)(x + (j + k) * lanes + at, square[k]);
        }
        for (; j < lines->count; j += KX_LANES) {
            KX_VECTOR square[KX_LANES];
            for (int k = 0; k < KX_LANES; k++) {
                const int64_t width = KX_TYPED(width_of)(lines, at + k, j);
                if (width == 0) square[k] = V(set)(nothing);
                else if (width == KX_LANES) square[k] = V(load)(values + start[k] + j);
                else square[k] = V(load_part)(values + start[k] + j, width, nothing);
            }
            V(transpose)(square);
            for (int64_t k = 0; k < KX_LANES && j + k < lines->count; k++) V(store)(x + (j + k) * lanes + at, square[k]);
        }
    }
}
/* And back. */
static void KX_TYPED(store_lines)(const KX_REAL *x, const kx_entropy_lines_t *lines, int lanes, KX_REAL *values) {
    if (lines->is_long) {
        for (int k = 0; k < lines->rows; k++, x += lines->count * lanes)
            memcpy(values + lines->start[k], x, (size_t)lines->length[k] * sizeof *x);
        return;
    }
    for (int at = 0; at < lanes; at += KX_LANES) {
        const int64_t shortest = KX_TYPED(shortest_of)(lines, at);
        const int64_t *start = lines->start + at;
        int64_t j = 0;
        for (; j + KX_LANES <= shortest; j += KX_LANES) {
            KX_VECTOR square[KX_LANES];
            for (int k = 0; k < KX_LANES; k++) square[k] = V(load)(x + (j + k) * lanes + at);
            V(transpose)(square);
            for (int k = 0; k < KX_LANES; k++) V(store)(values + start[k] + j, square[k]);
        }
        for (; j < lines->count; j += KX_LANES) {
            KX_VECTOR square[KX_LANES];
            for (int64_t k = 0; k < KX_LANES; k++) square[k] = V(load)(x + (j + k < lines->count ? j + k : j) * lanes + at);
            V(transpose)(square);
            for (int k = 0; k < KX_LANES; k++) {
                const int64_t width = KX_TYPED(width_of)(lines, at + k, j);
                if (width == KX_LANES) V(store)(values + start[k] + j, square[k]);
                else if (width) V(store_part)(values + start[k] + j, width, square[k]);
            }
        }
    }
}

/* A largest weight for each lane, and 1 / it in two parts, both scaled by a power of two. */
typedef struct KX_TYPED(top) {
    const double *exact; /* NULL: the same for all lanes */
    double exact_of_all;
    KX_VECTOR largest, scale, scaled, inverse, inverse_low;
} KX_TYPED(top_t);

static KX_ALWAYS_INLINE KX_TYPED(top_t) KX_TYPED(top_of)(const double *largest) {
    double scales[KX_LANES];
    for (int k = 0; k < KX_LANES; k++) scales[k] = kx_entropy_inverse_power(largest[k], KX_TYPED(KX_ENTROPY_SCALE_LIMIT));
    KX_TYPED(top_t) top;
    const KX_VECTOR one = V(set)((KX_REAL)1);
    top.exact = largest;
    top.exact_of_all = 0;
    top.largest = KX_TYPED(lanes_of)(largest);
    top.scale = KX_TYPED(lanes_of)(scales);
    top.scaled = V(mul)(top.largest, top.scale);
    top.inverse = V(div)(one, top.scaled);
    top.inverse_low = V(mul)(V(residual)(top.scaled, top.inverse, one), top.inverse);
    return top;
}

/* The same for one row. */
static KX_ALWAYS_INLINE KX_TYPED(top_t) KX_TYPED(top_of_row)(const double *largest) {
    KX_TYPED(top_t) top;
    const KX_VECTOR one = V(set)((KX_REAL)1);
    top.exact = NULL;
    top.exact_of_all = *largest;
    top.largest = V(set)((KX_REAL)*largest);
    top.scale = V(set)((KX_REAL)kx_entropy_inverse_power(*largest, KX_TYPED(KX_ENTROPY_SCALE_LIMIT)));
    top.scaled = V(mul)(top.largest, top.scale);
    top.inverse = V(div)(one, top.scaled);
    top.inverse_low = V(mul)(V(residual)(top.scaled, top.inverse, one), top.inverse);
    return top;
}

/* log(value / largest) <= 0 to a few of its own ulps, 0 where not open. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(log_of_share)(const KX_TYPED(top_t) *top, KX_MASK is_open, KX_VECTOR value) {
    const KX_VECTOR one = V(set)((KX_REAL)1), half = V(set)((KX_REAL)0.5);
    const KX_VECTOR scaled = V(select)(is_open, V(mul)(value, top->scale), top->scaled), difference = V(sub)(scaled, top->scaled);
    KX_VECTOR e, ratio = V(fma)(scaled, top->inverse_low, V(mul)(scaled, top->inverse)), m = V(split)(ratio, &e);
    /* Where the ratio is near 1, the difference to 1 is exact only if it is taken before the division. */
    const KX_VECTOR near = V(fma)(difference, top->inverse_low, V(mul)(difference, top->inverse));
    const KX_VECTOR v = V(log_of_parts)(e, V(select)(V(less)(V(abs)(e), half), near, V(sub)(m, one)));
    if (V(all_between)(ratio, KX_TYPED(KX_ENTROPY_TINY_SHARE), 2)) return v;
    /* the product with the scale was not exact */
    KX_REAL lanes[KX_LANES], values[KX_LANES], ratios[KX_LANES];
    V(store)(lanes, v);
    V(store)(values, value);
    V(store)(ratios, ratio);
    for (int k = 0; k < KX_LANES; k++)
        if (!(ratios[k] >= KX_TYPED(KX_ENTROPY_TINY_SHARE)))
            lanes[k] = (KX_REAL)(log((double)values[k]) - log(top->exact ? top->exact[k] : top->exact_of_all));
    return V(load)(lanes);
}
