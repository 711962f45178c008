/* Subsampled randomized Hadamard transforms: a row is flipped, transformed in the first cache and sampled. */
#ifndef KX_REAL
#include "kexue/kx_walsh_hadamard.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <string.h>

#include "isa/simd.h"
#include "kernels/walsh_hadamard_internal.h"
#include "runtime/memory.h"

enum {
    CHUNK_NUMBERS = 1 << 16, /* of a chunk of rows, at least */
    DIRECT_COST = 2          /* of an entry and a sample, in numbers transformed */
};

typedef struct kx_srht_job {
    const kx_srht_t *s;
    const char *x;
    int64_t n;
    ptrdiff_t x_row_stride;
    const int64_t *indptr, *indices; /* or NULL */
    char *out, *buffers;             /* a buffer of `size` numbers for each worker */
    size_t buffer_bytes;
} kx_srht_job_t;

static inline int is_minus(const uint64_t *signs, int64_t j) { return (int)(signs[j / 64] >> (j % 64)) & 1; }

static kx_status_t check(const kx_srht_t *s, int64_t n) {
    if (!s || n < 0 || s->d < 0 || s->sampled < 0 || s->size < 1 || s->d > s->size) return KX_E_ARGUMENT;
    if (s->size & (s->size - 1)) return KX_E_ARGUMENT;
    if ((s->d && !s->signs) || (s->sampled && !s->samples)) return KX_E_ARGUMENT;
    for (int64_t c = 0; c < s->sampled; c++)
        if (s->samples[c] < 0 || s->samples[c] >= s->size) return KX_E_ARGUMENT;
    return KX_OK;
}

static kx_status_t run(const kx_ctx_t *ctx, kx_srht_job_t *job, kx_body_fn body, size_t item, int is_adjoint) {
    const kx_srht_t *s = job->s;
    kx_status_t status = check(s, job->n);
    if (status != KX_OK || job->n == 0) return status;
    const int64_t inputs = is_adjoint ? s->sampled : s->d, outputs = is_adjoint ? s->d : s->sampled;
    if ((outputs > 0 && !job->out) || (inputs > 0 && !job->x && !job->indptr)) return KX_E_ARGUMENT;
    const int64_t grain = s->size < CHUNK_NUMBERS ? CHUNK_NUMBERS / s->size : 1;
    const int64_t wanted = ctx && ctx->workers > 1 ? ctx->workers : 1, chunks = (job->n - 1) / grain + 1;
    kx_layout_t layout = {0, 0};
    (void)kx_layout_add(&layout, s->size, item);
    job->buffer_bytes = layout.bytes;
    layout.bytes = 0;
    (void)kx_layout_add(&layout, wanted < chunks ? wanted : chunks, job->buffer_bytes);
    if (layout.overflow) return KX_E_OVERFLOW;
    job->buffers = (char *)kx_allocate(ctx, layout.bytes);
    if (!job->buffers) return KX_E_MEMORY;
    if (!job->x && !job->indptr) job->x = job->buffers; /* nothing is read, but the rows' addresses are counted from it */
    status = kx_parallel_for(ctx, job->n, grain, body, job);
    kx_release(ctx, job->buffers);
    return status;
}
#endif

#define KX_TEMPLATE "kernels/projection_srht.c"
#include "isa/each_real.h"

#else /* the template */

#define DENSE_PARAMETERS \
    (const kx_ctx_t *ctx, const kx_srht_t *s, const KX_REAL *x, int64_t n, ptrdiff_t x_row_stride, KX_REAL *out)
#define CSR_PARAMETERS                                                                                                       \
    (const kx_ctx_t *ctx, const kx_srht_t *s, int64_t n, const int64_t *indptr, const int64_t *indices, const KX_REAL *data, \
     KX_REAL *out)
KX_DISPATCH(KX_TYPED(kx_srht), DENSE_PARAMETERS, (ctx, s, x, n, x_row_stride, out))
KX_DISPATCH(KX_TYPED(kx_srht_adjoint), DENSE_PARAMETERS, (ctx, s, x, n, x_row_stride, out))
KX_DISPATCH(KX_TYPED(kx_srht_csr), CSR_PARAMETERS, (ctx, s, n, indptr, indices, data, out))

#ifndef KX_DISPATCH_PASS

