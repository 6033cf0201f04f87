"""Copy the calibrations of a run into the package, and keep the fits there that the run does not make.

Usage: ``python workflow/ship_calibrations.py RESULTS PACKAGE``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from scylla_sim.records import dump_json, write_text


def with_additions(made: dict[str, Any], shipped: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a calibration with the ``additions`` of the shipped one that it lacks, and the groups kept.

    Additions are groups of kernels that were fitted apart, each with a provenance of its own.
    """
    kernels = {op: dict(groups) for op, groups in made["kernels"].items()}
    kept = []
    for entry in shipped.get("additions", []):
        for name in entry["groups"]:
            op, group = name.split(" ", 1)
            if group not in kernels.setdefault(op, {}):
                kernels[op][group] = shipped["kernels"][op][group]
                kept.append(name)
    if not kept:
        return made, []
    return {**made, "kernels": kernels, "additions": shipped["additions"]}, kept


def main(results: Path, package: Path) -> None:
    """Copy every calibration but that of this machine, and print the groups that are kept."""
    for file in sorted(results.glob("*.json")):
        if file.stem == "local":
            continue
        target = package / file.name
        made = json.loads(file.read_text(encoding="utf-8"))
        shipped = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
        merged, kept = with_additions(made, shipped)
        write_text(target, dump_json(merged))
        print(f"{target}" + (f": kept {', '.join(kept)}, which this run does not fit" if kept else ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
