/* How a kernel file becomes one function for every instruction set and one public name.

   CMake compiles each kernel file once per instruction set with -DKX_ISA=<name>, and once more without it: the dispatch pass.
   A kernel `name` is defined as KX_KERNEL(name), which is name__v4, say, in an instruction set's pass; the same file states
   KX_DISPATCH(name, (parameters), (arguments)) next to it, which in the dispatch pass makes the public function that
   forwards to the pass the processor can run. A switch on an int is used, not a table of function pointers: it needs
   no second list of names, costs a predicted branch, and there is nothing to publish but the level. */
#ifndef KX_KERNEL_H
#define KX_KERNEL_H

#include "isa/isa.h"
#include "kexue/kx_base.h"

#define KX_PASTE_(a, b) a##b
#define KX_PASTE(a, b) KX_PASTE_(a, b)

#if defined(KX_AMALGAMATION) /* tools/amalgamate.py: one pass, whose kernels are the public functions */
#define KX_KERNEL(name) name
#define KX_DISPATCH(name, parameters, arguments) kx_status_t name parameters;
#elif defined(KX_ISA)
#define KX_KERNEL(name) KX_PASTE(KX_PASTE(name, __), KX_ISA)
#define KX_DISPATCH(name, parameters, arguments) kx_status_t KX_KERNEL(name) parameters;
#else
#define KX_DISPATCH_PASS 1
#define KX_CASE_baseline(name, arguments) \
    default: return KX_PASTE(name, __baseline) arguments;
#ifdef KX_HAVE_V3
#define KX_DECLARE_V3(name, parameters) kx_status_t KX_PASTE(name, __v3) parameters;
#define KX_CASE_V3(name, arguments) \
    case KX_LEVEL_V3: return KX_PASTE(name, __v3) arguments;
#else
#define KX_DECLARE_V3(name, parameters)
#define KX_CASE_V3(name, arguments)
#endif
#ifdef KX_HAVE_V4
#define KX_DECLARE_V4(name, parameters) kx_status_t KX_PASTE(name, __v4) parameters;
#define KX_CASE_V4(name, arguments) \
    case KX_LEVEL_V4: return KX_PASTE(name, __v4) arguments;
#else
#define KX_DECLARE_V4(name, parameters)
#define KX_CASE_V4(name, arguments)
#endif
#define KX_DISPATCH(name, parameters, arguments)                                                   \
    kx_status_t KX_PASTE(name, __baseline) parameters;                                             \
    KX_DECLARE_V3(name, parameters)                                                                \
    KX_DECLARE_V4(name, parameters)                                                                \
    kx_status_t name parameters {                                                                  \
        switch (kx_isa_level()) {                                                                  \
            KX_CASE_V4(name, arguments)                                                            \
            KX_CASE_V3(name, arguments)                                                            \
            KX_CASE_baseline(name, arguments)                                                      \
        }                                                                                          \
    }
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define KX_ALWAYS_INLINE __forceinline
#define KX_NEVER_INLINE __declspec(noinline)
#else
#define KX_ALWAYS_INLINE inline __attribute__((always_inline))
#define KX_NEVER_INLINE __attribute__((noinline))
#endif

/* The core is C++ too, for those who compile the amalgamation as such. */
#ifdef __cplusplus
#define KX_RESTRICT __restrict
#else
#include <stdalign.h>
#define KX_RESTRICT restrict
#endif

/* Two precisions from one source: a file that includes itself with KX_REAL and KX_SUFFIX set. */
#define KX_TYPED(name) KX_PASTE(KX_PASTE(name, _), KX_SUFFIX)

/* In such a file: an operation of its vectors and of their masks (simd.h), and a number of its type. */
#define V(operation) KX_PASTE(KX_PASTE(KX_VECTOR, _), operation)
#define M(operation) KX_PASTE(KX_PASTE(KX_MASK, _), operation)
#define R(value) ((KX_REAL)(value))

#endif
