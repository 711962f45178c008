/* Included by gaussians_internal.h for double and for float. */
#define TILE KX_LANES_TILE

/* Entries begin .. end - 1 of a contiguous line of n, `at` bytes into every item, to every step-th vector. What the line has
   beyond them is read with it, not kept. */
static KX_ALWAYS_INLINE void KX_TYPED(kx_lanes_pack_line)(const char *const *item, ptrdiff_t at, int64_t begin, int64_t end,
                                                          int64_t n, int64_t step, KX_REAL *to) {
    for (int64_t j = begin; j < end; j += KX_LANES) {
        const ptrdiff_t from = at + j * (ptrdiff_t)sizeof *to;
        KX_VECTOR v[KX_LANES];
        if (j + KX_LANES <= n)
            for (int l = 0; l < KX_LANES; l++) v[l] = V(load)((const KX_REAL *)(const void *)(item[l] + from));
        else
            for (int l = 0; l < KX_LANES; l++)
                v[l] = V(load_part)((const KX_REAL *)(const void *)(item[l] + from), n - j, 0);
        V(transpose)(v);
        for (int64_t k = 0; k < KX_LANES && j + k < end; k++) V(store)(to + (j + k) * step * KX_LANES, v[k]);
    }
}

static inline void KX_TYPED(kx_lanes_items)(const kx_batch_t *batch, int64_t first, int64_t count, const char **item) {
    for (int l = 0; l < KX_LANES; l++)
        item[l] = (const char *)batch->data + (first + (l < count ? l : count - 1)) * batch->batch;
}

/* Items first .. first + count - 1, 0 < count <= LANES, of a batch of matrices. */
static inline void KX_TYPED(kx_lanes_pack)(const kx_batch_t *matrix, int64_t first, int64_t count, int64_t n,
                                           kx_lanes_part_t part, KX_REAL *a) {
    const ptrdiff_t size = sizeof(KX_REAL);
    const int is_full = part == KX_LANES_FULL;
    const char *item[KX_LANES];
    KX_TYPED(kx_lanes_items)(matrix, first, count, item);
    for (int64_t i = 0; i < n; i++) {
        if (matrix->column == size)
            KX_TYPED(kx_lanes_pack_line)(item, i * matrix->row, 0, is_full ? n : i + 1, n, 1, a + i * n * KX_LANES);
        else if (matrix->row == size)
            KX_TYPED(kx_lanes_pack_line)(item, i * matrix->column, is_full ? 0 : i, n, n, n, a + i * KX_LANES);
        else
            for (int64_t j = 0; j < (is_full ? n : i + 1); j++)
                for (int l = 0; l < KX_LANES; l++)
                    memcpy(a + (i * n + j) * KX_LANES + l, item[l] + i * matrix->row + j * matrix->column, sizeof *a);
    }
}

/* The same of a batch of vectors. */
static inline void KX_TYPED(kx_lanes_pack_vector)(const kx_batch_t *vector, int64_t first, int64_t count, int64_t n, KX_REAL *v) {
    const char *item[KX_LANES];
    KX_TYPED(kx_lanes_items)(vector, first, count, item);
    if (vector->row == (ptrdiff_t)sizeof *v) {
        KX_TYPED(kx_lanes_pack_line)(item, 0, 0, n, n, 1, v);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int l = 0; l < KX_LANES; l++) memcpy(v + i * KX_LANES + l, item[l] + i * vector->row, sizeof *v);
}

/* Zeros above the diagonal. */
static inline void KX_TYPED(kx_lanes_clear_above)(KX_REAL *a, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        memset(a + (i * n + i + 1) * KX_LANES, 0, (size_t)((n - i - 1) * KX_LANES) * sizeof *a);
}

