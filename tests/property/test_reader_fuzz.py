"""Files of engines, mixed, cut, reordered, prefixed and concatenated: right totals or one line of error."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scylla_sim.checks import InputError
from scylla_sim.engines import logs
from scylla_sim.engines.acceptance_json import content_of
from scylla_sim.engines.counts import Counts
from scylla_sim.engines.measurement import Measurement, choose
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Totals
from scylla_sim.records import dump_json

FEW = settings(max_examples=25, deadline=None)

NOISE = [
    "",
    "INFO:     10.0.0.1:5000 - POST /v1/completions HTTP/1.1 200 OK",
    "INFO request accepted, position 3 in queue",
    "WARNING accept len is not known yet",
    'DEBUG {"accepted": true, "drafted": 7}',
    "# HELP python_info accepted or not",
    "\tat com.example.Draft(Draft.java:12) \ufffd \u00e9\u4e2d",
    "x" * 300,
]
PREFIXES = ["", "pod-1 | ", "2026-01-01T00:00:00.1Z stdout F ", "\x1b[36m(EngineCore_DP0 pid=9)\x1b[0m ", "   "]


@dataclass(frozen=True)
class Sample:
    """Lines of one file, and the tokens per cycle and the cycles that they mean; some must stay in order."""

    kind: str
    lines: tuple[str, ...]
    weight: float
    tau: float
    ordered: bool = False


@st.composite
def chains(draw: st.DrawFn, length: int) -> tuple[int, list[int]]:
    """Return cycles, and accepted counts that fall with the position."""
    cycles = draw(st.integers(1, 900))
    counts = sorted((draw(st.integers(0, cycles)) for _ in range(length)), reverse=True)
    return cycles, counts


@st.composite
def vllm_logs(draw: st.DrawFn) -> Sample:
    """Return a vLLM log with records of one draft length."""
    length = draw(st.integers(1, 5))
    windows = draw(st.lists(chains(length), min_size=1, max_size=5))
    lines = []
    for second, (n, counts) in enumerate(windows):
        rates = ", ".join(f"{count / n:.3f}" for count in counts)
        lines.append(
            f"INFO 09-08 14:09:{second:02} [metrics.py:120] SpecDecoding metrics: Mean acceptance length: "
            f"{1 + sum(counts) / n:.2f}, Accepted throughput: 1.00 tokens/s, Drafted throughput: 2.00 tokens/s, "
            f"Accepted: {sum(counts)} tokens, Drafted: {n * length} tokens, Per-position acceptance rate: {rates}, "
            f"Avg Draft acceptance rate: {100 * sum(counts) / (n * length):.1f}%"
        )
    cycles, tokens = (sum(column) for column in zip(*((n, sum(counts)) for n, counts in windows)))
    return Sample("vLLM log", tuple(lines), cycles, 1 + tokens / cycles)


@st.composite
def vllm_pages(draw: st.DrawFn) -> Sample:
    """Return a page of several engines of one model, metric by metric as Prometheus' clients write it."""
    length = draw(st.integers(1, 4))
    engines = draw(st.lists(chains(length), min_size=1, max_size=3))
    labels = [f'engine="{i}",model_name="m"' for i in range(len(engines))]
    lines = ["# TYPE vllm:spec_decode_num_drafts counter"]
    for name, of in (
        ("drafts", lambda n, counts: n),
        ("draft_tokens", lambda n, counts: n * length),
        ("accepted_tokens", lambda n, counts: sum(counts)),
    ):
        for label, engine in zip(labels, engines):
            lines.append(f"vllm:spec_decode_num_{name}_total{{{label}}} {of(*engine):.1f}")
    for label, (_, counts) in zip(labels, engines):
        for i, count in enumerate(counts):
            name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
            lines.append(f'{name}{{{label},position="{i}"}} {count:.1f}')
    cycles, tokens = (sum(column) for column in zip(*((n, sum(counts)) for n, counts in engines)))
    return Sample("vLLM metrics", tuple(lines), cycles, 1 + tokens / cycles)


