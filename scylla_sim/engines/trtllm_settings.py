"""Settings of TensorRT-LLM: ``speculative_config`` in the YAML file of ``trtllm-serve --config``.

Notes
-----
Sources, NVIDIA/TensorRT-LLM:

* Methods and file: docs/source/features/speculative-decoding.md, commit 04c8822c, and ``DecodingBaseConfig`` in
  tensorrt_llm/llmapi/llm_args.py, release 1.3. The code names ``Draft_Target`` what the page calls ``DraftTarget``.
  The schema of the documented fields is scylla_sim/data/engine_settings/trtllm.json.
* ``draft_len_schedule`` maps the last batch of a range to its length; larger batches draft nothing. The smallest
  key must have ``max_draft_len``. Methods: ``support_dynamic_draft_len`` in
  tensorrt_llm/_torch/speculative/interface.py (#10860 for EAGLE-3; the others in the sources of 1.4).
"""

from __future__ import annotations

import json
from typing import Any

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.engines.setting import BY_BATCH, DRAFT_PATH, FIXED, Flags, is_plain, left_out, off
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.engine_support import no_trees
from scylla_sim.specs.model import Model

ENGINE = "trtllm"
CONFIG_FILE = "config.yaml"
"""Name of TensorRT-LLM's file."""
MAX_MATCH = 4
"""Longest n-gram that TensorRT-LLM looks up, as in its documentation."""
BY_BATCH_TYPES = {"Eagle3": "1.3 or newer", "MTP": "1.4 or newer", "DFlash": "1.4 or newer"}
"""Decoding types with a draft length by batch -> versions that have it."""
OPTIONS = f"--config {CONFIG_FILE}"


def config_of(draft: Draft, item: SpeculativeConfig) -> dict[str, Any]:
    """Return the fields of a fixed configuration.

    Examples
    --------
    >>> config = SpeculativeConfig(Draft("ngram", "ngram"), 3, 1, 4, 2.0, 2.0, 2.0)
    >>> config_of(config.draft, config)
    {'decoding_type': 'NGram', 'max_draft_len': 3, 'max_matching_ngram_size': 4, 'is_public_pool': True}
    """
    if draft.kind == "ngram":
        lookup = {"max_matching_ngram_size": MAX_MATCH, "is_public_pool": True}
        return {"decoding_type": "NGram", "max_draft_len": item.draft_len, **lookup}
    if draft.method_name == "mtp":
        return {"decoding_type": "MTP", "max_draft_len": item.draft_len}
    kind = {"model": "Draft_Target", "block": "DFlash"}.get(draft.kind, "Eagle3")
    tree = {
        "use_dynamic_tree": True,
        "dynamic_tree_max_topK": item.top_k,
        "max_total_draft_tokens": item.verify_tokens - 1,
    }
    fields = {"decoding_type": kind, "max_draft_len": item.draft_len, "speculative_model": DRAFT_PATH}
    return {**fields, **(tree if item.top_k > 1 else {})}


def yaml_of(config: dict[str, Any], **top: bool) -> str:
    """Return the YAML file of a configuration, with entries beside it.

    Examples
    --------
    >>> print(yaml_of({"decoding_type": "MTP", "max_draft_len": 1, "draft_len_schedule": {8: 1}}))
    speculative_config:
      decoding_type: "MTP"
      max_draft_len: 1
      draft_len_schedule: {8: 1}
    """
    lines = [f"{name}: {json.dumps(value)}" for name, value in top.items()]
    lines.append("speculative_config:")
    for name, value in config.items():
        text = str(value) if isinstance(value, dict) else json.dumps(value)
        lines.append(f"  {name}: {text}")
    return "\n".join(lines)


def settings(draft: Draft, found: Schedule, *, target: Model, draft_tp: int | None) -> list[Flags]:
    """Return the settings of TensorRT-LLM for a schedule.

    Parameters
    ----------
    draft
        The draft of the schedule, which TensorRT-LLM can run.
    found
        The schedule.
    target
        The target, whose attention may rule out trees.
    draft_tp
        TP ranks of the draft; ``None`` for those of the target.
    """
    notes: tuple[str, ...] = ()
    fixed, gain = found.fixed, found.fixed_gain
    reason = no_trees(Engine(ENGINE, framework=ENGINE), draft, target)
    if fixed is not None and fixed.top_k > 1 and reason:
        fixed, gain, notes = found.fixed_chain, found.fixed_chain_gain, (f"best chain; {reason}",)
    if fixed is None:
        return [left_out(ENGINE, FIXED, "there is no configuration with a draft that it can run")]
    config = config_of(draft, fixed)
    two_models = {"disable_overlap_scheduler": True} if draft.kind in ("ngram", "model") else {}
    if fixed.top_k > 1:
        notes = ("trees count drafted tokens without the root",)
    if draft_tp is not None:
        notes += ("TensorRT-LLM has no option for the draft's TP ranks and runs it on those of the target",)
    static = Flags(
        ENGINE,
        FIXED,
        OPTIONS,
        yaml_of(config, **two_models),
        notes,
        file_name=CONFIG_FILE,
        version="1.2 or newer" if fixed.top_k == 1 else "1.3 or newer",
        source="docs/source/features/speculative-decoding.md, commit 04c8822c",
    )
    results = [off(ENGINE, FIXED) if gain <= 1.0 else static]
    chain = found.fixed_chain
    kind = config["decoding_type"]
    if kind not in BY_BATCH_TYPES or chain is None:
        only = f"TensorRT-LLM changes the draft length of {', '.join(BY_BATCH_TYPES)} chains only, not of {kind}"
        return [*results, left_out(ENGINE, BY_BATCH, only)]
    if is_plain(found):
        return [*results, off(ENGINE, BY_BATCH)]
    return [*results, _by_batch(draft, found)]


def _by_batch(draft: Draft, found: Schedule) -> Flags:
    """Return the setting with a draft length for each range of batches."""
    spans = found.chain_spans
    longest = max((span.config for span in spans), key=lambda item: item.draft_len)
    first = spans[0].config
    if first.draft_len != longest.draft_len:
        reason = (
            "TensorRT-LLM needs the longest draft at the smallest batches, but this schedule drafts "
            f"{first.draft_len} there and {longest.draft_len} above"
        )
        return left_out(ENGINE, BY_BATCH, reason)
    drafted = [span for span in spans if span.config.draft_len > 0]
    schedule = {span.last: span.config.draft_len for span in spans if span.first <= drafted[-1].first}
    notes = (
        "keys are the last batch of a range; larger batches draft nothing",
        f"batches above {drafted[-1].last} draft nothing: {_beyond(found)}",
    )
    config = {**config_of(draft, longest), "draft_len_schedule": schedule}
    return Flags(
        ENGINE,
        BY_BATCH,
        OPTIONS,
        yaml_of(config),
        notes,
        file_name=CONFIG_FILE,
        version=BY_BATCH_TYPES[config["decoding_type"]],
        source="tensorrt_llm/llmapi/llm_args.py, release 1.3 (pull request #10860)",
    )


def _beyond(found: Schedule) -> str:
    """Return why nothing is drafted above the last range with a draft."""
    idle = found.chain_spans[-1].config.draft_len == 0
    return "plain decoding is faster there" if idle else "no batch of this search is larger"
