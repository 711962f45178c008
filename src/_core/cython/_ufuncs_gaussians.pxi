# Gaussians: generalised ufuncs of means and of scales, which are matrices, or vectors in the diagonal form. A loop's
# steps are the operands' from item to item, then those of their core dimensions, operand by operand.

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t

from kexue.core cimport (
    KX_E_MEMORY,
    KX_E_OVERFLOW,
    KX_GAUSSIAN_CHOLESKY,
    KX_GAUSSIAN_COVARIANCE,
    KX_GAUSSIAN_DIAGONAL,
    KX_OK,
    kx_batch_out_t,
    kx_batch_t,
    kx_ctx_t,
    kx_gaussian_bhattacharyya_f32,
    kx_gaussian_bhattacharyya_f64,
    kx_gaussian_bhattacharyya_gradient_f32,
    kx_gaussian_bhattacharyya_gradient_f64,
    kx_gaussian_entropy_f32,
    kx_gaussian_entropy_f64,
    kx_gaussian_entropy_gradient_f32,
    kx_gaussian_entropy_gradient_f64,
    kx_gaussian_flaws_f32,
    kx_gaussian_flaws_f64,
    kx_gaussian_form_t,
    kx_gaussian_hellinger_f32,
    kx_gaussian_hellinger_f64,
    kx_gaussian_hellinger_gradient_f32,
    kx_gaussian_hellinger_gradient_f64,
    kx_gaussian_kl_f32,
    kx_gaussian_kl_f64,
    kx_gaussian_kl_gradient_f32,
    kx_gaussian_kl_gradient_f64,
    kx_gaussian_ot_map_f32,
    kx_gaussian_ot_map_f64,
    kx_gaussian_w2_f32,
    kx_gaussian_w2_f64,
    kx_gaussian_w2_gradient_f32,
    kx_gaussian_w2_gradient_f64,
)


cdef extern from "<fenv.h>" nogil:
    int FE_INVALID
    int feraiseexcept(int flags)

ctypedef enum gaussian_kind:
    NUMBER_OF_ONE
    GRADIENT_OF_ONE
    NUMBER_OF_TWO
    GRADIENT_OF_TWO
    W2_OF_TWO
    W2_SQUARED_OF_TWO
    MAP_OF_TWO

ctypedef struct gaussian_method:
    gaussian_kind kind
    void *kernel
    bint wide  # float64
    kx_gaussian_form_t form
    int operands
    int results
    int scales  # bit i says that the i-th of operands and results is a scale

ctypedef kx_status_t (*gaussian_number_f32)(
    const kx_ctx_t *, const kx_batch_t *, int64_t, int64_t, kx_gaussian_form_t, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*gaussian_number_f64)(
    const kx_ctx_t *, const kx_batch_t *, int64_t, int64_t, kx_gaussian_form_t, double *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*gaussian_pair_f32)(
    const kx_ctx_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, int64_t, int64_t,
    kx_gaussian_form_t, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*gaussian_pair_f64)(
    const kx_ctx_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, int64_t, int64_t,
    kx_gaussian_form_t, double *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*gaussian_w2_f32)(
    const kx_ctx_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, int64_t, int64_t,
    kx_gaussian_form_t, int, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*gaussian_w2_f64)(
    const kx_ctx_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, int64_t, int64_t,
    kx_gaussian_form_t, int, double *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*gaussian_map)(
    const kx_ctx_t *, const kx_batch_t *, const kx_batch_t *, int64_t, int64_t, kx_gaussian_form_t,
    const kx_batch_out_t *) noexcept nogil
ctypedef kx_status_t (*gaussian_gradient)(
    const kx_ctx_t *, const kx_batch_t *, int64_t, int64_t, kx_gaussian_form_t, const kx_batch_out_t *) noexcept nogil
ctypedef kx_status_t (*gaussian_pair_gradient)(
    const kx_ctx_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, int64_t, int64_t,
    kx_gaussian_form_t, const kx_batch_out_t *, const kx_batch_out_t *, const kx_batch_out_t *,
    const kx_batch_out_t *) noexcept nogil

