/* One loop for elementwise kernels of one to four operands: any strides, any alignment, float64 and float32, both evaluated in
   float64 lanes. Contiguous operands are read where they lie, one value for all items is spread over a vector once, others and
   the last few items go by way of blocks on the stack. An operand may be the output exactly.

   A kernel file gives three functions, constants for the compiler so that they are inlined, as `function` and `narrow` are:
   - fast: the values of a vector of ordinary arguments. float32 results are rounded from its float64 values, and `narrow` (1 for
     them, else 0) lets it leave out what they do not need.
   - are_ordinary: whether all lanes are fit for `fast`, found without raising flags for a NaN (kx_f64v_all_between).
   - settle: for the arguments of one item that is not ordinary, sets the value, raises the flags that are due, and returns 1;
     0 for an ordinary item. Items of ones must be ordinary: they stand in for what is settled, so that `fast` raises nothing.
   `fast` sees every other lane either way: an item's value does not depend on its neighbours. */
#ifndef KX_REAL
#ifndef KX_ELEMENTWISE_INTERNAL_H
#define KX_ELEMENTWISE_INTERNAL_H

#include "isa/kernel.h"
#include "isa/simd.h"

enum { KX_MOST_OPERANDS = 4, KX_ELEMENTWISE_BLOCK = 256 };

typedef kx_f64v (*kx_elementwise_fast_t)(int function, int narrow, const kx_f64v *x);
typedef int (*kx_elementwise_are_ordinary_t)(int function, int narrow, const kx_f64v *x);
typedef int (*kx_elementwise_settle_t)(int function, int narrow, const double *x, double *value);

/* 0 / 0 or inf - inf: a NaN that raises the invalid flag. */
static inline double kx_elementwise_invalid(double a) { return (a - a) / (a - a); }

/* Settles the lanes that are not ordinary; returns which they are. */
static KX_NEVER_INLINE unsigned kx_elementwise_settle_lanes(int function, int narrow, int operands,
                                                            kx_elementwise_settle_t settle, double (*lanes)[KX_F64_LANES],
                                                            double *values) {
    unsigned settled = 0;
    for (int i = 0; i < KX_F64_LANES; i++) {
        double x[KX_MOST_OPERANDS] = {0};
        for (int k = 0; k < operands; k++) x[k] = lanes[k][i];
        if (!settle(function, narrow, x, values + i)) continue;
        settled |= 1u << i;
        for (int k = 0; k < operands; k++) lanes[k][i] = 1;
    }
    return settled;
}

static KX_ALWAYS_INLINE kx_f64v kx_elementwise_vector(int function, int narrow, int operands, kx_elementwise_fast_t fast,
                                                      kx_elementwise_are_ordinary_t are_ordinary,
                                                      kx_elementwise_settle_t settle, kx_f64v *x) {
    double lanes[KX_MOST_OPERANDS][KX_F64_LANES], values[KX_F64_LANES], ordinary_values[KX_F64_LANES];
    unsigned settled = 0;
    if (!are_ordinary(function, narrow, x)) {
        for (int k = 0; k < operands; k++) kx_f64v_store(lanes[k], x[k]);
        settled = kx_elementwise_settle_lanes(function, narrow, operands, settle, lanes, values);
        for (int k = 0; k < operands; k++) x[k] = kx_f64v_load(lanes[k]);
    }
    kx_f64v value = fast(function, narrow, x);
    if (settled) {
        kx_f64v_store(ordinary_values, value);
        for (int i = 0; i < KX_F64_LANES; i++)
            if (!(settled >> i & 1)) values[i] = ordinary_values[i];
        value = kx_f64v_load(values);
    }
    return value;
}

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_LOAD kx_f64v_load
#define KX_STORE kx_f64v_store
#include "elementwise_internal.h"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_LOAD
#undef KX_STORE

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_LOAD kx_f64v_load_f32
#define KX_STORE kx_f64v_store_f32
#include "elementwise_internal.h"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_LOAD
#undef KX_STORE

#endif
#else /* the template */

