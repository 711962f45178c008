/* Recurrent networks against long double loops, their gradients against differences of those, for sizes around those of the
   tiles. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

typedef long double wide;

typedef struct kx_case {
    kx_recurrent_kind_t kind;
    int64_t sequences, steps, dimension, size;
} kx_case_t;

typedef struct kx_weights {
    wide *x, *W, *U, *b, *d, *h, *c; /* d: the recurrent bias; h and c: the start */
} kx_weights_t;

static const int BLOCKS[] = {1, 1, 4, 3, 3, 2, 3}, KEPT[] = {1, 1, 4, 3, 4, 2, 3};
static const char *NAMES[] = {"tanh", "relu", "lstm", "gru", "gru after", "gru single", "gru proposal"};

static int has_cell(const kx_case_t *k) { return k->kind == KX_RECURRENT_LSTM || k->kind == KX_RECURRENT_GRU_PROPOSAL; }
static wide sigma(wide v) { return 1 / (1 + expl(-v)); }

static wide *numbers(int64_t n, double size) {
    wide *values = calloc((size_t)(n + 1), sizeof *values);
    for (int64_t i = 0; size > 0 && i < n; i++) values[i] = (wide)(float)check_uniform(-size, size);
    return values;
}

/* x W + h U + b of one unit of one block; h NULL: without it */
static wide affine(const kx_case_t *k, const kx_weights_t *w, const wide *x, const wide *h, int block, int64_t unit) {
    const int64_t row = BLOCKS[k->kind] * k->size, column = block * k->size + unit;
    wide sum = w->b[column];
    for (int64_t m = 0; m < k->dimension; m++) sum += x[m] * w->W[m * row + column];
    for (int64_t m = 0; h && m < k->size; m++) sum += h[m] * w->U[m * row + column];
    return sum;
}

static void run(const kx_case_t *k, const kx_weights_t *w, wide *states, wide *cells) {
    const int64_t n = k->size, row = BLOCKS[k->kind] * n;
    wide *h = numbers(n, 0), *next = numbers(n, 0), *c = numbers(n, 0), *reset = numbers(n, 0), *z = numbers(n, 0);
    for (int64_t s = 0; s < k->sequences; s++) {
        memcpy(h, w->h + s * n, (size_t)n * sizeof *h), memcpy(c, w->c + s * n, (size_t)n * sizeof *c);
        for (int64_t t = 0; t < k->steps; t++) {
            const wide *x = w->x + (s * k->steps + t) * k->dimension;
            if (k->kind == KX_RECURRENT_GRU || k->kind == KX_RECURRENT_GRU_SINGLE)
                for (int64_t j = 0; j < n; j++) {
                    z[j] = sigma(affine(k, w, x, h, 0, j));
                    reset[j] = h[j] * (k->kind == KX_RECURRENT_GRU ? sigma(affine(k, w, x, h, 1, j)) : z[j]);
                }
            for (int64_t j = 0; j < n; j++) {
                if (k->kind == KX_RECURRENT_TANH) {
                    next[j] = tanhl(affine(k, w, x, h, 0, j));
                } else if (k->kind == KX_RECURRENT_RELU) {
                    next[j] = fmaxl(0, affine(k, w, x, h, 0, j));
                } else if (k->kind == KX_RECURRENT_LSTM) {
                    const wide input = sigma(affine(k, w, x, h, 1, j)) * tanhl(affine(k, w, x, h, 2, j));
                    c[j] = sigma(affine(k, w, x, h, 0, j)) * c[j] + input;
                    next[j] = sigma(affine(k, w, x, h, 3, j)) * tanhl(c[j]);
                } else if (k->kind == KX_RECURRENT_GRU || k->kind == KX_RECURRENT_GRU_SINGLE) {
                    const int last = k->kind == KX_RECURRENT_GRU ? 2 : 1;
                    next[j] = (1 - z[j]) * h[j] + z[j] * tanhl(affine(k, w, x, reset, last, j));
                } else {
                    const wide gate = sigma(affine(k, w, x, h, 0, j)), r = sigma(affine(k, w, x, h, 1, j));
                    if (k->kind == KX_RECURRENT_GRU_PROPOSAL) {
                        c[j] = (1 - gate) * c[j] + gate * tanhl(affine(k, w, x, h, 2, j));
                        next[j] = r * c[j];
                    } else {
                        wide q = w->d[j];
                        for (int64_t m = 0; m < n; m++) q += h[m] * w->U[m * row + 2 * n + j];
                        next[j] = (1 - gate) * tanhl(affine(k, w, x, NULL, 2, j) + r * q) + gate * h[j];
                    }
                }
            }
            memcpy(h, next, (size_t)n * sizeof *h);
            memcpy(states + (s * k->steps + t) * n, h, (size_t)n * sizeof *h);
            memcpy(cells + (s * k->steps + t) * n, c, (size_t)n * sizeof *c);
        }
    }
    free(h), free(next), free(c), free(reset), free(z);
}

