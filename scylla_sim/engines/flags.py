"""Ready-to-paste settings of serving engines: one drafting, or one for each range of batches.

What each engine can do, as its own pages and sources said in 2026:

* vLLM (vllm-project/vllm, docs/features/speculative_decoding/dynamic_speculative_decoding.md, in its 0.25.0 pages):
  chains only, tree attention was removed (#42121); the draft length may follow the batch
  (``num_speculative_tokens_per_batch_size``, #32374); ``disable_by_batch_size`` has done nothing since 0.10 and is
  gone (#35060).
* SGLang (sgl-project/sglang, python/sglang/srt/speculative/adaptive_spec_params.py and adaptive_step_router.py):
  chains and trees; with ``--speculative-adaptive`` the number of steps of an EAGLE chain may follow the batch, each
  entry of the file holding from its batch on. Earlier releases know one list of steps for all batches.

Neither follows the context.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.planning.crossover import Span
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs.draft import Draft

ENGINES = ("vllm", "sglang")
PLACE = "<path of your draft>"
ADAPTIVE_FILE = "adaptive.json"
LOOKUP_MAX = 4
"""Longest n-gram looked up in the prompt, a value of vLLM's example."""


@dataclass(frozen=True)
class Flags:
    """Options of one engine.

    Attributes
    ----------
    scope
        ``fixed``: one drafting at every batch; ``by batch``: what `Schedule.chain_spans` says.
    options
        What to add to the command line; empty where the engine cannot do it, or where speculation is best left off.
    file
        Content of `ADAPTIVE_FILE`, where the options name it.
    notes
        What the engine needs, and what it cannot do.
    """

    engine: str
    scope: str
    options: str
    file: str
    notes: tuple[str, ...]


def flags(engine: str, draft: Draft, found: Schedule) -> list[Flags]:
    """Settings of one engine: for every batch alike, and by batch; none where not even one sequence fits."""
    if not found.spans:
        return [Flags(engine, "fixed", "", "", ("target, draft and one sequence do not fit in memory",))]
    return _vllm(draft, found) if engine == "vllm" else _sglang(draft, found)


def _off(engine: str, scope: str) -> Flags:
    return Flags(engine, scope, "", "", ("plain decoding is the fastest: leave speculation off",))


def _plain(spans: Sequence[Span]) -> bool:
    return all(span.drafting.draft.kind == "none" for span in spans)


# -- vLLM ------------------------------------------------------------------------------------------------------


def _vllm_method(draft: Draft) -> dict[str, object]:
    """Method and model of vLLM's speculative configuration."""
    if draft.kind == "ngram":
        return {"method": "ngram", "prompt_lookup_max": LOOKUP_MAX}
    if draft.name == "mtp":
        return {"method": "mtp"}
    if draft.kind == "model":
        return {"method": "draft_model", "model": PLACE}
    return {"method": draft.name if draft.name in ("eagle3", "medusa") else "eagle", "model": PLACE}


def _vllm_option(config: dict[str, object]) -> str:
    return f"--speculative-config '{json.dumps(config)}'"


def _vllm(draft: Draft, found: Schedule) -> list[Flags]:
    method, fixed, spans = _vllm_method(draft), found.fixed_chain, found.chain_spans
    if fixed is None:
        no_trees = (
            "vLLM drafts chains only (tree attention was removed, vLLM #42121): give candidates with --top-k 1"
        )
        return [Flags("vllm", "fixed", "", "", (no_trees,))]
    tree = ("of the chains only: vLLM has no trees (vLLM #42121)",) if found.fixed != fixed else ()
    static = Flags("vllm", "fixed", _vllm_option({**method, "num_speculative_tokens": fixed.draft_len}), "", tree)
    results = [_off("vllm", "fixed") if found.fixed_chain_gain <= 1.0 else static]
    if _plain(spans):
        return [*results, _off("vllm", "by batch")]
    ranges = [[span.first, span.last, span.drafting.draft_len] for span in spans]
    config = {
        **method,
        "num_speculative_tokens": max(length for _, _, length in ranges),
        "num_speculative_tokens_per_batch_size": ranges,
    }
    notes = (
        "[first batch, last batch, draft length]; vLLM 0.25 or newer, which tests EAGLE, EAGLE-3 and DFlash only",
        "not with --data-parallel-size above 1; model runner V1 then captures piecewise graphs only, and one "
        "report (vLLM #49548) saw throughput collapse where the length becomes 0: measure it",
        "a draft that is loaded costs 6-20 % even where it drafts nothing (vLLM #49548): above the crossover for "
        "good, start vLLM without it",
        "disable_by_batch_size does nothing since 0.10 (vLLM #35060)",
    )
    return [*results, Flags("vllm", "by batch", _vllm_option(config), "", (*tree, *notes))]


