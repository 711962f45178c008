"""What the functions of Gaussians share: their arguments, the gufunc's call, and what a NaN in the result means."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _ufuncs
from kexue._arrays import as_contiguous, as_real, result_dtype
from kexue._errors import KexueValueError, require_finite
from kexue._gaussians import first_bad_pivot, first_not_semidefinite
from kexue._lazy import apply_items, is_lazy

Form = Literal["covariance", "cholesky", "diagonal"]
FORMS = ("covariance", "cholesky", "diagonal")
PAIR = ("mean_p", "cov_p", "mean_q", "cov_q")

# As in _ufuncs_gaussians.pxi.
SYMMETRY = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-8}


def of_each_form(name: str) -> dict[str, np.ufunc]:
    """The gufuncs of a function."""
    return {form: getattr(_ufuncs, f"{name}_{form}") for form in FORMS}


def core_dimensions(name: str, form: str) -> int:
    return 1 if form == "diagonal" or name.startswith("mean") else 2


@cache
def result_cores(signature: str) -> tuple[int, ...]:
    """The numbers of core dimensions of a gufunc's results."""
    return tuple(len(re.findall("n", result)) for result in signature.split("->")[1].split("),"))


def evaluate(
    function: Callable[..., Any],
    ufuncs: dict[str, np.ufunc],
    names: Sequence[str],
    values: Sequence[ArrayLike],
    form: Form,
    *,
    out: np.ndarray | None = None,
    semidefinite: Sequence[str] = (),
) -> Any:
    """Check the arguments, call the gufunc, and raise where an item has no result.

    Parameters
    ----------
    function : callable
        The public function, which is put off if an argument is a Dask array.
    ufuncs : dict
        From `of_each_form`.
    names, values : sequence
        The arguments; those whose name begins with "mean" are means, the others scales.
    form : str
    out : ndarray, optional
    semidefinite : sequence of str
        The scales that need not be positive definite.

    Returns
    -------
    ndarray, scalar, tuple or dask array
        What the gufunc returns.
    """
    if is_lazy(*values):
        if out is not None:
            raise TypeError("out cannot be given with Dask arrays")
        check_shapes(names, values, form)
        dtypes = [result_dtype(*values)] * ufuncs[form].nout
        return apply_items(function, str(ufuncs[form].signature), *values, output_dtypes=dtypes, form=form)
    arrays = as_gaussians(names, values, form)
    with np.errstate(invalid="ignore", divide="ignore"):
        try:
            results = ufuncs[form](*arrays) if out is None else ufuncs[form](*arrays, out=out)
        except ValueError:
            check_batches(names, arrays, form)
            raise
    failed = None
    parts = results if type(results) is tuple else (results,)
    for part, core in zip(parts, result_cores(ufuncs[form].signature), strict=True):
        # All entries of a failed item are NaN: one of them tells.
        bad = np.isnan(part[(..., *(slice(1),) * core)] if core else part)
        if bad.any():
            bad = bad.any(axis=tuple(range(-core, 0)))
            failed = bad if failed is None else failed | bad
    if failed is not None:
        explain(names, arrays, form, failed, semidefinite)
    return results


def as_gaussians(names: Sequence[str], values: Sequence[ArrayLike], form: str) -> list[np.ndarray]:
    """Arrays of one dtype whose core dimensions agree; vectors are finite."""
    dtype = result_dtype(*values)
    arrays = [as_real(name, value, dtype=dtype) for name, value in zip(names, values, strict=True)]
    check_shapes(names, arrays, form)
    if form == "covariance" and dtype == np.float64:
        for place, value in enumerate(values):
            given = getattr(value, "dtype", dtype)
            if not names[place].startswith("mean") and given.kind == "f" and given.itemsize <= 4:
                arrays[place] = symmetrized(arrays[place])
    for name, array in zip(names, arrays, strict=True):
        # A matrix that is not finite has no result: see `explain`.
        if core_dimensions(name, form) == 1 and not np.isfinite(array).all():
            require_finite(name, array)
    return arrays


def symmetrized(matrices: np.ndarray) -> np.ndarray:
    """Matrices that were float32, as symmetric as float64 must be; those that were not symmetric for float32 stay."""
    transposed = matrices.swapaxes(-1, -2)
    limits = SYMMETRY[np.dtype(np.float32)] * np.abs(matrices.diagonal(axis1=-2, axis2=-1)).max(axis=-1, initial=0)
    with np.errstate(invalid="ignore"):
        symmetric = (np.abs(matrices - transposed) <= limits[..., None, None]).all(axis=(-1, -2), keepdims=True)
        return np.where(symmetric, 0.5 * matrices + 0.5 * transposed, matrices)


