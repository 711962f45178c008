"""Distances between documents: the calls into the C core. Checking of arguments is kexue.documents' work."""
cimport numpy as cnp
from cpython.object cimport PyObject
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    KX_E_ARGUMENT,
    KX_E_CANCELLED,
    KX_E_MEMORY,
    KX_E_OVERFLOW,
    KX_OK,
    KX_WMD,
    KX_WRD,
    kx_ctx_t,
    kx_document_metric_t,
    kx_documents_normalize_f32,
    kx_documents_normalize_f64,
    kx_documents_pairwise_f32,
    kx_documents_pairwise_f64,
    kx_documents_search_f32,
    kx_documents_search_f64,
    kx_documents_t,
    kx_index_t,
    kx_pairwise_options_init,
    kx_pairwise_options_t,
    kx_search_options_t,
    kx_search_results_release,
    kx_search_results_t,
    kx_status_t,
)

import numpy as np

cnp.import_array()

METRICS = {"wmd": 0, "wrd": 1, "rwmd": 2, "rwrd": 3, "sinkhorn": 4}


cdef extern from "Python.h":
    # Declared without `except`: the exception stays pending while the core unwinds.
    int PyErr_CheckSignals() noexcept
    PyObject *PyErr_Occurred() noexcept
    PyObject *PyObject_CallFunction(PyObject *function, const char *format, ...) noexcept
    void Py_DECREF(PyObject *object) noexcept


cdef struct progress_t:
    PyObject *report  # called with (done, total)
    int64_t done
    int64_t total


cdef int report_progress(void *state) noexcept nogil:
    cdef progress_t *progress = <progress_t *>state
    cdef PyObject *answer
    with gil:
        if PyErr_Occurred() != NULL or PyErr_CheckSignals() != 0:
            return 1
        answer = PyObject_CallFunction(progress.report, "LL", <long long>progress.done, <long long>progress.total)
        if answer == NULL:
            return 1
        Py_DECREF(answer)
    return 0


cdef void watch(kx_ctx_t *ctx, progress_t *progress, report) noexcept:
    """Report the call's progress, if anyone wants to know."""
    if report is not None:
        progress.report = <PyObject *>report
        ctx.cancel = report_progress
        ctx.cancel_state = progress


cdef kx_documents_t documents(tuple rows) except *:
    offsets, words, weights = rows
    return kx_documents_t(
        offsets.shape[0] - 1, <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>offsets),
        <const int32_t *>cnp.PyArray_DATA(<cnp.ndarray>words), <const double *>cnp.PyArray_DATA(<cnp.ndarray>weights))


