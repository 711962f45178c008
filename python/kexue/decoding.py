"""Decoding: prefix trees, searches along them, alignments of sequences, arithmetic expressions."""

from kexue._alignment import edit_distance, lcs_f1, longest_common_subsequence
from kexue._beam_search import BeamHypothesis, constrained_beam_search, lookahead_boost
from kexue._equations import answers_match, format_answer, normalize_equation, normalize_question
from kexue._expressions import evaluate_expression, strip_redundant_parentheses
from kexue._hugging_face import PrefixAllowedTokens, PrefixTreeLogitsProcessor
from kexue._prefix_tree import PrefixTree

__all__ = [
    "BeamHypothesis",
    "PrefixAllowedTokens",
    "PrefixTree",
    "PrefixTreeLogitsProcessor",
    "answers_match",
    "constrained_beam_search",
    "edit_distance",
    "evaluate_expression",
    "format_answer",
    "lcs_f1",
    "longest_common_subsequence",
    "lookahead_boost",
    "normalize_equation",
    "normalize_question",
    "strip_redundant_parentheses",
]
