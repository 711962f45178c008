"""Recurrent networks: the calls into the C core. Checking and shaping of arguments is the work of kexue._recurrent.

All arrays are contiguous, aligned and of one type, float32 or float64.
"""
cimport numpy as cnp
from libc.stdint cimport int64_t

from kexue._context cimport data, fill_context, raise_for_status
from kexue.core cimport (
    KX_RECURRENT_GRU,
    KX_RECURRENT_GRU_AFTER,
    KX_RECURRENT_GRU_PROPOSAL,
    KX_RECURRENT_GRU_SINGLE,
    KX_RECURRENT_LSTM,
    KX_RECURRENT_RELU,
    KX_RECURRENT_TANH,
    kx_ctx_t,
    kx_recurrent_f32,
    kx_recurrent_f64,
    kx_recurrent_gradient_f32,
    kx_recurrent_gradient_f64,
    kx_recurrent_kind_t,
    kx_recurrent_matrix_t,
    kx_recurrent_product_f32,
    kx_recurrent_product_f64,
    kx_recurrent_t,
    kx_status_t,
)

cnp.import_array()

# kind: its number in the core, gates of U, gates that the gradient keeps, whether it has cells
KINDS = {
    "tanh": (KX_RECURRENT_TANH, 1, 0, False),
    "relu": (KX_RECURRENT_RELU, 1, 0, False),
    "lstm": (KX_RECURRENT_LSTM, 4, 4, True),
    "gru": (KX_RECURRENT_GRU, 3, 3, False),
    "gru_after": (KX_RECURRENT_GRU_AFTER, 3, 4, False),
    "gru_single_gate": (KX_RECURRENT_GRU_SINGLE, 2, 2, False),
    "gru_proposal": (KX_RECURRENT_GRU_PROPOSAL, 3, 3, True),
}


cdef void describe(kx_recurrent_t *network, int kind, int64_t sequences, int64_t steps, cnp.ndarray weights, start,
                   cell_start) noexcept:
    network.kind = <kx_recurrent_kind_t>kind
    network.sequences = sequences
    network.steps = steps
    network.size = cnp.PyArray_DIM(weights, 0)
    network.dimension = 0
    network.inputs = NULL
    network.input_weights = NULL
    network.weights = cnp.PyArray_DATA(weights)
    network.bias = NULL
    network.recurrent_bias = NULL
    network.start = data(start)
    network.cell_start = data(cell_start)


