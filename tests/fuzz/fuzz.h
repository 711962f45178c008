/* The harness of the fuzz targets: a reader that makes problems of a fuzzer's bytes, and what a target says when something is wrong. A
   target is one LLVMFuzzerTestOneInput, run by libFuzzer or by driver.c, and aborts on the first answer that is not right. */
#ifndef KX_FUZZ_H
#define KX_FUZZ_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* FUZZ_CHECK(condition, "format", ...) */
#define FUZZ_CHECK(condition, ...)                                                  \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: %s does not hold: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__);                                           \
            fprintf(stderr, "\n");                                                  \
            abort();                                                                \
        }                                                                           \
    } while (0)

/* Bytes from the front; behind the last they are 0, so every input is a problem. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size, at;
} fuzz_input_t;

static inline unsigned fuzz_byte(fuzz_input_t *in) { return in->at < in->size ? in->data[in->at++] : 0; }
static inline int fuzz_below(fuzz_input_t *in, int end) { return (int)fuzz_byte(in) % end; }
static inline uint64_t fuzz_bytes(fuzz_input_t *in, int count) {
    uint64_t value = 0;
    for (int k = 0; k < count; k++) value = value << 8 | fuzz_byte(in);
    return value;
}

/* Where the numbers of a problem lie. */
typedef enum fuzz_range {
    FUZZ_SMALL_INTEGERS, /* 0 .. 7: ties and zeros */
    FUZZ_UNIFORM,        /* [0, 1), 16 bits */
    FUZZ_DECADES,        /* 2^-64 .. 2^63, either sign */
    FUZZ_ANY_BITS,       /* NaN, infinities and subnormals included */
    FUZZ_RANGES
} fuzz_range_t;

static inline double fuzz_number(fuzz_input_t *in, fuzz_range_t range) {
    switch (range) {
    case FUZZ_SMALL_INTEGERS: return fuzz_below(in, 8);
    case FUZZ_UNIFORM: return (double)fuzz_bytes(in, 2) * 0x1p-16;
    case FUZZ_DECADES: {
        const double size = ldexp(1 + (double)fuzz_byte(in) / 256, fuzz_below(in, 128) - 64);
        return fuzz_byte(in) & 1 ? -size : size;
    }
    default: {
        const uint64_t bits = fuzz_bytes(in, 8);
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    }
}

/* A block of exactly its size, so that a sanitizer sees what lies outside. */
static inline void *fuzz_block(size_t count, size_t size) {
    void *block = malloc(count * size);
    if (count && !block) exit(EXIT_FAILURE);
    return block;
}

#endif
