"""Attention: the calls into the C core. Checking and shaping of arguments is the work of
kexue._exact_attention and kexue._talking_heads.

Batches are given by byte offsets of their items: an array is the first item's, of two dimensions, its rows contiguous.
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from kexue._context cimport data, fill_context, raise_for_status
from kexue.core cimport (
    KX_ATTENTION_ADDITIVE,
    KX_ATTENTION_BOOLEAN,
    KX_ATTENTION_UNMASKED,
    kx_attention_f32,
    kx_attention_f64,
    kx_attention_gradient_f32,
    kx_attention_gradient_f64,
    kx_attention_rows_t,
    kx_attention_t,
    kx_ctx_t,
    kx_status_t,
    kx_talking_heads_f32,
    kx_talking_heads_f64,
    kx_talking_heads_gradient_f32,
    kx_talking_heads_gradient_f64,
    kx_talking_heads_t,
)

cnp.import_array()


cdef void set_rows(kx_attention_rows_t *rows, cnp.ndarray array, cnp.ndarray offsets) noexcept:
    rows.data = cnp.PyArray_DATA(array)
    rows.offsets = <const int64_t *>cnp.PyArray_DATA(offsets)
    rows.row = cnp.PyArray_STRIDE(array, 0)


cdef void describe(kx_attention_t *a, queries, keys, values, mask, bint is_causal, cnp.ndarray scales):
    set_rows(&a.queries, queries[0], queries[1])
    set_rows(&a.keys, keys[0], keys[1])
    set_rows(&a.values, values[0], values[1])
    a.items = cnp.PyArray_DIM(scales, 0)
    a.query_count = cnp.PyArray_DIM(<cnp.ndarray>queries[0], 0)
    a.key_count = cnp.PyArray_DIM(<cnp.ndarray>keys[0], 0)
    a.dimension = cnp.PyArray_DIM(<cnp.ndarray>queries[0], 1)
    a.value_dimension = cnp.PyArray_DIM(<cnp.ndarray>values[0], 1)
    a.mask_kind = KX_ATTENTION_UNMASKED
    a.mask_step = 0
    if mask is not None:
        set_rows(&a.mask, mask[0], mask[1])
        a.mask_step = cnp.PyArray_STRIDE(<cnp.ndarray>mask[0], 1)
        a.mask_kind = KX_ATTENTION_BOOLEAN if cnp.PyArray_TYPE(<cnp.ndarray>mask[0]) == cnp.NPY_BOOL else KX_ATTENTION_ADDITIVE
    a.is_causal = is_causal
    a.scales = <const double *>cnp.PyArray_DATA(scales)
    a.scale_item = cnp.PyArray_STRIDE(scales, 0) // <int64_t>sizeof(double)
    a.scale_row = cnp.PyArray_STRIDE(scales, 1) // <int64_t>sizeof(double)


def attend(tuple queries, tuple keys, tuple values, mask, bint is_causal, cnp.ndarray scales, cnp.ndarray out, log_sums, entropies,
           workers):
    """Outputs of all items.

    Parameters
    ----------
    queries, keys, values : tuple of ndarray of float32 or float64, shape (rows, dimension), and of int64, shape (items,)
        The first item, its rows contiguous and aligned, and the bytes from it to each item.
    mask : tuple of ndarray, shape (queries, keys), of bool or of the queries' dtype, and of int64, shape (items,), or None
        Of any strides.
    is_causal : bool
    scales : ndarray of float64, shape (items, queries)
        Of any strides that are multiples of its items' size.
    out : ndarray like queries, shape (items, queries, value dimension)
        C-contiguous.
    log_sums : ndarray of float64, shape (items, queries, 2), or None
    entropies : ndarray of float64, shape (items, queries), or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_attention_t a
    describe(&a, queries, keys, values, mask, is_causal, scales)
    cdef void *result = cnp.PyArray_DATA(out)
    cdef double *sums = <double *>data(log_sums)
    cdef double *entropy = <double *>data(entropies)
    cdef bint narrow = cnp.PyArray_TYPE(out) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_attention_f32(&ctx, &a, <float *>result, sums, entropy)
        else:
            outcome = kx_attention_f64(&ctx, &a, <double *>result, sums, entropy)
    raise_for_status(outcome)


