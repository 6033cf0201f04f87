"""What ``scylla-sim schedule`` searches: candidates that the engine can run, and the last batch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product

from scylla_sim.acceptance import draft_shape
from scylla_sim.acceptance.draft_shape import DraftShape
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import fail, whole
from scylla_sim.planning import draft_design
from scylla_sim.planning.schedule import MAX_SEARCH, MAX_SEQUENCES, default_max_sequences
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.engine_support import no_trees
from scylla_sim.specs.model import Model

CHAINS = tuple(range(1, 8))
"""Default draft lengths to consider. Examples of engines use 2 to 5, and SpecBundle measured up to 7."""


def _shapes(scenario: Scenario, draft: Draft, trees: str) -> list[DraftShape]:
    """Return all candidate shapes of the options; by default chains, and trees for tree drafts.

    ``trees`` is the reason why the engine has no trees, or empty.
    """
    default = draft_shape.shape(draft, None, None, None)
    given = (scenario.draft_len, scenario.top_k, scenario.verify_tokens)
    if given == (None, None, None) and default.top_k > 1 and not trees:
        return draft_design.shapes()
    if trees:
        _refuse_trees(scenario, trees)
    depths = [n for n in CHAINS if not draft.max_len or n <= draft.max_len]
    depths += [draft.max_len] if draft.max_len > CHAINS[-1] else []
    lengths = depths
    if scenario.draft_len is not None:
        lengths = whole("draft_len", scenario.draft_len, 1, hint="0 is always a candidate").tolist()
    widths = (
        [1 if trees else default.top_k] if scenario.top_k is None else whole("top_k", scenario.top_k, 1).tolist()
    )
    sizes = [None] if scenario.verify_tokens is None else whole("verify_tokens", scenario.verify_tokens, 2).tolist()
    found = [
        draft_shape.shape(draft, length, width, None if width == 1 else size)
        for length, width, size in product(lengths, widths, sizes)
    ]
    return list(dict.fromkeys(found))


def _refuse_trees(scenario: Scenario, reason: str) -> None:
    """Raise for options that ask an engine for trees that it cannot verify."""
    widest = 1 if scenario.top_k is None else max(whole("top_k", scenario.top_k, 1).ravel().tolist())
    if widest > 1:
        raise fail("top_k", widest, f"must be 1 for engine={scenario.engine}", reason)
    if scenario.verify_tokens is not None:
        rule = f"must not be given for engine={scenario.engine}"
        size = int(whole("verify_tokens", scenario.verify_tokens, 2).ravel()[0])
        raise fail("verify_tokens", size, rule, f"chains verify draft_len + 1 tokens: {reason}")


def candidates_of(scenario: Scenario, engine: Engine, model: Model) -> tuple[list[SpeculativeConfig], list[str]]:
    """Return the configurations to choose from that the engine can run, and notes on them."""
    draft = scenario.draft_model()
    if draft.kind == "none":
        raise fail("draft", scenario.draft, "leaves nothing to schedule", "name one, for example --draft eagle3")
    trees = no_trees(engine, draft, model)
    configs, notes = scenario.speculative_configs(_shapes(scenario, draft, trees))
    tree_draft = draft_shape.shape(draft, None, None, None).top_k > 1
    return configs, [*notes, *([f"candidates are chains: {trees}"] if trees and tree_draft else [])]


def last_batch(args: argparse.Namespace, target: Deployment, batch: Sequence[int]) -> tuple[int, str, list[str]]:
    """Return the last batch of the search, the reason for it, and notes.

    Raises
    ------
    InputError
        For a batch above ``--max-num-seqs``, and for ``--max-batch`` above it.
    """
    default = default_max_sequences(target.engine, target.calibration.hardware)
    most = default if args.max_num_seqs is None else int(whole("max_num_seqs", args.max_num_seqs, 1, MAX_SEARCH))
    for name, value in (("batch", max(batch)), ("max_batch", args.max_batch or 0)):
        if args.max_num_seqs is not None and value > most:
            raise fail(name, value, f"must be at most max_num_seqs={most}", "the server runs no more sequences")
    if args.max_batch is not None:
        return int(whole("max_batch", args.max_batch, 1, MAX_SEARCH)), "max_batch", []
    if most == 0:
        return MAX_SEQUENCES, "max_batch", []
    notes = []
    whole("batch", list(batch), 1, MAX_SEARCH)
    if max(batch) > most:
        notes.append(
            f"batch {max(batch)} is above the {most} sequences that {target.engine.name} runs by default on this "
            f"GPU; start the server with --max-num-seqs {max(batch)}"
        )
    return most, "max_num_seqs", notes