static kx_status_t KX_TYPED(dense_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_srht_job_t *job = (const kx_srht_job_t *)arg;
    const kx_srht_t *s = job->s;
    KX_REAL *buffer = (KX_REAL *)(job->buffers + (size_t)kx_task_worker(task) * job->buffer_bytes);
    const int64_t row_bytes = s->d * (int64_t)sizeof(KX_REAL);
    for (int64_t i = begin; i < end; i++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const char *row = job->x + i * job->x_row_stride;
        /* 10000 x 4096 floats to 256: 6.4 ms, 9.2 without. All of the next row at once, or two rows ahead, or in one of the
           passes: 7 to 10. */
        const KX_REAL *ahead = i + 1 < job->n ? (const KX_REAL *)(row + job->x_row_stride) : NULL;
        if (s->d < s->size) {
            memcpy(buffer, row, (size_t)row_bytes);
            memset(buffer + s->d, 0, (size_t)(s->size - s->d) * sizeof(KX_REAL));
            row = (const char *)buffer;
        }
        KX_KERNEL(KX_TYPED(kx_walsh_hadamard_samples))((const KX_REAL *)row, buffer, s->size, s->signs, s->samples, s->sampled,
                                                       (KX_REAL)s->scale, (KX_REAL *)job->out + i * s->sampled, ahead);
    }
    return KX_OK;
}

/* A row with few entries, entry by entry: an entry of H is a parity. */
static void KX_TYPED(sparse_row)(const kx_srht_t *s, const int64_t *indices, const KX_REAL *data, int64_t count, KX_REAL *out) {
    for (int64_t c = 0; c < s->sampled; c++) out[c] = 0;
    for (int64_t k = 0; k < count; k++) {
        const int64_t j = indices[k];
        const KX_REAL value = is_minus(s->signs, j) ? -data[k] : data[k], signed_values[2] = {value, -value};
        for (int64_t c = 0; c < s->sampled; c++) out[c] += signed_values[kx_count_bits((uint64_t)(s->samples[c] & j)) & 1];
    }
    for (int64_t c = 0; c < s->sampled; c++) out[c] *= (KX_REAL)s->scale;
}

static kx_status_t KX_TYPED(csr_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_srht_job_t *job = (const kx_srht_job_t *)arg;
    const kx_srht_t *s = job->s;
    const KX_REAL *data = (const KX_REAL *)job->x;
    KX_REAL *buffer = (KX_REAL *)(job->buffers + (size_t)kx_task_worker(task) * job->buffer_bytes);
    for (int64_t i = begin; i < end; i++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t first = job->indptr[i], last = job->indptr[i + 1];
        KX_REAL *row = (KX_REAL *)job->out + i * s->sampled;
        if (first < 0 || last < first || (last > first && (!data || !job->indices))) return KX_E_ARGUMENT;
        for (int64_t k = first; k < last; k++)
            if (job->indices[k] < 0 || job->indices[k] >= s->d) return KX_E_ARGUMENT;
        if (last - first < s->size / DIRECT_COST / (s->sampled + 1)) {
            KX_TYPED(sparse_row)(s, job->indices + first, data + first, last - first, row);
            continue;
        }
        memset(buffer, 0, (size_t)s->size * sizeof(KX_REAL));
        for (int64_t k = first; k < last; k++) buffer[job->indices[k]] += data[k];
        KX_KERNEL(KX_TYPED(kx_walsh_hadamard_samples))(buffer, buffer, s->size, s->signs, s->samples, s->sampled,
                                                       (KX_REAL)s->scale, row, NULL);
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(adjoint_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_srht_job_t *job = (const kx_srht_job_t *)arg;
    const kx_srht_t *s = job->s;
    KX_REAL *buffer = (KX_REAL *)(job->buffers + (size_t)kx_task_worker(task) * job->buffer_bytes);
    for (int64_t i = begin; i < end; i++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const KX_REAL *row = (const KX_REAL *)(job->x + i * job->x_row_stride);
        KX_REAL *result = (KX_REAL *)job->out + i * s->d;
        memset(buffer, 0, (size_t)s->size * sizeof(KX_REAL));
        for (int64_t c = 0; c < s->sampled; c++) buffer[s->samples[c]] += row[c];
        KX_KERNEL(KX_TYPED(kx_walsh_hadamard_row))(buffer, buffer, s->size, NULL, (KX_REAL)s->scale, NULL);
        for (int64_t j = 0; j < s->d; j++) result[j] = is_minus(s->signs, j) ? -buffer[j] : buffer[j];
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_srht)) DENSE_PARAMETERS {
    kx_srht_job_t job = {s, (const char *)x, n, x_row_stride, NULL, NULL, (char *)out, NULL, 0};
    return run(ctx, &job, KX_TYPED(dense_rows), sizeof(KX_REAL), 0);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_srht_adjoint)) DENSE_PARAMETERS {
    kx_srht_job_t job = {s, (const char *)x, n, x_row_stride, NULL, NULL, (char *)out, NULL, 0};
    return run(ctx, &job, KX_TYPED(adjoint_rows), sizeof(KX_REAL), 1);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_srht_csr)) CSR_PARAMETERS {
    if (n > 0 && !indptr) return KX_E_ARGUMENT;
    kx_srht_job_t job = {s, (const char *)data, n, 0, indptr, indices, (char *)out, NULL, 0};
    return run(ctx, &job, KX_TYPED(csr_rows), sizeof(KX_REAL), 0);
}

#endif
#undef DENSE_PARAMETERS
#undef CSR_PARAMETERS
#endif
