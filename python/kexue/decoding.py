"""Decoding: prefix trees, searches along them, alignments of sequences, arithmetic expressions."""

from kexue._alignment import edit_distance, lcs_f1, longest_common_subsequence
from kexue._equations import answers_match, format_answer, normalize_equation, normalize_question
from kexue._expressions import evaluate_expression, strip_redundant_parentheses
from kexue._prefix_tree import PrefixTree

__all__ = [
    "PrefixTree",
    "answers_match",
    "edit_distance",
    "evaluate_expression",
    "format_answer",
    "lcs_f1",
    "longest_common_subsequence",
    "normalize_equation",
    "normalize_question",
    "strip_redundant_parentheses",
]
