# Softplus, Swish, GELU and the Taylor polynomials of exp, with their derivatives.
from kexue.core cimport (
    kx_activations_exp_taylor_f32,
    kx_activations_exp_taylor_f64,
    kx_activations_exp_taylor_grad_f32,
    kx_activations_exp_taylor_grad_f64,
    kx_activations_gelu_f32,
    kx_activations_gelu_f64,
    kx_activations_gelu_grad_f32,
    kx_activations_gelu_grad_f64,
    kx_activations_gelu_tanh_f32,
    kx_activations_gelu_tanh_f64,
    kx_activations_gelu_tanh_grad_f32,
    kx_activations_gelu_tanh_grad_f64,
    kx_activations_softplus_f32,
    kx_activations_softplus_f64,
    kx_activations_softplus_grad_f32,
    kx_activations_softplus_grad_f64,
    kx_activations_swish_f32,
    kx_activations_swish_f64,
    kx_activations_swish_grad_f32,
    kx_activations_swish_grad_f64,
)

softplus = unary("softplus", kx_activations_softplus_f32, kx_activations_softplus_f64, """
Softplus, a smooth approximation of relu: log(1 + exp(x)).

Increasing and convex; it exceeds relu by at most log(2), at x = 0. Free of cancellation and of overflow, exact
in the far tail: the error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; inf at inf, 0 at -inf.

See Also
--------
softplus_grad : the derivative.
squareplus : without exponential and logarithm.

Notes
-----
Linear time, one exponential and one division an element. softplus(x) - softplus(-x) = x. It is relu smoothed by
the logistic distribution.

References
----------
C. Dugas, Y. Bengio, F. Belisle, C. Nadeau and R. Garcia, "Incorporating Second-Order Functional Knowledge for
Better
Option Pricing", Advances in Neural Information Processing Systems 13 (2001).
X. Glorot, A. Bordes and Y. Bengio, "Deep Sparse Rectifier Neural Networks", AISTATS 2011.

Examples
--------
>>> import kexue
>>> kexue.softplus([-1.0, 0.0, 2.0])
array([0.31326169, 0.69314718, 2.12692801])
""")

softplus_grad = unary("softplus_grad", kx_activations_softplus_grad_f32, kx_activations_softplus_grad_f64, """
The derivative of softplus, the logistic function: 1 / (1 + exp(-x)).

Rises from 0 to 1. The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; 1 at inf, 0 at -inf.

See Also
--------
softplus : the function.
swish : x times it.

Notes
-----
Linear time, one exponential and one division an element. softplus_grad(x) + softplus_grad(-x) = 1.

References
----------
C. Dugas, Y. Bengio, F. Belisle, C. Nadeau and R. Garcia, "Incorporating Second-Order Functional Knowledge for
Better
Option Pricing", Advances in Neural Information Processing Systems 13 (2001).

Examples
--------
>>> import kexue
>>> kexue.softplus_grad([-1.0, 0.0, 2.0])
array([0.26894142, 0.5       , 0.88079708])
""")

swish = unary("swish", kx_activations_swish_f32, kx_activations_swish_f64, """
Swish, or SiLU: x / (1 + exp(-x)), x times the logistic function.

Smooth and not monotone: its minimum is -0.2785, at x = -1.2785. The error is at most 1 ulp in float32 and 2 ulp
in float64 over the whole range. Swish with a parameter is swish(b * x) / b.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; inf at inf, -0.0 at -inf.

See Also
--------
swish_grad : the derivative.
gelu : x times the normal distribution function.

Notes
-----
Linear time, one exponential and one division an element. swish(x) - swish(-x) = x.

References
----------
P. Ramachandran, B. Zoph and Q. V. Le, "Searching for Activation Functions", arXiv:1710.05941.
D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415 (as SiLU).

Examples
--------
>>> import kexue
>>> kexue.swish([-1.0, 0.0, 2.0])
array([-0.26894142,  0.        ,  1.76159416])
""")

swish_grad = unary("swish_grad", kx_activations_swish_grad_f32, kx_activations_swish_grad_f64, """
The derivative of Swish: s (1 + x (1 - s)) with s = 1 / (1 + exp(-x)).

Between -0.0998 and 1.0998, 0 at x = -1.2785. The error is at most 1 ulp in float32 and 2 ulp in float64 over
the whole range, next to the zero too.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; 1 at inf, 0 at -inf.

See Also
--------
swish : the function.

Notes
-----
Linear time, one exponential and one division an element. swish_grad(x) + swish_grad(-x) = 1.

References
----------
P. Ramachandran, B. Zoph and Q. V. Le, "Searching for Activation Functions", arXiv:1710.05941.

Examples
--------
>>> import kexue
>>> kexue.swish_grad([-1.0, 0.0, 2.0])
array([0.07232949, 0.5       , 1.09078425])
""")

gelu = unary("gelu", kx_activations_gelu_f32, kx_activations_gelu_f64, """
GELU, the Gaussian error linear unit: x Phi(x) = x (1 + erf(x / sqrt(2))) / 2.

Phi is the normal distribution function. Smooth and not monotone: its minimum is -0.1700, at x = -0.7518. The
error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range, where erf's cancellation leaves no
digit too.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; inf at inf, -0.0 at -inf.

See Also
--------
gelu_grad : the derivative.
gelu_tanh : the approximation by tanh.

Notes
-----
Linear time, one exponential and two divisions an element. gelu(x) - gelu(-x) = x.

References
----------
D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415.

Examples
--------
>>> import kexue
>>> kexue.gelu([-1.0, 0.0, 2.0])
array([-0.15865525,  0.        ,  1.95449974])
""")

