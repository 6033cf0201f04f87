"""All-reduce by two processes on the CPU: the same code as on GPUs, and rows that calibrate a device."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_validate.device import timer
from gpu_validate.device.facts import catalog_device, detect_device
from gpu_validate.device.hardware_toml import hardware_toml
from gpu_validate.device.timer import Plan, Summary
from gpu_validate.records import record_file, rows
from gpu_validate.suites import collectives, kernels
from gpu_validate.suites.collectives import GroupClock
from gpu_validate.suites.measurement import run_case
from scylla_sim.cli import main as simulate
from scylla_sim.records import format_csv
from scylla_sim.specs import catalog

PLAN = Plan(relative_error=1e-9, min_samples=3, max_samples=4, time_limit_s=5.0, warmup_calls=1, min_sample_s=0.0)


@pytest.fixture(scope="module")
def measured() -> list[tuple[dict[str, Any], Summary]]:
    """Two processes with gloo, every size of the smallest scale."""
    here = detect_device("cpu")
    here = replace(here, details={**here.details, "gpus": 2})
    listed = list(collectives.all_reduce_cases(here, "ci"))
    found = list(collectives.measure_group_cases(here, listed, PLAN))
    assert [case.id for case, _ in found] == [case.id for case in listed]
    return [result for _, result in found]


def test_two_processes_time_an_all_reduce_together(measured: list[tuple[dict[str, Any], Summary]]) -> None:
    assert len(measured) == len(collectives.SIZES["ci"])
    for row, summary in measured:
        assert (row["op"], row["num_gpus"], row["graph"], row["kernel_source"]) == (
            "all_reduce",
            2,
            0,
            "torch_gloo",
        )
        assert 3 <= summary.count <= 4
        assert summary.median_s > 10 * summary.floor_s
    assert measured[-1][0]["latency_ms"] > measured[0][0]["latency_ms"], "16 MiB take longer than 1 KiB"


def test_rows_of_an_all_reduce_calibrate_a_device(
    measured: list[tuple[dict[str, Any], Summary]], tmp_path: Path
) -> None:
    here = detect_device("cpu")
    gemm = run_case(here, kernels.gemm_case(here, 4, 64, 64), PLAN)
    results = [(row, summary.row()) for row, summary in (gemm, *measured)]
    record = record_file.build("kernels", results, here, scale="ci")
    (tmp_path / "hardware.toml").write_text(hardware_toml(record))
    local = catalog.hardware(str(tmp_path / "hardware.toml"))
    best = max(row["bytes"] / row["latency_ms"] * 1e3 for row, _ in measured)
    assert local.link_bytes_per_s == pytest.approx(best, rel=1e-5), "of two, each sends the message once"
    assert local.gpus_per_node == 2
    (tmp_path / "train.csv").write_text(format_csv(rows.export(record, "all")))
    files = ["--measurements", str(tmp_path / "train.csv"), "--hardware", str(tmp_path / "hardware.toml")]
    out = tmp_path / "local.json"
    assert simulate(["calibrate", *files, "--device", "local", "--evidence", "live", "--out", str(out)]) == 0
    assert '"all_reduce"' in out.read_text()


class Exchange:
    """Two threads that tell each other a number, as processes of a group do."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=10)
        self.numbers = [0.0, 0.0]

    def of(self, rank: int, choose: Callable[[list[float]], float]) -> Callable[[float], float]:
        def tell(number: float) -> float:
            self.numbers[rank] = number
            self.barrier.wait()
            chosen = choose(self.numbers)
            self.barrier.wait()
            return chosen

        return tell


class Scripted:
    """A clock of one process: noisy seconds of its own, and a time of day that is off."""

    name = "scripted"

    def __init__(self, rank: int) -> None:
        self.draws = np.random.default_rng(rank)
        self.time = 1000.0 * rank
        self.slower = 1.0 + rank

    def now(self) -> float:
        self.time += 0.01 * self.slower
        return self.time

    def elapsed(self, calls: Any) -> float:
        return self.slower * float(self.draws.lognormal(-7.0, 0.3))


@pytest.mark.parametrize("plan", [replace(PLAN, relative_error=0.05, max_samples=500), Plan(time_limit_s=0.3)])
def test_processes_stop_together(plan: Plan) -> None:
    """Each for itself they would stop after different samples, and the one that goes on would wait for ever."""
    exchange = Exchange()
    found: list[Summary] = []

    def process(rank: int) -> None:
        clock = GroupClock(Scripted(rank), exchange.of(rank, max), exchange.of(rank, lambda numbers: numbers[0]))
        found.append(timer.measure(clock, [lambda: None], plan))

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 2
    assert found[0].row() == found[1].row()
    alone = [timer.measure(Scripted(rank), [lambda: None], plan).count for rank in (0, 1)]
    assert alone[0] != alone[1]


def test_the_call_where_processes_meet_is_not_timed() -> None:
    log: list[str] = []

    class Clock(Scripted):
        def elapsed(self, calls: Any) -> float:
            log.append("start")
            for call in calls:
                call()
            log.append("end")
            return 1.0

    GroupClock(Clock(0), float, float).elapsed([lambda: log.append("call")] * 2)
    assert log == ["call", "start", "call", "call", "end"]


def test_groups_are_powers_of_two_of_the_gpus_that_are_there() -> None:
    assert list(collectives.all_reduce_cases(catalog_device("h100-sxm"), "small")) == []
    listed = list(collectives.all_reduce_cases(catalog_device("h100-sxm", gpus=6), "small"))
    assert {case.gpus for case in listed} == {2, 4}
    assert {case.shape["graph"] for case in listed} == {0, 1}
    assert {case.shape["kernel_source"] for case in listed} == {"torch_nccl"}
    sent = pickle.loads(pickle.dumps(listed))
    assert [case.id for case in sent] == [case.id for case in listed], "a new process gets them so"
    assert [case.id for case in kernels.cases(catalog_device("h100-sxm", gpus=2), "ci") if case.gpus > 1]
