"""Documents and points in blocks, and who computes: schedulers, and a cluster of two processes."""

import importlib

import numpy as np
import pytest

from kexue import DocumentIndex

pytest.register_assert_rewrite("reference.dask_cases")  # whose checks are to tell what they compared


@pytest.fixture(scope="session")
def cases():
    """The module of the cases. It needs Dask, without which this file can be read all the same."""
    return importlib.import_module("reference.dask_cases")


@pytest.fixture
def vectors(cases, rng, dtype):
    return rng.normal(size=(cases.VOCABULARY, cases.DIMENSION)).astype(dtype)


@pytest.fixture
def blocks(cases, rng):
    return [cases.documents(rng, count) for count in (6, 0, 1, 9)]


@pytest.fixture
def queries(cases, rng):
    return [cases.documents(rng, count) for count in (3, 2)]


@pytest.fixture
def points(rng):
    X = rng.normal(size=(70, 3))
    return X, np.tanh(X[:, :1]) + rng.normal(size=(70, 2))


@pytest.fixture
def folders(blocks, vectors, tmp_path):
    paths = [tmp_path / str(i) for i in range(len(blocks))]
    for path, block in zip(paths, blocks, strict=True):
        DocumentIndex(vectors).fit(block).save(path)
    return paths


@pytest.fixture(params=["synchronous", "threads"])
def scheduler(request):
    import dask

    with dask.config.set(scheduler=request.param):
        yield request.param


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, processes=True, threads_per_worker=1, dashboard_address=":0", worker_dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    from distributed import Client

    with Client(cluster) as client:
        yield client
