/* Mutexes, conditions, threads and the clock of POSIX and Windows under one set of names. */
#ifndef KX_SYSTEM_H
#define KX_SYSTEM_H

#include <stdint.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef SRWLOCK kx_mutex_t;
typedef CONDITION_VARIABLE kx_condition_t;
typedef INIT_ONCE kx_once_t;
#define KX_MUTEX_INIT SRWLOCK_INIT
#define KX_CONDITION_INIT CONDITION_VARIABLE_INIT
#define KX_ONCE_INIT INIT_ONCE_STATIC_INIT
#else
#include <pthread.h>
typedef pthread_mutex_t kx_mutex_t;
typedef pthread_cond_t kx_condition_t;
typedef pthread_once_t kx_once_t;
#define KX_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
#define KX_CONDITION_INIT PTHREAD_COND_INITIALIZER
#define KX_ONCE_INIT PTHREAD_ONCE_INIT
#endif

void kx_mutex_lock(kx_mutex_t *mutex);
void kx_mutex_unlock(kx_mutex_t *mutex);
void kx_condition_wait(kx_condition_t *condition, kx_mutex_t *mutex);
void kx_condition_wait_ms(kx_condition_t *condition, kx_mutex_t *mutex, int milliseconds);
void kx_condition_broadcast(kx_condition_t *condition);

/* Calls run once, however many threads ask for it; all return after it has. */
void kx_once(kx_once_t *once, void (*run)(void));

/* Starts a detached thread; 0 on success. */
int kx_thread_start(void (*run)(void *), void *argument);

/* Calls the three around every fork() from now on; nothing where there is no fork. */
void kx_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

/* A monotonic clock in nanoseconds. */
int64_t kx_clock_ns(void);

#endif
