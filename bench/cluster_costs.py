"""What a million and a billion documents, rows or points would cost on a Dask cluster, from what was measured here.

    python bench/scaling.py --json scaling.json
    python bench/cluster_costs.py scaling.json --write docs/scaling.md

The first command times every family; this one takes its constants from there, measures the pruning of the search
index (pruning.py), replays it over partitions that do not exist, and writes the tables of the page, with the digest
that they are made of beside it (docs/scaling.json). Without a file, the tables are rendered from that digest again.

Simulated is the search for nearest documents, task by task. All other jobs do the same work for every block, so for
them the number of blocks is enough.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pruning import NEIGHBORS, SEGMENT, Drawn, Measured, measure_pruning, partition_edges, search_partitions
from report import told, write_text
from report_pages import fill, table
from scaling import CLOCKS, Clock, corpus, growth_table, least_seconds, limits_table, summary, told_bytes

import kexue as kx

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
MERGED_AT_ONCE = 8  # results that kexue.dask merges in one task

# ---- the cluster ----


@dataclass(frozen=True)
class Cluster:
    """Machines of cores like the measured one's. The network is of each machine; its latency is that of a message."""

    machines: int
    cores: int = 32
    memory: float = 128e9
    bandwidth: float = 1.25e9  # bytes a second: 10 Gbit/s
    latency: float = 2e-4

    def __post_init__(self) -> None:
        for name in ("machines", "cores"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        for name in ("memory", "bandwidth", "latency"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value!r}")

    @property
    def threads(self) -> int:
        return self.machines * self.cores


@dataclass
class Schedule:
    """A cluster at work: when each core is free, and what was sent. The scheduler hands out one task after another."""

    cluster: Cluster
    task_seconds: float
    now: float = 0.0
    busy: float = 0.0
    sent: float = 0.0

    def run(self, seconds: Sequence[float], received: float, returned: float) -> None:
        """Tasks that depend on all before; each gets and gives so many bytes. Task i is on machine i, in turns."""
        free = [[self.now] * self.cluster.cores for _ in range(self.cluster.machines)]
        line = [self.now] * self.cluster.machines  # when each machine's network is free
        handed_out, end = self.now, self.now
        for i, duration in enumerate(seconds):
            machine = i % self.cluster.machines
            handed_out += self.task_seconds
            line[machine] = max(line[machine], handed_out) + (received + returned) / self.cluster.bandwidth
            begin = max(heapq.heappop(free[machine]), line[machine] + self.cluster.latency)
            heapq.heappush(free[machine], begin + duration)
            end = max(end, begin + duration + self.cluster.latency)
            self.busy += duration
            self.sent += received + returned
        self.now = end

    def merge(self, results: int, size: float, seconds: float) -> None:
        """A tree of tasks that each take a few results."""
        while results > 1:
            tasks = -(-results // MERGED_AT_ONCE)
            self.run([seconds] * tasks, min(results, MERGED_AT_ONCE) * size, 0)
            results = tasks


@dataclass(frozen=True)
class SearchJob:
    """Queries against a corpus over a cluster, whose words are alike in frequency; the vectors are on every machine."""

    documents: int
    queries: int
    partitions: int
    wave: int
    words: int = 20
    vocabulary: int = 200_000
    dimension: int = 300


def simulate_search(job: SearchJob, cluster: Cluster, constants: dict[str, float], drawn: Sequence[Drawn]) -> dict:
    """The wall-clock, the processor time, the traffic and the memory of a search.

    The drawn queries stand for all: every partition has the counts that they had in it.
    """
    replays = [search_partitions(query.split(job.documents, job.partitions), NEIGHBORS, job.wave) for query in drawn]
    dual = np.mean([replay.dual for replay in replays], axis=0)
    exact = np.mean([replay.exact for replay in replays], axis=0)
    each = np.diff(partition_edges(job.documents, job.partitions)).astype(np.float64)
    # Different words of a partition: its index makes the table for no others.
    used = -job.vocabulary * np.expm1(each * job.words * math.log1p(-1 / job.vocabulary))
    table = job.words * used * job.dimension / 300 * constants["table"]
    a_query = table + each * constants["bound"] + (dual + exact) * constants["dual"] + exact * constants["solve"]
    seconds = job.queries * a_query * constants["crowding"]
    asked, answer = job.queries * job.words * 12.0, job.queries * NEIGHBORS * 16.0
    schedule = Schedule(cluster, constants["task"])
    for first in range(0, job.partitions, job.wave):
        part = seconds[first : first + job.wave].tolist()
        schedule.run(part, asked + 8.0 * job.queries * (first > 0), answer)
        schedule.merge(len(part) + (first > 0), answer, constants["merge"] * job.queries)
    vectors = 4.0 * job.vocabulary * job.dimension
    tasks = min(cluster.cores, -(-job.partitions // cluster.machines))
    index = constants["index_bytes"] * job.documents / cluster.machines
    return {
        "wall": schedule.now,
        "core_seconds": schedule.busy,
        "sent": schedule.sent,
        # A task keeps the tables of as many queries as fill two fifths of the vectors.
        "memory": vectors + index + tasks * (0.4 * vectors + 8.0 * min(SEGMENT, int(each.max()))),
        "looked_at": float((dual + exact).sum()),
        "exact": float(exact.sum()),
        "table_share": float(table.sum() / a_query.sum()),
    }


def simulate_blocks(
    blocks: int, seconds: float, received: float, returned: float, cluster: Cluster, constants: dict[str, float]
) -> dict:
    """Blocks of equal work: the slowest of the scheduler, the cores and the network is what it takes."""
    duration = seconds * constants["crowding"]
    sent = blocks * (received + returned)
    needs = {
        "cores": -(-blocks // cluster.threads) * duration,
        "network": sent / cluster.bandwidth / cluster.machines,
        "scheduler": blocks * constants["task"],
    }
    slowest = max(needs, key=lambda name: needs[name])
    return {
        "wall": needs[slowest] + cluster.latency,
        "bound_by": slowest,
        "core_seconds": blocks * duration,
        "sent": sent,
    }


# ---- constants ----


def slope(points: Sequence[dict[str, Any]]) -> float:
    """Seconds for one more: a line through the three largest sizes."""
    largest = sorted(points, key=lambda point: point["size"])[-3:]
    return float(np.polyfit([point["size"] for point in largest], [point["seconds"] for point in largest], 1)[0])


class Timings:
    """The series of a file that scaling.py wrote."""

    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            self.content = json.load(file)
        kinds = {"series": list, "date": str, "clock": str, "isa": str}
        for key, kind in kinds.items():
            if not isinstance(self.content, dict) or not isinstance(self.content.get(key), kind):
                raise ValueError(f'{path}: no "{key}"; it must be what scaling.py --json writes')
        self.path = path

    def points(self, function: str, axis: str, dtype: str, workers: int = 1) -> list[dict[str, Any]]:
        isa = self.content["isa"]
        for one in self.content["series"]:
            if (one["function"], one["axis"], one["dtype"], one["workers"], one["isa"]) == (
                function, axis, dtype, workers, isa
            ):  # fmt: skip
                if len(one["points"]) < 2:
                    raise ValueError(f"{self.path}: {function} by {axis} has fewer than two sizes")
                return sorted(one["points"], key=lambda point: point["size"])
        raise ValueError(
            f"{self.path}: no series {function} by {axis}, {dtype}, {workers} threads; run scaling.py whole"
        )

    def largest(self, function: str, axis: str, dtype: str) -> dict[str, Any]:
        return self.points(function, axis, dtype)[-1]

    def between(self, function: str, size: int) -> float:
        """Seconds of a problem of a size that is not in the series."""
        points = self.points(function, "points of each side", "float64")
        x, y = (np.log([point[key] for point in points]) for key in ("size", "seconds"))
        return math.exp(np.interp(math.log(size), x, y))


def scheduler_seconds(clock: Clock) -> float:
    """What one task costs Dask's scheduler and a worker beside its work."""
    import dask
    from distributed import Client, LocalCluster

    count, least = 300, math.inf
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        for _ in range(4):
            tasks = [dask.delayed(int)(i, pure=False) for i in range(count)]
            begin = clock()
            client.gather(client.compute(tasks))
            least = min(least, (clock() - begin) / count)
    return least


def merge_seconds(clock: Clock) -> float:
    """What merging the neighbours of one query costs, as kexue.dask does it: a stable sort of eight results."""
    rows = 1000
    distances = np.random.default_rng(0).random((rows, MERGED_AT_ONCE * NEIGHBORS))

    def merge() -> None:
        order = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBORS]
        np.take_along_axis(distances, order, axis=1)

    return least_seconds(merge, 1.0, clock) / rows


def index_bytes(documents: int, vocabulary: int) -> tuple[float, float]:
    """Bytes a document in memory and in files, without the vectors."""
    vectors, counts = corpus(documents, vocabulary, 20, "float32")
    index = kx.DocumentIndex(vectors).fit(counts)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "index")
        index.save(path)
        files = sum(entry.stat().st_size for entry in os.scandir(path))
    return (index.nbytes - vectors.nbytes) / documents, (files - vectors.nbytes) / documents


def constants_of(timings: Timings) -> dict[str, float]:
    """Seconds and bytes for one of what each job counts."""
    words, clock = 20, CLOCKS[timings.content["clock"]]
    documents = timings.points("DocumentIndex.kneighbors", "documents", "float32")
    vocabulary = timings.points("DocumentIndex.kneighbors", "words in the vocabulary", "float32")
    crowding = 1.0
    if timings.content["clock"] == "elapsed time":  # processor time knows no second thread
        two = {p["size"]: p["seconds"] for p in timings.points("DocumentIndex.kneighbors", "documents", "float32", 2)}
        crowding = max([1.0, *(2 * two[p["size"]] / p["seconds"] for p in documents[-2:] if p["size"] in two)])
    in_memory, in_files = index_bytes(20_000, 20_000)
    pairs = timings.largest("pairwise_distances", "documents of each side", "float32")
    points = timings.largest("hsic", "points", "float64")
    result = {
        "table": slope(vocabulary) / words,
        "bound": slope(documents),
        "solve": timings.between("emd2", words),
        "dual": timings.between("transport_lower_bound", words),
        "crowding": crowding,
        "build": slope(timings.points("DocumentIndex.fit", "documents", "float32")),
        "pair": pairs["seconds"] / pairs["size"] ** 2,
        "index_bytes": in_memory,
        "file_bytes": in_files,
        "task": scheduler_seconds(clock),
        "merge": merge_seconds(clock),
        "hsic": points["seconds"] / points["size"] ** 2,
        "affinities": timings.largest("perplexity_affinities", "points", "float64")["seconds"]
        / timings.largest("perplexity_affinities", "points", "float64")["size"] ** 2,
        "hsic_features": slope(timings.points("hsic_random_features", "points", "float64")),
        "codes": slope(timings.points("hamming_neighbors", "codes", "float64")) / 64,
    }
    for function, *_ in ROWWISE:
        result[function] = slope(timings.points(function, "rows", "float32"))
    negative = [name for name, value in result.items() if not value > 0]
    if negative:
        raise ValueError(f"{timings.path}: {negative[0]} comes out as {result[negative[0]]}: measured too noisily")
    return result


# function, what it is told as, bytes of a row that come in and go out
ROWWISE = (
    ("softmax", "softmax, 1000 columns", 4000, 4000),
    ("entropy_normalize", "entropy_normalize, 100 columns", 400, 400),
    ("random_projection srht", "random_projection, 1000 columns to 128", 4000, 512),
    ("layer_norm", "layer_norm, 768 columns", 3072, 3072),
)


# ---- jobs ----

CLUSTERS = (Cluster(1), Cluster(8), Cluster(64))
COUNTS = (10**6, 10**9)
QUERIES = 1000
DAY, YEAR = 86_400.0, 365.25 * 86_400.0
LARGEST_RESULT = 1e15  # bytes


def search_rows(constants: dict[str, float], measured: dict[str, list[Measured]], draws: int = 5) -> list[dict]:
    """A thousand queries against a corpus, by both ways of sharing it, on every cluster."""
    rows = []
    for name, queries in measured.items():
        for documents, cluster in itertools.product(COUNTS, CLUSTERS):
            # One wave, or four of which each later one has the limits of those before.
            for waves in (1, 4):
                partitions = waves * cluster.threads
                drawn = [Drawn(query, number) for number, query in enumerate(queries[:draws])]
                job = SearchJob(documents, QUERIES, partitions, cluster.threads)
                result = simulate_search(job, cluster, constants, drawn)
                about = {"corpus": name, "documents": documents, "waves": waves, "partitions": partitions}
                rows.append({**about, "machines": cluster.machines, **result})
    return rows


def block_rows(constants: dict[str, float]) -> list[dict]:
    """All jobs whose blocks are alike: what they are, how many, and what a block costs."""
    rows = []
    for n, cluster in itertools.product(COUNTS, CLUSTERS):
        for name, blocks, seconds, received, returned, result in block_jobs(n, constants):
            simulated = simulate_blocks(blocks, seconds, received, returned, cluster, constants)
            rows.append({"job": name, "count": n, "machines": cluster.machines, "result": result, **simulated})
    return rows


def block_jobs(n: int, constants: dict[str, float]) -> Iterator[tuple[str, int, float, float, float, float]]:
    """Name, number of blocks, seconds, bytes received and returned for each, bytes of the result."""

    def pairs_of(size: int) -> int:
        whole = -(-n // size)
        return whole * (whole + 1) // 2

    size = 1000
    yield (
        "pairwise_distances, wmd, all pairs", pairs_of(size), size**2 * constants["pair"], 2 * size * 20 * 12.0,
        4.0 * size**2, 4.0 * n**2,
    )  # fmt: skip
    size = 4000
    yield (
        "hsic, all pairs of points", pairs_of(size), 2 * size**2 * constants["hsic"], 2 * size * 60 * 8.0, 32.0 * size,
        8.0,
    )  # fmt: skip
    size = 100_000
    blocks = -(-n // size)
    yield "hsic_random_features", blocks, size * constants["hsic_features"], size * 60 * 8.0, 8.0 * 512**2, 8.0
    yield (
        "perplexity_affinities, dense", -(-n // 1000), 1000.0 * n * constants["affinities"], 8000.0 * n, 8000.0 * n,
        8.0 * n**2,
    )  # fmt: skip
    yield (
        "hamming_neighbors, 1000 queries", blocks, size * QUERIES * constants["codes"], 16.0 * (size + QUERIES),
        160.0 * QUERIES, 160.0 * QUERIES,
    )  # fmt: skip
    for function, name, received, returned in ROWWISE:
        yield name, blocks, size * constants[function], 1.0 * size * received, 1.0 * size * returned, 1.0 * n * returned


# ---- the page ----


def told_long(seconds: float) -> str:
    for unit, size in (("years", YEAR), ("days", DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return told(seconds)


def feasibility(row: dict, alone: dict) -> str:
    """What there is to say against a job on a cluster, beside the same job on one machine."""
    if row["wall"] > 10 * YEAR or row.get("result", 0) > LARGEST_RESULT:
        return "infeasible"
    if row.get("memory", 0) > Cluster(1).memory:
        return "does not fit the memory"
    if row["wall"] > 30 * DAY:
        return "impractical"
    if row["machines"] == 1:
        return ""
    faster = alone["wall"] / row["wall"]
    if faster < 1.5:
        return "no faster than one machine"
    if alone["wall"] < 60 and alone.get("memory", 0) <= Cluster(1).memory:
        return "one machine is enough"
    return f"{faster:.2g} times as fast as one machine" if faster < row["machines"] / 2 else ""


def _search_table(rows: Sequence[dict]) -> str:
    header = (
        "corpus", "documents", "machines", "partitions", "waves", "looked at, a query", "tables' share",
        "memory a machine", "sent", "time", "core-hours", "",
    )  # fmt: skip
    alone = {(row["corpus"], row["documents"], row["waves"]): row for row in rows if row["machines"] == 1}
    return table(
        header,
        (
            (
                row["corpus"], f"{row['documents']:,}", str(row["machines"]), f"{row['partitions']:,}",
                str(row["waves"]), f"{row['looked_at']:,.0f}", f"{row['table_share']:.0%}", told_bytes(row["memory"]),
                told_bytes(row["sent"]), told_long(row["wall"]), f"{row['core_seconds'] / 3600:,.3g}",
                feasibility(row, alone[row["corpus"], row["documents"], row["waves"]]),
            )
            for row in rows
        ),
    )  # fmt: skip


def _block_table(rows: Sequence[dict]) -> str:
    header = ("job", "of", "machines", "result", "sent", "time", "bound by", "core-hours", "")
    alone = {(row["job"], row["count"]): row for row in rows if row["machines"] == 1}
    return table(
        header,
        (
            (
                row["job"], f"{row['count']:,}", str(row["machines"]), told_bytes(row["result"]),
                told_bytes(row["sent"]), told_long(row["wall"]), row["bound_by"],
                f"{row['core_seconds'] / 3600:,.3g}", feasibility(row, alone[row["job"], row["count"]]),
            )
            for row in sorted(rows, key=lambda row: (list(alone).index((row["job"], row["count"])), row["machines"]))
        ),
    )  # fmt: skip


def _growth_table(rows: Sequence[dict]) -> str:
    return table(
        ("corpus", "documents", "looked at", "solved", "share solved"),
        (
            (
                row["corpus"], f"{row['documents']:,}", f"{row['looked_at']:.1f}", f"{row['exact']:.1f}",
                f"{row['exact'] / row['documents']:.3%}",
            )
            for row in rows
        ),
    )  # fmt: skip


def _comparison_table(rows: Sequence[dict]) -> str:
    return table(
        ("corpus", "documents", "partitions", "at a time", "index", "replayed", "drawn from", "drawn", "drawn / index"),
        (
            (
                row["corpus"], f"{row['documents']:,}", str(row["partitions"]), str(row["wave"]), f"{row['index']:.1f}",
                f"{row['replay']:.1f}", f"{row['drawn_from']:,}", f"{row['drawn']:.1f}",
                f"{row['drawn'] / row['index']:.2f}",
            )
            for row in rows
        ),
    )  # fmt: skip


CONSTANTS = {
    "table": "the distance of a word of the query to one of the vocabulary, 300 dimensions",
    "bound": "the relaxed bound of a document of 20 words, for a query of 20",
    "dual": "the dual bound of one document",
    "solve": "the exact distance of one document, its costs given",
    "pair": "one of all pairs of documents, table and solve together",
    "build": "a document, to make the index",
    "merge": "merging the neighbours that eight partitions have for a query",
    "task": "a task of Dask, to its scheduler",
    "hsic": "a pair of points (counted n^2), 50 and 10 columns, float64",
    "hsic_features": "a point, 512 random features, float64",
    "affinities": "an entry of the matrix of distances, float64",
    "codes": "a code of 128 bits beside one query",
    **{function: f"a row of {name}, float32" for function, name, *_ in ROWWISE},
}


def _constants_table(constants: dict[str, float]) -> str:
    rows = [(told(constants[name]), what) for name, what in CONSTANTS.items()]
    rows.append((f"{constants['index_bytes']:.0f} bytes", "a document of 20 words in the index, without vectors"))
    rows.append((f"{constants['file_bytes']:.0f} bytes", "the same in its files"))
    rows.append((f"{constants['crowding']:.2f}", "times as long when all cores are busy: two threads against one"))
    return table(("constant", "for"), rows)


def render(digest: dict[str, Any]) -> dict[str, str]:
    """The parts of the page, by the name of their markers."""
    machine = digest["machine"]
    hardware = f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}"
    software = f"kexue {machine['kexue']}, NumPy {machine['numpy']}, Python {machine['python']}"
    return {
        "machine": f"Measured {digest['date'][:10]} on {hardware}: {digest['clock']}; {software}.",
        "growth": growth_table(digest["growth"]),
        "limits": limits_table(digest["growth"]),
        "pruning": _growth_table(digest["pruning"]),
        "comparison": _comparison_table(digest["comparison"]),
        "constants": _constants_table(digest["constants"]),
        "search": _search_table(digest["search"]),
        "blocks": _block_table(digest["blocks"]),
    }


def rounded(value: Any) -> Any:
    """Four digits of every number, so that the digest stays small."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def digest_of(timings: Timings, largest: int, queries: int) -> dict[str, Any]:
    constants = constants_of(timings)
    pruning = measure_pruning(largest, queries)
    kept = ("cpu", "cores", "isa", "compiler", "kexue", "python", "numpy", "scipy", "platform")
    return rounded(
        {
            "date": timings.content["date"],
            "clock": timings.content["clock"],
            "machine": {key: timings.content[key] for key in kept},
            "growth": summary(timings.content["series"], timings.content["isa"]),
            "pruning": pruning.growth,
            "comparison": pruning.comparison,
            "constants": constants,
            "search": search_rows(constants, pruning.measured),
            "blocks": block_rows(constants),
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "timings", nargs="?", help="what scaling.py --json wrote; without it, docs/scaling.json is told"
    )
    parser.add_argument("--write", metavar="PAGE", help="write the tables into a page, and their digest beside it")
    parser.add_argument("--documents", type=int, default=100_000, help="of the largest corpus whose search is measured")
    parser.add_argument("--queries", type=int, default=10, help="of it")
    options = parser.parse_args(arguments)
    page = Path(options.write) if options.write else PAGE
    if options.timings:
        digest = digest_of(Timings(options.timings), options.documents, options.queries)
    else:
        digest = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    parts = render(digest)
    if options.write:
        text = fill(page.read_text(encoding="utf-8"), parts, page.name)
        write_text(page.with_suffix(".json"), json.dumps(digest, indent=1) + "\n")
        write_text(page, text)
    else:
        print("\n\n".join(parts.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
