"""The fuzzer of saved files, in short: the million is ``python tests/fuzz_loaders.py``."""

from __future__ import annotations

import warnings

import pytest

from fuzz_loaders import run


@pytest.mark.parametrize("target", ["index", "tree"])
def test_the_fuzzer_in_short(target):
    with warnings.catch_warnings():
        tally = run(target, 1500, seed=7, seconds=60)
    assert tally["numbers: sound"] > 5 and tally["bytes: sound"] > 2
    assert tally["numbers: refused"] > 300 and tally["bytes: refused"] > 300
