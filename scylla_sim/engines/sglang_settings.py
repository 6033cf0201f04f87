"""Settings of SGLang: fixed options, and a file of draft lengths by batch for chains of EAGLE heads.

Notes
-----
Sources, sgl-project/sglang:

* Options: docs/advanced_features/speculative_decoding.md, commit 067ad4d3. The schema of the documented options is
  scylla_sim/data/engine_settings/sglang.json. ``DFLASH`` runs DFlash and Domino (speculative/domino_utils.py), and
  ``DSPARK`` takes ``--speculative-dspark-block-size``.
* Adaptive file: python/sglang/srt/speculative/adaptive_spec_params.py, commit 015c8726, and
  adaptive_step_router.py, commit a12239f6: an entry holds for its batch and larger ones. Earlier releases have one
  list of steps for all batches (docs/advanced_features/adaptive_speculative_decoding.md, commit 369fa46b).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.engines.setting import BY_BATCH, DRAFT_PATH, FIXED, Flags, idle_note, is_plain, left_out, off
from scylla_sim.planning.crossover import Span
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine_support import older

ENGINE = "sglang"
ADAPTIVE_FILE = "adaptive.json"
"""Name of SGLang's file of draft lengths by batch."""
ALGORITHMS = {"eagle3": "EAGLE3", "dflash": "DFLASH", "domino": "DFLASH", "dspark": "DSPARK"}
"""Method -> algorithm of SGLang; other heads run as ``EAGLE``."""
DOCUMENTED = "docs/advanced_features/speculative_decoding.md, commit 067ad4d3"


def algorithm_of(draft: Draft) -> str:
    """Return SGLang's name of the method of a draft."""
    kinds = {"ngram": "NGRAM", "model": "STANDALONE"}
    return kinds.get(draft.kind, ALGORITHMS.get(draft.method_name, "EAGLE"))


def _options(algorithm: str, draft: Draft, item: SpeculativeConfig) -> str:
    options = [f"--speculative-algorithm {algorithm}"]
    if draft.kind == "block":
        options.append(f"--speculative-draft-model-path '{DRAFT_PATH}'")
        if algorithm == "DSPARK":
            return " ".join([*options, f"--speculative-dspark-block-size {item.draft_len}"])
    elif draft.kind != "ngram":
        if draft.name != "mtp":  # the target's checkpoint contains it
            options.append(f"--speculative-draft-model-path '{DRAFT_PATH}'")
        options.append(f"--speculative-num-steps {item.draft_len} --speculative-eagle-topk {item.top_k}")
    return " ".join([*options, f"--speculative-num-draft-tokens {item.verify_tokens}"])


def _file(spans: Sequence[Span]) -> str:
    """Return SGLang's file with one entry per range; one candidate per entry fixes the draft length."""
    return json.dumps({str(span.first): {"candidate_steps": [span.config.draft_len]} for span in spans})


def settings(draft: Draft, found: Schedule, *, draft_tp: int | None, preset: str) -> list[Flags]:
    """Return the settings of SGLang for a schedule.

    Parameters
    ----------
    draft
        The draft of the schedule, which SGLang can run.
    found
        The schedule.
    draft_tp
        TP ranks of the draft; ``None`` for those of the target.
    preset
        Name of the engine preset.
    """
    algorithm = algorithm_of(draft)
    if found.fixed is None:
        return [left_out(ENGINE, FIXED, "there is no configuration with a draft")]
    notes: tuple[str, ...]
    notes = ("the number of draft tokens includes the root",) if algorithm != "DSPARK" else ()
    if draft_tp is not None:
        notes += ("SGLang has no option for the draft's TP ranks and runs it on those of the target",)
    options = _options(algorithm, draft, found.fixed)
    static = Flags(ENGINE, FIXED, options, "", notes, version="0.4 or newer", source=DOCUMENTED)
    results = [off(ENGINE, FIXED) if found.fixed_gain <= 1.0 else static]
    if algorithm not in ("EAGLE", "EAGLE3") or found.fixed_chain is None:
        only = f"SGLang adapts the steps of EAGLE and EAGLE3 chains only, not of {algorithm}"
        return [*results, left_out(ENGINE, BY_BATCH, only)]
    if is_plain(found):
        return [*results, off(ENGINE, BY_BATCH)]
    if older(preset):
        reason = f"a draft length by batch needs sources of mid-2026; {preset} stands for {older(preset)}"
        return [*results, left_out(ENGINE, BY_BATCH, reason)]
    return [*results, _by_batch(algorithm, draft, found)]


def _by_batch(algorithm: str, draft: Draft, found: Schedule) -> Flags:
    """Return the setting with a draft length for each range of batches."""
    spans = found.chain_spans
    longest = max((span.config for span in spans), key=lambda item: item.draft_len)
    options = _options(algorithm, draft, longest)
    options += f" --speculative-adaptive --speculative-adaptive-config {ADAPTIVE_FILE}"
    notes = (
        "needs sources of mid-2026 (batches as keys, 0 steps); not with data-parallel attention or batch overlap",
        idle_note(found),
        "each entry holds for its batch and larger batches; a batch counts as the CUDA graph that it is padded to",
        "earlier releases have one list candidate_steps for all batches and choose by acceptance alone",
        "with trees, SGLang keeps the fixed setting",
    )
    return Flags(
        ENGINE,
        BY_BATCH,
        options,
        _file(spans),
        notes,
        file_name=ADAPTIVE_FILE,
        version="sources of mid-2026",
        source="python/sglang/srt/speculative/adaptive_spec_params.py, commit 015c8726",
    )
