"""Distances between documents: the calls into the C core. Checking of arguments is kexue.documents' work."""
cimport numpy as cnp
from cpython.object cimport PyObject
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    KX_E_CANCELLED,
    KX_OK,
    kx_ctx_t,
    kx_document_metric_t,
    kx_documents_pairwise_f32,
    kx_documents_pairwise_f64,
    kx_documents_t,
    kx_pairwise_options_t,
    kx_status_t,
)

import numpy as np

cnp.import_array()

METRICS = {"wmd": 0, "wrd": 1, "rwmd": 2, "rwrd": 3}


cdef extern from "Python.h":
    # Declared without `except`: the exception stays pending while the core unwinds.
    int PyErr_CheckSignals() noexcept
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
        if PyErr_CheckSignals() != 0:
            return 1
        answer = PyObject_CallFunction(progress.report, "LL", <long long>progress.done, <long long>progress.total)
        if answer == NULL:
            return 1
        Py_DECREF(answer)
    return 0


cdef kx_documents_t documents(tuple rows) except *:
    offsets, words, weights = rows
    return kx_documents_t(
        offsets.shape[0] - 1, <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>offsets),
        <const int *>cnp.PyArray_DATA(<cnp.ndarray>words), <const double *>cnp.PyArray_DATA(<cnp.ndarray>weights))


def pairwise(vectors, tuple X, tuple Y, str metric, double scale, double empty_value, object workers, report=None):
    """Distances of all pairs. X, Y: (offsets int64, words int32, weights float64), contiguous; Y may be None.

    `report` is called with (done, total) now and then. Returns (status, distances).
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_pairwise_options_t options = kx_pairwise_options_t(
        <kx_document_metric_t><int>METRICS[metric], scale, empty_value, NULL, NULL)
    cdef progress_t progress
    if report is not None:
        progress = progress_t(<PyObject *>report, 0, 0)
        options.done = &progress.done
        options.total = &progress.total
        ctx.cancel = report_progress
        ctx.cancel_state = &progress
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
    if report is not None and status == KX_OK:
        report(progress.total, progress.total)
    return <int>status, out
