"""Settings of serving engines for a schedule of draft lengths, ready to paste.

============  ======================  ===============================================  =================
Engine        Drafts                  Draft length by batch                            Module
============  ======================  ===============================================  =================
vLLM          chains and blocks       ``num_speculative_tokens_per_batch_size``        `vllm_settings`
SGLang        chains, trees, blocks   EAGLE chains, with ``--speculative-adaptive``    `sglang_settings`
TensorRT-LLM  EAGLE-3, MTP, DFlash    ``draft_len_schedule``                           `trtllm_settings`
============  ======================  ===============================================  =================

No released engine changes the draft length with the context length. `scylla_sim.specs.engine_support` says what an
engine cannot run. The fields that we print are described by the JSON schemas in scylla_sim/data/engine_settings.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from scylla_sim.engines import sglang_settings, trtllm_settings, vllm_settings
from scylla_sim.engines.setting import BY_BATCH, FIXED, Flags, left_out
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine_support import unsupported
from scylla_sim.specs.model import Model

ENGINES = ("vllm", "sglang", "trtllm")
"""Engines with settings."""

WIDTH = 100
"""Columns of the text."""

SERVERS = {"vllm": "vllm serve", "sglang": "python -m sglang.launch_server", "trtllm": "trtllm-serve"}
"""Engine -> command that takes the options."""


def flags(
    engine: str,
    draft: Draft,
    *,
    found: Schedule,
    target: Model,
    draft_tp: int | None = None,
    preset: str = "",
) -> list[Flags]:
    """Return the settings of an engine for a schedule: fixed, by batch, and adaptive.

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
    preset
        Name of the engine preset, which decides what its versions can run; empty for the newest.
    """
    if engine not in ENGINES:
        return [left_out(engine, FIXED, f"this package knows no settings of {engine}")]
    reason = _unusable(engine, draft, found, target)
    if reason:
        return [left_out(engine, FIXED, reason)]
    if engine == "trtllm":
        return trtllm_settings.settings(draft, found, target=target, draft_tp=draft_tp)
    settings = vllm_settings.settings if engine == "vllm" else sglang_settings.settings
    return settings(draft, found, draft_tp=draft_tp, preset=preset)


def _unusable(engine: str, draft: Draft, found: Schedule, target: Model) -> str:
    """Return why an engine cannot run a draft; empty if it can."""
    if not found.spans:
        words = "may" if found.largest_batch else "do"
        return f"target, draft and one sequence {words} not fit in memory"
    if draft.is_hypothetical_mtp(target):
        return (
            f"the config of {target.name} has no MTP layers (num_nextn_predict_layers or mtp_num_hidden_layers), "
            "so no engine can run this draft"
        )
    return unsupported(engine, draft)


def text_of(items: Sequence[Flags], *, notes: int | None = None) -> str:
    """Return settings as text lines that fit `WIDTH` columns where words allow it.

    Options are wrapped at blanks and start with the command of the server, so that they can be pasted.

    Parameters
    ----------
    items
        The settings.
    notes
        Most notes of each setting; ``None`` for all of them.
    """
    lines: list[str] = []
    for item in items:
        where = {FIXED: "at every batch", BY_BATCH: "by batch"}.get(item.scope, item.scope)
        lines.append(f"{item.engine}, {where}{f' (version {item.version})' if item.version else ''}:")
        if item.options:
            server = f"{item.environment} {SERVERS[item.engine]}".lstrip()
            lines += _pasted(_wrapped(f"{server} ... {item.options}", "  ", "    "))
        if item.file:
            lines.append(f"  {item.file_name}:")
            for line in item.file.splitlines():
                indent = " " * (len(line) - len(line.lstrip()) + 4)
                lines += _wrapped(line.lstrip(), indent, f"{indent}  ")
        for note in item.notes[:notes]:
            lines += _wrapped(f"({note})", "  ", "   ")
    return "\n".join(lines) + "\n"


def _pasted(lines: Sequence[str]) -> list[str]:
    """Return the lines of a command with a backslash at each break outside of quotes."""
    found, quoted = [], False
    for line in lines[:-1]:
        quoted ^= line.count("'") % 2 == 1
        found.append(line if quoted else f"{line} \\")
    return [*found, lines[-1]]


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """Return text in lines of at most `WIDTH` columns, broken at blanks only, with room for a backslash."""
    return textwrap.wrap(
        text,
        WIDTH - 2,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
