"""Three scalars of an engine on a device, which kernels do not explain: host time, slower prompts, first token.

Values fitted to published serving runs are in ``scylla_sim/data/serving_scalars.toml``, by engine preset and
device. An engine or a device without runs has the default, whose interval is wide.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from scylla_sim.checks import fail
from scylla_sim.prediction.steps import Deployment
from scylla_sim.stats.estimate import Estimate, exact
from scylla_sim.units import MILLI

DEFAULT = "default"
"""Table of the file that holds for all other engines and devices."""
RESERVES = (
    "TensorRT-LLM starts a request only if the KV pool holds its whole answer, and cuts no prompts by default; "
    "neither is modelled"
)
"""Note on an engine that schedules otherwise than the simulated replicas."""
UNITS = {"host_s": MILLI, "slow": 1.0, "first_token_s": MILLI}
"""Scalar -> its unit in the file; the first and the last are in milliseconds there."""


@dataclass(frozen=True)
class ServingScalars:
    """Scalars of an engine on a device, with their 90 % intervals; arrays hold one element a run.

    Attributes
    ----------
    host_s
        Seconds of an iteration beyond the preset of the engine, at least 0.
    slow
        Share by which prompts take longer than their kernels, above -1.
    first_token_s
        Seconds of a request between client and scheduler, such as tokenizing. It is not transferred between
        platforms.
    source
        Runs that the values rest on.
    fitted
        Whether the values are fitted to runs of this engine and device.
    """

    host_s: Estimate
    slow: Estimate
    first_token_s: Estimate
    source: str
    fitted: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        for name, least in (("host_s", 0.0), ("slow", -0.9), ("first_token_s", 0.0)):
            one = getattr(self, name)
            if not (
                np.all(least <= one.lower) and np.all(one.lower <= one.value) and np.all(one.value <= one.upper)
            ):
                rule = f"must lie in its interval, which must not start below {least:g}"
                raise fail(name, f"{one.value} [{one.lower}, {one.upper}]", rule)

    def in_words(self) -> str:
        """Return the values in words.

        Examples
        --------
        >>> serving_scalars("vllm-2026", "h200-sxm").in_words()
        '+0.45 ms an iteration, prompts +25 %, +35 ms before the first token'
        """
        host, slow, first = (float(one.value) for one in (self.host_s, self.slow, self.first_token_s))
        return (
            f"{host / MILLI:+.3g} ms an iteration, prompts {100.0 * slow:+.0f} %, "
            f"{first / MILLI:+.3g} ms before the first token"
        )

    def with_scalar(self, name: str, value: Estimate) -> ServingScalars:
        """Return the scalars with another value of one of them."""
        each = {key: value if key == name else getattr(self, key) for key in UNITS}
        return ServingScalars(each["host_s"], each["slow"], each["first_token_s"], self.source, self.fitted)


@cache
def _tables() -> Mapping[str, Any]:
    """Return the tables of the file."""
    text = (resources.files("scylla_sim") / "data" / "serving_scalars.toml").read_text("utf-8")
    return tomllib.loads(text)


def serving_scalars(engine: str, device: str) -> ServingScalars:
    """Return the scalars of an engine preset on a device, or the default.

    Parameters
    ----------
    engine, device
        Names in the catalogs of engines and of hardware.

    Examples
    --------
    >>> known, unknown = serving_scalars("vllm-2026", "h100-sxm"), serving_scalars("vllm-2026", "l40s")
    >>> known.fitted, unknown.fitted, bool(known.first_token_s.upper < unknown.first_token_s.upper)
    (True, False, True)
    """
    tables = _tables()
    if engine == "ideal":
        return ServingScalars(exact(0.0), exact(0.0), exact(0.0), "definition", fitted=False)
    found = tables.get(engine, {}).get(device)
    table = found or tables[DEFAULT]
    values = {
        name: Estimate(*(unit * np.asarray(table[name][end]) for end in ("value", "lower", "upper")))
        for name, unit in UNITS.items()
    }
    host, slow, first = (values[name] for name in UNITS)
    return ServingScalars(host, slow, first, source=table["source"], fitted=found is not None)


def left_out(deployments: Iterable[Deployment]) -> list[str]:
    """Return notes on what the times under a load leave out, each once.

    They are the scalars of engines and devices with runs, and how an engine starts requests.
    """
    where = {(one.engine.name, one.calibration.hardware.name): one.engine for one in deployments}
    known = {pair: serving_scalars(*pair) for pair in where}
    notes = [
        f"published runs of {engine} on {device} take {scalars.in_words()}; scylla-sim tpot adds this, and these "
        "times leave it out"
        for (engine, device), scalars in known.items()
        if scalars.fitted
    ]
    return notes + [RESERVES] * any(engine.framework == "trtllm" for engine in where.values())
