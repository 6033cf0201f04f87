"""``scylla-sim turning-points``: the tree size at which verification becomes compute-bound, per batch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from scylla_sim import records
from scylla_sim.acceptance import draft_shape, positions, tau_transfer
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, fail, in_range, whole
from scylla_sim.cli import _options
from scylla_sim.console import add_output, counts, emit
from scylla_sim.laws import theorems
from scylla_sim.number_columns import NumberRule, line_of, parse_numbers
from scylla_sim.prediction import roofline
from scylla_sim.prediction.precisions import head_notes
from scylla_sim.prediction.scenario import DEFAULT_ENGINE, Scenario
from scylla_sim.prediction.throughput import Prediction, predict
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import UNIFORM_PRECISIONS, WEIGHT_PRECISIONS
from scylla_sim.specs.model import Model
from scylla_sim.specs.other_words import known_word

EPILOG = """examples:
  scylla-sim turning-points --hardware h800-sxm --model qwen2.5-72b --context 10Ki --batch 1,8,64
  scylla-sim turning-points --hardware h800-sxm --model qwen2.5-72b --context 10Ki --batch 8,16,32 --peak sparse \\
      --compute-fraction 0.73 --bandwidth-fraction 0.85 --extra-tokens 4 --top-k 6,16,36,64
"""

TREE_SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 61)
"""Verified tokens among which the best predicted throughput is searched."""
NOT_NEGATIVE = NumberRule(0.0)
REFERENCE_BATCH = 64
"""Default batch of a reference that gives the tokens per cycle."""
DEFAULT_TRAIN_TOKENS = 10e9
"""Pretraining tokens of the default draft, as in the paper."""
TABLE_COLUMNS = (
    *("batch_size", "intensity_plain", "ridge_point", "verify_tokens_opt", "k_opt", "inverse_law"),
    *("best_verify_tokens", "best_tokens_per_s", "best_speedup", "evidence"),
)
"""Columns of the text table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--hardware", required=True, metavar="NAME|FILE.toml", help="see scylla-sim catalog hardware"
    )
    parser.add_argument("--model", required=True, metavar="NAME|config.json", help="see scylla-sim catalog models")
    _options.add_context_argument(parser)
    parser.add_argument(
        "--batch", default="1,4,8,16,32,64", metavar="N[,N]", help="sequences decoded together; default 1 to 64"
    )
    parser.add_argument(
        "--precision", default="bf16", help=f"of weights and cache: {', '.join(UNIFORM_PRECISIONS)}"
    )
    parser.add_argument(
        "--peak", choices=("dense", "sparse"), default="dense", help="peak of the datasheet; default dense"
    )
    parser.add_argument("--compute-fraction", type=float, default=1.0, help="achieved share of the peak; default 1")
    parser.add_argument(
        "--bandwidth-fraction", type=float, default=1.0, help="achieved share of bandwidth; default 1"
    )
    parser.add_argument(
        "--extra-tokens", type=float, default=1.0, help="verified tokens beside the k paths; default 1, the root"
    )
    parser.add_argument("--top-k", metavar="K[,K]", help="print one row per batch and k, for these k")
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="CSV with batch_size,k,tokens_per_s: derive tau(k) from one batch, predict the other batches",
    )
    parser.add_argument("--reference-batch", type=int, help="batch of --reference that gives tau(k); default 64")
    parser.add_argument("--tp", type=int, help="tensor-parallel GPUs of the predicted throughput; default 1")
    _options.add_engine_argument(parser)
    parser.add_argument(
        "--reference-tokens-per-cycle",
        type=float,
        metavar="TAU",
        help="tokens per cycle at EAGLE-2's tree; default: Theorem 1.1 with one layer and 10 B tokens",
    )
    add_output(parser)


