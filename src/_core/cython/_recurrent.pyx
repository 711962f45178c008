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


cdef void describe(kx_recurrent_t *network, int kind, cnp.ndarray states, cnp.ndarray weights, start, cell_start) noexcept:
    network.kind = <kx_recurrent_kind_t>kind
    network.sequences = cnp.PyArray_DIM(states, 0)
    network.steps = cnp.PyArray_DIM(states, 1)
    network.size = cnp.PyArray_DIM(states, 2)
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
    describe(&network, kind, states, weights, start, cell_start)
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
    describe(&network, kind, states, weights, start, cell_start)
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
