/* Allocation through the context, and sizes that cannot wrap around. */
#ifndef KX_MEMORY_H
#define KX_MEMORY_H

#include "kexue/kx_ctx.h"

/* A block aligned to 64 bytes, or NULL. kx_release takes NULL too. */
void *kx_allocate(const kx_ctx_t *ctx, size_t bytes);
void kx_release(const kx_ctx_t *ctx, void *block);

static inline int64_t kx_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* A running total of bytes for one block that is cut into parts. Every part starts on a 64-byte line. A product or a sum that
   does not fit sets `overflow`, and then the total means nothing. */
typedef struct kx_layout {
    size_t bytes;
    int overflow;
} kx_layout_t;

/* Reserves count items of item_size bytes and returns their offset. */
static inline size_t kx_layout_add(kx_layout_t *layout, int64_t count, size_t item_size) {
    size_t offset = layout->bytes;
    if (count < 0 || (uint64_t)count > (SIZE_MAX / 2 - 64) / item_size) {
        layout->overflow = 1;
        return offset;
    }
    size_t padded = ((size_t)count * item_size + 63) & ~(size_t)63;
    if (padded > SIZE_MAX / 2 - offset) layout->overflow = 1;
    else layout->bytes += padded;
    return offset;
}

#endif
