"""``scylla-sim acceptance``: tokens per cycle of an acceptance profile as a chain, a tree or a dynamic tree."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from scylla_sim.acceptance import (
    draft_shape,
    dynamic_trees,
    generation,
    positions,
    profiles,
    rates_file,
    tau_transfer,
    tree_search,
    trees,
)
from scylla_sim.acceptance.draft_shape import DraftShape, chain_shape
from scylla_sim.acceptance.measured import MeasuredAcceptance, measured_acceptance
from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.checks import FloatArray, InputError, fail, one_of, whole
from scylla_sim.cli import _options
from scylla_sim.console import add_output, counts, emit, note
from scylla_sim.records import EVIDENCE, Row

EPILOG = """examples:
  scylla-sim acceptance --acceptance 0.71,0.64,0.60 --draft-len 1,3,5 --generation 512
  scylla-sim acceptance --acceptance 0.71,0.64,0.60,0.57 --draft-len 6 --top-k 10 --verify-tokens 61 --tree dynamic
  scylla-sim acceptance --tokens-per-cycle 2.4 --known-draft-len 3 --draft-len 5,7     tau of a longer chain

trees with --draft-len depths, --top-k choices and --verify-tokens tokens (root included):
  beam      tree of a beam drafter in its average context: SGLang's (steps, topk, num_draft_tokens)
  best      static tree with the highest tau
  dynamic   EAGLE-2: the tree of each context follows the draft's confidence (simulated, see --seed)
"""

TREES = ("beam", "best", "dynamic")
"""Values of ``--tree``."""
BEAM, _, DYNAMIC = TREES
SAMPLES = 4000
"""Default contexts of a dynamic tree."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--acceptance",
        metavar="RATES|FILE",
        help="of position 1 (0.7), of several (0.76,0.74,0.77), or a JSON file",
    )
    parser.add_argument("--acceptance-kind", default="conditional", choices=rates_file.KINDS)
    parser.add_argument("--tokens-per-cycle", type=float, metavar="TAU", help="instead of rates: tau of a chain")
    parser.add_argument(
        "--known-draft-len", "--measured-draft-len", type=int, metavar="N", help="draft length of that chain"
    )
    parser.add_argument(
        "--draft",
        default="eagle3",
        metavar="METHOD",
        help="method whose position law gives later positions; default eagle3",
    )
    parser.add_argument(
        "--position-exponent", type=float, metavar="C", help="replaces that law; 0 is one rate for all positions"
    )
    parser.add_argument(
        "--draft-len", metavar="N[,N]", help="draft lengths; default: the number of given positions"
    )
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="choices per depth; default 1, a chain")
    parser.add_argument(
        "--verify-tokens", type=int, metavar="N", help="verified tokens of a tree; default: all that a beam keeps"
    )
    parser.add_argument("--tree", help=f"kind of tree for --top-k above 1: {', '.join(TREES)}; default beam")
    parser.add_argument(
        "--generation", type=int, metavar="N", help="also show the cycles of a generation of N tokens, p50 and p99"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        help=f"share of the uncertainty that the draft recognizes; default {dynamic_trees.CONFIDENCE}",
    )
    parser.add_argument("--samples", type=int, help=f"contexts of a dynamic tree; default {SAMPLES}")
    parser.add_argument("--seed", type=int, help="seed of the dynamic tree; default 0")
    parser.add_argument("--evidence", choices=EVIDENCE, help="evidence level of the rates, kept in every row")
    add_output(parser)


def _measured(args: argparse.Namespace) -> MeasuredAcceptance:
    """Return the given rates, or tau and its draft length."""
    if (args.acceptance is None) == (args.tokens_per_cycle is None):
        raise InputError("acceptance=None: give --acceptance, or --tokens-per-cycle with --known-draft-len")
    if args.tokens_per_cycle is not None and args.known_draft_len is None:
        raise fail("known_draft_len", None, "is needed with --tokens-per-cycle")
    if args.acceptance is not None and args.known_draft_len is not None:
        raise fail("known_draft_len", args.known_draft_len, "goes with --tokens-per-cycle")
    given = {"acceptance": args.acceptance, "draft": args.draft}
    _options.read_acceptance(given)
    known = measured_acceptance(
        given["acceptance"],
        args.acceptance_kind,
        tokens_per_cycle=args.tokens_per_cycle,
        measured_draft_len=args.known_draft_len,
    )
    _options.print_notes(known.notes)
    return known


def _lengths(args: argparse.Namespace, known: int) -> list[int]:
    if args.draft_len is None:
        return [known]
    return [int(n) for n in whole("draft_len", counts("draft_len", args.draft_len), 1, draft_shape.MAX_DRAFT_LEN)]


def _profile(known: MeasuredAcceptance, law: PositionLaw, length: int) -> FloatArray:
    """Return the conditional rates at the positions of a draft length."""
    if known.tokens_per_cycle is not None:
        assert known.tau_draft_len is not None  # `_measured` asks for it
        chain = chain_shape(known.tau_draft_len)
        return law.profile(tau_transfer.first_rate(known.tokens_per_cycle, chain, law), length)
    return law.continued(known.rates if known.rates is not None else 0.0, length)