def run(int kind, cnp.ndarray inputs, cnp.ndarray input_weights, cnp.ndarray weights, bias, recurrent_bias, start, cell_start,
        cnp.ndarray states, cells, gates, workers):
    """States of all steps.

    Parameters
    ----------
    kind : int
        Of `KINDS`.
    inputs : ndarray, shape (sequences, steps, dimension)
    input_weights : ndarray, shape (dimension, gates of U * n)
    weights : ndarray, shape (n, gates of U * n)
    bias : ndarray, shape (gates of U * n,), or None
    recurrent_bias : ndarray, shape (n,), or None
    start, cell_start : ndarray, shape (sequences, n), or None
    states : ndarray, shape (sequences, steps, n)
        Written, as the next two.
    cells : ndarray like states, or None
    gates : ndarray, shape (sequences, steps, gates kept, n), or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_recurrent_t network
    describe(&network, kind, cnp.PyArray_DIM(states, 0), cnp.PyArray_DIM(states, 1), weights, start, cell_start)
    network.dimension = cnp.PyArray_DIM(inputs, 2)
    network.inputs = cnp.PyArray_DATA(inputs)
    network.input_weights = cnp.PyArray_DATA(input_weights)
    network.bias = data(bias)
    network.recurrent_bias = data(recurrent_bias)
    cdef void *h = cnp.PyArray_DATA(states)
    cdef void *c = data(cells)
    cdef void *g = data(gates)
    cdef bint narrow = cnp.PyArray_TYPE(states) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_recurrent_f32(&ctx, &network, <float *>h, <float *>c, <float *>g)
        else:
            outcome = kx_recurrent_f64(&ctx, &network, <double *>h, <double *>c, <double *>g)
    raise_for_status(outcome)


cdef inline bint is_plain(object value, int number, int ndim):
    """Whether it is an array that needs no conversion: of the type `number`, the dimensions, contiguous, aligned, native."""
    if type(value) is not cnp.ndarray:
        return False
    cdef cnp.ndarray array = <cnp.ndarray>value
    return (cnp.PyArray_TYPE(array) == number and cnp.PyArray_NDIM(array) == ndim
            and cnp.PyArray_ISCARRAY_RO(array))


cdef inline bint is_row(object value, int number, int64_t size):
    return value is None or is_plain(value, number, 1) and cnp.PyArray_DIM(<cnp.ndarray>value, 0) == size


cdef inline bint is_state(object value, int number, cnp.ndarray x, int64_t size):
    """Whether it is plain, a row of `size` numbers for each of x."""
    cdef int outer = cnp.PyArray_NDIM(x) - 1
    if not is_plain(value, number, outer + 1):
        return False
    for k in range(outer):
        if cnp.PyArray_DIM(<cnp.ndarray>value, k) != cnp.PyArray_DIM(x, k):
            return False
    return cnp.PyArray_DIM(<cnp.ndarray>value, outer) == size


def cell(str kind, x, W, U, b, recurrent_bias, h, c, workers):
    """One step, where all arrays are of one type, contiguous and of shapes that fit without broadcasting; else None.

    Checks and conversions in Python take longer than a step of a small network does.

    Returns
    -------
    h or (h, c) : ndarray
        The second if the kind has cells.
    """
    cdef int number = cnp.PyArray_TYPE(<cnp.ndarray>U) if type(U) is cnp.ndarray else -1
    if number != cnp.NPY_FLOAT and number != cnp.NPY_DOUBLE or type(x) is not cnp.ndarray:
        return None
    cdef int ndim = cnp.PyArray_NDIM(<cnp.ndarray>x)
    if ndim == 0 or not (is_plain(x, number, ndim) and is_plain(W, number, 2) and is_plain(U, number, 2)):
        return None
    cdef tuple about = KINDS[kind]
    cdef cnp.ndarray weights = <cnp.ndarray>U, input_weights = <cnp.ndarray>W, inputs = <cnp.ndarray>x
    cdef int64_t size = cnp.PyArray_DIM(weights, 0), columns = size * <int64_t>about[1]
    cdef int64_t dimension = cnp.PyArray_DIM(input_weights, 0)
    if (size == 0 or cnp.PyArray_DIM(weights, 1) != columns or cnp.PyArray_DIM(input_weights, 1) != columns
            or cnp.PyArray_DIM(inputs, ndim - 1) != dimension):
        return None
    if not (is_row(b, number, columns) and is_row(recurrent_bias, number, size) and is_state(h, number, inputs, size)
            and (c is None or is_state(c, number, inputs, size))):
        return None
    cdef cnp.ndarray states = cnp.PyArray_EMPTY(ndim, cnp.PyArray_DIMS(<cnp.ndarray>h), number, 0)
    cdef object cells = cnp.PyArray_EMPTY(ndim, cnp.PyArray_DIMS(<cnp.ndarray>h), number, 0) if about[3] else None
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_recurrent_t network
    describe(&network, about[0], cnp.PyArray_SIZE(states) // size, 1, weights, h, c)
    network.dimension = dimension
    network.inputs = cnp.PyArray_DATA(inputs)
    network.input_weights = cnp.PyArray_DATA(input_weights)
    network.bias = data(b)
    network.recurrent_bias = data(recurrent_bias)
    cdef void *to = cnp.PyArray_DATA(states)
    cdef void *cells_to = data(cells)
    cdef kx_status_t outcome
    with nogil:
        if number == cnp.NPY_FLOAT:
            outcome = kx_recurrent_f32(&ctx, &network, <float *>to, <float *>cells_to, NULL)
        else:
            outcome = kx_recurrent_f64(&ctx, &network, <double *>to, <double *>cells_to, NULL)
    raise_for_status(outcome)
    return states if cells is None else (states, cells)


def gradient(int kind, cnp.ndarray weights, start, cell_start, cnp.ndarray states, cells, gates, cnp.ndarray state_gradients,
             cell_gradients, cnp.ndarray by_gates, cnp.ndarray by_start, by_cell_start, workers):
    """Gradients by the gates' pre-activations of all steps, and by the start.

    Parameters
    ----------
    kind, weights, start, cell_start, states, cells, gates, workers
        As in `run`, and what it gave.
    state_gradients : ndarray like states
    cell_gradients : ndarray like states, or None
    by_gates : ndarray, shape (sequences, steps, gates kept, or 1 where none is, n)
        Written, as the next two.
    by_start : ndarray, shape (sequences, n)
    by_cell_start : ndarray like by_start, or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_recurrent_t network
    describe(&network, kind, cnp.PyArray_DIM(states, 0), cnp.PyArray_DIM(states, 1), weights, start, cell_start)
    cdef void *h = cnp.PyArray_DATA(states)
    cdef void *c = data(cells)
    cdef void *g = data(gates)
    cdef void *dh = cnp.PyArray_DATA(state_gradients)
    cdef void *dc = data(cell_gradients)
    cdef void *dx = cnp.PyArray_DATA(by_gates)
    cdef void *dh0 = cnp.PyArray_DATA(by_start)
    cdef void *dc0 = data(by_cell_start)
    cdef bint narrow = cnp.PyArray_TYPE(states) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_recurrent_gradient_f32(&ctx, &network, <float *>g, <float *>h, <float *>c, <float *>dh, <float *>dc,
                                                <float *>dx, <float *>dh0, <float *>dc0)
        else:
            outcome = kx_recurrent_gradient_f64(&ctx, &network, <double *>g, <double *>h, <double *>c, <double *>dh,
                                                <double *>dc, <double *>dx, <double *>dh0, <double *>dc0)
    raise_for_status(outcome)


cdef inline kx_recurrent_matrix_t matrix(cnp.ndarray array) noexcept:
    return kx_recurrent_matrix_t(
        cnp.PyArray_DATA(array), cnp.PyArray_STRIDE(array, 0), cnp.PyArray_STRIDE(array, 1))


def product(cnp.ndarray left, cnp.ndarray right, cnp.ndarray out, workers):
    """left @ right, in the same bits for any number of workers.

    Parameters
    ----------
    left : ndarray, shape (m, k)
        Of any strides that are multiples of the item size, as `right`.
    right : ndarray, shape (k, n)
    out : ndarray, shape (m, n)
        Written; columns are neighbours.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_recurrent_matrix_t a = matrix(left), b = matrix(right)
    cdef int64_t rows = cnp.PyArray_DIM(out, 0), depth = cnp.PyArray_DIM(left, 1), columns = cnp.PyArray_DIM(out, 1)
    cdef void *to = cnp.PyArray_DATA(out)
    cdef ptrdiff_t row = cnp.PyArray_STRIDE(out, 0)
    cdef bint narrow = cnp.PyArray_TYPE(out) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_recurrent_product_f32(&ctx, rows, depth, columns, &a, &b, <float *>to, row)
        else:
            outcome = kx_recurrent_product_f64(&ctx, rows, depth, columns, &a, &b, <double *>to, row)
    raise_for_status(outcome)
