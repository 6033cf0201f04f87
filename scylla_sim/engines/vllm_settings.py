"""Settings of vLLM: ``--speculative-config`` with one draft length, one by batch, or adaptive verification.

Notes
-----
Sources, vllm-project/vllm:

* Fields: ``SpeculativeConfig`` in vllm/config/speculative.py, commit 002e77c1. The schema of the documented fields
  is scylla_sim/data/engine_settings/vllm.json.
* Draft length by batch: docs/features/speculative_decoding/dynamic_speculative_decoding.md, commit 015a47e1, and
  vllm/v1/spec_decode/dynamic/utils.py, commit 14b450ca: ranges start at 1, do not overlap, and the last length
  holds for all larger batches. Release 0.25.0 and newer.
* Adaptive verification: docs/features/speculative_decoding/adaptive_verification.md, commit 05084858.
* ``disable_by_batch_size`` has had no effect since 0.10, and was removed (#35060).
"""

from __future__ import annotations

import json
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from scylla_sim.engines.setting import (
    ADAPTIVE,
    BY_BATCH,
    DRAFT_PATH,
    FIXED,
    Flags,
    idle_note,
    is_plain,
    left_out,
    off,
)
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine_support import older

ENGINE = "vllm"
MAX_LOOKUP = 4
"""Longest n-gram that vLLM looks up in the prompt, as in its documentation."""
BY_BATCH_VERSION = "0.25"
"""First release with a draft length by batch."""
RUNNER_V1 = "VLLM_USE_V2_MODEL_RUNNER=0"
"""Environment of a server with a draft length by batch for EAGLE heads, as in vLLM's documentation."""
CONFIG = "vllm/config/speculative.py, commit 002e77c1"
METHODS = ("eagle3", "medusa", "dflash", "dspark")
"""Methods that have the same name in vLLM; other heads run as ``eagle``."""
VERIFIES_ADAPTIVELY = ("eagle", "eagle3", "mtp", "dflash", "dspark", "draft_model")
"""Methods with adaptive verification."""


def config_of(draft: Draft, draft_tp: int | None) -> dict[str, Any]:
    """Return the method and the model of vLLM's speculative configuration.

    Examples
    --------
    >>> config_of(Draft("ngram", "ngram"), None)
    {'method': 'ngram', 'prompt_lookup_max': 4}
    """
    method, name = draft.method_name, {"model": DRAFT_PATH}
    if draft.kind == "ngram":
        return {"method": "ngram", "prompt_lookup_max": MAX_LOOKUP}
    if method == "mtp":
        found: dict[str, Any] = {"method": "mtp", **(name if draft.method else {})}
    elif draft.kind == "model":
        found = {"method": "draft_model", **name}
    elif method == "p-eagle":
        found = {"method": "eagle3", **name, "parallel_drafting": True}
    else:
        found = {"method": method if method in METHODS else "eagle", **name}
    ranks = {} if draft_tp is None or "model" not in found else {"draft_tensor_parallel_size": draft_tp}
    return found | ranks


def _option(config: dict[str, Any]) -> str:
    return f"--speculative-config '{json.dumps(config)}'"


def settings(draft: Draft, found: Schedule, *, draft_tp: int | None, preset: str) -> list[Flags]:
    """Return the settings of vLLM for a schedule.

    Parameters
    ----------
    draft
        The draft of the schedule, which vLLM can run.
    found
        The schedule.
    draft_tp
        TP ranks of the draft; ``None`` for those of the target.
    preset
        Name of the engine preset.
    """
    fixed = found.fixed_chain
    if fixed is None:
        return [left_out(ENGINE, FIXED, "vLLM drafts chains only; give candidates with --top-k 1")]
    config = config_of(draft, draft_tp)
    tree = ("best chain; vLLM has no trees (vLLM #42121)",) if found.fixed != fixed else ()
    static = Flags(
        ENGINE,
        FIXED,
        _option({**config, "num_speculative_tokens": fixed.draft_len}),
        "",
        tree,
        version="0.9 or newer",
        source=CONFIG,
    )
    results = [off(ENGINE, FIXED) if found.fixed_chain_gain <= 1.0 else static]
    if is_plain(found):
        return [*results, off(ENGINE, BY_BATCH)]
    if older(preset):
        reason = f"a draft length by batch needs vLLM {BY_BATCH_VERSION}; {preset} stands for {older(preset)}"
        return [*results, left_out(ENGINE, BY_BATCH, reason)]
    results.append(_by_batch(config, found, tree))
    return [*results, *_adaptive(config, found)]


