"""``scylla-sim laws``: fit acceptance laws to the columns of a CSV file and compare them."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from scylla_sim.checks import fail, in_range
from scylla_sim.cli._joint_rows import joint_footer, joint_rows, short_joint
from scylla_sim.cli._law_rows import law_rows, refuse
from scylla_sim.console import add_output, assignments, count, counts, emit, note
from scylla_sim.laws.forms import ALL_FORMS
from scylla_sim.laws.groups import groups
from scylla_sim.laws.joint import JOINT_FORMS
from scylla_sim.laws.points import Selection, SizeColumn, number
from scylla_sim.records import EVIDENCE, Row

EPILOG = """example:
  printf 'tokens,tau\\n1B,5.13\\n2B,5.15\\n5B,5.29\\n10B,5.33\\n20B,5.30\\n50B,5.43\\n' > fig1.csv
  scylla-sim laws fig1.csv --x tokens --y tau --x-scale 1B --forms log-linear,power --predict 100B

options:
  --factor task,temperature        one slope for all rows, and one offset per task and per temperature
  --x layers,tokens                terms that add, one per column, for example --forms log-linear+log1p
  --by layers --replicates seed    one law per number of layers, with its spread over seeds
  --x tokens,layers --joint        laws of both together; --corner 262144,4 scores each law at drafts with more
                                   tokens and more layers than those that it is fitted to
  --train-tokens tokens            also SDSL's laws: affine in the draft's perplexity or in its logarithm; the
                                   perplexity is from arXiv 2203.15556, without the term of the parameters

