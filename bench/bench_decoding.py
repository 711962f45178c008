"""Prefix trees beside dicts of dicts, alignments beside rapidfuzz and the dynamic program in Python."""

import pytest
import workloads_decoding as workloads


def sides(*names):
    return pytest.mark.parametrize("side", names)


@sides("kexue", "dict of dicts")
@pytest.mark.parametrize("given", ["array", "lists"])
def bench_prefix_tree(measure, given, side):
    measure(workloads.prefix_tree(100_000, given), side)


def bench_prefix_tree_memory(benchmark):
    """Bytes, not seconds: both are printed, and the least ratio is what is promised."""
    ours, theirs = benchmark.pedantic(workloads.memory, args=(100_000,), rounds=1)
    print(
        f"\nPrefixTree of 100,000 sequences of 20: {ours:,} bytes; dict of dicts: {theirs:,}, {theirs / ours:.1f} times"
    )
    assert theirs >= 8 * ours


@sides("kexue", "dicts and NumPy", "the write alone")
@pytest.mark.parametrize("length", [0, 3, 19])
def bench_mask(measure, length, side):
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
