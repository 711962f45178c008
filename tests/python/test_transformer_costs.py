"""Multiplications of a Transformer's parts, counted by shapes, and the lengths at which one overtakes another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError, attention_macs, crossover_lengths, ffn_macs, transformer_layer_macs

SIZES = st.integers(1, 40)


def product(rows, inner, columns):
    return rows * inner * columns


@pytest.mark.parametrize("kind", ["softmax", "linear"])
@given(n=SIZES, h=SIZES, d=SIZES, ratio=st.integers(1, 5))
def test_every_matrix_product_is_counted(kind, n, h, d, ratio):
    hidden, inner = h * d, d * ratio
    projections = 4 * product(n, hidden, hidden)
    pairs = product(n, inner, n) + product(n, n, inner)
    sums = product(inner, n, inner) + product(n, inner, inner)
    core = h * (pairs if kind == "softmax" else sums)
    options = {"core_ratio": ratio}
    assert attention_macs(n, h, d, kind, **options) == projections + core
    assert attention_macs(n, h, d, kind, part="core", **options) == core
    assert attention_macs(n, h, d, kind, part="projections", **options) == projections
    ffn = product(n, hidden, 3 * hidden) + product(n, 3 * hidden, hidden)
    assert ffn_macs(n, hidden, 3) == ffn
    assert transformer_layer_macs(n, h, d, kind, ratio=3, **options) == projections + core + ffn


def test_known_numbers():
    assert attention_macs(512, 12, 64) == 1610612736
    assert ffn_macs(512, 768) == 2415919104
    assert transformer_layer_macs(512, 12, 64) == 4026531840
    assert transformer_layer_macs(512, 12, 64, "linear") == 3674210304
    assert transformer_layer_macs(512, 12, 64, "linear", core_ratio=4) == 4429185024
    assert transformer_layer_macs(512, 12, 64, "linear", feature_dim=1024) == 4429185024
    assert attention_macs(1536, 12, 64) == ffn_macs(1536, 768) == 7247757312
    assert ffn_macs(3, 768, 8 / 3) == 2 * 3 * 768 * 2048


def test_ints_have_no_limit():
    n = 10**30
    assert attention_macs(n, 1, 1) == 4 * n + 2 * n * n
    assert ffn_macs(n, 10**20) == 8 * n * 10**40
    assert transformer_layer_macs(n, 1, 1) == 12 * n + 2 * n * n
    assert all(type(f) is int for f in (attention_macs(np.int32(2**20), 12, 64), ffn_macs(np.int8(100), np.int8(100))))
    assert ffn_macs(np.int8(100), np.int8(100)) == 8 * 10**6
    assert attention_macs(0, 12, 64) == transformer_layer_macs(0, 12, 64) == ffn_macs(0, 768) == 0


def test_arrays():
    lengths = np.array([[1, 512], [1536, 2**20]], dtype=np.int32)
    for function in (attention_macs, transformer_layer_macs):
        result = function(lengths, 12, 64)
        assert result.dtype == np.int64
        assert result.tolist() == [[function(int(n), 12, 64) for n in row] for row in lengths]
    assert ffn_macs([1, 2], [[3], [4]]).tolist() == [[8 * 9, 16 * 9], [8 * 16, 16 * 16]]
    assert attention_macs([], 12, 64).shape == (0,)
    assert attention_macs([1, 2], 12, 64, part="projections").tolist() == [4 * 768**2, 8 * 768**2]
    for function in (attention_macs, transformer_layer_macs):
        with pytest.raises(OverflowError, match=r"above 2\^63 - 1"):
            function([2**31], 12, 64)
    with pytest.raises(OverflowError, match=r"above 2\^63 - 1"):
        ffn_macs([2**31], 2**20)


@given(h=SIZES, d=SIZES, features=SIZES, ratio=st.integers(2, 8))
def test_crossovers_are_where_parts_are_equal(h, d, features, ratio):
    found = crossover_lengths(h, d, feature_dim=features, ratio=ratio)
    hidden = h * d
    n = found.attention_over_ffn
    assert attention_macs(n, h, d) == ffn_macs(n, hidden, ratio)
    assert attention_macs(n + 1, h, d) > ffn_macs(n + 1, hidden, ratio)
    n = found.quadratic_over_linear
    quadratic = attention_macs(n, h, d, part="core")
    assert quadratic == transformer_layer_macs(n, h, d, ratio=ratio) - quadratic
    n = found.softmax_over_linear
    linear = {"feature_dim": features, "part": "core"}
    assert attention_macs(n, h, d, part="core") == attention_macs(n, h, d, "linear", **linear)
    assert attention_macs(n + 1, h, d, part="core") > attention_macs(n + 1, h, d, "linear", **linear)


def test_known_crossovers():
    assert crossover_lengths(12, 64) == kexue.CrossoverLengths(1536, 4608, 64)
    assert crossover_lengths(12, 64, core_ratio=4).softmax_over_linear == 1024
    assert crossover_lengths(12, 64, feature_dim=256).softmax_over_linear == 256
    assert crossover_lengths(12, 64, ratio=1).attention_over_ffn == 0  # attention takes more at any length
    assert crossover_lengths(12, 64, ratio=8 / 3).attention_over_ffn == 512


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: attention_macs(-1, 12, 64), KexueValueError, "n must be at least 0, got -1"),
        (lambda: attention_macs([1, -3], 12, 64), KexueValueError, r"n\[1\] must be at least 0, got -3"),
        (lambda: attention_macs(1.5, 12, 64), TypeError, "n must hold integers"),
        (lambda: attention_macs(True, 12, 64), TypeError, "n must hold integers"),
        (lambda: attention_macs(1, "x", 64), TypeError, "h must hold integers"),
        (lambda: attention_macs(1, np.array([2.0], dtype=object), 64), TypeError, "h must be an integer, not float"),
        (lambda: attention_macs(1, 12, 64, "cosine"), KexueValueError, 'kind must be "softmax" or "linear"'),
        (lambda: attention_macs(1, 12, 64, part="half"), KexueValueError, "part must be"),
        (lambda: attention_macs(1, 12, 64, feature_dim=3), KexueValueError, "feature_dim is for"),
        (lambda: attention_macs([1, 2], [1, 2, 3], 64), KexueValueError, "must broadcast"),
        (lambda: ffn_macs([1, 2], [1, 2, 3]), KexueValueError, "must broadcast"),
        (lambda: transformer_layer_macs([1, 2], [1, 2, 3], 1), KexueValueError, "must broadcast"),
        (lambda: ffn_macs(1, 12, 0.3), KexueValueError, "ratio times hidden must be a whole number"),
        (lambda: ffn_macs(1, 12, -1), KexueValueError, "ratio must be finite and at least 0"),
        (lambda: ffn_macs(1, 12, float("nan")), KexueValueError, "ratio must be finite and at least 0"),
        (lambda: ffn_macs(1, 12, "4"), TypeError, "ratio must be a number"),
        (lambda: transformer_layer_macs(1, 12, 64, ratio=0.001), KexueValueError, "ratio times h d"),
        (lambda: crossover_lengths(0, 64), KexueValueError, "h must be at least 1"),
        (lambda: crossover_lengths(12, 64, feature_dim=0), KexueValueError, "feature_dim must be at least 1"),
        (lambda: crossover_lengths(12, 64, core_ratio=0), KexueValueError, "core_ratio must be at least 1"),
        (lambda: crossover_lengths(12, [64]), TypeError, "d must be an integer"),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