/* And back; nothing where out->data is NULL. */
static inline void KX_TYPED(kx_lanes_unpack)(const KX_REAL *a, int64_t first, int64_t count, int64_t n, kx_lanes_part_t part,
                                             const kx_batch_out_t *out) {
    if (!out->data) return;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j += KX_LANES) {
            const int64_t width = n - j < KX_LANES ? n - j : KX_LANES;
            KX_VECTOR v[KX_LANES];
            for (int64_t k = 0; k < KX_LANES; k++) {
                v[k] = V(set)(0);
                if (k >= width || (part == KX_LANES_LOWER && j + k > i)) continue;
                const int is_mirrored = part == KX_LANES_SYMMETRIC && j + k > i;
                v[k] = V(load)(a + (is_mirrored ? (j + k) * n + i : i * n + j + k) * KX_LANES);
            }
            V(transpose)(v);
            for (int64_t l = 0; l < count; l++) {
                char *to = (char *)out->data + (first + l) * out->batch + i * out->row + j * out->column;
                if (out->column == (ptrdiff_t)sizeof *a) {
                    if (width == KX_LANES) V(store)((KX_REAL *)(void *)to, v[l]);
                    else V(store_part)((KX_REAL *)(void *)to, width, v[l]);
                    continue;
                }
                KX_REAL entries[KX_LANES];
                V(store)(entries, v[l]);
                for (int64_t k = 0; k < width; k++) memcpy(to + k * out->column, entries + k, sizeof *a);
            }
        }
    }
}

static inline void KX_TYPED(kx_lanes_unpack_vector)(const KX_REAL *v, int64_t first, int64_t count, int64_t n,
                                                    const kx_batch_out_t *out) {
    if (!out->data) return;
    for (int64_t l = 0; l < count; l++)
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)out->data + (first + l) * out->batch + i * out->row, v + i * KX_LANES + l, sizeof *v);
}

/* The lanes of the mask become NaN, in `count` vectors. */
static inline void KX_TYPED(kx_lanes_spoil)(KX_REAL *a, int64_t count, unsigned lanes) {
    if (!lanes) return;
    const KX_MASK mask = M(from_bits)(lanes);
    const KX_VECTOR nan = V(set)((KX_REAL)NAN);
    for (int64_t i = 0; i < count; i++) V(store)(a + i * KX_LANES, V(select)(mask, nan, V(load)(a + i * KX_LANES)));
}

/* sums[r][c] += sum over k in [begin, end) of x(r, k) y(k, c); strides in vectors. */
static KX_ALWAYS_INLINE void KX_TYPED(kx_lanes_multiply_tile)(const KX_REAL *x, int64_t x_row, int64_t x_step, const KX_REAL *y,
                                                              int64_t y_step, int64_t y_column, int64_t begin, int64_t end,
                                                              const int rows, const int columns, KX_VECTOR (*sums)[TILE]) {
    for (int64_t k = begin; k < end; k++) {
        const KX_REAL *xk = x + k * x_step * KX_LANES, *yk = y + k * y_step * KX_LANES;
        KX_VECTOR right[TILE];
        for (int c = 0; c < columns; c++) right[c] = V(load)(yk + c * y_column * KX_LANES);
        for (int r = 0; r < rows; r++) {
            const KX_VECTOR left = V(load)(xk + r * x_row * KX_LANES);
            for (int c = 0; c < columns; c++) sums[r][c] = V(fma)(left, right[c], sums[r][c]);
        }
    }
}

/* a(i + r, j + c) - sum over k < j of a(i + r, k) a(j + c, k) */
static KX_ALWAYS_INLINE void KX_TYPED(kx_lanes_cholesky_rest)(const KX_REAL *a, int64_t n, int64_t i, int64_t j, const int rows,
                                                              const int columns, KX_VECTOR (*rest)[TILE]) {
    KX_VECTOR sums[TILE][TILE];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) sums[r][c] = V(set)(0);
    KX_TYPED(kx_lanes_multiply_tile)(a + i * n * KX_LANES, n, 1, a + j * n * KX_LANES, 1, n, 0, j, rows, columns, sums);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            rest[r][c] = j + c <= i + r ? V(sub)(V(load)(a + ((i + r) * n + j + c) * KX_LANES), sums[r][c]) : sums[r][c];
}

static KX_ALWAYS_INLINE void KX_TYPED(kx_lanes_cholesky_below)(KX_REAL *a, int64_t n, const KX_REAL *inverse, int64_t i,
                                                               int64_t j, const int rows, const int columns) {
    KX_VECTOR rest[TILE][TILE];
    KX_TYPED(kx_lanes_cholesky_rest)(a, n, i, j, rows, columns, rest);
    for (int c = 0; c < columns; c++) {
        for (int b = 0; b < c; b++) {
            const KX_VECTOR factor = V(sub)(V(set)(0), V(load)(a + ((j + c) * n + j + b) * KX_LANES));
            for (int r = 0; r < rows; r++) rest[r][c] = V(fma)(rest[r][b], factor, rest[r][c]);
        }
        const KX_VECTOR scale = V(load)(inverse + (j + c) * KX_LANES);
        for (int r = 0; r < rows; r++) rest[r][c] = V(mul)(rest[r][c], scale);
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) V(store)(a + ((i + r) * n + j + c) * KX_LANES, rest[r][c]);
}

