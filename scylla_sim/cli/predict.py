"""``scylla-sim predict``: tokens per second and speed-up of one or many configurations."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim.acceptance import drafting, rates_file
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import FloatArray, fail, one_of, whole
from scylla_sim.console import add_output, count, counts, emit, note
from scylla_sim.kernels.device_rates import rates
from scylla_sim.laws import theorems
from scylla_sim.prediction.steps import LAUNCH, Deployment, Step
from scylla_sim.prediction.throughput import Prediction, predict
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import KV_PRECISIONS, WEIGHT_PRECISIONS
from scylla_sim.specs.model import Model

EPILOG = """example:
  scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --draft-len 3 \\
      --acceptance 0.76,0.74,0.77 --batch 1,8,32,64,128,256 --context 2048 --engine vllm
"""

SHOWN = (
    *("batch_size", "context_len", "tokens_per_cycle", "cycle_ms", "tpot_ms", "tokens_per_s", "plain_tokens_per_s"),
    *("speedup", "speedup_lower", "speedup_upper", "bound", "fits_memory"),
)
NOT_MODELLED = {"pp": "pipeline parallelism", "ep": "expert parallelism", "nodes": "several nodes"}


def add_hardware_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name device, model and engine; `plan` has its own."""
    parser.add_argument("--hardware", required=True, metavar="NAME|FILE.toml", help="scylla-sim catalog hardware")
    parser.add_argument(
        "--calibration", metavar="FILE", help="made by scylla-sim calibrate; default: the shipped one"
    )
    parser.add_argument("--tp", type=int, default=1, help="tensor-parallel GPUs of one node; default 1")
    parser.add_argument("--model", required=True, metavar="NAME|config.json", help="scylla-sim catalog models")


