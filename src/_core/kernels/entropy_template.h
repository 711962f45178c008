/* What the templates of the entropy family share: included by each, once for double and once for float, so without a guard. KX_REAL,
   KX_SUFFIX, KX_VECTOR, KX_MASK, KX_LANES and V are the template's. */

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

/* The rows' values side by side, `lanes` of them, and what is not there as `nothing`; a long row as it is, and `nothing` behind. */
static void KX_TYPED(load_lines)(const KX_REAL *values, const kx_entropy_lines_t *lines, int lanes, KX_REAL nothing, KX_REAL *x) {
    if (lines->is_long) {
        const int64_t length = lines->length[0];
        memcpy(x, values + lines->start[0], (size_t)length * sizeof *x);
        for (int64_t i = length; i < lines->count * lanes; i++) x[i] = nothing;
    } else if (lines->is_even) {
        const KX_REAL *from[KX_ENTROPY_LANES];
        for (int k = 0; k < lines->rows; k++) from[k] = values + lines->start[k];
        for (int at = 0; at < lanes; at += KX_LANES)
            for (int64_t j = 0; j < lines->count; j += KX_LANES)
                V(transpose_in)(from + at, j, lines->rows - at, lines->count - j < KX_LANES ? lines->count - j : KX_LANES, nothing,
                                x + j * lanes + at, lanes);
    } else {
        for (int k = 0; k < lanes; k++) {
            const int64_t length = k < lines->rows ? lines->length[k] : 0;
            for (int64_t j = 0; j < length; j++) x[j * lanes + k] = values[lines->start[k] + j];
            for (int64_t j = length; j < lines->count; j++) x[j * lanes + k] = nothing;
        }
    }
}
/* And back. */
static void KX_TYPED(store_lines)(const KX_REAL *x, const kx_entropy_lines_t *lines, int lanes, KX_REAL *values) {
    if (lines->is_long) {
        memcpy(values + lines->start[0], x, (size_t)lines->length[0] * sizeof *x);
    } else if (lines->is_even) {
        KX_REAL *to[KX_ENTROPY_LANES];
        for (int k = 0; k < lines->rows; k++) to[k] = values + lines->start[k];
        for (int at = 0; at < lanes; at += KX_LANES)
            for (int64_t j = 0; j < lines->count; j += KX_LANES)
                V(transpose_out)(x + j * lanes + at, lanes, lines->rows - at,
                                 lines->count - j < KX_LANES ? lines->count - j : KX_LANES, to + at, j);
    } else {
        for (int k = 0; k < lines->rows; k++)
            for (int64_t j = 0; j < lines->length[k]; j++) values[lines->start[k] + j] = x[j * lanes + k];
    }
}

/* A largest weight for each lane, and 1 / it in two parts, both scaled by a power of two. */
typedef struct KX_TYPED(top) {
    const double *exact;
    KX_VECTOR largest, scale, scaled, inverse, inverse_low;
} KX_TYPED(top_t);

static KX_ALWAYS_INLINE KX_TYPED(top_t) KX_TYPED(top_of)(const double *largest) {
    double scales[KX_LANES];
    for (int k = 0; k < KX_LANES; k++) scales[k] = kx_entropy_inverse_power(largest[k], KX_TYPED(KX_ENTROPY_SCALE_LIMIT));
    KX_TYPED(top_t) top;
    const KX_VECTOR one = V(set)((KX_REAL)1);
    top.exact = largest;
    top.largest = KX_TYPED(lanes_of)(largest);
    top.scale = KX_TYPED(lanes_of)(scales);
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
        if (!(ratios[k] >= KX_TYPED(KX_ENTROPY_TINY_SHARE))) lanes[k] = (KX_REAL)(log((double)values[k]) - log(top->exact[k]));
    return V(load)(lanes);
}
