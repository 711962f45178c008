/* kexue: linear attention, and the features of points whose products stand for exp(q . k).

   Attention whose weights are products of features, phi(q) . phi(k), needs no matrix of weights: with the sums S = sum of
   phi(k) v^T and z = sum of phi(k) over the keys that a query sees, its output is phi(q) S / phi(q) . z (Katharopoulos et al.
   2020, arXiv:2006.16236). Time is O((queries + keys) dimension value_dimension), memory some multiples of dimension x
   value_dimension a worker. */
#ifndef KX_LINEAR_ATTENTION_H
#define KX_LINEAR_ATTENTION_H

#include "kx_attention.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kx_linear_attention {
    kx_attention_rows_t queries, keys; /* features: rows of `dimension` numbers */
    kx_attention_rows_t values;
    int64_t items, query_count, key_count, dimension, value_dimension;
    /* NULL data: features are as they are. Else double: the features of key j of item i are those given times e^s, s at data +
       offsets[i] + j * row, never NaN or +infinity; -infinity hides the key. Sums are kept relative to the largest s seen so
       far, so e^s may be far out of range. */
    kx_attention_rows_t log_scales;
    int is_causal;     /* query i sees keys 0 .. i */
    int is_normalized; /* 0: phi(q) S alone (relative to e^s, s the largest that the query sees) */
    double eps;        /* is added to what outputs are divided by */
} kx_linear_attention_t;

/* out: (items, query_count, value_dimension), contiguous. denominators: NULL, or (items, query_count): phi(q) . z, without eps
   and relative to e^s, s the largest log-scale that the query sees. A query that sees no key has 0 for both.

   Items are shared out. Sums over keys are made in blocks of 64 (128 if not causal) and compensated (Kahan), so that their
   error does not grow with the number of keys: numerators and denominators are within (dimension + 256) eps of the sums of
   magnitudes |phi(q)| . |phi(k)| |v|. A NaN or an infinity reaches the queries that are or see it, and no others. */
kx_status_t kx_linear_attention_f32(const kx_ctx_t *ctx, const kx_linear_attention_t *attention, float *out,
                                    double *denominators);
kx_status_t kx_linear_attention_f64(const kx_ctx_t *ctx, const kx_linear_attention_t *attention, double *out,
                                    double *denominators);

typedef enum kx_polynomial {
    KX_POLYNOMIAL_MONOMIALS,    /* x^a / sqrt(a!), |a| = 0 .. degree: C(d + degree, degree) numbers */
    KX_POLYNOMIAL_TENSORS,      /* all tensor powers 0 .. degree, each over sqrt(m!): sum of d^m numbers */
    KX_POLYNOMIAL_TENSOR_POWER, /* (1, x) to the tensor power `degree`: (d + 1)^degree numbers */
} kx_polynomial_t;

/* How many numbers a row gets; KX_E_OVERFLOW from 2^48. */
kx_status_t kx_polynomial_features_size(kx_polynomial_t kind, int64_t d, int64_t degree, int64_t *size);

/* Polynomials of rows x of d contiguous numbers, `row` bytes apart, to contiguous rows of kx_polynomial_features_size numbers:
   by one multiplication each, from those of lower degrees. x is multiplied by `scale` first. Monomials stand by degree, those
   of a degree in the lexicographic order of their sorted factors: 1; x0, x1; x0 x0, x0 x1, x1 x1. They are multiplied by
   degree_scales[m], m = 0 .. degree (NULL: 1), 1 for m = 0. Tensor powers have the last index fastest, as in products of
   Kronecker. Within 2 degree ulp. */
kx_status_t kx_polynomial_features_f32(const kx_ctx_t *ctx, kx_polynomial_t kind, const float *x, int64_t rows, ptrdiff_t row,
                                       int64_t d,
                                       int64_t degree, double scale, const double *degree_scales, float *out);
kx_status_t kx_polynomial_features_f64(const kx_ctx_t *ctx, kx_polynomial_t kind, const double *x, int64_t rows, ptrdiff_t row,
                                       int64_t d,
                                       int64_t degree, double scale, const double *degree_scales, double *out);

#ifdef __cplusplus
}
#endif
#endif
