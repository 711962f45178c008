#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <malloc.h>
static void *default_allocate(void *state, size_t bytes) {
    (void)state;
    return _aligned_malloc(bytes, 64);
}
static void default_release(void *state, void *block) {
    (void)state;
    _aligned_free(block);
}
#else
static void *default_allocate(void *state, size_t bytes) {
    (void)state;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}
static void default_release(void *state, void *block) {
    (void)state;
    free(block);
}
#endif

void kx_ctx_init(kx_ctx_t *ctx) {
    memset(ctx, 0, sizeof *ctx);
    ctx->allocator.allocate = default_allocate;
    ctx->allocator.release = default_release;
    ctx->workers = 1;
}

void *kx_allocate(const kx_ctx_t *ctx, size_t bytes) {
    if (bytes == 0) bytes = 64;
    if (!ctx || !ctx->allocator.allocate) return default_allocate(NULL, bytes);
    return ctx->allocator.allocate(ctx->allocator.state, bytes);
}

void kx_release(const kx_ctx_t *ctx, void *block) {
    if (!block) return;
    if (!ctx || !ctx->allocator.allocate) default_release(NULL, block);
    else ctx->allocator.release(ctx->allocator.state, block);
}
