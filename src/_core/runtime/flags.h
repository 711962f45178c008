/* The floating-point flags of a kernel whose vectors raise some of their own: comparisons with NaN, lanes that are dropped,
   small terms beside large ones. */
#ifndef KX_FLAGS_H
#define KX_FLAGS_H

#include <fenv.h>

#define KX_FLAGS (FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW)

static inline int kx_flags_begin(void) { return fetestexcept(KX_FLAGS); }

/* Leaves what was raised before the kernel, and what is due by its definition. */
static inline void kx_flags_end(int before, int due) {
    const int spurious = fetestexcept(KX_FLAGS) & ~before & ~due;
    if (spurious) feclearexcept(spurious);
    if (due) feraiseexcept(due);
}

#endif