def _best_trees(args: argparse.Namespace, model: Model, batch: FloatArray, context: int) -> list[dict[str, Any]]:
    """Return the tree size with the highest predicted throughput at each batch, drafting and overhead included."""
    scenario = Scenario(
        model, hardware=args.hardware, draft="eagle2", precision=args.precision, tp=_tp(args), engine=args.engine
    )
    deployment, draft_deployment = scenario.deployments()
    _options.print_notes(head_notes(draft_deployment.dtype))
    tau = args.reference_tokens_per_cycle
    if tau is None:
        tau = float(theorems.tokens_per_cycle(layers=1, train_tokens=DEFAULT_TRAIN_TOKENS).tau.value)
    reference = draft_shape.reference()
    grid = [draft_shape.DraftShape(reference.draft_len, reference.top_k, n) for n in TREE_SIZES]
    head = scenario.draft_model()
    rates = []
    taus = tau_transfer.tau_from_reference(tau, grid, positions.law_of(head.method_name))
    for shape, value in zip(grid, taus):
        item = SpeculativeConfig(head, shape.draft_len, shape.top_k, shape.verify_tokens, value, value, value)
        out = predict(model, item, deployment, batch=batch, context=context, draft_deployment=draft_deployment)
        rates.append((out.tokens_per_s, out.speedup))
    _options.print_notes(_memory_notes(out, batch))
    throughput = np.stack([rate for rate, _ in rates])
    best = np.argmax(throughput, axis=0)
    return [
        {
            "best_verify_tokens": TREE_SIZES[j],
            "best_tokens_per_s": float(throughput[j, i]),
            "best_speedup": float(rates[j][1][i]),
        }
        for i, j in enumerate(best.tolist())
    ]


def _tp(args: argparse.Namespace) -> int:
    return 1 if args.tp is None else int(args.tp)


def _memory_notes(out: Prediction, batch: FloatArray) -> list[str]:
    """Return a note if a batch does not fit in memory, which the roofline does not limit."""
    _, most = out.max_sequences
    beyond = batch[batch > most]
    return [f"batch {beyond[0]:.0f} does not fit in memory with its context and the draft"] if beyond.size else []


def _unused(args: argparse.Namespace) -> list[str]:
    """Return a note for each option that the chosen output does not use."""
    unused: dict[str, str] = {}
    if args.reference is None:
        unused["reference_batch"] = "without reference"
    else:
        unused["top_k"] = "with reference"
    if args.reference is not None or args.top_k is not None:
        unused |= dict.fromkeys(("tp", "reference_tokens_per_cycle"), "with top_k or reference")
        unused |= {"engine": "with top_k or reference"} if args.engine != DEFAULT_ENGINE else {}
    return [f"{name} is not used {why}" for name, why in unused.items() if getattr(args, name) is not None]


def _reference(path: str) -> dict[str, FloatArray]:
    """Return the columns of a reference file."""
    names = ("batch_size", "k", "tokens_per_s")
    columns = records.read_columns(path, needed=names)
    return {name: parse_numbers(name, columns[name], line_of(path), rule=NOT_NEGATIVE) for name in names}


def _summary(
    batch: FloatArray, work: roofline.VerifyWork, at: roofline.Roofline, extra: float, law: tuple[float, float]
) -> list[dict[str, Any]]:
    """Return one row per batch: arithmetic intensity, tokens at the ridge point, and the inverse law."""
    crossover = work.crossover_tokens(at)
    memory, compute = work.seconds(1.0, at)
    return [
        {
            "batch_size": int(b),
            "intensity_plain": float(work.intensity(1.0)[i]),
            "ridge_point": at.ridge_point,
            "verify_tokens_opt": float(crossover[i]),
            "k_opt": max(float(crossover[i]) - extra, 0.0),
            "inverse_law": law[0] / float(b) + law[1] - extra,
            "plain_step_s": float(np.maximum(memory, compute)[i]),
            "evidence": "theory",
        }
        for i, b in enumerate(batch)
    ]


