"""Acceptance rates of a file that a visitor drops on the page."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from scylla_sim.acceptance.measured import MeasuredAcceptance, measured_acceptance
from scylla_sim.checks import FloatArray, InputError
from scylla_sim.engines.acceptance_json import read_acceptance

_HALVINGS = 40
_READ = "a log, a metrics page, a benchmark result or a file of scylla-sim ingest"


def _measured(path: str, *, is_json: bool) -> MeasuredAcceptance:
    """Return the acceptance of a file of an engine, or of rates that ``ingest`` wrote."""
    try:
        return read_acceptance(path)
    except InputError:
        if not is_json:
            raise
    return measured_acceptance(path, "conditional")


def rates_of(content: bytes) -> tuple[list[float], float | None]:
    """Return the acceptance rates by position of a file that ``predict --acceptance`` reads, and how sure they are.

    Returns
    -------
    rates : list of float
        Conditional rates.
    unsure : float or None
        Half width of the rates, as `half_width` returns it; ``None`` for a file without an interval.

    Raises
    ------
    InputError
        If the file cannot be read, or states no rates by position.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dropped"
        path.write_bytes(content)
        try:
            found = _measured(str(path), is_json=content.lstrip()[:1] == b"{")
        except InputError as error:
            said = str(error).replace(str(path), "the file").replace(f"of {path.name} ", "of the file ")
            reason = said.rpartition("'the file' ")[2].partition("; ")[0]
            raise InputError(f"the file cannot be used: {reason}; drop {_READ}") from None
    if found.rates is None:
        raise InputError("the file states tokens per cycle, and no rates by position")
    return found.rates.tolist(), None if found.spread is None else half_width(found.rates, found.spread)


def half_width(rates: FloatArray, spread: tuple[float, float]) -> float:
    """Return the distance of all rates at which a chain accepts as many tokens as at an end of the interval.

    Parameters
    ----------
    rates
        Conditional rates of the positions, shape (positions,).
    spread
        Both ends of the accepted tokens per cycle, divided by their mean. The farther one counts.

    Examples
    --------
    >>> round(half_width(np.array([0.8]), (0.95, 1.025)), 3)
    0.04
    """

    def accepted(moved: float) -> float:
        return float(np.cumprod(np.clip(rates + moved, 0.0, 1.0)).sum())

    found = 0.0
    for sign, share in zip((-1.0, 1.0), spread):
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = sign * (accepted(sign * middle) - share * accepted(0.0)) < 0.0
            low, high = (middle, high) if inside else (low, middle)
        found = max(found, low)
    return found
