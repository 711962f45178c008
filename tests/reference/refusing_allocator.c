/* What PyMem_RawMalloc asks, for the tests: refuses the n-th block that kexue asks for, and knows those not yet released. Built as a
   shared library by tests/python/test_allocations.py; glibc alone has backtrace. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <string.h>

enum { MOST_BLOCKS = 1 << 12, CALLERS = 4 };
static PyMemAllocatorEx plain;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *blocks[MOST_BLOCKS];
static long block_count, asked, refused_at = -1, refused;

/* Every block of the core that Python's modules ask for goes through the module _context, which calls PyMem_RawMalloc: a frame of its
   own, or none where its call is a jump. What Python's own functions ask for on behalf of _context is not the core's. */
__attribute__((noinline)) static int asked_by_kexue(void) {
    void *callers[CALLERS];
    const int count = backtrace(callers, CALLERS);
    for (int i = 2; i < count; i++) {
        Dl_info info;
        if (!dladdr(callers[i], &info) || !info.dli_fname) return 0;
        if (strstr(info.dli_fname, "/kexue/_context")) return 1;
        if (!info.dli_sname || strcmp(info.dli_sname, "PyMem_RawMalloc")) return 0;
    }
    return 0;
}

static void *refusing_malloc(void *state, size_t bytes) {
    void *block = NULL;
    if (!asked_by_kexue()) return plain.malloc(plain.ctx, bytes);
    pthread_mutex_lock(&lock);
    if (asked++ == refused_at) refused++;
    else block = plain.malloc(plain.ctx, bytes);
    if (block && block_count < MOST_BLOCKS) blocks[block_count++] = block;
    pthread_mutex_unlock(&lock);
    return block;
}

static void refusing_free(void *state, void *block) {
    pthread_mutex_lock(&lock);
    for (long i = block_count - 1; block && i >= 0; i--) {
        if (blocks[i] == block) {
            blocks[i] = blocks[--block_count];
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    plain.free(plain.ctx, block);
}

static void *plain_calloc(void *state, size_t count, size_t bytes) { return plain.calloc(plain.ctx, count, bytes); }
static void *plain_realloc(void *state, void *block, size_t bytes) { return plain.realloc(plain.ctx, block, bytes); }

void refusing_install(void) {
    void *callers[1];
    backtrace(callers, 1); /* which allocates at its first call */
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &plain);
    PyMemAllocatorEx refusing = {NULL, refusing_malloc, plain_calloc, plain_realloc, refusing_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &refusing);
}

void refusing_remove(void) { PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &plain); }

/* From here the block of this number is refused; -1 refuses none. */
void refusing_begin(long number) {
    pthread_mutex_lock(&lock);
    refused_at = number;
    asked = refused = 0;
    pthread_mutex_unlock(&lock);
}

long refusing_asked(void) { return asked; }
long refusing_refused(void) { return refused; }
long refusing_held(void) { return block_count; }
