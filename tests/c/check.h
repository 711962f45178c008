/* The harness of the C tests: CHECK counts, check_report prints the totals and gives main its exit status. */
#ifndef KX_TEST_CHECK_H
#define KX_TEST_CHECK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long check_passed, check_failed;

/* CHECK(condition, "format", ...): the message is printed on failure, for the first 20 failures. */
#define CHECK(condition, ...)                                                    \
    do {                                                                         \
        if (condition) {                                                         \
            check_passed++;                                                      \
        } else if (check_failed++ < 20) {                                        \
            printf("%s:%d: CHECK(%s) failed: ", __FILE__, __LINE__, #condition); \
            printf(__VA_ARGS__);                                                 \
            printf("\n");                                                        \
        }                                                                        \
    } while (0)

/* With KEXUE_TEST_VALUES=0 checks are counted but decide nothing: valgrind, whose own exit status tells of memory, has neither flags of
   floating point nor long doubles of more than 64 bits. */
static inline int check_report(void) {
    const char *values = getenv("KEXUE_TEST_VALUES");
    printf("%ld passed, %ld failed\n", check_passed, check_failed);
    if (values && strcmp(values, "0") == 0) return EXIT_SUCCESS;
    return check_failed || !check_passed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The long form of a test, minutes instead of seconds: the argument "long" or KEXUE_LONG_TESTS=1. */
static inline int check_is_long(int argc, char **argv) {
    const char *value = getenv("KEXUE_LONG_TESTS");
    return (argc > 1 && strcmp(argv[1], "long") == 0) || (value && strcmp(value, "1") == 0);
}

/* splitmix64 */
static uint64_t check_random_state = 1;
static inline uint64_t check_random(void) {
    uint64_t z = check_random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static inline double check_uniform(double low, double high) {
    return low + (high - low) * ((double)(check_random() >> 11) * 0x1p-53);
}

static inline double check_double(uint64_t bits) { double a; memcpy(&a, &bits, sizeof a); return a; }
static inline float check_float(uint32_t bits) { float a; memcpy(&a, &bits, sizeof a); return a; }

/* The distance of got from exact in units of the last place of a format with `digits` bits and least exponent `least`
   (frexp's); 0 for equal specials, and for an infinity that the rounded exact value is too. */
static inline double check_ulps(double got, long double exact, int digits, int least, double largest) {
    if (isnan(got) || isnan(exact)) return isnan(got) && isnan(exact) ? 0 : INFINITY;
    if (isinf(got) || isinf(exact)) {
        if ((long double)got == exact) return 0;
        /* between the largest number and infinity lies one ulp */
        return isinf(got) && fabsl(exact) > (long double)largest && (got > 0) == (exact > 0) ? 0 : INFINITY;
    }
    int exponent;
    frexpl(exact, &exponent);
    if (exact == 0 || exponent < least) exponent = least;
    return (double)fabsl(((long double)got - exact) * ldexpl(1, digits - exponent));
}
static inline double check_ulps_f64(double got, long double exact) {
    return check_ulps(got, exact, 53, -1021, 0x1.fffffffffffffp1023);
}
static inline double check_ulps_f32(float got, long double exact) {
    return check_ulps((double)got, exact, 24, -125, 0x1.fffffep127);
}

#endif
