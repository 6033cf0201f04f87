"""Command-line options of serving engines for a schedule of draft lengths, ready to paste.

========  ======================  ==================================================================
Engine    Drafts                  Draft length by batch
========  ======================  ==================================================================
vLLM      chains and blocks       ``num_speculative_tokens_per_batch_size`` (vLLM #32374)
SGLang    chains, trees, blocks   EAGLE chains, with ``--speculative-adaptive``
========  ======================  ==================================================================

No engine changes the draft length with the context length.

Notes
-----
vLLM: tree attention was removed (#42121). ``disable_by_batch_size`` has had no effect since 0.10, and was removed
(#35060). Source: vllm-project/vllm, docs/features/speculative_decoding/dynamic_speculative_decoding.md, release
0.25.0.

SGLang: each entry of the adaptive file holds for its batch and larger batches. Earlier releases have one list of
steps for all batches. Source: sgl-project/sglang, python/sglang/srt/speculative/adaptive_spec_params.py and
adaptive_step_router.py, sources of 2026.

Names of methods. vLLM: ``SpeculativeMethod`` and ``parallel_drafting`` in vllm/config/speculative.py; MLP
speculators are disabled in model_executor/models/registry.py. SGLang: ``DFLASH`` runs DFlash and Domino
(speculative/domino_utils.py), and ``DSPARK`` takes ``--speculative-dspark-block-size``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.planning.crossover import Span
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine_support import NO_TREES, unsupported
from scylla_sim.specs.model import Model

ENGINES = ("vllm", "sglang")
"""Engines with options."""

DRAFT_PATH = "<path of your draft>"
"""Placeholder for the path of the draft."""

ADAPTIVE_FILE = "adaptive.json"
"""Name of SGLang's file of draft lengths by batch."""

MAX_LOOKUP = 4
"""Longest n-gram that vLLM looks up in the prompt, as in its documentation."""


@dataclass(frozen=True)
class Flags:
    """Options of one engine.

    Attributes
    ----------
    engine
        One of `ENGINES`.
    scope
        ``fixed`` for one configuration at every batch, ``by batch`` for `Schedule.chain_spans`.
    options
        Command-line options; empty if the engine lacks the feature, or if speculation does not help.
    file
        Content of `ADAPTIVE_FILE`; empty if the options do not name it.
    notes
        Requirements and limits of the engine.
    """

    engine: str
    scope: str
    options: str
    file: str
    notes: tuple[str, ...]


SGLANG_ALGORITHMS = {"eagle3": "EAGLE3", "dflash": "DFLASH", "domino": "DFLASH", "dspark": "DSPARK"}
"""Method -> algorithm of SGLang; other heads run as ``EAGLE``."""


def flags(engine: str, draft: Draft, *, found: Schedule, target: Model, draft_tp: int | None = None) -> list[Flags]:
    """Return the options of an engine for a schedule, fixed and by batch.

    Parameters
    ----------
    engine
        One of `ENGINES`; for another engine, a note says that its settings are not known.
    draft
        The draft of the schedule.
    found
        The schedule; without spans if not even one sequence fits in memory.
    target
        The target. An MTP draft needs a target whose checkpoint has MTP layers.
    draft_tp
        TP ranks of the draft; ``None`` for those of the target.
    """
    if engine not in ENGINES:
        return [Flags(engine, "fixed", "", "", (f"this package knows no settings of {engine}",))]
    reason = _unusable(engine, draft, found, target)
    if reason:
        return [Flags(engine, "fixed", "", "", (reason,))]
    return _vllm(draft, found, draft_tp) if engine == "vllm" else _sglang(draft, found, draft_tp)


def _unusable(engine: str, draft: Draft, found: Schedule, target: Model) -> str:
    """Return why an engine cannot run a draft; empty if it can."""
    if not found.spans:
        return "target, draft and one sequence do not fit in memory"
    if draft.is_hypothetical_mtp(target):
        return (
            f"the config of {target.name} has no MTP layers (num_nextn_predict_layers or mtp_num_hidden_layers), "
            "so no engine can run this draft"
        )
    return unsupported(engine, draft)


def _off(engine: str, scope: str) -> Flags:
    return Flags(engine, scope, "", "", ("autoregressive decoding is faster; leave speculation off",))


def _idle_note(found: Schedule) -> str:
    """Return what a loaded draft costs where it drafts nothing, and how to avoid it."""
    idle = found.idle_draft
    zero = [span.first for span in found.chain_spans if span.config.draft_len == 0]
    where = f"draft length 0, used from batch {zero[0]}, costs" if zero else "draft length 0 is not used; it costs"
    value, *ends = (100.0 * float(end) for end in (idle.value, idle.lower, idle.upper))
    cost = f"{value:.2g} % ({ends[0]:.2g} to {ends[1]:.2g} %)" if ends[1] else "an unknown share"
    return (
        f"{where} {cost} of a step while the draft is loaded (vLLM #49548); if most load lies above the crossover, "
        "start without the draft"
    )


def _plain(spans: Sequence[Span]) -> bool:
    return all(span.config.draft.kind == "none" for span in spans)


# -- vLLM ------------------------------------------------------------------------------------------------------


