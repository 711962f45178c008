/* kexue: random words that are a function of a key and a position, so that any part of a random matrix can be made at any time by
   any thread. */
#ifndef KX_RANDOM_H
#define KX_RANDOM_H

#include "kx_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Words first_word .. first_word + count - 1 of the Philox 4x64-10 generator (Salmon et al. 2011, doi 10.1145/2063384.2063405) of
   the key: bit for bit what numpy.random.Philox(key=key).random_raw() yields after first_word words. Word w is item w mod 4 of
   the block of the counter w / 4 + 1, because NumPy counts before each block. Positions are modulo 2^64; a count of 0 or less
   writes nothing. */
void kx_philox_words(const uint64_t key[2], uint64_t first_word, int64_t count, uint64_t *words);

#ifdef __cplusplus
}
#endif
#endif