def add_drafting_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name precisions, draft, what is drafted and what is known of its acceptance."""
    parser.add_argument("--precision", default="bf16", help=f"of the weights: {', '.join(WEIGHT_PRECISIONS)}")
    parser.add_argument("--kv-precision", help="of the KV cache; default bf16 (fp32 with --precision fp32)")
    parser.add_argument(
        "--draft", default="none", help="none, eagle, eagle2, eagle3, scylla-Nl, medusa, mtp, ngram, MODEL"
    )
    parser.add_argument("--draft-precision", help="default: --precision")
    parser.add_argument("--draft-layers", type=int, metavar="N", help="decoder layers of a head; tau from the laws")
    parser.add_argument(
        "--draft-train-tokens", metavar="COUNT", help="pretraining tokens, e.g. 10B; tau from the laws"
    )
    parser.add_argument("--acceptance", metavar="RATES|FILE", help="0.7, or per position 0.76,0.74,0.77, or JSON")
    parser.add_argument("--acceptance-kind", default="conditional", choices=rates_file.KINDS)
    parser.add_argument(
        "--reference-tokens-per-cycle",
        metavar="TAU[,LOW,HIGH]",
        help="tau at EAGLE-2's tree (depth 6, top-k 10, 60 nodes), carried to this drafting",
    )


def add_load_arguments(parser: argparse.ArgumentParser, *, batch: str, context: str, engine: str) -> None:
    """Options of what is served, with these defaults, and of the engine that serves it."""
    parser.add_argument("--batch", default=batch, metavar="N[,N]", help=f"decoded together; default {batch}")
    parser.add_argument(
        "--context", default=context, metavar="N[,N]", help=f"tokens in each KV cache; default {context}"
    )
    parser.add_argument(
        "--router-skew",
        type=float,
        metavar="A",
        help="Zipf exponent of the popularity of experts; default 0, uniform",
    )
    parser.add_argument("--engine", default=engine, help=f"ideal (kernels only), vllm or sglang; default {engine}")
    parser.add_argument(
        "--eager", action="store_true", help="no CUDA graphs, as with --enforce-eager or --disable-cuda-graph"
    )
    for name, what in NOT_MODELLED.items():
        parser.add_argument(f"--{name}", type=int, default=1, help=f"refused above 1: {what} is not modelled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_hardware_arguments(parser)
    add_drafting_arguments(parser)
    parser.add_argument(
        "--draft-len", metavar="N[,N]", help="sequential draft steps; default 3 (eagle2, scylla: 6)"
    )
    parser.add_argument(
        "--top-k", metavar="N[,N]", help="candidates kept per depth; default 1 (eagle2, scylla: 10)"
    )
    parser.add_argument(
        "--verify-tokens",
        metavar="N[,N]|theorem-1.3",
        help="tokens verified per sequence, root included; a list gives one per --batch",
    )
    parser.add_argument("--tokens-per-cycle", type=float, metavar="TAU", help="overrides acceptance and laws")
    add_load_arguments(parser, batch="1", context="1024", engine="ideal")
    parser.add_argument("--breakdown", action="store_true", help="every operation of a cycle instead of a summary")
    add_output(parser)


def settings(args: argparse.Namespace, hardware_name: str) -> tuple[Deployment, Deployment]:
    """Setting of the target and of the draft, with everything checked that can be before predicting."""
    for name, what in NOT_MODELLED.items():
        if getattr(args, name, 1) != 1:
            raise fail(name, getattr(args, name), "must be 1", f"{what} is not modelled")
    precision = one_of("precision", args.precision, WEIGHT_PRECISIONS)
    kv_default = "fp32" if precision == "fp32" else "bf16"
    kv_precision = one_of("kv_precision", args.kv_precision or kv_default, KV_PRECISIONS)
    given = device_calibration.read(args.calibration) if args.calibration else None
    local = hardware_name == "local" and given is not None
    hardware = given.hardware if local and given else catalog.hardware(hardware_name)
    if given is not None:
        calibration = given.transferred_to(replace(hardware, name=given.hardware.name))
        calibration = replace(calibration, hardware=hardware)
    elif hardware_name in catalog.names("hardware"):
        calibration = device_calibration.shipped(hardware_name)
    else:
        calibration = device_calibration.Calibration(device=hardware.name, hardware=hardware, kernels={})
    tp = int(whole("tp", args.tp, 1))
    if tp > hardware.gpus_per_node:
        hint = "several nodes are not modelled"
        raise fail("tp", tp, f"must be at most {hardware.gpus_per_node}, the GPUs of a {hardware.name} node", hint)
    engine = replace(catalog.engine(args.engine), eager=getattr(args, "eager", False))
    if engine.eager and not engine.launch_s:
        raise fail("eager", engine.name, "has no cost of a launch", "engines that have: vllm, sglang")
    target = Deployment(calibration, engine, WEIGHT_PRECISIONS[precision], KV_PRECISIONS[kv_precision], tp)
    draft_precision = one_of(
        "draft_precision", getattr(args, "draft_precision", None) or precision, WEIGHT_PRECISIONS
    )
    for dtype in (WEIGHT_PRECISIONS[precision], WEIGHT_PRECISIONS[draft_precision]):
        rates(hardware, dtype)
    return target, replace(target, dtype=WEIGHT_PRECISIONS[draft_precision])


def target_model(args: argparse.Namespace) -> Model:
    """The model that the options name, with the router's skew they ask for."""
    model = catalog.model(args.model)
    if model.moe is not None and args.precision == "fp8":
        note("note: fp8 is scaled by tensor; of checkpoints scaled by blocks (DeepSeek-V3, Qwen3): fp8_block")
    return model if args.router_skew is None else model.with_router_skew(args.router_skew)


def input_files(args: argparse.Namespace) -> list[str]:
    """Files that the options name, for the provenance: calibration and measured acceptance."""
    given = (args.calibration, args.acceptance)
    return [name for name in given if name is not None and Path(name).is_file()]


def whole_list(name: str, text: str | None, low: int) -> list[int | None]:
    """Whole numbers of an option; ``None`` alone where it was not given."""
    if text is None:
        return [None]
    return [int(value) for value in whole(name, counts(name, text), low)]


def _verify_lists(args: argparse.Namespace, batch: Sequence[int]) -> list[tuple[int | None, Sequence[int]]]:
    """(verified tokens, batches) to predict together: one for all batches, or one for each."""
    if args.verify_tokens is None:
        return [(None, batch)]
    if args.verify_tokens == "theorem-1.3":
        note("note: theorem-1.3 is the paper's k_opt(b), quoted for Qwen2.5-72B at 10K input; capped at its tree")
        most = drafting.reference().verify_tokens
        best = np.minimum(np.round(theorems.optimal_paths(batch)) + 1, most)
        return [(int(n), [b]) for n, b in zip(best, batch)]
    given = whole("verify_tokens", counts("verify_tokens", args.verify_tokens), 2).tolist()
    if len(given) == 1:
        return [(given[0], batch)]
    if len(given) != len(batch):
        raise fail(
            "verify_tokens", args.verify_tokens, f"must be one value, or one for each of {len(batch)} batches"
        )
    return [(n, [b]) for n, b in zip(given, batch)]


