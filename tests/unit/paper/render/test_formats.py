"""Output formats of a table: Markdown, LaTeX, CSV and HTML."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

from paper_results import demo_table as table

from paper.render.formats import latex_escape, render, write


def test_every_format_states_evidence_source_and_commit() -> None:
    texts = render(table())
    assert set(texts) == {"md", "tex", "csv", "html"}
    for kind in ("md", "tex", "html"):
        assert "Evidence: published." in texts[kind]
        assert "Sources: somewhere." in texts[kind]
        assert "commit 0123456" in texts[kind]


def test_numbers_are_rounded_for_reading_and_exact_in_the_csv() -> None:
    texts = render(table())
    assert "5.89" in texts["md"] and "\N{MINUS SIGN}12.3" in texts["md"]
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert float(rows[0]["step_s"]) == 0.0058859
    assert rows[1]["step_s"] == ""


def test_latex_special_characters_are_escaped_everywhere() -> None:
    text = render(table())["tex"]
    assert r"Steps \& errors of k\_opt" in text
    assert r"\textless{}x\textgreater{} 50\%" in text
    assert r"5 \$ and \#1" in text
    body = text.split("\\begin{tabular}")[1]
    assert body.index("\\toprule") < body.index("\\midrule") < body.index("\\bottomrule")
    assert latex_escape("a\\b{c}") == r"a\textbackslash{}b\{c\}"


def test_markdown_cells_cannot_break_the_table() -> None:
    lines = [line for line in render(table())["md"].splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 4 for line in lines)


def test_html_is_self_contained_and_escapes_text() -> None:
    class Tags(HTMLParser):
        seen: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.append(tag)

    page = render(table())["html"]
    parser = Tags()
    parser.seen = []
    parser.feed(page)
    assert "x" not in parser.seen
    assert parser.seen.count("table") == 1 and "meta" in parser.seen
    assert "&lt;x&gt;" in page


def test_the_same_rows_give_the_same_bytes() -> None:
    assert render(table()) == render(table())


def test_write_makes_one_file_a_format(tmp_path) -> None:  # type: ignore[no-untyped-def]
    paths = write(table(), tmp_path / "deep")
    assert sorted(path.name for path in paths) == sorted(f"table-demo.{kind}" for kind in render(table()))
    assert sorted(tmp_path.rglob("*.*")) == sorted(paths)
