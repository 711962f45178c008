/* kexue: what a caller may lend to a call: an allocator, threads, a way to cancel.

   Every function that allocates, runs long or uses threads takes a `const kx_ctx_t *`. NULL means malloc, one thread and
   no cancelling. A context is read only during a call, so several threads may share one. */
#ifndef KX_CTX_H
#define KX_CTX_H

#include "kx_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* allocate returns a block aligned to 64 bytes, or NULL; release takes what allocate returned. Both may be called from
   any worker thread. */
typedef struct kx_allocator {
    void *(*allocate)(void *state, size_t bytes);
    void (*release)(void *state, void *block);
    void *state;
} kx_allocator_t;

/* Returns non-zero to cancel, and is not called again then. Called on the calling thread only, about every 50 ms. It must not fork a
   child that returns into the call: the threads that the call waits for are not in the child. */
typedef int (*kx_cancel_fn)(void *state);

/* A thread engine: calls run(job, worker) once for each worker of 0 .. workers - 1, worker 0 on the calling thread, and
   returns when all of these calls have returned. It may use fewer threads: the job is complete as soon as one call is, and
   if there was none, the calling thread does it. */
typedef void (*kx_run_fn)(void *job, int worker);
typedef void (*kx_launch_fn)(void *state, int workers, kx_run_fn run, void *job);

typedef struct kx_ctx {
    kx_allocator_t allocator;
    kx_cancel_fn cancel; /* NULL: never */
    void *cancel_state;
    kx_launch_fn launch; /* NULL: the built-in pool */
    void *launch_state;
    int workers; /* at most this many threads, the calling one included; 0 and 1: serial */
} kx_ctx_t;

/* malloc, one worker, no cancel, the built-in pool. */
void kx_ctx_init(kx_ctx_t *ctx);

/* The built-in pool as a kx_launch_fn; state is not used. Where several shared objects of one process link this library
   statically, each has a pool of its own unless they all lend each other the launch function of one. */
void kx_pool_launch(void *state, int workers, kx_run_fn run, void *job);

/* What a running chunk may ask: which worker it is on, and whether it should stop. */
typedef struct kx_task kx_task_t;

/* In 0 .. workers - 1; two chunks that run at the same time never see the same number. */
int kx_task_worker(const kx_task_t *task);

/* Non-zero when the call is cancelled or a chunk with a lower index has failed. Cheap enough for every microsecond. */
int kx_task_should_stop(kx_task_t *task);

/* Runs body over [0, n) in chunks of `grain` items. The chunks depend on n and grain alone, never on the workers, so a
   body whose chunks are independent gives the same bits for any number of them. Returns the status of the failing chunk
   with the lowest index, KX_E_CANCELLED when cancelled, else the largest warning. Called from inside a body, it runs serially.
   Floating-point exception flags that any worker raises are raised in the caller; workers use the caller's rounding mode. */
typedef kx_status_t (*kx_body_fn)(kx_task_t *task, void *arg, int64_t begin, int64_t end);
kx_status_t kx_parallel_for(const kx_ctx_t *ctx, int64_t n, int64_t grain, kx_body_fn body, void *arg);

/* Non-zero when the call is to end: for functions that make many short kx_parallel_for calls, each of which is over before it would ask.
   Asks the context's cancel callback, about every 50 ms; *next_poll_ns begins as 0 and is this function's own. */
int kx_ctx_should_stop(const kx_ctx_t *ctx, int64_t *next_poll_ns);

/* The processors that this process may run on (affinity and cgroup quota respected), at least 1. */
int kx_cpu_count(void);

#ifdef __cplusplus
}
#endif
#endif