cdef kx_status_t call_gaussian_kernel(const gaussian_method *m, const kx_batch_t *x, int64_t items,
                                      int64_t n) noexcept nogil:
    """The kernel on the operands x, followed by the results."""
    cdef const kx_batch_out_t *y = <const kx_batch_out_t *>(x + m.operands)
    if m.kind == NUMBER_OF_ONE:
        if m.wide:
            return (<gaussian_number_f64>m.kernel)(NULL, x, items, n, m.form, <double *>y.data, y.batch)
        return (<gaussian_number_f32>m.kernel)(NULL, x, items, n, m.form, <float *>y.data, y.batch)
    if m.kind == GRADIENT_OF_ONE:
        return (<gaussian_gradient>m.kernel)(NULL, x, items, n, m.form, y)
    if m.kind == NUMBER_OF_TWO:
        if m.wide:
            return (<gaussian_pair_f64>m.kernel)(
                NULL, x, x + 1, x + 2, x + 3, items, n, m.form, <double *>y.data, y.batch)
        return (<gaussian_pair_f32>m.kernel)(NULL, x, x + 1, x + 2, x + 3, items, n, m.form, <float *>y.data, y.batch)
    if m.kind == W2_OF_TWO or m.kind == W2_SQUARED_OF_TWO:
        if m.wide:
            return (<gaussian_w2_f64>m.kernel)(
                NULL, x, x + 1, x + 2, x + 3, items, n, m.form, m.kind == W2_SQUARED_OF_TWO, <double *>y.data, y.batch)
        return (<gaussian_w2_f32>m.kernel)(
            NULL, x, x + 1, x + 2, x + 3, items, n, m.form, m.kind == W2_SQUARED_OF_TWO, <float *>y.data, y.batch)
    if m.kind == MAP_OF_TWO:
        return (<gaussian_map>m.kernel)(NULL, x, x + 1, items, n, m.form, y)
    return (<gaussian_pair_gradient>m.kernel)(
        NULL, x, x + 1, x + 2, x + 3, items, n, m.form, y, y + 1, y + 2, y + 3)


cdef void put_nan(const gaussian_method *m, const kx_batch_t *result, int64_t item, int64_t rows,
                  int64_t columns) noexcept nogil:
    cdef char *place
    cdef int64_t i, j
    for i in range(rows):
        for j in range(columns):
            place = <char *>result.data + item * result.batch + i * result.row + j * result.column
            if m.wide:
                (<double *>place)[0] = NAN
            else:
                (<float *>place)[0] = NAN


# A batch is taken in parts, for Ctrl-C, and because a part stays in the second-level cache between the check of its
# matrices and the kernel: a check of the whole took 3.7 ms for 1000 pairs of 64 x 64 float64, that of parts takes 1.2.
cdef enum:
    PART_BYTES = 1 << 18
    PART_ITEMS = 1024  # at most
    PART_CUBES = 1 << 26  # items n^3: some ms of the distances, some 80 ms of the slowest gradient


