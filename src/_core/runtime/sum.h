/* Sums of many numbers. */
#ifndef KX_SUM_H
#define KX_SUM_H

#include <math.h>
#include <stdint.h>

/* Blocks of 128 in eight lanes, which vectorise, and Neumaier's compensation across blocks: an error of some 16 roundings of the
   sum of sizes at most, whatever n. */
static inline double kx_sum(const double *values, int64_t n) {
    double total = 0, correction = 0;
    for (int64_t base = 0; base < n; base += 128) {
        const int64_t count = n - base < 128 ? n - base : 128;
        double lanes[8] = {0};
        int64_t i = 0;
        for (; i + 8 <= count; i += 8)
            for (int l = 0; l < 8; l++) lanes[l] += values[base + i + l];
        for (; i < count; i++) lanes[i & 7] += values[base + i];
        const double block = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
        const double sum = total + block;
        correction += fabs(total) >= fabs(block) ? (total - sum) + block : (block - sum) + total;
        total = sum;
    }
    return total + correction;
}

#endif
