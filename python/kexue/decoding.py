"""Decoding: prefix trees, searches along them, alignments of sequences, arithmetic expressions."""

from kexue._alignment import edit_distance, lcs_f1, longest_common_subsequence
from kexue._prefix_tree import PrefixTree

__all__ = [
    "PrefixTree",
    "edit_distance",
    "lcs_f1",
    "longest_common_subsequence",
]
