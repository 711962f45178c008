/* The one thread seam: kx_parallel_for, and the pool it uses unless the host lends an engine of its own.

   A call is a job of numbered chunks. Workers take chunk numbers from one counter, so which thread runs a chunk is open but
   what a chunk is never depends on the threads. As numbers are taken in order, every chunk below a failing one has been
   taken; it is not told to stop, so the failure with the lowest number is the one a serial run would have met first. */
#include <fenv.h>
#include <stdlib.h>

#include "kexue/kx_ctx.h"
#include "runtime/atomic.h"
#include "runtime/system.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define KX_THREAD_LOCAL __declspec(thread)
#elif defined(__cplusplus)
#define KX_THREAD_LOCAL thread_local
#else
#define KX_THREAD_LOCAL _Thread_local
#endif

enum { POLL_MILLISECONDS = 50 };
#define NONE INT64_MAX

typedef struct kx_job {
    const kx_ctx_t *ctx;
    kx_body_fn body;
    void *arg;
    int64_t n, grain, chunks;
    fenv_t environment;     /* the caller's, for its rounding mode */
    kx_atomic_int64 next;   /* the next chunk to take */
    kx_atomic_int64 failed_chunk; /* the lowest one that failed, or NONE; written under the mutex */
    kx_atomic_int cancelled;
    kx_atomic_int flags;    /* floating-point exceptions of the workers */
    kx_mutex_t mutex;       /* guards what follows */
    kx_condition_t changed;
    int running;            /* workers inside run_job */
    kx_status_t failure, warning;
} kx_job_t;

struct kx_task {
    kx_job_t *job;
    kx_task_t *outer; /* of a nested call: the task it runs in, which does the polling */
    int worker;
    int64_t chunk;        /* NONE between two chunks */
    int64_t next_poll_ns; /* worker 0 only */
};

static KX_THREAD_LOCAL kx_task_t *current_task;

int kx_task_worker(const kx_task_t *task) { return task->worker; }

static void poll_cancel(kx_task_t *task) {
    kx_job_t *job = task->job;
    if (!job->ctx || !job->ctx->cancel || kx_clock_ns() < task->next_poll_ns) return;
    if (kx_atomic_load(&job->cancelled)) return; /* not again: the callback may have an exception to keep */
    if (job->ctx->cancel(job->ctx->cancel_state)) kx_atomic_store(&job->cancelled, 1);
    task->next_poll_ns = kx_clock_ns() + POLL_MILLISECONDS * (int64_t)1000000;
}

int kx_task_should_stop(kx_task_t *task) {
    if (task->outer) {
        if (kx_task_should_stop(task->outer)) kx_atomic_store(&task->job->cancelled, 1);
    } else if (task->worker == 0) {
        poll_cancel(task);
    }
    return kx_atomic_load(&task->job->cancelled) || kx_atomic_load64(&task->job->failed_chunk) < task->chunk;
}

int kx_ctx_should_stop(const kx_ctx_t *ctx, int64_t *next_poll_ns) {
    if (current_task) return kx_task_should_stop(current_task);
    if (!ctx || !ctx->cancel) return 0;
    const int64_t now = kx_clock_ns(), pause = POLL_MILLISECONDS * (int64_t)1000000;
    const int due = *next_poll_ns != 0 && now >= *next_poll_ns;
    if (due || *next_poll_ns == 0) *next_poll_ns = now + pause;
    return due && ctx->cancel(ctx->cancel_state);
}

static void record(kx_job_t *job, int64_t chunk, kx_status_t status) {
    kx_mutex_lock(&job->mutex);
    if (status > KX_OK && status > job->warning) job->warning = status;
    if (status < KX_OK && chunk < kx_atomic_load64(&job->failed_chunk)) {
        kx_atomic_store64(&job->failed_chunk, chunk);
        job->failure = status;
    }
    kx_mutex_unlock(&job->mutex);
}

static void run_chunks(kx_job_t *job, int worker) {
    kx_task_t task = {job, current_task, worker, NONE, 0};
    current_task = &task;
    if (worker == 0) task.next_poll_ns = kx_clock_ns() + POLL_MILLISECONDS * (int64_t)1000000;
    while (!kx_task_should_stop(&task)) {
        int64_t chunk = kx_atomic_add64(&job->next, 1);
        if (chunk >= job->chunks) break;
        int64_t begin = chunk * job->grain;
        int64_t end = job->n - begin > job->grain ? begin + job->grain : job->n;
        task.chunk = chunk;
        kx_status_t status = job->body(&task, job->arg, begin, end);
        task.chunk = NONE;
        if (status != KX_OK) record(job, chunk, status);
    }
    current_task = task.outer;
    if (worker != 0 || task.outer) return;
    /* The caller keeps polling while others finish their chunks. */
    kx_mutex_lock(&job->mutex);
    while (job->running > 0) {
        kx_condition_wait_ms(&job->changed, &job->mutex, POLL_MILLISECONDS);
        if (job->running > 0) {
            kx_mutex_unlock(&job->mutex);
            poll_cancel(&task);
            kx_mutex_lock(&job->mutex);
        }
    }
    kx_mutex_unlock(&job->mutex);
}