static KX_ALWAYS_INLINE void KX_TYPED(kx_lanes_cholesky_diagonal)(KX_REAL *a, int64_t n, KX_REAL *inverse, int64_t i,
                                                                  const int rows, kx_lanes_pivots_t *pivots) {
    const KX_VECTOR zero = V(set)(0), one = V(set)(1);
    KX_VECTOR rest[TILE][TILE];
    KX_TYPED(kx_lanes_cholesky_rest)(a, n, i, i, rows, rows, rest);
    for (int c = 0; c < rows; c++) {
        const KX_MASK fine = V(less)(zero, rest[c][c]);
        const unsigned bad = ~M(bits)(fine) & ((1u << KX_LANES) - 1);
        if (bad) {
            KX_REAL lanes[KX_LANES];
            double values[KX_F32_LANES] = {0};
            V(store)(lanes, rest[c][c]);
            for (int l = 0; l < KX_LANES; l++) values[l] = (double)lanes[l];
            kx_lanes_note(pivots, bad, i + c, values);
            rest[c][c] = V(select)(fine, rest[c][c], one);
        }
        const KX_VECTOR root = V(sqrt)(rest[c][c]), scale = V(div)(one, root);
        V(store)(a + ((i + c) * n + i + c) * KX_LANES, root);
        V(store)(inverse + (i + c) * KX_LANES, scale);
        for (int r = c + 1; r < rows; r++) {
            rest[r][c] = V(mul)(rest[r][c], scale);
            V(store)(a + ((i + r) * n + i + c) * KX_LANES, rest[r][c]);
        }
        for (int b = c + 1; b < rows; b++) {
            const KX_VECTOR factor = V(sub)(zero, rest[b][c]);
            for (int r = b; r < rows; r++) rest[r][b] = V(fma)(rest[r][c], factor, rest[r][b]);
        }
    }
}

/* The Cholesky factor L of the lower triangle, in place, and the inverses of its diagonal. A lane whose pivot is not > 0 is
   noted, and goes on with 1 in its stead: its factor means nothing. The upper triangle is neither read nor written. */
static inline void KX_TYPED(kx_lanes_cholesky)(KX_REAL *a, int64_t n, KX_REAL *inverse, kx_lanes_pivots_t *pivots) {
    pivots->bad = 0;
    for (int64_t i = 0; i < n; i += kx_lanes_tile(i, n)) {
        const int rows = kx_lanes_tile(i, n);
        for (int64_t j = 0; j < i; j += kx_lanes_tile(j, n)) {
            if (rows == TILE) KX_TYPED(kx_lanes_cholesky_below)(a, n, inverse, i, j, TILE, TILE);
            else if (kx_lanes_tile(j, n) == TILE) KX_TYPED(kx_lanes_cholesky_below)(a, n, inverse, i, j, 1, TILE);
            else KX_TYPED(kx_lanes_cholesky_below)(a, n, inverse, i, j, 1, 1);
        }
        if (rows == TILE) KX_TYPED(kx_lanes_cholesky_diagonal)(a, n, inverse, i, TILE, pivots);
        else KX_TYPED(kx_lanes_cholesky_diagonal)(a, n, inverse, i, 1, pivots);
    }
}

/* For a factor that is given: the inverses of its diagonal. Entries that are not > 0 are noted and replaced by 1; with
   `allow_zero`, zeros stay as they are (their inverse is inf). */
