# Piecewise linear and piecewise constant functions smoothed by a kernel: kexue.smooth_relu and its sisters choose
# among them.
from kexue.core cimport (
    kx_smoothing_abs_gaussian_f32,
    kx_smoothing_abs_gaussian_f64,
    kx_smoothing_abs_logistic_f32,
    kx_smoothing_abs_logistic_f64,
    kx_smoothing_abs_student_t2_f32,
    kx_smoothing_abs_student_t2_f64,
    kx_smoothing_ceil_cauchy_f32,
    kx_smoothing_ceil_cauchy_f64,
    kx_smoothing_ceil_gaussian_f32,
    kx_smoothing_ceil_gaussian_f64,
    kx_smoothing_ceil_logistic_f32,
    kx_smoothing_ceil_logistic_f64,
    kx_smoothing_ceil_student_t2_f32,
    kx_smoothing_ceil_student_t2_f64,
    kx_smoothing_clip_cauchy_f32,
    kx_smoothing_clip_cauchy_f64,
    kx_smoothing_clip_gaussian_f32,
    kx_smoothing_clip_gaussian_f64,
    kx_smoothing_clip_logistic_f32,
    kx_smoothing_clip_logistic_f64,
    kx_smoothing_clip_student_t2_f32,
    kx_smoothing_clip_student_t2_f64,
    kx_smoothing_floor_cauchy_f32,
    kx_smoothing_floor_cauchy_f64,
    kx_smoothing_floor_gaussian_f32,
    kx_smoothing_floor_gaussian_f64,
    kx_smoothing_floor_logistic_f32,
    kx_smoothing_floor_logistic_f64,
    kx_smoothing_floor_student_t2_f32,
    kx_smoothing_floor_student_t2_f64,
    kx_smoothing_leaky_relu_gaussian_f32,
    kx_smoothing_leaky_relu_gaussian_f64,
    kx_smoothing_leaky_relu_logistic_f32,
    kx_smoothing_leaky_relu_logistic_f64,
    kx_smoothing_leaky_relu_student_t2_f32,
    kx_smoothing_leaky_relu_student_t2_f64,
    kx_smoothing_maximum_gaussian_f32,
    kx_smoothing_maximum_gaussian_f64,
    kx_smoothing_maximum_logistic_f32,
    kx_smoothing_maximum_logistic_f64,
    kx_smoothing_maximum_student_t2_f32,
    kx_smoothing_maximum_student_t2_f64,
    kx_smoothing_relu_gaussian_f32,
    kx_smoothing_relu_gaussian_f64,
    kx_smoothing_relu_logistic_f32,
    kx_smoothing_relu_logistic_f64,
    kx_smoothing_round_cauchy_f32,
    kx_smoothing_round_cauchy_f64,
    kx_smoothing_round_gaussian_f32,
    kx_smoothing_round_gaussian_f64,
    kx_smoothing_round_logistic_f32,
    kx_smoothing_round_logistic_f64,
    kx_smoothing_round_student_t2_f32,
    kx_smoothing_round_student_t2_f64,
    kx_smoothing_sign_cauchy_f32,
    kx_smoothing_sign_cauchy_f64,
    kx_smoothing_sign_gaussian_f32,
    kx_smoothing_sign_gaussian_f64,
    kx_smoothing_sign_logistic_f32,
    kx_smoothing_sign_logistic_f64,
    kx_smoothing_sign_student_t2_f32,
    kx_smoothing_sign_student_t2_f64,
    kx_smoothing_step_cauchy_f32,
    kx_smoothing_step_cauchy_f64,
    kx_smoothing_step_gaussian_f32,
    kx_smoothing_step_gaussian_f64,
    kx_smoothing_step_logistic_f32,
    kx_smoothing_step_logistic_f64,
)

