/* Tiles of attention: what its kernels share. Included by templates, once for each type. */
#ifndef KX_ATTENTION_INTERNAL_H
#define KX_ATTENTION_INTERNAL_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "isa/transpose.h"
#include "kexue/kx_attention.h"
#include "runtime/flags.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

/* A tile has as many accumulators as registers leave room for, next to the VECTORS of one side and one number of the other.
   6 x 4 of 16 floats: 180 GFLOP/s of 235 with everything around it (12 x 2: 179); 6 x 2 of 8: 90. */
#if KX_SIMD_AVX512
enum { TILE_ROWS = 6, VECTORS = 4 };
#elif KX_SIMD_AVX2
enum { TILE_ROWS = 6, VECTORS = 2 };
#else
enum { TILE_ROWS = 3, VECTORS = 2 };
#endif
kx_status_t KX_KERNEL(kx_attention_check)(const kx_attention_t *a);

enum { KEYS = 64 }; /* of a block; K and V of it, 32 KB for 64 dimensions in float32, stay in the first cache */

#endif
