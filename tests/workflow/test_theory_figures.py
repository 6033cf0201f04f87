"""Figures of the theory pages: each page has one, and the script draws all of them."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from checkout import ROOT, run_in

THEORY = ROOT / "docs/theory"
PAGES = sorted(path.stem for path in THEORY.glob("*.md") if path.stem != "index")


def test_every_theory_page_shows_its_figure_and_its_evidence() -> None:
    for name in PAGES:
        text = (THEORY / f"{name}.md").read_text(encoding="utf-8")
        assert f"(figure-{name}.svg)" in text, name
        caption = text.partition(f"(figure-{name}.svg)")[2].partition("\n\n")[2].partition("\n\n")[0]
        assert "vidence: " in caption, name


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all figures, freshly drawn."""
    folder = tmp_path_factory.mktemp("figures")
    done = run_in(ROOT, sys.executable, "workflow/theory_figures.py", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_the_script_draws_the_figure_of_every_page(drawn: Path) -> None:
    assert sorted(path.name for path in drawn.iterdir()) == [f"figure-{name}.svg" for name in PAGES]
    for path in drawn.iterdir():
        text = path.read_text(encoding="utf-8")
        assert ET.fromstring(text).tag.endswith("svg")
        assert "nan" not in text.lower()
        assert len(text) < 150_000
