"""Compare the accuracy table of a page with those of a run: ``printed_numbers.py results/paper README.md``.

With ``--write``, write the numbers of the run into the page. Components or GPUs that the run lacks are left out.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GPUS = {"H100": "h100-sxm", "H200": "h200-sxm", "B200": "b200-sxm", "A100": "a100-sxm", "L40S": "l40s"}
"""Column of the page -> GPU."""
ROOFLINE = "roofline"

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Component:
    """Rows of a table that hold the errors of one component.

    Attributes
    ----------
    table
        Name of the table.
    choices
        Columns and values of its row; the first choice that a GPU has counts.
    every_gpu
        Whether the roofline has the range over the GPUs, and not the value of the H100.
    """

    table: str
    choices: tuple[Mapping[str, str], ...]
    every_gpu: bool = False

    def row(self, rows: Rows, gpu: str) -> Mapping[str, str] | None:
        """Return the row of a GPU, if the table has it."""
        for choice in self.choices:
            for row in rows:
                if row["device"] == gpu and all(row[name].startswith(value) for name, value in choice.items()):
                    return row
        return None


COMPONENTS = {
    "bf16 GEMM, up to 512 rows": Component(
        "silicon-gemm", ({"group": "vLLM, bf16, small batch"}, {"group": "SGLang, bf16, small batch"})
    ),
    "fp8 GEMM, up to 512 rows": Component("silicon-gemm", ({"group": "vLLM, fp8, small batch"},)),
    "decode attention, bf16 and fp8 KV cache": Component("silicon-decode-attention", ({"group": "all"},)),
    "attention of prefills": Component(
        "silicon-context-attention", ({"group": "vLLM, KV bf16, head size 128, prefill"},)
    ),
    "MLA of DeepSeek-V3": Component("silicon-latent-attention", ({"group": "all"},)),
    "MoE layers, bf16, even loads": Component("silicon-experts", ({"group": "bf16, balanced, small batch"},)),
    "bf16 GEMM of a GPU never calibrated": Component(
        "transfer", ({"fit": "H100 and priors", "dtype": "bf16", "regime": "small batch"},), every_gpu=True
    ),
    "time per token, vLLM, Llama-3.1-70B fp8": Component(
        "serving-runs",
        ({"quantity": "TPOT", "framework": "vLLM", "checkpoint": "meta-llama/Llama-3.1-70B", "precision": "fp8"},),
    ),
}
"""First cell of a row of the page -> where its numbers come from."""


def percent(error: str) -> str:
    """Return an error in percent, with two digits at least.

    Examples
    --------
    >>> percent("0.0337"), percent("0.161")
    ('3.4', '16')
    """
    value = 100 * float(error)
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def cells(component: Component, rows: Rows) -> dict[str, str]:
    """Return the cells of a component by column."""
    found = {column: row for column, gpu in GPUS.items() if (row := component.row(rows, gpu)) is not None}
    errors = {column: percent(row["median_ape"]) for column, row in found.items()}
    if component.every_gpu and found:
        ends = [100 * float(row["naive_median_ape"]) for row in found.values()]
        return {**errors, ROOFLINE: f"{min(ends):.0f}-{max(ends):.0f}"}
    if "H100" in found:
        errors[ROOFLINE] = f"{100 * float(found['H100']['naive_median_ape']):.0f}"
    return errors


def compared(page: str, tables: Path) -> tuple[str, list[str], int]:
    """Return the page with the numbers of a run, the differences, and the count of compared numbers."""
    lines, differences, count = page.split("\n"), [], 0
    header: list[str] = []
    for at, line in enumerate(lines):
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if row[0] == "component" and row[-1] == ROOFLINE:
            header = row
        if not header or len(row) != len(header) or row[0] not in COMPONENTS:
            continue
        component = COMPONENTS[row[0]]
        path = tables / f"table-{component.table}.csv"
        if not path.is_file():
            continue
        with path.open(encoding="utf-8") as file:
            new = cells(component, list(csv.DictReader(file)))
        for column, value in new.items():
            place = header.index(column)
            count += 1
            if row[place] != value:
                differences.append(f"{row[0]}, {column}: printed {row[place]}, this run {value}")
                row[place] = value
        lines[at] = f"| {' | '.join(row)} |"
    return "\n".join(lines), differences, count


def main() -> None:
    """Print the differences, and write them into the page with ``--write``."""
    tables, name, *options = sys.argv[1:]
    page = Path(name)
    text, differences, count = compared(page.read_text(encoding="utf-8"), Path(tables))
    if not differences:
        print(f"{name}: all {count} numbers of its accuracy table are those of this run.")
        return
    print(f"{name}: {len(differences)} of {count} numbers of its accuracy table differ from this run:")
    print("\n".join(f"  {line}" for line in differences))
    if options == ["--write"]:
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
