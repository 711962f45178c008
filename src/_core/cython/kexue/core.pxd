# The C core as Cython sees it: extern declarations only, nothing to import at run time.
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "kexue/kx_base.h" nogil:
    ctypedef enum kx_status_t:
        KX_OK
        KX_E_ARGUMENT
        KX_E_NONFINITE
        KX_E_NEGATIVE
        KX_E_TOTALS
        KX_E_EMPTY
        KX_E_INFEASIBLE
        KX_E_MEMORY
        KX_E_OVERFLOW
        KX_E_CANCELLED
        KX_E_INTERNAL
        KX_W_MAXITER

    const char *kx_status_name(kx_status_t status)
    const char *kx_status_text(kx_status_t status)
    const char *kx_version()
    const char *kx_isa_name()

cdef extern from "kexue/kx_ctx.h" nogil:
    ctypedef struct kx_allocator_t:
        void *(*allocate)(void *state, size_t bytes) noexcept nogil
        void (*release)(void *state, void *block) noexcept nogil
        void *state

    ctypedef int (*kx_cancel_fn)(void *state) noexcept nogil
    ctypedef void (*kx_run_fn)(void *job, int worker) noexcept nogil
    ctypedef void (*kx_launch_fn)(void *state, int workers, kx_run_fn run, void *job) noexcept nogil

    ctypedef struct kx_ctx_t:
        kx_allocator_t allocator
        kx_cancel_fn cancel
        void *cancel_state
        kx_launch_fn launch
        void *launch_state
        int workers

    void kx_ctx_init(kx_ctx_t *ctx)
    void kx_pool_launch(void *state, int workers, kx_run_fn run, void *job)

    ctypedef struct kx_task_t:
        pass
    int kx_task_worker(const kx_task_t *task)
    int kx_task_should_stop(kx_task_t *task)

    ctypedef kx_status_t (*kx_body_fn)(kx_task_t *task, void *arg, int64_t begin, int64_t end) noexcept nogil
    int kx_ctx_should_stop(const kx_ctx_t *ctx, int64_t *next_poll_ns)
    kx_status_t kx_parallel_for(const kx_ctx_t *ctx, int64_t n, int64_t grain, kx_body_fn body, void *arg)
    int kx_cpu_count()