/* Of the precision's own type */
static void *narrow(const wide *from, int64_t n, int precision) {
    void *out = malloc((size_t)(n + 1) * 8);
    for (int64_t i = 0; i < n; i++)
        if (precision) ((double *)out)[i] = (double)from[i];
        else ((float *)out)[i] = (float)from[i];
    return out;
}
static wide at(const void *values, int64_t i, int precision) {
    return precision ? (wide)((const double *)values)[i] : (wide)((const float *)values)[i];
}

static double worst(const void *got, const wide *exact, int64_t n, int precision) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        const double apart = (double)fabsl(at(got, i, precision) - exact[i]);
        if (!(apart <= most)) most = apart;
    }
    return most;
}

static void test(kx_case_t k) {
    const int64_t n = k.size, rows = k.sequences * k.steps, count = rows * n, blocks = BLOCKS[k.kind], kept = KEPT[k.kind];
    const double scale = 1 / sqrt((double)(n + k.dimension + 1));
    const int64_t sizes[] = {rows * k.dimension, k.dimension * blocks * n, n * blocks * n, blocks * n, n,
                             k.sequences * n, k.sequences * n};
    kx_weights_t w;
    wide **parts[] = {&w.x, &w.W, &w.U, &w.b, &w.d, &w.h, &w.c};
    for (int i = 0; i < 7; i++) *parts[i] = numbers(sizes[i], i == 1 || i == 2 ? 2 * scale : 1);
    wide *states = numbers(count, 0), *cells = numbers(count, 0), *grad = numbers(count, 1), *cell_grad = numbers(count, 1);
    run(&k, &w, states, cells);
    /* along a direction of x W + b by way of b, of the recurrent bias, and of the start */
    wide *ways[7] = {NULL, NULL, NULL, numbers(sizes[3], 1), numbers(sizes[4], 1), numbers(sizes[5], 1), numbers(sizes[6], 1)};
    wide along = 0;
    for (int sign = 1; sign >= -1; sign -= 2) {
        wide *moved = numbers(count, 0), *moved_cells = numbers(count, 0), total = 0;
        for (int i = 3; i < 7; i++)
            for (int64_t j = 0; j < sizes[i]; j++) (*parts[i])[j] += sign * 1e-5L * ways[i][j];
        run(&k, &w, moved, moved_cells);
        for (int64_t i = 0; i < count; i++) total += moved[i] * grad[i] + (has_cell(&k) ? moved_cells[i] * cell_grad[i] : 0);
        for (int i = 3; i < 7; i++)
            for (int64_t j = 0; j < sizes[i]; j++) (*parts[i])[j] -= sign * 1e-5L * ways[i][j];
        along += sign * total / 2e-5L;
        free(moved), free(moved_cells);
    }
    for (int precision = 0; precision < 2; precision++) {
        void *in[7], *g = narrow(grad, count, precision), *gc = narrow(cell_grad, count, precision);
        for (int i = 0; i < 7; i++) in[i] = narrow(*parts[i], sizes[i], precision);
        const kx_recurrent_t network = {k.kind, k.sequences, k.steps, k.dimension, n, in[0], in[1], in[2],
                                        in[3], in[4], in[5], in[6]};
        void *h = calloc((size_t)count + 1, 8), *c = calloc((size_t)count + 1, 8), *gates = calloc((size_t)(count * kept) + 1, 8);
        void *alone = calloc((size_t)count + 1, 8), *by_gates = calloc((size_t)(count * kept) + 1, 8);
        void *by_h = calloc((size_t)(k.sequences * n) + 1, 8), *by_c = calloc((size_t)(k.sequences * n) + 1, 8);
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = 3;
        kx_status_t status;
        status = precision ? kx_recurrent_f64(&ctx, &network, h, c, gates) : kx_recurrent_f32(&ctx, &network, h, c, gates);
        CHECK(status == KX_OK, "status %d", (int)status);
        status = precision ? kx_recurrent_f64(NULL, &network, alone, c, NULL) : kx_recurrent_f32(NULL, &network, alone, c, NULL);
        CHECK(status == KX_OK && memcmp(h, alone, (size_t)count * (precision ? 8 : 4)) == 0, "%s: the same by one worker",
              NAMES[k.kind]);
        const double eps = precision ? DBL_EPSILON : (double)FLT_EPSILON, bound = 40 * eps * (double)(2 + k.steps);
        CHECK(worst(h, states, count, precision) <= bound, "%s, %d x %d, %d and %d, precision %d: %g over %g", NAMES[k.kind],
              (int)k.sequences, (int)k.steps, (int)k.dimension, (int)n, precision, worst(h, states, count, precision), bound);
        if (has_cell(&k)) CHECK(worst(c, cells, count, precision) <= bound, "%s: cells, precision %d", NAMES[k.kind], precision);
        status = precision ? kx_recurrent_gradient_f64(&ctx, &network, gates, h, c, g, gc, by_gates, by_h, by_c)
                           : kx_recurrent_gradient_f32(&ctx, &network, gates, h, c, g, gc, by_gates, by_h, by_c);
        CHECK(status == KX_OK, "status of the gradient %d", (int)status);
        wide sum = 0, size = 0;
        for (int64_t i = 0; i < count * kept; i++) {
            const int64_t block = i / n % kept;
            const wide way = block < blocks ? ways[3][block * n + i % n] : ways[4][i % n];
            const wide term = at(by_gates, i, precision) * way;
            sum += term, size += fabsl(term);
        }
        for (int64_t i = 0; i < k.sequences * n; i++) {
            const wide first = at(by_h, i, precision) * ways[5][i];
            const wide second = has_cell(&k) ? at(by_c, i, precision) * ways[6][i] : 0;
            sum += first + second, size += fabsl(first) + fabsl(second);
        }
        /* a kink of max(0, x) within the step of the difference would show */
        if (k.kind != KX_RECURRENT_RELU || k.steps <= 2)
            CHECK(fabsl(sum - along) <= (wide)(precision ? 1e-8 : 1e-4) * (size + 1),
                  "%s, %d x %d, %d and %d, precision %d: gradient %g, not %g", NAMES[k.kind], (int)k.sequences,
                  (int)k.steps, (int)k.dimension, (int)n, precision, (double)sum, (double)along);
        for (int i = 0; i < 7; i++) free(in[i]);
        free(g), free(gc), free(h), free(c), free(gates), free(alone), free(by_gates), free(by_h), free(by_c);
    }
    for (int i = 0; i < 7; i++) free(*parts[i]), free(ways[i]);
    free(states), free(cells), free(grad), free(cell_grad);
}

