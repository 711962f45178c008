"""What the cases of bench_*.py share: how their parameters are written."""

import pytest

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


def sides(*names: str) -> pytest.MarkDecorator:
    """One case for each side of a workload."""
    return pytest.mark.parametrize("side", names)
