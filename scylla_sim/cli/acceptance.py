"""``scylla-sim acceptance``: tokens per cycle of an acceptance profile as a chain, a tree or a dynamic tree."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from scylla_sim.acceptance import drafting, dynamic_trees, generation, profiles, rates_file, tree_search, trees
from scylla_sim.acceptance import positions as acceptance_positions
from scylla_sim.checks import FloatArray, InputError, fail, one_of, whole
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--acceptance", metavar="RATES|FILE", help="0.7, or per position 0.76,0.74,0.77, or a JSON file"
    )
    parser.add_argument("--acceptance-kind", default="conditional", choices=rates_file.KINDS)
    parser.add_argument("--tokens-per-cycle", type=float, metavar="TAU", help="instead of rates: tau of a chain")
    parser.add_argument("--known-draft-len", type=int, metavar="N", help="draft length of that chain")
    parser.add_argument(
        "--draft-len", metavar="N[,N]", help="draft lengths; default: the number of given positions"
    )
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="choices per depth; default 1, a chain")
    parser.add_argument(
        "--verify-tokens", type=int, metavar="N", help="verified tokens of a tree; default: all that a beam keeps"
    )
    parser.add_argument(
        "--tree", default="beam", help=f"kind of tree for --top-k above 1: {', '.join(TREES)}; default beam"
    )
    parser.add_argument(
        "--generation", type=int, metavar="N", help="also show the cycles of a generation of N tokens, p50 and p99"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=dynamic_trees.CONFIDENCE,
        help=f"share of the uncertainty that the draft recognizes; default {dynamic_trees.CONFIDENCE}",
    )
    parser.add_argument("--samples", type=int, default=4000, help="contexts of a dynamic tree; default 4000")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dynamic tree; default 0")
    parser.add_argument("--evidence", choices=EVIDENCE, help="evidence level of the rates, kept in every row")
    add_output(parser)


def _known(args: argparse.Namespace) -> tuple[FloatArray, acceptance_positions.Decay | None]:
    """Return the given conditional rates, or the rates of the decay law for one tau."""
    if (args.acceptance is None) == (args.tokens_per_cycle is None):
        raise InputError("acceptance=None: give --acceptance, or --tokens-per-cycle with --known-draft-len")
    if args.acceptance is not None:
        return rates_file.read_rates(args.acceptance, args.acceptance_kind)[0], None
    if args.known_draft_len is None:
        raise fail("known_draft_len", None, "is needed with --tokens-per-cycle")
    length = int(whole("known_draft_len", args.known_draft_len, 1, drafting.MAX_DRAFT_LEN))
    found = acceptance_positions.fit_decay(length, args.tokens_per_cycle)
    return found.profile(length), found


def _lengths(args: argparse.Namespace, positions: int) -> list[int]:
    if args.draft_len is None:
        return [positions]
    return [int(n) for n in whole("draft_len", counts("draft_len", args.draft_len), 1, drafting.MAX_DRAFT_LEN)]


def execute(args: argparse.Namespace) -> None:
    """Print one row per draft length."""
    one_of("tree", args.tree, TREES)
    whole("top_k", args.top_k, 1, drafting.MAX_TOP_K)
    rates, found = _known(args)
    rows = []
    for length in _lengths(args, rates.size):
        profile = found.profile(length) if found is not None else profiles.extend(rates, length)
        if found is None and 1 < rates.size < length:
            note(f"note: acceptance has {rates.size} values for draft_len={length}: the last is repeated")
        row, chain = _row(args, profile)
        if found is not None and args.top_k == 1:
            tau = found.predict(length)
            row |= {"tokens_per_cycle_lower": float(tau.lower), "tokens_per_cycle_upper": float(tau.upper)}
        if chain is not None:
            row |= _distribution(chain, args.generation)
        rows.append(row | {"evidence": args.evidence})
    if found is not None:
        note(f"note: the rates over positions follow the decay law with exponent {found.exponent:.2f}")
    if args.top_k > 1:
        note(
            "note: ranks beyond the first follow the default rank law (scylla_sim.acceptance.profiles.rank_profile)"
        )
    inputs = [args.acceptance] if args.acceptance and rates_file.is_file(args.acceptance) else []
    emit(args, "acceptance-of", rows, inputs=inputs)


def _row(args: argparse.Namespace, profile: FloatArray) -> tuple[Row, FloatArray | None]:
    """Return the row of one draft shape, and the conditional rates of the equivalent chain (none if dynamic)."""
    length, width = profile.size, args.top_k
    if width == 1:
        if args.verify_tokens not in (None, length + 1):
            raise fail("verify_tokens", args.verify_tokens, f"must be draft_len + 1 = {length + 1} for a chain")
        tau = float(profiles.tokens_per_cycle(profile))
        return _facts("chain", length, 1, length + 1, tau), profile
    ranks = profiles.rank_profile(profile, width)
    if args.tree == "dynamic":
        mixed = dynamic_trees.mixture_of(profile, width, confidence=args.confidence)
        tokens = args.verify_tokens or length * width + 1
        tau, error = dynamic_trees.dynamic_tokens_per_cycle(
            mixed, top_k=width, verify_tokens=tokens, samples=args.samples, seed=args.seed
        )
        return _facts("dynamic", length, width, tokens, tau) | {"stderr": error}, None
    if args.tree == "best":
        nodes = int(whole("verify_tokens", args.verify_tokens or length * width + 1, 2)) - 1
        tree = tree_search.best_tree(ranks, nodes)
    else:
        tree = tree_search.beam_tree(ranks, top_k=width, verify_tokens=args.verify_tokens)
    tau = float(trees.tokens_per_cycle(tree, ranks))
    row = _facts(args.tree, length, width, tree.verify_tokens, tau)
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
