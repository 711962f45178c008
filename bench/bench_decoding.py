"""Prefix trees beside dicts of dicts, alignments beside rapidfuzz and the dynamic program in Python."""

import pytest
import workloads_decoding as workloads
from cases import sides


@sides("kexue", "dict of dicts")
@pytest.mark.parametrize("given", ["array", "lists"])
def bench_PrefixTree(measure, given, side):
    measure(workloads.prefix_tree(100_000, given), side)


@sides("kexue", "dicts and NumPy", "the write alone")
@pytest.mark.parametrize("length", [0, 3, 19])
def bench_PrefixTree_mask(measure, length, side):
    measure(workloads.mask(length), side)


@sides("kexue", "rapidfuzz", "Python")
@pytest.mark.parametrize("length", [10, 50, 1000])
@pytest.mark.parametrize("function", ["longest_common_subsequence", "lcs_f1", "edit_distance"])
def bench_alignment(measure, function, length, side):
    measure(workloads.alignment(function, length), side)


@sides("kexue", "rapidfuzz")
@pytest.mark.parametrize("function", ["longest_common_subsequence", "edit_distance"])
def bench_long_alignment(measure, function, side):
    measure(workloads.alignment(function, 20_000), side)


@sides("kexue", "dict of dicts")
def bench_PrefixAllowedTokens(measure, side):
    measure(workloads.allowed_tokens(), side)


@sides("kexue", "dicts and NumPy")
def bench_PrefixTreeLogitsProcessor(measure, side):
    measure(workloads.logits_processor(4), side)
