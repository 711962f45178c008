"""Gauss-Legendre and Gauss-Lobatto rules to the last digit."""

import mpmath
import numpy as np
import pytest

from kexue._quadrature import unit_legendre, unit_lobatto


@pytest.mark.parametrize("count", [1, 2, 15, 64])
def test_nodes_and_weights(count):
    nodes, weights = unit_legendre(count)
    with mpmath.workdps(40):
        roots = [(1 + mpmath.findroot(lambda x: mpmath.legendre(count, x), 2 * mpmath.mpf(x) - 1)) / 2 for x in nodes]
        slopes = [mpmath.diff(lambda x: mpmath.legendre(count, x), 2 * root - 1) for root in roots]
        expected = [1 / (4 * root * (1 - root) * slope**2) for root, slope in zip(roots, slopes, strict=True)]
    np.testing.assert_allclose(nodes, np.array(roots, float), rtol=2.3e-16)
    np.testing.assert_allclose(weights, np.array(expected, float), rtol=2.3e-16)
    assert (np.diff(nodes) > 0).all()


@pytest.mark.parametrize("count", [1, 2, 15, 64])
def test_polynomials_are_exact_up_to_the_degree(count):
    nodes, weights = unit_legendre(count)
    for degree in range(2 * count):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), rel=1e-14, abs=0)
    assert abs(weights @ nodes ** (2 * count) - 1 / (2 * count + 1)) > 0


@pytest.mark.parametrize("count", [3, 4, 15, 20])
def test_lobatto(count):
    nodes, weights = unit_lobatto(count)
    assert nodes[0] == 0 and nodes[-1] == 1 and len(nodes) == count
    np.testing.assert_allclose(nodes + nodes[::-1], 1, atol=1e-16)
    for degree in range(2 * count - 2):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), rel=1e-14, abs=0)
    assert (np.diff(nodes) > 0).all()
    with mpmath.workdps(40):
        for node in nodes[1:-1]:
            root = mpmath.findroot(
                lambda x: mpmath.diff(lambda y: mpmath.legendre(count - 1, y), x), 2 * mpmath.mpf(node) - 1
            )
            assert node == pytest.approx(float((1 + root) / 2), rel=2.3e-16, abs=0)
