"""Content of ``acceptance.json``: rates, tokens per cycle and served figures of one measurement.

``scylla_sim/data/acceptance.schema.json`` describes every key. Rates are measured by position where the source
counts positions and its drafts have one length. Otherwise they follow from the measured tokens per cycle by the law
over positions of the draft's method, and the key ``position_law`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from scylla_sim.acceptance import measured, positions, profiles
from scylla_sim.acceptance.draft_shape import MAX_DRAFT_LEN
from scylla_sim.acceptance.measured import MeasuredAcceptance
from scylla_sim.checks import fail, whole
from scylla_sim.engines import logs
from scylla_sim.engines.counts import Counts
from scylla_sim.engines.measurement import Measurement, choose
from scylla_sim.engines.text_file import STDIN, open_text
from scylla_sim.engines.windows import Totals, Windows
from scylla_sim.records import Row
from scylla_sim.stats.estimate import Estimate

SCHEMA = "scylla-sim/acceptance/1"

DEFAULT_METHOD = "eagle3"
"""Method whose law is used if neither the source nor the user names one that has a law."""


@dataclass(frozen=True)
class Content:
    """Content of the file.

    Attributes
    ----------
    facts
        Keys and values without rows and provenance.
    rows
        One row per position.
    notes
        Assumptions, for the user.
    """

    facts: Row
    rows: list[Row]
    notes: tuple[str, ...]


def content_of(
    item: Measurement, *, level: float = 0.9, draft_len: int | None = None, method: str | None = None
) -> Content:
    """Return the content of ``acceptance.json`` of one measurement.

    Parameters
    ----------
    item
        The measurement.
    level
        Coverage of the intervals.
    draft_len
        Draft length, if the source does not state it.
    method
        Draft method whose law over positions is used; default: the one that the source names.

    Raises
    ------
    InputError
        If the draft length is unknown or contradicts the source.
    """
    if draft_len is not None:
        draft_len = int(whole("draft_len", draft_len, 1, MAX_DRAFT_LEN))
    named, law_method, notes = _method(item, method)
    if isinstance(item.found, Counts):
        facts, rows, more = _from_counts(item.found, draft_len, level, law_method)
    else:
        found = item.found.windows(draft_len) if isinstance(item.found, Totals) else item.found
        facts, rows, more = _from_windows(found, draft_len, level, law_method)
    if "position_law" not in facts:
        notes = []
    rates = [float(rate) for rate in facts.pop("rates")]
    remarks = (*item.notes, *notes, *more)
    head: Row = {"schema": SCHEMA, "kind": "conditional", "acceptance_rate": rates, "method": named}
    tail: Row = {f"tokens_per_cycle_p{q}": float(profiles.cycle_quantile(rates, q / 100)) for q in (50, 99)}
    tail |= {"level": level, "skipped": item.skipped, "engine": item.engine, "engine_version": item.version}
    tail |= {"model": item.model, "source": item.source, "series": item.series or None}
    tail |= {} if item.served is None else {"served": item.served.as_dict()}
    return Content(head | facts | tail | {"notes": list(remarks)}, rows, remarks)


ENGINE_METHODS = {
    "nextn": "mtp",
    "suffix": "ngram",
    "standalone": "other",
    "draft_model": "other",
    "draft": "other",
}
"""Names of methods in engines -> names of laws; other names lose a prefix or suffix in `law_name`."""


def law_name(method: str) -> str | None:
    """Return the law over positions for the name of a method in an engine; ``None`` if there is none.

    Examples
    --------
    >>> [law_name(name) for name in ("deepseek_mtp", "NEXTN", "draft-eagle3", "ngram_map_k", "suffix", "dream")]
    ['mtp', 'mtp', 'eagle3', 'ngram', 'ngram', None]
    """
    name = method.lower().removeprefix("draft-").replace("_", "-")
    if name.startswith("ngram"):
        return "ngram"
    if name.endswith("mtp"):
        return "mtp"
    name = ENGINE_METHODS.get(name.replace("-", "_"), name)
    return name if name in positions.laws() else None


def _method(item: Measurement, given: str | None) -> tuple[str | None, str, list[str]]:
    """Return the method of the source, the method whose law is used, and a note on a default."""
    if given is not None:
        return item.method or given, given, []
    known = None if item.method is None else law_name(item.method)
    if known is not None:
        return item.method, known, []
    reason = "names no method" if item.method is None else f"names the method {item.method}, which has no law"
    return item.method, DEFAULT_METHOD, [f"the file {reason}; the law is that of {DEFAULT_METHOD}; see --draft"]


def _tau(tau: Estimate) -> Row:
    """Return tau and its ends under the keys of the file."""
    ends = {"": tau.value, "_lower": tau.lower, "_upper": tau.upper}
    return {f"tokens_per_cycle{end}": float(value) for end, value in ends.items()}


def _from_counts(
    found: Counts, draft_len: int | None, level: float, method: str
) -> tuple[Row, list[Row], list[str]]:
    """Return facts, rows and notes of counts per position."""
    longest, length = len(found.accepted), found.draft_len
    if draft_len is not None and draft_len != longest:
        raise fail("draft_len", draft_len, f"must be {longest}, the positions in the file")
    tau, rate = found.tokens_per_cycle(level), found.rates(level)
    varied = length < longest
    rows: list[Row] = [
        {
            "position": i + 1,
            "reached": int(found.reached[i]),
            "accepted": found.accepted[i],
            "acceptance_rate": None if varied and i else float(rate.value[i]),
            "lower": None if varied and i else float(rate.lower[i]),
            "upper": None if varied and i else float(rate.upper[i]),
            "cumulative_rate": found.accepted[i] / found.cycles,
        }
        for i in range(longest)
    ]
    mean = found.total_drafted / found.cycles
    notes = []
    facts: Row = {"draft_len": length, "cycles": found.cycles, "drafted": found.total_drafted}
    facts |= {"accepted": sum(found.accepted), "windows": found.windows} | _tau(tau)
    facts |= {"accepted_per_position": list(found.accepted)}
    facts |= {"drafted_per_position": None if found.drafted is not None else [found.cycles] * longest}
    facts["rates"] = rate.value.tolist()
    if varied:
        law = positions.law_of(method)
        facts |= {"position_law": law.method, "draft_len_max": longest}
        facts["rates"] = _law_rates(float(tau.value), length, method)
        notes.append(
            f"drafts have {mean:.3g} of {longest} tokens on average, and count as {length}; rates beyond position "
            f"1 are unknown, and those for {length} tokens follow {law.describe()}"
        )
    elif found.drafted is not None:
        notes.append(f"some drafts were shorter than the others: {mean:.3g} of {longest} tokens on average")
    return facts, rows, notes


def _law_rates(tau: float, length: int, method: str) -> list[float]:
    """Return the rates of a law at which a chain has ``tau``."""
    if not 1 < tau < length + 1:
        return [float(tau > 1)] * length
    law = positions.law_of(method)
    rates: list[float] = law.profile(law.first_rate(tau, length), length).tolist()
    return rates


def _from_windows(
    found: Windows, draft_len: int | None, level: float, method: str
) -> tuple[Row, list[Row], list[str]]:
    """Return facts, rows of the law and notes of windows without positions."""
    stated = found.draft_len if found.draft_len is not None else found.counted_len
    length = draft_len if draft_len is not None else stated
    if length is None:
        hint = "give --draft-len (speculative_num_steps, num_speculative_tokens)"
        raise fail("draft_len", None, "is needed, because the file does not have it", hint)
    length = int(whole("draft_len", length, 1, MAX_DRAFT_LEN))
    notes = []
    if stated is not None and stated != length:
        notes.append(f"draft_len {length} is used; the file says {stated}")
    tau = found.tau(level)
    mean = float(tau.value)
    if mean > (length + 1) * (1 + 1e-9):
        raise fail("tokens_per_cycle", round(mean, 3), f"must be at most draft_len + 1 = {length + 1}")
    law = positions.law_of(method)
    notes.append(
        f"the file has tokens per cycle only; the rates over positions follow {law.describe()}; see --draft"
    )
    rates = _law_rates(mean, length, method)
    rows: list[Row] = [
        {"position": i + 1, "acceptance_rate": float(rate), "cumulative_rate": float(reached)}
        for i, (rate, reached) in enumerate(zip(rates, np.cumprod(rates)))
    ]
    facts: Row = {"draft_len": length, "cycles": found.cycles, "drafted": found.drafted, "accepted": found.accepted}
    facts |= {"windows": int(found.weight.size), "position_law": law.method} | _tau(tau)
    facts |= {"accepted_per_position": None, "drafted_per_position": None, "rates": rates}
    return facts, rows, notes


def read_content(
    path: str,
    *,
    before: str | None = None,
    series: str | None = None,
    level: float = 0.9,
    draft_len: int | None = None,
    method: str | None = None,
) -> Content:
    """Read a file of an engine; see `content_of` and `scylla_sim.engines.logs.read`.

    Parameters
    ----------
    path, before
        The file, and an earlier metrics page; ``-`` is standard input.
    series
        Part of the name of a series, if the file has several.

    Raises
    ------
    InputError
        If the file cannot be read, or the options contradict it.
    """
    with open_text(path) as text:
        if before is None:
            found = logs.read(text)
        else:
            with open_text(before) as earlier:
                found = logs.read(text, earlier)
        item = choose(found, series, text.name)
    return content_of(item, level=level, draft_len=draft_len, method=method)


def read_acceptance(
    path: str, *, series: str | None = None, draft_len: int | None = None, method: str | None = None
) -> MeasuredAcceptance:
    """Return the measured acceptance of a log, a metrics page or a benchmark, for ``scylla_sim.predict``.

    Parameters
    ----------
    path
        File of an engine; ``-`` is standard input.
    series
        Part of the name of a series, if the file has several.
    draft_len
        Draft length, if the file does not have it.
    method
        Draft method whose law over positions is used, if the file has no rates by position.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    found = read_content(path, series=series, draft_len=draft_len, method=method)
    return measured.of_content(found.facts, path, notes=found.notes)


@cache
def measured_file(path: str, draft_len: int | None, draft: str | None) -> MeasuredAcceptance | None:
    """Return the acceptance of a file of an engine; ``None`` for a missing file.

    Parameters
    ----------
    path
        Value of the option ``--acceptance``.
    draft_len
        Draft length, if the file does not have it.
    draft
        Name of the draft, whose method has the law over positions if the file names none.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    if path != STDIN and not Path(path).exists():
        return None
    method = draft if draft in positions.laws() else None
    return read_acceptance(path, draft_len=draft_len, method=method)
