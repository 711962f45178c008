/* Sums by lanes, with what their additions lost (Knuth's two-sum). */
#ifndef KX_LANE_SUM_H
#define KX_LANE_SUM_H

#include "isa/simd.h"

typedef struct kx_lane_sum {
    kx_f64v total, lost;
} kx_lane_sum_t;

static inline void kx_lane_sum_add(kx_lane_sum_t *sum, kx_f64v value) {
    const kx_f64v total = kx_f64v_add(sum->total, value), part = kx_f64v_sub(total, sum->total);
    const kx_f64v lost = kx_f64v_add(kx_f64v_sub(sum->total, kx_f64v_sub(total, part)), kx_f64v_sub(value, part));
    sum->lost = kx_f64v_add(sum->lost, lost);
    sum->total = total;
}

#endif
