# kexue.capi: without the interpreter, on one thread.

cdef int softmax_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil:
    return kx_softmax_f32(x, rows, n, n * <ptrdiff_t>sizeof(float), sizeof(float), out, n * <ptrdiff_t>sizeof(float),
                          sizeof(float))


cdef int softmax_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil:
    return kx_softmax_f64(x, rows, n, n * <ptrdiff_t>sizeof(double), sizeof(double), out,
                          n * <ptrdiff_t>sizeof(double), sizeof(double))


cdef int squareplus_f32(const float *x, float b, int64_t n, float *out) noexcept nogil:
    return kx_activations_squareplus_f32(x, &b, n, sizeof(float), 0, out, sizeof(float))


cdef int squareplus_f64(const double *x, double b, int64_t n, double *out) noexcept nogil:
    return kx_activations_squareplus_f64(x, &b, n, sizeof(double), 0, out, sizeof(double))


cdef int fwht_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil:
    return kx_walsh_hadamard_f32(x, rows, n, n * <ptrdiff_t>sizeof(float), sizeof(float), out,
                                 n * <ptrdiff_t>sizeof(float), sizeof(float))


cdef int fwht_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil:
    return kx_walsh_hadamard_f64(x, rows, n, n * <ptrdiff_t>sizeof(double), sizeof(double), out,
                                 n * <ptrdiff_t>sizeof(double), sizeof(double))
