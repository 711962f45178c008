/* Talking-heads attention: what its kernels share. Included by templates, once for each type. */
#ifndef KX_TALKING_HEADS_INTERNAL_H
#define KX_TALKING_HEADS_INTERNAL_H

#include "kernels/attention_internal.h"

/* 12 heads of 2048 x 64 float32: 24 rows 122 ms, 48 109 ms, 96 104 ms, 192 113 ms; of 8192 x 64: 8 MB 2.9 s, 16 MB 2.1 s, 32 MB
   1.8 s. */
enum { KX_TALKING_MOST_ROWS = 96 }; /* queries of a chunk: a multiple of every TILE_ROWS */
#define KX_TALKING_LIMIT (32 << 20) /* bytes of a chunk's logits */

enum {
    KX_TALKING_QUERIES,
    KX_TALKING_ACROSS, /* a block of keys or values, transposed */
    KX_TALKING_BLOCK,  /* its rows */
    KX_TALKING_PRODUCTS,
    KX_TALKING_WEIGHTS,
    KX_TALKING_MIXED,
    KX_TALKING_TOPS,
    KX_TALKING_BLOCK_TOPS,
    KX_TALKING_SUMS,
    KX_TALKING_OUT,
    KX_TALKING_WEIGHT_GRADIENTS,
    KX_TALKING_OUT_GRADIENTS,
    KX_TALKING_QUERY_SUMS,
    KX_TALKING_BLOCK_SUMS,
    KX_TALKING_ALONG,
    KX_TALKING_PARTS
};

typedef struct kx_talking_job {
    const kx_talking_heads_t *t;
    int64_t items, chunk, chunks, blocks;             /* rows of a chunk; chunks of an item; blocks of keys */
    int64_t stride;                                   /* from head to head of a chunk's logits of a block */
    int64_t width, value_width;                       /* dimensions, rounded up to tiles */
    int64_t key_heads, softmax_heads, value_heads;    /* rounded up to TILE_ROWS */
    int is_gradient;                                  /* products of all blocks are kept */
    const void *logit_mix, *weight_mix;               /* of the call's type, with zeros for the heads of padding */
    void *out;
    const kx_attention_rows_t *out_gradients;
    void *query_gradients, *key_gradients, *value_gradients;
    double *logit_mix_gradients, *weight_mix_gradients;
    char *memory;
    size_t worker_bytes, offsets[KX_TALKING_PARTS];
} kx_talking_job_t;

#endif
