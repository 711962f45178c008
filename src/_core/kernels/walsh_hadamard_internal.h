/* The transform of one contiguous row, for the kernels that are made of it. */
#ifndef KX_WALSH_HADAMARD_INTERNAL_H
#define KX_WALSH_HADAMARD_INTERNAL_H

#include "isa/kernel.h"

/* out = scale * H D x for a power of two n; D is the signs (bit j mod 64 of signs[j / 64] set: minus), or nothing if signs is
   NULL. out may be x. Meanwhile the n numbers at `ahead`, if it is not NULL, are fetched into a cache. */
void KX_KERNEL(kx_walsh_hadamard_row_f32)(const float *x, float *out, int64_t n, const uint64_t *signs, float scale,
                                          const float *ahead);
void KX_KERNEL(kx_walsh_hadamard_row_f64)(const double *x, double *out, int64_t n, const uint64_t *signs, double scale,
                                          const double *ahead);

/* out[c] = scale * (H D x)[samples[c]] for `count` of them; n numbers of scratch, which may be x. */
void KX_KERNEL(kx_walsh_hadamard_samples_f32)(const float *x, float *buffer, int64_t n, const uint64_t *signs,
                                              const int64_t *samples, int64_t count, float scale, float *out,
                                              const float *ahead);
void KX_KERNEL(kx_walsh_hadamard_samples_f64)(const double *x, double *buffer, int64_t n, const uint64_t *signs,
                                              const int64_t *samples, int64_t count, double scale, double *out,
                                              const double *ahead);

#endif
