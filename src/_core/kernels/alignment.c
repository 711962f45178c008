/* Longest common subsequences and edit distances: bits of a word are cells of a column of the dynamic program. The rows of long
   patterns come in strips, whose tables stay in the cache and do not grow with the pattern. */
#include "kexue/kx_alignment.h"

#include "isa/kernel.h"

#ifdef KX_DISPATCH_PASS /* integers one after another: nothing that wider vectors would do better */
#include <string.h>

#include "runtime/memory.h"

enum {
    COLUMNS = 4,   /* of the text at once, their carries in registers: 1000 and 1000 letters 13.4 us, 1 column 19.0 */
    PAIR = 2,      /* the same of the distance, which needs more registers: 32.5 us, 4 columns 36.3 */
    STRIP = 32,    /* words of a strip */
    DIRECT = 256,  /* tokens below have a place of their own */
    WORD = 64,     /* rows of a word */
    WORD_SLOTS = 2 * WORD,
    WORDS = 8,     /* of a short pattern */
    SHORT = WORDS * WORD,
    SHORT_SLOTS = 2 * SHORT,
    POLL_COLUMNS = 1 << 12,
    UNPOLLED = 1 << 16 /* words of columns that take less than a millisecond: not worth a task */
};

/* Kinds of the tokens of a strip: where each is has `words` words of places, kind 0 is of tokens that are not there. */
typedef struct kx_strip {
    int64_t words;
    uint64_t *places;
    uint32_t direct[DIRECT], *keys, *kinds; /* an open hash of the other tokens, if there are: kind 0 is an empty slot */
    uint64_t mask;
    int has_others;
} kx_strip_t;

typedef struct kx_alignment {
    const kx_ctx_t *ctx;
    const uint32_t *pattern, *text;
    int64_t rows, columns;
    int is_distance;
    int64_t result;
} kx_alignment_t;

/* Below a strip a column is one more, or one less, than the column before it. */
typedef struct kx_steps {
    uint64_t more, less;
} kx_steps_t;

enum { MORE = 1, LESS = 2 }; /* of kx_steps_t in a byte; MORE alone is a carry of the common subsequence */

static inline uint64_t hash_of(uint32_t token) { return (token * UINT64_C(0x9e3779b97f4a7c15)) >> 32; }

static inline uint64_t slot_of(const kx_strip_t *strip, uint32_t token) {
    uint64_t slot = hash_of(token) & strip->mask;
    while (strip->kinds[slot] && strip->keys[slot] != token) slot = (slot + 1) & strip->mask;
    return slot;
}

static inline const uint64_t *places_of(const kx_strip_t *strip, uint32_t token) {
    const uint32_t kind = token < DIRECT ? strip->direct[token] : strip->has_others ? strip->kinds[slot_of(strip, token)] : 0;
    return strip->places + (int64_t)kind * strip->words;
}

static inline int64_t ones_of(uint64_t word) {
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    return (int64_t)(((word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f)) * UINT64_C(0x0101010101010101) >> 56);
}

/* One word of a column of the longest common subsequence: zeros of a state are where it grows. */
static inline uint64_t grow(uint64_t state, uint64_t match, uint64_t *carry) {
    const uint64_t both = state & match, sum = state + both, whole = sum + *carry;
    *carry = (uint64_t)(sum < state) | (uint64_t)(whole < sum);
    return whole | (state - both);
}

/* One word of a column of the edit distance: bits say where it is one more, or one less, than in the row above; `in` the same
   along the row above the word, and then along its last row. */
static inline kx_steps_t step_along(kx_steps_t column, uint64_t match, kx_steps_t *in, uint64_t last, int64_t *distance) {
    const uint64_t equal = match | in->less, either = match | column.less;
    const uint64_t diagonal = (((equal & column.more) + column.more) ^ column.more) | equal;
    const uint64_t more = column.less | ~(diagonal | column.more), less = column.more & diagonal;
    *distance += (more & last) != 0, *distance -= (less & last) != 0;
    const uint64_t more_above = more << 1 | in->more, less_above = less << 1 | in->less;
    in->more = more >> 63, in->less = less >> 63;
    return (kx_steps_t){less_above | ~(either | more_above), more_above & either};
}

