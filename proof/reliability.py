"""Write docs/reliability.md from the results of the proofs: ``python -m proof.reliability``.

The results are the JSON files of this folder, which `proof.fuzz`, `proof.faults`, `proof.sweep`, `proof.slurm` and
`proof/prove.py` write. A proof without a result is named as one that was not run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scylla_sim.records import write_text

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs/reliability.md"
NOT_RUN = "This proof has no committed result yet.\n"


def _read(name: str) -> dict[str, Any] | None:
    path = HERE / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |\n" for line in lines)


def inputs_tried() -> str:
    """Return the table of odd inputs, one line for each run of the fuzzer."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("fuzz*.json"))]
    if not runs:
        return NOT_RUN
    rows = [
        [
            run["seed"],
            run["inputs"],
            len(run["files"]),
            len(run["options"]),
            run["ends"].get("value", 0),
            run["ends"].get("one line of error", 0),
            len(run["faults"]),
        ]
        for run in runs
    ]
    text = _table(["seed", "inputs", "readers", "verbs", "a value", "one line of error", "faults"], rows)
    faults = [[run["seed"], f"`{one['input'][:60]}`", one["fault"][:80]] for run in runs for one in run["faults"]]
    return text + ("\n" + _table(["seed", "input", "fault"], faults) if faults else "")


def guided() -> str:
    """Return the table of inputs that atheris made."""
    found = _read("guided")
    if found is None:
        return NOT_RUN
    rows = [[found[key] for key in ("atheris", "inputs", "readers", "inputs_with_new_lines")]]
    end = found["fault"].strip().splitlines()[-1] if found["fault"] else "none"
    return _table(["atheris", "inputs", "readers", "inputs that reached new lines", "fault"], [[*rows[0], end]])


def faults_survived() -> str:
    """Return the table of faults of a run."""
    found = _read("faults")
    if found is None:
        return NOT_RUN
    rows = []
    for name, one in found["faults"].items():
        end = "skipped" if "skipped" in one else "passed" if one["passed"] else "failed"
        rows.append([name, end, len(one.get("different", [])), _details(one)])
    return _table(["fault", "end", "files that differ", "details"], rows)


def _details(one: dict[str, Any]) -> str:
    """Return what else is known of one fault, in words."""
    words: dict[str, Callable[[Any], str]] = {
        "kills": lambda value: f"{value} kills",
        "rounds": lambda value: f"runs to the end: {value}",
        "measured_rows": lambda value: f"{value} measured rows",
        "kept": lambda value: f"{value} finished files",
        "lost": lambda value: f"{len(value)} lost",
        "named": lambda value: f"error names the file: {_all(value)}",
        "refused": lambda value: f"second run refused: {_all(value)}",
        "first": lambda value: f"first run exits {value}",
        "then": lambda value: f"next run exits {value}",
        "codes": lambda value: f"exit codes {', '.join(map(str, value))}",
        "skipped": str,
    }
    return "; ".join(say(one[key]) for key, say in words.items() if key in one)


def _all(value: Any) -> str:
    """Return ``yes`` if a flag, or all flags of a mapping, are set."""
    return "yes" if (all(value.values()) if isinstance(value, dict) else value) else "no"


def mutations_killed() -> str:
    """Return the table of wrong formulas by package, and those that no test sees."""
    found = _read("mutations")
    if found is None:
        return NOT_RUN
    rows: dict[str, list[int]] = {}
    for folder, one in found["folders"].items():
        counts = rows.setdefault("/".join(folder.split("/")[:2]), [0, 0])
        counts[0] += one["killed"]
        counts[1] += one["survived"]
    total = [["all", found["killed"], found["survived"]]]
    text = _table(
        ["folder", "a test fails", "no test fails"], [[name, *counts] for name, counts in rows.items()] + total
    )
    text += f"\nMeasured at {found['commit']}, with {found['seconds']:.0f} s of tests.\n"
    missed = [[f"`{one['file']}`", one["why"]] for one in found["survivors"]]
    return text + "\nNo test failed for these:\n\n" + _table(["file", "wrong formula"], missed) if missed else text


def sweeps_timed() -> str:
    """Return the table of sweeps."""
    found = _read("sweep")
    if found is None:
        return NOT_RUN
    rows = [
        [one["scenarios"], one["seconds"], one["processor_s"], one["ms_per_scenario"]] for one in found["sweeps"]
    ]
    head = ["scenarios", "seconds on two cores", "processor seconds", "ms of processor a scenario"]
    return _table(head, rows) + f"\nLoad of the machine during the run: {found['load_per_core']} a core.\n"


def on_slurm() -> str:
    """Return the table of the run on Slurm."""
    found = _read("slurm")
    if found is None:
        return NOT_RUN
    jobs = ", ".join(f"{count} {state}" for state, count in found["jobs"].items())
    rows = [[found["slurm"], found["plugin"], jobs, ", ".join(found["rules"]), found["seconds"]]]
    return _table(["Slurm", "plugin", "jobs", "rules", "seconds"], rows)


def page() -> str:
    """Return the page."""
    return f"""# Reliability

`python -m proof.reliability` writes this page from the results in `proof/`.

## Odd inputs

`python -m proof.fuzz --inputs 2000 --out proof/fuzz.json` runs odd files and odd options through every verb.
Each must end with a value, or with one line of error and exit code 2.

{inputs_tried()}
`python -m proof.guided --inputs 3000 --out proof/guided.json` lets atheris change the files of readers, guided by
the lines that they reach. Every input must end as above.

{guided()}
## Faults of a run

`python -m proof.faults --out proof/faults.json` runs a part of the workflow with faults. The end must equal an
undisturbed run byte for byte. Another part measures and trains, and is killed at random moments. There, every
measured row must stay in its file until the end, and the weights must be those of an undisturbed training. The
other files must be those of an undisturbed run on the same measured records.

{faults_survived()}
## Wrong formulas

`make prove` plants wrong formulas one by one, and a test must fail for each. See [Testing](testing.md).

{mutations_killed()}
## Sweeps

`python -m proof.sweep --out proof/sweep.json` times sweeps of `workflow/config/sweeps.yaml`. The processor time of
a scenario is that beyond the smallest sweep, of one scenario for each GPU and model.

{sweeps_timed()}
## Slurm

`make test-slurm` runs rules of the workflow on a Slurm of one node, with short measurements and training. Its log
is `proof/slurm.log`.

{on_slurm()}
## Limits

A cut CSV file whose last line is whole has fewer rows, and no reader can see it. Files that the workflow writes are
atomic, so only a damaged disk or an editor cuts them.
"""


if __name__ == "__main__":
    write_text(PAGE, page())
