# SquarePlus.
from kexue.core cimport (
    KX_SQUAREPLUS_B_CURVATURE,
    KX_SQUAREPLUS_B_MINIMAX,
    KX_SQUAREPLUS_B_T2,
    KX_SQUAREPLUS_B_UPPER,
    kx_activations_squareplus_f32,
    kx_activations_squareplus_f64,
    kx_activations_squareplus_grad_b_f32,
    kx_activations_squareplus_grad_b_f64,
    kx_activations_squareplus_grad_f32,
    kx_activations_squareplus_grad_f64,
    kx_activations_squareplus_inverse_f32,
    kx_activations_squareplus_inverse_f64,
)

SQUAREPLUS_B_MINIMAX = KX_SQUAREPLUS_B_MINIMAX
SQUAREPLUS_B_UPPER = KX_SQUAREPLUS_B_UPPER
SQUAREPLUS_B_CURVATURE = KX_SQUAREPLUS_B_CURVATURE
SQUAREPLUS_B_T2 = KX_SQUAREPLUS_B_T2

squareplus = binary("squareplus", kx_activations_squareplus_f32, kx_activations_squareplus_f64, """
SquarePlus, an algebraic smooth approximation of relu: (x + sqrt(x**2 + b)) / 2.

Monotone and convex in `x`, smooth for b > 0, relu itself for b = 0. It exceeds relu by at most sqrt(b) / 2,
at x = 0. Free of cancellation and of overflow: the error is at most 1 ulp in float32 and 2 ulp in float64
over the whole range.

Parameters
----------
x : array_like
    {real}
b : array_like
    Smoothness, b >= 0; broadcast against `x`. `kexue.SQUAREPLUS_B_MINIMAX` is closest to softplus.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For b < 0 NaN, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
squareplus_grad, squareplus_grad_b : the derivatives.
squareplus_inverse : the inverse.

Notes
-----
Linear time, one square root an element. f(x) - f(-x) = x, f(x) f(-x) = b / 4, and f(a x; a**2 b) = a f(x; b)
for a > 0.

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus([-1.0, 0.0, 2.0], 4.0)
array([0.61803399, 1.        , 2.41421356])
""")

squareplus_grad = binary("squareplus_grad", kx_activations_squareplus_grad_f32,
                         kx_activations_squareplus_grad_f64, """
The derivative of SquarePlus by x: (1 + x / sqrt(x**2 + b)) / 2.

Rises from 0 to 1. The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
x : array_like
    {real}
b : array_like
    Smoothness, b >= 0; broadcast against `x`. For b = 0 the result is 0, 1/2 or 1 for x < 0, x = 0, x > 0.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For b < 0 NaN, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
squareplus : the function.
squareplus_grad_b : the derivative by `b`.

Notes
-----
Linear time, one square root an element. It is the distribution function of Student's t with two degrees of
freedom, scaled by sqrt(b / 2).

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus_grad([-1.0, 0.0, 2.0], 4.0)
array([0.2763932 , 0.5       , 0.85355339])
""")

squareplus_grad_b = binary("squareplus_grad_b", kx_activations_squareplus_grad_b_f32,
                           kx_activations_squareplus_grad_b_f64, """
The derivative of SquarePlus by b: 1 / (4 sqrt(x**2 + b)).

The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
x : array_like
    {real}
b : array_like
    Smoothness, b >= 0; broadcast against `x`. For x = b = 0 the result is inf, and the divide-by-zero flag is
    raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For b < 0 NaN, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
squareplus : the function.
squareplus_grad : the derivative by `x`.

Notes
-----
Linear time, one square root and one division an element.

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus_grad_b([-1.0, 0.0, 2.0], 4.0)
array([0.1118034 , 0.125     , 0.08838835])
""")

squareplus_inverse = binary("squareplus_inverse", kx_activations_squareplus_inverse_f32,
                            kx_activations_squareplus_inverse_f64, """
The inverse of SquarePlus in x: the x with squareplus(x, b) = y, which is y - b / (4 y).

The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
y : array_like
    Values of SquarePlus, y >= 0. {real}
b : array_like
    Smoothness, b >= 0; broadcast against `y`. For b = 0 the result is `y` itself.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. -inf for y = 0 and b > 0. NaN where an operand is NaN. For y < 0 or b < 0 NaN, and
    the invalid flag is raised (`numpy.errstate`).

See Also
--------
squareplus : the function.

Notes
-----
Linear time, one division an element.

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus_inverse(kexue.squareplus([-1.0, 0.0, 2.0], 4.0), 4.0)
array([-1.,  0.,  2.])
""")
