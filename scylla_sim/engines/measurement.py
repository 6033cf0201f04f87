"""Acceptance as a file of an engine shows it, and the choice between several series of one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail
from scylla_sim.engines.counts import Counts, total
from scylla_sim.engines.windows import Totals, Windows

LISTED = 6
"""Series that an error message lists."""


@dataclass(frozen=True)
class Measurement:
    """Acceptance of one configuration of an engine.

    Attributes
    ----------
    source
        Kind of the file, such as ``vLLM log``.
    found
        Counts per position, or tokens per cycle of windows if the engine counts no positions.
    engine
        Engine that measured; ``None`` if the file does not say.
    series
        Tells it from the other configurations of the file; empty if there are no others.
    model, method, version
        Target model, draft method and engine version, as the file names them.
    skipped
        Records that were cut or damaged.
    served
        Times and throughput of the run.
    notes
        Assumptions.
    """

    source: str
    found: Counts | Windows | Totals
    engine: str | None = None
    series: str = ""
    model: str | None = None
    method: str | None = None
    version: str | None = None
    skipped: int = 0
    served: MeasuredServing | None = None
    notes: tuple[str, ...] = ()


def choose(found: Sequence[Measurement], wanted: str | None, name: str) -> Measurement:
    """Return the one configuration of a file, or the sum of the parts that belong to one.

    Parameters
    ----------
    found
        Configurations of the file, at least one.
    wanted
        Part of the name of a series; ``None`` if the file must have one.
    name
        Name of the file, for error messages.

    Raises
    ------
    InputError
        If the file has several configurations and ``wanted`` names none or several of them.

    Examples
    --------
    >>> short, long = (Measurement("log", Counts(9, (5,) * n), series=f"draft_len={n}") for n in (1, 2))
    >>> choose([short, long], "len=2", "a.log") == long
    True
    >>> choose([short, long], None, "a.log")
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: series=None is needed: a.log has draft_len=1; draft_len=2; choose with --series
    """
    found = told_apart(found)
    names = list(dict.fromkeys(item.series for item in found))
    kept = names if wanted is None else [text for text in names if text == wanted]
    kept = kept or [text for text in names if wanted is not None and wanted in text]
    if len(kept) != 1:
        shown = "; ".join((kept or names)[:LISTED]) + ("; ..." if len(kept or names) > LISTED else "")
        rule = "is needed" if wanted is None else "must name one series"
        raise fail(
            "series", wanted, f"{rule}: {name} has {shown or 'one series without a name'}", "choose with --series"
        )
    return merged([item for item in found if item.series == kept[0]])


def _length(item: Measurement) -> int | None:
    """Return the positions, or the draft length if there are none; ``None`` if it is unknown."""
    return len(item.found.accepted) if isinstance(item.found, Counts) else item.found.draft_len


def told_apart(found: Sequence[Measurement]) -> list[Measurement]:
    """Return measurements whose series differ wherever the engine, the model or the draft length differ.

    Examples
    --------
    >>> both = [Measurement("result", Counts(9, (5,) * n)) for n in (1, 2)]
    >>> [item.series for item in told_apart(both)]
    ['draft_len=1', 'draft_len=2']
    """
    kinds: dict[str, Callable[[Measurement], object]] = {
        "engine": lambda item: item.engine,
        "model": lambda item: item.model,
        "draft_len": _length,
    }
    named = []
    for item in found:
        same = [other for other in found if other.series == item.series]
        differ = [f"{key}={of(item)}" for key, of in kinds.items() if len({of(other) for other in same}) > 1]
        named.append(replace(item, series=",".join(part for part in (item.series, *differ) if part)))
    return named


def merged(parts: Sequence[Measurement]) -> Measurement:
    """Return the sum of measurements of one configuration."""
    first = parts[0]
    if len(parts) == 1:
        return first
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    served = {part.served for part in parts}
    if len(served) > 1:
        notes.append(f"times and throughput of {len(parts)} runs differ and are left out")
    return replace(
        first,
        found=_sum([part.found for part in parts]),
        skipped=sum(part.skipped for part in parts),
        served=None if len(served) > 1 else first.served,
        notes=tuple(notes),
    )


def _sum(parts: Sequence[Counts | Windows | Totals]) -> Counts | Windows | Totals:
    """Return the sum of counts or windows of one kind."""
    counts = [part for part in parts if isinstance(part, Counts)]
    windows = [part for part in parts if isinstance(part, Windows)]
    totals = [part for part in parts if isinstance(part, Totals)]
    if len(counts) == len(parts):
        return total(counts)
    if len(totals) == len(parts):
        return replace(
            totals[0],
            drafted=np.concatenate([part.drafted for part in totals]),
            accepted=np.concatenate([part.accepted for part in totals]),
        )
    if len(windows) != len(parts):
        raise fail("file", [part.__class__.__name__ for part in parts], "holds records of several kinds")

    def known(values: Sequence[int | None]) -> int | None:
        return None if None in values else sum(value for value in values if value is not None)

    return Windows(
        np.concatenate([part.tokens_per_cycle for part in windows]),
        np.concatenate([part.weight for part in windows]),
        known([part.cycles for part in windows]),
        known([part.drafted for part in windows]),
        known([part.accepted for part in windows]),
        windows[0].draft_len,
    )
