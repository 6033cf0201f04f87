"""``scylla-sim steps``: seconds of given decode, verify and prefill steps of a model, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, fail
from scylla_sim.cli import _columns
from scylla_sim.console import add_output, emit_columns
from scylla_sim.number_columns import AT_LEAST_ONE, NumberRule, errors_at, line_of, parse_numbers
from scylla_sim.prediction.overheads import step_overhead_counts, with_overheads
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS, prefill_step
from scylla_sim.prediction.step_time import Step
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model

EPILOG = """example:
  printf 'device,dtype,model,batch,context,tokens\\nh100-sxm,bf16,llama-3.1-8b,8,1024,4\\n' > steps.csv
  scylla-sim steps --shapes steps.csv --format csv

A row whose optional column role is prefill reads prompts: each of batch prompts has tokens new tokens after context
cached ones.
"""

LABELS = ("device", "dtype", "model")
NUMBERS = ("batch", "context", "tokens")
PREFILL = "prefill"
ROLES = ("plain", "decode", "verify", "draft", PREFILL)
"""Cells of the optional column ``role``, which may be empty. Only a prefill reads prompts; the others decode."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "--shapes", required=True, metavar="FILE", help=f"CSV with the columns {', '.join((*LABELS, *NUMBERS))}"
    )
    _columns.add_calibration(parser)
    _columns.add_engine(parser)
    _columns.add_long_context(parser)
    add_output(parser, default="csv")


def _prefills(path: str, columns: _columns.Columns) -> NDArray[np.bool_]:
    """Return whether each row reads prompts."""
    roles = [role.strip() for role in columns.get("role", [""] * len(columns["batch"]))]
    for at, role in enumerate(roles):
        if role and role not in ROLES:
            rule = f"must be empty or one of {', '.join(ROLES)} {line_of(path)(at)}"
            raise fail("role", role, rule, "only rows whose role is prefill read prompts")
    return np.array([role == PREFILL for role in roles])


def _numbers(path: str, columns: _columns.Columns, is_prefill: NDArray[np.bool_]) -> dict[str, FloatArray]:
    """Return the shapes of the steps. Only a prefill may start at a context of 0, and its tokens are limited."""
    counts = _columns.read_numbers(line_of(path), columns, ("batch", "tokens"))
    parse_numbers("context", columns["context"], line_of(path), rule=AT_LEAST_ONE, rows=np.flatnonzero(~is_prefill))
    new = np.where(is_prefill, counts["batch"] * counts["tokens"], 0.0)
    if (new > MAX_STEP_TOKENS).any():
        at = int(np.argmax(new > MAX_STEP_TOKENS))
        rule = f"with batch={columns['batch'][at]} must be at most {MAX_STEP_TOKENS} together {line_of(path)(at)}"
        raise fail("tokens", columns["tokens"][at], rule, "give chunks, with earlier tokens as context")
    return {**counts, **_columns.read_numbers(line_of(path), columns, ("context",), rule=NumberRule(0.0))}


def _check_contexts(
    args: argparse.Namespace,
    columns: _columns.Columns,
    numbers: dict[str, FloatArray],
    is_prefill: NDArray[np.bool_],
) -> None:
    """Raise for a row beyond the positions of its model; a prefill adds its new tokens to the context."""
    context, models = numbers["context"], columns["model"]
    _columns.check_contexts(args, args.shapes, models, np.where(is_prefill, 0.0, context))
    held = np.where(is_prefill, context + numbers["tokens"], 0.0)
    _columns.check_contexts(args, args.shapes, models, held, name="context+tokens")


def _step(
    model: Model, deployment: Deployment, shape: Mapping[str, FloatArray], *, is_prefill: bool
) -> tuple[Step, FloatArray]:
    """Return the steps of some rows, and the tokens that each of them verifies."""
    if is_prefill:
        prompts = {"tokens": shape["tokens"], "cached": shape["context"], "sequences": shape["batch"]}
        return prefill_step(model, deployment, **prompts), np.zeros_like(shape["batch"])
    verified = np.where(shape["tokens"] > 1, shape["batch"] * shape["tokens"], 0.0)
    return target_step(model, deployment, **shape), verified


def execute(args: argparse.Namespace) -> int:
    """Print the columns of the file with predicted, roofline, lower and upper seconds."""
    columns = _columns.read_rows(args.shapes, (*LABELS, *NUMBERS))
    _columns.check_one_gpu(args.shapes, columns)
    prefills = _prefills(args.shapes, columns)
    numbers = _numbers(args.shapes, columns, prefills)
    _check_contexts(args, columns, numbers, prefills)
    given, engine = _columns.given_calibration(args), catalog.engine(args.engine)
    notes = _columns.transfer_notes(columns, given, _columns.TRANSFERRED)
    _columns.note_each([*_columns.name_notes(columns), *notes], args.shapes)
    out = {name: np.empty(len(columns["batch"])) for name in ("predicted_s", "naive_s", "lower_s", "upper_s")}
    for (device, dtype, model, is_prefill), at in _columns.groups(
        *(columns[name] for name in LABELS), prefills.tolist()
    ):
        shape = {name: numbers[name][at] for name in NUMBERS}
        with errors_at(line_of(args.shapes), int(at[0])):
            deployment = _columns.deployment(device, dtype, engine, given)
            step, verified = _step(catalog.model(model), deployment, shape, is_prefill=is_prefill)
        time = with_overheads(step, engine, step_overhead_counts(verified=verified))
        out["predicted_s"][at], out["lower_s"][at], out["upper_s"][at] = time.value, time.lower, time.upper
        out["naive_s"][at] = step.datasheet_s
    inputs = [args.shapes, *([args.calibration] if args.calibration else [])]
    emit_columns(args, "steps", columns, out, inputs=inputs)
    return 0