def pairwise(vectors, tuple X, tuple Y, str metric, double scale, double empty_value, object workers, report=None,
             double reg=0, double tolerance=1e-9, int64_t max_iter=1):
    """Distances of all pairs. X, Y: (offsets int64, words int32, weights float64), contiguous; Y may be None.

    `report` is called with (done, total) now and then. Returns (status, distances, pairs that did not converge).
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t unconverged = 0
    cdef kx_pairwise_options_t options = kx_pairwise_options_t(
        <kx_document_metric_t><int>METRICS[metric], scale, empty_value, NULL, NULL, reg, tolerance, max_iter, &unconverged)
    cdef progress_t progress = progress_t(NULL, 0, 0)
    options.done = &progress.done
    options.total = &progress.total
    watch(&ctx, &progress, report)
    cdef kx_documents_t x = documents(X)
    cdef kx_documents_t y
    cdef const kx_documents_t *y_or_none = NULL
    if Y is not None:
        y = documents(Y)
        y_or_none = &y
    out = np.empty((x.count, x.count if Y is None else y.count), dtype=vectors.dtype)
    cdef int64_t vocabulary = vectors.shape[0], dimension = vectors.shape[1]
    cdef ptrdiff_t row_stride = vectors.strides[0]
    cdef const void *data = cnp.PyArray_DATA(<cnp.ndarray>vectors)
    cdef void *result = cnp.PyArray_DATA(<cnp.ndarray>out)
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>vectors) == cnp.NPY_FLOAT
    cdef kx_status_t status
    with nogil:
        if single:
            status = kx_documents_pairwise_f32(&ctx, <const float *>data, &x, y_or_none, vocabulary, dimension, row_stride,
                                               &options, <float *>result)
        else:
            status = kx_documents_pairwise_f64(&ctx, <const double *>data, &x, y_or_none, vocabulary, dimension, row_stride,
                                               &options, <double *>result)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    if report is not None and <int>status >= KX_OK:
        report(progress.total, progress.total)
    return <int>status, out, unconverged


cdef void *data_of(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


def normalize(vectors, tuple rows, str metric):
    """Documents as an index wants them: no word without weight, weights (for "wrd" times the norms) of sum 1.

    rows: (offsets int64, words int32, weights float64), contiguous. Returns (status, offsets, words, weights, factors): factors
    float64 by vocabulary row, NaN where not in use, or None for "wmd".
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef kx_documents_t source = documents(rows)
    offsets = np.empty(source.count + 1, dtype=np.int64)
    words = np.empty_like(rows[1])
    weights = np.empty_like(rows[2])
    factors = np.full(vectors.shape[0], np.nan) if metric == "wrd" else None
    cdef kx_document_metric_t kind = <kx_document_metric_t><int>METRICS[metric]
    cdef int64_t vocabulary = vectors.shape[0], dimension = vectors.shape[1]
    cdef ptrdiff_t row_stride = vectors.strides[0]
    cdef const void *data = data_of(vectors)
    cdef int64_t *to_offsets = <int64_t *>data_of(offsets)
    cdef int32_t *to_words = <int32_t *>data_of(words)
    cdef double *to_weights = <double *>data_of(weights)
    cdef double *to_factors = <double *>data_of(factors)
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>vectors) == cnp.NPY_FLOAT
    cdef kx_status_t status
    with nogil:
        if single:
            status = kx_documents_normalize_f32(&ctx, <const float *>data, &source, vocabulary, dimension, row_stride, kind,
                                                to_offsets, to_words, to_weights, to_factors)
        else:
            status = kx_documents_normalize_f64(&ctx, <const double *>data, &source, vocabulary, dimension, row_stride, kind,
                                                to_offsets, to_words, to_weights, to_factors)
    if status != KX_OK:
        return <int>status, None, None, None, None
    kept = offsets[source.count]
    return <int>status, offsets, words[:kept], weights[:kept], factors


