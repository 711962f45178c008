# kexue.capi: without the interpreter, on one thread. The loops of ufuncs trust NumPy with sizes; others are not NumPy.

cdef int _check_rows(int64_t rows, int64_t n, int64_t item) noexcept nogil:
    if rows < 0 or n < 0:
        return KX_E_ARGUMENT
    if n > INT64_MAX // item or (n > 0 and rows > INT64_MAX // item // n):
        return KX_E_OVERFLOW
    return KX_OK


cdef int softmax_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil:
    cdef int status = _check_rows(rows, n, sizeof(float))
    if status != KX_OK:
        return status
    return kx_softmax_f32(x, rows, n, n * <ptrdiff_t>sizeof(float), sizeof(float), out, n * <ptrdiff_t>sizeof(float),
                          sizeof(float))


cdef int softmax_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil:
    cdef int status = _check_rows(rows, n, sizeof(double))
    if status != KX_OK:
        return status
    return kx_softmax_f64(x, rows, n, n * <ptrdiff_t>sizeof(double), sizeof(double), out,
                          n * <ptrdiff_t>sizeof(double), sizeof(double))


cdef int squareplus_f32(const float *x, float b, int64_t n, float *out) noexcept nogil:
    cdef int status = _check_rows(1, n, sizeof(float))
    if status != KX_OK:
        return status
    return kx_activations_squareplus_f32(x, &b, n, sizeof(float), 0, out, sizeof(float))


cdef int squareplus_f64(const double *x, double b, int64_t n, double *out) noexcept nogil:
    cdef int status = _check_rows(1, n, sizeof(double))
    if status != KX_OK:
        return status
    return kx_activations_squareplus_f64(x, &b, n, sizeof(double), 0, out, sizeof(double))


cdef int fwht_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil:
    cdef int status = _check_rows(rows, n, sizeof(float))
    if status != KX_OK:
        return status
    return kx_walsh_hadamard_f32(x, rows, n, n * <ptrdiff_t>sizeof(float), sizeof(float), out,
                                 n * <ptrdiff_t>sizeof(float), sizeof(float))


cdef int fwht_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil:
    cdef int status = _check_rows(rows, n, sizeof(double))
    if status != KX_OK:
        return status
    return kx_walsh_hadamard_f64(x, rows, n, n * <ptrdiff_t>sizeof(double), sizeof(double), out,
                                 n * <ptrdiff_t>sizeof(double), sizeof(double))
