/* Runs a fuzz target where the compiler has no libFuzzer: random inputs and mutations of earlier ones, without coverage.

       fuzz_emd [-runs=N] [-seed=S] [-max_len=L] [file...]

   With files it runs these once. An input that aborts is left in crash-<target's seed>-<run>: the run is repeatable from its seed, too. */
#include "fuzz.h"

#include <signal.h>

enum { KEPT = 64, LONGEST = 4096 };

static uint8_t input[LONGEST], kept[KEPT][LONGEST];
static size_t input_size, kept_size[KEPT];
static uint64_t state, seed = 1, run;

/* splitmix64 */
static uint64_t next_random(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static size_t below(size_t end) { return (size_t)(next_random() % end); }

static void leave_input(int number) {
    char name[64];
    snprintf(name, sizeof name, "crash-%llu-%llu", (unsigned long long)seed, (unsigned long long)run);
    FILE *file = fopen(name, "wb");
    if (file) fwrite(input, 1, input_size, file), fclose(file);
    fprintf(stderr, "run %llu of seed %llu failed, its input is %s\n", (unsigned long long)run, (unsigned long long)seed, name);
    signal(number, SIG_DFL);
    raise(number);
}

static void mutate(size_t longest) {
    for (size_t changes = 1 + below(4); changes > 0; changes--) {
        const size_t at = input_size ? below(input_size) : 0;
        switch (below(5)) {
        case 0:
            if (input_size) input[at] ^= (uint8_t)(1u << below(8));
            break;
        case 1:
            if (input_size) input[at] = (uint8_t)next_random();
            break;
        case 2: /* a special value of eight bytes: 0, infinity, NaN, the smallest and largest numbers, -0 */
            if (at + 8 <= input_size) {
                static const uint64_t specials[] = {0, 0x7ff0000000000000u, 0x7ff8000000000000u, 1, 0x7fefffffffffffffu, 1ull << 63};
                const uint64_t special = specials[below(6)];
                for (int k = 0; k < 8; k++) input[at + (size_t)k] = (uint8_t)(special >> (56 - 8 * k));
            }
            break;
        case 3:
            if (input_size > 1) memmove(input + at, input + at + 1, --input_size - at);
            break;
        default:
            if (input_size < longest) memmove(input + at + 1, input + at, input_size++ - at), input[at] = (uint8_t)next_random();
        }
    }
}

static int run_file(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) return perror(name), EXIT_FAILURE;
    input_size = fread(input, 1, LONGEST, file);
    fclose(file);
    uint8_t *copy = fuzz_block(input_size, 1);
    if (input_size) memcpy(copy, input, input_size);
    LLVMFuzzerTestOneInput(copy, input_size);
    free(copy);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    uint64_t runs = 1000000;
    size_t longest = 256;
    int files = 0;
    for (int k = 1; k < argc; k++) {
        if (strncmp(argv[k], "-runs=", 6) == 0) runs = strtoull(argv[k] + 6, NULL, 10);
        else if (strncmp(argv[k], "-seed=", 6) == 0) seed = strtoull(argv[k] + 6, NULL, 10);
        else if (strncmp(argv[k], "-max_len=", 9) == 0) longest = (size_t)strtoull(argv[k] + 9, NULL, 10);
        else if (argv[k][0] == '-') return fprintf(stderr, "%s is no option\n", argv[k]), EXIT_FAILURE;
        else if (files++, run_file(argv[k])) return EXIT_FAILURE;
    }
    if (files) return EXIT_SUCCESS;
    if (longest < 1 || longest > LONGEST) return fprintf(stderr, "-max_len is 1 to %d\n", LONGEST), EXIT_FAILURE;
    state = seed;
    signal(SIGABRT, leave_input), signal(SIGSEGV, leave_input), signal(SIGFPE, leave_input);
    for (run = 0; run < runs; run++) {
        const size_t slot = below(KEPT);
        if (next_random() % 2 && kept_size[slot]) {
            input_size = kept_size[slot] < longest ? kept_size[slot] : longest;
            memcpy(input, kept[slot], input_size);
            mutate(longest);
        } else {
            input_size = below(longest + 1);
            for (size_t k = 0; k < input_size; k++) input[k] = (uint8_t)next_random();
        }
        uint8_t *copy = fuzz_block(input_size, 1); /* a target that reads beyond its input is wrong, too */
        if (input_size) memcpy(copy, input, input_size);
        LLVMFuzzerTestOneInput(copy, input_size);
        free(copy);
        kept_size[slot] = input_size;
        memcpy(kept[slot], input, input_size);
    }
    printf("%llu runs of seed %llu\n", (unsigned long long)runs, (unsigned long long)seed);
    return EXIT_SUCCESS;
}
