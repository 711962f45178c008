"""A bench runs with threads pinned, says what it ran on, and checks its results against another side's."""

from collections.abc import Callable, Iterator

import pytest
from workloads import Workload, machine, pinned_threads

_SECONDS = pytest.StashKey[dict[str, dict[str, float]]]()  # workload -> side -> least time of one problem


@pytest.fixture(scope="session", autouse=True)
def _pinned() -> Iterator[None]:
    with pinned_threads():
        yield


@pytest.fixture
def measure(benchmark: Callable, pytestconfig: pytest.Config) -> Callable[[Workload, str], None]:
    """A function (workload, side) that times the side and compares its result."""

    def run(workload: Workload, side: str) -> None:
        if side in workload.absent:
            pytest.skip(workload.absent[side])
        items = workload.sides[side].items
        benchmark.group = workload.name
        own_items = workload.sides["kexue"].items if "kexue" in workload.sides else 1
        # bench/report.py reads these. All is told for one problem; bytes and operations are those of kexue's call.
        benchmark.extra_info.update(
            machine(),
            side=side,
            problems_per_call=items,
            bytes_moved=workload.bytes_moved / own_items,
            operations=workload.operations / own_items,
        )
        workload.check(side, benchmark(workload.sides[side].call))
        if benchmark.stats is not None:  # not with --benchmark-disable
            seconds = pytestconfig.stash.setdefault(_SECONDS, {}).setdefault(workload.name, {})
            seconds[side] = benchmark.stats.stats.min / items

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Sides differ in how many problems a call solves, which pytest-benchmark's own table cannot know."""
    groups = config.stash.get(_SECONDS, {})
    if groups:
        terminalreporter.section("least microseconds for one problem, and in how many of kexue's times")
    for workload, sides in groups.items():
        terminalreporter.write_line(workload)
        for side, seconds in sides.items():
            ratio = f"{seconds / sides['kexue']:8.2f}" if "kexue" in sides else ""
            terminalreporter.write_line(f"    {side:24} {seconds * 1e6:14.3f} {ratio}")
