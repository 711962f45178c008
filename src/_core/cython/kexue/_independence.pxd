from libc.stdint cimport int64_t

# For kexue.capi.
cdef int hsic_f32(const float *x, const float *y, int64_t n, int64_t x_dimension, int64_t y_dimension, double x_gamma, double y_gamma, double *result) noexcept nogil
cdef int hsic_f64(const double *x, const double *y, int64_t n, int64_t x_dimension, int64_t y_dimension, double x_gamma, double y_gamma, double *result) noexcept nogil
