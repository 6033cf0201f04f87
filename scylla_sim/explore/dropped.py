"""Acceptance rates of a file that a visitor drops on the page."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scylla_sim.acceptance.measured import measured_acceptance
from scylla_sim.checks import InputError


def rates_of(content: bytes) -> list[float]:
    """Return the acceptance rates by position of a file that ``predict --acceptance`` reads.

    Raises
    ------
    InputError
        If the file cannot be read, or states no rates by position.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dropped"
        path.write_bytes(content)
        try:
            found = measured_acceptance(str(path), "conditional")
        except InputError as error:
            raise InputError(str(error).replace(str(path), "the file")) from None
    if found.rates is None:
        raise InputError("the file states tokens per cycle, and no rates by position")
    return [float(rate) for rate in found.rates]
