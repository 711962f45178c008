/* Prints the cost of a transport problem and a row brought to a perplexity. */
#include <stdio.h>

#include "kexue/kexue.h"

int main(void) {
    const double a[2] = {0.5, 0.5}, b[3] = {0.25, 0.25, 0.5};
    const double M[2][3] = {{0.1, 1, 2}, {2, 1, 0.3}};
    kx_emd_options_t options;
    kx_emd_options_init(&options);
    double cost;
    kx_emd_outputs_t outputs = {.costs = &cost};
    kx_status_t status = kx_transport_emd_f64(NULL, a, b, &M[0][0], 1, NULL, NULL, NULL, 2, 3, sizeof M[0], &options,
                                              &outputs, NULL);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", kx_status_name(status), kx_status_text(status));
        return 1;
    }

    const double p[4] = {0.1, 0.2, 0.3, 0.4}, perplexity = 3;
    kx_entropy_options_t entropy_options;
    kx_entropy_options_init(&entropy_options);
    entropy_options.target = KX_ENTROPY_TARGET_PERPLEXITY;
    double q[4];
    kx_entropy_outputs_t entropy_outputs = {.q = q};
    status = kx_entropy_normalize_f64(NULL, p, NULL, &perplexity, 1, 4, 0, &entropy_options, &entropy_outputs);
    if (status < 0) return 1;

    printf("%s %.17g\n%.17g %.17g %.17g %.17g\n", kx_version(), cost, q[0], q[1], q[2], q[3]);
    return 0;
}