def _by_batch(config: dict[str, Any], found: Schedule, tree: tuple[str, ...]) -> Flags:
    """Return the setting with a draft length for each range of batches."""
    ranges = [[span.first, span.last, span.config.draft_len] for span in found.chain_spans]
    option = {
        **config,
        "num_speculative_tokens": max(length for _, _, length in ranges),
        "num_speculative_tokens_per_batch_size": ranges,
    }
    runner_v1 = config["method"] in ("eagle", "eagle3", "mtp")
    runner = (
        "model runner V2 ignores the schedule with EAGLE and MTP (vLLM #51510); V1 captures piecewise graphs only, "
        "and one user reports a collapse of the throughput at draft length 0 (vLLM #49548), so measure it",
    )
    notes = (
        f"needs vLLM {BY_BATCH_VERSION}, which tests it with EAGLE, EAGLE-3 and DFlash; not with "
        "--data-parallel-size above 1",
        idle_note(found),
        "entries are [first batch, last batch, draft length]; the last length holds for all larger batches",
        *(runner if runner_v1 else ()),
        "disable_by_batch_size has no effect since 0.10 (vLLM #35060)",
    )
    source = "docs/features/speculative_decoding/dynamic_speculative_decoding.md, commit 015a47e1"
    return Flags(
        ENGINE,
        BY_BATCH,
        _option(option),
        "",
        (*tree, *notes),
        version=f"{BY_BATCH_VERSION} or newer",
        source=source,
        environment=RUNNER_V1 if runner_v1 else "",
    )


@cache
def _measured_changes() -> str:
    """Return what adaptive verification changed in published runs, as text."""
    text = (resources.files("scylla_sim") / "data" / "adaptive_verification.toml").read_text("utf-8")
    data = tomllib.loads(text)
    gains = [run for run in data["run"] if run["change"][0] > 0.0]
    losses = [run for run in data["run"] if run["change"][0] <= 0.0]
    words = []
    for runs in (losses, gains):
        low, high = (100.0 * end(run["change"][i] for run in runs) for i, end in ((0, min), (1, max)))
        first, last = (end(run["concurrency"][i] for run in runs) for i, end in ((0, min), (1, max)))
        words.append(f"{low:+.0f} to {high:+.0f} % at concurrency {first} to {last}")
    problem = data["problems"]["source"].split(":")[0].replace("vllm-project/vllm", "vLLM")
    return (
        f"mixed evidence against a fixed length: {words[0]}, {words[1]} (vLLM #52362, #52228); {problem} reports a "
        "collapse and a hang. Not predicted here: measure it"
    )


def _adaptive(config: dict[str, Any], found: Schedule) -> list[Flags]:
    """Return the setting in which vLLM decides how much of each draft it verifies; empty for other methods."""
    if config["method"] not in VERIFIES_ADAPTIVELY or config.get("parallel_drafting"):
        return []
    longest = max(span.config.draft_len for span in found.chain_spans)
    option = {**config, "num_speculative_tokens": longest, "enable_adaptive_verification": True}
    notes = (
        _measured_changes(),
        "needs model runner V2 and CUDA graphs; not with LoRA, pipeline parallelism or --enforce-eager",
    )
    return [
        Flags(
            ENGINE,
            ADAPTIVE,
            _option(option),
            "",
            notes,
            version="sources of September 2026; DSpark from 0.28",
            source="docs/features/speculative_decoding/adaptive_verification.md, commit 05084858",
        )
    ]