cdef extern from "kexue/kx_activations.h" nogil:
    kx_status_t kx_activations_squareplus_f32(
        const float *x, const float *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_squareplus_f64(
        const double *x, const double *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_squareplus_grad_f32(
        const float *x, const float *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_squareplus_grad_f64(
        const double *x, const double *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_squareplus_grad_b_f32(
        const float *x, const float *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_squareplus_grad_b_f64(
        const double *x, const double *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_squareplus_inverse_f32(
        const float *y, const float *b, int64_t n, ptrdiff_t y_stride, ptrdiff_t b_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_squareplus_inverse_f64(
        const double *y, const double *b, int64_t n, ptrdiff_t y_stride, ptrdiff_t b_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_softplus_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_softplus_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_softplus_grad_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_softplus_grad_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_swish_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_swish_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_swish_grad_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_swish_grad_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_grad_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_grad_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_tanh_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_tanh_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_tanh_grad_f32(
        const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_gelu_tanh_grad_f64(
        const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_exp_taylor_f32(
        const float *x, const float *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_exp_taylor_f64(
        const double *x, const double *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_exp_taylor_grad_f32(
        const float *x, const float *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_activations_exp_taylor_grad_f64(
        const double *x, const double *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride,
        double *out, ptrdiff_t out_stride)
    const double KX_SQUAREPLUS_B_MINIMAX
    const double KX_SQUAREPLUS_B_UPPER
    const double KX_SQUAREPLUS_B_CURVATURE
    const double KX_SQUAREPLUS_B_T2

cdef extern from "kexue/kx_classification.h" nogil:
    double KX_CLASSIFICATION_TOLERANCE

    ctypedef enum kx_uncertainty_t:
        KX_UNCERTAINTY_POST
        KX_UNCERTAINTY_PAPER
        KX_UNCERTAINTY_REPO

    kx_status_t kx_classification_topk_entropy_f32(
        const kx_ctx_t *ctx, const float *p, int64_t rows, int64_t n, ptrdiff_t row_stride, int64_t k, kx_uncertainty_t kind,
        float *out)
    kx_status_t kx_classification_topk_entropy_f64(
        const kx_ctx_t *ctx, const double *p, int64_t rows, int64_t n, ptrdiff_t row_stride, int64_t k, kx_uncertainty_t kind,
        double *out)

    ctypedef struct kx_can_options_t:
        int64_t k
        kx_uncertainty_t kind
        double threshold
        double alpha

    void kx_can_options_init(kx_can_options_t *options)
    kx_status_t kx_classification_can_f32(
        const kx_ctx_t *ctx, const float *p, int64_t rows, int64_t n, ptrdiff_t row_stride, const double *prior,
        const kx_can_options_t *options, float *out, ptrdiff_t out_stride, float *uncertainty)
    kx_status_t kx_classification_can_f64(
        const kx_ctx_t *ctx, const double *p, int64_t rows, int64_t n, ptrdiff_t row_stride, const double *prior,
        const kx_can_options_t *options, double *out, ptrdiff_t out_stride, double *uncertainty)


cdef extern from "kexue/kx_smoothing.h" nogil:
    kx_status_t kx_smoothing_relu_gaussian_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_relu_gaussian_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_relu_logistic_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_relu_logistic_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_step_gaussian_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_step_gaussian_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_step_logistic_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_step_logistic_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_step_cauchy_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_step_cauchy_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_abs_gaussian_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_abs_gaussian_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_abs_logistic_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_abs_logistic_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_abs_student_t2_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_abs_student_t2_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_gaussian_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_gaussian_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_logistic_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_logistic_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_student_t2_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_student_t2_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_cauchy_f32(
        const float *x, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_sign_cauchy_f64(
        const double *x, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_leaky_relu_gaussian_f32(
        const float *x, const float *slope, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t slope_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_leaky_relu_gaussian_f64(
        const double *x, const double *slope, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t slope_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_leaky_relu_logistic_f32(
        const float *x, const float *slope, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t slope_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_leaky_relu_logistic_f64(
        const double *x, const double *slope, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t slope_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_leaky_relu_student_t2_f32(
        const float *x, const float *slope, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t slope_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_leaky_relu_student_t2_f64(
        const double *x, const double *slope, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t slope_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_maximum_gaussian_f32(
        const float *x, const float *y, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t y_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_maximum_gaussian_f64(
        const double *x, const double *y, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t y_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_maximum_logistic_f32(
        const float *x, const float *y, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t y_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_maximum_logistic_f64(
        const double *x, const double *y, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t y_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_maximum_student_t2_f32(
        const float *x, const float *y, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t y_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_maximum_student_t2_f64(
        const double *x, const double *y, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t y_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_gaussian_f32(
        const float *x, const float *low, const float *high, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_gaussian_f64(
        const double *x, const double *low, const double *high, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_logistic_f32(
        const float *x, const float *low, const float *high, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_logistic_f64(
        const double *x, const double *low, const double *high, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_student_t2_f32(
        const float *x, const float *low, const float *high, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_student_t2_f64(
        const double *x, const double *low, const double *high, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_cauchy_f32(
        const float *x, const float *low, const float *high, const float *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_clip_cauchy_f64(
        const double *x, const double *low, const double *high, const double *scale, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_gaussian_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_gaussian_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_logistic_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_logistic_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_student_t2_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_student_t2_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_cauchy_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_floor_cauchy_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_gaussian_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_gaussian_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_logistic_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_logistic_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_student_t2_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_student_t2_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_cauchy_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_ceil_cauchy_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_gaussian_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_gaussian_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_logistic_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_logistic_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_student_t2_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_student_t2_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_cauchy_f32(
        const float *x, const float *scale, const float *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        float *out, ptrdiff_t out_stride)
    kx_status_t kx_smoothing_round_cauchy_f64(
        const double *x, const double *scale, const double *form, int64_t n,
        ptrdiff_t x_stride, ptrdiff_t scale_stride, ptrdiff_t form_stride,
        double *out, ptrdiff_t out_stride)

cdef extern from "kexue/kx_transport.h" nogil:
    ctypedef struct kx_emd_options_t:
        double totals_tolerance
        int64_t max_iter
    void kx_emd_options_init(kx_emd_options_t *options)

    ctypedef struct kx_emd_result_t:
        double cost
        double gap
        int64_t iterations
        kx_status_t status

    ctypedef struct kx_emd_outputs_t:
        double *costs
        double *plans
        double *u
        double *v
        int64_t *rows
        int64_t *columns
        double *masses
        int64_t *entry_counts
        kx_emd_result_t *results
        int32_t *statuses

    kx_status_t kx_transport_emd_f32(
        const kx_ctx_t *ctx, const double *a, const double *b, const float *M, int64_t count,
        const int64_t *a_offsets, const int64_t *b_offsets, const int64_t *M_offsets, int64_t m, int64_t n,
        ptrdiff_t row_stride, const kx_emd_options_t *options, const kx_emd_outputs_t *outputs, int64_t *failed)
    kx_status_t kx_transport_emd_f64(
        const kx_ctx_t *ctx, const double *a, const double *b, const double *M, int64_t count,
        const int64_t *a_offsets, const int64_t *b_offsets, const int64_t *M_offsets, int64_t m, int64_t n,
        ptrdiff_t row_stride, const kx_emd_options_t *options, const kx_emd_outputs_t *outputs, int64_t *failed)
    kx_status_t kx_transport_lower_bound(
        const kx_ctx_t *ctx, const double *a, const double *b, const double *M, int64_t count, const int64_t *a_offsets,
        const int64_t *b_offsets, const int64_t *M_offsets, int64_t m, int64_t n, ptrdiff_t row_stride, int64_t sweeps,
        double reg_share, double totals_tolerance, double *bounds, double *u, double *v, int64_t *failed)
    kx_status_t kx_transport_emd_1d(
        const kx_ctx_t *ctx, const double *x, const double *y, const double *a, const double *b, int64_t count,
        const int64_t *x_order, const int64_t *y_order, const int64_t *a_offsets, const int64_t *b_offsets,
        int64_t m, int64_t n, double power, const kx_emd_options_t *options, const kx_emd_outputs_t *outputs,
        int64_t *failed)

cdef extern from "kexue/kx_sinkhorn.h" nogil:
    ctypedef enum kx_sinkhorn_method_t:
        KX_SINKHORN_AUTO
        KX_SINKHORN_KERNEL
        KX_SINKHORN_STABILIZED
        KX_SINKHORN_LOG

    ctypedef enum kx_sinkhorn_acceleration_t:
        KX_SINKHORN_ACCELERATION_AUTO
        KX_SINKHORN_PLAIN
        KX_SINKHORN_ANDERSON
        KX_SINKHORN_OVERRELAXATION
        KX_SINKHORN_NEWTON

    ctypedef struct kx_sinkhorn_options_t:
        double tolerance
        double totals_tolerance
        int64_t max_iter
        int32_t method
        int32_t acceleration
        int32_t epsilon_scaling
        int32_t memory
        int32_t round_plans
    void kx_sinkhorn_options_init(kx_sinkhorn_options_t *options)

    ctypedef struct kx_sinkhorn_problems_t:
        int64_t count
        int64_t m
        int64_t n
        const int64_t *row_counts
        const int64_t *column_counts
        const double *a
        const double *b
        const void *M
        const double *reg
        const double *u
        const double *v
        const int64_t *a_offsets
        const int64_t *b_offsets
        const int64_t *M_offsets
        const int64_t *reg_offsets
        const int64_t *u_offsets
        const int64_t *v_offsets
        ptrdiff_t row_stride
        const int64_t *row_strides
        const int64_t *row_indices
        const int64_t *column_indices

    ctypedef struct kx_sinkhorn_outputs_t:
        double *costs
        double *values
        double *gaps
        double *errors
        double *u
        double *v
        void *plans
        const int64_t *u_offsets
        const int64_t *v_offsets
        const int64_t *plan_offsets
        int64_t *iterations
        int32_t *statuses

    kx_status_t kx_transport_sinkhorn_f32(
        const kx_ctx_t *ctx, const kx_sinkhorn_problems_t *problems, const kx_sinkhorn_options_t *options,
        const kx_sinkhorn_outputs_t *outputs, int64_t *failed)
    kx_status_t kx_transport_sinkhorn_f64(
        const kx_ctx_t *ctx, const kx_sinkhorn_problems_t *problems, const kx_sinkhorn_options_t *options,
        const kx_sinkhorn_outputs_t *outputs, int64_t *failed)

    ctypedef enum kx_cost_t:
        KX_COST_SQEUCLIDEAN
        KX_COST_EUCLIDEAN
        KX_COST_COSINE

    ctypedef struct kx_sinkhorn_points_t:
        int64_t m
        int64_t n
        int64_t dimension
        const double *x
        const double *y
        const double *a
        const double *b
        double reg
        int32_t cost
    kx_status_t kx_transport_sinkhorn_points(
        const kx_ctx_t *ctx, const kx_sinkhorn_points_t *points, const kx_sinkhorn_options_t *options,
        const kx_sinkhorn_outputs_t *outputs)
    kx_status_t kx_transport_barycenter(
        const kx_ctx_t *ctx, const double *histograms, const double *M, int64_t count, int64_t m, int64_t n,
        ptrdiff_t row_stride, const double *shares, double reg, const kx_sinkhorn_options_t *options,
        double *barycenter, double *error, int64_t *iterations)

cdef extern from "kexue/kx_documents.h" nogil:
    ctypedef struct kx_documents_t:
        int64_t count
        const int64_t *offsets
        const int32_t *words
        const double *weights

    ctypedef enum kx_document_metric_t:
        KX_WMD
        KX_WRD
        KX_RELAXED_WMD
        KX_RELAXED_WRD
        KX_ENTROPIC_WMD

    ctypedef struct kx_pairwise_options_t:
        kx_document_metric_t metric
        double scale
        double empty_value
        int64_t *done
        int64_t *total
        double reg
        double tolerance
        int64_t max_iter
        int64_t *unconverged
    void kx_pairwise_options_init(kx_pairwise_options_t *options)

    kx_status_t kx_documents_pairwise_f32(
        const kx_ctx_t *ctx, const float *vectors, const kx_documents_t *X, const kx_documents_t *Y,
        int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride, const kx_pairwise_options_t *options, float *out)
    kx_status_t kx_documents_pairwise_f64(
        const kx_ctx_t *ctx, const double *vectors, const kx_documents_t *X, const kx_documents_t *Y,
        int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride, const kx_pairwise_options_t *options, double *out)

    ctypedef struct kx_index_t:
        int64_t used
        const int32_t *used_words
        const double *factors
        int64_t count
        const int64_t *offsets
        const int32_t *words
        const double *weights
        const uint8_t *removed

    ctypedef struct kx_search_options_t:
        kx_document_metric_t metric
        double scale
        int64_t k
        const double *limits
        int64_t *done
        int64_t *total
    void kx_search_options_init(kx_search_options_t *options)

    ctypedef struct kx_search_counts_t:
        int64_t documents
        int64_t relaxed
        int64_t dual
        int64_t exact

    ctypedef struct kx_search_results_t:
        int64_t *offsets
        int64_t *indices
        double *distances
        kx_search_counts_t *counts
    void kx_search_results_release(const kx_ctx_t *ctx, kx_search_results_t *results)

    kx_status_t kx_documents_normalize_f32(
        const kx_ctx_t *ctx, const float *vectors, const kx_documents_t *documents, int64_t vocabulary,
        int64_t dimension, ptrdiff_t row_stride, kx_document_metric_t metric, int64_t *offsets, int32_t *words,
        double *weights, double *factors)
    kx_status_t kx_documents_search_f32(
        const kx_ctx_t *ctx, const kx_index_t *index, const float *vectors, int64_t vocabulary, int64_t dimension,
        ptrdiff_t row_stride, const kx_documents_t *queries, const float *query_vectors, int64_t query_vocabulary,
        ptrdiff_t query_row_stride, const kx_search_options_t *options, kx_search_results_t *results)
    kx_status_t kx_documents_normalize_f64(
        const kx_ctx_t *ctx, const double *vectors, const kx_documents_t *documents, int64_t vocabulary,
        int64_t dimension, ptrdiff_t row_stride, kx_document_metric_t metric, int64_t *offsets, int32_t *words,
        double *weights, double *factors)
    kx_status_t kx_documents_search_f64(
        const kx_ctx_t *ctx, const kx_index_t *index, const double *vectors, int64_t vocabulary, int64_t dimension,
        ptrdiff_t row_stride, const kx_documents_t *queries, const double *query_vectors, int64_t query_vocabulary,
        ptrdiff_t query_row_stride, const kx_search_options_t *options, kx_search_results_t *results)

cdef extern from "kexue/kx_independence_matrices.h" nogil:
    kx_status_t kx_independence_from_kernels_f32(
        const float *K, const float *L, int64_t count, int64_t n, ptrdiff_t K_stride, ptrdiff_t K_row_stride,
        ptrdiff_t K_column_stride, ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, float *out,
        ptrdiff_t out_stride)
    kx_status_t kx_independence_from_kernels_unbiased_f32(
        const float *K, const float *L, int64_t count, int64_t n, ptrdiff_t K_stride, ptrdiff_t K_row_stride,
        ptrdiff_t K_column_stride, ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, float *out,
        ptrdiff_t out_stride)
    kx_status_t kx_independence_from_kernels_f64(
        const double *K, const double *L, int64_t count, int64_t n, ptrdiff_t K_stride, ptrdiff_t K_row_stride,
        ptrdiff_t K_column_stride, ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, double *out,
        ptrdiff_t out_stride)
    kx_status_t kx_independence_from_kernels_unbiased_f64(
        const double *K, const double *L, int64_t count, int64_t n, ptrdiff_t K_stride, ptrdiff_t K_row_stride,
        ptrdiff_t K_column_stride, ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, double *out,
        ptrdiff_t out_stride)

cdef extern from "kexue/kx_losses_combinatorial.h" nogil:
    kx_status_t kx_losses_combinatorial_f32(
        const kx_ctx_t *ctx, const float *scores, const unsigned char *targets, const int64_t *counts, const double *fillers,
        int64_t rows, int64_t n, ptrdiff_t counts_stride, ptrdiff_t fillers_stride, float *value, float *grad)
    kx_status_t kx_losses_combinatorial_f64(
        const kx_ctx_t *ctx, const double *scores, const unsigned char *targets, const int64_t *counts, const double *fillers,
        int64_t rows, int64_t n, ptrdiff_t counts_stride, ptrdiff_t fillers_stride, double *value, double *grad)

cdef extern from "kexue/kx_losses_contrastive.h" nogil:
    kx_status_t kx_losses_softmax_symmetric_kl_f32(
        const kx_ctx_t *ctx, const float *s, const float *t, int64_t count, int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride,
        float *loss, float *grad_s, float *grad_t, ptrdiff_t grad_stride)
    kx_status_t kx_losses_softmax_kl_f32(
        const float *a, const float *b, int64_t count, int64_t n, ptrdiff_t a_stride, ptrdiff_t b_stride, double *scratch,
        float *loss, float *grad, ptrdiff_t grad_stride)
    kx_status_t kx_losses_softmax_kl_f64(
        const double *a, const double *b, int64_t count, int64_t n, ptrdiff_t a_stride, ptrdiff_t b_stride, double *scratch,
        double *loss, double *grad, ptrdiff_t grad_stride)
    kx_status_t kx_losses_r_drop_f32(
        const kx_ctx_t *ctx, const float *s, const float *t, const int64_t *ids, const float *weights, int64_t count,
        int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride, ptrdiff_t weight_stride, double alpha, float *loss,
        float *grad_s, float *grad_t, ptrdiff_t grad_stride)
    kx_status_t kx_losses_info_nce_f32(
        const kx_ctx_t *ctx, const float *similarities, int64_t count, int64_t n, ptrdiff_t matrix_stride,
        ptrdiff_t row_stride, double temperature, int is_symmetric, float *loss, float *grad)
    kx_status_t kx_losses_softmax_symmetric_kl_f64(
        const kx_ctx_t *ctx, const double *s, const double *t, int64_t count, int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride,
        double *loss, double *grad_s, double *grad_t, ptrdiff_t grad_stride)
    kx_status_t kx_losses_r_drop_f64(
        const kx_ctx_t *ctx, const double *s, const double *t, const int64_t *ids, const double *weights, int64_t count,
        int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride, ptrdiff_t weight_stride, double alpha, double *loss,
        double *grad_s, double *grad_t, ptrdiff_t grad_stride)
    kx_status_t kx_losses_info_nce_f64(
        const kx_ctx_t *ctx, const double *similarities, int64_t count, int64_t n, ptrdiff_t matrix_stride,
        ptrdiff_t row_stride, double temperature, int is_symmetric, double *loss, double *grad)

cdef extern from "kexue/kx_softmax.h" nogil:
    kx_status_t kx_softmax_f32(
        const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_log_f32(
        const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_logsumexp_f32(
        const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
        ptrdiff_t out_row_stride)
    kx_status_t kx_softmax_entropy_f32(
        const float *p, int64_t rows, int64_t n, ptrdiff_t p_row_stride, ptrdiff_t p_stride, float *out,
        ptrdiff_t out_row_stride)
    kx_status_t kx_softmax_vjp_f32(
        const float *q, const float *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride, ptrdiff_t q_stride,
        ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, float *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_log_vjp_f32(
        const float *log_q, const float *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride, ptrdiff_t q_stride,
        ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, float *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_logsumexp_vjp_f32(
        const float *x, const float *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
        ptrdiff_t grad_row_stride, float *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_taylor_f32(
        const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, int64_t order, double lowest,
        float *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_taylor_vjp_f32(
        const float *x, const float *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
        ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, int64_t order, double lowest, float *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_f64(
        const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, double *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_log_f64(
        const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, double *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_logsumexp_f64(
        const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, double *out,
        ptrdiff_t out_row_stride)
    kx_status_t kx_softmax_entropy_f64(
        const double *p, int64_t rows, int64_t n, ptrdiff_t p_row_stride, ptrdiff_t p_stride, double *out,
        ptrdiff_t out_row_stride)
    kx_status_t kx_softmax_vjp_f64(
        const double *q, const double *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride, ptrdiff_t q_stride,
        ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_log_vjp_f64(
        const double *log_q, const double *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride, ptrdiff_t q_stride,
        ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_logsumexp_vjp_f64(
        const double *x, const double *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
        ptrdiff_t grad_row_stride, double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_taylor_f64(
        const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, int64_t order, double lowest,
        double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_softmax_taylor_vjp_f64(
        const double *x, const double *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
        ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, int64_t order, double lowest, double *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)

cdef extern from "kexue/kx_entropy.h" nogil:
    ctypedef enum kx_entropy_domain_t:
        KX_ENTROPY_WEIGHTS
        KX_ENTROPY_LOGITS
        KX_ENTROPY_DISTANCES
        KX_ENTROPY_DISTANCES_TO_OTHERS

    ctypedef enum kx_entropy_target_t:
        KX_ENTROPY_TARGET_ENTROPY
        KX_ENTROPY_TARGET_PERPLEXITY
        KX_ENTROPY_TARGET_FRACTION
        KX_ENTROPY_TARGET_GAP_LOW
        KX_ENTROPY_TARGET_GAP_HIGH

    enum:
        KX_ENTROPY_BELOW
        KX_ENTROPY_ABOVE
        KX_ENTROPY_CONSTANT

    ctypedef struct kx_entropy_options_t:
        kx_entropy_domain_t domain
        kx_entropy_target_t target
        double tolerance
        int32_t max_iter

    void kx_entropy_options_init(kx_entropy_options_t *options)

    ctypedef struct kx_entropy_outputs_t:
        void *q
        double *gamma
        double *entropy
        int32_t *status
        int32_t *iterations

    kx_status_t kx_entropy_normalize_f32(
        const kx_ctx_t *ctx, const float *values, const int64_t *offsets, const double *targets, int64_t rows, int64_t n,
        ptrdiff_t targets_stride, const kx_entropy_options_t *options, const kx_entropy_outputs_t *outputs)
    kx_status_t kx_entropy_normalize_f64(
        const kx_ctx_t *ctx, const double *values, const int64_t *offsets, const double *targets, int64_t rows, int64_t n,
        ptrdiff_t targets_stride, const kx_entropy_options_t *options, const kx_entropy_outputs_t *outputs)
    kx_status_t kx_entropy_gradient_f32(
        const kx_ctx_t *ctx, const float *values, const int64_t *offsets, const double *gamma, const float *grad_q, int64_t rows,
        int64_t n, kx_entropy_domain_t domain, float *grad_values, double *grad_entropy)
    kx_status_t kx_entropy_gradient_f64(
        const kx_ctx_t *ctx, const double *values, const int64_t *offsets, const double *gamma, const double *grad_q, int64_t rows,
        int64_t n, kx_entropy_domain_t domain, double *grad_values, double *grad_entropy)

cdef extern from "kexue/kx_independence.h" nogil:
    ctypedef enum kx_independence_kind_t:
        KX_INDEPENDENCE_LINEAR
        KX_INDEPENDENCE_POLYNOMIAL
        KX_INDEPENDENCE_RBF
        KX_INDEPENDENCE_LAPLACE

    ctypedef struct kx_independence_points_t:
        const void *points
        int64_t dimension
        ptrdiff_t row_stride
        kx_independence_kind_t kind
        double gamma
        double coef0
        int32_t degree

    kx_status_t kx_independence_sums_f32(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,
        double *row_sums_x, double *row_sums_y, double *sums)
    kx_status_t kx_independence_sums_f64(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,
        double *row_sums_x, double *row_sums_y, double *sums)
    kx_status_t kx_independence_cross_sums_f32(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others_x,
        const kx_independence_points_t *y, const kx_independence_points_t *others_y, int64_t n, int64_t m,
        double *row_sums_x, double *column_sums_x, double *row_sums_y, double *column_sums_y, double *sums)
    kx_status_t kx_independence_cross_sums_f64(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others_x,
        const kx_independence_points_t *y, const kx_independence_points_t *others_y, int64_t n, int64_t m,
        double *row_sums_x, double *column_sums_x, double *row_sums_y, double *column_sums_y, double *sums)
    kx_status_t kx_independence_centred_sums_f32(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,
        const double *offsets_x, double constant_x, const double *offsets_y, double constant_y, double *sums)
    kx_status_t kx_independence_centred_sums_f64(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,
        const double *offsets_x, double constant_x, const double *offsets_y, double constant_y, double *sums)
    kx_status_t kx_independence_gradient_f32(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,
        const double *offsets_x, double constant_x, const double *offsets_y, double constant_y, double *gradient_x,
        double *gradient_y)
    kx_status_t kx_independence_gradient_f64(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,
        const double *offsets_x, double constant_x, const double *offsets_y, double constant_y, double *gradient_x,
        double *gradient_y)
    kx_status_t kx_independence_matrix_f32(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others,
        int64_t n, int64_t m, float *matrix)
    kx_status_t kx_independence_matrix_f64(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others,
        int64_t n, int64_t m, double *matrix)
    kx_status_t kx_independence_permutation_sums_f32(
        const kx_ctx_t *ctx, const float *k, const float *l, int64_t n, const int32_t *permutations, int64_t
        count, double *sums)
    kx_status_t kx_independence_permutation_sums_f64(
        const kx_ctx_t *ctx, const double *k, const double *l, int64_t n, const int32_t *permutations, int64_t
        count, double *sums)
    kx_status_t kx_independence_median_distance_f32(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, int64_t n, double *median)
    kx_status_t kx_independence_median_distance_f64(
        const kx_ctx_t *ctx, const kx_independence_points_t *x, int64_t n, double *median)

cdef extern from "kexue/kx_gaussians.h" nogil:
    ctypedef enum kx_gaussian_form_t:
        KX_GAUSSIAN_COVARIANCE
        KX_GAUSSIAN_CHOLESKY
        KX_GAUSSIAN_DIAGONAL

    ctypedef struct kx_batch_t:
        const void *data
        ptrdiff_t batch
        ptrdiff_t row
        ptrdiff_t column

    ctypedef struct kx_batch_out_t:
        void *data
        ptrdiff_t batch
        ptrdiff_t row
        ptrdiff_t column

    kx_status_t kx_gaussian_entropy_f32(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, float *out,
        ptrdiff_t out_stride)
    kx_status_t kx_gaussian_kl_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, float *out, ptrdiff_t out_stride)
    kx_status_t kx_gaussian_bhattacharyya_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, float *out, ptrdiff_t out_stride)
    kx_status_t kx_gaussian_hellinger_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, float *out, ptrdiff_t out_stride)
    kx_status_t kx_gaussian_entropy_gradient_f32(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form,
        const kx_batch_out_t *grad_cov)
    kx_status_t kx_gaussian_kl_gradient_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_bhattacharyya_gradient_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_hellinger_gradient_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_first_bad_pivot_f32(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, int64_t *item,
        int64_t *pivot, double *value)
    kx_status_t kx_gaussian_flaws_f32(
        const kx_batch_t *matrices, int64_t items, int64_t n, kx_gaussian_form_t form, double tolerance,
        uint8_t *flaws)

    kx_status_t kx_gaussian_entropy_f64(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, double *out,
        ptrdiff_t out_stride)
    kx_status_t kx_gaussian_kl_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, double *out, ptrdiff_t out_stride)
    kx_status_t kx_gaussian_bhattacharyya_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, double *out, ptrdiff_t out_stride)
    kx_status_t kx_gaussian_hellinger_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, double *out, ptrdiff_t out_stride)
    kx_status_t kx_gaussian_entropy_gradient_f64(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form,
        const kx_batch_out_t *grad_cov)
    kx_status_t kx_gaussian_kl_gradient_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_bhattacharyya_gradient_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_hellinger_gradient_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_first_bad_pivot_f64(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, int64_t *item,
        int64_t *pivot, double *value)
    kx_status_t kx_gaussian_flaws_f64(
        const kx_batch_t *matrices, int64_t items, int64_t n, kx_gaussian_form_t form, double tolerance,
        uint8_t *flaws)
    kx_status_t kx_gaussian_w2_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, int squared, float *out,
        ptrdiff_t out_stride)
    kx_status_t kx_gaussian_ot_map_f32(
        const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q, int64_t items, int64_t n,
        kx_gaussian_form_t form, const kx_batch_out_t *map)
    kx_status_t kx_gaussian_w2_gradient_f32(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_first_not_semidefinite_f32(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, int64_t *item,
        double *value)
    kx_status_t kx_gaussian_w2_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, int squared, double *out,
        ptrdiff_t out_stride)
    kx_status_t kx_gaussian_ot_map_f64(
        const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q, int64_t items, int64_t n,
        kx_gaussian_form_t form, const kx_batch_out_t *map)
    kx_status_t kx_gaussian_w2_gradient_f64(
        const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
        const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
    kx_status_t kx_gaussian_first_not_semidefinite_f64(
        const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, int64_t *item,
        double *value)

cdef extern from "kexue/kx_hamming.h" nogil:
    int KX_HAMMING_MAX_WORDS
    kx_status_t kx_hamming_pack_f32(
        const float *x, int64_t rows, int64_t columns, ptrdiff_t x_row_stride, ptrdiff_t x_stride, uint64_t *codes,
        ptrdiff_t code_stride)
    kx_status_t kx_hamming_pack_f64(
        const double *x, int64_t rows, int64_t columns, ptrdiff_t x_row_stride, ptrdiff_t x_stride, uint64_t *codes,
        ptrdiff_t code_stride)
    kx_status_t kx_hamming_distances(
        const kx_ctx_t *ctx, const uint64_t *queries, int64_t query_count, const uint64_t *codes, int64_t code_count,
        int64_t words, int32_t *distances)
    kx_status_t kx_hamming_neighbors(
        const kx_ctx_t *ctx, const uint64_t *queries, int64_t query_count, const uint64_t *codes, int64_t code_count,
        int64_t words, int64_t k, int32_t *distances, int64_t *indices)

cdef extern from "kexue/kx_walsh_hadamard.h" nogil:
    kx_status_t kx_walsh_hadamard_f32(
        const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_walsh_hadamard_orthonormal_f32(
        const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_walsh_hadamard_f64(
        const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, double *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    kx_status_t kx_walsh_hadamard_orthonormal_f64(
        const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, double *out,
        ptrdiff_t out_row_stride, ptrdiff_t out_stride)
    ctypedef struct kx_srht_t:
        int64_t d
        int64_t size
        int64_t sampled
        const uint64_t *signs
        const int64_t *samples
        double scale
    kx_status_t kx_srht_f32(
        const kx_ctx_t *ctx, const kx_srht_t *s, const float *x, int64_t n, ptrdiff_t x_row_stride, float *out)
    kx_status_t kx_srht_csr_f32(
        const kx_ctx_t *ctx, const kx_srht_t *s, int64_t n, const int64_t *indptr, const int64_t *indices, const float *data,
        float *out)
    kx_status_t kx_srht_adjoint_f32(
        const kx_ctx_t *ctx, const kx_srht_t *s, const float *y, int64_t n, ptrdiff_t y_row_stride, float *out)
    kx_status_t kx_srht_f64(
        const kx_ctx_t *ctx, const kx_srht_t *s, const double *x, int64_t n, ptrdiff_t x_row_stride, double *out)
    kx_status_t kx_srht_csr_f64(
        const kx_ctx_t *ctx, const kx_srht_t *s, int64_t n, const int64_t *indptr, const int64_t *indices, const double *data,
        double *out)
    kx_status_t kx_srht_adjoint_f64(
        const kx_ctx_t *ctx, const kx_srht_t *s, const double *y, int64_t n, ptrdiff_t y_row_stride, double *out)

cdef extern from "kexue/kx_child_tuning.h" nogil:
    kx_status_t kx_child_tuning_drop_f32(
        const kx_ctx_t *ctx, const uint64_t *key, uint64_t first_position, const float *x, int64_t n, double p, double scale,
        float *out)
    kx_status_t kx_child_tuning_drop_f64(
        const kx_ctx_t *ctx, const uint64_t *key, uint64_t first_position, const double *x, int64_t n, double p, double scale,
        double *out)
    kx_status_t kx_child_tuning_mask_f32(
        const kx_ctx_t *ctx, const uint8_t *mask, const float *x, int64_t n, double scale, float *out)
    kx_status_t kx_child_tuning_mask_f64(
        const kx_ctx_t *ctx, const uint8_t *mask, const double *x, int64_t n, double scale, double *out)
    kx_status_t kx_child_tuning_add_squares_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t stride, double *sums)
    kx_status_t kx_child_tuning_add_squares_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t stride, double *sums)

cdef extern from "kexue/kx_random.h" nogil:
    void kx_philox_words(const uint64_t *key, uint64_t first_word, int64_t count, uint64_t *words)

cdef extern from "kexue/kx_projection.h" nogil:
    ctypedef struct kx_projection_signs_t:
        const int64_t *column_starts
        const int32_t *targets
        int64_t n_components
        int64_t d

    kx_status_t kx_projection_sketch_f32(
        const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const float *x, int64_t rows, ptrdiff_t row_stride, double scale,
        float *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_sketch_f64(
        const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const double *x, int64_t rows, ptrdiff_t row_stride, double scale,
        double *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_sketch_csr_f32(
        const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const int64_t *row_starts, const int64_t *indices,
        const float *data, int64_t rows, double scale, float *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_sketch_csr_f64(
        const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const int64_t *row_starts, const int64_t *indices,
        const double *data, int64_t rows, double scale, double *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_rademacher_f32(
        const kx_ctx_t *ctx, const uint64_t *key, const float *x, int64_t rows, int64_t d, ptrdiff_t row_stride,
        int64_t n_components, double scale, float *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_rademacher_f64(
        const kx_ctx_t *ctx, const uint64_t *key, const double *x, int64_t rows, int64_t d, ptrdiff_t row_stride,
        int64_t n_components, double scale, double *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_rademacher_csr_f32(
        const kx_ctx_t *ctx, const uint64_t *key, const int64_t *row_starts, const int64_t *indices, const float *data,
        int64_t rows, int64_t d, int64_t n_components, double scale, float *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_rademacher_csr_f64(
        const kx_ctx_t *ctx, const uint64_t *key, const int64_t *row_starts, const int64_t *indices, const double *data,
        int64_t rows, int64_t d, int64_t n_components, double scale, double *y, ptrdiff_t y_stride)
    kx_status_t kx_projection_rademacher_adjoint_f32(
        const kx_ctx_t *ctx, const uint64_t *key, const float *y, int64_t rows, int64_t n_components, ptrdiff_t y_stride,
        int64_t d, double scale, float *z, ptrdiff_t z_stride)
    kx_status_t kx_projection_rademacher_adjoint_f64(
        const kx_ctx_t *ctx, const uint64_t *key, const double *y, int64_t rows, int64_t n_components, ptrdiff_t y_stride,
        int64_t d, double scale, double *z, ptrdiff_t z_stride)
    kx_status_t kx_projection_rademacher_matrix_f32(
        const kx_ctx_t *ctx, const uint64_t *key, int64_t n_components, int64_t first_column, int64_t d, double scale,
        float *matrix, ptrdiff_t row_stride)
    kx_status_t kx_projection_rademacher_matrix_f64(
        const kx_ctx_t *ctx, const uint64_t *key, int64_t n_components, int64_t first_column, int64_t d, double scale,
        double *matrix, ptrdiff_t row_stride)

cdef extern from "kexue/kx_losses_ranking.h" nogil:
    ctypedef struct kx_losses_vectors_t:
        void *data
        ptrdiff_t row
        ptrdiff_t step

    kx_status_t kx_losses_cosent_f32(
        const kx_ctx_t *ctx, const float *cosines, const double *labels, int64_t rows, int64_t n, ptrdiff_t cosine_row,
        ptrdiff_t cosine_step, ptrdiff_t label_row, ptrdiff_t label_step, double scale, float *loss, float *gradient,
        ptrdiff_t gradient_row, ptrdiff_t gradient_step)
    kx_status_t kx_losses_cosent_f64(
        const kx_ctx_t *ctx, const double *cosines, const double *labels, int64_t rows, int64_t n, ptrdiff_t cosine_row,
        ptrdiff_t cosine_step, ptrdiff_t label_row, ptrdiff_t label_step, double scale, double *loss, double *gradient,
        ptrdiff_t gradient_row, ptrdiff_t gradient_step)
    kx_status_t kx_losses_spearman(
        const kx_ctx_t *ctx, const double *x, const double *y, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step,
        ptrdiff_t y_row, ptrdiff_t y_step, double *correlation)
    kx_status_t kx_losses_cosine_pairs_f32(
        const float *u, const float *v, int64_t rows, int64_t n, ptrdiff_t u_row, ptrdiff_t u_step, ptrdiff_t v_row,
        ptrdiff_t v_step, float *cosines, ptrdiff_t cosine_step)
    kx_status_t kx_losses_cosine_pairs_f64(
        const double *u, const double *v, int64_t rows, int64_t n, ptrdiff_t u_row, ptrdiff_t u_step, ptrdiff_t v_row,
        ptrdiff_t v_step, double *cosines, ptrdiff_t cosine_step)
    kx_status_t kx_losses_cosine_pairs_vjp_f32(
        const kx_losses_vectors_t *u, const kx_losses_vectors_t *v, const kx_losses_vectors_t *upstream, int64_t rows, int64_t n,
        const kx_losses_vectors_t *du, const kx_losses_vectors_t *dv)
    kx_status_t kx_losses_cosine_pairs_vjp_f64(
        const kx_losses_vectors_t *u, const kx_losses_vectors_t *v, const kx_losses_vectors_t *upstream, int64_t rows, int64_t n,
        const kx_losses_vectors_t *du, const kx_losses_vectors_t *dv)
    kx_status_t kx_losses_l2_normalize_f32(
        const float *x, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step, float *out, ptrdiff_t out_row,
        ptrdiff_t out_step)
    kx_status_t kx_losses_l2_normalize_f64(
        const double *x, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step, double *out, ptrdiff_t out_row,
        ptrdiff_t out_step)
    kx_status_t kx_losses_l2_normalize_vjp_f32(
        const float *x, const float *upstream, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step,
        ptrdiff_t upstream_row, ptrdiff_t upstream_step, float *out, ptrdiff_t out_row, ptrdiff_t out_step)
    kx_status_t kx_losses_l2_normalize_vjp_f64(
        const double *x, const double *upstream, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step,
        ptrdiff_t upstream_row, ptrdiff_t upstream_step, double *out, ptrdiff_t out_row, ptrdiff_t out_step)

cdef extern from "kexue/kx_attention.h" nogil:
    ctypedef struct kx_attention_rows_t:
        const void *data
        const int64_t *offsets
        ptrdiff_t row

    ctypedef enum kx_attention_mask_t:
        KX_ATTENTION_UNMASKED
        KX_ATTENTION_BOOLEAN
        KX_ATTENTION_ADDITIVE

    ctypedef struct kx_attention_t:
        kx_attention_rows_t queries
        kx_attention_rows_t keys
        kx_attention_rows_t values
        int64_t items
        int64_t query_count
        int64_t key_count
        int64_t dimension
        int64_t value_dimension
        kx_attention_mask_t mask_kind
        kx_attention_rows_t mask
        ptrdiff_t mask_step
        int is_causal
        const double *scales
        int64_t scale_item
        int64_t scale_row

    kx_status_t kx_attention_f32(
        const kx_ctx_t *ctx, const kx_attention_t *attention, float *out, double *log_sums, double *entropies)
    kx_status_t kx_attention_f64(
        const kx_ctx_t *ctx, const kx_attention_t *attention, double *out, double *log_sums, double *entropies)
    kx_status_t kx_attention_gradient_f32(
        const kx_ctx_t *ctx, const kx_attention_t *attention, const float *out, const double *log_sums,
        const kx_attention_rows_t *out_gradients, float *query_gradients, float *key_gradients, float *value_gradients,
        double *scale_gradients)
    kx_status_t kx_attention_gradient_f64(
        const kx_ctx_t *ctx, const kx_attention_t *attention, const double *out, const double *log_sums,
        const kx_attention_rows_t *out_gradients, double *query_gradients, double *key_gradients, double *value_gradients,
        double *scale_gradients)

    ctypedef struct kx_talking_heads_t:
        kx_attention_t heads
        int64_t key_heads
        int64_t softmax_heads
        int64_t value_heads
        const double *logit_mix
        const double *weight_mix

    kx_status_t kx_talking_heads_f32(const kx_ctx_t *ctx, const kx_talking_heads_t *talking, float *out)
    kx_status_t kx_talking_heads_f64(const kx_ctx_t *ctx, const kx_talking_heads_t *talking, double *out)
    kx_status_t kx_talking_heads_gradient_f32(
        const kx_ctx_t *ctx, const kx_talking_heads_t *talking, const kx_attention_rows_t *out_gradients,
        float *query_gradients, float *key_gradients, float *value_gradients, double *logit_mix_gradients,
        double *weight_mix_gradients)
    kx_status_t kx_talking_heads_gradient_f64(
        const kx_ctx_t *ctx, const kx_talking_heads_t *talking, const kx_attention_rows_t *out_gradients,
        double *query_gradients, double *key_gradients, double *value_gradients, double *logit_mix_gradients,
        double *weight_mix_gradients)

cdef extern from "kexue/kx_linear_attention.h" nogil:
    ctypedef struct kx_linear_attention_t:
        kx_attention_rows_t queries
        kx_attention_rows_t keys
        kx_attention_rows_t values
        int64_t items
        int64_t query_count
        int64_t key_count
        int64_t dimension
        int64_t value_dimension
        kx_attention_rows_t log_scales
        int is_causal
        int is_normalized
        double eps

    ctypedef enum kx_polynomial_t:
        KX_POLYNOMIAL_MONOMIALS
        KX_POLYNOMIAL_TENSORS
        KX_POLYNOMIAL_TENSOR_POWER

    kx_status_t kx_linear_attention_f32(
        const kx_ctx_t *ctx, const kx_linear_attention_t *attention, float *out, double *denominators)
    kx_status_t kx_linear_attention_f64(
        const kx_ctx_t *ctx, const kx_linear_attention_t *attention, double *out, double *denominators)
    kx_status_t kx_polynomial_features_size(kx_polynomial_t kind, int64_t d, int64_t degree, int64_t *size)
    kx_status_t kx_polynomial_features_f32(
        const kx_ctx_t *ctx, kx_polynomial_t kind, const float *x, int64_t rows, ptrdiff_t row, int64_t d, int64_t degree,
        double scale, const double *degree_scales, float *out)
    kx_status_t kx_polynomial_features_f64(
        const kx_ctx_t *ctx, kx_polynomial_t kind, const double *x, int64_t rows, ptrdiff_t row, int64_t d, int64_t degree,
        double scale, const double *degree_scales, double *out)

cdef extern from "kexue/kx_layer_norm.h" nogil:
    ctypedef struct kx_norm_vectors_t:
        void *data
        ptrdiff_t row
        ptrdiff_t step

    kx_status_t kx_layer_norm_f32(
        const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta, int64_t rows, int64_t n, double eps,
        const kx_norm_vectors_t *out)
    kx_status_t kx_rms_norm_f32(
        const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *out)
    kx_status_t kx_layer_norm_f64(
        const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta, int64_t rows, int64_t n, double eps,
        const kx_norm_vectors_t *out)
    kx_status_t kx_rms_norm_f64(
        const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *out)
    kx_status_t kx_layer_norm_vjp_f32(
        const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream, const kx_norm_vectors_t *gamma,
        int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *dx, float *dgamma, float *dbeta)
    kx_status_t kx_rms_norm_vjp_f32(
        const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream, const kx_norm_vectors_t *gamma,
        int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *dx, float *dgamma)
    kx_status_t kx_layer_norm_vjp_f64(
        const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream, const kx_norm_vectors_t *gamma,
        int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *dx, double *dgamma, double *dbeta)
    kx_status_t kx_rms_norm_vjp_f64(
        const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream, const kx_norm_vectors_t *gamma,
        int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *dx, double *dgamma)

cdef extern from "kexue/kx_losses.h" nogil:
    ctypedef struct kx_loss_rows_t:
        int64_t count
        int64_t n
        const void *scores
        ptrdiff_t score_stride
        const uint8_t *labels
        ptrdiff_t label_stride
        const void *targets
        ptrdiff_t target_stride
        const uint8_t *mask
        ptrdiff_t mask_stride
        const void *thresholds
        ptrdiff_t threshold_stride
    kx_status_t kx_losses_zlpr_f32(
        const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double label_smoothing, float *loss, float *grad,
        ptrdiff_t grad_stride)
    kx_status_t kx_losses_zlpr_f64(
        const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double label_smoothing, double *loss, double *grad,
        ptrdiff_t grad_stride)
    kx_status_t kx_losses_zlpr_sparse_f32(
        const kx_ctx_t *ctx, const kx_loss_rows_t *rows, const int64_t *offsets, const int64_t *ids, float *loss,
        float *grad, ptrdiff_t grad_stride)
    kx_status_t kx_losses_zlpr_sparse_f64(
        const kx_ctx_t *ctx, const kx_loss_rows_t *rows, const int64_t *offsets, const int64_t *ids, double *loss,
        double *grad, ptrdiff_t grad_stride)
    kx_status_t kx_losses_pairwise_rank_f32(
        const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double gamma, double margin, float *loss, float *grad,
        ptrdiff_t grad_stride)
    kx_status_t kx_losses_pairwise_rank_f64(
        const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double gamma, double margin, double *loss, double *grad,
        ptrdiff_t grad_stride)
    kx_status_t kx_losses_zlpr_symmetric_kl_f32(
        const kx_ctx_t *ctx, const float *s, const float *t, const uint8_t *mask, int64_t count, int64_t n,
        ptrdiff_t s_stride, ptrdiff_t t_stride, ptrdiff_t mask_stride, float *loss, float *grad_s, float *grad_t,
        ptrdiff_t grad_stride)
    kx_status_t kx_losses_zlpr_symmetric_kl_f64(
        const kx_ctx_t *ctx, const double *s, const double *t, const uint8_t *mask, int64_t count, int64_t n,
        ptrdiff_t s_stride, ptrdiff_t t_stride, ptrdiff_t mask_stride, double *loss, double *grad_s, double *grad_t,
        ptrdiff_t grad_stride)


cdef extern from "kexue/kx_recurrent.h" nogil:
    ctypedef enum kx_recurrent_kind_t:
        KX_RECURRENT_TANH
        KX_RECURRENT_RELU
        KX_RECURRENT_LSTM
        KX_RECURRENT_GRU
        KX_RECURRENT_GRU_AFTER
        KX_RECURRENT_GRU_SINGLE
        KX_RECURRENT_GRU_PROPOSAL
    ctypedef struct kx_recurrent_t:
        kx_recurrent_kind_t kind
        int64_t sequences
        int64_t steps
        int64_t dimension
        int64_t size
        const void *inputs
        const void *input_weights
        const void *weights
        const void *bias
        const void *recurrent_bias
        const void *start
        const void *cell_start
    kx_status_t kx_recurrent_f32(
        const kx_ctx_t *ctx, const kx_recurrent_t *network, float *states, float *cells, float *gates)
    kx_status_t kx_recurrent_f64(
        const kx_ctx_t *ctx, const kx_recurrent_t *network, double *states, double *cells, double *gates)
    kx_status_t kx_recurrent_gradient_f32(
        const kx_ctx_t *ctx, const kx_recurrent_t *network, const float *gates, const float *states, const float *cells,
        const float *state_gradients, const float *cell_gradients, float *gate_gradients, float *start_gradients,
        float *cell_start_gradients)
    kx_status_t kx_recurrent_gradient_f64(
        const kx_ctx_t *ctx, const kx_recurrent_t *network, const double *gates, const double *states, const double *cells,
        const double *state_gradients, const double *cell_gradients, double *gate_gradients, double *start_gradients,
        double *cell_start_gradients)
    ctypedef struct kx_recurrent_matrix_t:
        const void *data
        ptrdiff_t row
        ptrdiff_t column
    kx_status_t kx_recurrent_product_f32(
        const kx_ctx_t *ctx, int64_t rows, int64_t depth, int64_t columns, const kx_recurrent_matrix_t *left,
        const kx_recurrent_matrix_t *right, float *out, ptrdiff_t out_row)
    kx_status_t kx_recurrent_product_f64(
        const kx_ctx_t *ctx, int64_t rows, int64_t depth, int64_t columns, const kx_recurrent_matrix_t *left,
        const kx_recurrent_matrix_t *right, double *out, ptrdiff_t out_row)

cdef extern from "kexue/kx_prefix_tree.h" nogil:
    ctypedef struct kx_prefix_tree_t:
        const void *tokens
        int token_bytes
        int64_t nodes
        const uint32_t *children
        const uint64_t *ends
        const uint32_t *ranks

    ctypedef struct kx_prefix_tree_sizes_t:
        int64_t nodes
        int64_t sequences
        int64_t deepest
        int64_t largest

    int KX_PREFIX_TREE_NONE

    kx_status_t kx_prefix_tree_sort(
        const kx_ctx_t *ctx, const void *tokens, int token_bytes, const int64_t *starts, int64_t count, uint32_t *order,
        int64_t *shared, kx_prefix_tree_sizes_t *sizes)
    kx_status_t kx_prefix_tree_fill(
        const kx_ctx_t *ctx, const void *tokens, int token_bytes, const int64_t *starts, int64_t count, const uint32_t *order,
        const int64_t *shared, const kx_prefix_tree_sizes_t *sizes, void *tree_tokens, int tree_token_bytes, uint32_t *children,
        uint64_t *ends, uint32_t *ranks, uint32_t *places)
    kx_status_t kx_prefix_tree_check(const kx_ctx_t *ctx, const kx_prefix_tree_t *tree)
    int64_t kx_prefix_tree_child(const kx_prefix_tree_t *tree, int64_t node, int64_t token)
    int64_t kx_prefix_tree_walk(const kx_prefix_tree_t *tree, int64_t node, const int64_t *tokens, int64_t count)
    int kx_prefix_tree_is_end(const kx_prefix_tree_t *tree, int64_t node)
    int64_t kx_prefix_tree_rank(const kx_prefix_tree_t *tree, int64_t node)
    int64_t kx_prefix_tree_mask_f32(
        const kx_prefix_tree_t *tree, int64_t node, int64_t end_token, float *row, int64_t vocabulary)
    int64_t kx_prefix_tree_mask_f64(
        const kx_prefix_tree_t *tree, int64_t node, int64_t end_token, double *row, int64_t vocabulary)

cdef extern from "kexue/kx_lookahead.h" nogil:
    kx_status_t kx_prefix_tree_lcs_gains(
        const kx_ctx_t *ctx, const kx_prefix_tree_t *tree, int64_t node, const int64_t *prefix, int64_t n, const int64_t *query, int64_t m,
        int64_t stop_token, int64_t *gains)

cdef extern from "kexue/kx_alignment.h" nogil:
    kx_status_t kx_longest_common_subsequence(
        const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *length)
    kx_status_t kx_edit_distance(
        const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *distance)

cdef extern from "kexue/kx_gradient_clipping.h" nogil:
    ctypedef struct kx_scaled_norm_t:
        double square
        int exponent
    ctypedef struct kx_clip_factor_t:
        double first
        double second
    kx_status_t kx_row_norms_f32(
        const kx_ctx_t *ctx, const float *x, int64_t rows, int64_t columns, int64_t stride, kx_scaled_norm_t *norms)
    kx_status_t kx_row_norms_f64(
        const kx_ctx_t *ctx, const double *x, int64_t rows, int64_t columns, int64_t stride, kx_scaled_norm_t *norms)
    kx_scaled_norm_t kx_combine_norms(const kx_scaled_norm_t *norms, int64_t count)
    kx_clip_factor_t kx_clip_factor(kx_scaled_norm_t norm, double max_norm, int is_soft)
    kx_status_t kx_scale_rows_f32(
        const kx_ctx_t *ctx, const float *x, int64_t rows, int64_t columns, int64_t stride, const kx_clip_factor_t *factors, float *out,
        int64_t out_stride)
    kx_status_t kx_scale_rows_f64(
        const kx_ctx_t *ctx, const double *x, int64_t rows, int64_t columns, int64_t stride, const kx_clip_factor_t *factors, double *out,
        int64_t out_stride)

cdef extern from "kexue/kx_vector_math.h" nogil:
    kx_status_t kx_vector_exp_f32(const float *x, int64_t n, float *out)
    kx_status_t kx_vector_exp_f64(const double *x, int64_t n, double *out)
    kx_status_t kx_vector_log_f32(const float *x, int64_t n, float *out)
    kx_status_t kx_vector_log_f64(const double *x, int64_t n, double *out)
