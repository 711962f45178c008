"""bench/scaling.py, pruning.py and cluster_costs.py: series, the replayed search, the cluster, the page."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

import kexue as kx

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import cluster_costs  # noqa: E402
import pruning  # noqa: E402
import scaling  # noqa: E402
from cluster_costs import Cluster, Schedule, SearchJob, simulate_blocks, simulate_search  # noqa: E402
from pruning import Drawn, Measured, search_partitions  # noqa: E402

sys.path.remove(str(ROOT / "bench"))

CONSTANTS = {
    "table": 1e-8, "bound": 1e-7, "dual": 1e-6, "solve": 1e-5, "merge": 1e-6, "task": 1e-3, "crowding": 1.0,
    "index_bytes": 256.0, "pair": 4e-6, "hsic": 3e-9, "hsic_features": 1e-6, "affinities": 3e-9, "codes": 1e-9,
    **{function: 1e-6 for function, *_ in cluster_costs.ROWWISE},
}  # fmt: skip


# ---- the search, replayed ----


def made_up(documents, seed, digits=None):
    """Bounds below dual bounds below distances; few digits make ties."""
    rng = np.random.default_rng(seed)
    distances = rng.gamma(8, size=documents)
    duals = distances * rng.uniform(0.7, 1, documents)
    bounds = duals * rng.uniform(0.7, 1, documents)
    arrays = (bounds, duals, distances)
    return Measured(*(arrays if digits is None else (np.round(array, digits) for array in arrays)))


def nearest(measured, k):
    return sorted(zip(measured.distances.tolist(), range(len(measured.distances)), strict=True))[:k]


@pytest.mark.parametrize("digits", [None, 0])
@pytest.mark.parametrize("seed", range(10))
def test_replay_finds_the_nearest_and_more_partitions_never_look_at_fewer(seed, digits):
    measured, k = made_up(300, seed, digits), 7
    whole = search_partitions(measured.split(1), k, 1)
    before = whole
    for partitions in (1, 2, 4, 8, 64):  # each a refinement of the one before, as 300 is a multiple of 4 and not of 8
        own = search_partitions(measured.split(partitions), k, partitions)
        shared = search_partitions(measured.split(partitions), k, 1)
        assert own.neighbors == shared.neighbors == nearest(measured, k)
        assert whole.looked_at <= shared.looked_at <= own.looked_at <= 300
        if partitions <= 4:
            assert own.looked_at >= before.looked_at and own.exact.sum() >= before.exact.sum()
            before = own
    assert own.exact.sum() >= whole.exact.sum()


def test_one_partition_looks_at_all_below_the_last_neighbor():
    measured = made_up(2000, 0)
    whole = search_partitions(measured.split(1), 10, 1)
    assert whole.looked_at == (measured.bounds <= whole.neighbors[-1][0]).sum()


def test_fewer_documents_than_neighbors():
    replay = search_partitions(made_up(5, 0).split(5), 10, 2)
    assert [number for _, number in replay.neighbors] == [number for _, number in nearest(made_up(5, 0), 10)]
    assert replay.exact.tolist() == [1] * 5


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 20)).astype(np.float32)
    members = rng.permutation(600).reshape(30, 20)
    for topic, centre in zip(members, rng.normal(size=(30, 20)), strict=True):
        vectors[topic] = 0.8 * vectors[topic] + centre
    topics = np.take_along_axis(rng.integers(30, size=(4010, 3)), rng.integers(3, size=(4010, 20)), axis=1)
    tokens = members[topics, rng.integers(20, size=topics.shape)]
    counts = csr_array((np.ones(tokens.size), tokens.ravel(), np.arange(0, tokens.size + 1, 20)), shape=(4010, 600))
    counts.sum_duplicates()
    return pruning.Corpus("made up", vectors, counts[10:], counts[:10])


@pytest.fixture(scope="module")
def measured(corpus):
    return pruning.measure_corpus(corpus)


@pytest.mark.parametrize("partitions", [1, 4])
def test_replay_counts_what_the_index_does(corpus, measured, partitions):
    """Exactly; and draws from a fifth of the documents come within a half of it."""
    for row in pruning.compare(corpus, measured, partitions):
        assert row["same_neighbors"]
        assert (row["replay"], row["replay_exact"]) == (row["index"], row["index_exact"])
        assert row["index"] / 1.5 < row["drawn"] < row["index"] * 1.5
        assert row["index_exact"] / 1.5 < row["drawn_exact"] < row["index_exact"] * 1.5


def test_replay_finds_what_dask_does(corpus, measured):
    pytest.importorskip("dask")
    import dask


    edges = pruning.partition_edges(corpus.counts.shape[0], 4)
    blocks = [corpus.counts[begin:end] for begin, end in itertools.pairwise(edges)]
    with dask.config.set(scheduler="synchronous"):
        _, numbers = kx.dask.kneighbors(corpus.queries, blocks, 10, vectors=corpus.vectors, wave=1, compute=True)
    for query, row in zip(measured, numbers, strict=True):
        assert [number for _, number in search_partitions(query.split(4), 10, 1).neighbors] == row.tolist()


def test_growth_of_what_the_index_looks_at(corpus):
    first, last = pruning.growth(corpus, [1000, 4000])
    assert first["documents"] == 1000 and 10 <= first["exact"] <= first["looked_at"] < 1000
    assert last["looked_at"] < 4 * first["looked_at"]


# ---- a corpus that does not exist ----


def test_drawn_documents(measured):
    def documents(seed, first=5, count=2000):
        return list(itertools.islice(Drawn(measured[0], seed).segment(first, count), 3000))

    drawn = documents(0)
    assert drawn == documents(0) != documents(1)
    assert [number for _, number, _, _ in drawn] == list(range(5, 2005))
    bounds, _, duals, distances = np.array(drawn).T
    assert (np.diff(bounds) >= 0).all() and (bounds <= distances).all() and (duals >= 0).all()
    # The share of documents below a bound is the measured one.
    edge = np.sort(measured[0].bounds)[400]
    assert 120 < (bounds <= edge).sum() < 280  # of 200
    assert len(documents(0, count=3)) == 3


def test_drawn_tail_is_the_power_law_that_fits():
    rng = np.random.default_rng(0)
    distances = rng.random(20_000) ** (1 / 12)  # of points that fill 12 dimensions
    drawn = Drawn(Measured(0.9 * distances, 0.95 * distances, distances), 0)
    assert 8 < drawn.exponent < 18 and drawn.distance_exponent == pytest.approx(drawn.exponent)
    least = [next(Drawn(Measured(0.9 * distances, distances, distances), s).segment(0, 10**9))[0] for s in range(200)]
    assert np.mean(least) == pytest.approx(0.9 * (1e-9) ** (1 / 12), rel=0.35)


def test_partitions_of_drawn_documents_come_in_segments(measured):
    partitions = Drawn(measured[0], 0).split(3 * pruning.SEGMENT, 2)
    assert [len(segments) for segments in partitions] == [2, 2]
    replay = search_partitions(partitions, 10, 1)
    assert len(replay.neighbors) == 10 and replay.looked_at >= 10


# ---- the cluster ----


def test_one_core_takes_the_sum():
    schedule = Schedule(Cluster(1, cores=1, latency=1e-9), 1e-9)
    schedule.run([1.0, 2.0, 3.0], 0, 0)
    assert schedule.now == pytest.approx(6) and schedule.busy == 6


def test_machines_take_turns_and_the_scheduler_is_one():
    cluster = Cluster(2, cores=2, latency=1e-9)
    schedule = Schedule(cluster, 1e-9)
    schedule.run([1.0] * 8, 0, 0)
    assert schedule.now == pytest.approx(2)
    slow = Schedule(cluster, 10.0)
    slow.run([1.0] * 8, 0, 0)
    assert slow.now == pytest.approx(81)


def test_network_is_shared_by_the_tasks_of_a_machine():
    schedule = Schedule(Cluster(2, cores=8, bandwidth=1e6, latency=1e-9), 1e-9)
    schedule.run([0.0] * 8, 5e5, 5e5)
    assert schedule.now == pytest.approx(4) and schedule.sent == 8e6


def test_results_are_merged_in_a_tree():
    schedule = Schedule(Cluster(1, cores=64, latency=1e-9), 1e-9)
    schedule.merge(64, 0, 1.0)
    assert schedule.busy == 9 and schedule.now == pytest.approx(2)
    schedule.merge(1, 0, 1.0)
    assert schedule.busy == 9


def test_blocks_are_bounded_by_the_slowest():
    cluster = Cluster(4, cores=2, bandwidth=1e6, latency=1e-9)
    quick = {**CONSTANTS, "task": 1e-9}
    for received, constants, wall, bound_by in (
        (0, quick, 2, "cores"),
        (4e6, quick, 9, "network"),
        (0, {**quick, "task": 1.0}, 9, "scheduler"),
    ):
        found = simulate_blocks(9, 1.0, received, 0, cluster, constants)
        assert (found["wall"], found["bound_by"]) == (pytest.approx(wall), bound_by)


def test_search_on_a_cluster(measured):
    def simulate(partitions, wave, machines=1):
        drawn = [Drawn(query, number) for number, query in enumerate(measured[:3])]
        job = SearchJob(10**6, 100, partitions, wave)
        return simulate_search(job, Cluster(machines), CONSTANTS, drawn)

    one, own, shared = simulate(1, 1), simulate(64, 64), simulate(64, 8)
    assert one == simulate(1, 1)
    assert one["looked_at"] < shared["looked_at"] < own["looked_at"]
    # Every partition makes a table of its own, and most of the words are in each.
    assert 0 < one["table_share"] < own["table_share"] < 1
    assert own["core_seconds"] > one["core_seconds"] and own["wall"] < one["wall"]
    assert simulate(64, 64, machines=2)["memory"] < own["memory"]
    one_uses = 1 - (1 - 1 / 200_000) ** (20 * 10**6)
    expected = 100 * (20 * 200_000 * 1e-8 * one_uses + 10**6 * 1e-7 + one["looked_at"] * 1e-6 + one["exact"] * 1e-5)
    assert one["core_seconds"] == pytest.approx(expected)


def test_what_is_said_of_a_job():
    def said(alone=3600.0, **row):
        return cluster_costs.feasibility({"machines": 16, "wall": 300.0, **row}, {"wall": alone})

    assert said() == ""
    assert said(wall=1200.0) == "3 times as fast as one machine"
    assert said(wall=3000.0) == "no faster than one machine"
    assert said(alone=30.0, wall=5.0) == "one machine is enough"
    assert said(wall=1e9) == said(result=1e16) == "infeasible"
    assert said(wall=1e7) == "impractical"
    assert said(machines=1, memory=1e12) == "does not fit the memory"


# ---- hostile arguments ----


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: search_partitions([], 0, 1), "k must be a positive integer, got 0"),
        (lambda: search_partitions([], 1, True), "wave must be a positive integer, got True"),
        (lambda: made_up(5, 0).split(6), "partitions must be from 1 to the number of documents, 5, got 6"),
        (lambda: made_up(5, 0).split(0), "got 0"),
        (lambda: Measured(np.ones(3), np.ones(2), np.ones(3)), r"duals must be one number a document"),
        (lambda: Measured(np.ones(0), np.ones(0), np.ones(0)), r"bounds must be one number a document"),
        (lambda: Measured(np.ones(2), np.ones(2), np.array([1, np.nan])), r"distances\[1\] is nan"),
        (lambda: Measured(np.array([-1.0]), np.ones(1), np.ones(1)), r"bounds\[0\] is -1.0"),
        (lambda: Drawn(made_up(100, 0), 0), "100 documents with positive bounds are too few"),
        (lambda: Cluster(0), "machines must be a positive integer, got 0"),
        (lambda: Cluster(1, cores=2.0), "cores must be a positive integer, got 2.0"),
        (lambda: Cluster(1, bandwidth=float("inf")), "bandwidth must be positive and finite, got inf"),
        (lambda: Cluster(1, latency=-1), "latency must be positive and finite, got -1"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("content", "key"), [("[]", "series"), ("{}", "series"), ('{"series": 3}', "series"), ('{"series": []}', "date")]
)
def test_a_foreign_file_of_timings(tmp_path, content, key):
    path = tmp_path / "timings.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f'timings.json: no "{key}"'):
        cluster_costs.Timings(str(path))


def test_no_such_series(capsys):
    with pytest.raises(SystemExit):
        scaling.main(["--only", "no such function"])
    assert "no series has 'no such function' in its name" in capsys.readouterr().err


# ---- timings, constants ----


@pytest.mark.parametrize("series", scaling.SERIES, ids=lambda series: series.title)
def test_a_series_runs_at_its_first_size(series):
    assert series.instead and len(series.sizes) >= 5
    for dtype in series.dtypes:
        series.make(series.sizes[0], np.dtype(dtype))(2 if series.threads else 1)


def test_series_are_told_apart():
    titles = [(series.family, series.function, series.axis) for series in scaling.SERIES]
    assert len(set(titles)) == len(titles)


def test_a_measured_series():
    ticks = itertools.count()
    series = scaling.Series(
        "a family", "f", "things", [1, 10, 100], lambda n, dtype: lambda workers: np.zeros(n), memory=True,
        problems=lambda n: 4, reads=lambda n, itemsize: n * itemsize,
    )  # fmt: skip
    # Every look at this clock is a second later, so the first size is already long enough to be the last.
    found = scaling.measure(series, "float32", 1, 0.3, lambda: float(next(ticks)))
    assert found["points"] == [{"size": 1, "seconds": 0.25, "bytes": 4, "memory": found["points"][0]["memory"]}]
    assert found["points"][0]["memory"] >= 8
    assert (found["dtype"], found["workers"], found["function"]) == ("float32", 1, "f")


def points(sizes, seconds):
    return [{"size": size, "seconds": seconds(size)} for size in sizes]


def test_exponent():
    sizes = scaling.doubling(10, 10_240)
    assert scaling.exponent(points(sizes, lambda n: 3e-9 * n**1.5)) == pytest.approx(1.5)
    # The cost of the call itself, in the first half, is not in it.
    assert scaling.exponent(points(sizes, lambda n: 1e-9 * n**2 + 1e-7)) == pytest.approx(2, abs=0.01)
    assert scaling.exponent(points([1, 2], float)) is None
    assert scaling.exponent(points(sizes, float), "memory") is None


def test_summary():
    def one(dtype, isa, workers, seconds, sizes=(100, 200, 400)):
        about = {"family": "transport", "function": "emd2", "axis": "points of each side"}
        return {**about, "dtype": dtype, "isa": isa, "workers": workers, "points": points(sizes, seconds)}

    rows = scaling.summary(
        [
            one("float32", "v4", 1, lambda n: 1e-6 * n**2),
            one("float64", "v4", 1, lambda n: 3e-6 * n**2, sizes=(100, 200)),
            one("float32", "v4", 2, lambda n: 0.5e-6 * n**2),
            one("float32", "baseline", 1, lambda n: 4e-6 * n**2),
        ],
        "v4",
    )
    (row,) = rows
    assert row["sizes"] == [100, 400] and row["seconds"] == pytest.approx(0.16)
    assert row["beside"] == pytest.approx({"float64": 3, "2 threads": 0.5, "baseline": 4})
    line = "| `emd2` | points of each side | float32 | 100 to 400 | 160 ms | 2.00 |  |  | 3.00 | 0.50 |  | 4.00 |"
    assert line in scaling.growth_table(rows)
    assert "| `emd2` | points of each side | 3,000 |  |" in scaling.limits_table(rows)


def test_units():
    assert [scaling.told_bytes(n) for n in (12, 3.5e9, 4e18)] == ["12 bytes", "3.5 GB", "4 EB"]
    assert [cluster_costs.told_long(s) for s in (30, 600, 7200, 1e6, 1e12)] == [
        "30 s", "10 min", "2 h", "11.6 days", "31,688 years"
    ]  # fmt: skip


def test_constants_of_timings(tmp_path, monkeypatch):
    def one(series, dtype, workers=1):
        # Linear, from an intercept, with a slope that tells the series apart.
        slope = 1e-9 * (1 + scaling.SERIES.index(series))
        about = {"family": series.family, "function": series.function, "axis": series.axis}
        found = points(series.sizes, lambda n: 1e-3 + slope * n)
        return {**about, "dtype": dtype, "isa": "v4", "workers": workers, "points": found}

    content = {"date": "2026-01-01", "isa": "v4", "clock": "processor time", "series": []}
    content["series"] = [one(series, dtype) for series in scaling.SERIES for dtype in series.dtypes]
    path = tmp_path / "timings.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(cluster_costs, "scheduler_seconds", lambda clock: 5e-4)
    constants = cluster_costs.constants_of(cluster_costs.Timings(str(path)))
    assert set(CONSTANTS) <= set(constants) and set(cluster_costs.CONSTANTS) <= set(constants)
    place = next(i for i, s in enumerate(scaling.SERIES) if s.axis == "documents" and s.threads)
    assert constants["bound"] == pytest.approx(1e-9 * (1 + place))
    assert constants["task"] == 5e-4 and constants["crowding"] == 1
    assert 12 * 18 < constants["index_bytes"] < 12 * 20 + 40

    content["series"] = [s for s in content["series"] if s["function"] != "hsic"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no series hsic by points, float64, 1 threads"):
        cluster_costs.constants_of(cluster_costs.Timings(str(path)))


def test_all_jobs_are_told(measured):
    blocks = cluster_costs.block_rows(CONSTANTS)
    assert {row["count"] for row in blocks} == {10**6, 10**9}
    assert all(row["wall"] > 0 and row["core_seconds"] > 0 for row in blocks)
    assert "infeasible" in cluster_costs._block_table(blocks)


# ---- the page ----

PAGE = ROOT / "docs" / "scaling.md"
PARTS = ["machine", "growth", "limits", "pruning", "comparison", "constants", "search", "blocks"]


def test_page_is_filled_between_its_markers():
    page = PAGE.read_text(encoding="utf-8")
    parts = {name: f"| the table of {name} |" for name in PARTS}
    filled = cluster_costs.fill(page, parts, "page.md")
    assert all(filled.count(text) == 1 for text in parts.values())
    assert cluster_costs.fill(filled, parts, "page.md") == filled


def test_page_holds_what_its_digest_says():
    page = PAGE.read_text(encoding="utf-8")
    digest = json.loads(PAGE.with_suffix(".json").read_text(encoding="utf-8"))
    parts = cluster_costs.render(digest)
    assert list(parts) == PARTS
    assert cluster_costs.fill(page, parts, "page.md") == page
    # The replay is what the cluster's figures rest on.
    for row in digest["comparison"]:
        assert row["same_neighbors"] and row["replay"] == pytest.approx(row["index"], rel=0.02)
        assert 1 / 1.5 < row["drawn"] / row["index"] < 1.5
