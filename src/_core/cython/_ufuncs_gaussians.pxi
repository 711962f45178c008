# Gaussians: generalised ufuncs of means and of scales, which are matrices, or vectors in the diagonal form. A loop's steps are
# the operands' from item to item, then those of their core dimensions, operand by operand.

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
    kx_status_text,
)


cdef extern from "Python.h":
    void set_error "PyErr_SetString"(PyObject *exception, const char *text)


ctypedef struct gaussian_method:
    void *kernel
    kx_gaussian_form_t form

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
ctypedef kx_status_t (*gaussian_gradient)(
    const kx_ctx_t *, const kx_batch_t *, int64_t, int64_t, kx_gaussian_form_t, const kx_batch_out_t *) noexcept nogil
ctypedef kx_status_t (*gaussian_pair_gradient)(
    const kx_ctx_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, const kx_batch_t *, int64_t, int64_t,
    kx_gaussian_form_t, const kx_batch_out_t *, const kx_batch_out_t *, const kx_batch_out_t *,
    const kx_batch_out_t *) noexcept nogil
ctypedef kx_status_t (*gaussian_flaws_f32)(
    const kx_batch_t *, int64_t, int64_t, kx_gaussian_form_t, double, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*gaussian_flaws_f64)(
    const kx_batch_t *, int64_t, int64_t, kx_gaussian_form_t, double, double *, ptrdiff_t) noexcept nogil


cdef void raise_in_loop(kx_status_t status) noexcept with gil:
    # NumPy looks for an exception when its loops have ended.
    if status == KX_E_MEMORY:
        set_error(<PyObject *>MemoryError, kx_status_text(status))
    elif status == KX_E_OVERFLOW:
        set_error(<PyObject *>OverflowError, kx_status_text(status))
    else:
        set_error(<PyObject *>RuntimeError, kx_status_text(status))


cdef inline void check_loop(kx_status_t status) noexcept nogil:
    if status != KX_OK:
        raise_in_loop(status)


cdef void take(kx_batch_t *operands, int count, int scales, char **args, const cnp.npy_intp *steps,
               const cnp.npy_intp **cores, kx_gaussian_form_t form) noexcept nogil:
    """The operands' pointers and strides; bit i of `scales` says that operand i is a scale."""
    cdef int i
    for i in range(count):
        operands[i].data = args[i]
        operands[i].batch = steps[i]
        operands[i].row = cores[0][0]
        cores[0] += 1
        operands[i].column = 0
        if scales >> i & 1 and form != KX_GAUSSIAN_DIAGONAL:
            operands[i].column = cores[0][0]
            cores[0] += 1


cdef void gaussian_number_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                   void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 2
    cdef kx_batch_t[1] operands
    take(operands, 1, 1, args, steps, &cores, m.form)
    check_loop((<gaussian_number_f32>m.kernel)(NULL, operands, n[0], n[1], m.form, <float *>args[1], steps[1]))


cdef void gaussian_number_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                   void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 2
    cdef kx_batch_t[1] operands
    take(operands, 1, 1, args, steps, &cores, m.form)
    check_loop((<gaussian_number_f64>m.kernel)(NULL, operands, n[0], n[1], m.form, <double *>args[1], steps[1]))


cdef void gaussian_pair_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                 void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 5
    cdef kx_batch_t[4] operands
    take(operands, 4, 0b1010, args, steps, &cores, m.form)
    check_loop((<gaussian_pair_f32>m.kernel)(
        NULL, operands, operands + 1, operands + 2, operands + 3, n[0], n[1], m.form, <float *>args[4], steps[4]))


cdef void gaussian_pair_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                 void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 5
    cdef kx_batch_t[4] operands
    take(operands, 4, 0b1010, args, steps, &cores, m.form)
    check_loop((<gaussian_pair_f64>m.kernel)(
        NULL, operands, operands + 1, operands + 2, operands + 3, n[0], n[1], m.form, <double *>args[4], steps[4]))


# The kernels of gradients take both precisions through pointers to void.

