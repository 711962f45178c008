"""Exact transport: the calls into the C core. Checking and shaping of arguments is kexue.transport's work."""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from kexue._context cimport data, fill_context, raise_for_status
from kexue.core cimport (
    KX_E_CANCELLED,
    KX_OK,
    kx_ctx_t,
    kx_emd_options_init,
    kx_emd_options_t,
    kx_emd_outputs_t,
    kx_emd_result_t,
    kx_sinkhorn_options_init,
    kx_sinkhorn_options_t,
    kx_sinkhorn_outputs_t,
    kx_sinkhorn_points_t,
    kx_sinkhorn_problems_t,
    kx_status_t,
    kx_transport_barycenter,
    kx_transport_emd_1d,
    kx_transport_emd_f32,
    kx_transport_emd_f64,
    kx_transport_lower_bound,
    kx_transport_sinkhorn_f32,
    kx_transport_sinkhorn_f64,
    kx_transport_sinkhorn_points,
)

import numpy as np

cnp.import_array()

_RESULT = np.dtype([("cost", "f8"), ("gap", "f8"), ("iterations", "i8"), ("status", "i4")], align=True)
if _RESULT.itemsize != sizeof(kx_emd_result_t):
    raise ImportError("kx_emd_result_t has an unexpected layout")


cdef inline bint plain(object array, int ndim) noexcept:
    """An ndarray proper of native, aligned, C-contiguous float64."""
    if not cnp.PyArray_CheckExact(array):
        return False
    cdef cnp.ndarray checked = <cnp.ndarray>array
    return (cnp.PyArray_NDIM(checked) == ndim and cnp.PyArray_TYPE(checked) == cnp.NPY_DOUBLE
            and cnp.PyArray_ISCARRAY_RO(checked) and cnp.PyArray_ISNOTSWAPPED(checked))


