"""Tables of published step and cycle times of Llama-3.1-8B: SpecBundle, EAGLE-3's batch series, verification."""

from __future__ import annotations

from collections.abc import Sequence

from paper.render.table import Column, Table, joined, mean, percent
from paper.sources import published
from paper.sources.inputs import how_to_make
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from paper.tables.steps import published_step_s
from scylla_sim.checks import fail
from scylla_sim.records import Row
from scylla_sim.units import MICRO

_BREAKDOWN = "scylla-sim predict --model llama-3.1-8b --context 512 --breakdown "
_H200 = _BREAKDOWN + "--hardware h200-sxm --engine sglang --batch 1 "
_LADDER = _BREAKDOWN + "--hardware h100-sxm --batch 2,4,8,16,24,32,48,56,64 "
_EAGLE3 = "--draft eagle3 --tokens-per-cycle 1 "
TREES = ((3, 1, 4), (5, 1, 6), (7, 1, 8), (5, 3, 6), (7, 4, 8))
"""Draft length, candidates a depth and tokens verified of the SpecBundle runs."""
PRESETS = ("sglang", "vllm")

CYCLES = {
    "endtoend/specbundle-0-1.json": _H200 + "--draft none ",
    **{
        f"endtoend/specbundle-{depth}-{width}.json": _H200
        + _EAGLE3
        + f"--draft-len {depth} --top-k {width} --verify-tokens {tokens} "
        for depth, width, tokens in TREES
    },
    **{f"endtoend/ladder-plain-{engine}.json": f"{_LADDER}--draft none --engine {engine} " for engine in PRESETS},
    **{
        f"endtoend/ladder-eagle3-{engine}.json": f"{_LADDER}{_EAGLE3}--draft-len 3 --engine {engine} "
        for engine in PRESETS
    },
}
"""Result file -> the command behind it, op by op; the tokens per cycle do not change a cycle's seconds."""
ENGINE_FILE = "endtoend/engine-vllm.json"


def _percent(key: str, heading: str, *, signed: bool = False) -> Column:
    return Column(key, heading, "%", digits=1, scale=100, signed=signed)


def _errors(errors: Sequence[float]) -> Row:
    """Count, median, mean and largest absolute error, and the median signed one."""
    size = sorted(abs(error) for error in errors)
    return {
        "n": len(size),
        "median_ape": _median(size),
        "mape": mean(size),
        "max_ape": size[-1],
        "bias": _median(sorted(errors)),
    }


def _median(ordered: Sequence[float]) -> float:
    return mean(ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1])


def _cycles(results: Results, path: str) -> tuple[ResultTable, dict[int, tuple[float, float]]]:
    """Batch -> seconds of a cycle, and the datasheet's roofline of the same operations."""
    table = results.table(path, f"{CYCLES[path]}--format json --out results/{path}")
    found: dict[int, tuple[float, float]] = {}
    for row in table.rows:
        batch = int(value(row, "batch_size", table.path))
        seconds, naive = found.get(batch, (0.0, 0.0))
        found[batch] = (seconds + value(row, "seconds", table.path), naive + (row.get("datasheet_s") or 0.0))
    return table, found


def _token_term(results: Results) -> tuple[ResultTable, float, str]:
    """Seconds per token of the vLLM preset, fitted to verification of 128 and 256 tokens; its interval in words."""
    table = results.table(ENGINE_FILE, "scylla-sim catalog engines vllm --format json")
    for row in table.rows:
        if row.get("field") == "token_s" and row.get("unit") == "us":
            words = f"{value(row, 'lower', table.path)} to {value(row, 'upper', table.path)}"
            return table, MICRO * float(row["value"]), words
    raise fail("token_s", None, f"is missing in {ENGINE_FILE}")


def _heads_apart(cells: Sequence[Row]) -> float | None:
    """Median difference of two draft heads of one shape on the same task, their median ratio taken out."""
    tasks: dict[str, list[float]] = {}
    for row in cells:
        tasks.setdefault(str(row["task"]), []).append(float(row["cycle_s"]))
    ratios = sorted(pair[1] / pair[0] for pair in tasks.values() if len(pair) == 2)
    if not ratios:
        return None
    middle = _median(ratios)
    return _median(sorted(abs(ratio / middle - 1) for ratio in ratios))


