"""The published numbers: complete, sourced, and equal to what the figures and tables print."""

from __future__ import annotations

import pytest

from paper.sources import published
from paper.sources.published import FOLDER, HOW_READ
from scylla_sim.checks import InputError
from scylla_sim.records import read_columns

FILES = sorted(path.stem for path in FOLDER.glob("*.csv"))


@pytest.mark.parametrize("name", FILES)
def test_every_row_names_its_source_and_how_it_was_read(name: str) -> None:
    columns = read_columns(FOLDER / f"{name}.csv")
    assert all(columns["source"])
    assert set(columns["how_read"]) <= set(HOW_READ)


@pytest.mark.parametrize("name", FILES)
def test_the_readme_describes_every_file(name: str) -> None:
    assert f"`{name}.csv`" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("name", FILES)
def test_the_readme_states_the_licence_of_the_sources_of_every_file(name: str) -> None:
    section = (FOLDER / "README.md").read_text().partition("\n## Licences")[2].partition("\n## ")[0]
    assert f"`{name}.csv`" in section


def test_the_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 500_000


def test_fig1_labels() -> None:
    with_pretraining = published.series("fig1_tokens", "pretrain_tokens_b", "tokens_per_cycle", pretrained="yes")
    assert with_pretraining == {1: 5.13, 2: 5.15, 5: 5.29, 10: 5.33, 20: 5.30, 50: 5.43, 100: 5.40}
    without = published.rows("fig1_tokens", pretrained="no")
    assert [(row["pretrain_tokens_b"], row["tokens_per_cycle"]) for row in without] == [(0, 5.03)]


def test_fig5_has_six_curves_whose_maxima_are_the_turning_points() -> None:
    for point in published.rows("fig5_turning_points", inside="yes"):
        curve = published.series("fig5_curves", "k", "tokens_per_s", batch_size=point["batch_size"])
        assert len(curve) == 38
        # the curves are flat at their top: a few k lie within the error of reading
        assert curve[point["k_opt"]] >= 0.99 * max(curve.values())
        assert point["inverse_batch_size"] == pytest.approx(1 / point["batch_size"])


def test_the_points_at_the_edge_of_fig5_are_marked() -> None:
    assert {row["batch_size"] for row in published.rows("fig5_turning_points", inside="no")} == {1, 4}


def test_table5_has_27_cells() -> None:
    batches = [1, 2, 4, 8, 16, 32, 40, 48, 64]
    for method in ("plain", "eagle2", "scylla"):
        assert list(published.series("table5", "batch_size", "tokens_per_s", method=method)) == batches
    assert sum(row["tokens_per_s"] for row in published.rows("table5", method="plain")) == 7541


def test_an_unknown_file_or_an_empty_selection_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean table5"):
        published.rows("table6")
    with pytest.raises(InputError, match="has no rows"):
        published.rows("table5", method="medusa")
    with pytest.raises(InputError, match="theorem='1.4'"):
        published.quoted("1.4")


def test_the_published_fit_of_a_step_is_linear_in_both_token_counts() -> None:
    assert published.step_seconds("forward", 0, 0) == pytest.approx(5.88591e-3)
    extra = published.step_seconds("forward", 64, 64 * 1024) - published.step_seconds("forward", 0, 0)
    assert extra == pytest.approx(64 * 21.0103e-6 + 64 * 1024 * 39.2646e-9, rel=1e-5)


def test_the_published_cycle_is_tokens_per_cycle_over_tokens_per_second() -> None:
    cells = published.rows("specbundle_cycles")
    assert len(cells) == 77
    for row in cells:
        assert row["cycle_s"] == pytest.approx(row["tokens_per_cycle"] / row["tokens_per_s"], rel=1e-5)
        assert (row["preset_from"] == "yes") == (row["task"] == "mtbench")
    assert len(published.rows("eagle3_sglang_ladder")) == 9
