/* kexue without Python: the distance of two texts, rows of weights brought to one entropy, and whether samples depend on each other.

   python tools/amalgamate.py .
   cc -std=c11 -O2 -I. examples/c/without_python.c kexue.c -lm -lpthread -o without_python && ./without_python */
#include "kexue.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void must(kx_status_t status, const char *call) {
    if (status == KX_OK) return;
    fprintf(stderr, "%s: %s: %s\n", call, kx_status_name(status), kx_status_text(status));
    exit(EXIT_FAILURE);
}

/* What is known without the library: 0 where it holds. */
static int check(int holds, const char *what) {
    if (!holds) fprintf(stderr, "not so: %s\n", what);
    return !holds;
}

enum { VOCABULARY = 6, DIMENSION = 3, ROWS = 3, COLUMNS = 8, SAMPLES = 40 };

/* "the cat sat" and "a dog ran ran", as words of a vocabulary with a vector each. */
static int word_movers_distance(void) {
    static const double vectors[VOCABULARY][DIMENSION] = {{0.0, 0.1, 0.2}, {1.0, 0.5, -0.3}, {0.4, -1.0, 0.7},
                                                          {0.1, 0.0, 0.2}, {0.9, 0.7, -0.5}, {0.2, -1.3, 1.1}};
    static const int64_t x_offsets[] = {0, 3}, y_offsets[] = {0, 3};
    static const int32_t x_words[] = {0, 1, 2}, y_words[] = {3, 4, 5};
    static const double x_weights[] = {1, 1, 1}, y_weights[] = {1, 1, 2};
    const kx_documents_t x = {1, x_offsets, x_words, x_weights}, y = {1, y_offsets, y_words, y_weights};
    kx_pairwise_options_t options;
    double distance, itself, relaxed;
    kx_pairwise_options_init(&options);
    must(kx_documents_pairwise_f64(NULL, vectors[0], &x, &y, VOCABULARY, DIMENSION, sizeof vectors[0], &options, &distance), "WMD");
    must(kx_documents_pairwise_f64(NULL, vectors[0], &x, &x, VOCABULARY, DIMENSION, sizeof vectors[0], &options, &itself), "WMD");
    options.metric = KX_RELAXED_WMD;
    must(kx_documents_pairwise_f64(NULL, vectors[0], &x, &y, VOCABULARY, DIMENSION, sizeof vectors[0], &options, &relaxed), "RWMD");
    printf("wmd %.17g\n", distance);
    return check(itself == 0, "a text is at distance 0 from itself") + check(relaxed <= distance, "the bound is below the distance");
}

static int entropy_normalisation(void) {
    double p[ROWS][COLUMNS], q[ROWS][COLUMNS], gamma[ROWS], entropy[ROWS];
    const double target = 1.5; /* nats, the same for all rows: a stride of 0 */
    int32_t status[ROWS];
    kx_entropy_options_t options;
    int failed = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) p[i][j] = 1.0 + (double)((7 * i + 3 * j) % 11);
    kx_entropy_options_init(&options);
    const kx_entropy_outputs_t outputs = {q, gamma, entropy, status, NULL};
    must(kx_entropy_normalize_f64(NULL, p[0], NULL, &target, ROWS, COLUMNS, 0, &options, &outputs), "entropy normalisation");
    for (int i = 0; i < ROWS; i++) {
        double sum = 0, nats = 0;
        for (int j = 0; j < COLUMNS; j++) sum += q[i][j], nats -= q[i][j] * log(q[i][j]);
        failed += check(status[i] == KX_OK, "the row has a solution");
        failed += check(fabs(sum - 1) < 1e-14 && fabs(nats - target) < 1e-13, "weights sum to 1 and have the entropy asked for");
        for (int j = 0; j < COLUMNS; j++) printf("q %.17g\n", q[i][j]);
    }
    return failed;
}

/* HSIC of a line of points and a curve over it, with Gaussian kernels; and of the line and a constant, which is 0. */
static int independence(void) {
    static double K[SAMPLES * SAMPLES], L[SAMPLES * SAMPLES], C[SAMPLES * SAMPLES];
    const ptrdiff_t item = sizeof(double), row = SAMPLES * sizeof(double);
    double x[SAMPLES], y[SAMPLES], constant[SAMPLES], hsic, none;
    for (int i = 0; i < SAMPLES; i++) {
        x[i] = -1 + 2 * (double)i / (SAMPLES - 1);
        y[i] = x[i] * x[i];
        constant[i] = 1;
    }
    kx_independence_points_t points = {x, 1, sizeof(double), KX_INDEPENDENCE_RBF, 0.5, 0, 0};
    must(kx_independence_matrix_f64(NULL, &points, &points, SAMPLES, SAMPLES, K), "kernel");
    points.points = y;
    must(kx_independence_matrix_f64(NULL, &points, &points, SAMPLES, SAMPLES, L), "kernel");
    points.points = constant;
    must(kx_independence_matrix_f64(NULL, &points, &points, SAMPLES, SAMPLES, C), "kernel");
    must(kx_independence_from_kernels_f64(K, L, 1, SAMPLES, 0, row, item, 0, row, item, &hsic, 0), "HSIC");
    must(kx_independence_from_kernels_f64(K, C, 1, SAMPLES, 0, row, item, 0, row, item, &none, 0), "HSIC");
    printf("hsic %.17g\n", hsic);
    return check(hsic > 1e-3, "a curve depends on its line") + check(fabs(none) < 1e-15, "a constant depends on nothing");
}

int main(void) {
    fprintf(stderr, "kexue %s, %s\n", kx_version(), kx_isa_name());
    return word_movers_distance() + entropy_normalisation() + independence() ? EXIT_FAILURE : EXIT_SUCCESS;
}
