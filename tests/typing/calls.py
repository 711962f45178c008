"""What mypy makes of calls as users write them; checked by tests/python/test_typing.py, never run."""

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import kexue as kx

flag = bool(np.random.default_rng().integers(2))
x64 = np.ones((3, 3))
x32 = np.ones((3, 3), dtype=np.float32)
plain: np.ndarray = x64
words = kx.WordVectors(["a", "b"], x64[:2])

# ufuncs: the dtype of the arrays, NumPy's scalars for numbers
assert_type(kx.squareplus(1.0, 1), np.float64)
assert_type(kx.squareplus(np.float32(1), 1.0), np.float32)
assert_type(kx.squareplus(x64, 1.0), npt.NDArray[np.float64])
assert_type(kx.squareplus(x32, 1.0), npt.NDArray[np.float32])
assert_type(kx.squareplus(1.0, x64), npt.NDArray[Any])
assert_type(kx.squareplus([1.0, 2.0], 1.0), npt.NDArray[Any])
assert_type(kx.squareplus(x64, 1.0, out=x64), npt.NDArray[Any])
assert_type(kx.softplus(x32), npt.NDArray[np.float32])
assert_type(kx.gelu(0.5), np.float64)
assert_type(kx.softmax(x32), npt.NDArray[np.float32])
assert_type(kx.softmax(x64, axis=0), npt.NDArray[Any])
assert_type(kx.ufuncs.gelu(x64), npt.NDArray[np.float64])
assert_type(kx.squareplus.nin, int)
ufunc: np.ufunc = kx.logsumexp

# transport
plan = kx.emd([0.5, 0.5], [0.25, 0.75], x64[:2, :2])
assert_type(plan, np.ndarray)
assert_type(kx.emd(None, None, plain, log=True), tuple[np.ndarray, dict[str, Any]])
assert_type(kx.emd(None, None, plain, log=flag), np.ndarray | tuple[np.ndarray, dict[str, Any]])
assert_type(kx.emd_1d([0.0], [1.0], log=True), tuple[np.ndarray, dict[str, Any]])
assert_type(kx.emd2(None, None, x64, log=True), tuple[Any, dict[str, Any]])
assert_type(kx.sinkhorn(None, None, x64, 0.1, log=True), tuple[Any, dict[str, Any]])
assert_type(kx.sinkhorn2(None, None, x64, 0.1, log=True), tuple[Any, dict[str, Any]])
cost: float = kx.emd2(None, None, x64)
result = kx.solve(x64)
assert_type(result, kx.TransportResult)
assert_type(result.plan, np.ndarray)
assert_type(result.potentials, tuple[np.ndarray, np.ndarray])

# documents
index = kx.DocumentIndex(words).fit(["a b", "b"])
assert_type(index, kx.DocumentIndex)
assert_type(index.kneighbors(["a"]), tuple[np.ndarray, np.ndarray])
assert_type(index.kneighbors(["a"], 2, return_distance=False), np.ndarray)
assert_type(index.kneighbors(["a"], stats=True), tuple[np.ndarray, np.ndarray, kx.SearchStats])
assert_type(index.kneighbors(["a"], return_distance=False, stats=True), tuple[np.ndarray, kx.SearchStats])
assert_type(index.search(["a"]), list[list[dict[str, Any]]])
hashes = kx.SignHashIndex(64).fit(x64)
assert_type(hashes.kneighbors(x64, 1), tuple[np.ndarray, np.ndarray])
assert_type(hashes.kneighbors(x64, 1, return_distance=False), np.ndarray)

# losses, entropy, attention
assert_type(kx.zlpr_loss(x64, x64 > 0, return_grad=True), tuple[Any, np.ndarray])
assert_type(kx.zlpr_symmetric_kl(x64, x64, return_grad=True), tuple[Any, tuple[np.ndarray, np.ndarray]])
assert_type(kx.cosent_loss([0.1, 0.2], [0, 1], return_grad=True), tuple[Any, np.ndarray])
assert_type(kx.info_nce_loss(x64, return_grad=True), tuple[Any, np.ndarray])
kx.cosent_loss([0.1, 0.2], [0, 1], return_grad=flag)
assert_type(kx.entropy_normalize(x64, 0.5, log=True), tuple[Any, kx.EntropyNormalization])
assert_type(kx.attention(x64, x64, x64), np.ndarray)
assert_type(kx.attention(x64, x64, x64, return_entropy=True), tuple[np.ndarray, np.ndarray])
assert_type(kx.can(x64, return_uncertainty=True), tuple[np.ndarray, np.ndarray])

# others
assert_type(kx.__version__, str)
assert_type(kx.get_num_threads(), int)
assert_type(kx.edit_distance("a", "b"), int)
with kx.threads(2), kx.errstate(convergence="raise"):
    pass