def draftings(args: argparse.Namespace, verify_tokens: int | None = None) -> list[SpeculativeConfig]:
    """Every drafting configuration that the options name, verifying so many tokens."""
    draft = catalog.draft(args.draft, layers=args.draft_layers)
    if draft.kind == "none":
        if args.acceptance is not None:
            _note_once("note: --acceptance does nothing with --draft none")
        return [no_drafting(draft)]
    lengths, widths = whole_list("draft_len", args.draft_len, 1), whole_list("top_k", args.top_k, 1)
    shapes = [drafting.shape(draft, length, width, verify_tokens) for length, width in product(lengths, widths)]
    return resolved(args, draft, shapes, tokens_per_cycle=args.tokens_per_cycle)


def resolved(
    args: argparse.Namespace,
    draft: Draft,
    shapes: Sequence[drafting.DraftShape],
    *,
    tokens_per_cycle: float | None = None,
    rates: FloatArray | None = None,
) -> list[SpeculativeConfig]:
    """Drafting configurations of these shapes, with the acceptance that the options (or ``rates``) tell."""
    train_tokens = None
    if args.draft_train_tokens is not None:
        train_tokens = count("draft_train_tokens", args.draft_train_tokens)
    spread = None
    if args.acceptance is not None and rates is None:
        rates, _ = rates_file.read_rates(args.acceptance, args.acceptance_kind)
        spread = rates_file.read_spread(args.acceptance)
    reference_tau = None
    if args.reference_tokens_per_cycle is not None:
        reference_tau = counts("reference_tokens_per_cycle", args.reference_tokens_per_cycle)
    found, remarks = [], []
    for shape in shapes:
        item, said = drafting.resolve(
            draft,
            shape,
            tokens_per_cycle=tokens_per_cycle,
            rates=rates,
            spread=spread,
            layers=args.draft_layers,
            train_tokens=train_tokens,
            reference_tau=reference_tau,
        )
        found.append(item)
        remarks += said
    for remark in dict.fromkeys(remarks):
        _note_once(f"note: {remark}")
    return found


@cache
def _note_once(text: str) -> None:
    note(text)


def rows_of(out: Prediction, deployment: Deployment, model: Model, precision: str) -> list[dict[str, Any]]:
    """One row per point of the grid, with the keys that scripts rely on."""
    d = out.drafting
    fixed_left = {
        "hardware": deployment.calibration.hardware.name,
        "model": model.name,
        "tp": deployment.tp,
        "precision": precision,
        "engine": deployment.engine.name,
    }
    drafted = {
        "draft": d.draft.name,
        "draft_len": d.draft_len,
        "top_k": d.top_k,
        "verify_tokens": d.verify_tokens,
        "tokens_per_cycle": d.tokens_per_cycle,
    }
    arrays = {
        "draft_s": out.draft.seconds,
        "verify_s": out.verify.seconds,
        "overhead_s": out.overhead_s,
        "cycle_s": out.cycle_s,
        "plain_step_s": out.plain.seconds,
        "plain_overhead_s": out.plain_overhead_s,
        "tpot_s": out.tpot_s,
        "tokens_per_s": out.tokens_per_s,
        "plain_tokens_per_s": out.plain_tokens_per_s,
        "speedup": out.speedup,
        "speedup_lower": out.speedup_lower,
        "speedup_upper": out.speedup_upper,
        "plain_step_lower_s": out.plain.lower,
        "plain_step_upper_s": out.plain.upper,
        "tokens_per_cycle_lower": np.asarray(d.tau_lower),
        "tokens_per_cycle_upper": np.asarray(d.tau_upper),
        "tokens_per_s_lower": out.tokens_per_s_lower,
        "tokens_per_s_upper": out.tokens_per_s_upper,
    }
    size = out.batch.size
    columns = {name: np.broadcast_to(value, out.batch.shape).reshape(-1).tolist() for name, value in arrays.items()}
    batch, context = out.batch.reshape(-1).tolist(), out.context.reshape(-1).tolist()
    fits, bounds, evidence = out.fits_memory.reshape(-1).tolist(), out.bound(), out.verify.evidence()
    tail = [f"{name}_{end}" for name in ("tokens_per_cycle", "tokens_per_s") for end in ("lower", "upper")]
    tail = ["plain_step_lower_s", "plain_step_upper_s", *tail]
    return [
        {
            **fixed_left,
            "batch_size": int(batch[i]),
            "context_len": int(context[i]),
            **drafted,
            **{name: column[i] for name, column in columns.items() if name not in tail},
            "bound": bounds[i],
            "fits_memory": fits[i],
            "evidence": evidence,
            **{name: columns[name][i] for name in tail},
        }
        for i in range(size)
    ]


