"""``scylla-sim turning-points``: where verification turns compute-bound, per batch."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from scylla_sim import catalog, intensity, records
from scylla_sim.checks import FloatArray, fail, in_range, one_of, whole
from scylla_sim.console import add_output, count, counts, emit
from scylla_sim.costs import PRECISION_DTYPE
from scylla_sim.specs import BYTES_PER_ELEMENT

EPILOG = """examples:
  scylla-sim turning-points --hardware h800-sxm --model qwen2.5-72b --context 10Ki --batch 1,8,64
  scylla-sim turning-points --hardware h800-sxm --model qwen2.5-72b --context 10Ki --batch 8,16,32 --peak sparse \\
      --compute-fraction 0.73 --bandwidth-fraction 0.85 --extra-tokens 4 --top-k 6,16,36,64
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hardware", required=True, metavar="NAME|FILE.toml")
    parser.add_argument("--model", required=True, metavar="NAME|config.json")
    parser.add_argument("--context", default="1024", help="tokens in each KV cache (one value); default 1024")
    parser.add_argument("--batch", default="1,4,8,16,32,64", metavar="N[,N]")
    parser.add_argument("--precision", default="bf16", help=f"of weights and cache: {', '.join(BYTES_PER_ELEMENT)}")
    parser.add_argument(
        "--peak", choices=("dense", "sparse"), default="dense", help="which datasheet peak; default dense"
    )
    parser.add_argument("--compute-fraction", type=float, default=1.0, help="achieved share of the peak; default 1")
    parser.add_argument(
        "--bandwidth-fraction", type=float, default=1.0, help="achieved share of bandwidth; default 1"
    )
    parser.add_argument(
        "--extra-tokens", type=float, default=1.0, help="verified besides the k paths; default 1, the root"
    )
    parser.add_argument("--top-k", metavar="K[,K]", help="rows for these k instead of one row a batch")
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="CSV batch_size,k,tokens_per_s: read tau(k) off one curve, predict the rest",
    )
    parser.add_argument("--reference-batch", type=int, default=64, help="curve of --reference that gives tau(k)")
    add_output(parser)


def _reference(path: str) -> dict[str, FloatArray]:
    columns = records.read_columns(path)
    for name in ("batch_size", "k", "tokens_per_s"):
        if name not in columns:
            raise fail("column", name, f"is missing from {path}", f"columns: {', '.join(columns)}")
    return {name: in_range(name, columns[name], 0) for name in ("batch_size", "k", "tokens_per_s")}


def _summary(
    batch: FloatArray, work: intensity.Verification, at: intensity.Roofline, extra: float, law: tuple[float, float]
) -> list[dict[str, Any]]:
    turning = work.turning_tokens(at)
    memory, compute = work.seconds(1.0, at)
    return [
        {
            "batch_size": int(b),
            "intensity_plain": float(work.intensity(1.0)[i]),
            "ridge_point": at.ridge_point,
            "verify_tokens_opt": float(turning[i]),
            "k_opt": float(turning[i]) - extra,
            "inverse_law": law[0] / float(b) + law[1] - extra,
            "plain_step_s": float(np.maximum(memory, compute)[i]),
            "evidence": "theory",
        }
        for i, b in enumerate(batch)
    ]


def _curve(
    batch: FloatArray,
    k: FloatArray,
    work: intensity.Verification,
    at: intensity.Roofline,
    extra: float,
    tau: FloatArray | None,
) -> list[dict[str, Any]]:
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


def execute(args: argparse.Namespace) -> int:
    precision = one_of("precision", args.precision, BYTES_PER_ELEMENT)
    dtype = PRECISION_DTYPE[precision]
    hardware, model = catalog.hardware(args.hardware), catalog.model(args.model)
    context = int(whole("context", count("context", args.context), 1))
    batch = whole("batch", counts("batch", args.batch), 1).astype(np.float64)
    extra = float(in_range("extra_tokens", args.extra_tokens, 0))
    at = intensity.roofline(
        hardware,
        precision,
        sparse=args.peak == "sparse",
        compute_fraction=args.compute_fraction,
        bandwidth_fraction=args.bandwidth_fraction,
    )
    work = intensity.verification(model, batch=batch, context=context, dtype=dtype, kv_dtype=dtype)
    if args.reference is None and args.top_k is None:
        law = intensity.inverse_law(model, at, context=context, dtype=dtype)
        emit(args, "turning-points", _summary(batch, work, at, extra, law))
        return 0
    tau = None
    if args.reference is not None:
        known = _reference(args.reference)
        one = known["batch_size"] == args.reference_batch
        if not one.any():
            raise fail("reference_batch", args.reference_batch, f"has no rows in {args.reference}")
        k = known["k"][one]
        single = intensity.verification(
            model, batch=args.reference_batch, context=context, dtype=dtype, kv_dtype=dtype
        )
        tau = intensity.tau_from_curve(
            k, known["tokens_per_s"][one], single, at, batch=args.reference_batch, extra_tokens=extra
        )
    else:
        k = whole("top_k", counts("top_k", args.top_k), 1).astype(np.float64)
    inputs = [args.reference] if args.reference else []
    emit(args, "turning-points", _curve(batch, k, work, at, extra, tau), inputs=inputs)
    return 0