@st.composite
def sglang_logs(draw: st.DrawFn) -> Sample:
    """Return an SGLang log with idle windows."""
    windows = draw(st.lists(st.tuples(st.integers(1, 50), st.integers(100, 390)), min_size=1, max_size=6))
    lines = [
        f"[2026-08-22 10:27:{i:02} TP0] Decode batch, #running-req: {r}, #token: 9, accept len: {x / 100:.2f}, "
        f"accept rate: 0.39, cuda graph: True, gen throughput (token/s): 178.86, #queue-req: 0"
        for i, (r, x) in enumerate(windows)
    ]
    if draw(st.booleans()):
        lines.append(lines[0].replace(f"accept len: {windows[0][1] / 100:.2f}", "accept len: 0.00"))
    requests, lengths = np.array(windows).T
    return Sample("SGLang log", tuple(lines), len(windows), float(np.average(lengths / 100, weights=requests)))


@st.composite
def trtllm_lines(draw: st.DrawFn) -> Sample:
    """Return iterations of TensorRT-LLM, one a line, in both notations."""
    length = draw(st.integers(1, 5))
    rows, cycles, tokens = [], 0, 0
    for i in range(draw(st.integers(1, 5))):
        n = draw(st.integers(1, 64))
        accepted = draw(st.integers(0, n * length))
        cycles, tokens = cycles + n, tokens + accepted
        stats = {"numDraftTokens": n * length, "numAcceptedTokens": accepted, "numRequestsWithDraftTokens": n}
        rows.append({"iter": i, "specDecodingStats": stats, "inflightBatchingStats": {"numGenRequests": n}})
    notation = draw(st.sampled_from([json.dumps, str]))
    return Sample("TensorRT-LLM statistics", tuple(map(notation, rows)), cycles, 1 + tokens / cycles)


@st.composite
def llama_logs(draw: st.DrawFn) -> Sample:
    """Return requests of llama-server, two lines each."""
    lines, cycles, tokens = [], 0, 0
    for i in range(draw(st.integers(1, 4))):
        n = draw(st.integers(1, 300))
        accepted = draw(st.integers(1, 4 * n))
        drafted = draw(st.integers(accepted, 4 * n))
        cycles, tokens = cycles + n, tokens + accepted
        lines += [
            f"slot print_timing: id  0 | task {i} |        eval time = 100.50 ms / {n + 1 + accepted} tokens",
            f"slot print_timing: draft acceptance = 0.50000 ( {accepted} accepted / {drafted} generated)",
        ]
    return Sample("llama.cpp log", tuple(lines), cycles, 1 + tokens / cycles, ordered=True)


@st.composite
def bench_texts(draw: st.DrawFn) -> Sample:
    """Return one result table of ``vllm bench serve``."""
    n, counts = draw(chains(draw(st.integers(1, 4))))
    assume(sum(counts) > 0)
    values = {"Acceptance length:": f"{1 + sum(counts) / n:.2f}", "Drafts:": n, "Draft tokens:": n * len(counts)}
    lines = ["============ Serving Benchmark Result ============", f"{'Mean TPOT (ms):':40} 12.65"]
    lines += [f"{key:40} {value}" for key, value in (values | {"Accepted tokens:": sum(counts)}).items()]
    lines += [f"  {f'Position {i}:':38} {100 * count / n:.2f}" for i, count in enumerate(counts)]
    return Sample("benchmark text", (*lines, "=" * 50), n, 1 + sum(counts) / n, ordered=True)


@st.composite
def llama_positions(draw: st.DrawFn) -> Sample:
    """Return requests of llama-server since June 2026, with rates by position."""
    lines, cycles, tokens = [], 0, 0
    length = draw(st.integers(1, 4))
    for i in range(draw(st.integers(1, 3))):
        n, counts = draw(chains(length))
        assume(sum(counts) > 0)
        cycles, tokens = cycles + n, tokens + sum(counts)
        rates = ", ".join(f"{count / n:.3f}" for count in counts)
        lines += [
            f"slot print_timing: id  0 | task {i} |        eval time = 100.50 ms / {n + 1 + sum(counts)} tokens",
            f"slot print_timing: draft acceptance = 0.50000 ( {sum(counts)} accepted / {n * length} generated), "
            f"mean acceptance length = {1 + sum(counts) / n:.2f}, acceptance rate per position = ({rates})",
        ]
    return Sample("llama.cpp log", tuple(lines), cycles, 1 + tokens / cycles, ordered=True)