static void run_job(void *pointer, int worker) {
    kx_job_t *job = (kx_job_t *)pointer;
    if (worker == 0) {
        run_chunks(job, 0);
    } else {
        kx_mutex_lock(&job->mutex);
        job->running++;
        kx_mutex_unlock(&job->mutex);
        fenv_t own;
        fegetenv(&own);
        fesetenv(&job->environment);
        feclearexcept(FE_ALL_EXCEPT);
        run_chunks(job, worker);
        kx_atomic_or(&job->flags, fetestexcept(FE_ALL_EXCEPT));
        fesetenv(&own);
        kx_mutex_lock(&job->mutex);
        job->running--;
        kx_condition_broadcast(&job->changed);
        kx_mutex_unlock(&job->mutex);
    }
}

/* ---- the pool ---- */

typedef struct kx_request {
    struct kx_request *next;
    kx_run_fn run;
    void *job;
    int next_worker, workers; /* workers next_worker .. workers - 1 have not started */
    int active;               /* started and not returned */
} kx_request_t;

static struct {
    kx_mutex_t mutex;
    kx_condition_t work, done;
    kx_request_t *requests;
    int threads, idle;
} pool = {KX_MUTEX_INIT, KX_CONDITION_INIT, KX_CONDITION_INIT, NULL, 0, 0};

static kx_once_t fork_handlers = KX_ONCE_INIT;

/* A forked child has only the thread that forked: the pool starts anew there, at its first use. */
static void before_fork(void) { kx_mutex_lock(&pool.mutex); }
static void after_fork_in_parent(void) { kx_mutex_unlock(&pool.mutex); }
static void after_fork_in_child(void) {
    const kx_mutex_t fresh_mutex = KX_MUTEX_INIT;
    const kx_condition_t fresh_condition = KX_CONDITION_INIT;
    pool.mutex = fresh_mutex;
    pool.work = fresh_condition;
    pool.done = fresh_condition;
    pool.requests = NULL;
    pool.threads = pool.idle = 0;
}

static void set_fork_handlers(void) { kx_at_fork(before_fork, after_fork_in_parent, after_fork_in_child); }

static kx_request_t *open_request(void) {
    kx_request_t *request = pool.requests;
    while (request && request->next_worker >= request->workers) request = request->next;
    return request;
}

static void pool_thread(void *unused) {
    (void)unused;
    kx_mutex_lock(&pool.mutex);
    for (;;) {
        kx_request_t *request = open_request();
        if (!request) {
            pool.idle++;
            kx_condition_wait(&pool.work, &pool.mutex);
            pool.idle--;
            continue;
        }
        int worker = request->next_worker++;
        request->active++;
        kx_mutex_unlock(&pool.mutex);
        request->run(request->job, worker);
        kx_mutex_lock(&pool.mutex);
        request->active--;
        kx_condition_broadcast(&pool.done);
    }
}

void kx_pool_launch(void *state, int workers, kx_run_fn run, void *job) {
    (void)state;
    kx_request_t request = {NULL, run, job, 1, workers, 0};
    /* Before the mutex is taken for the first time: a child that is forked while it is held needs the handlers. */
    kx_once(&fork_handlers, set_fork_handlers);
    kx_mutex_lock(&pool.mutex);
    request.next = pool.requests;
    pool.requests = &request;
    for (int missing = workers - 1 - pool.idle; missing > 0 && pool.threads < workers - 1; missing--) {
        if (kx_thread_start(pool_thread, NULL) != 0) break; /* fewer threads give the same answer */
        pool.threads++;
    }
    kx_condition_broadcast(&pool.work);
    kx_mutex_unlock(&pool.mutex);

    run(job, 0);

    kx_mutex_lock(&pool.mutex);
    request.next_worker = request.workers; /* who has not started is not needed any more */
    while (request.active > 0) kx_condition_wait(&pool.done, &pool.mutex);
    kx_request_t **link = &pool.requests;
    while (*link != &request) link = &(*link)->next;
    *link = request.next;
    kx_mutex_unlock(&pool.mutex);
}

kx_status_t kx_parallel_for(const kx_ctx_t *ctx, int64_t n, int64_t grain, kx_body_fn body, void *arg) {
    if (n < 0 || grain < 1) return KX_E_ARGUMENT;
    if (n == 0) return KX_OK;
    kx_job_t job;
    job.ctx = ctx;
    job.body = body;
    job.arg = arg;
    job.n = n;
    job.grain = grain;
    job.chunks = n / grain + (n % grain != 0);
    kx_atomic_store64(&job.next, 0);
    kx_atomic_store64(&job.failed_chunk, NONE);
    kx_atomic_store(&job.cancelled, 0);
    kx_atomic_store(&job.flags, 0);
    const kx_mutex_t fresh_mutex = KX_MUTEX_INIT;
    const kx_condition_t fresh_condition = KX_CONDITION_INIT;
    job.mutex = fresh_mutex;
    job.changed = fresh_condition;
    job.running = 0;
    job.failure = job.warning = KX_OK;

    int64_t workers = ctx && ctx->workers > 1 && !current_task ? ctx->workers : 1;
    if (workers > job.chunks) workers = job.chunks;
    if (workers <= 1) {
        run_job(&job, 0);
    } else {
        fegetenv(&job.environment);
        kx_launch_fn launch = ctx->launch ? ctx->launch : kx_pool_launch;
        launch(ctx->launch_state, (int)workers, run_job, &job);
        /* An engine that could start nobody has done nothing, which must not look like a result. */
        if (kx_atomic_load64(&job.next) == 0) run_job(&job, 0);
        int flags = kx_atomic_load(&job.flags);
        if (flags) feraiseexcept(flags);
    }
    if (kx_atomic_load(&job.cancelled)) return KX_E_CANCELLED;
    return job.failure != KX_OK ? job.failure : job.warning;
}
