"""Text of ``scylla-sim schedule`` under its answer: tables, crossovers and engine settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scylla_sim.cli._schedule_answer import label, listed
from scylla_sim.engines import flags as engines_flags
from scylla_sim.engines.setting import BY_BATCH, FIXED, Flags
from scylla_sim.planning.choices import Choice
from scylla_sim.planning.context_crossover import ContextCrossover, Range
from scylla_sim.planning.crossover import Crossover
from scylla_sim.planning.schedule import Schedule
from scylla_sim.prediction.verdict import FASTER, FASTER_BELOW, SLOWER, UNDECIDED, verdict
from scylla_sim.text.digits import interval, number, wrapped
from scylla_sim.text.tables import Column, text_table

FEW = 3
"""Number of candidates of which all crossovers are printed; of more, those of the chosen ones."""


def choice_table(rows: Sequence[Mapping[str, Any]], *, load: bool, fixed: str) -> str:
    """Return the table of the choices.

    Parameters
    ----------
    rows
        Rows of the verb.
    load
        Whether prefills take a share of the time.
    fixed
        Name of the best fixed configuration; empty if there is none.
    """
    ends = ("speedup_lower", "speedup_upper")
    shown = [
        {
            **row,
            **(dict.fromkeys((*ends, "p_slower")) if row["best"] == "plain" else {}),
            "loss_at_most": row["loss_at_most"] or None,
            "gain_over_fixed": row["gain_over_fixed"] or None,
        }
        for row in rows
    ]
    columns = [
        Column("batch_size", "batch"),
        Column("context_len", "context", fold=True),
        Column("best", "best K", right=True),
        Column("speedup", "speed-up [90 %]", ends=ends, decimals=2, right=True),
        Column("tpot_s", "ms/token", scale=1e3),
        Column("tokens_per_s", "tokens/s"),
        Column("p_slower", "P(slower)", decimals=2),
        *([Column("prefill_share", "prefills", scale=100.0, decimals=0, unit=" %")] if load else []),
        Column("may_be_best", "may be best"),
        Column("loss_at_most", "a wrong K costs", scale=100.0, decimals=1, unit=" %", right=True),
        Column("gain_over_fixed", f"over K={fixed}", scale=100.0, decimals=0, unit=" %", right=True),
    ]
    kept = [column for column in columns if fixed or column.key != "gain_over_fixed"]
    one = len({row["context_len"] for row in rows}) == 1
    kept = [replace(column, fold=one) if column.key == "context_len" else column for column in kept]
    return text_table(shown, kept, caption=False) + _without_room(rows)


def _without_room(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return lines that name the rows that may not fit in memory, with a draft or at all; empty if all do."""
    text = ""
    for words, left_out in (
        ("may not fit in memory", [row for row in rows if not row["fits_memory"]]),
        (
            "no draft is sure to fit in memory",
            [row for row in rows if row["fits_memory"] and not row["draft_fits_memory"]],
        ),
    ):
        named = [f"{row['batch_size']} (context {row['context_len']})" for row in left_out]
        text += wrapped(f"{words}: batch {', '.join(named)}", indent="  ") if named else ""
    return text


def main_crossovers(found: Schedule) -> list[Crossover]:
    """Return the crossovers to print: all of few candidates, or those of the chosen candidates."""
    chosen = {None, found.fixed, found.fixed_chain, *(span.config for span in (*found.spans, *found.chain_spans))}
    chosen |= {choice.config for choice in found.choices}
    all_of_them = len({item.config for item in found.crossovers}) <= 1 + FEW
    return [item for item in found.crossovers if all_of_them or item.config in chosen]


def crossover_lines(items: Sequence[Crossover]) -> str:
    """Return one sentence per context: the batch from which plain decoding is faster, by candidate."""
    lines = []
    contexts = list(dict.fromkeys(item.context_len for item in items))
    for context in contexts:
        here = [item for item in items if item.context_len == context and item.config is not None]
        if not here or here[0].searched_to == 0:
            continue
        crossing = [
            f"from batch {interval(item.batch, item.lower, item.upper or 'never')} with K = {label(item.config)}"
            for item in here
            if (item.batch or 0) > 1 and item.config is not None
        ]
        groups = {"at every batch": 1, "never": None}
        parts = [*crossing]
        for words, batch in groups.items():
            named = [label(item.config) for item in here if item.batch == batch and item.config is not None]
            parts += [f"{words} with K = {listed(named, 'or')}"] if named else []
        last = max(item.searched_to for item in here)
        at = f" at context {context}" if len(contexts) > 1 else ""
        lines.append(f"Plain decoding wins{at}: {', '.join(parts)} (up to batch {last}).")
    return "".join(wrapped(line, indent="  ") for line in lines)


def context_lines(items: Sequence[ContextCrossover]) -> str:
    """Return one sentence: the contexts at which drafting pays, by batch."""
    groups: dict[str, list[str]] = {}
    for item in items:
        groups.setdefault(_contexts(item), []).append(str(item.batch_size))
    parts = [f"{words} at batch {listed(batches)}" for words, batches in groups.items()]
    return wrapped(f"With the same acceptance at any context, drafting pays {'; '.join(parts)}.", indent="  ")


