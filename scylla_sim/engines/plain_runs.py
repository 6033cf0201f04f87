"""Served figures of a benchmark of plain decoding, which has no acceptance."""

from __future__ import annotations

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail
from scylla_sim.engines import bench_serve, guidellm
from scylla_sim.engines.text_file import open_text


def read_plain(path: str) -> MeasuredServing | None:
    """Return the served figures of a run that counts no drafts; ``None`` for a file of another kind.

    Results of ``vllm bench serve`` and of SGLang's ``bench_serving`` are read, as JSON or text, and GuideLLM's
    reports whose answers came token by token.

    Raises
    ------
    InputError
        For a file of several runs, and for one that cannot be read.
    """
    with open_text(path) as text:
        start = text.start()
        if guidellm.is_guidellm(start):
            runs = [run for tokens, _, run in guidellm.runs(text) if tokens is None or tokens <= guidellm.PLAIN]
        elif any(mark in start for mark in bench_serve.MARKS):
            runs = bench_serve.plain_runs(text)
        else:
            return None
        if len(runs) > 1:
            raise fail("file", text.name, f"must hold one run without a draft, and holds {len(runs)}", "split it")
    return runs[0] if runs else None
