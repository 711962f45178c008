"""Every NumPy ufunc and gufunc of kexue in one namespace."""

from kexue._ufuncs import squareplus, squareplus_grad, squareplus_grad_b, squareplus_inverse

__all__ = ["squareplus", "squareplus_grad", "squareplus_grad_b", "squareplus_inverse"]
