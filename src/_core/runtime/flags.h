/* The floating-point flags of a kernel whose vectors raise some of their own: comparisons with NaN, lanes that are dropped. */
#ifndef KX_FLAGS_H
#define KX_FLAGS_H

#include <fenv.h>

static inline int kx_flags_begin(void) { return fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW); }

/* Leaves what was raised before the kernel, and what is due by its definition. */
static inline void kx_flags_end(int before, int due) {
    const int spurious = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW) & ~before & ~due;
    if (spurious) feclearexcept(spurious);
    if (due) feraiseexcept(due);
}

#endif