@st.composite
def bench_jsons(draw: st.DrawFn) -> Sample:
    """Return the JSON result of ``vllm bench serve``."""
    n, counts = draw(chains(draw(st.integers(1, 4))))
    result = {
        "mean_tpot_ms": 12.65,
        "spec_decode_num_drafts": n,
        "spec_decode_draft_tokens": n * len(counts),
        "spec_decode_accepted_tokens": sum(counts),
        "spec_decode_per_position_acceptance_rates": [count / n for count in counts],
    }
    text = json.dumps(result, indent=draw(st.sampled_from([None, 1])))
    return Sample("benchmark result", tuple(text.split("\n")), n, 1 + sum(counts) / n, ordered=True)


@st.composite
def reports(draw: st.DrawFn) -> Sample:
    """Return a report of GuideLLM, or a run of SpecForge."""
    tau = draw(st.integers(103, 390)) / 100
    if draw(st.booleans()):
        parts = {"successful": {"mean": tau, "median": tau, "count": 4}}
        metrics = {"iter_tokens_per_iteration": parts, "output_token_count": parts}
        value = {"metadata": {"guidellm_version": "0.5"}, "benchmarks": [{"metrics": metrics}]}
        return Sample("GuideLLM report", (json.dumps(value),), 1, tau, ordered=True)
    run = {"batch_size": 1, "steps": 4, "topk": 1, "metrics": [{"accept_length": tau, "output_throughput": 9.0}]}
    return Sample("SpecForge benchmark", (json.dumps({"m": [run]}),), 1, tau, ordered=True)


DOCUMENTS = st.one_of(bench_jsons(), reports())
SAMPLES = st.one_of(
    vllm_logs(), vllm_pages(), sglang_logs(), trtllm_lines(), llama_logs(), llama_positions(), bench_texts()
)
RECORDS = st.one_of(vllm_logs(), sglang_logs(), trtllm_lines(), llama_logs(), llama_positions())


def read(text: str | bytes) -> Measurement:
    """Read a file as ``ingest`` does, down to its JSON text."""
    file = TextFile.of(text)
    item = choose(logs.read(file), None, "f")
    unknown = item.source in ("SGLang log", "GuideLLM report")
    content = content_of(item, draft_len=4 if unknown else None)
    assert (
        1 <= content.facts["tokens_per_cycle"] <= content.facts.get("draft_len_max", content.facts["draft_len"]) + 1
    )
    assert len(dump_json(content.facts | {"rows": content.rows})) > 100
    return item


def tau_of(item: Measurement) -> float:
    """Return the tokens per cycle of a measurement."""
    found = item.found
    if isinstance(found, Counts):
        return float(found.tokens_per_cycle().value)
    assert not isinstance(found, Totals)
    return float(found.tau().value)


def cycles_of(item: Measurement) -> float:
    """Return the cycles of a measurement, or its windows if the engine counts no cycles."""
    found = item.found
    if isinstance(found, Counts):
        return found.cycles
    assert not isinstance(found, Totals)
    return float(found.weight.size) if found.cycles is None else found.cycles


@st.composite
def disguised(draw: st.DrawFn, lines: tuple[str, ...], ordered: bool) -> str | bytes:
    """Return lines among noise, in another order, behind prefixes, and in another encoding."""
    kept = list(lines)
    if not ordered:
        kept = draw(st.permutations(kept))
    prefix = draw(st.sampled_from(PREFIXES))
    out = []
    for line in kept:
        out += [prefix + noise for noise in draw(st.lists(st.sampled_from(NOISE), max_size=2))]
        out.append(prefix + line)
    text = draw(st.sampled_from(["\n", "\r\n"])).join(out) + draw(st.sampled_from(["", "\n"]))
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))


