/* Products of tiles, for one type: KX_REAL, KX_SUFFIX, KX_VECTOR, KX_LANES. */
#include "kernels/product_tile.h"

static KX_ALWAYS_INLINE double KX_TYPED(sum_of_lanes)(const KX_REAL *lanes) {
    double sum = 0;
    for (int l = 0; l < KX_LANES; l++) sum += (double)lanes[l];
    return sum;
}

/* TILE_ROWS rows of products of a and packed columns: out[i * out_row + j], j < width, a multiple of WIDTH. */
static void KX_TYPED(multiply)(const KX_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step, const KX_REAL *b, ptrdiff_t b_row,
                               int64_t depth, int64_t width, KX_REAL *out, ptrdiff_t out_row) {
    for (int64_t j = 0; j < width; j += WIDTH) {
        KX_VECTOR c[TILE_ROWS][VECTORS];
        KX_TYPED(make_tile)(TILE_ROWS, a, a_row, a_step, b + j, b_row, depth, c);
        for (int i = 0; i < TILE_ROWS; i++)
            for (int v = 0; v < VECTORS; v++) V(store)(out + i * out_row + j + v * KX_LANES, c[i][v]);
    }
}

/* The same, added to what is there. */
static void KX_TYPED(multiply_add)(const KX_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step, const KX_REAL *b, ptrdiff_t b_row,
                                   int64_t depth, int64_t width, KX_REAL *out, ptrdiff_t out_row) {
    for (int64_t j = 0; j < width; j += WIDTH) KX_TYPED(add_tile)(TILE_ROWS, a, a_row, a_step, b + j, b_row, depth, out + j,
        out_row);
}

/* `count` rows of `dimension` numbers, padded with zeros to `rows` rows and `width` numbers. */
static void KX_TYPED(copy_rows)(const char *from, ptrdiff_t row, int64_t count, int64_t dimension, int64_t rows, int64_t width,
                                KX_REAL *to) {
    for (int64_t r = 0; r < rows; r++, to += width) {
        const int64_t used = r < count ? dimension : 0;
        if (used) memcpy(to, from + r * row, (size_t)used * sizeof *to);
        if (used < width) memset(to + used, 0, (size_t)(width - used) * sizeof *to);
    }
}

/* Number k of row j to to[k * KEYS + j]: `count` rows, zeros for the rest of KEYS. */
static void KX_TYPED(transpose_rows)(const char *from, ptrdiff_t row, int64_t count, int64_t dimension, KX_REAL *to) {
    for (int64_t j = 0; j < KEYS; j += KX_LANES)
        for (int64_t k = 0; k < dimension; k += KX_LANES) {
            const int64_t width = dimension - k < KX_LANES ? dimension - k : KX_LANES;
            KX_VECTOR square[KX_LANES];
            for (int l = 0; l < KX_LANES; l++) {
                const KX_REAL *entries = (const KX_REAL *)(const void *)(from + (j + l) * row) + k;
                if (j + l >= count) square[l] = V(set)(0);
                else if (width == KX_LANES) square[l] = V(load)(entries);
                else square[l] = V(load_part)(entries, width, 0);
            }
            V(transpose)(square);
            for (int64_t l = 0; l < width; l++) V(store)(to + (k + l) * KEYS + j, square[l]);
        }
}

/* Whether some numbers are not finite; these become 0. */
static KX_ALWAYS_INLINE int KX_TYPED(clean)(KX_REAL *numbers, int64_t count) {
    int found = 0;
    for (int64_t i = 0; i < count; i++) found |= !(numbers[i] - numbers[i] == 0);
    for (int64_t i = 0; found && i < count; i++)
        if (!isfinite(numbers[i])) numbers[i] = 0;
    return found;
}

/* What is not finite in a block's values goes to the rows that see it, `shown`: the product of tiles had zeros there, since a
   weight of 0 times NaN is no 0. */
static inline void KX_TYPED(spoil)(const char *values, ptrdiff_t row, int64_t count, int64_t dimension,
                                   uint8_t shown[TILE_ROWS][KEYS],
                                   const KX_REAL *weights, KX_REAL *out, int64_t width) {
    for (int64_t j = 0; j < count; j++) {
        const KX_REAL *value = (const KX_REAL *)(const void *)(values + j * row);
        for (int64_t k = 0; k < dimension; k++) {
            if (isfinite(value[k])) continue;
            for (int i = 0; i < TILE_ROWS; i++)
                if (shown[i][j]) out[i * width + k] += weights[i * KEYS + j] * value[k];
        }
    }
}

