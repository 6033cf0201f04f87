"""The fit of engine overheads, and predictions without the source of a run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

PRESETS = ("new", "old")


@pytest.fixture(scope="module")
def scripts() -> dict[str, ModuleType]:
    sys.path.insert(0, str(ROOT / "workflow"))
    import fit_overheads
    import left_out
    import overhead_fit
    import overhead_rows

    sys.path.pop(0)
    return {"fit": overhead_fit, "rows": overhead_rows, "left_out": left_out, "write": fit_overheads}


def planted(scripts: dict[str, ModuleType], overheads: dict[str, dict[str, float]], *, size: int = 120) -> Any:
    """Runs whose measurements follow from some overheads; kernels, batch, length and tokens differ."""
    rng, names = np.random.default_rng(0), scripts["rows"].FITTED
    length, batch = rng.integers(1, 8, size), 2.0 ** rng.integers(0, 7, size)
    counts, plain = np.zeros((size, len(names))), np.zeros((size, len(names)))
    plain[:, names.index("host_s")] = 1
    each = {"host_s": 1, "draft_host_s": 1, "draft_pass_host_s": length, "token_s": batch * (length + 1)}
    for name, count in (each | {"fused_pass_host_s": length * (np.arange(size) % 3 > 0)}).items():
        counts[:, names.index(name)] = count
    kernels, tau = rng.uniform(4e-3, 2e-2, size), 1.0 + 0.4 * length
    system = scripts["rows"].System(
        cycle_s=np.repeat((kernels * 1.1 + 3e-4 * length)[:, None], len(scripts["rows"].NODES), axis=1),
        plain_s=kernels,
        load_s=np.full(size, 1e-4),
        tokens_per_cycle=tau,
        counts=counts,
        plain_counts=plain,
        tree=np.zeros(size, dtype=bool),
    )
    presets = np.array([PRESETS[index % 2] for index in range(size)])
    sources = np.array([f"{preset}-{index % 4}" for index, preset in enumerate(presets)])
    runs = scripts["fit"].Runs(system, presets, sources, sources, batch, {}, np.zeros(size, dtype=bool))
    own = np.array([[overheads[preset].get(name, 0.0) for name in names] for preset in presets])
    return replace(runs, measured=scripts["fit"].predicted(runs, own, {"chain": 0.4, "tree": 0.4}))


TRUE = {
    "new": {"host_s": 2e-4, "draft_host_s": 4e-4, "draft_pass_host_s": 1e-4, "token_s": 5e-6},
    "old": {"host_s": 1e-3, "draft_host_s": 2e-3, "draft_pass_host_s": 2e-4, "fused_pass_host_s": 5e-4},
}


def test_a_fit_finds_planted_overheads(scripts: dict[str, ModuleType]) -> None:
    runs = planted(scripts, TRUE)
    found = scripts["fit"].fit(runs, PRESETS, scripts["fit"].supported(runs, PRESETS))
    for preset, values in TRUE.items():
        for name, value in values.items():
            one = found.of(preset)[name]
            assert one.lower <= value <= one.upper, (preset, name)
            assert abs(float(one.value) - value) < 0.4 * scripts["fit"].SPREAD_S[name], (preset, name)


def test_an_outlying_source_hardly_moves_a_fit(scripts: dict[str, ModuleType]) -> None:
    runs = planted(scripts, TRUE)
    free = scripts["fit"].supported(runs, PRESETS)
    wrong = {name: np.where(runs.sources == "old-1", 2.0 * cells, cells) for name, cells in runs.measured.items()}
    moved = scripts["fit"].fit(replace(runs, measured=wrong), PRESETS, free).of("new")["host_s"]
    assert abs(float(moved.value) - 2e-4) < 2e-4


def test_a_preset_without_runs_lies_between_the_others(scripts: dict[str, ModuleType]) -> None:
    runs = planted(scripts, TRUE)
    found = scripts["fit"].fit(runs.at(runs.presets == "old"), PRESETS, scripts["fit"].supported(runs, PRESETS))
    new, old = (found.of(preset)["draft_host_s"] for preset in PRESETS)
    assert 0.5e-3 < float(new.value) < float(old.value)
    assert float(new.upper - new.lower) > float(old.upper - old.lower)


def test_an_overhead_of_one_source_is_less_sure_than_that_of_two(scripts: dict[str, ModuleType]) -> None:
    runs = planted(scripts, TRUE)
    names = np.where(np.arange(runs.batch.size) % 4 < 2, "x", "y")
    widths = []
    for sources in (np.full(names.size, "x"), names):
        one = replace(runs, sources=sources)
        assert scripts["fit"].sources_of(one, PRESETS).max() == np.unique(sources).size
        found = scripts["fit"].fit(one, PRESETS, scripts["fit"].supported(one, PRESETS)).of(PRESETS[0])["host_s"]
        widths.append(float(found.upper - found.value))
    assert widths[0] > 1.1 * widths[1]


def test_the_work_of_fused_heads_needs_both_kinds_of_heads(scripts: dict[str, ModuleType]) -> None:
    runs = planted(scripts, TRUE)
    fused = scripts["rows"].FITTED.index("fused_pass_host_s")
    only = runs.at(runs.system.counts[:, fused] > 0.0)
    assert scripts["fit"].supported(runs, PRESETS)[:, fused].all()
    assert not scripts["fit"].supported(only, PRESETS)[:, fused].any()


def test_a_series_without_tokens_per_cycle_counts_by_its_shape(scripts: dict[str, ModuleType]) -> None:
    runs = planted(scripts, TRUE)
    runs = replace(
        runs,
        free_tau=np.ones(runs.batch.size, dtype=bool),
        measured={**runs.measured, "plain_step_s": runs.batch * np.nan},
    )
    scaled = {name: (1.3 * cells if name == "speedup" else cells * np.nan) for name, cells in runs.measured.items()}
    exact = {name: cells if name == "speedup" else cells * np.nan for name, cells in runs.measured.items()}
    given = [replace(runs, measured=measured) for measured in (exact, scaled)]
    one, other = (scripts["fit"].residuals_of(each)(runs.measured) for each in given)
    assert one == pytest.approx(other, abs=1e-9)


def test_the_runs_of_a_source_do_not_move_their_own_prediction(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    module = scripts["left_out"]
    row = {
        **{"source": "x", "series": "s", "preset": "vllm-2026", "engine": "vllm-2026", "hardware": "h100-sxm"},
        **{"model": "llama-3.1-8b", "precision": "bf16", "kv_precision": "bf16", "draft": "eagle3", "tp": 1},
        **{"draft_len": 3, "top_k": 1, "verify_tokens": 4, "batch": 8, "context": 1000, "input_len": None},
        **{"output_len": None, "tokens_per_cycle": 2.2, "tau_from": "given", "batch_kind": "closed loop"},
        **{"assumed": "", "measured_speedup": 1.5},
    }
    other = {**row, "source": "y", "batch": 32, "measured_speedup": 1.3}
    before = module.all_left_out([row, other], tmp_path)
    after = module.all_left_out([{**row, "measured_speedup": 0.7}, other], tmp_path)
    assert before[0]["speedup"] == after[0]["speedup"] and before[1]["speedup"] != after[1]["speedup"]
    assert [found["left_out"] for found in before] == ["x", "y"]


def test_a_written_table_keeps_its_note_and_the_rest_of_the_file(scripts: dict[str, ModuleType]) -> None:
    text = '[a.host_s]\nvalue = 1.0\nevidence = "theory"\nsource = "x"\nnote = "n"\n\n[b.host_s]\nvalue = 2.0\n'
    row = {"preset": "a", "overhead": "host_s", "value": 3.0, "lower": 2.0, "upper": 4.0, "unit": "ms", "runs": 5}
    found = scripts["write"].with_table(text, {**row, "sources": "s"})
    assert found.startswith("[a.host_s]\nvalue = 3.0\nlower = 2.0\nupper = 4.0\n")
    assert 'note = "n"' in found and "theory" not in found and found.endswith("\n\n[b.host_s]\nvalue = 2.0\n")
    added = scripts["write"].with_table(text, {**row, "overhead": "token_s", "sources": "s"})
    assert added.index("[a.token_s]") < added.index("[b.host_s]") and text[:50] in added
