"""Figures: drawn from result files, the same bytes each time, with the evidence written on them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from paper.figures.costs import binary, crossover
from paper.figures.index import FIGURES, write
from paper.render.drawing import spread, styled
from paper.sources.inputs import how_to_make
from paper.sources.results import Results
from scylla_sim.checks import InputError


@pytest.fixture(scope="module")
def drawn(finished_results: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(Results(finished_results), tmp_path_factory.mktemp("figures"))


def test_each_figure_is_a_vector_and_a_picture(drawn: list[Path]) -> None:
    names = {path.name for path in drawn}
    assert names == {f"figure-{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}
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
def test_the_evidence_is_written_under_every_figure(finished_results: Path, name: str) -> None:
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


def test_a_law_without_predictions_says_how_to_make_them(own_results: Path) -> None:
    path = own_results / "laws/theorem-1.1.json"
    path.write_text(path.read_text().replace('"y(', '"z('))
    with pytest.raises(InputError, match="--predict"):
        write(Results(own_results), own_results, ["fig1"])


def test_a_column_that_is_no_number_is_named(own_results: Path) -> None:
    path = own_results / "predicted/l40s/gemm.csv"
    path.write_text(path.read_text().replace("0.00105", "fast", 1))
    with pytest.raises(InputError, match="column='predicted_s' must hold numbers in predicted/l40s/gemm.csv"):
        write(Results(own_results), own_results, ["kernels"])


@pytest.mark.parametrize("heights", [[1.0], [3.0, 1.0, 2.0], [1.0, 1.0, 1.0, 5.0], [0.0, 0.3, 0.6, 0.7]])
def test_labels_stand_apart_in_order_around_their_curves(heights: list[float]) -> None:
    placed = spread(heights, 0.5)
    order = sorted(range(len(heights)), key=lambda i: (heights[i], i))
    gaps = [placed[b] - placed[a] for a, b in pairwise(order)]
    assert all(gap >= 0.5 - 1e-9 for gap in gaps)
    assert sum(placed) == pytest.approx(sum(heights))


def test_crossover_and_axis_words() -> None:
    assert crossover([1, 4, 16], [2.0, 1.5, 0.5]) == pytest.approx(8.0)
    assert crossover([1, 4], [0.9, 0.8]) is None
    assert [binary(count) for count in (512, 2048, 3 * 2**20)] == ["512", "2Ki", "3Mi"]
