"""The answer of ``scylla-sim schedule`` in words: what to draft up to which batch, why it ends, what it gains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.planning.crossover import Span
from scylla_sim.planning.schedule import Schedule
from scylla_sim.text.digits import interval, number, wrapped

LIMITS = {
    "memory": "batches above {last} may not fit in memory",
    "draft_memory": "batches above {last} may not fit in memory with the draft ({plain} without)",
    "max_batch": "the search ends at batch {last}",
    "max_num_seqs": "the server runs at most {last} sequences (max_num_seqs)",
}
"""Reason for the end of a search -> its words."""


def label(item: SpeculativeConfig) -> str:
    """Return a short name of a candidate.

    The name is ``plain``, the draft length of a chain, or ``length x top-k / verified tokens`` of a tree.
    """
    if item.draft.kind == "none":
        return "plain"
    return str(item.draft_len) if item.top_k == 1 else f"{item.draft_len}x{item.top_k}/{item.verify_tokens}"


def listed(items: Sequence[str], word: str = "and") -> str:
    """Return items as words of one sentence.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    return f" {word} ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _ranges(spans: Sequence[Span]) -> str:
    """Return how many tokens to draft in each range of batches."""
    parts = []
    for at, span in enumerate(spans):
        item, last = span.config, at == len(spans) - 1
        tree = f"a tree of {label(item)}" if item.top_k > 1 else str(item.draft_len)
        what = "none" if item.draft_len == 0 else tree
        unit = "" if at or item.draft_len == 0 or item.top_k > 1 else f" token{'s' * (item.draft_len > 1)}"
        beyond = last and item.draft_len == 0 and at
        batch = "" if at else "batch "
        parts.append(f"{what}{unit} beyond" if beyond else f"{what}{unit} up to {batch}{span.last}")
    return ", ".join(parts)


def answer(found: Schedule, *, engine: str) -> str:
    """Return the answer in one or two sentences: what to draft up to which batch, and what it gains.

    Parameters
    ----------
    found
        The schedule.
    engine
        Framework of the engine, which changes chains by batch but no trees; empty for none.
    """
    if not found.spans:
        if not found.largest_batch:
            room = "Target, draft and one sequence do not fit in memory"
        else:
            room = (
                "The draft may not fit in memory: by the settings of the engine, "
                f"0 to {found.largest_batch} sequences do with it (see --memory-share)"
            )
        return (
            f"{room}; without the draft, batches up to {found.plain_last} do." if found.plain_last else f"{room}."
        )
    trees = bool(engine) and any(span.config.top_k > 1 for span in found.spans)
    spans = found.chain_spans if trees and found.chain_spans else found.spans
    ends = LIMITS[found.limit].format(last=spans[-1].last, plain=found.plain_last)
    if all(span.config.draft.kind == "none" for span in spans):
        best = ""
        if found.fixed is not None:
            speed = number(found.fixed_gain, decimals=2)
            best = f"; the best draft, K = {label(found.fixed)}, is {speed} times as fast"
        return f"Do not speculate: plain decoding is faster on balance up to batch {spans[-1].last}{best}; {ends}."
    tree = (
        f" A fixed tree, {label(found.spans[0].config)}, is faster up to batch {found.spans[0].last}."
        if trees
        else ""
    )
    return f"Draft {_ranges(spans)}; {ends}.{tree}{_gains(found)}"


def rise_line(found: Schedule, *, experts: bool) -> str:
    """Return one line on a draft length that rises again with the batch; empty if none does.

    Parameters
    ----------
    found
        The schedule.
    experts
        Whether the target is a mixture of experts.
    """
    spans = found.chain_spans
    rises = [
        f"batch {after.first}"
        for before, after in pairwise(spans)
        if after.config.draft_len > before.config.draft_len > 0
    ]
    if not rises:
        return ""
    why = "a plain step grows faster there than verification"
    if experts:
        why = "sequences share more of the experts there, so verifying a token costs less beside a plain step"
    return wrapped(f"K rises again from {listed(rises)} on: {why}.", indent="  ")


def _gains(found: Schedule) -> str:
    """Return the speed-up of the first and of the last choice that speculates; empty if none does."""
    speculating = [choice for choice in found.choices if choice.config.draft.kind != "none"]
    shown = speculating if len(speculating) < 2 else [speculating[0], speculating[-1]]
    several = len({choice.context_len for choice in found.choices}) > 1
    gains = [
        f"{interval(each.speedup, each.speedup_lower, each.speedup_upper, decimals=2)} at batch {each.batch_size}"
        f"{f', context {each.context_len}' if several else ''}"
        for each in shown
    ]
    return f"\nSpeed-up over plain decoding: {', '.join(gains)}." if gains else ""