smooth_relu_gaussian = binary("smooth_relu_gaussian", kx_smoothing_relu_gaussian_f32,
    kx_smoothing_relu_gaussian_f64, """
relu convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_relu`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_relu_logistic = binary("smooth_relu_logistic", kx_smoothing_relu_logistic_f32,
    kx_smoothing_relu_logistic_f64, """
relu convolved with the logistic density of rate `scale`: see `kexue.smooth_relu`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_step_gaussian = binary("smooth_step_gaussian", kx_smoothing_step_gaussian_f32,
    kx_smoothing_step_gaussian_f64, """
The unit step convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_step`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_step_logistic = binary("smooth_step_logistic", kx_smoothing_step_logistic_f32,
    kx_smoothing_step_logistic_f64, """
The unit step convolved with the logistic density of rate `scale`: see `kexue.smooth_step`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_step_cauchy = binary("smooth_step_cauchy", kx_smoothing_step_cauchy_f32,
    kx_smoothing_step_cauchy_f64, """
The unit step convolved with Cauchy's density of half width `scale`: see `kexue.smooth_step`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_abs_gaussian = binary("smooth_abs_gaussian", kx_smoothing_abs_gaussian_f32,
    kx_smoothing_abs_gaussian_f64, """
The absolute value convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_abs`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_abs_logistic = binary("smooth_abs_logistic", kx_smoothing_abs_logistic_f32,
    kx_smoothing_abs_logistic_f64, """
The absolute value convolved with the logistic density of rate `scale`: see `kexue.smooth_abs`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_abs_student_t2 = binary("smooth_abs_student_t2", kx_smoothing_abs_student_t2_f32,
    kx_smoothing_abs_student_t2_f64, """
The absolute value convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_abs`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_sign_gaussian = binary("smooth_sign_gaussian", kx_smoothing_sign_gaussian_f32,
    kx_smoothing_sign_gaussian_f64, """
The sign convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_sign`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_sign_logistic = binary("smooth_sign_logistic", kx_smoothing_sign_logistic_f32,
    kx_smoothing_sign_logistic_f64, """
The sign convolved with the logistic density of rate `scale`: see `kexue.smooth_sign`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_sign_student_t2 = binary("smooth_sign_student_t2", kx_smoothing_sign_student_t2_f32,
    kx_smoothing_sign_student_t2_f64, """
The sign convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_sign`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_sign_cauchy = binary("smooth_sign_cauchy", kx_smoothing_sign_cauchy_f32,
    kx_smoothing_sign_cauchy_f64, """
The sign convolved with Cauchy's density of half width `scale`: see `kexue.smooth_sign`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_leaky_relu_gaussian = ternary("smooth_leaky_relu_gaussian", kx_smoothing_leaky_relu_gaussian_f32,
    kx_smoothing_leaky_relu_gaussian_f64, """
The leaky relu convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_leaky_relu`.

Parameters
----------
x : array_like
    {real}
slope : array_like
    The slope of the left half.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_leaky_relu_logistic = ternary("smooth_leaky_relu_logistic", kx_smoothing_leaky_relu_logistic_f32,
    kx_smoothing_leaky_relu_logistic_f64, """
The leaky relu convolved with the logistic density of rate `scale`: see `kexue.smooth_leaky_relu`.

Parameters
----------
x : array_like
    {real}
slope : array_like
    The slope of the left half.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_leaky_relu_student_t2 = ternary("smooth_leaky_relu_student_t2", kx_smoothing_leaky_relu_student_t2_f32,
    kx_smoothing_leaky_relu_student_t2_f64, """
The leaky relu convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_leaky_relu`.

Parameters
----------
x : array_like
    {real}
slope : array_like
    The slope of the left half.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_maximum_gaussian = ternary("smooth_maximum_gaussian", kx_smoothing_maximum_gaussian_f32,
    kx_smoothing_maximum_gaussian_f64, """
The larger one of `x` and `y` convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_maximum`.

Parameters
----------
x : array_like
    {real}
y : array_like
    Real numbers, as `x`.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_maximum_logistic = ternary("smooth_maximum_logistic", kx_smoothing_maximum_logistic_f32,
    kx_smoothing_maximum_logistic_f64, """
The larger one of `x` and `y` convolved with the logistic density of rate `scale`: see `kexue.smooth_maximum`.

Parameters
----------
x : array_like
    {real}
y : array_like
    Real numbers, as `x`.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_maximum_student_t2 = ternary("smooth_maximum_student_t2", kx_smoothing_maximum_student_t2_f32,
    kx_smoothing_maximum_student_t2_f64, """
The larger one of `x` and `y` convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_maximum`.

Parameters
----------
x : array_like
    {real}
y : array_like
    Real numbers, as `x`.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_clip_gaussian = quaternary("smooth_clip_gaussian", kx_smoothing_clip_gaussian_f32,
    kx_smoothing_clip_gaussian_f64, """
min(max(x, low), high) convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_clip`.

Parameters
----------
x : array_like
    {real}
low, high : array_like
    The bounds, low <= high.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_clip_logistic = quaternary("smooth_clip_logistic", kx_smoothing_clip_logistic_f32,
    kx_smoothing_clip_logistic_f64, """
min(max(x, low), high) convolved with the logistic density of rate `scale`: see `kexue.smooth_clip`.

Parameters
----------
x : array_like
    {real}
low, high : array_like
    The bounds, low <= high.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_clip_student_t2 = quaternary("smooth_clip_student_t2", kx_smoothing_clip_student_t2_f32,
    kx_smoothing_clip_student_t2_f64, """
min(max(x, low), high) convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_clip`.

Parameters
----------
x : array_like
    {real}
low, high : array_like
    The bounds, low <= high.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_clip_cauchy = quaternary("smooth_clip_cauchy", kx_smoothing_clip_cauchy_f32,
    kx_smoothing_clip_cauchy_f64, """
min(max(x, low), high) convolved with Cauchy's density of half width `scale`: see `kexue.smooth_clip`.

Parameters
----------
x : array_like
    {real}
low, high : array_like
    The bounds, low <= high.
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_floor_gaussian = ternary("smooth_floor_gaussian", kx_smoothing_floor_gaussian_f32,
    kx_smoothing_floor_gaussian_f64, """
floor convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_floor`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_floor_logistic = ternary("smooth_floor_logistic", kx_smoothing_floor_logistic_f32,
    kx_smoothing_floor_logistic_f64, """
floor convolved with the logistic density of rate `scale`: see `kexue.smooth_floor`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_floor_student_t2 = ternary("smooth_floor_student_t2", kx_smoothing_floor_student_t2_f32,
    kx_smoothing_floor_student_t2_f64, """
floor convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_floor`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_floor_cauchy = ternary("smooth_floor_cauchy", kx_smoothing_floor_cauchy_f32,
    kx_smoothing_floor_cauchy_f64, """
floor convolved with Cauchy's density of half width `scale`: see `kexue.smooth_floor`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_ceil_gaussian = ternary("smooth_ceil_gaussian", kx_smoothing_ceil_gaussian_f32,
    kx_smoothing_ceil_gaussian_f64, """
ceil convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_ceil`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_ceil_logistic = ternary("smooth_ceil_logistic", kx_smoothing_ceil_logistic_f32,
    kx_smoothing_ceil_logistic_f64, """
ceil convolved with the logistic density of rate `scale`: see `kexue.smooth_ceil`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_ceil_student_t2 = ternary("smooth_ceil_student_t2", kx_smoothing_ceil_student_t2_f32,
    kx_smoothing_ceil_student_t2_f64, """
ceil convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_ceil`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_ceil_cauchy = ternary("smooth_ceil_cauchy", kx_smoothing_ceil_cauchy_f32,
    kx_smoothing_ceil_cauchy_f64, """
ceil convolved with Cauchy's density of half width `scale`: see `kexue.smooth_ceil`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_round_gaussian = ternary("smooth_round_gaussian", kx_smoothing_round_gaussian_f32,
    kx_smoothing_round_gaussian_f64, """
round convolved with a Gaussian of standard deviation `scale`: see `kexue.smooth_round`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_round_logistic = ternary("smooth_round_logistic", kx_smoothing_round_logistic_f32,
    kx_smoothing_round_logistic_f64, """
round convolved with the logistic density of rate `scale`: see `kexue.smooth_round`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_round_student_t2 = ternary("smooth_round_student_t2", kx_smoothing_round_student_t2_f32,
    kx_smoothing_round_student_t2_f64, """
round convolved with Student's t of two degrees of freedom, `scale` = b: see `kexue.smooth_round`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")

smooth_round_cauchy = ternary("smooth_round_cauchy", kx_smoothing_round_cauchy_f32,
    kx_smoothing_round_cauchy_f64, """
round convolved with Cauchy's density of half width `scale`: see `kexue.smooth_round`.

Parameters
----------
x : array_like
    {real}
scale : array_like
    Positive and finite; for others NaN, and the invalid flag is raised.
form : array_like
    0, 1 or 2: automatic, a sum of steps, a Fourier series.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape.
""")
