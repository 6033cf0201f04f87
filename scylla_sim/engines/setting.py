"""One setting of a serving engine, and the remarks that the engines share."""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.planning.schedule import Schedule

DRAFT_PATH = "<path-of-your-draft>"
"""Placeholder for the path of the draft. It has no blank, because settings are wrapped at blanks."""

FIXED, BY_BATCH, ADAPTIVE = "fixed", "by batch", "adaptive"
"""Scopes of a setting: one configuration at every batch, `Schedule.chain_spans`, or the engine's own choice."""


@dataclass(frozen=True)
class Flags:
    """Options of one engine.

    Attributes
    ----------
    engine
        Framework: ``vllm``, ``sglang`` or ``trtllm``.
    scope
        `FIXED`, `BY_BATCH` or `ADAPTIVE`.
    options
        Command-line options; empty if the engine lacks the feature, or if speculation does not help.
    file
        Content of the file that the options name; empty if they name none.
    notes
        Requirements and limits of the engine, the most important ones first.
    file_name
        Name of the file; empty without one.
    version
        Versions of the engine that take the options; empty without options.
    source
        Where the options are documented.
    environment
        Environment variables of the server, as ``NAME=VALUE``; empty for none.
    """

    engine: str
    scope: str
    options: str
    file: str
    notes: tuple[str, ...]
    file_name: str = ""
    version: str = ""
    source: str = ""
    environment: str = ""


def left_out(engine: str, scope: str, reason: str) -> Flags:
    """Return a setting without options, with the reason."""
    return Flags(engine, scope, "", "", (reason,))


def off(engine: str, scope: str) -> Flags:
    """Return the setting where autoregressive decoding is faster."""
    return left_out(engine, scope, "autoregressive decoding is faster; leave speculation off")


def idle_note(found: Schedule) -> str:
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


def is_plain(found: Schedule) -> bool:
    """Return whether a server should never draft."""
    return all(span.config.draft.kind == "none" for span in found.chain_spans)
