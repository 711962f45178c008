"""kexue.dask on a cluster whose workers die while they compute, and to which others come."""

import itertools
import os
import signal
import time
from collections import Counter

import numpy as np
import pytest
from scipy import sparse

import kexue
import kexue.dask

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
import dask.array as da  # noqa: E402

pytestmark = pytest.mark.timeout(180)

VOCABULARY, DIMENSION = 60, 8
LENGTHS = (12, 0, 1, 20, 9, 9, 9, 9)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=3, processes=True, threads_per_worker=1, dashboard_address=":0", worker_dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        client.wait_for_workers(3)  # also for one that was killed before, and is on its way back
        yield client


def work_until(path, calls):
    """The worker stops after some calls until there is a file: the middle of the work, on a machine of any speed."""
    done = itertools.count()

    def gated(function):
        original = getattr(function, "original", function)

        def wait_and_call(*arguments, **options):
            while next(done) >= calls and not os.path.exists(path):
                time.sleep(0.01)
            return original(*arguments, **options)

        wait_and_call.original = original
        return wait_and_call

    kexue.pairwise_distances = gated(kexue.pairwise_distances)
    kexue.DocumentIndex._search = gated(kexue.DocumentIndex._search)
    kexue.HSICSums.between = gated(kexue.HSICSums.between)
    kexue.RandomProjectionMap.__call__ = gated(kexue.RandomProjectionMap.__call__)


@pytest.fixture
def problem(rng):
    """Documents over word vectors, which are points and rows as well."""
    columns = rng.integers(VOCABULARY, size=(sum(LENGTHS), 5))
    rows = np.repeat(np.arange(len(columns)), 5)
    table = sparse.csr_array((np.ones(rows.size), (rows, columns.ravel())), shape=(len(columns), VOCABULARY))
    return table, rng.normal(size=(VOCABULARY, DIMENSION))


def in_memory(table):
    ends = np.cumsum(LENGTHS)
    return [table[end - length : end] for end, length in zip(ends, LENGTHS, strict=True)]


def as_dask_array(table):
    return da.from_array(table.toarray(), chunks=(LENGTHS, (25, VOCABULARY - 25)))


def dense(blocks):
    return blocks if isinstance(blocks, da.Array) else [block.toarray() for block in blocks]


def distances_of(blocks, table, vectors):
    lazy = kexue.dask.pairwise_distances(blocks, vectors=vectors)
    return lazy, kexue.pairwise_distances(table, vectors=vectors)


def neighbours_of(blocks, table, vectors):
    lazy = kexue.dask.kneighbors(blocks, blocks, 7, vectors=vectors, wave=3)
    return lazy, kexue.DocumentIndex(vectors).fit(table).kneighbors(table, 7)


def hsic_of(blocks, table, vectors):
    blocks = dense(blocks)
    return kexue.dask.hsic(blocks, blocks), kexue.hsic(table.toarray(), table.toarray())


def projection_of(blocks, table, vectors):
    options = {"kind": "srht", "rng": 1}
    rows = blocks.rechunk((3, 20)) if isinstance(blocks, da.Array) else [table[[i]] for i in range(table.shape[0])]
    return kexue.dask.random_projection(rows, 16, **options), kexue.random_projection(table, 16, **options)


def states(dask_scheduler):
    """How many tasks of kexue.dask (not the inputs) are done and how many are not."""
    names = ("pairwise_distances", "kneighbors-", "hsic-", "random_projection")
    tasks = [task for key, task in dask_scheduler.tasks.items() if str(key).lstrip("('").startswith(names)]
    done = sum(task.state == "memory" for task in tasks)
    return done, len(tasks) - done


def is_there(worker, dask_scheduler):
    return worker in dask_scheduler.workers


def assert_close(result, expected, rtol):
    for array, wanted in zip(*(x if isinstance(x, (list, tuple)) else [x] for x in (result, expected)), strict=True):
        np.testing.assert_allclose(array, wanted, rtol=rtol, strict=np.ndim(wanted) > 0)


@pytest.mark.parametrize(
    ("function", "form"),
    [
        (distances_of, in_memory),
        (neighbours_of, in_memory),
        (hsic_of, in_memory),
        (projection_of, in_memory),
        (neighbours_of, as_dask_array),
    ],
)
def test_a_worker_is_killed_midway(function, form, client, problem, tmp_path):
    """With blocks, vectors and results that no other has: they are sent or computed again."""
    table, vectors = problem
    go = tmp_path / "go"
    client.run(work_until, str(go), 2)
    lazy, expected = function(form(table), table, vectors)
    future = client.compute(list(lazy) if isinstance(lazy, tuple) else lazy)
    while client.run_on_scheduler(states)[0] < 4:
        time.sleep(0.01)
    alone = Counter(workers[0] for workers in client.who_has().values() if len(workers) == 1)
    victim = max(alone, key=alone.get)
    pid = client.run(os.getpid, workers=[victim])[victim]
    assert client.run_on_scheduler(states)[1] >= 3
    os.kill(pid, signal.SIGKILL)
    go.touch()
    assert_close(client.gather(future), expected, 1e-11 if function is hsic_of else 0)
    while client.run_on_scheduler(is_there, victim):
        time.sleep(0.01)


def test_a_worker_that_comes_late_takes_part(problem, tmp_path):
    table, vectors = problem
    with (
        distributed.LocalCluster(
            n_workers=1, processes=True, threads_per_worker=1, dashboard_address=":0", worker_dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(work_until, str(tmp_path / "go"), 0)
        lazy, expected = distances_of(in_memory(table), table, vectors)
        result = client.persist(lazy)
        cluster.scale(2)
        while (
            client.run_on_scheduler(states)[0] < 3
        ):  # which the first worker, still in its first one, cannot have done
            time.sleep(0.01)
        assert len(client.has_what()) == 2
        (tmp_path / "go").touch()
        np.testing.assert_array_equal(result.compute(), expected)
