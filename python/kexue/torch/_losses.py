"""Losses of scores, cosines and embeddings."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

import kexue
from kexue.torch._autograd import Arrays, Needs, call


def _loss(
    name: str,
    of: dict[str, Tensor],
    constant: Arrays,
    *,
    axes: tuple[int, ...],
    shift: Arrays | None = None,
    **options: Any,
) -> Tensor:
    """A loss of rows, whose gradients kexue computes along with it.

    Parameters
    ----------
    name : str
        The function's.
    of : dict of str to Tensor
        The arguments by which it gives gradients, in this order.
    constant : dict
        Those without a gradient that are arrays.
    axes : tuple of int
        Where the loss, a number for each row, has to get dimensions to broadcast with the gradients.
    shift : dict, optional
        One argument that is taken off all of a row's scores.
    **options
        Passed to the function.
    """

    def forward(needs: Needs, given: Arrays) -> Any:
        result = getattr(kexue, name)(**given, return_grad=bool(needs))
        if not needs:
            return result, ()
        value, gradients = result
        return value, gradients if len(of) > 1 else (gradients,)

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        for axis in axes:
            upstream = upstream.unsqueeze(axis)
        gradients = {
            argument: upstream * gradient
            for argument, gradient in zip(of, kept, strict=True)
            if argument in needs or shift
        }
        for argument in shift or ():
            if argument in needs:
                gradients[argument] = -gradients[next(iter(of))].sum(axes)
        return gradients

    return call(name, forward, backward, required=of, optional=shift, constant=constant | options)


def zlpr_loss(
    scores: Tensor,
    targets: Tensor | ArrayLike,
    *,
    threshold: Tensor | ArrayLike | None = None,
    label_smoothing: Tensor | float = 0.0,
    mask: Tensor | ArrayLike | None = None,
    axis: int = -1,
    workers: int | None = None,
) -> Tensor:
    """`kexue.zlpr_loss`: the multi-label softmax cross-entropy.

    Parameters
    ----------
    scores : Tensor, shape (..., n)
        Finite, or -inf for classes that do not take part.
    targets : Tensor or array_like
        0 and 1, or degrees of membership within [0, 1]; without a gradient. Broadcast to the shape of `scores`.
    threshold : Tensor or array_like, optional
        One number, or one for each row.
    label_smoothing, mask, axis, workers
        As in `kexue.zlpr_loss`.

    Returns
    -------
    Tensor, shape (...)
        The loss of each row: there is no ``reduction``, so call ``mean()`` or ``sum()``.

    Raises
    ------
    KexueValueError
        As in `kexue.zlpr_loss`; if a tensor is on another device; if `targets` requires a gradient.

    Notes
    -----
    Gradients by `scores` and `threshold`, computed with the loss. O(n) a row.
    J. Su et al., arXiv:2208.02955.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> scores = torch.tensor([1.2, -0.7, 0.3, 2.5, -1.4], requires_grad=True)
    >>> kexue.torch.zlpr_loss(scores, torch.tensor([1, 0, 0, 1, 1])).backward()
    >>> [round(slope, 4) for slope in scores.grad.tolist()]
    [-0.0554, 0.1745, 0.4742, -0.0151, -0.7456]
    """
    return _loss(
        "zlpr_loss",
        {"scores": scores},
        {"targets": targets, "mask": mask},
        axes=(axis,),
        shift={"threshold": threshold},
        label_smoothing=label_smoothing,
        axis=axis,
        workers=workers,
    )


def zlpr_sparse_loss(
    scores: Tensor,
    positive_ids: Any,
    *,
    threshold: Tensor | ArrayLike | None = None,
    mask: Tensor | ArrayLike | None = None,
    workers: int | None = None,
) -> Tensor:
    """`kexue.zlpr_sparse_loss`: the loss of `zlpr_loss`, of positive classes that are listed.

    Parameters
    ----------
    scores : Tensor, shape (rows, n) or (n,)
        As for `zlpr_loss`.
    positive_ids : Tensor or array_like of int, shape (rows, k), or sequence of sequences
        The positive classes of each row; -1 is padding.
    threshold, mask, workers
        As for `zlpr_loss`.

    Returns
    -------
    Tensor, shape (rows,) or ()

    Raises
    ------
    KexueValueError
        As in `kexue.zlpr_sparse_loss`; and if a tensor is on another device.

    Notes
    -----
    Gradients by `scores` and `threshold`, computed with the loss. O(n) a row.
    J. Su et al., arXiv:2208.02955.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> scores = torch.tensor([[1.2, -0.7, 0.3, 2.5, -1.4], [0.5, 0.5, -2.0, 0.0, 1.0]])
    >>> kexue.torch.zlpr_sparse_loss(scores, [[0, 3, 4], []])
    tensor([2.7396, 2.0981])
    """
    return _loss(
        "zlpr_sparse_loss",
        {"scores": scores},
        {"positive_ids": positive_ids, "mask": mask},
        axes=(-1,),
        shift={"threshold": threshold},
        workers=workers,
    )


def combinatorial_softmax_loss(
    scores: Tensor,
    targets: Tensor | ArrayLike,
    *,
    max_labels: int | None = None,
    filler: Tensor | ArrayLike | None = None,
    mask: Tensor | ArrayLike | None = None,
    axis: int = -1,
    workers: int | None = None,
) -> Tensor:
    """`kexue.combinatorial_softmax_loss`: the cross-entropy of a softmax over sets of labels.

    Parameters
    ----------
    scores : Tensor, shape (..., n)
        Finite, or -inf for a label that is masked.
    targets : Tensor or array_like, shape (..., n)
        0 and 1.
    max_labels : int, optional
        The largest size of a set.
    filler : Tensor or array_like, shape (...), optional
        With `max_labels`: the score of an empty place.
    mask, axis, workers
        As in `kexue.combinatorial_softmax_loss`.

    Returns
    -------
    Tensor, shape (...)
        The loss of each row.

    Raises
    ------
    KexueValueError
        As in `kexue.combinatorial_softmax_loss`; and if a tensor is on another device.

    Notes
    -----
    Gradients by `scores` and `filler`, computed with the loss: O(n min(k, n - k)) a row, k the size of the sets.
    J. Su, https://kexue.fm/archives/7359.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> scores = torch.tensor([1.2, -0.7, 0.3, 2.5, -1.4], requires_grad=True)
    >>> kexue.torch.combinatorial_softmax_loss(scores, torch.tensor([1, 0, 0, 1, 1])).backward()
    >>> abs(scores.grad.sum().item()) < 1e-6
    True
    """
    # A filler of more dimensions than the scores' rows adds some in front: counted from the back the axis stays.
    place = axis if axis < 0 or not isinstance(scores, Tensor) else axis - scores.ndim
    return _loss(
        "combinatorial_softmax_loss",
        {"scores": scores},
        {"targets": targets, "mask": mask},
        axes=(place,),
        shift={"filler": filler},
        max_labels=max_labels,
        axis=axis,
        workers=workers,
    )


def cosent_loss(
    cos: Tensor, labels: Tensor | ArrayLike, scale: Tensor | float = 20.0, *, axis: int = -1, workers: int | None = None
) -> Tensor:
    """`kexue.cosent_loss`: how far the order of cosines is from the order of labels.

    Parameters
    ----------
    cos : Tensor, shape (..., n)
        Cosines, or any finite scores, of n pairs.
    labels : Tensor or array_like, shape (..., n)
        Similarities; only their order counts, so without a gradient. They broadcast with `cos`.
    scale : float
        Positive.
    axis, workers
        As in `kexue.cosent_loss`.

    Returns
    -------
    Tensor, shape (...)
        One loss for each row; float32 if `cos` is float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.cosent_loss`; if a tensor is on another device; if `labels` requires a gradient.

    See Also
    --------
    cosent_embedding_loss : from the embeddings of the pairs.

    Notes
    -----
    The gradient by `cos` is computed with the loss: O(n log n) time and O(n) memory.
    J. Su, https://kexue.fm/archives/8847.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> cosines = torch.tensor([0.9, 0.8, 0.3, 0.5, 0.6], requires_grad=True)
    >>> loss = kexue.torch.cosent_loss(cosines, torch.tensor([1, 1, 0, 0, 2]), 1.0)
    >>> loss.backward()
    >>> [round(slope, 4) for slope in cosines.grad.tolist()]
    [0.0168, -0.0162, 0.2436, 0.2976, -0.5418]
    """
    return _loss("cosent_loss", {"cos": cos}, {"labels": labels}, axes=(axis,), scale=scale, axis=axis, workers=workers)


def cosent_embedding_loss(
    U: Tensor, V: Tensor, labels: Tensor | ArrayLike, scale: Tensor | float = 20.0, *, workers: int | None = None
) -> Tensor:
    """`kexue.cosent_embedding_loss`: `cosent_loss` of the cosines of pairs of embeddings.

    Parameters
    ----------
    U, V : Tensor, shape (..., n, d)
        The embeddings of the two sides of each pair; they broadcast.
    labels, scale, workers
        As for `cosent_loss`.

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    KexueValueError
        As in `kexue.cosent_embedding_loss`; if a tensor is on another device; if `labels` requires a gradient.

    Notes
    -----
    Gradients by `U` and `V`, computed with the loss: O(n (d + log n)). Vectors shorter than 1e-8 count as that long.
    J. Su, https://kexue.fm/archives/8847.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> U = torch.tensor([[1.0, 2.0], [0.5, -1.0]], requires_grad=True)
    >>> loss = kexue.torch.cosent_embedding_loss(U, torch.tensor([[2.0, 1.0], [1.0, -1.0]]), [1, 0])
    >>> loss.backward()
    >>> round(loss.item(), 4)
    3.0235
    """
    return _loss(
        "cosent_embedding_loss", {"U": U, "V": V}, {"labels": labels}, axes=(-1, -1), scale=scale, workers=workers
    )


def info_nce_loss(
    similarities: Tensor, *, temperature: Tensor | float = 0.05, symmetric: bool = False, workers: int | None = None
) -> Tensor:
    """`kexue.info_nce_loss`: InfoNCE with the other rows of the batch as negatives.

    Parameters
    ----------
    similarities : Tensor, shape (..., n, n)
        Cosines usually; those of the pairs that belong together are on the diagonal.
    temperature : float
        Positive.
    symmetric : bool
        The mean of this loss and that of the transposed matrix.
    workers : int, optional
        As in `kexue.info_nce_loss`.

    Returns
    -------
    Tensor, shape (...)
        The mean over the rows of each matrix.

    Raises
    ------
    KexueValueError
        As in `kexue.info_nce_loss`; and if a tensor is on another device.

    Notes
    -----
    The gradient by `similarities` is computed with the loss: O(n**2). A temperature that is learned is a factor of the
    similarities, with ``temperature=1``. arXiv:1807.03748.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> cosines = torch.tensor([[0.9, 0.8], [0.7, 0.75]], requires_grad=True)
    >>> loss = kexue.torch.info_nce_loss(cosines)
    >>> loss.backward()
    >>> round(loss.item(), 4)
    0.2201
    """
    return _loss(
        "info_nce_loss",
        {"similarities": similarities},
        {},
        axes=(-1, -1),
        temperature=temperature,
        symmetric=symmetric,
        workers=workers,
    )


def r_drop_loss(
    logits_1: Tensor,
    logits_2: Tensor,
    labels: Tensor | ArrayLike,
    *,
    alpha: Tensor | float = 1.0,
    axis: int = -1,
    workers: int | None = None,
) -> Tensor:
    """`kexue.r_drop_loss`: the cross-entropies of two passes with different dropout, and of their divergences.

    Parameters
    ----------
    logits_1, logits_2 : Tensor, shape (..., n)
        Of the two passes.
    labels : Tensor or array_like
        Class ids, of the shape of the logits without the axis; or probabilities, of the shape of the logits.
    alpha : float
        The weight of the divergences' mean.
    axis, workers
        As in `kexue.r_drop_loss`.

    Returns
    -------
    Tensor, shape (...)
        The loss of each row.

    Raises
    ------
    KexueValueError
        As in `kexue.r_drop_loss`; if a tensor is on another device; if `labels` requires a gradient.

    Notes
    -----
    Gradients by both logits, computed with the loss. O(n) a row. X. Liang et al., arXiv:2106.14448.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> loss = kexue.torch.r_drop_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.5, 1.0, 1.5]), torch.tensor(2))
    >>> round(loss.item(), 4)
    1.1516
    """
    return _loss(
        "r_drop_loss",
        {"logits_1": logits_1, "logits_2": logits_2},
        {"labels": labels},
        axes=(axis,),
        alpha=alpha,
        axis=axis,
        workers=workers,
    )