/* n is a multiple of the lanes; an operand is contiguous, or KX_F64_LANES copies of one value. */
static KX_ALWAYS_INLINE void KX_TYPED(kx_elementwise_contiguous)(int function, int operands, kx_elementwise_fast_t fast,
                                                                 kx_elementwise_are_ordinary_t are_ordinary,
                                                                 kx_elementwise_settle_t settle, const KX_REAL *const *from,
                                                                 const int *varies, int64_t n, KX_REAL *to) {
    const KX_REAL *next[KX_MOST_OPERANDS];
    int64_t steps[KX_MOST_OPERANDS];
    for (int k = 0; k < operands; k++) next[k] = from[k], steps[k] = varies[k] ? KX_F64_LANES : 0;
    for (int64_t i = 0; i < n; i += KX_F64_LANES) {
        kx_f64v x[KX_MOST_OPERANDS];
        for (int k = 0; k < operands; k++) x[k] = KX_LOAD(next[k]), next[k] += steps[k];
        KX_STORE(to + i, kx_elementwise_vector(function, sizeof(KX_REAL) == 4, operands, fast, are_ordinary, settle, x));
    }
}

/* The last item is repeated to fill a vector: a copy raises no flag of its own. */
static void KX_TYPED(kx_elementwise_gather)(const char *from, ptrdiff_t stride, int64_t n, KX_REAL *to) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i, from + i * stride, sizeof *to);
    for (int64_t i = n; i % KX_F64_LANES != 0; i++) to[i] = to[n - 1];
}

static int KX_TYPED(kx_elementwise_is_array)(const void *p, ptrdiff_t stride) {
    return stride == (ptrdiff_t)sizeof(KX_REAL) && (uintptr_t)p % sizeof(KX_REAL) == 0;
}

static KX_ALWAYS_INLINE void KX_TYPED(kx_elementwise)(int function, int operands, kx_elementwise_fast_t fast,
                                                      kx_elementwise_are_ordinary_t are_ordinary, kx_elementwise_settle_t settle,
                                                      const void *const *x, const ptrdiff_t *x_strides, int64_t n, void *out,
                                                      ptrdiff_t out_stride) {
    KX_REAL blocks[KX_MOST_OPERANDS + 1][KX_ELEMENTWISE_BLOCK], *block_out = blocks[KX_MOST_OPERANDS];
    const KX_REAL *from[KX_MOST_OPERANDS];
    int varies[KX_MOST_OPERANDS], are_arrays = KX_TYPED(kx_elementwise_is_array)(out, out_stride);
    if (n <= 0) return;
    for (int k = 0; k < operands; k++) {
        varies[k] = x_strides[k] != 0;
        if (!varies[k]) KX_TYPED(kx_elementwise_gather)((const char *)x[k], 0, KX_F64_LANES, blocks[k]);
        else are_arrays &= KX_TYPED(kx_elementwise_is_array)(x[k], x_strides[k]);
        from[k] = varies[k] ? (const KX_REAL *)x[k] : blocks[k];
    }
    int64_t done = 0;
    /* One loop for all: it is inlined once, and an array's whole vectors are a single turn of it. */
    for (int64_t count; done < n; done += count) {
        const int whole = are_arrays && n - done >= KX_F64_LANES;
        const int64_t left = n - done;
        count = whole ? left / KX_F64_LANES * KX_F64_LANES : left < KX_ELEMENTWISE_BLOCK ? left : KX_ELEMENTWISE_BLOCK;
        if (!whole)
            for (int k = 0; k < operands; k++)
                if (varies[k]) {
                    const char *start = (const char *)x[k] + done * x_strides[k];
                    KX_TYPED(kx_elementwise_gather)(start, x_strides[k], count, blocks[k]);
                    from[k] = blocks[k];
                }
        KX_TYPED(kx_elementwise_contiguous)(function, operands, fast, are_ordinary, settle, from, varies,
                                            (count + KX_F64_LANES - 1) / KX_F64_LANES * KX_F64_LANES,
                                            whole ? (KX_REAL *)out + done : block_out);
        if (!whole)
            for (int64_t i = 0; i < count; i++) memcpy((char *)out + (done + i) * out_stride, block_out + i, sizeof *block_out);
    }
}
#endif
