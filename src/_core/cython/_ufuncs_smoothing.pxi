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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_relu_gaussian([-1.0, 0.5, 2.0], 1.0)
array([0.08331547, 0.69779656, 2.0084907 ])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_relu_logistic([-1.0, 0.5, 2.0], 1.0)
array([0.31326169, 0.97407698, 2.12692801])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_step_gaussian([-1.0, 0.5, 2.0], 1.0)
array([0.15865525, 0.69146246, 0.97724987])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_step_logistic([-1.0, 0.5, 2.0], 1.0)
array([0.26894142, 0.62245933, 0.88079708])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_step_cauchy([-1.0, 0.5, 2.0], 1.0)
array([0.25      , 0.64758362, 0.85241638])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_abs_gaussian([-1.0, 0.5, 2.0], 1.0)
array([1.16663094, 0.89559311, 2.01698141])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_abs_logistic([-1.0, 0.5, 2.0], 1.0)
array([1.62652338, 1.44815397, 2.25385602])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_abs_student_t2([-1.0, 0.5, 2.0], 1.0)
array([1.41421356, 1.11803399, 2.23606798])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_sign_gaussian([-1.0, 0.5, 2.0], 1.0)
array([-0.68268949,  0.38292492,  0.95449974])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_sign_logistic([-1.0, 0.5, 2.0], 1.0)
array([-0.46211716,  0.24491866,  0.76159416])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_sign_student_t2([-1.0, 0.5, 2.0], 1.0)
array([-0.70710678,  0.4472136 ,  0.89442719])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_sign_cauchy([-1.0, 0.5, 2.0], 1.0)
array([-0.5       ,  0.29516724,  0.70483276])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_leaky_relu_gaussian([-1.0, 0.5, 2.0], 0.1, 1.0)
array([-0.02501608,  0.6780169 ,  2.00764163])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_leaky_relu_logistic([-1.0, 0.5, 2.0], 0.1, 1.0)
array([0.18193552, 0.92666929, 2.11423521])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_leaky_relu_student_t2([-1.0, 0.5, 2.0], 0.1, 1.0)
array([0.0863961 , 0.77811529, 2.10623059])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_maximum_gaussian([-1.0, 0.5, 2.0], 1.0, 1.0)
array([1.0084907 , 1.19779656, 2.08331547])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_maximum_logistic([-1.0, 0.5, 2.0], 1.0, 1.0)
array([1.12692801, 1.47407698, 2.31326169])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_maximum_student_t2([-1.0, 0.5, 2.0], 1.0, 1.0)
array([1.11803399, 1.30901699, 2.20710678])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_clip_gaussian([-1.0, 0.5, 2.0], -1.0, 1.0, 1.0)
array([-0.60954842,  0.33151024,  0.91706668])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_clip_logistic([-1.0, 0.5, 2.0], -1.0, 1.0, 1.0)
array([-0.43378083,  0.22733629,  0.73532566])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_clip_student_t2([-1.0, 0.5, 2.0], -1.0, 1.0, 1.0)
array([-0.61803399,  0.34237082,  0.87403205])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_clip_cauchy([-1.0, 0.5, 2.0], -1.0, 1.0, 1.0)
array([-0.44868277,  0.24338326,  0.68660085])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_floor_gaussian([-1.0, 0.5, 2.0], 0.25, 0)
array([-1.5,  0. ,  1.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_floor_logistic([-1.0, 0.5, 2.0], 0.25, 0)
array([-1.5,  0. ,  1.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_floor_student_t2([-1.0, 0.5, 2.0], 0.25, 0)
array([-1.5,  0. ,  1.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_floor_cauchy([-1.0, 0.5, 2.0], 0.25, 0)
array([-1.5,  0. ,  1.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_ceil_gaussian([-1.0, 0.5, 2.0], 0.25, 0)
array([-0.5,  1. ,  2.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_ceil_logistic([-1.0, 0.5, 2.0], 0.25, 0)
array([-0.5,  1. ,  2.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_ceil_student_t2([-1.0, 0.5, 2.0], 0.25, 0)
array([-0.5,  1. ,  2.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_ceil_cauchy([-1.0, 0.5, 2.0], 0.25, 0)
array([-0.5,  1. ,  2.5])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_round_gaussian([-1.0, 0.5, 2.0], 0.25, 0)
array([-1. ,  0.5,  2. ])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_round_logistic([-1.0, 0.5, 2.0], 0.25, 0)
array([-1. ,  0.5,  2. ])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_round_student_t2([-1.0, 0.5, 2.0], 0.25, 0)
array([-1. ,  0.5,  2. ])
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

Examples
--------
>>> import kexue.ufuncs
>>> kexue.ufuncs.smooth_round_cauchy([-1.0, 0.5, 2.0], 0.25, 0)
array([-1. ,  0.5,  2. ])
""")
