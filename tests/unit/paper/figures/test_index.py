"""All figures: drawn from result files, reproducible, with their evidence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paper.figures.index import FIGURES, write
from paper.render.drawing import styled
from paper.sources.results import Results, how_to_make
from scylla_sim.checks import InputError


@pytest.fixture(scope="module")
def drawn(finished_results: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(Results(finished_results), tmp_path_factory.mktemp("figures"))


def test_each_figure_is_a_vector_and_a_picture(drawn: list[Path]) -> None:
    names = {path.name for path in drawn}
    kinds = ("figure-{}.svg", "figure-{}.png", "thumbnail-{}.png")
    assert names == {kind.format(name) for name in FIGURES for kind in kinds}
    for path in drawn:
        start = b"\x89PNG" if path.suffix == ".png" else b"<?xml"
        assert path.read_bytes().startswith(start)


def test_the_same_results_give_the_same_bytes(drawn: list[Path], finished_results: Path, tmp_path: Path) -> None:
    again = write(Results(finished_results), tmp_path, ["fig1", "speedup"])
    assert all(path.read_bytes() == (drawn[0].parent / path.name).read_bytes() for path in again)


def test_no_date_and_no_random_identifier_in_an_svg(drawn: list[Path]) -> None:
    for path in drawn:
        if path.suffix == ".svg":
            assert "<dc:date>" not in path.read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_every_caption_states_the_evidence(finished_results: Path, name: str) -> None:
    with styled():
        picture = FIGURES[name](Results(finished_results))
    caption = re.sub(r"\s+", " ", picture.figure.get_supxlabel()).lower()
    assert "evidence" in caption
    assert name == "kernels" or "commit 0123456" in caption


@pytest.mark.parametrize(
    ("figure", "path"),
    [("fig1", "laws/theorem-1.1.json"), ("fig5", "steps/fig5-curves-dense.json"), ("speedup", "steps/readme.json")],
)
def test_a_missing_input_is_one_line_and_nothing_is_written(
    own_results: Path, tmp_path: Path, figure: str, path: str
) -> None:
    (own_results / path).unlink()
    with pytest.raises(InputError) as caught:
        write(Results(own_results), tmp_path / "out")
    assert f"figure {figure}: " in str(caught.value) and how_to_make(path) in str(caught.value)
    assert not (tmp_path / "out").exists()
