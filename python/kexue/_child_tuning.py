"""Child-tuning: gradients, or updates, of which only a part is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _child_tuning_core
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_contiguous, as_real, check_number, result_dtype
from kexue._context import count_workers
from kexue._errors import KexueValueError, require_finite
from kexue._gradient_arrays import buffers_for, deliver, matching_parts, parts_of, places_of, require_place

__all__ = [
    "ChildTuningAdamW",
    "childtuning_gradient",
    "childtuning_mask",
    "fisher_diagonal",
    "update_dropout",
]

Mode = Literal["F", "D"]
_BLOCK = 1 << 24  # squares between two looks at Ctrl-C, some milliseconds


@same_kind
def fisher_diagonal(per_sample_grads: Any) -> Any:
    """The diagonal of the empirical Fisher information: the mean over samples of the squared gradients.

    Parameters
    ----------
    per_sample_grads : array_like, shape (n, ...), list of them, or iterator of either
        The gradient of log p(y|x) for each of n samples. A list of arrays is one for each parameter, all with the same
        n. Anything else that can be iterated, such as a generator, is taken as chunks of samples, each an array or a
        list of arrays: they need not be in memory at once.

    Returns
    -------
    ndarray of float64, shape (...), or a list of them
        In float64 whatever the gradients are: squares of small ones are no float32 numbers.

    Raises
    ------
    KexueValueError
        If there are no samples; if the parameters have different numbers of them, or chunks different shapes.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    childtuning_mask : the parameters that matter most.

    Notes
    -----
    O(n) time for each parameter, in blocks that stay in the cache; sums are in float64. The mean is over samples, as in
    the definition. The released code of the paper [1]_ squares the gradients of batches, which is the square of a mean:
    give it the batches' gradients as samples to have the same.

    References
    ----------
    .. [1] R. Xu, F. Luo, Z. Zhang, C. Tan, B. Chang, S. Huang, F. Huang, "Raise a Child in Large Language Model:
       Towards Effective and Generalizable Fine-tuning", 2021, arXiv:2109.05687.

    Examples
    --------
    >>> import kexue
    >>> kexue.fisher_diagonal([[1.0, 0.0, 2.0], [3.0, 0.0, -2.0]])
    array([5., 0., 4.])
    """
    name = "per_sample_grads"
    is_one = isinstance(per_sample_grads, (list, tuple)) or hasattr(per_sample_grads, "__array__")
    if not is_one and not isinstance(per_sample_grads, Iterable):
        raise TypeError(
            f"{name} must be an array, a list or an iterable of chunks, not {type(per_sample_grads).__name__}"
        )
    sums: list[np.ndarray] | None = None
    total, listed = 0, False
    for i, chunk in enumerate([per_sample_grads] if is_one else per_sample_grads):
        parts, is_list = parts_of(name if is_one else f"chunk {i} of {name}", chunk)
        arrays = [as_real(part, item) for part, item in parts]
        counts = [_sample_count(part, array) for (part, _), array in zip(parts, arrays, strict=True)]
        if len(set(counts)) > 1:
            raise KexueValueError(f"{name} must have as many samples for every parameter, got {counts}")
        shapes = [array.shape[1:] for array in arrays]
        if sums is None:
            listed, sums = is_list, [np.zeros(shape) for shape in shapes]
        elif is_list != listed or shapes != [part.shape for part in sums]:
            raise KexueValueError(
                f"chunk {i} of {name} is for parameters of shapes {shapes}, but those before for "
                f"{[part.shape for part in sums]}"
            )
        total += counts[0]
        for part, array in zip(sums, arrays, strict=True):
            _add_squares(part, array)
    if sums is None or total == 0:
        raise KexueValueError(f"{name} has no samples")
    for part in sums:
        part /= total
    return sums if listed else sums[0]


def _sample_count(name: str, array: np.ndarray) -> int:
    if array.ndim == 0:
        raise KexueValueError(f"{name} must have a dimension of samples, but it is a number")
    return array.shape[0]


def _add_squares(to: np.ndarray, samples: np.ndarray) -> None:
    if samples.size == 0:
        return
    rows, sums = samples.reshape(len(samples), -1), to.reshape(-1)
    step = max(1, _BLOCK // rows.shape[1])
    for row in range(0, len(rows), step):
        _child_tuning_core.add_squares(as_contiguous(rows[row : row + step]), sums)


@same_kind
def childtuning_mask(fisher: Any, p: float, *, method: Literal["exact", "percentile"] = "exact") -> Any:
    """The parameters with the greatest Fisher information, a part p of them all.

    Parameters
    ----------
    fisher : array_like, or a list of arrays
        From `fisher_diagonal`. The arrays of a list are ranked together: one may be kept whole, another not at all.
    p : float
        The part to keep, in (0, 1].
    method : {"exact", "percentile"}
        - "exact": as many as p times the number of all, rounded (a half up), and one at least. Of equal ones the first
          are kept, in the order of the list and of C.
        - "percentile": all that are not below ``numpy.percentile(fisher, 100 * (1 - p))``, as in the released code of
          the paper. Equal ones are kept together, so many more than p may be.

    Returns
    -------
    ndarray of bool, shape as fisher, or a list of them

    Raises
    ------
    KexueValueError
        If an entry is NaN or infinite, if p is not in (0, 1], or `method` is none of these.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    fisher_diagonal, childtuning_gradient

    Notes
    -----
    O(N) time and memory for N parameters: a selection, no sort.

    References
    ----------
    R. Xu et al., "Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning", 2021,
    arXiv:2109.05687.

    Examples
    --------
    >>> import kexue
    >>> kexue.childtuning_mask([5.0, 0.0, 4.0, 4.0], 0.5)
    array([ True, False,  True, False])
    >>> kexue.childtuning_mask([5.0, 0.0, 4.0, 4.0], 0.5, method="percentile")
    array([ True, False,  True,  True])
    """
    p = _check_share(p)
    if not isinstance(method, str) or method not in ("exact", "percentile"):
        raise KexueValueError(f'method must be "exact" or "percentile", got {method!r}')
    parts, listed = parts_of("fisher", fisher)
    dtype = result_dtype(*(item for _, item in parts))
    arrays = [as_real(name, item, dtype=dtype) for name, item in parts]
    for (name, _), array in zip(parts, arrays, strict=True):
        require_finite(name, array)
    values = np.concatenate([array.reshape(-1) for array in arrays])
    if values.size == 0:
        kept = np.zeros(0, dtype=bool)
    elif method == "percentile":
        kept = values >= np.percentile(values, (1 - p) * 100)
    else:
        rank = values.size - max(1, math.floor(p * values.size + 0.5))
        least = np.partition(values, rank)[rank]
        kept = values > least
        missing = values.size - rank - int(np.count_nonzero(kept))
        kept[np.flatnonzero(values == least)[:missing]] = True
    ends = np.cumsum([array.size for array in arrays])[:-1]
    masks = [part.reshape(array.shape) for part, array in zip(np.split(kept, ends), arrays, strict=True)]
    return masks if listed else masks[0]


@same_kind
def childtuning_gradient(
    g: Any,
    p: float,
    *,
    mode: Mode = "F",
    mask: Any = None,
    rng: np.random.Generator | int | None = None,
    rescale: bool | None = None,
    out: Any = None,
    workers: int | None = None,
) -> Any:
    """Gradients of which a part p is kept: by chance in each step ("F"), or by a mask ("D").

    Parameters
    ----------
    g : array_like, or a list of arrays
        The gradient, or those of the parameters of a model. A list is treated as one long vector.
    p : float
        The part to keep, in (0, 1]; 1 keeps everything in mode "F".
    mode : {"F", "D"}
        - "F", task-free: every entry is kept with the probability p, independently.
        - "D", task-driven: what `mask` says.
    mask : array_like of bool, or a list of arrays
        In mode "D", shaped as `g`, from `childtuning_mask`.
    rng : numpy.random.Generator, int or None
        In mode "F", where the key of the random bits comes from, through ``numpy.random.default_rng(rng)``. An integer
        gives the same entries in every call: training needs a Generator, which moves on.
    rescale : bool, optional
        Whether what is kept is divided by p. By default in mode "F", whose mean is g then, and not in mode "D", as in
        the released code of the paper (the post has it in both).
    out : ndarray, or a list of them, optional
        Where the results go; `g` itself for a change in place.
    workers : int, optional
        Threads, see `kexue.threads`. The results do not depend on their number.

    Returns
    -------
    ndarray, or a list of them
        `out`, if it was given. What is dropped is 0, be it NaN or infinite in `g`.

    Raises
    ------
    KexueValueError
        If p is not in (0, 1], or 1/p is beyond the dtype's range; if shapes do not fit, an array of `out` is
        read-only, or `mode` is none of these.
    TypeError
        If an argument is of the wrong type, or `mask` is missing in mode "D" or given in mode "F".

    See Also
    --------
    update_dropout : the same of updates.
    ChildTuningAdamW : an optimiser with it.

    Notes
    -----
    O(N) time, one pass through memory. In mode "F" entry i is kept where a number below 1 whose digits in base 256 come
    from a Philox generator, by a key of 128 bits and by i, is less than p: the probability is p exactly, a longer array
    begins with the entries of a shorter one, and the result is the same for any number of threads.

    For an entry with mean mu and variance s^2, mode "F" with `rescale` leaves the mean and makes the variance
    s^2 + (mu^2 + s^2) (1 - p)/p. Adam divides by the root of the second moment, which grows by 1/p: its updates become
    smaller by the factor sqrt(p) where gradients are mostly signal.

    References
    ----------
    R. Xu et al., "Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning", 2021,
    arXiv:2109.05687. Random bits: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy
    as 1, 2, 3", SC 2011, doi:10.1145/2063384.2063405.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> kexue.childtuning_gradient(np.ones(8), 0.5, rng=0)
    array([0., 0., 0., 2., 2., 0., 2., 0.])
    >>> kexue.childtuning_gradient([1.0, 2.0, 3.0], 0.5, mode="D", mask=[True, False, True])
    array([1., 0., 3.])
    """
    p, mode = _check_share(p), _check_mode(mode)
    if mode == "F":
        if mask is not None:
            raise TypeError('mask is for mode="D": in mode "F" chance decides')
        return _drop("g", g, p, rng, True if rescale is None else rescale, out, workers)
    if mask is None:
        raise TypeError('mode="D" needs a mask, see childtuning_mask')
    arrays, places, listed = _sources("g", g, out)
    masks = [
        _check_mask(name, item, array.shape)
        for (name, item), array in zip(matching_parts("mask", mask, "g", len(arrays), listed), arrays, strict=True)
    ]
    scale = _check_scale(p, False if rescale is None else rescale, arrays)
    buffers = buffers_for(places, arrays)
    for array, buffer, kept in zip(arrays, buffers, masks, strict=True):
        _child_tuning_core.keep(as_contiguous(array), as_contiguous(kept), scale, buffer, workers)
    deliver(buffers, places)
    return places if listed else places[0]


@same_kind
def update_dropout(
    delta: Any,
    p: float,
    rng: np.random.Generator | int | None = None,
    *,
    rescale: bool = True,
    out: Any = None,
    workers: int | None = None,
) -> Any:
    """Updates of parameters of which a part p is kept by chance, and divided by p.

    Applied to what an optimiser would add to the parameters in place of the gradient it works with, so that its moments
    stay as they are and the mean of the step with them.

    Parameters
    ----------
    delta : array_like, or a list of arrays
        The update, or those of the parameters of a model. A list is treated as one long vector.
    p : float
        The probability of an entry to be kept, in (0, 1].
    rng : numpy.random.Generator, int or None
        As for `childtuning_gradient`: training needs a Generator, which moves on.
    rescale : bool
        Whether what is kept is divided by p.
    out : ndarray, or a list of them, optional
        Where the results go; `delta` itself for a change in place.
    workers : int, optional
        Threads, see `kexue.threads`. The results do not depend on their number.

    Returns
    -------
    ndarray, or a list of them
        `out`, if it was given. What is dropped is 0, be it NaN or infinite in `delta`.

    Raises
    ------
    KexueValueError
        If p is not in (0, 1], or 1/p is beyond the dtype's range; if shapes do not fit, or `out` is read-only.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    childtuning_gradient : the same of gradients, and the random bits.

    Notes
    -----
    O(N) time, one pass through memory.

    References
    ----------
    R. Xu et al., "Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning", 2021,
    arXiv:2109.05687.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> kexue.update_dropout(np.ones(8), 0.5, 0)
    array([0., 0., 0., 2., 2., 0., 2., 0.])
    """
    return _drop("delta", delta, _check_share(p), rng, rescale, out, workers)


class ChildTuningAdamW:
    """AdamW on NumPy arrays, in place, that keeps a part of the gradients or of the updates.

    With ``p=1`` it is AdamW as in PyTorch: parameters decay by the factor 1 - lr weight_decay, apart from the gradient.
    What is dropped does not escape the decay.

    Parameters
    ----------
    params : ndarray, or a list of them
        The parameters, float32 or float64, changed in place.
    lr : float
        The learning rate, not negative.
    betas : (float, float)
        The decay rates of both moments, in [0, 1).
    eps : float
        Added to the root of the second moment, not negative.
    weight_decay : float
        Not negative.
    p : float
        The part to keep, in (0, 1].
    mode : {"F", "D"}
        By chance, anew in each step, or by the mask.
    mask : array_like of bool, or a list of arrays
        In mode "D", shaped as `params`.
    rng : numpy.random.Generator, int or None
        In mode "F", through ``numpy.random.default_rng(rng)``.
    rescale : bool, optional
        As for `childtuning_gradient`.
    target : {"gradient", "update"}
        What a part is dropped of: the gradients, before the moments, or the updates, behind them.
    workers : int, optional
        Threads of the dropping, see `kexue.threads`.

    Attributes
    ----------
    params : list of ndarray
        The arrays that were given.
    means, squares : list of ndarray
        The moments.
    n_steps : int

    Raises
    ------
    KexueValueError, TypeError
        If an argument is out of its range or of the wrong type.

    See Also
    --------
    childtuning_gradient, update_dropout

    Notes
    -----
    The released code of the paper works on gradients, too, with the bias-corrected Adam of its time, and decays weights
    behind the step.

    References
    ----------
    R. Xu et al., "Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning", 2021,
    arXiv:2109.05687. I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2017, arXiv:1711.05101.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> x = np.array([3.0, -2.0, 1.0, 0.5])
    >>> optimizer = kexue.ChildTuningAdamW(x, lr=0.05, weight_decay=0.0, p=0.5, rng=0)
    >>> for _ in range(600):
    ...     optimizer.step(2 * x)
    >>> bool(abs(x).max() < 0.01)
    True
    """

    def __init__(
        self,
        params: np.ndarray | Sequence[np.ndarray],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        p: float = 1.0,
        mode: Mode = "F",
        mask: Any = None,
        rng: np.random.Generator | int | None = None,
        rescale: bool | None = None,
        target: Literal["gradient", "update"] = "gradient",
        workers: int | None = None,
    ) -> None:
        parts, self._listed = parts_of("params", params)
        self.params: list[np.ndarray] = []
        for name, item in parts:
            wanted = result_dtype(item) if isinstance(item, np.ndarray) else np.dtype(np.float64)
            require_place(name, item, getattr(item, "shape", ()), wanted)
            for i, other in enumerate(self.params):
                if item is other:
                    raise KexueValueError(f"{name} is params[{i}]: a parameter must be listed once")
            self.params.append(item)
        self.lr = _check_number("lr", lr, math.inf)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise KexueValueError(f"betas must be two numbers, got {betas!r}")
        self.betas = (_check_number("betas[0]", betas[0], 1), _check_number("betas[1]", betas[1], 1))
        self.eps = _check_number("eps", eps, math.inf)
        self.weight_decay = _check_number("weight_decay", weight_decay, math.inf)
        self.p, self.mode, self.rescale, self.workers = _check_share(p), _check_mode(mode), rescale, workers
        if not isinstance(target, str) or target not in ("gradient", "update"):
            raise KexueValueError(f'target must be "gradient" or "update", got {target!r}')
        self.target = target
        if (mask is None) == (mode == "D"):
            raise TypeError('mode="D" needs a mask, see childtuning_mask' if mask is None else 'mask is for mode="D"')
        self.mask = None
        if mask is not None:
            masks = matching_parts("mask", mask, "params", len(self.params), self._listed)
            self.mask = [
                _check_mask(name, item, param.shape) for (name, item), param in zip(masks, self.params, strict=True)
            ]
        _check_scale(self.p, mode == "F" if rescale is None else rescale, self.params)
        if workers is not None:
            count_workers(workers)
        self.rng = np.random.default_rng(rng)
        self.means = [np.zeros(param.shape, param.dtype) for param in self.params]
        self.squares = [np.zeros(param.shape, param.dtype) for param in self.params]
        self.n_steps = 0

    def step(self, grads: Any) -> None:
        """Change the parameters by one step.

        Parameters
        ----------
        grads : array_like, or a list of arrays
            The gradients of the loss, shaped as the parameters. They are not changed.

        Raises
        ------
        KexueValueError, TypeError
            If there are not as many as parameters, or a shape does not fit.
        """
        gradients = []
        for (name, item), param in zip(
            matching_parts("grads", grads, "params", len(self.params), self._listed), self.params, strict=True
        ):
            gradient = as_real(name, item, dtype=param.dtype)
            if gradient.shape != param.shape:
                raise KexueValueError(f"{name} has shape {gradient.shape}, but its parameter has {param.shape}")
            gradients.append(gradient)
        if self.target == "gradient":
            gradients = self._keep(gradients)
        self.n_steps += 1
        first, second = self.betas
        rate = self.lr / (1 - first**self.n_steps)
        correction = math.sqrt(1 - second**self.n_steps)
        updates = []
        for gradient, mean, square in zip(gradients, self.means, self.squares, strict=True):
            mean *= first
            work = np.asarray(gradient * (1 - first))
            mean += work
            np.multiply(gradient, gradient, out=work)
            work *= 1 - second
            square *= second
            square += work
            np.sqrt(square, out=work)
            work /= correction
            work += self.eps
            np.divide(mean, work, out=work)
            work *= rate
            updates.append(work)
        if self.target == "update":
            updates = self._keep(updates)
        for param, update in zip(self.params, updates, strict=True):
            param *= 1 - self.lr * self.weight_decay
            param -= update

    def _keep(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        if self.mode == "F" and self.p == 1:
            return parts
        return childtuning_gradient(
            parts, self.p, mode=self.mode, mask=self.mask, rng=self.rng, rescale=self.rescale, workers=self.workers
        )


# ---- arguments ----


def _check_share(p: float) -> float:
    p = check_number("p", p)
    if not 0 < p <= 1:
        raise KexueValueError(f"p must be greater than 0 and at most 1, got {p}")
    return p


def _check_mode(mode: Mode) -> Mode:
    if not isinstance(mode, str) or mode not in ("F", "D"):
        raise KexueValueError(f'mode must be "F" or "D", got {mode!r}')
    return mode


def _check_number(name: str, value: float, end: float) -> float:
    value = check_number(name, value)
    if not 0 <= value < end:
        limit = "be finite" if end == math.inf else f"be less than {end}"
        raise KexueValueError(f"{name} must not be negative and {limit}, got {value}")
    return value


def _check_mask(name: str, mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    array = as_array(name, mask)
    if array.dtype != np.bool_:
        raise TypeError(f"{name} must hold booleans, but its dtype is {array.dtype}")
    if array.shape != shape:
        raise KexueValueError(f"{name} has shape {array.shape}, but what it is for has {shape}")
    return array


def _check_scale(p: float, rescale: bool, arrays: list[np.ndarray]) -> float:
    if not isinstance(rescale, (bool, np.bool_)):
        raise TypeError(f"rescale must be a bool, not {type(rescale).__name__}")
    scale = 1 / p if rescale else 1.0
    for array in arrays:
        if scale > float(np.finfo(array.dtype).max):
            raise KexueValueError(f"p is too small: 1/p exceeds the range of {array.dtype}, got {p}")
    return scale


def _sources(name: str, value: Any, out: Any) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
    """All arrays and where their results go; nothing has been written yet."""
    parts, listed = parts_of(name, value)
    arrays = [as_real(part, item) for part, item in parts]
    if out is None:
        return arrays, [np.empty(array.shape, dtype=array.dtype) for array in arrays], listed
    return arrays, places_of(out, name, arrays, listed), listed


def _drop(name: str, value: Any, p: float, rng: Any, rescale: bool, out: Any, workers: int | None) -> Any:
    arrays, places, listed = _sources(name, value, out)
    scale = _check_scale(p, rescale, arrays)
    key = np.random.default_rng(rng).integers(0, 2**64 - 1, size=2, dtype=np.uint64, endpoint=True)
    position = 0
    buffers = buffers_for(places, arrays)
    for array, buffer in zip(arrays, buffers, strict=True):
        _child_tuning_core.drop(as_contiguous(array), key, position, p, scale, buffer, workers)
        position += array.size
    deliver(buffers, places)
    return places if listed else places[0]
