#include "runtime/philox.h"

#include "kexue/kx_random.h"

void kx_philox_words(const uint64_t key[2], uint64_t first_word, int64_t count, uint64_t *words) {
    uint64_t block[4];
    for (int64_t i = 0; i < count;) {
        const uint64_t word = first_word + (uint64_t)i;
        kx_philox_block(key, word / 4 + 1, 0, block);
        for (uint64_t k = word % 4; k < 4 && i < count; k++) words[i++] = block[k];
    }
}