laws (ln is the natural logarithm):
""" + "".join(f"  {name:24}{form.formula}\n" for name, form in ALL_FORMS.items())
EPILOG += """
joint laws (t = ln(T / T0), T0 the smallest T; d = ln D; T training tokens, D decoder layers):
""" + "".join(f"  {name:24}{law.formula}\n" for name, law in JOINT_FORMS.items())


MAX_REFITS = 100_000
"""Largest number of bootstrap refits."""

MAX_EQUAL_AICC = 2.0
"""Largest difference in AICc between equally good laws (Burnham and Anderson, 2002, section 2.6)."""

DRAWINGS = (".svg", ".png")
"""Suffixes of drawings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("file", metavar="FILE", help="CSV with a header line")
    parser.add_argument(
        "--x",
        required=True,
        metavar="COL[,COL]",
        help="column of tokens, layers, ...; 10B is a count",
    )
    parser.add_argument("--y", required=True, metavar="COL", help="column to explain, for example tau")
    parser.add_argument("--weight", metavar="COL", help="column of inverse variances, up to a common factor")
    parser.add_argument("--where", metavar="COL=VALUE,...", help="use only the rows in which these columns match")
    parser.add_argument("--forms", metavar="A,B", help="laws to fit (below); default: all laws")
    parser.add_argument(
        "--factor", metavar="COL,...", help="fit one slope, and one offset per value of these columns"
    )
    parser.add_argument(
        "--x-scale",
        default="1",
        metavar="COUNT[,COUNT]",
        help="unit of x in the fit; 10B is divided by it, a bare 10 is not; default 1",
    )
    parser.add_argument(
        "--draft-parameters", metavar="COL[:UNIT]", help="weights of the draft; adds the laws sdsl and sdsl-loss"
    )
    parser.add_argument(
        "--train-tokens",
        metavar="COL[:UNIT]",
        help="training tokens of the draft; adds the same laws; tokens_b:1B counts billions",
    )
    parser.add_argument(
        "--tuning-tokens",
        metavar="COUNT",
        help="tokens added to --train-tokens, or with --joint to the first column, of every draft; default 0",
    )
    parser.add_argument(
        "--by", metavar="COL,...", help="fit every group of rows with equal values of these columns"
    )
    parser.add_argument(
        "--replicates",
        metavar="COL",
        help="column of seeds of a repeated experiment: fit the mean curve, and show the spread of the parameters",
    )
    parser.add_argument(
        "--joint", action="store_true", help="fit laws of tokens and layers together; --x names the two columns"
    )
    parser.add_argument(
        "--draft-len", metavar="K", help="drafted tokens of a cycle, for joint laws of the acceptance rate"
    )
    parser.add_argument(
        "--corner",
        metavar="T,D",
        help="with --joint, fit up to T tokens and D layers, and score the points with more of both; default: all "
        "but the last third of the values",
    )
    parser.add_argument("--predict", metavar="X,...", help="also evaluate every law at these x")
    parser.add_argument("--level", type=float, default=0.9, help="coverage of the intervals; default 0.9")
    parser.add_argument(
        "--bootstrap", type=int, default=0, metavar="N", help="add percentile intervals of N refits"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap; default 0")
    parser.add_argument("--evidence", choices=EVIDENCE, help="evidence level of the file, kept in every row")
    parser.add_argument("--draw", metavar="FILE", help="draw points and laws as .svg or .png (needs matplotlib)")
    add_output(parser)


def _names(text: str | None) -> tuple[str, ...]:
    """Return the comma-separated names of an option; none if it is not given."""
    return tuple(text.split(",")) if text else ()


def _x_units(text: str, columns: int) -> tuple[float, ...]:
    """Return the unit of each column of x; one unit serves all columns."""
    units = counts("x_scale", text)
    in_range("x_scale", units, 0, above=True)
    if len(units) not in (1, columns):
        raise fail("x_scale", text, f"must be one unit, or one for each of {columns} columns")
    return tuple(units * columns if len(units) == 1 else units)


def _size_column(option: str, text: str | None) -> SizeColumn | None:
    """Return the column of ``COL[:UNIT]``."""
    if text is None:
        return None
    name, _, unit = text.partition(":")
    return SizeColumn(name, count(option, unit) if unit else 1.0)


def _selection(args: argparse.Namespace) -> Selection:
    """Return the columns and rows that the options select."""
    x = tuple(args.x.split(","))
    tuning = None
    if args.tuning_tokens is not None and not args.joint:
        if args.train_tokens is None:
            raise fail("tuning_tokens", args.tuning_tokens, "needs --train-tokens, to which it is added")
        tuning = float(in_range("tuning_tokens", count("tuning_tokens", args.tuning_tokens), 0))
    return Selection(
        file=args.file,
        x=x,
        y=args.y,
        x_units=_x_units(args.x_scale, len(x)),
        weight=args.weight or None,
        factors=_names(args.factor),
        where=tuple(assignments("where", args.where or "").items()),
        draft_parameters=_size_column("draft_parameters", args.draft_parameters),
        train_tokens=_size_column("train_tokens", args.train_tokens),
        tuning_tokens=tuning,
    )


def execute(args: argparse.Namespace) -> None:
    """Fit the laws, and print one row per law and group."""
    in_range("level", args.level, 0.5, 0.999)
    in_range("bootstrap", args.bootstrap, 0, MAX_REFITS)
    if args.draw and Path(args.draw).suffix not in DRAWINGS:
        raise fail("draw", args.draw, f"must end in {' or '.join(DRAWINGS)}")
    selection = _selection(args)
    targets = {text: number(text, "predict", scale=selection.x_units[0]) for text in _names(args.predict)}
    if args.by:
        refuse(args, ("draw",), "--by")
    if args.replicates:
        refuse(args, ("factor", "bootstrap"), "--replicates")
    if args.joint:
        refuse(args, ("factor", "weight", "predict", "draw", "bootstrap"), "--joint")
    elif args.draft_len or args.corner:
        raise fail("draft_len" if args.draft_len else "corner", args.draft_len or args.corner, "needs --joint")
    parts = groups(selection, _names(args.by))
    found = [
        (labels, joint_rows(part, args) if args.joint else law_rows(part, targets, args)) for labels, part in parts
    ]
    rows = [{**labels, **row} for labels, group in found for row in group]
    for row in rows:
        if row["message"]:
            note(f"note: {row['form']}: {row['message']}")
    shown = rows
    if args.format == "table":
        short = short_joint if args.joint else partial(_short, targets=list(targets))
        shown = [{**labels, **short(row)} for labels, group in found for row in group]
    emit(args, "laws", shown, footer=_footer(args, found), inputs=[args.file])


def _short(row: Row, targets: list[str]) -> Row:
    """Return the columns of the table: parameters with standard errors, scores and predictions."""
    names = [key.removesuffix("_stderr") for key in row if key.endswith("_stderr") and "=" not in key]
    short = {key: row.get(key) for key in ("form", "n", "r2", "delta_aicc", "loo_rmse", "converged")}
    short["parameters"] = ", ".join(f"{name} = {row[name]:.4g} +- {row[name + '_stderr']:.2g}" for name in names)
    for key in (f"y({text})" for text in targets):
        if key in row:
            flag = " extrapolated" if row[f"{key}_extrapolates"] else ""
            short[key] = f"{row[key]:.4g} [{row[f'{key}_lower']:.4g}, {row[f'{key}_upper']:.4g}]{flag}"
    return short


def _footer(args: argparse.Namespace, found: list[tuple[dict[str, str], list[Row]]]) -> str:
    if args.joint:
        return joint_footer(found[0][1]) + "\n".join(_verdict(rows) for _, rows in found)
    unit = "" if args.x_scale == "1" else f", x in units of {args.x_scale}"
    verdicts = [
        ", ".join(f"{name} {value}" for name, value in labels.items()) + ": " * bool(labels) + _verdict(rows)
        for labels, rows in found
    ]
    return (
        f"{args.y} against {args.x} in {Path(args.file).name}; ln is natural{unit}; +- is one standard error; "
        f"[ ] is the {args.level:.0%} interval of a new point\n" + "\n".join(verdicts)
    )


def _verdict(rows: list[Row]) -> str:
    """Return a sentence with the best law, and the laws that are equally good."""
    near = [
        row["form"] for row in rows if row.get("delta_aicc") is not None and row["delta_aicc"] <= MAX_EQUAL_AICC
    ]
    verdict = "no AICc: too few points to compare laws"
    if near:
        verdict = f"best by AICc: {near[0]}"
        if len(near) > 1:
            verdict += f"; equally good within {MAX_EQUAL_AICC:g}: {', '.join(near[1:])}"
    return verdict
