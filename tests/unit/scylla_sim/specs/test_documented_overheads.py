"""The table of overheads in the documentation has the values of the presets."""

from __future__ import annotations

import re

from checkout import ROOT

from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine


def overheads(engine: Engine) -> dict[str, str]:
    """Return the cells of an engine as the page prints them; EAGLE-3 fuses hidden states."""
    one_pass = engine.draft_pass_host_s + engine.fused_pass_host_s
    return {
        "host time of a step": f"{1e3 * engine.host_s:.2f} ms",
        "more in a cycle with a draft": f"{1e3 * engine.draft_host_s:.2f} ms",
        "draft pass of EAGLE-3": f"{1e3 * one_pass:.2f} ms",
        "verified token": f"{1e6 * engine.token_s:.1f} µs",
        "largest captured step": (
            f"{engine.max_graph_tokens} tokens"
            if engine.max_graph_tokens
            else f"{engine.max_graph_batch} sequences"
        ),
    }


def test_the_page_has_the_overheads_of_the_presets() -> None:
    text = (ROOT / "docs/why-is-it-slower.md").read_text(encoding="utf-8")
    text = text[text.index("| overhead or limit |") :].split("\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)]
    names = lines[0][1:]
    numbers = [line for line in lines[2:] if line[0] != "versions"]
    for name, cells in zip(names, zip(*(line[1:] for line in numbers))):
        assert dict(zip((line[0] for line in numbers), cells)) == overheads(catalog.engine(name)), name