def emd2_plain(object a, object b, object M):
    """The cost of one problem of plain float64 arrays; None for anything else, bad weights and costs included.

    The way round the general path, which takes longer than the solution of a small problem.
    """
    if not (plain(M, 2) and plain(a, 1) and plain(b, 1)):
        return None
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(<cnp.ndarray>M)
    cdef int64_t m = shape[0], n = shape[1]
    if cnp.PyArray_DIM(<cnp.ndarray>a, 0) != m or cnp.PyArray_DIM(<cnp.ndarray>b, 0) != n:
        return None
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef kx_emd_options_t options
    kx_emd_options_init(&options)
    cdef double cost = 0
    cdef kx_emd_outputs_t outputs = kx_emd_outputs_t(&cost, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
    cdef const double *a_data = <const double *>data(a)
    cdef const double *b_data = <const double *>data(b)
    cdef const double *M_data = <const double *>data(M)
    cdef kx_status_t status
    with nogil:
        status = kx_transport_emd_f64(&ctx, a_data, b_data, M_data, 1, NULL, NULL, NULL, m, n,
                                      n * <ptrdiff_t>sizeof(double), &options, &outputs, NULL)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    return cost if status == KX_OK else None


cdef int fill_outputs(kx_emd_outputs_t *outputs, dict arrays) except -1:
    outputs.costs = <double *>data(arrays.get("costs"))
    outputs.plans = <double *>data(arrays.get("plans"))
    outputs.u = <double *>data(arrays.get("u"))
    outputs.v = <double *>data(arrays.get("v"))
    outputs.rows = <int64_t *>data(arrays.get("rows"))
    outputs.columns = <int64_t *>data(arrays.get("columns"))
    outputs.masses = <double *>data(arrays.get("masses"))
    outputs.entry_counts = <int64_t *>data(arrays.get("entry_counts"))
    outputs.results = <kx_emd_result_t *>data(arrays.get("results"))
    outputs.statuses = <int32_t *>data(arrays.get("statuses"))
    return 0


def allocate_outputs(int64_t count, int64_t m, int64_t n, *, bint plans=False, bint potentials=False, bint entries=False,
                     bint results=False):
    """The output arrays that are wanted, by the names of kx_emd_outputs_t."""
    arrays = {"costs": np.empty(count), "statuses": np.zeros(count, dtype=np.intc)}
    if plans:
        arrays["plans"] = np.empty((count, m, n))
    if potentials:
        arrays["u"], arrays["v"] = np.empty((count, m)), np.empty((count, n))
    if entries:
        arrays["rows"], arrays["columns"] = np.empty((2, count, m + n - 1), dtype=np.int64)
        arrays["masses"], arrays["entry_counts"] = np.empty((count, m + n - 1)), np.empty(count, dtype=np.int64)
    if results:
        arrays["results"] = np.empty(count, dtype=_RESULT)
    return arrays


def emd(a, b, M, int64_t count, a_offsets, b_offsets, M_offsets, ptrdiff_t row_stride, double totals_tolerance,
        int64_t max_iter, dict outputs, object workers):
    """Solve `count` problems; a, b: float64 or None; M: float32 or float64. Returns (status, failed problem)."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_emd_options_t options = kx_emd_options_t(totals_tolerance, max_iter)
    cdef kx_emd_outputs_t pointers
    fill_outputs(&pointers, outputs)
    cdef int64_t m = M.shape[M.ndim - 2], n = M.shape[M.ndim - 1], failed = -1
    cdef const double *a_data = <const double *>data(a)
    cdef const double *b_data = <const double *>data(b)
    cdef const int64_t *a_at = <const int64_t *>data(a_offsets)
    cdef const int64_t *b_at = <const int64_t *>data(b_offsets)
    cdef const int64_t *M_at = <const int64_t *>data(M_offsets)
    cdef const void *M_data = data(M)
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>M) == cnp.NPY_FLOAT
    cdef kx_status_t status
    with nogil:
        if single:
            status = kx_transport_emd_f32(&ctx, a_data, b_data, <const float *>M_data, count, a_at, b_at, M_at, m, n, row_stride,
                                          &options, &pointers, &failed)
        else:
            status = kx_transport_emd_f64(&ctx, a_data, b_data, <const double *>M_data, count, a_at, b_at, M_at, m, n,
                                          row_stride, &options, &pointers, &failed)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    return <int>status, failed


def emd_1d(x, y, a, b, x_order, y_order, a_offsets, b_offsets, double power, double totals_tolerance, dict outputs,
           object workers):
    """Solve x.shape[0] problems on the line; x, y and their orders are 2-D and contiguous. Returns the status."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_emd_options_t options = kx_emd_options_t(totals_tolerance, 0)
    cdef kx_emd_outputs_t pointers
    fill_outputs(&pointers, outputs)
    cdef int64_t count = x.shape[0], m = x.shape[1], n = y.shape[1]
    cdef const double *x_data = <const double *>data(x)
    cdef const double *y_data = <const double *>data(y)
    cdef const double *a_data = <const double *>data(a)
    cdef const double *b_data = <const double *>data(b)
    cdef const int64_t *x_at = <const int64_t *>data(x_order)
    cdef const int64_t *y_at = <const int64_t *>data(y_order)
    cdef const int64_t *a_at = <const int64_t *>data(a_offsets)
    cdef const int64_t *b_at = <const int64_t *>data(b_offsets)
    cdef kx_status_t status
    with nogil:
        status = kx_transport_emd_1d(&ctx, x_data, y_data, a_data, b_data, count, x_at, y_at, a_at, b_at, m, n, power, &options,
                                     &pointers, NULL)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    return <int>status


def lower_bound(a, b, M, int64_t count, a_offsets, b_offsets, M_offsets, ptrdiff_t row_stride, int64_t sweeps, double reg_share,
                double totals_tolerance, object workers):
    """Lower bounds of `count` problems; arguments as in `emd`, M float64. Returns (status, failed problem, bounds, u, v)."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t m = M.shape[M.ndim - 2], n = M.shape[M.ndim - 1], failed = -1
    bounds, u, v = np.empty(count), np.empty((count, m)), np.empty((count, n))
    cdef const double *a_data = <const double *>data(a)
    cdef const double *b_data = <const double *>data(b)
    cdef const double *M_data = <const double *>data(M)
    cdef const int64_t *a_at = <const int64_t *>data(a_offsets)
    cdef const int64_t *b_at = <const int64_t *>data(b_offsets)
    cdef const int64_t *M_at = <const int64_t *>data(M_offsets)
    cdef double *to_bounds = <double *>data(bounds)
    cdef double *to_u = <double *>data(u)
    cdef double *to_v = <double *>data(v)
    cdef kx_status_t status
    with nogil:
        status = kx_transport_lower_bound(&ctx, a_data, b_data, M_data, count, a_at, b_at, M_at, m, n, row_stride, sweeps,
                                          reg_share, totals_tolerance, to_bounds, to_u, to_v, &failed)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    return <int>status, failed, bounds, u, v


# In the order of kx_sinkhorn_method_t and kx_sinkhorn_acceleration_t.
SINKHORN_METHODS = ("auto", "kernel", "stabilized", "log")
SINKHORN_ACCELERATIONS = ("auto", "none", "anderson", "overrelaxation", "newton")


cdef int fill_options(kx_sinkhorn_options_t *options, dict settings) except -1:
    kx_sinkhorn_options_init(options)
    options.tolerance = settings["tolerance"]
    options.totals_tolerance = settings["totals_tolerance"]
    options.max_iter = settings["max_iter"]
    options.method = settings["method"]
    options.acceleration = settings["acceleration"]
    options.epsilon_scaling = settings["epsilon_scaling"]
    options.round_plans = settings["round_plans"]
    return 0


def sinkhorn(dict problems, dict settings, dict outputs, object workers):
    """Solve the problems; the dicts have the names of the C structures. Returns (status, failed problem)."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_sinkhorn_options_t options
    fill_options(&options, settings)
    cdef kx_sinkhorn_problems_t given
    given.count, given.m, given.n = problems["count"], problems["m"], problems["n"]
    given.row_counts = <const int64_t *>data(problems.get("row_counts"))
    given.column_counts = <const int64_t *>data(problems.get("column_counts"))
    given.a = <const double *>data(problems["a"])
    given.b = <const double *>data(problems["b"])
    given.M = data(problems["M"])
    given.reg = <const double *>data(problems["reg"])
    given.u = <const double *>data(problems.get("u"))
    given.v = <const double *>data(problems.get("v"))
    given.a_offsets = <const int64_t *>data(problems.get("a_offsets"))
    given.b_offsets = <const int64_t *>data(problems.get("b_offsets"))
    given.M_offsets = <const int64_t *>data(problems.get("M_offsets"))
    given.reg_offsets = <const int64_t *>data(problems.get("reg_offsets"))
    given.u_offsets = <const int64_t *>data(problems.get("u_offsets"))
    given.v_offsets = <const int64_t *>data(problems.get("v_offsets"))
    given.row_stride = problems["row_stride"]
    given.row_strides = <const int64_t *>data(problems.get("row_strides"))
    given.row_indices = <const int64_t *>data(problems.get("row_indices"))
    given.column_indices = <const int64_t *>data(problems.get("column_indices"))
    cdef kx_sinkhorn_outputs_t wanted
    wanted.costs = <double *>data(outputs.get("costs"))
    wanted.values = <double *>data(outputs.get("values"))
    wanted.gaps = <double *>data(outputs.get("gaps"))
    wanted.errors = <double *>data(outputs.get("errors"))
    wanted.u = <double *>data(outputs.get("u"))
    wanted.v = <double *>data(outputs.get("v"))
    wanted.plans = data(outputs.get("plans"))
    wanted.u_offsets = <const int64_t *>data(outputs.get("u_offsets"))
    wanted.v_offsets = <const int64_t *>data(outputs.get("v_offsets"))
    wanted.plan_offsets = <const int64_t *>data(outputs.get("plan_offsets"))
    wanted.iterations = <int64_t *>data(outputs.get("iterations"))
    wanted.statuses = <int32_t *>data(outputs.get("statuses"))
    cdef bint single = cnp.PyArray_TYPE(<cnp.ndarray>problems["M"]) == cnp.NPY_FLOAT
    cdef int64_t failed = -1
    cdef kx_status_t status
    with nogil:
        if single:
            status = kx_transport_sinkhorn_f32(&ctx, &given, &options, &wanted, &failed)
        else:
            status = kx_transport_sinkhorn_f64(&ctx, &given, &options, &wanted, &failed)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    return <int>status, failed


# In the order of kx_cost_t.
POINT_METRICS = ("sqeuclidean", "euclidean", "cosine")


def sinkhorn_points(x, y, a, b, double reg, int metric, dict settings, object workers):
    """The regularised value between points, float64 and contiguous; y None: between x and itself. Returns (status, value, error,
    passes)."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_sinkhorn_options_t options
    fill_options(&options, settings)
    cdef double value = 0, error = 0
    cdef int64_t iterations = 0
    cdef kx_sinkhorn_outputs_t wanted = kx_sinkhorn_outputs_t(NULL, &value, NULL, &error, NULL, NULL, NULL, NULL, NULL, NULL, &iterations,
                                                              NULL)
    cdef int64_t n = (x if y is None else y).shape[0]
    cdef kx_sinkhorn_points_t points = kx_sinkhorn_points_t(x.shape[0], n, x.shape[1], <const double *>data(x), <const double *>data(y),
                                                            <const double *>data(a), <const double *>data(b), reg, metric)
    cdef kx_status_t status
    with nogil:
        status = kx_transport_sinkhorn_points(&ctx, &points, &options, &wanted)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    return <int>status, value, error, iterations


def barycenter(histograms, M, shares, double reg, dict settings, object workers):
    """The barycenter of the rows of `histograms`; all float64 and contiguous. Returns (status, barycenter, error, passes)."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_sinkhorn_options_t options
    fill_options(&options, settings)
    result = np.empty(M.shape[1])
    cdef double error = 0
    cdef int64_t iterations = 0, count = histograms.shape[0], m = M.shape[0], n = M.shape[1]
    cdef const double *from_histograms = <const double *>data(histograms)
    cdef const double *from_M = <const double *>data(M)
    cdef const double *from_shares = <const double *>data(shares)
    cdef double *to_result = <double *>data(result)
    cdef kx_status_t status
    with nogil:
        status = kx_transport_barycenter(&ctx, from_histograms, from_M, count, m, n, n * <ptrdiff_t>sizeof(double), from_shares, reg,
                                         &options, to_result, &error, &iterations)
    if status == KX_E_CANCELLED:
        raise_for_status(status)
    return <int>status, result, error, iterations


# ---- kexue.capi: without the interpreter, on one thread ----


cdef int _emd2(bint narrow, const double *a, const double *b, const void *M, int64_t m, int64_t n,
               double *cost) noexcept nogil:
    cdef kx_emd_options_t options
    cdef kx_emd_outputs_t outputs
    kx_emd_options_init(&options)
    memset(&outputs, 0, sizeof(outputs))
    outputs.costs = cost
    if narrow:
        return kx_transport_emd_f32(NULL, a, b, <const float *>M, 1, NULL, NULL, NULL, m, n,
                                    n * <ptrdiff_t>sizeof(float), &options, &outputs, NULL)
    return kx_transport_emd_f64(NULL, a, b, <const double *>M, 1, NULL, NULL, NULL, m, n,
                                n * <ptrdiff_t>sizeof(double), &options, &outputs, NULL)


cdef int emd2_f32(const double *a, const double *b, const float *M, int64_t m, int64_t n, double *cost) noexcept nogil:
    return _emd2(True, a, b, M, m, n, cost)


cdef int emd2_f64(const double *a, const double *b, const double *M, int64_t m, int64_t n, double *cost) noexcept nogil:
    return _emd2(False, a, b, M, m, n, cost)


cdef int _sinkhorn2(bint narrow, const double *a, const double *b, const void *M, int64_t m, int64_t n, double reg,
                    double *cost) noexcept nogil:
    cdef kx_sinkhorn_options_t options
    cdef kx_sinkhorn_problems_t problems
    cdef kx_sinkhorn_outputs_t outputs
    kx_sinkhorn_options_init(&options)
    memset(&problems, 0, sizeof(problems))
    memset(&outputs, 0, sizeof(outputs))
    problems.count, problems.m, problems.n = 1, m, n
    problems.a, problems.b, problems.M, problems.reg = a, b, M, &reg
    outputs.costs = cost
    if narrow:
        problems.row_stride = n * <ptrdiff_t>sizeof(float)
        return kx_transport_sinkhorn_f32(NULL, &problems, &options, &outputs, NULL)
    problems.row_stride = n * <ptrdiff_t>sizeof(double)
    return kx_transport_sinkhorn_f64(NULL, &problems, &options, &outputs, NULL)


cdef int sinkhorn2_f32(const double *a, const double *b, const float *M, int64_t m, int64_t n, double reg,
                       double *cost) noexcept nogil:
    return _sinkhorn2(True, a, b, M, m, n, reg, cost)


cdef int sinkhorn2_f64(const double *a, const double *b, const double *M, int64_t m, int64_t n, double reg,
                       double *cost) noexcept nogil:
    return _sinkhorn2(False, a, b, M, m, n, reg, cost)
