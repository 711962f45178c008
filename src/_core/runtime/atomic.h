/* The few atomic operations that the runtime needs; MSVC's C mode has no dependable <stdatomic.h>. */
#ifndef KX_ATOMIC_H
#define KX_ATOMIC_H

#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
typedef volatile long kx_atomic_int;
typedef volatile long long kx_atomic_int64;
#define KX_ATOMIC_INIT(value) (value)
static __inline int kx_atomic_load(kx_atomic_int *a) { return (int)_InterlockedOr(a, 0); }
static __inline void kx_atomic_store(kx_atomic_int *a, int value) { _InterlockedExchange(a, value); }
static __inline int kx_atomic_or(kx_atomic_int *a, int value) { return (int)_InterlockedOr(a, value); }
static __inline int64_t kx_atomic_load64(kx_atomic_int64 *a) { return _InterlockedOr64(a, 0); }
static __inline int64_t kx_atomic_add64(kx_atomic_int64 *a, int64_t value) { return _InterlockedExchangeAdd64(a, value); }
static __inline void kx_atomic_store64(kx_atomic_int64 *a, int64_t value) { _InterlockedExchange64(a, value); }
#else
#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> kx_atomic_int;
typedef std::atomic<int64_t> kx_atomic_int64;
using std::memory_order_acquire;
using std::memory_order_release;
#else
#include <stdatomic.h>
typedef atomic_int kx_atomic_int;
typedef _Atomic(int64_t) kx_atomic_int64;
#endif
#define KX_ATOMIC_INIT(value) (value)
static inline int kx_atomic_load(kx_atomic_int *a) { return atomic_load_explicit(a, memory_order_acquire); }
static inline void kx_atomic_store(kx_atomic_int *a, int value) { atomic_store_explicit(a, value, memory_order_release); }
static inline int kx_atomic_or(kx_atomic_int *a, int value) { return atomic_fetch_or(a, value); }
static inline int64_t kx_atomic_load64(kx_atomic_int64 *a) { return atomic_load_explicit(a, memory_order_acquire); }
static inline int64_t kx_atomic_add64(kx_atomic_int64 *a, int64_t value) { return atomic_fetch_add(a, value); }
static inline void kx_atomic_store64(kx_atomic_int64 *a, int64_t value) {
    atomic_store_explicit(a, value, memory_order_release);
}
#endif
#endif