def specbundle(results: Results) -> Table:
    """Cycle times of EAGLE-3 on an H200 by draft length, on the tasks that the engine preset was not taken from."""
    engine, token_s, _ = _token_term(results)
    tables = [engine]
    rows: list[Row] = []
    for depth, width, tokens in ((0, 1, 1), *TREES):
        table, cycles = _cycles(results, f"endtoend/specbundle-{depth}-{width}.json")
        tables.append(table)
        seconds, naive = cycles[1]
        cells = published.rows("specbundle_cycles", draft_len=depth, top_k=width, preset_from="no")
        measured = [float(row["cycle_s"]) for row in cells]
        row: Row = {"draft_len": depth, "top_k": width, "verify_tokens": tokens, "evidence": "published"}
        row |= {
            "measured_s": _median(sorted(measured)),
            "predicted_s": seconds,
            "floor_median": _heads_apart(cells),
        }
        row |= _errors([seconds / cycle - 1 for cycle in measured])
        row["naive_median_ape"] = _errors([naive / cycle - 1 for cycle in measured])["median_ape"]
        with_term = seconds + tokens * token_s
        row["token_median_ape"] = _errors([with_term / cycle - 1 for cycle in measured])["median_ape"]
        rows.append(row)
    return Table(
        "specbundle",
        "Cycles of Llama-3.1-8B with EAGLE-3 on one H200 under SGLang, batch 1",
        (
            Column("draft_len", "draft length", digits=0),
            Column("top_k", "top-k", digits=0),
            Column("verify_tokens", "tokens verified", digits=0),
            Column("n", "runs", digits=0),
            Column("measured_s", "measured, median", "ms", digits=2, scale=1e3),
            Column("predicted_s", "predicted", "ms", digits=2, scale=1e3),
            _percent("median_ape", "median error"),
            _percent("mape", "mean"),
            _percent("max_ape", "largest"),
            _percent("bias", "bias", signed=True),
            _percent("naive_median_ape", "naive roofline: median"),
            _percent("token_median_ape", "with the per-token term of vLLM: median"),
            _percent("floor_median", "noise floor"),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": "published", "predicted": "kernels calibrated on kernels, engine preset"}),
        commits(tables),
        sources=[published.rows("specbundle_cycles")[0]["source"]],
        notes=[
            "The SGLang preset was derived from the MT-Bench runs, which are not scored: host work and drafting "
            "from chains (top-k 1), what a tree adds from trees (top-k 3 and 4).",
            "Six other tasks, two draft heads each. A measured cycle is tokens per cycle over tokens per second of "
            "the whole run, so prefill is in it, most on tasks with short answers.",
            "Noise floor: median difference between two draft heads of one shape on the same task.",
        ],
    )


def _best_tau(reported: Sequence[float], per_token: Sequence[float]) -> tuple[float, float]:
    """The one tau whose ``tau * per_token`` has the least mean absolute error, and that error.

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
    """Result files, and per batch plain over cycle seconds: predicted, and by the datasheet."""
    plain_table, plain = _cycles(results, f"endtoend/ladder-plain-{engine}.json")
    table, drafted = _cycles(results, f"endtoend/ladder-eagle3-{engine}.json")
    predicted = {batch: plain[batch][0] / cycle for batch, (cycle, _) in drafted.items()}
    naive = {batch: plain[batch][1] / cycle for batch, (_, cycle) in drafted.items()}
    return [plain_table, table], predicted, naive


def sglang_ladder(results: Results) -> Table:
    """Speed-up of EAGLE-3 against batch on an H100: one tau for the whole series."""
    cells = published.rows("eagle3_sglang_ladder")
    reported = {int(row["batch_size"]): float(row["speedup"]) for row in cells}
    rows: list[Row] = [{"batch_size": batch, "reported": speedup} for batch, speedup in reported.items()]
    tables: list[ResultTable] = []
    notes: list[str] = []
    columns = [Column("batch_size", "batch", digits=0), Column("reported", "reported", digits=2)]
    head = [
        float(row["tokens_per_cycle"])
        for row in published.rows("specbundle_cycles", draft_len=3.0, top_k=1.0, task="mtbench")
    ]
    for engine in PRESETS:
        files, predicted, naive = _ladder(results, engine)
        tables += files
        for name, shape in ((engine, predicted), *((("naive", naive),) if engine == PRESETS[0] else ())):
            per_token = [shape[batch] for batch in reported]
            tau, error = _best_tau(list(reported.values()), per_token)
            for row, part in zip(rows, per_token):
                row |= {name: tau * part, f"{name}_error": tau * part / row["reported"] - 1}
            words = {"naive": "naive roofline"}.get(name, f"{name} preset")
            columns += [Column(name, words, digits=2), _percent(f"{name}_error", "error", signed=True)]
            known = mean([abs(mean(head) * part / row["reported"] - 1) for row, part in zip(rows, per_token)])
            notes.append(
                f"{words}: one tau of {tau:.2f} gives a mean error of {percent(error)}; {mean(head):.2f} tokens "
                f"per cycle, as SpecBundle reports of such heads on MT-Bench, would give {percent(known)}."
            )
    for row in rows:
        row["evidence"] = "published"
    return Table(
        "sglang-ladder",
        "Speed-up of EAGLE-3 chains of 3 against batch, Llama-3.1-8B on one H100 under SGLang",
        (*columns, Column("evidence", "evidence")),
        rows,
        joined({"reported": "published", "predicted": "kernels calibrated on kernels, engine preset, one tau"}),
        commits(tables),
        sources=[cells[0]["source"]],
        notes=[
            *notes,
            "Tokens per cycle were not printed with the series, so one number for all nine batches is fitted: the "
            "fall with batch is predicted, its level is not. The series is not monotone (batch 32 to 48), which no "
            "single tau can follow.",
        ],
    )


def verify_gap(results: Results) -> Table:
    """What a published fit of verification takes beyond the kernels, and what one term per token leaves of it."""
    path = "steps/llama-8b-verify.json"
    table = results.table(path, how_to_make(path))
    engine, token_s, interval = _token_term(results)
    rows: list[Row] = []
    for row in table.rows:
        batch, context, width = (
            value(row, name, table.path) for name in ("batch_size", "context_len", "verify_tokens")
        )
        tokens = batch * width
        if tokens < 128:
            continue
        reported = published_step_s("forward", tokens, batch * context)
        kernels = value(row, "verify_s", table.path)
        rows.append(
            {"tokens": tokens, "context_len": context, "reported_s": reported, "kernels_s": kernels}
            | {"gap_s": reported - kernels, "per_token_s": (reported - kernels) / tokens}
            | {"error": kernels / reported - 1, "with_term_error": (kernels + tokens * token_s) / reported - 1}
            | {"evidence": f"published, {value(row, 'evidence', table.path)}"}
        )
    if not rows:
        raise fail("verify_tokens", "[]", f"none of 128 or more in {path}")
    each = sorted(row["per_token_s"] for row in rows)
    return Table(
        "verify-gap",
        "Verification of 128 and more tokens: a published fit beyond the kernels, Llama-3.1-8B on one H100",
        (
            Column("tokens", "tokens verified", digits=0),
            Column("context_len", "context", digits=0),
            Column("reported_s", "published fit", "ms", digits=2, scale=1e3),
            Column("kernels_s", "kernels", "ms", digits=2, scale=1e3),
            Column("gap_s", "gap", "ms", digits=2, scale=1e3),
            Column("per_token_s", "gap per token", "us", digits=1, scale=1e6),
            _percent("error", "error of the kernels", signed=True),
            _percent("with_term_error", "with the term", signed=True),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"fit": "published", "kernels": ", ".join(table.levels())}),
        commits([table, engine]),
        sources=[published.rows("step_times", component="forward")[0]["source"]],
        notes=[
            f"Gap per token: median {_median(each) / MICRO:.1f} us, from {each[0] / MICRO:.1f} to "
            f"{each[-1] / MICRO:.1f}; the vLLM preset has {token_s / MICRO:.1f} us, {interval}. This is where the "
            "term was fitted, so the last column is no test of it; SpecBundle and the SGLang series are.",
            "The source fitted a straight line to batches of 1 to 64; whether the gap is host work or the line "
            "going on, it does not tell.",
        ],
    )
