/* kexue: the types and the status codes that every other header uses. */
#ifndef KX_BASE_H
#define KX_BASE_H

#include <stddef.h>
#include <stdint.h>

#define KX_VERSION_MAJOR 0
#define KX_VERSION_MINOR 1
#define KX_VERSION_PATCH 0
#define KX_VERSION_STRING "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* 0: fine. Below 0: the call failed and its outputs hold nothing. Above 0: the call ended and its outputs are valid,
   with the reservation that the name tells. */
#define KX_STATUS_TABLE(X)                                                                         \
    X(KX_OK, 0, "success")                                                                         \
    X(KX_E_ARGUMENT, -1, "an argument is out of its range")                                        \
    X(KX_E_NONFINITE, -2, "an input holds a NaN or an infinity where none is allowed")             \
    X(KX_E_NEGATIVE, -3, "a weight is negative")                                                   \
    X(KX_E_TOTALS, -4, "the two sets of weights do not have the same total")                       \
    X(KX_E_EMPTY, -5, "a set of weights is empty or sums to zero")                                 \
    X(KX_E_INFEASIBLE, -6, "the forbidden arcs leave no feasible plan")                            \
    X(KX_E_MEMORY, -7, "out of memory")                                                            \
    X(KX_E_OVERFLOW, -8, "the problem is too large for the size type")                             \
    X(KX_E_CANCELLED, -9, "the call was cancelled")                                                \
    X(KX_E_INTERNAL, -10, "an internal check failed")                                              \
    X(KX_W_MAXITER, 1, "the iteration limit was reached before the tolerance")

typedef enum kx_status {
#define KX_STATUS_ENUM(name, value, text) name = value,
    KX_STATUS_TABLE(KX_STATUS_ENUM)
#undef KX_STATUS_ENUM
    KX_STATUS_FORCE_INT = 0x7fffffff
} kx_status_t;

/* The name of a status ("KX_E_MEMORY") and a sentence about it; never NULL. */
const char *kx_status_name(kx_status_t status);
const char *kx_status_text(kx_status_t status);

/* The version of the compiled library, "major.minor.patch". */
const char *kx_version(void);

/* The instruction set that the kernels of this process use: "baseline", "v3" (AVX2 and FMA) or "v4" (AVX-512). It is
   the best that was compiled and that the processor has, unless the environment variable KEXUE_ISA names a lower one. Some kernels
   use what the processor has beyond v4 too (AVX512_VPOPCNTDQ), where KEXUE_ISA names nothing. */
const char *kx_isa_name(void);

#ifdef __cplusplus
}
#endif
#endif
