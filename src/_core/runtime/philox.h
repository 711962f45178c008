/* Philox 4x64-10 (Salmon, Moraes, Dror, Shaw 2011, doi 10.1145/2063384.2063405): four random words of a counter and a key, in any
   order and on any thread. */
#ifndef KX_PHILOX_H
#define KX_PHILOX_H

#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__) && defined(_M_X64)
#include <intrin.h>
#endif

/* The low half of a b is returned. */
static inline uint64_t kx_multiply_wide(uint64_t a, uint64_t b, uint64_t *high) {
#if defined(__SIZEOF_INT128__)
    __extension__ typedef unsigned __int128 wide;
    const wide product = (wide)a * b;
    *high = (uint64_t)(product >> 64);
    return (uint64_t)product;
#elif defined(_MSC_VER) && defined(_M_X64)
    return _umul128(a, b, high);
#else
    const uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), cross = a0 * b1 + (middle & 0xffffffffu);
    *high = a1 * b1 + (middle >> 32) + (cross >> 32);
    return a * b;
#endif
}

/* The block of the counter (low, high, 0, 0), 64 bits each. NumPy's generator counts before each block: the first that
   numpy.random.Philox(key=key, counter=high << 64) yields is that of (1, high, 0, 0). */
static inline void kx_philox_block(const uint64_t key[2], uint64_t low, uint64_t high, uint64_t words[4]) {
    uint64_t c0 = low, c1 = high, c2 = 0, c3 = 0, k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t high0, high2;
        const uint64_t low0 = kx_multiply_wide(c0, 0xd2e7470ee14c6c93u, &high0);
        const uint64_t low2 = kx_multiply_wide(c2, 0xca5a826395121157u, &high2);
        c0 = high2 ^ c1 ^ k0;
        c1 = low2;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9e3779b97f4a7c15u;
        k1 += 0xbb67ae8584caa73bu;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

#endif