/* borders: of each column, what goes into the strip, and then what leaves it; NULL for a strip that is the only one. */
static kx_status_t subsequence_of_strip(kx_task_t *task, const kx_alignment_t *p, const kx_strip_t *strip, int64_t rows,
                                        uint8_t *borders,
                                        int64_t *length) {
    uint64_t state[STRIP];
    const int64_t words = strip->words;
    memset(state, 0xff, sizeof state);
    for (int64_t j = 0; j < p->columns; j += COLUMNS) {
        if (task && j % POLL_COLUMNS == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        const uint64_t *match[COLUMNS];
        uint64_t carries[COLUMNS];
        for (int c = 0; c < COLUMNS; c++) { /* past the text a token that is not in the pattern: its column changes nothing */
            match[c] = j + c < p->columns ? places_of(strip, p->text[j + c]) : strip->places;
            carries[c] = borders ? borders[j + c] : 0;
        }
        for (int64_t w = 0; w < words; w++) {
            uint64_t s = state[w];
            for (int c = 0; c < COLUMNS; c++) s = grow(s, match[c][w], &carries[c]);
            state[w] = s;
        }
        for (int c = 0; c < COLUMNS && borders; c++) borders[j + c] = (uint8_t)carries[c];
    }
    for (int64_t i = 0; i < rows; i++) *length += !(state[i / 64] >> i % 64 & 1);
    return KX_OK;
}

static kx_status_t distance_of_strip(kx_task_t *task, const kx_alignment_t *p, const kx_strip_t *strip, int64_t rows,
                                     uint8_t *borders,
                                     int64_t *distance) {
    uint64_t more[STRIP], less[STRIP];
    const int64_t words = strip->words;
    memset(more, 0xff, sizeof more);
    memset(less, 0, sizeof less);
    const uint64_t last = (uint64_t)1 << (rows - 1) % 64;
    int64_t below = rows, unused = 0;
    int count = PAIR;
    for (int64_t j = 0; j < p->columns; j += count) {
        if (task && j % POLL_COLUMNS == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        count = p->columns - j < PAIR ? 1 : PAIR;
        const uint64_t *match[PAIR];
        kx_steps_t in[PAIR];
        for (int c = 0; c < count; c++) {
            const unsigned border = borders ? borders[j + c] : MORE; /* above the pattern the distance grows by 1 */
            match[c] = places_of(strip, p->text[j + c]), in[c] = (kx_steps_t){border & MORE, border / LESS};
        }
        for (int64_t w = 0; w < words - 1 && count == PAIR; w++) {
            kx_steps_t column = {more[w], less[w]};
            for (int c = 0; c < PAIR; c++) column = step_along(column, match[c][w], &in[c], 0, &unused);
            more[w] = column.more, less[w] = column.less;
        }
        for (int64_t w = count == PAIR ? words - 1 : 0; w < words; w++) {
            kx_steps_t column = {more[w], less[w]};
            for (int c = 0; c < count; c++) column = step_along(column, match[c][w], &in[c], w == words - 1 ? last : 0, &below);
            more[w] = column.more, less[w] = column.less;
        }
        for (int c = 0; c < count && borders; c++) borders[j + c] = (uint8_t)(in[c].more | in[c].less * LESS);
    }
    *distance = below;
    return KX_OK;
}

/* The kinds of rows; returns how many there are, those that are not there included. */
static int64_t number_kinds(kx_strip_t *strip, const uint32_t *rows, int64_t count) {
    int64_t kinds = 1;
    memset(strip->direct, 0, sizeof strip->direct);
    strip->has_others = 0;
    for (int64_t i = 0; i < count; i++) strip->has_others |= rows[i] >= DIRECT;
    if (strip->has_others) memset(strip->kinds, 0, (size_t)(strip->mask + 1) * sizeof *strip->kinds);
    for (int64_t i = 0; i < count; i++) {
        uint32_t *kind = &strip->direct[rows[i] % DIRECT];
        if (rows[i] >= DIRECT) {
            const uint64_t slot = slot_of(strip, rows[i]);
            strip->keys[slot] = rows[i], kind = &strip->kinds[slot];
        }
        if (!*kind) *kind = (uint32_t)kinds++;
    }
    return kinds;
}

/* task: NULL for one that is soon done. */
static kx_status_t align_strips(kx_task_t *task, void *arg, int64_t unused_begin, int64_t unused_end) {
    kx_alignment_t *p = (kx_alignment_t *)arg;
    (void)unused_begin, (void)unused_end;
    const int64_t most = STRIP * 64, rows_of_strip = p->rows < most ? p->rows : most;
    int64_t slots = SHORT_SLOTS, capacity = 0;
    while (slots < 2 * rows_of_strip) slots *= 2;
    kx_layout_t layout = {0, 0};
    const size_t keys = kx_layout_add(&layout, slots, sizeof(uint32_t)), kinds = kx_layout_add(&layout, slots, sizeof(uint32_t));
    const size_t steps = kx_layout_add(&layout, p->rows > most ? p->columns : 0, 1), past = kx_layout_add(&layout, COLUMNS, 1);
    if (layout.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(p->ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    kx_strip_t strip = {.keys = (uint32_t *)(void *)(memory + keys), .kinds = (uint32_t *)(void *)(memory + kinds),
                        .mask = (uint64_t)slots - 1};
    uint8_t *borders = p->rows > most ? (uint8_t *)(void *)(memory + steps) : NULL;
    if (borders) memset(borders, p->is_distance ? MORE : 0, past + COLUMNS - steps);
    kx_status_t status = KX_OK;
    for (int64_t first = 0; first < p->rows && status == KX_OK; first += most) {
        const int64_t rows = p->rows - first < most ? p->rows - first : most;
        strip.words = (rows + 63) / 64;
        const int64_t size = number_kinds(&strip, p->pattern + first, rows) * strip.words;
        if (size > capacity) {
            kx_release(p->ctx, strip.places);
            strip.places = (uint64_t *)kx_allocate(p->ctx, (size_t)size * sizeof *strip.places);
            capacity = size;
        }
        if (!strip.places) {
            status = KX_E_MEMORY;
            break;
        }
        memset(strip.places, 0, (size_t)size * sizeof *strip.places);
        for (int64_t i = 0; i < rows; i++) {
            uint64_t *places = (uint64_t *)places_of(&strip, p->pattern[first + i]);
            places[i / 64] |= (uint64_t)1 << i % 64;
        }
        if (p->is_distance) status = distance_of_strip(task, p, &strip, rows, borders, &p->result);
        else status = subsequence_of_strip(task, p, &strip, rows, borders, &p->result);
    }
    /* the last strip counted from its own first row: in the column before the text, the rows above it are what is missing */
    if (p->is_distance) p->result += (p->rows - 1) / most * most;
    kx_release(p->ctx, strip.places);
    kx_release(p->ctx, memory);
    return status;
}

/* A pattern of one word, and all that it needs on the stack: less to clear than below, 10 letters take 22 ns, not 37. */
static int64_t align_word(const kx_alignment_t *p) {
    uint8_t direct[DIRECT] = {0}, kinds[WORD_SLOTS] = {0};
    uint32_t keys[WORD_SLOTS];
    uint64_t places[WORD + 1];
    int size = 1, others = 0;
    places[0] = 0;
    for (int64_t i = 0; i < p->rows; i++) {
        const uint32_t token = p->pattern[i];
        uint8_t *kind = &direct[token % DIRECT];
        if (token >= DIRECT) {
            uint64_t slot = hash_of(token) % WORD_SLOTS;
            while (kinds[slot] && keys[slot] != token) slot = (slot + 1) % WORD_SLOTS;
            keys[slot] = token, kind = &kinds[slot], others = 1;
        }
        if (!*kind) places[size] = 0, *kind = (uint8_t)size++;
        places[*kind] |= (uint64_t)1 << i;
    }
    uint64_t state = UINT64_MAX;
    kx_steps_t column = {UINT64_MAX, 0};
    int64_t distance = p->rows;
    for (int64_t j = 0; j < p->columns; j++) {
        const uint32_t token = p->text[j];
        uint64_t match = 0;
        if (token < DIRECT) match = places[direct[token]];
        else if (others) {
            uint64_t slot = hash_of(token) % WORD_SLOTS;
            while (kinds[slot] && keys[slot] != token) slot = (slot + 1) % WORD_SLOTS;
            match = places[kinds[slot]];
        }
        if (p->is_distance) {
            kx_steps_t in = {1, 0};
            column = step_along(column, match, &in, (uint64_t)1 << (p->rows - 1), &distance);
        } else {
            const uint64_t both = state & match;
            state = (state + both) | (state - both);
        }
    }
    if (p->is_distance) return distance;
    return ones_of(~state);
}

/* A pattern of few words: they stay in registers, and all else on the stack. `words` and `is_distance` are constants. */
static KX_ALWAYS_INLINE int64_t align_words(const kx_alignment_t *p, const int words, const int is_distance) {
    uint64_t places[(DIRECT + 1 + SHORT) * WORDS]; /* of the tokens below DIRECT, of none, of the others in turn */
    uint32_t keys[SHORT_SLOTS];
    uint16_t kinds[SHORT_SLOTS];
    uint64_t mask = 0;
    int size = DIRECT + 1;
    memset(places, 0, sizeof *places * (size_t)(size * words));
    for (int64_t i = 0; i < p->rows; i++) {
        const uint32_t token = p->pattern[i];
        int kind = (int)token;
        if (token >= DIRECT) {
            if (!mask) {
                for (mask = 63; mask + 1 < 2 * (uint64_t)p->rows; mask = 2 * mask + 1) {}
                memset(kinds, 0, sizeof *kinds * (size_t)(mask + 1));
            }
            uint64_t slot = hash_of(token) & mask;
            while (kinds[slot] && keys[slot] != token) slot = (slot + 1) & mask;
            if (!kinds[slot]) {
                memset(places + size * words, 0, sizeof *places * (size_t)words);
                keys[slot] = token, kinds[slot] = (uint16_t)size++;
            }
            kind = kinds[slot];
        }
        places[kind * words + (int)(i / 64)] |= (uint64_t)1 << i % 64;
    }
    uint64_t state[WORDS];
    kx_steps_t column[WORDS];
    for (int w = 0; w < words; w++) state[w] = UINT64_MAX, column[w] = (kx_steps_t){UINT64_MAX, 0};
    const uint64_t last = (uint64_t)1 << (p->rows - 1) % 64;
    int64_t distance = p->rows, unused = 0;
    for (int64_t j = 0; j < p->columns; j++) {
        const uint32_t token = p->text[j];
        int kind = (int)token;
        if (token >= DIRECT) {
            kind = DIRECT;
            if (mask) {
                uint64_t slot = hash_of(token) & mask;
                while (kinds[slot] && keys[slot] != token) slot = (slot + 1) & mask;
                if (kinds[slot]) kind = kinds[slot];
            }
        }
        const uint64_t *match = places + kind * words;
        if (is_distance) {
            kx_steps_t in = {1, 0};
            for (int w = 0; w < words - 1; w++) column[w] = step_along(column[w], match[w], &in, 0, &unused);
            column[words - 1] = step_along(column[words - 1], match[words - 1], &in, last, &distance);
        } else {
            uint64_t carry = 0;
            for (int w = 0; w < words; w++) state[w] = grow(state[w], match[w], &carry);
        }
    }
    if (is_distance) return distance;
    int64_t length = 0;
    for (int w = 0; w < words; w++) length += ones_of(~state[w]);
    return length;
}

/* 100 letters 0.23 us, by strips 0.68; 300 letters 1.4 and 2.4; 512 letters 3.3 and 4.8. */
static KX_ALWAYS_INLINE int64_t align_short(const kx_alignment_t *p, const int is_distance) {
    switch ((p->rows + WORD - 1) / WORD) {
        case 1: return align_word(p);
        case 2: return align_words(p, 2, is_distance);
        case 3: return align_words(p, 3, is_distance);
        case 4: return align_words(p, 4, is_distance);
        case 5: return align_words(p, 5, is_distance);
        case 6: return align_words(p, 6, is_distance);
        case 7: return align_words(p, 7, is_distance);
        default: return align_words(p, WORDS, is_distance);
    }
}

static kx_status_t align(const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int is_distance,
                         int64_t *result) {
    if (n < 0 || m < 0 || !result) return KX_E_ARGUMENT;
    const int64_t most = INT64_MAX / (int64_t)sizeof(uint32_t);
    if (n > most || m > most) return KX_E_OVERFLOW;
    /* equal ends belong to an alignment that is best */
    int64_t same = 0;
    while (n && m && a[0] == b[0]) a++, b++, n--, m--, same++;
    while (n && m && a[n - 1] == b[m - 1]) n--, m--, same++;
    if (is_distance) same = 0;
    *result = same;
    if (n == 0 || m == 0) {
        if (is_distance) *result = n + m;
        return KX_OK;
    }
    const int is_first = n <= m;
    kx_alignment_t p = {.ctx = ctx, .pattern = is_first ? a : b, .text = is_first ? b : a, .rows = is_first ? n : m,
                        .columns = is_first ? m : n, .is_distance = is_distance};
    if (p.rows <= SHORT && p.columns <= UNPOLLED) {
        *result += is_distance ? align_short(&p, 1) : align_short(&p, 0);
        return KX_OK;
    }
    const int is_soon_done = p.columns <= UNPOLLED / ((p.rows + 63) / 64);
    const kx_status_t status = is_soon_done ? align_strips(NULL, &p, 0, 1) : kx_parallel_for(ctx, 1, 1, align_strips, &p);
    *result += p.result;
    return status;
}

kx_status_t kx_longest_common_subsequence(const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m,
                                          int64_t *length) {
    return align(ctx, a, n, b, m, 0, length);
}

kx_status_t kx_edit_distance(const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *distance) {
    return align(ctx, a, n, b, m, 1, distance);
}
#endif