cdef void gaussian_loop(char **args, const cnp.npy_intp *sizes, const cnp.npy_intp *steps, void *method) noexcept nogil:
    cdef const gaussian_method *m = <const gaussian_method *>method
    cdef int64_t items = sizes[0], n = sizes[1], count, first, bytes_of_item = 0, part = PART_ITEMS, item
    cdef int together = m.operands + m.results, i, core
    cdef kx_batch_t[8] x
    cdef uint8_t[PART_ITEMS] flaws
    cdef bint flawed
    cdef kx_status_t status
    cdef const cnp.npy_intp *cores = steps + together
    for i in range(together):
        x[i].data = args[i]
        x[i].batch = steps[i]
        x[i].row = x[i].column = 0
        if i < m.operands or m.kind == GRADIENT_OF_ONE or m.kind == GRADIENT_OF_TWO or m.kind == MAP_OF_TWO:
            x[i].row = cores[0]
            cores += 1
            if m.scales >> i & 1 and m.form != KX_GAUSSIAN_DIAGONAL:
                x[i].column = cores[0]
                cores += 1
                if i < m.operands and x[i].batch != 0:
                    bytes_of_item += n * n * (8 if m.wide else 4)
    if loops_failed and still_failed():
        return
    if m.form == KX_GAUSSIAN_DIAGONAL:
        status = call_gaussian_kernel(m, x, items, n)
        if status != KX_OK:
            raise_in_loop(status)
        return
    if bytes_of_item * PART_ITEMS > PART_BYTES:
        part = max(16, PART_BYTES // bytes_of_item // 16 * 16)
    if <double>n * n * n * part > PART_CUBES:
        part = max(16, <int64_t>(PART_CUBES / (<double>n * n * n)) // 16 * 16)
    first = 0
    while first < items and not should_stop():
        count = min(part, items - first)
        # Before the kernel: NumPy lets results stand in their operands' place.
        memset(flaws, 0, count)
        for i in range(m.operands):
            if m.scales >> i & 1:
                if m.wide:
                    kx_gaussian_flaws_f64(x + i, count, n, m.form, 1e-8, flaws)
                else:
                    kx_gaussian_flaws_f32(x + i, count, n, m.form, 1e-4, flaws)
        status = call_gaussian_kernel(m, x, count, n)
        if status != KX_OK:
            raise_in_loop(status)
            return
        flawed = False
        for item in range(count):
            if flaws[item]:
                flawed = True
                for i in range(m.operands, together):
                    put_nan(m, x + i, item, n if x[i].row != 0 else 1, n if x[i].column != 0 else 1)
        if flawed:
            feraiseexcept(FE_INVALID)
        for i in range(together):
            x[i].data = <const char *>x[i].data + count * x[i].batch
        first += count


cdef loop_function[2] gaussian_loops = [gaussian_loop, gaussian_loop]

cdef dict gaussian_scales = {
    "covariance": """Scales are covariance matrices. An item with one that is not finite, not symmetric (to 1e-8 of its
largest variance, float32: 1e-4) or not positive definite is NaN, and the invalid flag is raised.""",
    "cholesky": """Scales are lower triangular Cholesky factors of covariance matrices. An item with one that is not
finite, not lower triangular or without a positive diagonal is NaN, and the invalid flag is raised.""",
    "diagonal": """Scales are the variances of diagonal covariance matrices. An item with one that is not positive is
NaN, and the invalid flag is raised.""",
}


cdef object of_gaussians(str name, str form, gaussian_kind kind, str signature, void *f32, void *f64, str doc,
                         str example, str expected):
    """A gufunc of two kernels. In `signature`, S stands for the dimensions of a scale; in the example, for one of 1."""
    places = signature.replace("->", ",").split("),(")
    cdef int operands = signature.split("->")[0].count("(")
    cdef int together = signature.count("(")
    cdef gaussian_method *methods = <gaussian_method *>malloc(2 * sizeof(gaussian_method))
    cdef void **user_data = <void **>malloc(2 * sizeof(void *))
    cdef char *types = <char *>malloc(2 * together)
    if methods == NULL or user_data == NULL or types == NULL:
        raise MemoryError
    cdef int i
    for i in range(2):
        methods[i].kind = kind
        methods[i].kernel = f64 if i else f32
        methods[i].wide = i
        methods[i].form = (
            KX_GAUSSIAN_COVARIANCE if form == "covariance" else
            KX_GAUSSIAN_CHOLESKY if form == "cholesky" else KX_GAUSSIAN_DIAGONAL)
        methods[i].operands = operands
        methods[i].results = together - operands
        methods[i].scales = sum(("S" in place) << position for position, place in enumerate(places))
        user_data[i] = methods + i
    memset(types, cnp.NPY_FLOAT, together)
    memset(types + together, cnp.NPY_DOUBLE, together)
    cdef bytes name_bytes = f"{name}_{form}".encode()
    cdef bytes signature_bytes = signature.replace("S", "n" if form == "diagonal" else "n,n").encode()
    scale = "[1.0]" if form == "diagonal" else "[[1.0]]"
    call = example.replace("S", scale).replace("f", f"kexue.ufuncs.{name}_{form}", 1)
    cdef bytes doc_bytes = (
        f"{doc}.\n\n{gaussian_scales[form]}\n`kexue.{name.replace('_squared', '')}` tells what singular ones give.\n\n"
        f"Examples\n--------\n>>> import kexue\n>>> {call}\n{expected}\n").encode()
    kept_alive.extend((name_bytes, doc_bytes))
    return finish(PyUFunc_FromFuncAndDataAndSignature(
        gaussian_loops, user_data, types, 2, operands, together - operands, cnp.PyUFunc_None, name_bytes, doc_bytes, 0,
        signature_bytes))


# kexue.gaussian_kl(..., form="covariance") and its kin check their arguments and call these.
cdef str pair_signature = "(n),(S),(n),(S)->()"
cdef str pair_grad_signature = "(n),(S),(n),(S)->(n),(S),(n),(S)"
cdef str pair_example = "f([[2.0], [0.0]], S, [0.0], S)"
cdef str pair_grad_example = "f([2.0], S, [0.0], S)[0]"

for form in gaussian_scales:
    for made in (
        of_gaussians("gaussian_entropy", form, NUMBER_OF_ONE, "(S)->()", <void *>kx_gaussian_entropy_f32,
                     <void *>kx_gaussian_entropy_f64, "The entropy of normal distributions", "f([S, S])",
                     "array([1.41893853, 1.41893853])"),
        of_gaussians("gaussian_entropy_grad", form, GRADIENT_OF_ONE, "(S)->(S)",
                     <void *>kx_gaussian_entropy_gradient_f32, <void *>kx_gaussian_entropy_gradient_f64,
                     "The gradient of the entropy by the scale", "f(S).ravel()",
                     "array([1.])" if form == "cholesky" else "array([0.5])"),
        of_gaussians("gaussian_kl", form, NUMBER_OF_TWO, pair_signature, <void *>kx_gaussian_kl_f32,
                     <void *>kx_gaussian_kl_f64, "The Kullback-Leibler divergence of normal distributions",
                     pair_example, "array([2., 0.])"),
        of_gaussians("gaussian_kl_grad", form, GRADIENT_OF_TWO, pair_grad_signature,
                     <void *>kx_gaussian_kl_gradient_f32, <void *>kx_gaussian_kl_gradient_f64,
                     "The gradient of the Kullback-Leibler divergence by means and scales", pair_grad_example,
                     "array([2.])"),
        of_gaussians("gaussian_bhattacharyya", form, NUMBER_OF_TWO, pair_signature,
                     <void *>kx_gaussian_bhattacharyya_f32, <void *>kx_gaussian_bhattacharyya_f64,
                     "The Bhattacharyya distance of normal distributions", pair_example, "array([0.5, 0. ])"),
        of_gaussians("gaussian_bhattacharyya_grad", form, GRADIENT_OF_TWO, pair_grad_signature,
                     <void *>kx_gaussian_bhattacharyya_gradient_f32, <void *>kx_gaussian_bhattacharyya_gradient_f64,
                     "The gradient of the Bhattacharyya distance by means and scales", pair_grad_example,
                     "array([0.5])"),
        of_gaussians("gaussian_hellinger", form, NUMBER_OF_TWO, pair_signature, <void *>kx_gaussian_hellinger_f32,
                     <void *>kx_gaussian_hellinger_f64, "The Hellinger distance of normal distributions", pair_example,
                     "array([0.62727135, 0.        ])"),
        of_gaussians("gaussian_hellinger_grad", form, GRADIENT_OF_TWO, pair_grad_signature,
                     <void *>kx_gaussian_hellinger_gradient_f32, <void *>kx_gaussian_hellinger_gradient_f64,
                     "The gradient of the Hellinger distance by means and scales", pair_grad_example,
                     "array([0.24173377])"),
        of_gaussians("gaussian_w2", form, W2_OF_TWO, pair_signature, <void *>kx_gaussian_w2_f32,
                     <void *>kx_gaussian_w2_f64, "The 2-Wasserstein distance of normal distributions", pair_example,
                     "array([2., 0.])"),
        of_gaussians("gaussian_w2_squared", form, W2_SQUARED_OF_TWO, pair_signature, <void *>kx_gaussian_w2_f32,
                     <void *>kx_gaussian_w2_f64, "The squared 2-Wasserstein distance of normal distributions",
                     pair_example, "array([4., 0.])"),
        of_gaussians("gaussian_w2_squared_grad", form, GRADIENT_OF_TWO, pair_grad_signature,
                     <void *>kx_gaussian_w2_gradient_f32, <void *>kx_gaussian_w2_gradient_f64,
                     "The gradient of the squared 2-Wasserstein distance by means and scales", pair_grad_example,
                     "array([4.])"),
        of_gaussians("gaussian_ot_map", form, MAP_OF_TWO, "(S),(S)->(S)", <void *>kx_gaussian_ot_map_f32,
                     <void *>kx_gaussian_ot_map_f64, "The matrix of the optimal map between normal distributions",
                     "f(S, S).ravel()", "array([1.])"),
    ):
        globals()[made.__name__] = made
del form, made
