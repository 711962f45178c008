# Normalisation of rows. Operands: x, gamma, beta, eps; without beta for RMS normalisation; and for gradients by x the rows, the
# upstream gradient, gamma, eps. kexue.layer_norm and its relatives check them. A number that is repeated along the rows, 1 for gamma
# or 0 for beta, is none.
from kexue.core cimport (
    kx_layer_norm_f32,
    kx_layer_norm_f64,
    kx_layer_norm_vjp_f32,
    kx_layer_norm_vjp_f64,
    kx_rms_norm_f32,
    kx_rms_norm_f64,
    kx_rms_norm_vjp_f32,
    kx_rms_norm_vjp_f64,
    kx_norm_vectors_t,
)

ctypedef kx_status_t (*layer_norm_kernel)(const kx_norm_vectors_t *, const kx_norm_vectors_t *, const kx_norm_vectors_t *, int64_t,
                                          int64_t, double, const kx_norm_vectors_t *) noexcept nogil
ctypedef kx_status_t (*rms_norm_kernel)(const kx_norm_vectors_t *, const kx_norm_vectors_t *, int64_t, int64_t, double,
                                        const kx_norm_vectors_t *) noexcept nogil


cdef inline bint is_none(const kx_norm_vectors_t *vectors, double number, bint narrow) noexcept nogil:
    if vectors.row != 0 or vectors.step != 0:
        return False
    return ((<float *>vectors.data)[0] if narrow else (<double *>vectors.data)[0]) == number


cdef inline cnp.npy_intp rows_at_once(const cnp.npy_intp *n, cnp.npy_intp eps_step) noexcept nogil:
    """Rows between two looks at Ctrl-C, less than a millisecond; one where each has an eps of its own."""
    if eps_step != 0:
        return 1
    return max(1, (1 << 20) // max(1, n[1]))


cdef void layer_norm_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[3]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[5]]
    cdef kx_norm_vectors_t gamma = [args[1], steps[1], steps[6]]
    cdef kx_norm_vectors_t beta = [args[2], steps[2], steps[7]]
    cdef kx_norm_vectors_t out = [args[4], steps[4], steps[8]]
    cdef kx_norm_vectors_t *weight = NULL
    cdef kx_norm_vectors_t *bias = NULL
    if n[1] > 0 and not is_none(&gamma, 1, True):
        weight = &gamma
    if n[1] > 0 and not is_none(&beta, 0, True):
        bias = &beta
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        (<layer_norm_kernel>kernel)(&x, weight, bias, count, n[1], <double>(<float *>(args[3] + i * steps[3]))[0], &out)
        i += count
        x.data = <char *>x.data + x.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        beta.data = <char *>beta.data + beta.row * count
        out.data = <char *>out.data + out.row * count


cdef void layer_norm_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[3]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[5]]
    cdef kx_norm_vectors_t gamma = [args[1], steps[1], steps[6]]
    cdef kx_norm_vectors_t beta = [args[2], steps[2], steps[7]]
    cdef kx_norm_vectors_t out = [args[4], steps[4], steps[8]]
    cdef kx_norm_vectors_t *weight = NULL
    cdef kx_norm_vectors_t *bias = NULL
    if n[1] > 0 and not is_none(&gamma, 1, False):
        weight = &gamma
    if n[1] > 0 and not is_none(&beta, 0, False):
        bias = &beta
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        (<layer_norm_kernel>kernel)(&x, weight, bias, count, n[1], <double>(<double *>(args[3] + i * steps[3]))[0], &out)
        i += count
        x.data = <char *>x.data + x.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        beta.data = <char *>beta.data + beta.row * count
        out.data = <char *>out.data + out.row * count


cdef void rms_norm_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[2]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[4]]
    cdef kx_norm_vectors_t gamma = [args[1], steps[1], steps[5]]
    cdef kx_norm_vectors_t out = [args[3], steps[3], steps[6]]
    cdef kx_norm_vectors_t *weight = NULL
    if n[1] > 0 and not is_none(&gamma, 1, True):
        weight = &gamma
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        (<rms_norm_kernel>kernel)(&x, weight, count, n[1], <double>(<float *>(args[2] + i * steps[2]))[0], &out)
        i += count
        x.data = <char *>x.data + x.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        out.data = <char *>out.data + out.row * count


cdef void rms_norm_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[2]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[4]]
    cdef kx_norm_vectors_t gamma = [args[1], steps[1], steps[5]]
    cdef kx_norm_vectors_t out = [args[3], steps[3], steps[6]]
    cdef kx_norm_vectors_t *weight = NULL
    if n[1] > 0 and not is_none(&gamma, 1, False):
        weight = &gamma
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        (<rms_norm_kernel>kernel)(&x, weight, count, n[1], <double>(<double *>(args[2] + i * steps[2]))[0], &out)
        i += count
        x.data = <char *>x.data + x.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        out.data = <char *>out.data + out.row * count


