"""Predict the throughput and speed-up of speculative decoding, with confidence intervals.

Start with `predict`. It takes names and plain values and returns a table of rows:

>>> import scylla_sim
>>> result = scylla_sim.predict(
...     "llama-3.1-8b",
...     hardware="h100-sxm",
...     draft="eagle3",
...     draft_len=[1, 3, 5],
...     acceptance=0.62,
...     batch=[1, 64, 256],
...     engine="vllm",
... )
>>> best = max(result.rows(), key=lambda row: row["speedup"])
>>> best["batch_size"], best["draft_len"], round(best["speedup"], 1)
(1, 3, 1.8)

``print(result)`` shows the table, ``result.rows()`` returns dictionaries, and ``result.to_pandas()`` returns a data
frame. ``help(scylla_sim.predict)`` explains every option. A `Scenario` holds the same options as a value.
`read_acceptance` reads the log of an engine for ``acceptance=``. `serve` simulates requests that arrive at a rate.

Every bad argument raises an `InputError`, a `ValueError` with a message of one line.

The objects behind the names are `Model`, `Hardware`, `Draft`, `Engine`, `SpeculativeConfig` and `Calibration`. The
catalog in `scylla_sim.specs.catalog` returns them by name, for example ``catalog.hardware("h100-sxm")``.
`theorems` holds the acceptance laws of arXiv 2505.07858. Every name is imported on first use: ``import scylla_sim``
loads neither numpy nor a submodule. Fitting needs scipy, predicting needs numpy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from scylla_sim.acceptance.speculative_config import SpeculativeConfig
    from scylla_sim.calibration.device_calibration import Calibration
    from scylla_sim.checks import InputError
    from scylla_sim.engines.acceptance_json import read_acceptance
    from scylla_sim.laws import theorems
    from scylla_sim.prediction.predict import predict
    from scylla_sim.prediction.result import Result
    from scylla_sim.prediction.scenario import Scenario
    from scylla_sim.serving.facade import ServeResult, serve
    from scylla_sim.specs.draft import Draft
    from scylla_sim.specs.engine import Engine
    from scylla_sim.specs.hardware import Hardware
    from scylla_sim.specs.model import Model

__all__ = [
    "Calibration",
    "Draft",
    "Engine",
    "Hardware",
    "InputError",
    "Model",
    "Result",
    "Scenario",
    "ServeResult",
    "SpeculativeConfig",
    "predict",
    "read_acceptance",
    "serve",
    "theorems",
]

_ORIGINS = {
    "Calibration": "scylla_sim.calibration.device_calibration:Calibration",
    "Draft": "scylla_sim.specs.draft:Draft",
    "Engine": "scylla_sim.specs.engine:Engine",
    "Hardware": "scylla_sim.specs.hardware:Hardware",
    "InputError": "scylla_sim.checks:InputError",
    "Model": "scylla_sim.specs.model:Model",
    "Result": "scylla_sim.prediction.result:Result",
    "Scenario": "scylla_sim.prediction.scenario:Scenario",
    "ServeResult": "scylla_sim.serving.facade:ServeResult",
    "SpeculativeConfig": "scylla_sim.acceptance.speculative_config:SpeculativeConfig",
    "predict": "scylla_sim.prediction.predict:predict",
    "read_acceptance": "scylla_sim.engines.acceptance_json:read_acceptance",
    "serve": "scylla_sim.serving.facade:serve",
    "theorems": "scylla_sim.laws.theorems",
}
"""Public name -> ``module:attribute``, or the module itself, for `__getattr__` (PEP 562)."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _ORIGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    path, _, attribute = _ORIGINS[name].partition(":")
    module = import_module(path)
    value = globals()[name] = getattr(module, attribute) if attribute else module
    return value


def __dir__() -> list[str]:
    """Return the public names, whether imported already or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
