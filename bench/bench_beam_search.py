"""Search along a prefix tree and look-ahead beside what one writes with NumPy and dicts."""

import pytest
import workloads_beam_search as workloads
from cases import sides


@sides("kexue", "NumPy and dicts, masks", "NumPy and dicts")
@pytest.mark.parametrize("wide", [2, 1000, 30_000])
def bench_constrained_beam_search(measure, wide, side):
    measure(workloads.constrained_beam_search(wide), side)


@sides("kexue", "Python", "kexue's own, one by one")
@pytest.mark.parametrize("completions", [100, 10_000])
def bench_lookahead_boost(measure, completions, side):
    measure(workloads.lookahead_boost(completions), side)
