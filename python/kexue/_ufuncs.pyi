import numpy as np

SQUAREPLUS_B_CURVATURE: float
SQUAREPLUS_B_MINIMAX: float
SQUAREPLUS_B_T2: float
SQUAREPLUS_B_UPPER: float

_taylor_softmax: np.ufunc
_taylor_softmax_vjp: np.ufunc
entropy: np.ufunc
exp_taylor: np.ufunc
exp_taylor_grad: np.ufunc
gelu: np.ufunc
gelu_grad: np.ufunc
gelu_tanh: np.ufunc
gelu_tanh_grad: np.ufunc
log_softmax: np.ufunc
log_softmax_vjp: np.ufunc
logsumexp: np.ufunc
logsumexp_vjp: np.ufunc
softmax: np.ufunc
softmax_vjp: np.ufunc
softplus: np.ufunc
softplus_grad: np.ufunc
squareplus: np.ufunc
squareplus_grad: np.ufunc
squareplus_grad_b: np.ufunc
squareplus_inverse: np.ufunc
swish: np.ufunc
swish_grad: np.ufunc
