"""Numbers of the README beside those of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from checkout import ROOT

TABLES = {
    "silicon-gemm": [
        "device,group,median_ape,naive_median_ape",
        'h100-sxm,"vLLM, bf16, small batch",0.0337,0.306',
        'a100-sxm,"SGLang, bf16, small batch",0.161,0.42',
    ],
    "transfer": [
        "device,fit,dtype,regime,median_ape,naive_median_ape",
        '"l40s","H100 and priors, datasheet peaks",bf16,small batch,0.11,0.25',
        '"b200-sxm","H100 and priors, datasheet peaks",bf16,small batch,0.051,0.46',
        '"b200-sxm","32 rows of its own",bf16,small batch,0.9,0.9',
    ],
}
PAGE = """| component | H100 | H200 | B200 | A100 | L40S | roofline |
|---|---:|---:|---:|---:|---:|---:|
| bf16 GEMM, up to 512 rows | 3.4 | - | - | 17 | - | 31 |
| bf16 GEMM of a GPU never calibrated | - | 4.9 | 5.1 | 16 | 11 | 25-46 |
"""


@pytest.fixture(scope="module")
def printed_numbers() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import printed_numbers as module

    sys.path.pop(0)
    return module


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    for name, lines in TABLES.items():
        (tmp_path / f"table-{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_number_that_differs_is_named_and_written(tables: Path, printed_numbers: ModuleType) -> None:
    page, differences, count = printed_numbers.compared(PAGE, tables)
    assert differences == ["bf16 GEMM, up to 512 rows, A100: printed 17, this run 16"]
    assert count == 6
    assert page == PAGE.replace("| 17 |", "| 16 |")


def test_every_row_of_the_readme_comes_from_a_table(printed_numbers: ModuleType) -> None:
    text = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("| component | H100 |")[2].partition("\n\n")[0]
    )
    rows = [line.split("|")[1].strip() for line in text.splitlines()[2:]]
    assert rows == list(printed_numbers.COMPONENTS)
