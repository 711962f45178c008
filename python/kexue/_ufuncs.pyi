import numpy as np

SQUAREPLUS_B_CURVATURE: float
SQUAREPLUS_B_MINIMAX: float
SQUAREPLUS_B_T2: float
SQUAREPLUS_B_UPPER: float

squareplus: np.ufunc
squareplus_grad: np.ufunc
squareplus_grad_b: np.ufunc
squareplus_inverse: np.ufunc