def check_shapes(names: Sequence[str], arrays: Sequence[Any], form: str) -> None:
    """Raise where the core dimensions do not do, or do not agree."""
    if form not in FORMS:
        raise KexueValueError(f'form must be "covariance", "cholesky" or "diagonal", got {form!r}')
    n = None
    for name, array in zip(names, arrays, strict=True):
        shape, core = np.shape(array), core_dimensions(name, form)
        wanted = "(..., n)" if core == 1 else "(..., n, n)"
        if len(shape) < core or len(set(shape[-core:])) > 1:
            raise KexueValueError(f"{name} must have shape {wanted}, but its shape is {shape}")
        if n is None:
            n = shape[-1]
        elif shape[-1] != n:
            raise KexueValueError(
                f"{name} has shape {shape}, but {names[0]} has shape {np.shape(arrays[0])}: n differs"
            )


def check_batches(names: Sequence[str], arrays: Sequence[np.ndarray], form: str) -> None:
    """Raise if the leading dimensions do not broadcast."""
    try:
        batch_shape(names, arrays, form)
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True))
        raise KexueValueError(f"the leading dimensions do not broadcast: {shapes}") from None


def batch_shape(names: Sequence[str], arrays: Sequence[np.ndarray], form: str) -> tuple[int, ...]:
    """What the leading dimensions broadcast to."""
    return np.broadcast_shapes(
        *(array.shape[: -core_dimensions(name, form)] for name, array in zip(names, arrays, strict=True))
    )


def explain(
    names: Sequence[str], arrays: Sequence[np.ndarray], form: str, failed: np.ndarray, semidefinite: Sequence[str]
) -> None:
    """Raise for the first item that failed, saying what is wrong with which argument.

    Parameters
    ----------
    names, arrays, form, semidefinite
        As in `evaluate`.
    failed : ndarray of bool
        For each item of the batch; the first one that is true is looked at.
    """
    item = np.unravel_index(int(np.argmax(failed)), failed.shape)
    for name, array in zip(names, arrays, strict=True):
        core = core_dimensions(name, form)
        if name.startswith("mean"):
            continue
        outer = array.shape[:-core]
        place = tuple(int(i) if size > 1 else 0 for i, size in zip(item[len(item) - len(outer) :], outer, strict=True))
        check_scale(name, array, place, form, name in semidefinite)
    where = f" of item {', '.join(map(str, item))}" if item else ""
    raise OverflowError(f"the result{where} is not a number: terms of it overflow {arrays[0].dtype}")


def check_scale(name: str, array: np.ndarray, place: tuple[int, ...], form: str, semidefinite: bool) -> None:
    """Raise if array[place] is not the scale of a Gaussian."""
    scale = array[place]
    matrix = as_contiguous(scale)[None]

    def entry(*index: int) -> str:
        return f"{name}[{', '.join(map(str, (*place, *index)))}]"

    whole = f"{name}[{', '.join(map(str, place))}]" if place else name
    finite = np.isfinite(scale)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise KexueValueError(f"{entry(*index)} is {scale[index]!s}; {name} has shape {array.shape}")
    if form == "covariance":
        limit = SYMMETRY[array.dtype]
        different = np.abs(scale - scale.T) > limit * np.abs(scale.diagonal()).max(initial=0)
        if different.any():
            i, j = (int(k) for k in np.argwhere(different)[0])
            raise KexueValueError(
                f"{whole} is not symmetric (to {limit:g} of its largest variance): "
                f"{entry(i, j)} is {scale[i, j]!s}, {entry(j, i)} is {scale[j, i]!s}; {name} has shape {array.shape}"
            )
    if form == "cholesky":
        above = np.argwhere(np.triu(scale, 1))
        if len(above):
            i, j = (int(k) for k in above[0])
            raise KexueValueError(
                f"{entry(i, j)} is {scale[i, j]!s}, but a Cholesky factor is lower triangular; "
                f"{name} has shape {array.shape}"
            )
    if semidefinite and form == "covariance":
        where, value = first_not_semidefinite(matrix)
        if where >= 0:
            raise KexueValueError(
                f"{whole} is not positive semidefinite: it has an eigenvalue of about {value:.6g}; "
                f"{name} has shape {array.shape}"
            )
        return
    if form == "covariance":
        _, pivot, value = first_bad_pivot(matrix)
        if pivot >= 0:
            raise KexueValueError(
                f"{whole} is not positive definite: pivot {pivot} is {value:.6g}; {name} has shape {array.shape}"
            )
        return
    entries = scale if form == "diagonal" else scale.diagonal()
    bad = entries < 0 if semidefinite else entries <= 0
    if bad.any():
        i = int(bad.argmax())
        what = "a variance" if form == "diagonal" else "the diagonal of a Cholesky factor"
        raise KexueValueError(
            f"{entry(i) if form == 'diagonal' else entry(i, i)} is {entries[i]!s}, but {what} "
            f"{'cannot be negative' if semidefinite else 'must be positive'}; {name} has shape {array.shape}"
        )
