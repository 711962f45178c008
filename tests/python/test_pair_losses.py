"""Losses of each cosine by itself, and the features of a pair."""

import numpy as np
import pytest

import kexue

KINDS = ("linear", "squared", "margin")


def test_values():
    c, t = [0.9, 0.8, -0.5, 0.6], [1, 0, 0, 0.25]
    np.testing.assert_allclose(kexue.cosine_target_loss(c, t), [0.1, 1.8, 0.5, 1.3])
    np.testing.assert_allclose(kexue.cosine_target_loss(c, t, kind="squared"), [0.01, 0.64, 0.25, 0.31])
    np.testing.assert_allclose(kexue.cosine_target_loss(c, t, kind="margin"), [0.1, 0.8, 0.7, 0.625])
    np.testing.assert_allclose(kexue.cosine_target_loss(c, t, kind="margin", margin=-1), [0.1, 0.8, -0.5, 0.55])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind, rng):
    c, t = rng.uniform(-1, 1, (5, 40)), rng.uniform(0, 1, 40)
    loss, grad = kexue.cosine_target_loss(c, t, kind=kind, return_grad=True)
    up, down = (kexue.cosine_target_loss(c + step, t, kind=kind) for step in (1e-6, -1e-6))
    np.testing.assert_allclose(grad, (up - down) / 2e-6, rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(loss, kexue.cosine_target_loss(c, t, kind=kind))


@pytest.mark.parametrize("kind", KINDS)
def test_layouts(kind, any_layout, plain, untouched, dtype, rng):
    c, t = any_layout(rng.uniform(-1, 1, (6, 9)).astype(dtype)), any_layout(rng.uniform(0, 1, (6, 9)).astype(dtype))
    with untouched(c, t):
        results = kexue.cosine_target_loss(c, t, kind=kind, return_grad=True)
    expected = kexue.cosine_target_loss(plain(c), plain(t), kind=kind, return_grad=True)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
        assert result.dtype == plain(c).dtype


def test_refuses():
    with pytest.raises(kexue.KexueValueError, match=r"cos\[1\] is nan"):
        kexue.cosine_target_loss([0.5, np.nan], [0, 1])
    for bad in (-0.5, 1.5, np.nan):
        with pytest.raises(kexue.KexueValueError, match=r"targets\[1\] is .*, not in \[0, 1\]"):
            kexue.cosine_target_loss([0.5, 0.5], [0, bad])
    with pytest.raises(kexue.KexueValueError, match="shapes that broadcast"):
        kexue.cosine_target_loss([0.5, 0.5], [0, 1, 1])
    with pytest.raises(kexue.KexueValueError, match="kind must be one of"):
        kexue.cosine_target_loss([0.5], [0], kind="hinge")
    with pytest.raises(kexue.KexueValueError, match="margin must be finite"):
        kexue.cosine_target_loss([0.5], [0], margin=np.nan)
    for bad in ("a", None, [0.5], True):
        with pytest.raises(TypeError, match="margin must be a number"):
            kexue.cosine_target_loss([0.5], [0], margin=bad)
    with pytest.raises(kexue.KexueValueError, match=r"targets\[0\] is 1.0000000001, not in"):
        kexue.cosine_target_loss(np.float32([0.5]), np.array([1 + 1e-10]))


def test_dtype_of_results():
    single, double = np.float32([0.5]), np.float64([0.5])
    for cosines, targets, expected in (
        (single, single, np.float32),
        (single, [1], np.float32),
        (single, double, np.float64),
        (double, single, np.float64),
        (np.float16([0.5]), np.float16([0.5]), np.float32),
        ([1], [0], np.float64),
    ):
        for kind in KINDS:
            loss, grad = kexue.cosine_target_loss(cosines, targets, kind=kind, return_grad=True)
            assert loss.dtype == grad.dtype == expected


def test_features(dtype, rng):
    u, v = rng.normal(size=(4, 1, 3)).astype(dtype), rng.normal(size=(5, 3)).astype(dtype)
    features = kexue.sentence_pair_features(u, v)
    assert features.shape == (4, 5, 9) and features.dtype == dtype
    np.testing.assert_array_equal(features[2, 3], np.concatenate([u[2, 0], v[3], np.abs(u[2, 0] - v[3])]))
    for bad in ((1.0, 2.0), (np.ones(2), np.ones(3)), (np.ones((2, 3)), np.ones((4, 3)))):
        with pytest.raises(kexue.KexueValueError, match="u and v must have"):
            kexue.sentence_pair_features(*bad)