def _vllm_method(draft: Draft) -> dict[str, object]:
    """Return the method and the model of vLLM's speculative configuration."""
    method = draft.method_name
    if draft.kind == "ngram":
        return {"method": "ngram", "prompt_lookup_max": MAX_LOOKUP}
    if method == "mtp":
        return {"method": "mtp", "model": DRAFT_PATH} if draft.method else {"method": "mtp"}
    if draft.kind == "model":
        return {"method": "draft_model", "model": DRAFT_PATH}
    if method == "p-eagle":
        return {"method": "eagle3", "model": DRAFT_PATH, "parallel_drafting": True}
    known = method in ("eagle3", "medusa", "dflash", "dspark")
    return {"method": method if known else "eagle", "model": DRAFT_PATH}


def _vllm_option(config: dict[str, object]) -> str:
    return f"--speculative-config '{json.dumps(config)}'"


def _vllm(draft: Draft, found: Schedule, draft_tp: int | None) -> list[Flags]:
    method, fixed, spans = _vllm_method(draft), found.fixed_chain, found.chain_spans
    if draft_tp is not None and "model" in method:
        method["draft_tensor_parallel_size"] = draft_tp
    if fixed is None:
        no_trees = f"{NO_TREES['vllm-2026']}; give candidates with --top-k 1"
        return [Flags("vllm", "fixed", "", "", (no_trees,))]
    tree = ("best chain; vLLM has no trees (vLLM #42121)",) if found.fixed != fixed else ()
    static = Flags("vllm", "fixed", _vllm_option({**method, "num_speculative_tokens": fixed.draft_len}), "", tree)
    results = [_off("vllm", "fixed") if found.fixed_chain_gain <= 1.0 else static]
    if _plain(spans):
        return [*results, _off("vllm", "by batch")]
    ranges = [[span.first, span.last, span.config.draft_len] for span in spans]
    config = {
        **method,
        "num_speculative_tokens": max(length for _, _, length in ranges),
        "num_speculative_tokens_per_batch_size": ranges,
    }
    notes = (
        "entries are [first batch, last batch, draft length]; this needs vLLM 0.25 or newer, which tests EAGLE, "
        "EAGLE-3 and DFlash only",
        "the option cannot be combined with --data-parallel-size above 1",
        "model runner V1 captures piecewise graphs only with this option; one user reports a collapse of the "
        "throughput at draft length 0 (vLLM #49548), so measure it",
        _idle_note(found),
        "disable_by_batch_size has no effect since 0.10 (vLLM #35060)",
    )
    return [*results, Flags("vllm", "by batch", _vllm_option(config), "", (*tree, *notes))]


# -- SGLang ----------------------------------------------------------------------------------------------------


def _sglang_algorithm(draft: Draft) -> str:
    kinds = {"ngram": "NGRAM", "model": "STANDALONE"}
    return kinds.get(draft.kind, SGLANG_ALGORITHMS.get(draft.method_name, "EAGLE"))


def _sglang_options(algorithm: str, draft: Draft, item: SpeculativeConfig) -> str:
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


def _adaptive_file(spans: Sequence[Span]) -> str:
    """Return SGLang's file with one entry per range; one candidate per entry fixes the draft length."""
    return json.dumps({str(span.first): {"candidate_steps": [span.config.draft_len]} for span in spans})


def _sglang(draft: Draft, found: Schedule, draft_tp: int | None) -> list[Flags]:
    algorithm = _sglang_algorithm(draft)
    if found.fixed is None:
        return [Flags("sglang", "fixed", "", "", ("there is no configuration with a draft",))]
    counted: tuple[str, ...]
    counted = ("SGLang's number of draft tokens includes the root",) if algorithm != "DSPARK" else ()
    if draft_tp is not None:
        counted += ("SGLang has no option for the draft's TP ranks and runs it on those of the target",)
    static = Flags("sglang", "fixed", _sglang_options(algorithm, draft, found.fixed), "", counted)
    results = [_off("sglang", "fixed") if found.fixed_gain <= 1.0 else static]
    spans = found.chain_spans
    if algorithm not in ("EAGLE", "EAGLE3") or found.fixed_chain is None:
        only = f"SGLang adapts the steps of EAGLE and EAGLE3 chains only, not of {algorithm}"
        return [*results, Flags("sglang", "by batch", "", "", (only,))]
    if _plain(spans):
        return [*results, _off("sglang", "by batch")]
    longest = max((span.config for span in spans), key=lambda item: item.draft_len)
    options = _sglang_options(algorithm, draft, longest)
    options += f" --speculative-adaptive --speculative-adaptive-config {ADAPTIVE_FILE}"
    notes = (
        "each entry holds for its batch and larger batches; batches as keys and 0 steps need mid-2026 sources",
        "earlier releases have one list candidate_steps for all batches and choose by acceptance alone",
        "with trees, data-parallel attention or two-batch overlap, SGLang keeps the fixed setting",
        _idle_note(found),
    )
    return [*results, Flags("sglang", "by batch", options, _adaptive_file(spans), notes)]


def text_of(items: Sequence[Flags]) -> str:
    """Return the options as text lines."""
    lines = []
    for item in items:
        where = "at every batch" if item.scope == "fixed" else "by batch"
        lines.append(f"{item.engine}, {where}:")
        lines += [f"  {item.options}"] if item.options else []
        lines += [f"  {ADAPTIVE_FILE}: {item.file}"] if item.file else []
        lines += [f"  ({note})" for note in item.notes]
    return "\n".join(lines) + "\n"
