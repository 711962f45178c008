from typing import Any, TypeAlias, TypeVar, overload, type_check_only

import numpy as np
import numpy.typing as npt

_F = TypeVar("_F", np.float32, np.float64)
_Single: TypeAlias = np.float16 | np.float32
_Array: TypeAlias = npt.NDArray[Any] | list[Any] | tuple[Any, ...]

# NumPy marks its class as final, but a subclass is the one way to say what a ufunc's operands and results are. The last
# overload is for what decides about its results itself, such as a pandas.Series, and for arguments of all ufuncs.

@type_check_only
class _Elementwise1(np.ufunc):  # type: ignore[misc]
    @overload
    def __call__(self, x1: float, /) -> np.float64: ...
    @overload
    def __call__(self, x1: _Single, /) -> np.float32: ...
    @overload
    def __call__(self, x1: npt.NDArray[_F], /) -> npt.NDArray[_F]: ...
    @overload
    def __call__(self, x1: _Array, /, **kwargs: Any) -> npt.NDArray[Any]: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, /, **kwargs: Any) -> Any: ...

@type_check_only
class _Elementwise2(np.ufunc):  # type: ignore[misc]
    @overload
    def __call__(self, x1: float, x2: float, /) -> np.float64: ...
    @overload
    def __call__(self, x1: _Single, x2: _Single | float, /) -> np.float32: ...
    @overload
    def __call__(self, x1: npt.NDArray[_F], x2: npt.NDArray[_F] | float, /) -> npt.NDArray[_F]: ...
    @overload
    def __call__(self, x1: _Array, x2: npt.ArrayLike, /, **kwargs: Any) -> npt.NDArray[Any]: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: _Array, /, **kwargs: Any) -> npt.NDArray[Any]: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: npt.ArrayLike, /, **kwargs: Any) -> Any: ...

@type_check_only
class _Elementwise3(np.ufunc):  # type: ignore[misc]
    @overload
    def __call__(self, x1: float, x2: float, x3: float, /) -> np.float64: ...
    @overload
    def __call__(self, x1: _Single, x2: _Single | float, x3: _Single | float, /) -> np.float32: ...
    @overload
    def __call__(
        self, x1: npt.NDArray[_F], x2: npt.NDArray[_F] | float, x3: npt.NDArray[_F] | float, /
    ) -> npt.NDArray[_F]: ...
    @overload
    def __call__(self, x1: _Array, x2: npt.ArrayLike, x3: npt.ArrayLike, /, **kwargs: Any) -> npt.NDArray[Any]: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: _Array, x3: npt.ArrayLike, /, **kwargs: Any) -> npt.NDArray[Any]: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: npt.ArrayLike, x3: npt.ArrayLike, /, **kwargs: Any) -> Any: ...

@type_check_only
class _Elementwise4(np.ufunc):  # type: ignore[misc]
    @overload
    def __call__(self, x1: float, x2: float, x3: float, x4: float, /) -> np.float64: ...
    @overload
    def __call__(self, x1: _Single, x2: _Single | float, x3: _Single | float, x4: _Single | float, /) -> np.float32: ...
    @overload
    def __call__(
        self,
        x1: npt.NDArray[_F],
        x2: npt.NDArray[_F] | float,
        x3: npt.NDArray[_F] | float,
        x4: npt.NDArray[_F] | float,
        /,
    ) -> npt.NDArray[_F]: ...
    @overload
    def __call__(
        self, x1: _Array, x2: npt.ArrayLike, x3: npt.ArrayLike, x4: npt.ArrayLike, /, **kwargs: Any
    ) -> npt.NDArray[Any]: ...
    @overload
    def __call__(
        self, x1: npt.ArrayLike, x2: _Array, x3: npt.ArrayLike, x4: npt.ArrayLike, /, **kwargs: Any
    ) -> npt.NDArray[Any]: ...
    @overload
    def __call__(
        self, x1: npt.ArrayLike, x2: npt.ArrayLike, x3: npt.ArrayLike, x4: npt.ArrayLike, /, **kwargs: Any
    ) -> Any: ...

@type_check_only
class _Rows1(np.ufunc):  # type: ignore[misc]
    @overload
    def __call__(self, x1: npt.NDArray[_F], /) -> npt.NDArray[_F]: ...
    @overload
    def __call__(self, x1: _Array, /, **kwargs: Any) -> npt.NDArray[Any]: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, /, **kwargs: Any) -> Any: ...

@type_check_only
class _Rows2(np.ufunc):  # type: ignore[misc]
    @overload
    def __call__(self, x1: npt.NDArray[_F], x2: npt.NDArray[_F] | float, /) -> npt.NDArray[_F]: ...
    @overload
    def __call__(self, x1: _Array, x2: npt.ArrayLike, /, **kwargs: Any) -> npt.NDArray[Any]: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: npt.ArrayLike, /, **kwargs: Any) -> Any: ...

SQUAREPLUS_B_CURVATURE: float
SQUAREPLUS_B_MINIMAX: float
SQUAREPLUS_B_T2: float
SQUAREPLUS_B_UPPER: float