cdef void layer_norm_vjp_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[3]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[5]]
    cdef kx_norm_vectors_t upstream = [args[1], steps[1], steps[6]]
    cdef kx_norm_vectors_t gamma = [args[2], steps[2], steps[7]]
    cdef kx_norm_vectors_t out = [args[4], steps[4], steps[8]]
    cdef kx_norm_vectors_t *weight = NULL
    if n[1] > 0 and not is_none(&gamma, 1, True):
        weight = &gamma
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        kx_layer_norm_vjp_f32(NULL, &x, &upstream, weight, count, n[1], <double>(<float *>(args[3] + i * steps[3]))[0], &out, NULL,
                             NULL)
        i += count
        x.data = <char *>x.data + x.row * count
        upstream.data = <char *>upstream.data + upstream.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        out.data = <char *>out.data + out.row * count


cdef void layer_norm_vjp_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[3]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[5]]
    cdef kx_norm_vectors_t upstream = [args[1], steps[1], steps[6]]
    cdef kx_norm_vectors_t gamma = [args[2], steps[2], steps[7]]
    cdef kx_norm_vectors_t out = [args[4], steps[4], steps[8]]
    cdef kx_norm_vectors_t *weight = NULL
    if n[1] > 0 and not is_none(&gamma, 1, False):
        weight = &gamma
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        kx_layer_norm_vjp_f64(NULL, &x, &upstream, weight, count, n[1], <double>(<double *>(args[3] + i * steps[3]))[0], &out, NULL,
                             NULL)
        i += count
        x.data = <char *>x.data + x.row * count
        upstream.data = <char *>upstream.data + upstream.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        out.data = <char *>out.data + out.row * count


cdef void rms_norm_vjp_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[3]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[5]]
    cdef kx_norm_vectors_t upstream = [args[1], steps[1], steps[6]]
    cdef kx_norm_vectors_t gamma = [args[2], steps[2], steps[7]]
    cdef kx_norm_vectors_t out = [args[4], steps[4], steps[8]]
    cdef kx_norm_vectors_t *weight = NULL
    if n[1] > 0 and not is_none(&gamma, 1, True):
        weight = &gamma
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        kx_rms_norm_vjp_f32(NULL, &x, &upstream, weight, count, n[1], <double>(<float *>(args[3] + i * steps[3]))[0], &out, NULL)
        i += count
        x.data = <char *>x.data + x.row * count
        upstream.data = <char *>upstream.data + upstream.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        out.data = <char *>out.data + out.row * count


cdef void rms_norm_vjp_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps, void *kernel) noexcept nogil:
    cdef cnp.npy_intp part = rows_at_once(n, steps[3]), count
    cdef cnp.npy_intp i = 0
    cdef kx_norm_vectors_t x = [args[0], steps[0], steps[5]]
    cdef kx_norm_vectors_t upstream = [args[1], steps[1], steps[6]]
    cdef kx_norm_vectors_t gamma = [args[2], steps[2], steps[7]]
    cdef kx_norm_vectors_t out = [args[4], steps[4], steps[8]]
    cdef kx_norm_vectors_t *weight = NULL
    if n[1] > 0 and not is_none(&gamma, 1, False):
        weight = &gamma
    if loops_failed and still_failed():
        return
    while i < n[0] and not should_stop():
        count = min(part, n[0] - i)
        kx_rms_norm_vjp_f64(NULL, &x, &upstream, weight, count, n[1], <double>(<double *>(args[3] + i * steps[3]))[0], &out, NULL)
        i += count
        x.data = <char *>x.data + x.row * count
        upstream.data = <char *>upstream.data + upstream.row * count
        gamma.data = <char *>gamma.data + gamma.row * count
        out.data = <char *>out.data + out.row * count

cdef loop_function[2] layer_norm_loops = [layer_norm_loop_f32, layer_norm_loop_f64]
cdef loop_function[2] rms_norm_loops = [rms_norm_loop_f32, rms_norm_loop_f64]
cdef loop_function[2] layer_norm_vjp_loops = [layer_norm_vjp_loop_f32, layer_norm_vjp_loop_f64]
cdef loop_function[2] rms_norm_vjp_loops = [rms_norm_vjp_loop_f32, rms_norm_vjp_loop_f64]

_layer_norm = of_rows("_layer_norm", "(n),(n),(n),()->(n)", layer_norm_loops, <void *>kx_layer_norm_f32, <void *>kx_layer_norm_f64, "")
_rms_norm = of_rows("_rms_norm", "(n),(n),()->(n)", rms_norm_loops, <void *>kx_rms_norm_f32, <void *>kx_rms_norm_f64, "")
_layer_norm_vjp = of_rows("_layer_norm_vjp", "(n),(n),(n),()->(n)", layer_norm_vjp_loops, NULL, NULL, "")
_rms_norm_vjp = of_rows("_rms_norm_vjp", "(n),(n),(n),()->(n)", rms_norm_vjp_loops, NULL, NULL, "")
