"""CKA of many layers is that of each pair."""

import numpy as np
import pytest

from kexue import KexueValueError, cka, cka_matrix


def layers_of(rng, columns, n=40, dtype=np.float64):
    shared = rng.normal(size=(n, 3))
    return [(np.tanh(shared @ rng.normal(size=(3, d))) + rng.normal(size=(n, d)) + 2).astype(dtype) for d in columns]


def by_pairs(first, second, **options):
    return np.array([[cka(a, b, **options) for b in second] for a in first])


def squared(A, B):
    return (1 + A @ B.T) ** 2


OPTIONS = [
    {},
    {"kernel": "rbf"},
    {"kernel": "rbf", "bandwidth": 5.0},
    {"kernel": "rbf", "bandwidth": 0.7},  # next to a unit matrix where there are many columns
    {"kernel": "laplace", "gamma": 0.02},
    {"kernel": "polynomial", "degree": 2, "coef0": 0.5},
    {"kernel": squared},
]


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("columns", [(1, 4, 30), (4, 100)], ids=["in feature space", "wide"])
def test_is_cka_of_each_pair(columns, options, debiased, rng):
    first, second = layers_of(rng, columns), layers_of(rng, (3, 50, 7))
    result = cka_matrix(first, second, **options, debiased=debiased)
    assert result.dtype == np.float64
    # Of numbers between -1 and 1, sums of which cancel to some 1e-3 where they are debiased.
    close = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(result, by_pairs(first, second, **options, debiased=debiased), **close)
    within = cka_matrix(first, **options, debiased=debiased)
    np.testing.assert_allclose(within, by_pairs(first, first, **options, debiased=debiased), **close)
    np.testing.assert_array_equal(within, within.T)
    np.testing.assert_array_equal(np.diagonal(within), 1)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_tiles(kernel, monkeypatch, rng):
    first = layers_of(rng, (3, 60))
    expected = cka_matrix(first, kernel=kernel)
    for entries in (1, 500, 3000):
        monkeypatch.setattr("kexue._cka._TILE_ENTRIES", entries)
        np.testing.assert_allclose(cka_matrix(first, kernel=kernel), expected, rtol=1e-12)


def test_mappings_and_lines(rng):
    first = layers_of(rng, (3, 5))
    expected = cka_matrix(first, [first[0][:, 0]])
    assert expected.shape == (2, 1)
    result = cka_matrix({"input": first[0], "output": first[1]}, {"first": first[0][:, 0]})
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(
        cka_matrix(np.stack([first[0], first[0] ** 2])), cka_matrix([first[0], first[0] ** 2])
    )


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_float32(kernel, rng):
    single = layers_of(rng, (3, 60), dtype=np.float32)
    double = [layer.astype(np.float64) for layer in single]
    np.testing.assert_allclose(cka_matrix(single, kernel=kernel), cka_matrix(double, kernel=kernel), rtol=1e-4)
    mixed = cka_matrix([single[0], double[1]], kernel=kernel)
    np.testing.assert_allclose(mixed, cka_matrix(double, kernel=kernel), rtol=1e-4)


def test_any_scale_and_place(rng):
    first = layers_of(rng, (3, 5))
    moved = [1e100 * first[0], 1e-100 * first[1]]
    np.testing.assert_allclose(cka_matrix(moved), cka_matrix(first), rtol=1e-10)
    for kernel in ("linear", "rbf"):
        far = [layer + 2.0**20 for layer in first]
        np.testing.assert_allclose(cka_matrix(far, kernel=kernel), cka_matrix(first, kernel=kernel), rtol=1e-7)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_layouts(kernel, layout, untouched, rng):
    first = layers_of(rng, (3, 5))
    moved = [layout(layer) for layer in first]
    with untouched(*moved):
        result = cka_matrix(moved, kernel=kernel)
    np.testing.assert_allclose(result, cka_matrix(first, kernel=kernel), rtol=1e-12)


def test_does_not_depend_on_workers(workers, rng):
    first = layers_of(rng, (3, 60), n=200)
    one, many = (cka_matrix(first, kernel="rbf", workers=number) for number in (1, workers))
    np.testing.assert_array_equal(one, many)


def test_errors(rng):
    first = layers_of(rng, (3, 5))
    for arguments, options, message in [
        (([],), {}, "layers_a has no layers"),
        ((first, []), {}, "layers_b has no layers"),
        (([first[0], first[1][:9]],), {}, r"layers_a\[0\] has 40 and layers_a\[1\] has 9"),
        ((first, {"last": first[0][:9]}), {}, r"layers_b\['last'\] has 9"),
        (([first[0], first[0] * np.nan],), {}, r"layers_a\[1\]\[0, 0\] is nan"),
        (([first[0], np.ones((40, 2))],), {}, r"HSIC\(layers_a\[1\], layers_a\[1\]\) is 0"),
        (([first[0], np.ones((40, 2))],), {"debiased": True}, r"HSIC\(layers_a\[1\], layers_a\[1\]\) is 0"),
        (([first[0], np.ones((40, 2))],), {"kernel": "rbf"}, r"median distance of layers_a\[1\] is 0"),
        (([first[0], np.ones((40, 2))],), {"kernel": "polynomial"}, r"HSIC\(layers_a\[1\], layers_a\[1\]\) is 0"),
        (([first[0][:3]],), {"debiased": True}, "3 items, but at least 4"),
        (([first[0][:1]],), {}, "1 item, but at least 2"),
        (([np.ones((4, 2, 2))],), {}, r"layers_a\[0\] must have 1 or 2 dimensions"),
        ((first,), {"gamma": 1.0}, "gamma is 1.0, but neither kernel has such a parameter"),
        ((first,), {"kernel": "cosine"}, "kernel must be"),
        ((first,), {"kernel": lambda A, B: A[:, :1] - B[:, :1].T}, r"not symmetric on layers_a\[0\]"),
        ((first,), {"workers": 0}, "workers"),
    ]:
        with pytest.raises(KexueValueError, match=message):
            cka_matrix(*arguments, **options)
    for layers, message in [(3, "must be a sequence of arrays"), ("layers", "must be a sequence of arrays")]:
        with pytest.raises(TypeError, match=message):
            cka_matrix(layers)