@FEW
@given(st.data(), SAMPLES)
def test_noise_order_prefixes_and_encodings_do_not_change_the_result(data, sample):
    item = read(data.draw(disguised(sample.lines, sample.ordered)))
    assert tau_of(item) == pytest.approx(sample.tau)
    assert cycles_of(item) == sample.weight
    assert item.skipped == 0


@FEW
@given(st.data(), st.one_of(vllm_logs(), sglang_logs(), llama_logs()))
def test_exports_as_json_do_not_change_the_result(data, sample):
    rows = [{"line": line, "time": str(i)} for i, line in enumerate(sample.lines)]
    export = data.draw(
        st.sampled_from([json.dumps(rows), json.dumps(rows, indent=2), "\n".join(map(json.dumps, rows))])
    )
    item = read(export)
    assert (tau_of(item), cycles_of(item)) == (pytest.approx(sample.tau), sample.weight)


@FEW
@given(st.data(), RECORDS)
def test_a_cut_file_gives_its_whole_records_or_one_line(data, sample):
    text = "\n".join(sample.lines)
    cut = data.draw(st.integers(0, len(text) - 1))
    whole = text[:cut].count("\n") // (2 if sample.ordered else 1)
    done = text[:cut].split("\n")[: whole * (2 if sample.ordered else 1)]
    try:
        item = read(text[:cut])
    except InputError as error:
        assert not done or "\n" not in str(error)
        assert not done or sample.kind != "vLLM log", "whole records are read"
        return
    expected = [read("\n".join(done))] if done else []
    # the last record may be whole although its line is cut behind it
    expected += [read("\n".join(sample.lines[: len(done) + (2 if sample.ordered else 1)]))]
    assert (tau_of(item), cycles_of(item)) in [(pytest.approx(tau_of(e)), cycles_of(e)) for e in expected]


@FEW
@given(st.data(), st.one_of(vllm_pages(), bench_texts()))
def test_a_page_or_table_that_is_cut_gives_all_or_one_line(data, sample):
    text = "\n".join(sample.lines)
    try:
        item = read(text[: data.draw(st.integers(0, len(text) - 1))])
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert tau_of(item) == pytest.approx(sample.tau, rel=0.02)


@FEW
@given(st.data(), DOCUMENTS)
def test_documents_in_any_encoding_are_read_whole_and_refused_if_cut(data, sample):
    text = "\n".join(sample.lines)
    encoded = text.encode(data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])))
    assert tau_of(read(encoded)) == pytest.approx(sample.tau)
    with pytest.raises(InputError) as refused:
        read(text[: data.draw(st.integers(0, len(text) - 1))])
    assert "\n" not in str(refused.value)


@FEW
@given(st.data(), SAMPLES, SAMPLES)
def test_two_files_in_one_add_up_or_are_refused(data, first, second):
    try:
        item = read("\n".join([*first.lines, *second.lines]))
    except InputError as error:
        message = str(error)
        assert any(word in message for word in ("several kinds", "appears twice", "series=None"))
        return
    assert first.kind == second.kind
    one, two = (read("\n".join(each.lines)) for each in (first, second))
    assert cycles_of(item) == cycles_of(one) + cycles_of(two)
    low, high = sorted((tau_of(one), tau_of(two)))
    assert low - 1e-9 <= tau_of(item) <= high + 1e-9


@settings(FEW, max_examples=50)
@given(st.data(), st.one_of(SAMPLES, DOCUMENTS), st.one_of(SAMPLES, DOCUMENTS))
def test_damage_of_any_kind_is_never_a_traceback(data, first, second):
    text = "\n".join([*first.lines, *data.draw(st.sampled_from([(), second.lines]))])
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 40))
        piece = data.draw(
            st.one_of(
                st.sampled_from(
                    ["", ".", "-", "e", "9" * 400, "1e999", "nan", "Infinity", "\0", "{", "[" * 3000, '"']
                ),
                st.text(max_size=6),
                st.just(text[: data.draw(st.integers(0, 200))]),
            )
        )
        text = text[:at] + piece + text[at + length :]
    try:
        read(text.encode("utf-8", "surrogatepass") + data.draw(st.sampled_from([b"", b"\xff\xfe", b"\x80"])))
    except InputError as error:
        assert "\n" not in str(error)
