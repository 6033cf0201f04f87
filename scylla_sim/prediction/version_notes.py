"""Notes on answers that hinge on the version of the engine, where a name is read as the newest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scylla_sim.prediction.throughput import Prediction
from scylla_sim.prediction.verdict import FASTER, SLOWER, verdict
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine


def older_presets(name: str | Engine) -> list[str]:
    """Return the presets that an alias does not stand for, the newest first; empty for a preset or a file.

    Examples
    --------
    >>> older_presets("sglang"), older_presets("sglang-2026")
    (['sglang-2025'], [])
    """
    if isinstance(name, Engine):
        return []
    newest = catalog.canonical_name("engines", str(name))
    if newest == name.lower() or newest not in catalog.names("engines"):
        return []
    family = newest.rpartition("-")[0] + "-"
    return sorted(
        (one for one in catalog.names("engines") if one.startswith(family) and one < newest), reverse=True
    )


def version_notes(predictions: Sequence[Prediction], name: str | Engine) -> list[str]:
    """Return a note if the next older preset gives another answer.

    Another answer is slower in place of faster or the other way round. On several TP ranks, it is also a speed-up
    outside the 90 % interval: versions differ most there.
    """
    older = older_presets(name)
    for one in predictions if older else ():
        if one.config.draft.kind == "none" or one.config.draft_len == 0:
            continue
        engine = replace(catalog.engine(older[0]), eager=one.engine.eager)
        other = replace(one, deployment=replace(one.deployment, engine=engine))
        at = np.flatnonzero(_differ(one, other))
        if at.size:
            batch, new, old = (np.ravel(values)[at[0]] for values in (one.batch, one.speedup, other.speedup))
            return [
                f"engine={name} is read as {one.engine.name}; {older[0]} gives a speed-up of {old:.2f} in place of "
                f"{new:.2f} at batch {batch:g}: name the preset of your version"
            ]
    return []


def _differ(one: Prediction, other: Prediction) -> NDArray[np.bool_]:
    """Return where two presets give different answers, over the flattened grid.

    Intervals take most of the time, so they are computed only where the values allow another answer.
    """
    new, old = one.speedup, other.speedup
    found = np.zeros(one.batch.shape, dtype=bool)
    if ((new < 1.0) != (old < 1.0)).any():
        words = [np.vectorize(verdict)(np.broadcast_to(each.p_slower, found.shape)) for each in (one, other)]
        found |= ((words[0] == FASTER) & (words[1] == SLOWER)) | ((words[0] == SLOWER) & (words[1] == FASTER))
    if one.deployment.tp > 1:
        interval = one.speedup_estimate
        found |= (old < interval.lower) | (old > interval.upper)
    return found.ravel()
