/* CPU detection. The level is written once with release order; a race merely computes it twice, with one answer. */
#include "isa/isa.h"

#include <string.h>

#include "kexue/kx_base.h"
#include "runtime/atomic.h"

#if defined(__x86_64__) || defined(_M_X64)
#define KX_X86_64 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
static void cpuid(unsigned leaf, unsigned subleaf, unsigned registers[4]) {
    int values[4];
    __cpuidex(values, (int)leaf, (int)subleaf);
    memcpy(registers, values, sizeof values);
}
#else
#include <cpuid.h>
static void cpuid(unsigned leaf, unsigned subleaf, unsigned registers[4]) {
    registers[0] = registers[1] = registers[2] = registers[3] = 0;
    __get_cpuid_count(leaf, subleaf, &registers[0], &registers[1], &registers[2], &registers[3]);
}
#endif
#endif

#if KX_X86_64
/* Leaf 4 is Intel's, the other AMD's, with the same fields: eax type 4:0 (1: data), level 7:5; ebx and ecx size. */
static int64_t first_cache_bytes(void) {
    const unsigned leaves[2] = {4, 0x8000001du};
    for (int i = 0; i < 2; i++)
        for (unsigned subleaf = 0; subleaf < 4; subleaf++) {
            unsigned r[4];
            cpuid(leaves[i], subleaf, r);
            if ((r[0] & 0xff) != 0x21) continue;
            const int64_t ways = (r[1] >> 22) + 1, partitions = (r[1] >> 12 & 0x3ff) + 1, line = (r[1] & 0xfff) + 1;
            return ways * partitions * line * ((int64_t)r[2] + 1);
        }
    return 0;
}
#else
static int64_t first_cache_bytes(void) { return 0; }
#endif

int kx_first_cache_bytes(void) {
    static kx_atomic_int found = KX_ATOMIC_INIT(0);
    int bytes = kx_atomic_load(&found);
    if (bytes == 0) {
        const int64_t size = first_cache_bytes();
        bytes = size >= 1 << 13 && size <= 1 << 24 ? (int)size : 1 << 15;
        kx_atomic_store(&found, bytes);
    }
    return bytes;
}

static const char *const level_names[] = {"baseline", "v3", "v4"};

#ifdef KX_AMALGAMATION /* there is one level, that of the compiler's flags */
#include "isa/simd.h"

int kx_isa_level(void) {
#if KX_SIMD_AVX512
    return KX_LEVEL_V4;
#elif KX_SIMD_AVX2
    return KX_LEVEL_V3;
#else
    return KX_LEVEL_BASELINE;
#endif
}

int kx_isa_extensions(void) {
#ifdef __AVX512VPOPCNTDQ__
    return KX_EXTENSION_VPOPCNTDQ;
#else
    return 0;
#endif
}
#else
#include <stdlib.h>

#if KX_X86_64
#if defined(_MSC_VER) && !defined(__clang__)
static uint64_t extended_control_register(void) { return _xgetbv(0); }
#else
static uint64_t extended_control_register(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}
#endif

static int has_bits(unsigned value, unsigned mask) { return (value & mask) == mask; }

static int processor_level(void) {
    unsigned r[4];
    cpuid(0, 0, r);
    if (r[0] < 7) return KX_LEVEL_BASELINE;
    cpuid(1, 0, r);
    /* ecx: FMA 12, SSE4.2 20, MOVBE 22, POPCNT 23, OSXSAVE 27, AVX 28, F16C 29 */
    const unsigned v3_leaf1 = 1u << 12 | 1u << 20 | 1u << 22 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29;
    if (!has_bits(r[2], v3_leaf1)) return KX_LEVEL_BASELINE;
    uint64_t state = extended_control_register();
    if ((state & 0x6) != 0x6) return KX_LEVEL_BASELINE; /* the system does not save the AVX registers */
    cpuid(7, 0, r);
    unsigned leaf7 = r[1];
    /* ebx: BMI1 3, AVX2 5, BMI2 8; AVX512 F 16, DQ 17, CD 28, BW 30, VL 31 */
    if (!has_bits(leaf7, 1u << 3 | 1u << 5 | 1u << 8)) return KX_LEVEL_BASELINE;
    cpuid(0x80000000u, 0, r);
    if (r[0] < 0x80000001u) return KX_LEVEL_BASELINE;
    cpuid(0x80000001u, 0, r);
    if (!has_bits(r[2], 1u << 5)) return KX_LEVEL_BASELINE; /* LZCNT */
    if ((state & 0xe6) == 0xe6 && has_bits(leaf7, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31)) return KX_LEVEL_V4;
    return KX_LEVEL_V3;
}

static int processor_extensions(void) {
    unsigned r[4];
    cpuid(7, 0, r);
    return has_bits(r[2], 1u << 14) ? KX_EXTENSION_VPOPCNTDQ : 0;
}
#else
static int processor_level(void) { return KX_LEVEL_BASELINE; }
static int processor_extensions(void) { return 0; }
#endif

static int compiled_level(void) {
#if defined(KX_HAVE_V4)
    return KX_LEVEL_V4;
#elif defined(KX_HAVE_V3)
    return KX_LEVEL_V3;
#else
    return KX_LEVEL_BASELINE;
#endif
}

/* The level that KEXUE_ISA names, or -1. */
static int wanted_level(void) {
    const char *wanted = getenv("KEXUE_ISA");
    if (wanted)
        for (int i = 0; i < 3; i++)
            if (strcmp(wanted, level_names[i]) == 0) return i;
    return -1;
}

static int choose_level(void) {
    int level = processor_level();
    if (level > compiled_level()) level = compiled_level();
    const int wanted = wanted_level();
    return wanted >= 0 && wanted < level ? wanted : level;
}

int kx_isa_level(void) {
    static kx_atomic_int chosen = KX_ATOMIC_INIT(-1);
    int level = kx_atomic_load(&chosen);
    if (level < 0) {
        level = choose_level();
        kx_atomic_store(&chosen, level);
    }
    return level;
}

int kx_isa_extensions(void) {
    static kx_atomic_int chosen = KX_ATOMIC_INIT(-1);
    int extensions = kx_atomic_load(&chosen);
    if (extensions < 0) {
        extensions = kx_isa_level() == KX_LEVEL_V4 && wanted_level() < 0 ? processor_extensions() : 0;
        kx_atomic_store(&chosen, extensions);
    }
    return extensions;
}
#endif

const char *kx_isa_name(void) { return level_names[kx_isa_level()]; }