/* A side of a product: contiguous, transposed, or with every other row and column of a larger array. */
static kx_recurrent_matrix_t side(const wide *from, int64_t rows, int64_t columns, int layout, int precision, void **memory) {
    const ptrdiff_t bytes = precision ? 8 : 4;
    const ptrdiff_t row = bytes * (layout == 1 ? 1 : layout == 2 ? 4 * columns : columns);
    const ptrdiff_t column = bytes * (layout == 1 ? rows : layout == 2 ? 2 : 1);
    char *data = *memory = calloc((size_t)(4 * rows * columns + 1), 8);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            if (precision) *(double *)(void *)(data + i * row + j * column) = (double)from[i * columns + j];
            else *(float *)(void *)(data + i * row + j * column) = (float)from[i * columns + j];
    return (kx_recurrent_matrix_t){data, row, column};
}

static void test_product(int64_t rows, int64_t depth, int64_t columns, int left_layout, int right_layout) {
    wide *a = numbers(rows * depth, 1), *b = numbers(depth * columns, 1), *exact = numbers(rows * columns, 0);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            for (int64_t k = 0; k < depth; k++) exact[i * columns + j] += a[i * depth + k] * b[k * columns + j];
    for (int precision = 0; precision < 2; precision++) {
        const int64_t bytes = precision ? 8 : 4, out_row = columns + 3;
        void *memory[2], *out = calloc((size_t)(rows * out_row) + 1, 8), *alone = calloc((size_t)(rows * out_row) + 1, 8);
        const kx_recurrent_matrix_t left = side(a, rows, depth, left_layout, precision, &memory[0]);
        const kx_recurrent_matrix_t right = side(b, depth, columns, right_layout, precision, &memory[1]);
        memset(out, 1, (size_t)(rows * out_row * bytes)), memset(alone, 1, (size_t)(rows * out_row * bytes));
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = 3;
        const kx_status_t first =
            precision ? kx_recurrent_product_f64(NULL, rows, depth, columns, &left, &right, alone, out_row * bytes)
                      : kx_recurrent_product_f32(NULL, rows, depth, columns, &left, &right, alone, out_row * bytes);
        const kx_status_t second =
            precision ? kx_recurrent_product_f64(&ctx, rows, depth, columns, &left, &right, out, out_row * bytes)
                      : kx_recurrent_product_f32(&ctx, rows, depth, columns, &left, &right, out, out_row * bytes);
        CHECK(first == KX_OK && second == KX_OK, "status %d and %d", (int)first, (int)second);
        CHECK(memcmp(out, alone, (size_t)(rows * out_row * bytes)) == 0, "a product: the same by one worker");
        double most = 0;
        int64_t touched = 0;
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < columns; j++) {
                const double apart = (double)fabsl(at(alone, i * out_row + j, precision) - exact[i * columns + j]);
                if (!(apart <= most)) most = apart;
            }
            for (int64_t j = columns * bytes; j < out_row * bytes; j++) touched += ((char *)alone)[i * out_row * bytes + j] != 1;
        }
        const double bound = 4 * (precision ? DBL_EPSILON : (double)FLT_EPSILON) * sqrt((double)depth + 1);
        CHECK(most <= bound, "a product of %d x %d x %d, layouts %d and %d, precision %d: %g over %g", (int)rows, (int)depth,
              (int)columns, left_layout, right_layout, precision, most, bound);
        CHECK(touched == 0, "nothing beside the product is written");
        free(memory[0]), free(memory[1]), free(out), free(alone);
    }
    free(a), free(b), free(exact);
}