gelu_grad = unary("gelu_grad", kx_activations_gelu_grad_f32, kx_activations_gelu_grad_f64, """
The derivative of GELU: Phi(x) + x phi(x).

Phi and phi are the normal distribution function and density. Between -0.1290 and 1.1290, 0 at x = -0.7518. The
error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range, next to the zero too.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; 1 at inf, 0 at -inf.

See Also
--------
gelu : the function.

Notes
-----
Linear time, one exponential and two divisions an element. gelu_grad(x) + gelu_grad(-x) = 1.

References
----------
D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415.

Examples
--------
>>> import kexue
>>> kexue.gelu_grad([-1.0, 0.0, 2.0])
array([-0.08331547,  0.5       ,  1.0852318 ])
""")

gelu_tanh = unary("gelu_tanh", kx_activations_gelu_tanh_f32, kx_activations_gelu_tanh_f64, """
GELU's tanh form: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2.

Within 0.00048 of `gelu`. The error, from this formula, is at most 1 ulp in float32 and 2 ulp in float64 over
the whole range.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; inf at inf, -0.0 at -inf.

See Also
--------
gelu_tanh_grad : the derivative.
gelu : the function that it approximates.

Notes
-----
Linear time, one exponential and one division an element. gelu_tanh(x) - gelu_tanh(-x) = x.

References
----------
D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415.

Examples
--------
>>> import kexue
>>> kexue.gelu_tanh([-1.0, 0.0, 2.0])
array([-0.15880801,  0.        ,  1.95459769])
""")

gelu_tanh_grad = unary("gelu_tanh_grad", kx_activations_gelu_tanh_grad_f32, kx_activations_gelu_tanh_grad_f64, """
The derivative of GELU's tanh form.

0 at x = -0.7525. The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range, next to the
zero too.

Parameters
----------
x : array_like
    {real}
{out}

Returns
-------
ndarray or scalar
    Of the shape of `x`. NaN where `x` is NaN; 1 at inf, 0 at -inf.

See Also
--------
gelu_tanh : the function.

Notes
-----
Linear time, one exponential and one division an element. gelu_tanh_grad(x) + gelu_tanh_grad(-x) = 1.

References
----------
D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415.

Examples
--------
>>> import kexue
>>> kexue.gelu_tanh_grad([-1.0, 0.0, 2.0])
array([-0.08296408,  0.5       ,  1.08609926])
""")

exp_taylor = binary("exp_taylor", kx_activations_exp_taylor_f32, kx_activations_exp_taylor_f64, """
The Taylor polynomial of exp of degree n: 1 + x + x**2 / 2 + ... + x**n / n!.

For an even `n` it is positive and convex, with its minimum near x = -0.28 n; for an odd `n` it rises and has a
single zero near there. The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range, but for
an odd `n` next to the zero: there the error is below 2**-96 times the value at ``-x`` (n <= 48), or 2**-55
exp(x) (larger n).

Parameters
----------
x : array_like
    {real}
n : array_like
    The degree, whole numbers from 0 to 2**50; broadcast against `x`.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For an `n` that is negative or not whole NaN, and the invalid
    flag is raised (`numpy.errstate`). inf where it overflows, with the overflow flag, and the limits at x = inf, -inf.

See Also
--------
exp_taylor_grad : the derivative.
exp_taylor_min : the minimum for an even n.

Notes
-----
Time proportional to `n` an element for n <= 48 and abs(x) <= 2**20, some microseconds an element otherwise.
The terms cancel for x < 0, so they are added in twice the digits.

References
----------
K. Banerjee, V. C. Prasad, R. R. Gupta, K. Vyas, A. H. and B. Mishra, "Exploring Alternatives to Softmax Function",
arXiv:2011.11538.
J. Su, https://kexue.fm/archives/7919.

Examples
--------
>>> import kexue
>>> kexue.exp_taylor([-2.0, -1.0, 1.0], 4)
array([0.33333333, 0.375     , 2.70833333])
""")

exp_taylor_grad = binary("exp_taylor_grad", kx_activations_exp_taylor_grad_f32,
                         kx_activations_exp_taylor_grad_f64, """
The derivative by x of the Taylor polynomial of exp of degree n: that of degree n - 1.

0 for n = 0. The error is at most 1 ulp in float32 and 2 ulp in float64, but next to the zero that an even `n`
has, see `exp_taylor`.

Parameters
----------
x : array_like
    {real}
n : array_like
    The degree, whole numbers from 0 to 2**50; broadcast against `x`.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For an `n` that is negative or not whole NaN, and the invalid
    flag is raised (`numpy.errstate`). inf where it overflows, with the overflow flag, and the limits at x = inf, -inf.

See Also
--------
exp_taylor : the function.

Notes
-----
Time proportional to `n` an element for n <= 48 and abs(x) <= 2**20, some microseconds an element otherwise.

References
----------
K. Banerjee, V. C. Prasad, R. R. Gupta, K. Vyas, A. H. and B. Mishra, "Exploring Alternatives to Softmax Function",
arXiv:2011.11538.
J. Su, https://kexue.fm/archives/7919.

Examples
--------
>>> import kexue
>>> kexue.exp_taylor_grad([-2.0, -1.0, 1.0], 4)
array([-0.33333333,  0.33333333,  2.66666667])
""")
