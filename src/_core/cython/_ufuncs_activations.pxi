# Softplus, Swish, GELU and the Taylor polynomials of exp, with their derivatives.
