#if !defined(_WIN32)
#define _GNU_SOURCE /* sched_getaffinity, CLOCK_MONOTONIC */
#endif
#include "runtime/system.h"

#include <stdio.h>
#include <stdlib.h>

#include "kexue/kx_ctx.h"

typedef struct kx_thread_start_t {
    void (*run)(void *);
    void *argument;
} kx_thread_start_t;

#ifdef _WIN32

void kx_mutex_lock(kx_mutex_t *mutex) { AcquireSRWLockExclusive(mutex); }
void kx_mutex_unlock(kx_mutex_t *mutex) { ReleaseSRWLockExclusive(mutex); }
void kx_condition_wait(kx_condition_t *condition, kx_mutex_t *mutex) {
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}
void kx_condition_wait_ms(kx_condition_t *condition, kx_mutex_t *mutex, int milliseconds) {
    SleepConditionVariableSRW(condition, mutex, (DWORD)milliseconds, 0);
}
void kx_condition_broadcast(kx_condition_t *condition) { WakeAllConditionVariable(condition); }

static DWORD WINAPI thread_main(LPVOID pointer) {
    kx_thread_start_t start = *(kx_thread_start_t *)pointer;
    free(pointer);
    start.run(start.argument);
    return 0;
}
int kx_thread_start(void (*run)(void *), void *argument) {
    kx_thread_start_t *start = (kx_thread_start_t *)malloc(sizeof *start);
    if (!start) return -1;
    start->run = run;
    start->argument = argument;
    HANDLE thread = CreateThread(NULL, 0, thread_main, start, 0, NULL);
    if (!thread) {
        free(start);
        return -1;
    }
    CloseHandle(thread);
    return 0;
}
static BOOL CALLBACK run_once(PINIT_ONCE once, PVOID run, PVOID *context) {
    (void)once, (void)context;
    ((void (*)(void))(uintptr_t)run)();
    return TRUE;
}
void kx_once(kx_once_t *once, void (*run)(void)) { InitOnceExecuteOnce(once, run_once, (PVOID)(uintptr_t)run, NULL); }
void kx_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    (void)prepare, (void)parent, (void)child;
}
int64_t kx_clock_ns(void) {
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (int64_t)((double)count.QuadPart * 1e9 / (double)frequency.QuadPart);
}
int kx_cpu_count(void) {
    DWORD_PTR process_mask, system_mask;
    int count = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &process_mask, &system_mask))
        for (; process_mask; process_mask &= process_mask - 1) count++;
    return count > 0 ? count : 1;
}

#else

#include <sched.h>
#include <time.h>
#include <unistd.h>

void kx_mutex_lock(kx_mutex_t *mutex) { pthread_mutex_lock(mutex); }
void kx_mutex_unlock(kx_mutex_t *mutex) { pthread_mutex_unlock(mutex); }
void kx_condition_wait(kx_condition_t *condition, kx_mutex_t *mutex) { pthread_cond_wait(condition, mutex); }
void kx_condition_wait_ms(kx_condition_t *condition, kx_mutex_t *mutex, int milliseconds) {
    /* The realtime clock: macOS cannot set another for a condition. A clock step only changes when cancel is polled next. */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)milliseconds * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(condition, mutex, &until);
}
void kx_condition_broadcast(kx_condition_t *condition) { pthread_cond_broadcast(condition); }

static void *thread_main(void *pointer) {
    kx_thread_start_t start = *(kx_thread_start_t *)pointer;
    free(pointer);
    start.run(start.argument);
    return NULL;
}
int kx_thread_start(void (*run)(void *), void *argument) {
    kx_thread_start_t *start = (kx_thread_start_t *)malloc(sizeof *start);
    if (!start) return -1;
    start->run = run;
    start->argument = argument;
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attributes, thread_main, start);
    pthread_attr_destroy(&attributes);
    if (failed) free(start);
    return failed ? -1 : 0;
}
void kx_once(kx_once_t *once, void (*run)(void)) { pthread_once(once, run); }
void kx_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    pthread_atfork(prepare, parent, child);
}
int64_t kx_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#ifdef __linux__
/* A container's CPU quota (cgroup v2), rounded up; 0 where there is none. */
static int quota_count(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!file) return 0;
    long quota = 0, period = 0;
    int fields = fscanf(file, "%ld %ld", &quota, &period);
    fclose(file);
    return fields == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}
#endif

int kx_cpu_count(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    int quota = quota_count();
    if (quota > 0 && quota < count) count = quota;
#endif
    return count > 0 ? (int)count : 1;
}

#endif