# -- SGLang ----------------------------------------------------------------------------------------------------


def _sglang_algorithm(draft: Draft) -> str | None:
    if draft.kind == "medusa":
        return None
    return {"ngram": "NGRAM", "model": "STANDALONE"}.get(
        draft.kind, "EAGLE3" if draft.name == "eagle3" else "EAGLE"
    )


def _sglang_options(algorithm: str, draft: Draft, item: SpeculativeConfig) -> str:
    options = [f"--speculative-algorithm {algorithm}"]
    if draft.kind != "ngram":
        if draft.name != "mtp":  # read with the target's own checkpoint
            options.append(f"--speculative-draft-model-path '{PLACE}'")
        options.append(f"--speculative-num-steps {item.draft_len} --speculative-eagle-topk {item.top_k}")
    return " ".join([*options, f"--speculative-num-draft-tokens {item.verify_tokens}"])


def _adaptive_file(spans: Sequence[Span]) -> str:
    """One entry per range, holding from its first batch on; a single candidate leaves nothing to adapt."""
    return json.dumps({str(span.first): {"candidate_steps": [span.drafting.draft_len]} for span in spans})


def _sglang(draft: Draft, found: Schedule) -> list[Flags]:
    algorithm = _sglang_algorithm(draft)
    if algorithm is None or found.fixed is None:
        return [Flags("sglang", "fixed", "", "", ("SGLang has no Medusa heads",))]
    counted = ("SGLang's draft tokens count the root",)
    static = Flags("sglang", "fixed", _sglang_options(algorithm, draft, found.fixed), "", counted)
    results = [_off("sglang", "fixed") if found.fixed_gain <= 1.0 else static]
    spans = found.chain_spans
    if algorithm not in ("EAGLE", "EAGLE3") or found.fixed_chain is None:
        only = f"SGLang changes the steps of EAGLE and EAGLE3 chains only, not of {algorithm}"
        return [*results, Flags("sglang", "by batch", "", "", (only,))]
    if _plain(spans):
        return [*results, _off("sglang", "by batch")]
    longest = max((span.drafting for span in spans), key=lambda item: item.draft_len)
    options = _sglang_options(algorithm, draft, longest)
    options += f" --speculative-adaptive --speculative-adaptive-config {ADAPTIVE_FILE}"
    notes = (
        "each entry holds from its batch on; batches as keys and 0 steps need the sources of mid-2026, earlier "
        "releases take one list candidate_steps for all batches and choose by acceptance alone",
        "not with trees, data-parallel attention or two-batch overlap: SGLang then keeps the fixed setting",
    )
    return [*results, Flags("sglang", "by batch", options, _adaptive_file(spans), notes)]


def text_of(items: Sequence[Flags]) -> str:
    """Settings as lines to read and paste."""
    lines = []
    for item in items:
        where = "at every batch" if item.scope == "fixed" else "by batch"
        lines.append(f"{item.engine}, {where}:")
        lines += [f"  {item.options}"] if item.options else []
        lines += [f"  {ADAPTIVE_FILE}: {item.file}"] if item.file else []
        lines += [f"  ({note})" for note in item.notes]
    return "\n".join(lines) + "\n"
