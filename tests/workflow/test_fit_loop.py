"""The script that fits sampling and acceptance of the measured loop."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.checks import InputError
from scylla_sim.records import format_csv, read_columns
from scylla_sim.specs import catalog

PER_CYCLE, PER_PASS = 0.3e-3, 0.1e-3


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import fit_loop as module

    sys.path.pop(0)
    return module


def write(folder: Path, batches: tuple[int, ...] = (1, 8, 64)) -> tuple[Path, Path]:
    """Steps and cycles of a loop with known times; above batch 32 a cycle takes 1 ms more."""
    steps, cycles = [], []
    for batch in batches:
        same = {"batch": batch, "context": 512, "graph": 1, "dtype": "bfloat16"}
        steps.append(same | {"role": "draft", "tokens": 1, "latency_ms": 1.0})
        steps += [same | {"role": "verify", "tokens": n, "latency_ms": 6.0 + n} for n in (2, 4, 6)]
        steps.append(same | {"role": "verify", "tokens": 4, "latency_ms": 1.0, "dtype": "fp8"})
        for length in (1, 3, 5, 8):  # the step of 9 tokens was not measured
            cycle = 1e-3 * (7.0 + 2 * length) + PER_CYCLE + PER_PASS * length + 1e-3 * (batch > 32)
            shape = {"batch_size": batch, "context_len": 512, "draft_len": length, "graph": 1, "cycle_s": cycle}
            cycles += [shape | {"top_k": 1}, shape | {"top_k": 4, "cycle_s": 9.0}]
            cycles.append(shape | {"top_k": 1, "graph": 0, "cycle_s": 9.0})
    paths = folder / "step.csv", folder / "specdecode.csv"
    for path, rows in zip(paths, (steps, cycles)):
        path.write_text(format_csv(rows))
    return paths


def test_known_times_are_found_from_chains_in_graphs(script: ModuleType, tmp_path: Path) -> None:
    steps, cycles = write(tmp_path)
    script.main(str(steps), str(cycles), str(tmp_path / "loop.toml"))
    engine = catalog.engine(str(tmp_path / "loop.toml"))
    assert engine.draft_host_s == pytest.approx(PER_CYCLE, rel=1e-3)
    assert engine.draft_pass_host_s == pytest.approx(PER_PASS, rel=1e-3)
    assert engine.host_s == 0.0 and engine.fitted_runs == 6, "two batches, three lengths"


def test_the_interval_is_that_of_one_cycle(script: ModuleType) -> None:
    lengths = np.tile([1.0, 3.0, 5.0], 400)
    noise = np.random.default_rng(0).normal(0.0, 2e-5, len(lengths))
    engine = script.fitted_loop(lengths, PER_CYCLE + PER_PASS * lengths + noise, "a test")
    lower, upper = engine.intervals["draft_host_s"]
    assert upper - lower == pytest.approx(2 * 1.645 * 2e-5, rel=0.1)
    lower, upper = engine.intervals["draft_pass_host_s"]
    assert upper - lower == pytest.approx(2 * 1.645 * 2e-5 / (1200**0.5 * lengths.std()), rel=0.1)
    assert pytest.approx((lower + upper) / 2, rel=0.02) == PER_PASS


def test_too_few_cycles_add_nothing_and_say_so(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial of a campaign measures every twentieth case, and its results are still scored."""
    steps, cycles = write(tmp_path, batches=(64,))
    script.main(str(steps), str(cycles), str(tmp_path / "loop.toml"))
    engine = catalog.engine(str(tmp_path / "loop.toml"))
    assert engine.draft_host_s == engine.draft_pass_host_s == 0.0
    assert "a fit needs two draft lengths" in capsys.readouterr().err


def test_cases_without_a_time_are_left_out_and_missing_columns_are_named(
    script: ModuleType, tmp_path: Path
) -> None:
    steps, cycles = write(tmp_path)
    text = steps.read_text()
    known = script.left_over(read_columns(steps), read_columns(cycles))[1]
    names = text.split("\n")[0].split(",")
    shape = {"role": "verify", "dtype": "bfloat16", "batch": "8", "context": "512", "tokens": "4", "graph": "1"}
    steps.write_text(text + ",".join(shape.get(name, "") for name in names))
    rows = [row.split(",") for row in cycles.read_text().split()]
    at, top = rows[0].index("cycle_s"), rows[0].index("top_k")
    failed = [*rows[1][:at], "", *rows[1][at + 1 :]]
    failed[top] = "1"
    cycles.write_text("\n".join(map(",".join, [*rows, failed])))
    np.testing.assert_array_equal(script.left_over(read_columns(steps), read_columns(cycles))[1], known)
    steps.write_text(text.replace("latency_ms", "ms"))
    with pytest.raises(InputError, match="latency_ms"):
        script.main(str(steps), str(cycles), str(tmp_path / "loop.toml"))