def gradient(tuple queries, tuple keys, tuple values, mask, bint is_causal, cnp.ndarray scales, cnp.ndarray out, cnp.ndarray log_sums,
             tuple out_gradients, cnp.ndarray by_queries, cnp.ndarray by_keys, cnp.ndarray by_values, by_scales, workers):
    """Gradients of all items.

    Parameters
    ----------
    queries, keys, values, mask, is_causal, scales, out, log_sums, workers
        As in `attend`, and what it gave.
    out_gradients : tuple
        As `values`.
    by_queries, by_keys, by_values : ndarray like queries, shapes (items, rows, dimension)
        C-contiguous.
    by_scales : ndarray of float64, shape (items, queries), or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_attention_t a
    cdef kx_attention_rows_t upstream
    describe(&a, queries, keys, values, mask, is_causal, scales)
    set_rows(&upstream, out_gradients[0], out_gradients[1])
    cdef const void *o = cnp.PyArray_DATA(out)
    cdef const double *sums = <const double *>cnp.PyArray_DATA(log_sums)
    cdef void *q = cnp.PyArray_DATA(by_queries)
    cdef void *k = cnp.PyArray_DATA(by_keys)
    cdef void *v = cnp.PyArray_DATA(by_values)
    cdef double *s = <double *>data(by_scales)
    cdef bint narrow = cnp.PyArray_TYPE(out) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_attention_gradient_f32(&ctx, &a, <const float *>o, sums, &upstream, <float *>q, <float *>k, <float *>v, s)
        else:
            outcome = kx_attention_gradient_f64(&ctx, &a, <const double *>o, sums, &upstream, <double *>q, <double *>k, <double *>v, s)
    raise_for_status(outcome)


cdef void describe_talking(kx_talking_heads_t *t, queries, keys, values, mask, bint is_causal, cnp.ndarray scales, cnp.ndarray logit_mix,
                           weight_mix, Py_ssize_t value_heads):
    describe(&t.heads, queries, keys, values, mask, is_causal, scales)
    t.key_heads = cnp.PyArray_DIM(logit_mix, 1)
    t.softmax_heads = cnp.PyArray_DIM(logit_mix, 0)
    t.value_heads = value_heads
    t.logit_mix = <const double *>cnp.PyArray_DATA(logit_mix)
    t.weight_mix = <const double *>data(weight_mix)


def talk(tuple queries, tuple keys, tuple values, mask, bint is_causal, cnp.ndarray scales, cnp.ndarray logit_mix, weight_mix,
         cnp.ndarray out, workers):
    """Outputs of talking heads.

    Parameters
    ----------
    queries, keys, values, mask, is_causal, scales, workers
        As in `attend`, with the key heads of all items, their value heads, and for mask and scales their softmax heads.
    logit_mix : ndarray of float64, shape (softmax heads, key heads)
        C-contiguous.
    weight_mix : ndarray of float64, shape (value heads, softmax heads), or None
        C-contiguous.
    out : ndarray like queries, shape (items, value heads, queries, value dimension)
        C-contiguous.
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_talking_heads_t t
    describe_talking(&t, queries, keys, values, mask, is_causal, scales, logit_mix, weight_mix, cnp.PyArray_DIM(out, 1))
    cdef void *result = cnp.PyArray_DATA(out)
    cdef bint narrow = cnp.PyArray_TYPE(out) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_talking_heads_f32(&ctx, &t, <float *>result)
        else:
            outcome = kx_talking_heads_f64(&ctx, &t, <double *>result)
    raise_for_status(outcome)


def talk_gradient(tuple queries, tuple keys, tuple values, mask, bint is_causal, cnp.ndarray scales, cnp.ndarray logit_mix, weight_mix,
                  tuple out_gradients, cnp.ndarray by_queries, cnp.ndarray by_keys, cnp.ndarray by_values, cnp.ndarray by_logit_mix,
                  by_weight_mix, workers):
    """Gradients of talking heads.

    Parameters
    ----------
    queries, keys, values, mask, is_causal, scales, logit_mix, weight_mix, workers
        As in `talk`.
    out_gradients : tuple
        As `values`.
    by_queries, by_keys, by_values : ndarray like queries, shapes (items, heads, rows, dimension)
        C-contiguous.
    by_logit_mix, by_weight_mix : ndarray of float64, shape (items, *shape of the mix), or None
        C-contiguous.
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_talking_heads_t t
    cdef kx_attention_rows_t upstream
    describe_talking(&t, queries, keys, values, mask, is_causal, scales, logit_mix, weight_mix, cnp.PyArray_DIM(by_values, 1))
    set_rows(&upstream, out_gradients[0], out_gradients[1])
    cdef void *q = cnp.PyArray_DATA(by_queries)
    cdef void *k = cnp.PyArray_DATA(by_keys)
    cdef void *v = cnp.PyArray_DATA(by_values)
    cdef double *logits = <double *>cnp.PyArray_DATA(by_logit_mix)
    cdef double *weights = <double *>data(by_weight_mix)
    cdef bint narrow = cnp.PyArray_TYPE(by_queries) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_talking_heads_gradient_f32(&ctx, &t, &upstream, <float *>q, <float *>k, <float *>v, logits, weights)
        else:
            outcome = kx_talking_heads_gradient_f64(&ctx, &t, &upstream, <double *>q, <double *>k, <double *>v, logits, weights)
    raise_for_status(outcome)
