"""Searching the bytes of blocks finds the lines, numbers and kinds that reading every line finds."""

from __future__ import annotations

import json
import re
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.engines import logs, text_file
from scylla_sim.engines.text_file import TextFile

PARTS = sorted({part for kind in logs.KINDS.values() for part in kind.parts})
SPOILED = [part[:-1] for part in PARTS] + [part[1:] for part in PARTS] + ["accepted", "Spec", "metrics:", "ccept"]
MARKED = [*PARTS, "Decode batch, accept len: 2.50", "draft acceptance = 0.5", "Acceptance length:   3.20"]
WORDS = st.one_of(st.sampled_from(MARKED + SPOILED), st.sampled_from(["", "\u00e9\u4e2d", "\0", "x" * 50]))
LINES = st.lists(st.lists(WORDS, max_size=4).map(" ".join), max_size=12)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Return a file of any lines in any encoding, maybe a JSON array, cut anywhere, with invalid bytes."""
    lines = draw(LINES)
    join = draw(st.sampled_from(["\n".join, "\r\n".join, json.dumps, lambda rows: json.dumps(rows, indent=1)]))
    text = join(lines)
    content = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])))
    cut = draw(st.integers(0, len(content)))
    return content[:cut] + draw(st.sampled_from([b"", b"\n", b"\xff\xfe", b"\x80"])) if cut % 2 else content


@settings(max_examples=60, deadline=None)
@given(files(), st.integers(1, 40), st.sampled_from([re.escape(part.encode()) for part in MARKED]))
def test_blocks_of_any_size_give_the_lines_of_the_whole_text(content, block, pattern):
    file = TextFile.of(content)
    every = [line.encode("utf-8", "replace") for line in file.whole().split("\n")]
    expected = [(i, line.decode()) for i, line in enumerate(every, 1) if re.search(pattern, line)]
    with patch.object(text_file, "BLOCK", block):
        assert list(file.lines(pattern)) == expected
        assert list(file.texts(pattern)) == [line for _, line in expected]


@settings(max_examples=60, deadline=None)
@given(files(), st.integers(1, 40))
def test_kinds_are_those_of_every_line(content, block):
    file = TextFile.of(content)
    lines = file.whole().split("\n")
    expected = {
        name
        for name, kind in logs.KINDS.items()
        if any(kind.mark.search(line) and any(part in line for part in kind.parts) for line in lines)
    }
    with patch.object(text_file, "BLOCK", block):
        assert set(logs.kinds_of(file)) == expected


def test_every_part_has_one_stem():
    for part in PARTS:
        assert sum(stem in part.encode() for stem in logs.STEMS) == 1, part
        assert any(search.search(part.encode()) for search in logs.SEARCHES), part