static inline void KX_TYPED(kx_lanes_given_factor)(KX_REAL *a, int64_t n, int allow_zero, KX_REAL *inverse,
                                                   kx_lanes_pivots_t *pivots) {
    pivots->bad = 0;
    for (int64_t i = 0; i < n; i++) {
        KX_REAL *diagonal = a + (i * n + i) * KX_LANES;
        V(store)(diagonal, V(add)(V(load)(diagonal), V(set)(0))); /* -0 is 0 */
        double values[KX_F32_LANES] = {0};
        unsigned bad = 0;
        for (int l = 0; l < KX_LANES; l++) {
            values[l] = (double)diagonal[l];
            if (!(allow_zero ? values[l] >= 0 : values[l] > 0)) bad |= 1u << l, diagonal[l] = 1;
        }
        if (bad) kx_lanes_note(pivots, bad, i, values);
        V(store)(inverse + i * KX_LANES, V(div)(V(set)(1), V(load)(diagonal)));
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(kx_lanes_solve_tile)(const KX_REAL *a, int64_t n, const KX_REAL *inverse, int64_t begin,
                                                           int64_t i, const int rows, const int columns, KX_REAL *x) {
    KX_VECTOR sums[TILE][TILE];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) sums[r][c] = V(set)(0);
    KX_TYPED(kx_lanes_multiply_tile)(a + i * n * KX_LANES, n, 1, x, columns, 1, begin, i, rows, columns, sums);
    for (int r = 0; r < rows; r++) {
        KX_REAL *row = x + (i + r) * columns * KX_LANES;
        for (int c = 0; c < columns; c++) sums[r][c] = V(sub)(V(load)(row + c * KX_LANES), sums[r][c]);
        for (int b = 0; b < r; b++) {
            const KX_VECTOR factor = V(sub)(V(set)(0), V(load)(a + ((i + r) * n + i + b) * KX_LANES));
            for (int c = 0; c < columns; c++) sums[r][c] = V(fma)(factor, sums[b][c], sums[r][c]);
        }
        const KX_VECTOR scale = V(load)(inverse + (i + r) * KX_LANES);
        for (int c = 0; c < columns; c++) {
            sums[r][c] = V(mul)(sums[r][c], scale);
            V(store)(row + c * KX_LANES, sums[r][c]);
        }
    }
}

/* x := L^-1 x for a panel x of n rows and four columns, or one: entry (i, c) at x[(i * columns + c) * LANES]. Rows before
   `begin`, a multiple of four, are zero and are not touched. */
static inline void KX_TYPED(kx_lanes_solve_panel)(const KX_REAL *a, int64_t n, const KX_REAL *inverse, int64_t begin, int columns,
                                                  KX_REAL *x) {
    int64_t i = begin;
    if (columns == TILE) {
        for (; i + TILE <= n; i += TILE) KX_TYPED(kx_lanes_solve_tile)(a, n, inverse, begin, i, TILE, TILE, x);
        for (; i < n; i++) KX_TYPED(kx_lanes_solve_tile)(a, n, inverse, begin, i, 1, TILE, x);
    } else {
        for (; i + TILE <= n; i += TILE) KX_TYPED(kx_lanes_solve_tile)(a, n, inverse, begin, i, TILE, 1, x);
        for (; i < n; i++) KX_TYPED(kx_lanes_solve_tile)(a, n, inverse, begin, i, 1, 1, x);
    }
}

/* v := L^-1 v */
static inline void KX_TYPED(kx_lanes_solve_vector)(const KX_REAL *a, int64_t n, const KX_REAL *inverse, KX_REAL *v) {
    KX_TYPED(kx_lanes_solve_panel)(a, n, inverse, 0, 1, v);
}

/* w = L^-1, with zeros above the diagonal. The panel is scratch for n rows of four columns. */
static inline void KX_TYPED(kx_lanes_inverse)(const KX_REAL *a, int64_t n, const KX_REAL *inverse, KX_REAL *panel, KX_REAL *w) {
    memset(w, 0, (size_t)(n * n * KX_LANES) * sizeof *w);
    for (int64_t j = 0; j < n; j += kx_lanes_tile(j, n)) {
        const int columns = kx_lanes_tile(j, n);
        const int64_t begin = j / TILE * TILE;
        memset(panel + begin * columns * KX_LANES, 0, (size_t)((n - begin) * columns * KX_LANES) * sizeof *panel);
        for (int c = 0; c < columns; c++) V(store)(panel + ((j + c) * columns + c) * KX_LANES, V(set)(1));
        KX_TYPED(kx_lanes_solve_panel)(a, n, inverse, begin, columns, panel);
        for (int64_t i = j; i < n; i++)
            for (int c = 0; c < columns; c++)
                if (i >= j + c) V(store)(w + (i * n + j + c) * KX_LANES, V(load)(panel + (i * columns + c) * KX_LANES));
    }
}

/* u = w^T of a lower triangle, with zeros below the diagonal. */
static inline void KX_TYPED(kx_lanes_transpose_lower)(const KX_REAL *w, int64_t n, KX_REAL *u) {
    for (int64_t i = 0; i < n; i++) {
        memset(u + i * n * KX_LANES, 0, (size_t)(i * KX_LANES) * sizeof *u);
        for (int64_t j = i; j < n; j++) V(store)(u + (i * n + j) * KX_LANES, V(load)(w + (j * n + i) * KX_LANES));
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(kx_lanes_product_tile)(const KX_REAL *x, int64_t x_row, int64_t x_step, const KX_REAL *y,
                                                             int64_t y_step, int64_t y_column, int64_t begin, int64_t end,
                                                             const int rows, const int columns, int add, int64_t n,
                                                             KX_REAL *out) {
    KX_VECTOR sums[TILE][TILE];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) sums[r][c] = add ? V(load)(out + (r * n + c) * KX_LANES) : V(set)(0);
    KX_TYPED(kx_lanes_multiply_tile)(x, x_row, x_step, y, y_step, y_column, begin, end, rows, columns, sums);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) V(store)(out + (r * n + c) * KX_LANES, sums[r][c]);
}

/* out = x y, or x^T y and so on as the factors say, in full or the lower triangle of it (and then nothing else is written,
   but up to three entries beside the diagonal); `add`: it is added to what is there. out is neither x nor y. */
static inline void KX_TYPED(kx_lanes_multiply)(const KX_REAL *x, kx_lanes_factor_t x_is, const KX_REAL *y, kx_lanes_factor_t y_is,
                                               int64_t n, kx_lanes_part_t part, int add, KX_REAL *out) {
    const int64_t x_row = x_is & 1 ? 1 : n, x_step = x_is & 1 ? n : 1;
    const int64_t y_step = y_is & 1 ? 1 : n, y_column = y_is & 1 ? n : 1;
    for (int64_t j = 0; j < n; j += kx_lanes_tile(j, n)) {
        const int columns = kx_lanes_tile(j, n);
        const KX_REAL *right = y + j * y_column * KX_LANES;
        for (int64_t i = part == KX_LANES_FULL ? 0 : j; i < n; i += kx_lanes_tile(i, n)) {
            const int rows = kx_lanes_tile(i, n);
            const KX_REAL *left = x + i * x_row * KX_LANES;
            KX_REAL *to = out + (i * n + j) * KX_LANES;
            int64_t begin = 0, end = n;
            if (kx_lanes_acts_as_lower(x_is)) end = i + rows;
            if (kx_lanes_acts_as_upper(x_is)) begin = i;
            if (kx_lanes_acts_as_upper(y_is) && j + columns < end) end = j + columns;
            if (kx_lanes_acts_as_lower(y_is) && j > begin) begin = j;
            if (rows == TILE && columns == TILE)
                KX_TYPED(kx_lanes_product_tile)(left, x_row, x_step, right, y_step, y_column, begin, end, TILE, TILE, add, n, to);
            else if (rows == TILE)
                KX_TYPED(kx_lanes_product_tile)(left, x_row, x_step, right, y_step, y_column, begin, end, TILE, 1, add, n, to);
            else if (columns == TILE)
                KX_TYPED(kx_lanes_product_tile)(left, x_row, x_step, right, y_step, y_column, begin, end, 1, TILE, add, n, to);
            else KX_TYPED(kx_lanes_product_tile)(left, x_row, x_step, right, y_step, y_column, begin, end, 1, 1, add, n, to);
        }
    }
}

/* out = x v or x^T v */
static inline void KX_TYPED(kx_lanes_multiply_vector)(const KX_REAL *x, kx_lanes_factor_t x_is, const KX_REAL *v, int64_t n,
                                                      KX_REAL *out) {
    const int64_t x_row = x_is & 1 ? 1 : n, x_step = x_is & 1 ? n : 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = kx_lanes_acts_as_upper(x_is) ? i : 0, end = kx_lanes_acts_as_lower(x_is) ? i + 1 : n;
        KX_VECTOR sums[1][TILE] = {{V(set)(0)}};
        KX_TYPED(kx_lanes_multiply_tile)(x + i * x_row * KX_LANES, x_row, x_step, v, 1, 1, begin, end, 1, 1, sums);
        V(store)(out + i * KX_LANES, sums[0][0]);
    }
}

#undef TILE
