"""Tables ``specbundle`` and ``sglang-ladder``: EAGLE-3 cycles of Llama-3.1-8B compared with published runs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from paper.render.table import EVIDENCE, Column, Table, ms_column, percent_column
from paper.render.values import joined, mean, percent
from paper.sources import published
from paper.sources.results import Results, ResultTable, commits, make_again, value
from scylla_sim.checks import fail
from scylla_sim.records import Row
from scylla_sim.units import MICRO

PRESETS = ("sglang", "vllm")
"""Engine presets whose predictions are compared with the series of batches."""

ENGINE_FILE = "endtoend/engine-vllm.json"

_PREDICTED = "calibrated kernels, engine preset"


def _errors(errors: Sequence[float]) -> Row:
    """Return count, median, mean and largest absolute error, and the median signed error."""
    size = sorted(abs(error) for error in errors)
    return {
        "n": len(size),
        "median_ape": median(size),
        "mape": mean(size),
        "max_ape": size[-1],
        "bias": median(errors),
    }


def _cycles(results: Results, path: str) -> tuple[ResultTable, dict[int, tuple[float, float]]]:
    """Return a breakdown by operation, and by batch the predicted and the roofline seconds of a cycle."""
    table = results.table(path)
    found: dict[int, tuple[float, float]] = {}
    for row in table.rows:
        batch = int(value(row, "batch_size", table.path))
        seconds, roofline = found.get(batch, (0.0, 0.0))
        found[batch] = (seconds + value(row, "seconds", table.path), roofline + (row.get("datasheet_s") or 0.0))
    return table, found


def token_seconds(results: Results) -> tuple[ResultTable, float, str]:
    """Return the seconds per verified token of the preset of vLLM in 2025, and their interval in words.

    Raises
    ------
    InputError
        If the file of the preset lacks the value.
    """
    table = results.table(ENGINE_FILE)
    for row in table.rows:
        if row.get("field") == "token_s" and row.get("unit") == "us":
            words = f"{value(row, 'lower', table.path)} to {value(row, 'upper', table.path)}"
            return table, MICRO * float(row["value"]), words
    raise fail("token_s", None, f"is missing in {ENGINE_FILE}", make_again(ENGINE_FILE))


def _difference_of_heads(cells: Sequence[Row]) -> float | None:
    """Return the median difference of two draft heads on the same task, after removing their median ratio."""
    tasks: dict[str, list[float]] = {}
    for row in cells:
        tasks.setdefault(str(row["task"]), []).append(float(row["cycle_s"]))
    ratios = [pair[1] / pair[0] for pair in tasks.values() if len(pair) == 2]
    if not ratios:
        return None
    middle = median(ratios)
    return median(abs(ratio / middle - 1) for ratio in ratios)


def _published_shapes() -> list[tuple[int, int, int]]:
    """Return draft length, top-k and verified tokens of the published runs, chains before trees."""
    found = {
        (int(row["top_k"]), int(row["draft_len"]), int(row["verify_tokens"]))
        for row in published.rows("specbundle_cycles")
    }
    return [(draft_len, top_k, tokens) for top_k, draft_len, tokens in sorted(found)]


def _shape_row(shape: tuple[int, int, int], predicted_s: tuple[float, float], token_s: float) -> Row:
    """Return the errors of one draft shape.

    Parameters
    ----------
    shape : tuple of int
        Draft length, top-k and verified tokens.
    predicted_s : tuple of float
        Predicted and roofline seconds of a cycle.
    token_s : float
        Host seconds per verified token of the vLLM preset.
    """
    depth, width, tokens = shape
    seconds, roofline = predicted_s
    cells = published.rows("specbundle_cycles", draft_len=depth, top_k=width, preset_from="no")
    measured = [float(row["cycle_s"]) for row in cells]
    row: Row = {"draft_len": depth, "top_k": width, "verify_tokens": tokens, "evidence": "published"}
    row |= {"measured_s": median(measured), "predicted_s": seconds, "floor_median": _difference_of_heads(cells)}
    row |= _errors([seconds / cycle - 1 for cycle in measured])
    row["naive_median_ape"] = _errors([roofline / cycle - 1 for cycle in measured])["median_ape"]
    with_term = seconds + tokens * token_s
    row["token_median_ape"] = _errors([with_term / cycle - 1 for cycle in measured])["median_ape"]
    return row


def specbundle(results: Results) -> Table:
    """Return EAGLE-3 cycle times on an H200 by draft shape, on six tasks."""
    engine, token_s, _ = token_seconds(results)
    tables = [engine]
    rows: list[Row] = []
    for depth, width, tokens in _published_shapes():
        table, cycles = _cycles(results, f"endtoend/specbundle-{depth}-{width}.json")
        tables.append(table)
        rows.append(_shape_row((depth, width, tokens), cycles[1], token_s))
    return Table(
        "specbundle",
        "Cycles of Llama-3.1-8B with EAGLE-3 on one H200 under SGLang, batch 1",
        (
            Column("draft_len", "draft length", digits=0),
            Column("top_k", "top-k", digits=0),
            Column("verify_tokens", "tokens verified", digits=0),
            Column("n", "runs", digits=0),
            ms_column("measured_s", "measured, median"),
            ms_column("predicted_s", "predicted"),
            percent_column("median_ape", "median error"),
            percent_column("mape", "mean error"),
            percent_column("max_ape", "largest error"),
            percent_column("bias", "bias", signed=True),
            percent_column("naive_median_ape", "roofline baseline: median error"),
            percent_column("token_median_ape", "with the token term of vLLM: median error"),
            percent_column("floor_median", "noise floor"),
            EVIDENCE,
        ),
        rows,
        joined({"measured": "published", "predicted": _PREDICTED}),
        commits(tables),
        sources=[published.rows("specbundle_cycles")[0]["source"]],
        notes=[
            "The preset sglang-2026 was derived from SpecBundle runs of four models, these tasks included, so the "
            "errors are not those of unseen runs.",
            "The runs are of six tasks with two draft heads each. A measured cycle is tokens per cycle "
            "divided by tokens per second of the whole run. It contains prefill, mostly in tasks with short "
            "answers.",
            "Noise floor: median difference between two draft heads of one shape on the same task.",
        ],
    )


def _best_tau(reported: Sequence[float], per_token: Sequence[float]) -> tuple[float, float]:
    """Return the tau for which ``tau * per_token`` has the smallest mean absolute error, and that error.

    Examples
    --------
    >>> _best_tau([1.8, 1.8, 1.5], [0.9, 0.9, 0.7])[0]
    2.0
    """

    def error(tau: float) -> float:
        return mean([abs(tau * shape / speedup - 1) for speedup, shape in zip(reported, per_token)])

    best = min((speedup / shape for speedup, shape in zip(reported, per_token)), key=error)
    return best, error(best)


def _ladder(results: Results, engine: str) -> tuple[list[ResultTable], dict[int, float], dict[int, float]]:
    """Return the result files, and the plain-to-cycle time ratio by batch, predicted and from the roofline."""
    plain_table, plain = _cycles(results, f"endtoend/ladder-plain-{engine}.json")
    table, drafted = _cycles(results, f"endtoend/ladder-eagle3-{engine}.json")
    predicted = {batch: plain[batch][0] / cycle for batch, (cycle, _) in drafted.items()}
    roofline = {batch: plain[batch][1] / cycle for batch, (_, cycle) in drafted.items()}
    return [plain_table, table], predicted, roofline


def sglang_ladder(results: Results) -> Table:
    """Return the speed-up of EAGLE-3 by batch on an H100, with one fitted tau for the whole series."""
    cells = published.rows("eagle3_sglang_ladder")
    reported = {int(row["batch_size"]): float(row["speedup"]) for row in cells}
    rows: list[Row] = [{"batch_size": batch, "reported": speedup} for batch, speedup in reported.items()]
    tables: list[ResultTable] = []
    notes: list[str] = []
    columns = [Column("batch_size", "batch", digits=0), Column("reported", "reported", digits=2)]
    heads = [
        float(row["tokens_per_cycle"])
        for row in published.rows("specbundle_cycles", draft_len=3.0, top_k=1.0, task="mtbench")
    ]
    for engine in PRESETS:
        files, predicted, roofline = _ladder(results, engine)
        tables += files
        for name, shape in ((engine, predicted), *((("naive", roofline),) if engine == PRESETS[0] else ())):
            per_token = [shape[batch] for batch in reported]
            tau, error = _best_tau(list(reported.values()), per_token)
            for row, part in zip(rows, per_token):
                row |= {name: tau * part, f"{name}_error": tau * part / row["reported"] - 1}
            words = {"naive": "roofline baseline"}.get(name, f"preset {name}")
            columns += [Column(name, words, digits=2), percent_column(f"{name}_error", "error", signed=True)]
            known = mean([abs(mean(heads) * part / row["reported"] - 1) for row, part in zip(rows, per_token)])
            notes.append(
                f"{words[0].upper()}{words[1:]}: a fitted tau of {tau:.2f} gives a mean error of {percent(error)}. "
                f"SpecBundle reports {mean(heads):.2f} tokens per cycle for such heads on MT-Bench, which would "
                f"give {percent(known)}."
            )
    for row in rows:
        row["evidence"] = "published"
    return Table(
        "sglang-ladder",
        "Speed-up of EAGLE-3 chains of 3 by batch, Llama-3.1-8B on one H100 under SGLang",
        (*columns, EVIDENCE),
        rows,
        joined({"reported": "published", "predicted": f"{_PREDICTED}, one tau"}),
        commits(tables),
        sources=[cells[0]["source"]],
        notes=[
            *notes,
            "The presets are those of 2025. The series is one of three sources of the SGLang preset.",
            "The series was printed without tokens per cycle, so one number is fitted for all nine batches. The "
            "decrease with the batch is predicted; its level is not.",
            "The series is not monotone between batch 32 and 48, which no single tau can follow.",
        ],
    )