static int stop(void *state) {
    ++*(int *)state;
    return 1;
}

static void test_arguments(void) {
    kx_recurrent_t network = {KX_RECURRENT_TANH, 1, 1, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    double h = 0;
    CHECK(kx_recurrent_f64(NULL, NULL, &h, NULL, NULL) == KX_E_ARGUMENT, "no network");
    CHECK(kx_recurrent_f64(NULL, &network, &h, NULL, NULL) == KX_E_ARGUMENT, "no weights");
    network.sequences = -1;
    CHECK(kx_recurrent_f64(NULL, &network, &h, NULL, NULL) == KX_E_ARGUMENT, "a negative size");
    network.sequences = 1, network.kind = (kx_recurrent_kind_t)7;
    CHECK(kx_recurrent_f64(NULL, &network, &h, NULL, NULL) == KX_E_ARGUMENT, "an unknown kind");
    network.kind = KX_RECURRENT_TANH, network.sequences = INT64_MAX / 2, network.steps = 9;
    CHECK(kx_recurrent_f64(NULL, &network, &h, NULL, NULL) == KX_E_OVERFLOW, "too many");
    network.steps = 0, network.sequences = 3;
    CHECK(kx_recurrent_f64(NULL, &network, NULL, NULL, NULL) == KX_OK, "no steps");
    double by_start[3] = {1, 1, 1};
    const kx_status_t back = kx_recurrent_gradient_f64(NULL, &network, NULL, NULL, NULL, NULL, NULL, NULL, by_start, NULL);
    CHECK(back == KX_OK && by_start[1] == 0, "no steps, no gradient");
    const kx_recurrent_matrix_t one_number = {&h, 8, 8};
    CHECK(kx_recurrent_product_f64(NULL, -1, 1, 1, &one_number, &one_number, &h, 8) == KX_E_ARGUMENT, "a negative size");
    CHECK(kx_recurrent_product_f64(NULL, 1, 1, 1, &one_number, NULL, &h, 8) == KX_E_ARGUMENT, "no right side");
    CHECK(kx_recurrent_product_f64(NULL, 0, 1, 1, NULL, NULL, NULL, 8) == KX_OK, "a product without rows");
    CHECK(kx_recurrent_product_f64(NULL, 1, 0, 3, NULL, NULL, by_start, 24) == KX_OK && by_start[2] == 0, "an empty sum");

    const int64_t steps = 3000000;
    double *x = calloc((size_t)steps, sizeof *x), *states = calloc((size_t)steps, sizeof *states), one = 1;
    network = (kx_recurrent_t){KX_RECURRENT_TANH, 1, steps, 1, 1, x, &one, &one, NULL, NULL, NULL, NULL};
    kx_ctx_t ctx;
    int calls = 0;
    kx_ctx_init(&ctx);
    ctx.cancel = stop, ctx.cancel_state = &calls;
    CHECK(kx_recurrent_f64(&ctx, &network, states, NULL, NULL) == KX_E_CANCELLED && calls == 1, "cancelled");
    free(x), free(states);
}

int main(void) {
    const int64_t sizes[][4] = {{1, 1, 1, 1}, {1, 2, 3, 2}, {3, 5, 2, 7}, {7, 2, 1, 8}, {2, 3, 5, 16}, {8, 2, 17, 33},
                                {13, 2, 4, 64}, {100, 2, 3, 5}, {1, 101, 2, 3}, {1, 2, 140, 130}, {2, 3, 0, 4}, {1, 1, 64, 128}};
    for (int s = 0; s < 12; s++)
        for (int kind = KX_RECURRENT_TANH; kind <= KX_RECURRENT_GRU_PROPOSAL; kind++)
            test((kx_case_t){(kx_recurrent_kind_t)kind, sizes[s][0], sizes[s][1], sizes[s][2], sizes[s][3]});
    const int64_t products[][3] = {{1, 1, 1}, {2, 3, 5}, {7, 16, 8}, {5, 129, 33}, {200, 20, 70}, {64, 300, 64}, {13, 40, 600}};
    for (int s = 0; s < 7; s++)
        for (int layouts = 0; layouts < 9; layouts++)
            test_product(products[s][0], products[s][1], products[s][2], layouts / 3, layouts % 3);
    test_arguments();
    return check_report();
}
