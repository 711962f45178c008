/* Tiles of attention: what its kernels share. Included by templates, once for each type. */
#ifndef KX_ATTENTION_INTERNAL_H
#define KX_ATTENTION_INTERNAL_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "isa/transpose.h"
#include "kexue/kx_attention.h"
#include "kernels/product_tile.h"
#include "runtime/flags.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

kx_status_t KX_KERNEL(kx_attention_check)(const kx_attention_t *a);

enum { KEYS = 64 }; /* of a block; K and V of it, 32 KB for 64 dimensions in float32, stay in the first cache */

#endif
