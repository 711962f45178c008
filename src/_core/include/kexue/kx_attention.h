/* kexue: attention, softmax(scale Q K^T) V, without the matrix of weights.

   Queries, keys and values are rows of contiguous numbers. A call takes `items` of them (heads of batches), whose first bytes
   are at offsets from one pointer: items may share keys and values (offsets that repeat). Weights are computed in tiles of some
   rows by 64 keys that stay in the first cache, by the online softmax (Milakov, Gimelshein 2018, arXiv:1805.02867; Dao et al.
   2022, arXiv:2205.14135); products of tiles are made here, with the accumulators in registers. Float32 is computed in float32:
   sums over keys in blocks of 64. */
#ifndef KX_ATTENTION_H
#define KX_ATTENTION_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of a batch's items: row r of item i is at data + offsets[i] + r * row, in bytes. */
typedef struct kx_attention_rows {
    const void *data;
    const int64_t *offsets;
    ptrdiff_t row;
} kx_attention_rows_t;

typedef enum kx_attention_mask {
    KX_ATTENTION_UNMASKED,
    KX_ATTENTION_BOOLEAN, /* bytes: a key takes part where it is not 0 */
    KX_ATTENTION_ADDITIVE /* numbers of the call's type, added to the scaled products: not NaN and not +infinity */
} kx_attention_mask_t;

typedef struct kx_attention {
    kx_attention_rows_t queries, keys, values;
    int64_t items, query_count, key_count, dimension, value_dimension;
    kx_attention_mask_t mask_kind;
    kx_attention_rows_t mask; /* of query_count rows */
    ptrdiff_t mask_step;      /* from key to key, in bytes */
    int is_causal;            /* query i sees keys 0 .. i */
    const double *scales;     /* of item i and row r: scales[i * scale_item + r * scale_row] */
    int64_t scale_item, scale_row;
} kx_attention_t;

/* out: (items, query_count, value_dimension), contiguous. log_sums: NULL, or (items, query_count, 2): a row's largest score,
   and the logarithm of the sum of its exponentials relative to that (the sum of the two would not tell -1e30 everywhere from
   one key). entropies: NULL, or (items, query_count): of the weights, in nats. A query that sees no key has output 0, entropy
   0, and -infinity and 0 for log_sums. Chunks of 384 queries are shared out; memory: some 0.5 MB a worker for dimensions of 64.
   Each output is within some eps (dimension |scale q| |k| + 64 + key_count / 64) of the largest |value|. What is not finite
   reaches the rows that are or see it, as NaN or an infinity, and no others; a score of -infinity hides its key. */
kx_status_t kx_attention_f32(const kx_ctx_t *ctx, const kx_attention_t *attention, float *out, double *log_sums,
                             double *entropies);
kx_status_t kx_attention_f64(const kx_ctx_t *ctx, const kx_attention_t *attention, double *out, double *log_sums,
                             double *entropies);

/* The gradients of a function of the output: from its gradient by the output, and from what kx_attention gave. By queries, keys
   and values: (items, query_count, dimension), (items, key_count, dimension), (items, key_count, value_dimension), contiguous:
   of each item, also where items share theirs. scale_gradients: NULL, or (items, query_count). Items are shared out, each is
   done by one worker: the weights are made once more, from log_sums, and none are kept. Memory: a copy of an item's query
   gradients a worker. Queries, keys and values that are not finite count where they are seen only, as above; an out_gradient
   that is not finite reaches the gradients of all keys. */
kx_status_t kx_attention_gradient_f32(const kx_ctx_t *ctx, const kx_attention_t *attention, const float *out,
                                      const double *log_sums,
                                      const kx_attention_rows_t *out_gradients, float *query_gradients, float *key_gradients,
                                      float *value_gradients, double *scale_gradients);
kx_status_t kx_attention_gradient_f64(const kx_ctx_t *ctx, const kx_attention_t *attention, const double *out,
                                      const double *log_sums,
                                      const kx_attention_rows_t *out_gradients, double *query_gradients, double *key_gradients,
                                      double *value_gradients, double *scale_gradients);

/* Talking heads (Shazeer et al. 2020, arXiv:2003.02436): products of key_heads become logits L_g = sum over h of
   logit_mix[g, h] scale Q_h K_h^T of softmax_heads; their weights P_g, W_v = sum over g of weight_mix[v, g] P_g of value_heads;
   and these O_v = W_v V_v. The mask is added to L. */
typedef struct kx_talking_heads {
    /* Heads of items, item by item: queries and keys have items * key_heads offsets, values items * value_heads, the mask, the
       scales (and `heads.items`) items * softmax_heads. */
    kx_attention_t heads;
    int64_t key_heads, softmax_heads, value_heads;
    const double *logit_mix;  /* (softmax_heads, key_heads) */
    const double *weight_mix; /* (value_heads, softmax_heads), or NULL: W = P, value_heads = softmax_heads */
} kx_talking_heads_t;

/* out: (items, value_heads, query_count, value_dimension), contiguous. Chunks of at most 96 queries of all heads are shared
   out; memory: their logits of all keys, softmax_heads * queries * key_count numbers a worker: chunks are smaller where this is
   over 32 MB, down to 6 queries. What is not finite reaches the rows that are or see it in a softmax head that they mix, and no
   others. */
kx_status_t kx_talking_heads_f32(const kx_ctx_t *ctx, const kx_talking_heads_t *talking, float *out);
kx_status_t kx_talking_heads_f64(const kx_ctx_t *ctx, const kx_talking_heads_t *talking, double *out);

/* The gradients, of each head of each item, also where heads share theirs: by queries and keys (items, key_heads, rows,
   dimension), by values (items, value_heads, key_count, value_dimension), by the mixes of each item (their shapes), by
   weight_mix NULL where it is. An item is done by one worker, the weights are made once more. Memory: three times the forward's
   a worker, and a chunk's rows. What no softmax head sees has no part in them; an out_gradient that is not finite reaches the
   gradients of all keys. */
kx_status_t kx_talking_heads_gradient_f32(const kx_ctx_t *ctx, const kx_talking_heads_t *talking,
                                          const kx_attention_rows_t *out_gradients,
                                          float *query_gradients, float *key_gradients, float *value_gradients,
                                          double *logit_mix_gradients, double *weight_mix_gradients);
kx_status_t kx_talking_heads_gradient_f64(const kx_ctx_t *ctx, const kx_talking_heads_t *talking,
                                          const kx_attention_rows_t *out_gradients,
                                          double *query_gradients, double *key_gradients, double *value_gradients,
                                          double *logit_mix_gradients, double *weight_mix_gradients);

#ifdef __cplusplus
}
#endif
#endif