/* Puts the mask of a row into its scores. visible: keys of the block that causality leaves. */
static void KX_TYPED(mask_row)(const kx_attention_t *a, const char *mask, int64_t visible, KX_REAL *scores) {
    if (visible < 0) visible = 0;
    if (a->mask_kind == KX_ATTENTION_BOOLEAN) {
        uint8_t shown[KEYS];
        if (a->mask_step == 1) memcpy(shown, mask, (size_t)visible);
        else for (int64_t j = 0; j < visible; j++) shown[j] = (uint8_t)mask[j * a->mask_step];
        for (int64_t j = 0; j < visible; j++) scores[j] = shown[j] ? scores[j] : -(KX_REAL)INFINITY;
    } else if (a->mask_kind == KX_ATTENTION_ADDITIVE) {
        KX_REAL added[KEYS];
        if (a->mask_step == (ptrdiff_t)sizeof(KX_REAL)) memcpy(added, mask, (size_t)visible * sizeof(KX_REAL));
        else for (int64_t j = 0; j < visible; j++) memcpy(added + j, mask + j * a->mask_step, sizeof(KX_REAL));
        /* What -infinity hides is hidden, NaN or infinite as it may be. */
        for (int64_t j = 0; j < visible; j++)
            scores[j] = added[j] == -(KX_REAL)INFINITY ? -(KX_REAL)INFINITY : scores[j] + added[j];
    }
    for (int64_t j = visible; j < KEYS; j++) scores[j] = -(KX_REAL)INFINITY;
}

/* Whether causality or the mask hides a key from a query. */
static KX_ALWAYS_INLINE int KX_TYPED(is_hidden)(const kx_attention_t *a, int64_t item, int64_t query, int64_t key) {
    if (a->is_causal && key > query) return 1;
    if (a->mask_kind == KX_ATTENTION_UNMASKED) return 0;
    const char *mask = (const char *)a->mask.data + a->mask.offsets[item] + query * a->mask.row + key * a->mask_step;
    if (a->mask_kind == KX_ATTENTION_BOOLEAN) return !*mask;
    KX_REAL added;
    memcpy(&added, mask, sizeof added);
    return added == -(KX_REAL)INFINITY;
}

/* Products of a query and a block of keys become scores: scaled, masked, -infinity where there is no key. */
static KX_ALWAYS_INLINE void KX_TYPED(scale_and_mask)(const kx_attention_t *a, int64_t item, int64_t query, int64_t first_key,
                                                      int64_t count, KX_REAL scale, KX_REAL *scores) {
    const KX_VECTOR by = V(set)(scale);
    for (int v = 0; v < KEYS / KX_LANES; v++) V(store)(scores + v * KX_LANES, V(mul)(V(load)(scores + v * KX_LANES), by));
    int64_t visible = count;
    if (a->is_causal && query - first_key + 1 < visible) visible = query - first_key + 1;
    if (visible == KEYS && a->mask_kind == KX_ATTENTION_UNMASKED) return;
    const int64_t masked = query < a->query_count ? query : a->query_count - 1; /* a row of padding takes the last mask */
    const char *mask = a->mask_kind == KX_ATTENTION_UNMASKED
                           ? NULL
                           : (const char *)a->mask.data + a->mask.offsets[item] + masked * a->mask.row + first_key * a->mask_step;
    KX_TYPED(mask_row)(a, mask, visible, scores);
}

static KX_ALWAYS_INLINE KX_REAL KX_TYPED(largest)(KX_VECTOR a) { return -V(reduce_min)(V(sub)(V(set)(0), a)); }

/* Scores of a row become weights relative to its maximum; what was found with a lower maximum is scaled: `out`, `width`
   numbers, the sum and the moment, one vector each (the sum of e^(s - top) (s - top), of which entropies are made). */
static KX_ALWAYS_INLINE void KX_TYPED(weigh_row)(const int has_moments, KX_REAL *scores, KX_REAL *top, KX_REAL *sum,
                                                 KX_REAL *moment, KX_REAL *out, int64_t width) {
    enum { COUNT = KEYS / KX_LANES };
    KX_VECTOR high = V(load)(scores);
    for (int v = 1; v < COUNT; v++) high = V(max)(V(load)(scores + v * KX_LANES), high);
    const KX_REAL largest = KX_TYPED(largest)(high), before = *top;
    if (largest > before) {
        *top = largest;
        const KX_REAL shift = before - largest, factor = before > -(KX_REAL)INFINITY ? (KX_REAL)exp((double)shift) : 0;
        const KX_VECTOR by = V(set)(factor);
        if (has_moments) {
            /* e^(s - new) (s - new) = factor (e^(s - old) (s - old) + e^(s - old) (old - new)) */
            const KX_VECTOR moved = V(mul)(V(load)(sum), V(set)(factor > 0 ? shift : 0));
            V(store)(moment, V(mul)(by, V(add)(V(load)(moment), moved)));
        }
        V(store)(sum, V(mul)(V(load)(sum), by));
        for (int64_t k = 0; k < width; k += KX_LANES) V(store)(out + k, V(mul)(V(load)(out + k), by));
    }
    /* A row that sees nothing yet has no maximum; a NaN is found by the sum. */
    const KX_VECTOR base = V(set)(*top > -(KX_REAL)INFINITY ? *top : 0), least = V(set)(-(KX_REAL)KX_EXP_LEAST);
    KX_VECTOR total = V(set)(0), moments = V(set)(0);
    for (int v = 0; v < COUNT; v++) {
        const KX_VECTOR apart = V(max)(least, V(sub)(V(load)(scores + v * KX_LANES), base)), weight = V(exp)(apart);
        total = V(add)(total, weight);
        if (has_moments) moments = V(fma)(weight, apart, moments);
        V(store)(scores + v * KX_LANES, weight);
    }
    V(store)(sum, V(add)(V(load)(sum), total));
    if (has_moments) V(store)(moment, V(add)(V(load)(moment), moments));
}