def search(vectors, used, factors, offsets, words, weights, removed, tuple queries, query_vectors, str metric, double scale,
           int64_t k, limits, object workers, report=None):
    """The nearest documents of each query: kx_documents_search.

    queries: (offsets, words, weights) from `normalize`, over query_vectors or, where that is None, over vectors. `report` is
    called with (done, total) now and then. Returns (status, (offsets, indices, distances), counts): counts int64 (queries, 4):
    documents, ruled out by the relaxed bound, by the dual bound, solved.
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_search_options_t options = kx_search_options_t(
        <kx_document_metric_t><int>METRICS[metric], scale, k, <const double *>data_of(limits), NULL, NULL)
    cdef progress_t progress = progress_t(NULL, 0, 0)
    options.done = &progress.done
    options.total = &progress.total
    watch(&ctx, &progress, report)
    cdef kx_index_t index = kx_index_t(
        used.shape[0], <const int32_t *>data_of(used), <const double *>data_of(factors), offsets.shape[0] - 1,
        <const int64_t *>data_of(offsets), <const int32_t *>data_of(words), <const double *>data_of(weights),
        <const uint8_t *>data_of(removed))
    cdef kx_documents_t q = documents(queries)
    cdef int64_t vocabulary = vectors.shape[0], dimension = vectors.shape[1]
    cdef int64_t query_vocabulary = 0 if query_vectors is None else query_vectors.shape[0]
    cdef ptrdiff_t row_stride = vectors.strides[0], query_row_stride = 0 if query_vectors is None else query_vectors.strides[0]
    cdef const void *data = data_of(vectors)
    cdef const void *query_data = data_of(query_vectors)
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>vectors) == cnp.NPY_FLOAT
    cdef kx_search_results_t results
    cdef kx_status_t status
    with nogil:
        if single:
            status = kx_documents_search_f32(&ctx, &index, <const float *>data, vocabulary, dimension, row_stride, &q,
                                             <const float *>query_data, query_vocabulary, query_row_stride, &options, &results)
        else:
            status = kx_documents_search_f64(&ctx, &index, <const double *>data, vocabulary, dimension, row_stride, &q,
                                             <const double *>query_data, query_vocabulary, query_row_stride, &options, &results)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    if status < KX_OK:
        return <int>status, None, None
    cdef int64_t total = results.offsets[q.count]
    try:
        ends = np.empty(q.count + 1, dtype=np.int64)
        indices = np.empty(total, dtype=np.int64)
        distances = np.empty(total, dtype=np.float64)
        counts = np.empty((q.count, 4), dtype=np.int64)
        memcpy(data_of(ends), results.offsets, ends.nbytes)
        memcpy(data_of(indices), results.indices, indices.nbytes)
        memcpy(data_of(distances), results.distances, distances.nbytes)
        memcpy(data_of(counts), results.counts, counts.nbytes)
    finally:
        kx_search_results_release(&ctx, &results)
    if report is not None:
        report(progress.total, progress.total)
    return <int>status, (ends, indices, distances.astype(vectors.dtype, copy=False)), counts


# ---- kexue.capi: without the interpreter, on one thread ----


cdef int _distance(kx_document_metric_t metric, size_t size, const void *x, const void *y, const double *x_weights,
                   const double *y_weights, int64_t m, int64_t n, int64_t dimension, void *distance) noexcept nogil:
    if m < 0 or n < 0 or dimension < 1 or m > INT32_MAX - n:
        return KX_E_ARGUMENT
    cdef int64_t words = m + n, i
    if <uint64_t>dimension > <uint64_t>INT64_MAX // size // <uint64_t>max(words, 1):
        return KX_E_OVERFLOW
    cdef ptrdiff_t row = dimension * <ptrdiff_t>size
    # One vocabulary: the words of x, then those of y.
    cdef char *vectors = <char *>malloc(max(words, 1) * row)
    cdef double *weights = <double *>malloc(max(words, 1) * sizeof(double))
    cdef int32_t *places = <int32_t *>malloc(max(words, 1) * sizeof(int32_t))
    cdef int outcome = KX_E_MEMORY
    cdef int64_t[4] offsets
    cdef kx_documents_t X, Y
    cdef kx_pairwise_options_t options
    if vectors != NULL and weights != NULL and places != NULL:
        if m > 0:
            memcpy(vectors, x, m * row)
        if n > 0:
            memcpy(vectors + m * row, y, n * row)
        for i in range(words):
            places[i] = <int32_t>i
            weights[i] = 1
        if x_weights != NULL and m > 0:
            memcpy(weights, x_weights, m * sizeof(double))
        if y_weights != NULL and n > 0:
            memcpy(weights + m, y_weights, n * sizeof(double))
        offsets[0], offsets[1], offsets[2], offsets[3] = 0, m, 0, n
        X.count, X.offsets, X.words, X.weights = 1, offsets, places, weights
        Y.count, Y.offsets, Y.words, Y.weights = 1, offsets + 2, places + m, weights + m
        kx_pairwise_options_init(&options)
        options.metric = metric
        if size == sizeof(float):
            outcome = kx_documents_pairwise_f32(NULL, <float *>vectors, &X, &Y, words, dimension, row, &options, <float *>distance)
        else:
            outcome = kx_documents_pairwise_f64(NULL, <double *>vectors, &X, &Y, words, dimension, row, &options,
                                                <double *>distance)
    free(vectors)
    free(weights)
    free(places)
    return outcome


cdef int wmd_f32(const float *x, const float *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n,
                 int64_t dimension, float *distance) noexcept nogil:
    return _distance(KX_WMD, sizeof(float), x, y, x_weights, y_weights, m, n, dimension, distance)


cdef int wmd_f64(const double *x, const double *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n,
                 int64_t dimension, double *distance) noexcept nogil:
    return _distance(KX_WMD, sizeof(double), x, y, x_weights, y_weights, m, n, dimension, distance)


cdef int wrd_f32(const float *x, const float *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n,
                 int64_t dimension, float *distance) noexcept nogil:
    return _distance(KX_WRD, sizeof(float), x, y, x_weights, y_weights, m, n, dimension, distance)


cdef int wrd_f64(const double *x, const double *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n,
                 int64_t dimension, double *distance) noexcept nogil:
    return _distance(KX_WRD, sizeof(double), x, y, x_weights, y_weights, m, n, dimension, distance)