def _curve(
    batch: FloatArray,
    k: FloatArray,
    work: roofline.VerifyWork,
    at: roofline.Roofline,
    extra: float,
    tau: FloatArray | None,
) -> list[dict[str, Any]]:
    """Return one row per batch and k: seconds of a verify pass, and throughput where ``tau`` is known."""
    memory, compute = work.seconds(k[:, None] + extra, at)
    step = np.maximum(memory, compute)
    rows = []
    for i, b in enumerate(batch):
        for j, width in enumerate(k):
            row: dict[str, Any] = {
                "batch_size": int(b),
                "k": int(width),
                "intensity": float(work.intensity(width + extra)[i]),
                "ridge_point": at.ridge_point,
                "memory_s": float(memory[j, i]),
                "compute_s": float(compute[j, i]),
                "step_s": float(step[j, i]),
                "bound": "compute" if compute[j, i] > memory[j, i] else "memory",
            }
            if tau is not None:
                row["tokens_per_cycle"] = float(tau[j])
                row["tokens_per_s"] = float(b * tau[j] / step[j, i])
            rows.append({**row, "evidence": "theory"})
    return rows


def _tau_of_reference(
    args: argparse.Namespace, at: roofline.Roofline, extra: float, work_of: Callable[..., roofline.VerifyWork]
) -> tuple[FloatArray, FloatArray]:
    """Return the k of the reference batch, and the tokens per cycle at each k.

    ``work_of`` counts a verify pass at a batch.
    """
    known = _reference(args.reference)
    batch = REFERENCE_BATCH if args.reference_batch is None else args.reference_batch
    chosen = known["batch_size"] == batch
    if not chosen.any():
        raise fail("reference_batch", batch, f"has no rows in {args.reference}")
    k = known["k"][chosen]
    tau = roofline.tau_from_curve(
        k,
        known["tokens_per_s"][chosen],
        work_of(batch=batch),
        at,
        batch=batch,
        extra_tokens=extra,
    )
    return k, tau


def execute(args: argparse.Namespace) -> int:
    """Find the compute-bound crossovers, or the throughput over k, and print them."""
    if args.precision in WEIGHT_PRECISIONS and args.precision not in UNIFORM_PRECISIONS:
        rule = f"must be one of {', '.join(UNIFORM_PRECISIONS)}"
        raise fail(
            "precision", args.precision, rule, "the roofline has one precision for weights, inputs and cache"
        )
    _options.print_notes(_unused(args))
    dtype = UNIFORM_PRECISIONS[known_word("precision", args.precision, UNIFORM_PRECISIONS)]
    hardware = catalog.hardware(args.hardware)
    model, context = _options.served_model(args)
    where = Scenario(model, hardware=args.hardware, precision=args.precision)
    aliases = catalog.alias_notes(hardware=args.hardware, models=[args.model])
    _options.print_notes([*aliases, *where.precision_notes(hardware)])
    batch = whole("batch", counts("batch", args.batch), 1).astype(np.float64)
    extra = float(in_range("extra_tokens", args.extra_tokens, 0, 1e4))
    at = roofline.roofline(
        hardware,
        args.precision,
        sparse=args.peak == "sparse",
        compute_fraction=args.compute_fraction,
        bandwidth_fraction=args.bandwidth_fraction,
    )
    work_of = partial(roofline.verify_work, model, context=context, dtype=dtype, kv_dtype=dtype)
    work = work_of(batch=batch)
    if args.reference is None and args.top_k is None:
        law = roofline.inverse_law(model, at, context=context, dtype=dtype)
        best = _best_trees(args, model, batch, context)
        rows = [{**row, **more} for row, more in zip(_summary(batch, work, at, extra, law), best)]
        emit(args, "turning-points", rows, columns=TABLE_COLUMNS)
        return 0
    if args.reference is None:
        k, tau = whole("top_k", counts("top_k", args.top_k), 1).astype(np.float64), None
    else:
        k, tau = _tau_of_reference(args, at, extra, work_of)
    inputs = [args.reference] if args.reference else []
    emit(args, "turning-points", _curve(batch, k, work, at, extra, tau), inputs=inputs)
    return 0
