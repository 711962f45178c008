"""How alike two sequences are: common subsequences and edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kexue import _decoding
from kexue._prefix_tree import _tokens

__all__ = ["edit_distance", "lcs_f1", "longest_common_subsequence"]

_LARGEST = np.iinfo(np.uint32).max


def _codes(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both sequences by numbers of 32 bits, equal where their items are."""
    left, right = _tokens("a", a), _tokens("b", b)
    if left.dtype == right.dtype == np.int32:
        return left.view(np.uint32), right.view(np.uint32)
    if max(left.max(initial=0), right.max(initial=0)) <= _LARGEST:
        return left.astype(np.uint32, copy=False), right.astype(np.uint32, copy=False)
    codes = np.unique(np.concatenate([left, right]), return_inverse=True)[1].astype(np.uint32)
    return codes[: len(left)], codes[len(left) :]


def longest_common_subsequence(a: Sequence[int] | str, b: Sequence[int] | str) -> int:
    """The length of the longest sequence that both contain, with gaps.

    Parameters
    ----------
    a, b : sequence of int or str
        A string stands for the code points of its characters, also beside a sequence of integers; bytes are integers.

    Returns
    -------
    int

    Raises
    ------
    KexueValueError, TypeError
        If a sequence does not hold integers that are not negative.

    See Also
    --------
    lcs_f1, edit_distance

    Notes
    -----
    O(len(a) len(b) / 64) time, 64 cells of the dynamic program in a word, and O(len(a) + len(b)) memory. Equal
    beginnings and ends take no time.

    References
    ----------
    H. Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004.

    Examples
    --------
    >>> import kexue
    >>> kexue.longest_common_subsequence("主讲课程", "XXX主要讲什么课程")
    4
    """
    return _decoding.longest_common_subsequence(a, b, _codes)


def lcs_f1(a: Sequence[int] | str, b: Sequence[int] | str) -> float:
    """2 LCS / (len(a) + len(b)), with the longest common subsequence: the F1 of ROUGE-L. 1 for two empty sequences.

    Parameters
    ----------
    a, b : sequence of int or str

    Returns
    -------
    float

    Raises
    ------
    KexueValueError, TypeError
        If a sequence does not hold integers that are not negative.

    References
    ----------
    C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", Text Summarization Branches Out (2004), 74-81.

    Examples
    --------
    >>> import kexue
    >>> kexue.lcs_f1("abcd", "acd")
    0.8571428571428571
    """
    common = longest_common_subsequence(a, b)
    total = len(a) + len(b)
    return 2 * common / total if total else 1.0


def edit_distance(a: Sequence[int] | str, b: Sequence[int] | str) -> int:
    """The fewest insertions, deletions and substitutions that make one sequence of the other (Levenshtein's).

    Parameters
    ----------
    a, b : sequence of int or str

    Returns
    -------
    int

    Notes
    -----
    O(len(a) len(b) / 64) time and O(len(a) + len(b)) memory.

    References
    ----------
    G. Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic programming", J. ACM 46
    (1999), 395-415, doi:10.1145/316542.316550.

    Examples
    --------
    >>> import kexue
    >>> kexue.edit_distance("kitten", "sitting")
    3
    """
    return _decoding.edit_distance(a, b, _codes)