def breakdown_rows(out: Prediction) -> list[dict[str, Any]]:
    """Every operation of draft and verify, every overhead, per point of the grid."""
    phases: Sequence[tuple[str, Step]] = (("draft", out.draft), ("verify", out.verify))
    rows = []
    for i in range(out.batch.size):
        where = {"batch_size": int(_at(out.batch, out, i)), "context_len": int(_at(out.context, out, i))}
        cycle = _at(out.cycle_s, out, i)
        for phase, step in phases:
            for part in step.parts:
                value = _at(part.seconds, out, i)
                if part.kind == LAUNCH and value == 0.0:
                    continue
                rows.append(
                    {
                        **where,
                        "phase": phase,
                        "op": part.name,
                        "kind": part.kind,
                        "count": part.count,
                        "seconds": value,
                        "share": value / cycle,
                        "datasheet_s": _at(np.maximum(part.memory_s, part.compute_s), out, i),
                        "evidence": part.evidence,
                    }
                )
        for name, often in out.pace.terms.items():
            count, cost = _at(often, out, i), getattr(out.engine, name)
            if cost > 0.0 and count > 0.0:
                host = {"phase": "overhead", "op": name.removesuffix("_s"), "kind": "overhead", "count": int(count)}
                seconds = {"seconds": count * cost, "share": count * cost / cycle, "datasheet_s": None}
                rows.append({**where, **host, **seconds, "evidence": "published"})
    return rows


def _at(array: Any, out: Prediction, i: int) -> float:
    return float(np.broadcast_to(array, out.batch.shape).reshape(-1)[i])


def execute(args: argparse.Namespace) -> int:
    target, draft_deployment = settings(args, args.hardware)
    model = target_model(args)
    batch = whole("batch", counts("batch", args.batch), 1).tolist()
    context = whole("context", counts("context", args.context), 1)[None, :]
    rows: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for verify_tokens, some in _verify_lists(args, batch):
        for item in draftings(args, verify_tokens):
            column = np.asarray(some)[:, None]
            out = predict(model, item, target, batch=column, context=context, draft_deployment=draft_deployment)
            rows += rows_of(out, target, model, args.precision)
            if args.breakdown:
                parts += breakdown_rows(out)
    inputs = input_files(args)
    if args.breakdown:
        emit(args, "breakdown", parts, inputs=inputs)
        return 0
    varied = [name for name in ("draft_len", "top_k", "verify_tokens") if len({row[name] for row in rows}) > 1]
    if args.format == "table":  # people read milliseconds; files keep SI units
        rows = [{**row, "cycle_ms": 1e3 * row["cycle_s"], "tpot_ms": 1e3 * row["tpot_s"]} for row in rows]
    emit(args, "predict", rows, columns=(*varied, *SHOWN), inputs=inputs, footer=footer(rows[0]))
    return 0


EVIDENCE = {
    "silicon": "kernels fitted to silicon measurements of this GPU",
    "transferred": "kernels fitted on another GPU of the family, at this one's datasheet rates",
    "theory": "some or all kernels were never measured on this device; predict --breakdown says which",
    "live": "kernels fitted to measurements of this machine",
}
"""Level of evidence of a step -> what it means."""


def footer(row: Mapping[str, Any]) -> str:
    """One line under a table: what was priced, and on what evidence."""
    evidence = EVIDENCE.get(row["evidence"], row["evidence"])
    draft = "no draft" if row["draft"] == "none" else f"draft {row['draft']}"
    head = f"{row['model']} on {row['tp']}x {row['hardware']}, {row['precision']}, {draft}"
    return f"{head}, engine {row['engine']}; evidence: {row['evidence']} ({evidence})"