def _contexts(item: ContextCrossover) -> str:
    """Return where drafting pays, with the interval of a single boundary."""
    if len(item.faster) != 1:
        return item.in_words()
    ((first, last),) = item.faster
    opens, closes = first <= item.searched_from, last >= item.searched_to
    if opens == closes:
        every = opens and closes and item.limit == "memory"
        return "at every context that fits in memory with the draft" if every else item.in_words()
    side = 1 if opens else 0
    ends = [_end(ranges, side, item) for ranges in (item.surely, item.possibly)]
    low, high = ends if opens else ends[::-1]
    text = interval(item.faster[0][side], low, high)
    return f"up to context {text}" if opens else f"from context {text} on"


def _end(ranges: Sequence[Range], side: int, item: ContextCrossover) -> int | str:
    """Return the first or the last context of ranges; ``never`` without any, or the end of the search."""
    if not ranges:
        return "never"
    return ranges[-1][1] if side else ranges[0][0]


def undecided(choices: Sequence[Choice]) -> str:
    """Return one line that names the batches at which the best draft may be slower; empty if there are none."""
    speculating = [choice for choice in choices if choice.config.draft.kind != "none"]
    batches = [choice.batch_size for choice in speculating if verdict(choice.p_slower) != FASTER]
    if not batches:
        return ""
    named = ", ".join(map(str, dict.fromkeys(batches)))
    text = f"undecided whether the draft helps at batch {named}: P(slower) is at least {FASTER_BELOW}; measure it"
    return wrapped(text, indent="  ")


def _fixed_verdicts(p_slower: Mapping[int, Sequence[float]]) -> str:
    """Return the batches at which a fixed configuration is slower, or may be; empty if it is faster at all."""
    text = ""
    for word in (SLOWER, UNDECIDED):
        found = [batch for batch, each in p_slower.items() if verdict(max(each)) == word]
        text += f"; {word} at batch {', '.join(map(str, found))}" if found else ""
    return text


def fixed_line(found: Schedule) -> str:
    """Return the best configuration for all batches; empty if there is none."""
    if found.fixed is None or all(span.config.draft.kind == "none" for span in found.spans):
        return ""
    gain = f"{number(found.fixed_gain, decimals=2)} times plain decoding (geometric mean)"
    text = f"One setting for all batches: K = {label(found.fixed)}, {gain}{_fixed_verdicts(found.fixed_p_slower)}."
    return wrapped(text, indent="  ")


def main_settings(found: Schedule, items: Sequence[Flags]) -> list[Flags]:
    """Return the one setting of each engine to print: by batch if the length changes, else the fixed one."""
    one = len(found.chain_spans) == 1 and found.fixed == found.chain_spans[0].config
    scope = FIXED if one else BY_BATCH
    chosen = []
    for engine in dict.fromkeys(item.engine for item in items):
        own = [item for item in items if item.engine == engine]
        usable = [item for item in own if item.options and item.scope == scope] or [i for i in own if i.options]
        chosen.append(usable[0] if usable else own[-1])
    return chosen


def break_even_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the acceptance that each batch needs, for the candidate that needs the least."""
    least: dict[tuple[int, int], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["break_even_acceptance"] or float("inf")):
        least.setdefault((row["batch_size"], row["context_len"]), row)
    ends = tuple(f"break_even_acceptance_{end}" for end in ("lower", "upper"))
    shown = [
        {
            **row,
            "given": row["acceptance"],
            ends[1]: _enough(row, ends[1]),
            "break_even_acceptance": _enough(row, ""),
        }
        for row in sorted(least.values(), key=lambda row: (row["context_len"], row["batch_size"]))
    ]
    columns = [
        Column("batch_size", "batch"),
        Column("context_len", "context", fold=len({row["context_len"] for row in rows}) == 1),
        Column(
            "break_even_acceptance", "acceptance needed [90 %]", ends=(ends[0], ends[1]), decimals=2, right=True
        ),
        Column("given", "given", decimals=2),
        Column("drafting", "with K", right=True),
        Column(
            "break_even_tokens_per_cycle",
            "tokens a cycle needed [90 %]",
            ends=("break_even_lower", "break_even_upper"),
            decimals=2,
            right=True,
        ),
    ]
    note = (
        "acceptance of the first drafted token at which K breaks even, for the K that needs least; later positions "
        "follow the law of the method"
    )
    return text_table(shown, columns, caption=False) + wrapped(note, indent="  ")


def _enough(row: Mapping[str, Any], key: str) -> Any:
    """Return an end of the needed acceptance, or a word where no acceptance is enough."""
    value = row[key or "break_even_acceptance"]
    return "none is enough" if value is None else value


def settings_text(found: Schedule, items: Sequence[Flags], *, everything: bool) -> str:
    """Return the engine settings as text: all of them, or one per engine with its first note."""
    if everything:
        return fixed_line(found) + engines_flags.text_of(items)
    idle = any(span.config.draft_len == 0 for span in found.chain_spans)
    return engines_flags.text_of(main_settings(found, items), notes=2 if idle else 1) + fixed_line(found)


def crossover_table(items: Sequence[Crossover]) -> str:
    """Return the crossovers as a table; a missing one names the last batch of the search."""

    def cell(value: int | None, item: Crossover) -> str:
        if item.searched_to == 0:
            return "does not fit"
        return f"none to {item.searched_to}" if value is None else str(value)

    rows = [
        {
            "context": item.context_len,
            "K": "best" if item.config is None else label(item.config),
            "plain wins from batch": cell(item.batch, item),
            "at the earliest": cell(item.lower, item),
            "at the latest": cell(item.upper, item),
            "searched to": item.searched_to,
            "search ended by": item.limit,
        }
        for item in items
    ]
    return text_table(rows)