_layer_norm: np.ufunc
_layer_norm_vjp: np.ufunc
_rms_norm: np.ufunc
_rms_norm_vjp: np.ufunc
_taylor_softmax: np.ufunc
_taylor_softmax_vjp: np.ufunc
cosine_pairs: np.ufunc
cosine_pairs_vjp: np.ufunc
entropy: np.ufunc
exp_taylor: _Elementwise2
exp_taylor_grad: _Elementwise2
fwht: _Rows1
fwht_orthonormal: _Rows1
gaussian_bhattacharyya_cholesky: np.ufunc
gaussian_bhattacharyya_covariance: np.ufunc
gaussian_bhattacharyya_diagonal: np.ufunc
gaussian_bhattacharyya_grad_cholesky: np.ufunc
gaussian_bhattacharyya_grad_covariance: np.ufunc
gaussian_bhattacharyya_grad_diagonal: np.ufunc
gaussian_entropy_cholesky: np.ufunc
gaussian_entropy_covariance: np.ufunc
gaussian_entropy_diagonal: np.ufunc
gaussian_entropy_grad_cholesky: _Rows1
gaussian_entropy_grad_covariance: _Rows1
gaussian_entropy_grad_diagonal: _Rows1
gaussian_hellinger_cholesky: np.ufunc
gaussian_hellinger_covariance: np.ufunc
gaussian_hellinger_diagonal: np.ufunc
gaussian_hellinger_grad_cholesky: np.ufunc
gaussian_hellinger_grad_covariance: np.ufunc
gaussian_hellinger_grad_diagonal: np.ufunc
gaussian_kl_cholesky: np.ufunc
gaussian_kl_covariance: np.ufunc
gaussian_kl_diagonal: np.ufunc
gaussian_kl_grad_cholesky: np.ufunc
gaussian_kl_grad_covariance: np.ufunc
gaussian_kl_grad_diagonal: np.ufunc
gaussian_ot_map_cholesky: _Rows2
gaussian_ot_map_covariance: _Rows2
gaussian_ot_map_diagonal: _Rows2
gaussian_w2_cholesky: np.ufunc
gaussian_w2_covariance: np.ufunc
gaussian_w2_diagonal: np.ufunc
gaussian_w2_squared_cholesky: np.ufunc
gaussian_w2_squared_covariance: np.ufunc
gaussian_w2_squared_diagonal: np.ufunc
gaussian_w2_squared_grad_cholesky: np.ufunc
gaussian_w2_squared_grad_covariance: np.ufunc
gaussian_w2_squared_grad_diagonal: np.ufunc
gelu: _Elementwise1
gelu_grad: _Elementwise1
gelu_tanh: _Elementwise1
gelu_tanh_grad: _Elementwise1
hsic_from_kernels: np.ufunc
hsic_from_kernels_unbiased: np.ufunc
l2_normalize: _Rows1
l2_normalize_vjp: _Rows2
log_softmax: _Rows1
log_softmax_vjp: _Rows2
logsumexp: np.ufunc
logsumexp_vjp: _Rows2
smooth_abs_gaussian: _Elementwise2
smooth_abs_logistic: _Elementwise2
smooth_abs_student_t2: _Elementwise2
smooth_ceil_cauchy: _Elementwise3
smooth_ceil_gaussian: _Elementwise3
smooth_ceil_logistic: _Elementwise3
smooth_ceil_student_t2: _Elementwise3
smooth_clip_cauchy: _Elementwise4
smooth_clip_gaussian: _Elementwise4
smooth_clip_logistic: _Elementwise4
smooth_clip_student_t2: _Elementwise4
smooth_floor_cauchy: _Elementwise3
smooth_floor_gaussian: _Elementwise3
smooth_floor_logistic: _Elementwise3
smooth_floor_student_t2: _Elementwise3
smooth_leaky_relu_gaussian: _Elementwise3
smooth_leaky_relu_logistic: _Elementwise3
smooth_leaky_relu_student_t2: _Elementwise3
smooth_maximum_gaussian: _Elementwise3
smooth_maximum_logistic: _Elementwise3
smooth_maximum_student_t2: _Elementwise3
smooth_relu_gaussian: _Elementwise2
smooth_relu_logistic: _Elementwise2
smooth_round_cauchy: _Elementwise3
smooth_round_gaussian: _Elementwise3
smooth_round_logistic: _Elementwise3
smooth_round_student_t2: _Elementwise3
smooth_sign_cauchy: _Elementwise2
smooth_sign_gaussian: _Elementwise2
smooth_sign_logistic: _Elementwise2
smooth_sign_student_t2: _Elementwise2
smooth_step_cauchy: _Elementwise2
smooth_step_gaussian: _Elementwise2
smooth_step_logistic: _Elementwise2
softmax: _Rows1
softmax_vjp: _Rows2
softplus: _Elementwise1
softplus_grad: _Elementwise1
squareplus: _Elementwise2
squareplus_grad: _Elementwise2
squareplus_grad_b: _Elementwise2
squareplus_inverse: _Elementwise2
swish: _Elementwise1
swish_grad: _Elementwise1
