/* What the recurrent kernels share. */
#ifndef KX_RECURRENT_INTERNAL_H
#define KX_RECURRENT_INTERNAL_H

#include <math.h>
#include <string.h>

#include "isa/simd.h"
#include "kexue/kx_recurrent.h"
#include "kernels/product_tile.h"
#include "runtime/flags.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

enum {
    DEPTH = 128, /* of a block of a panel, 32 KB: it stays in the first cache while the rows of all sequences go past */
    KX_RECURRENT_MOST_ROWS = 96 /* of sequences and steps whose inputs are multiplied together */
};

/* Blocks of a kind: its gates, the first of which are of h' and the second of r h' (is_reset) or, for q of GRU_AFTER, on
   their own; and what the gradient needs of a step. */
typedef struct kx_recurrent_shape {
    int blocks, first_blocks, kept_blocks, has_cell, is_reset;
} kx_recurrent_shape_t;

static inline kx_recurrent_shape_t kx_recurrent_shape(kx_recurrent_kind_t kind) {
    switch (kind) {
        case KX_RECURRENT_LSTM: return (kx_recurrent_shape_t){4, 4, 4, 1, 0};
        case KX_RECURRENT_GRU: return (kx_recurrent_shape_t){3, 2, 3, 0, 1};
        case KX_RECURRENT_GRU_AFTER: return (kx_recurrent_shape_t){3, 2, 4, 0, 0};
        case KX_RECURRENT_GRU_SINGLE: return (kx_recurrent_shape_t){2, 1, 2, 0, 1};
        case KX_RECURRENT_GRU_PROPOSAL: return (kx_recurrent_shape_t){3, 3, 3, 1, 0};
        default: return (kx_recurrent_shape_t){1, 1, 0, 0, 0};
    }
}

kx_status_t KX_KERNEL(kx_recurrent_check)(const kx_recurrent_t *network);

#endif