cdef void gaussian_gradient_loop(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                 void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 2
    cdef kx_batch_t[2] operands
    take(operands, 2, 0b11, args, steps, &cores, m.form)
    check_loop((<gaussian_gradient>m.kernel)(
        NULL, operands, n[0], n[1], m.form, <kx_batch_out_t *>(operands + 1)))


cdef void gaussian_pair_gradient_loop(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                      void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 8
    cdef kx_batch_t[8] operands
    take(operands, 8, 0b10101010, args, steps, &cores, m.form)
    cdef kx_batch_out_t *results = <kx_batch_out_t *>(operands + 4)
    check_loop((<gaussian_pair_gradient>m.kernel)(
        NULL, operands, operands + 1, operands + 2, operands + 3, n[0], n[1], m.form, results, results + 1, results + 2,
        results + 3))


cdef void gaussian_flaws_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                  void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 2
    cdef kx_batch_t[1] operands
    take(operands, 1, 1, args, steps, &cores, m.form)
    check_loop((<gaussian_flaws_f32>m.kernel)(operands, n[0], n[1], m.form, 1e-4, <float *>args[1], steps[1]))


cdef void gaussian_flaws_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                                  void *method) noexcept nogil:
    cdef gaussian_method *m = <gaussian_method *>method
    cdef const cnp.npy_intp *cores = steps + 2
    cdef kx_batch_t[1] operands
    take(operands, 1, 1, args, steps, &cores, m.form)
    check_loop((<gaussian_flaws_f64>m.kernel)(operands, n[0], n[1], m.form, 1e-8, <double *>args[1], steps[1]))


cdef loop_function[2] gaussian_number_loops = [gaussian_number_loop_f32, gaussian_number_loop_f64]
cdef loop_function[2] gaussian_pair_loops = [gaussian_pair_loop_f32, gaussian_pair_loop_f64]
cdef loop_function[2] gaussian_gradient_loops = [gaussian_gradient_loop, gaussian_gradient_loop]
cdef loop_function[2] gaussian_pair_gradient_loops = [gaussian_pair_gradient_loop, gaussian_pair_gradient_loop]
cdef loop_function[2] gaussian_flaws_loops = [gaussian_flaws_loop_f32, gaussian_flaws_loop_f64]

cdef dict gaussian_scales = {
    "covariance": "covariance matrices, of which the lower triangle is read",
    "cholesky": "lower triangular Cholesky factors of covariance matrices, of which the lower triangle is read",
    "diagonal": "the variances of diagonal covariance matrices",
}


cdef object of_gaussians(str name, str form, str signature, loop_function *loops, void *f32, void *f64, str doc):
    """A gufunc of two kernels. In `signature`, S stands for the dimensions of a scale."""
    cdef int operands = signature.split("->")[0].count("(")
    cdef int results = signature.split("->")[1].count("(")
    cdef gaussian_method *methods = <gaussian_method *>malloc(2 * sizeof(gaussian_method))
    cdef void **user_data = <void **>malloc(2 * sizeof(void *))
    cdef char *types = <char *>malloc(2 * (operands + results))
    if methods == NULL or user_data == NULL or types == NULL:
        raise MemoryError
    methods[0].kernel = f32
    methods[1].kernel = f64
    methods[0].form = methods[1].form = (
        KX_GAUSSIAN_COVARIANCE if form == "covariance" else
        KX_GAUSSIAN_CHOLESKY if form == "cholesky" else KX_GAUSSIAN_DIAGONAL)
    user_data[0] = methods
    user_data[1] = methods + 1
    memset(types, cnp.NPY_FLOAT, operands + results)
    memset(types + operands + results, cnp.NPY_DOUBLE, operands + results)
    cdef bytes name_bytes = f"{name}_{form}".encode()
    cdef bytes signature_bytes = signature.replace("S", "n" if form == "diagonal" else "n,n").encode()
    cdef bytes doc_bytes = f"{doc}.\n\nScales are {gaussian_scales[form]}.".encode()
    kept_alive.extend((name_bytes, doc_bytes))
    return finish(PyUFunc_FromFuncAndDataAndSignature(
        loops, user_data, types, 2, operands, results, cnp.PyUFunc_None, name_bytes, doc_bytes, 0, signature_bytes))


# kexue.gaussian_kl(..., form="covariance") and its kin check their arguments and call these.
for form in gaussian_scales:
    for made in (
        of_gaussians(
            "gaussian_entropy", form, "(S)->()", gaussian_number_loops, <void *>kx_gaussian_entropy_f32,
            <void *>kx_gaussian_entropy_f64, "The entropy of normal distributions"),
        of_gaussians(
            "gaussian_entropy_grad", form, "(S)->(S)", gaussian_gradient_loops, <void *>kx_gaussian_entropy_gradient_f32,
            <void *>kx_gaussian_entropy_gradient_f64, "The gradient of the entropy by the scale"),
        of_gaussians(
            "gaussian_kl", form, "(n),(S),(n),(S)->()", gaussian_pair_loops, <void *>kx_gaussian_kl_f32,
            <void *>kx_gaussian_kl_f64, "The Kullback-Leibler divergence of normal distributions"),
        of_gaussians(
            "gaussian_kl_grad", form, "(n),(S),(n),(S)->(n),(S),(n),(S)", gaussian_pair_gradient_loops,
            <void *>kx_gaussian_kl_gradient_f32, <void *>kx_gaussian_kl_gradient_f64,
            "The gradient of the Kullback-Leibler divergence by means and scales"),
        of_gaussians(
            "gaussian_bhattacharyya", form, "(n),(S),(n),(S)->()", gaussian_pair_loops,
            <void *>kx_gaussian_bhattacharyya_f32, <void *>kx_gaussian_bhattacharyya_f64,
            "The Bhattacharyya distance of normal distributions"),
        of_gaussians(
            "gaussian_bhattacharyya_grad", form, "(n),(S),(n),(S)->(n),(S),(n),(S)", gaussian_pair_gradient_loops,
            <void *>kx_gaussian_bhattacharyya_gradient_f32, <void *>kx_gaussian_bhattacharyya_gradient_f64,
            "The gradient of the Bhattacharyya distance by means and scales"),
        of_gaussians(
            "gaussian_hellinger", form, "(n),(S),(n),(S)->()", gaussian_pair_loops, <void *>kx_gaussian_hellinger_f32,
            <void *>kx_gaussian_hellinger_f64, "The Hellinger distance of normal distributions"),
        of_gaussians(
            "gaussian_hellinger_grad", form, "(n),(S),(n),(S)->(n),(S),(n),(S)", gaussian_pair_gradient_loops,
            <void *>kx_gaussian_hellinger_gradient_f32, <void *>kx_gaussian_hellinger_gradient_f64,
            "The gradient of the Hellinger distance by means and scales"),
    ):
        globals()[made.__name__] = made
del form, made

_gaussian_flaws_covariance = of_gaussians(
    "_gaussian_flaws", "covariance", "(S)->()", gaussian_flaws_loops, <void *>kx_gaussian_flaws_f32,
    <void *>kx_gaussian_flaws_f64, "1 where a matrix is not symmetric or not finite, else 0")
_gaussian_flaws_cholesky = of_gaussians(
    "_gaussian_flaws", "cholesky", "(S)->()", gaussian_flaws_loops, <void *>kx_gaussian_flaws_f32,
    <void *>kx_gaussian_flaws_f64, "1 where a matrix is not lower triangular or not finite, else 0")