def execute(args: argparse.Namespace) -> None:
    """Print one row per draft length."""
    one_of("tree", args.tree or BEAM, TREES)
    whole("top_k", args.top_k, 1, draft_shape.MAX_TOP_K)
    _options.print_notes(_unused(args))
    known, law = _measured(args), positions.law_of(args.draft, args.position_exponent)
    lengths = _lengths(args, known.draft_len or 1)
    rows = []
    for length in lengths:
        row, chain = _row(args, _profile(known, law, length))
        if args.top_k == 1:
            row |= _ends(known, law, chain_shape(length))
        if chain is not None:
            row |= _distribution(chain, args.generation)
        rows.append(row | {"evidence": args.evidence})
    if known.tokens_per_cycle is not None or max(lengths) > (known.draft_len or 1):
        note(f"note: later positions, and other draft lengths, follow {law.describe()}; see --draft")
    if args.top_k > 1:
        note(
            "note: ranks beyond the first follow the default rank law (scylla_sim.acceptance.profiles.rank_profile)"
        )
    inputs = [args.acceptance] if args.acceptance and rates_file.is_file(args.acceptance) else []
    emit(args, "acceptance-of", rows, inputs=inputs)


def _unused(args: argparse.Namespace) -> list[str]:
    """Return a note for each option that the chosen kind of tree does not use."""
    chain, dynamic = args.top_k == 1, args.top_k > 1 and args.tree == DYNAMIC
    found = ["tree is not used with top_k=1, which is a chain"] if chain and args.tree is not None else []
    names = () if dynamic else ("confidence", "samples", "seed")
    found += [f"{name} is not used without a dynamic tree" for name in names if getattr(args, name) is not None]
    unknown = dynamic and args.generation is not None
    return found + ["generation is not used with a dynamic tree"] * unknown


def _ends(known: MeasuredAcceptance, law: PositionLaw, shape: DraftShape) -> Row:
    """Return the interval of tau of a chain, as the other verbs give it; empty if nothing is uncertain."""
    tau = tau_transfer.tau_of_measured(known, shape, law)
    if tau.lower == tau.upper and known.tokens_per_cycle is None:
        return {}
    return {"tokens_per_cycle_lower": float(tau.lower), "tokens_per_cycle_upper": float(tau.upper)}


def _row(args: argparse.Namespace, profile: FloatArray) -> tuple[Row, FloatArray | None]:
    """Return the row of one draft shape, and the conditional rates of the equivalent chain (none if dynamic)."""
    length, width = profile.size, args.top_k
    if width == 1:
        if args.verify_tokens not in (None, length + 1):
            raise fail("verify_tokens", args.verify_tokens, f"must be draft_len + 1 = {length + 1} for a chain")
        tau = float(profiles.tokens_per_cycle(profile))
        return _facts("chain", length, 1, length + 1, tau), profile
    ranks = profiles.rank_profile(profile, width)
    if args.tree == DYNAMIC:
        confidence = dynamic_trees.CONFIDENCE if args.confidence is None else args.confidence
        mixed = dynamic_trees.mixture_of(profile, width, confidence=confidence)
        tokens = args.verify_tokens or length * width + 1
        tau, error = dynamic_trees.dynamic_tokens_per_cycle(
            mixed,
            top_k=width,
            verify_tokens=tokens,
            samples=SAMPLES if args.samples is None else args.samples,
            seed=args.seed or 0,
        )
        return _facts(DYNAMIC, length, width, tokens, tau) | {"stderr": error}, None
    if args.tree == "best":
        nodes = int(whole("verify_tokens", args.verify_tokens or length * width + 1, 2)) - 1
        tree = tree_search.best_tree(ranks, nodes)
    else:
        tree = tree_search.beam_tree(ranks, top_k=width, verify_tokens=args.verify_tokens)
    tau = float(trees.tokens_per_cycle(tree, ranks))
    row = _facts(args.tree or BEAM, length, width, tree.verify_tokens, tau)
    row["widths"] = "+".join(str(nodes) for nodes in tree.widths)
    return row, profiles.to_conditional(trees.depth_survival(tree, ranks))


def _facts(tree: str, draft_len: int, top_k: int, verify_tokens: int, tau: float) -> Row:
    facts: Row = {"tree": tree, "draft_len": draft_len, "top_k": top_k, "verify_tokens": verify_tokens}
    return facts | {"tokens_per_cycle": tau}


def _distribution(chain: Sequence[float] | FloatArray, num_tokens: int | None) -> Row:
    """Return percentiles of the tokens in one cycle and of the cycles in a generation of ``num_tokens``."""
    rates = np.asarray(chain)
    row: Row = {f"p{q}": float(profiles.cycle_quantile(rates, q / 100)) for q in (50, 99)}
    if num_tokens is not None:
        row |= generation.summary(rates, int(whole("generation", num_tokens, 1, generation.MAX_TOKENS)))
    return row
