"""kexue.dask on two worker processes."""

import asyncio
import time
from collections import Counter

import cloudpickle
import numpy as np
import pytest

import kexue
import kexue.dask
from kexue import DocumentIndex

pytest.importorskip("distributed")
import dask  # noqa: E402
import distributed  # noqa: E402

from reference.dask_cases import (  # noqa: E402
    KINDS,
    as_delayed,
    as_sparse_chunks,
    assert_same,
    assert_same_neighbours,
    bad_blocks,
    check_errors_of_hsic,
    check_errors_of_tasks,
    documents,
    in_chunks,
    in_delayed_lists,
    in_lists,
    nearest,
    rows_in_chunks,
    rows_in_list,
    rows_in_sparse_chunks,
    together,
)

pytestmark = pytest.mark.timeout(180)


def test_cluster(client, queries, blocks, vectors):
    x, y = together(queries), together(blocks)
    distances = kexue.dask.pairwise_distances(queries, blocks, vectors=vectors)
    assert_same(distances.compute(), kexue.pairwise_distances(x, y, vectors=vectors))
    within = kexue.dask.pairwise_distances(blocks, vectors=vectors, metric="wrd", compute=True)
    assert_same(within, kexue.pairwise_distances(y, vectors=vectors, metric="wrd"))
    for wave in (None, 1, 3):
        result = kexue.dask.kneighbors(queries, blocks, 7, vectors=vectors, wave=wave, compute=True)
        assert_same_neighbours(result, DocumentIndex(vectors).fit(y).kneighbors(x, 7))


def test_cluster_with_what_is_there_already(client, queries, blocks, vectors, folders, tmp_path):
    x, y = together(queries), together(blocks)
    expected = nearest(x, y, vectors, 30)
    np.save(tmp_path / "vectors.npy", vectors)
    for corpus, table in [
        (client.scatter(blocks), client.scatter(vectors)),
        (as_delayed(blocks), dask.delayed(vectors)),
        (list(dask.persist(*as_delayed(blocks))), dask.delayed(vectors).persist()),
        (as_sparse_chunks(blocks).persist(), tmp_path / "vectors.npy"),
        (folders, None),
    ]:
        result = kexue.dask.kneighbors(queries, corpus, 30, vectors=table, wave=2, compute=True)
        assert_same_neighbours(result, expected)


def wait_until_forgotten(client):
    while any(client.has_what().values()):
        time.sleep(0.01)


def fetched(dask_worker):
    """How often the worker has got each key from another worker."""
    return Counter(str(key) for transfer in dask_worker.transfer_incoming_log for key in transfer["keys"])


@pytest.mark.parametrize("name", ["kneighbors", "pairwise_distances"])
def test_cluster_sends_vectors_to_a_worker_once(name, client, rng):
    vectors = rng.normal(size=(4000, 50))
    blocks = [documents(rng, 5, 4000) for _ in range(4)]
    wait_until_forgotten(client)
    before = client.run(fetched)
    result = getattr(kexue.dask, name)(blocks, blocks, vectors=vectors)
    first = result[0] if isinstance(result, tuple) else result
    assert len(cloudpickle.dumps(dict(first.__dask_graph__()))) < vectors.nbytes / 10
    inputs = set(map(str, client.futures))
    assert len(inputs) == 9
    kept = client.persist(first)
    distributed.wait(kept)
    for worker, counts in client.run(fetched).items():
        assert all(counts[key] - before[worker][key] <= 1 for key in inputs)
    del result, first, kept
    wait_until_forgotten(client)


def test_data_too_large_for_a_graph_is_no_reason_for_a_warning(client, rng):
    vectors = rng.normal(size=(40_000, 50))  # 16 MB; 10 MB in a graph give the warning
    distances = kexue.dask.pairwise_distances([documents(rng, 2, 40_000)], vectors=vectors, compute=True)
    assert distances.shape == (2, 2)


def test_cluster_raises_what_a_worker_raises(client, queries, blocks, vectors):
    check_errors_of_tasks(queries, bad_blocks(blocks), vectors)


def test_hsic_on_a_cluster(client, points):
    expected = kexue.hsic(*points)
    for form in (in_chunks, in_lists, in_delayed_lists):
        assert kexue.dask.hsic(*form(points)).compute() == pytest.approx(expected, rel=1e-11)
    futures = [client.scatter(blocks) for blocks in in_lists(points)]
    assert kexue.dask.hsic(*futures, compute=True) == pytest.approx(expected, rel=1e-11)
    check_errors_of_hsic(points)


@KINDS
def test_projection_on_a_cluster(kind, client, rng):
    X = rng.normal(size=(30, 40))
    expected = kexue.random_projection(X, 6, kind=kind, rng=3)
    for form in (rows_in_chunks, rows_in_sparse_chunks, rows_in_list):
        result = kexue.dask.random_projection(form(X), 6, kind=kind, rng=3, compute=True)
        np.testing.assert_allclose(result, expected, atol=1e-12)


def test_asynchronous_client(cluster, queries, blocks, vectors):
    async def search():
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            return await client.gather(client.compute(kexue.dask.kneighbors(queries, blocks, 7, vectors=vectors)))

    expected = nearest(together(queries), together(blocks), vectors, 7)
    assert_same_neighbours(asyncio.run(search()), expected)
