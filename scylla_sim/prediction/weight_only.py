"""GEMMs with 4-bit weights and 16-bit arithmetic: engines run other kernels than the fitted ones.

The rows behind the fits are TensorRT-LLM's. vLLM and SGLang run Marlin, which decodes weights again for every tile
of rows. `kernel_ratio` is its time over that of the fit.

Notes
-----
Source: runs of Llama-3.1-8B with AWQ weights and with 16 bits (a100-factorial, vLLM 0.24, A100, gsm8k, 16-bit KV
cache). The difference of two steps, or of two cycles, is that of their GEMMs. The runs on humaneval were not used.

======  =====  =========
Rows    gsm8k  humaneval
======  =====  =========
1       1.01   1.01
6       1.00   1.00
8       0.98   0.98
32      0.77   0.80
48      0.97   0.95
64      1.00   1.04
192     1.07   1.08
384     1.19   1.19
======  =====  =========

The ratio at 32 rows is 0.9 here, because with 0.77 a small GEMM of 32 rows would take less time than one of 8. The
upper end is that of an older Marlin, with its own benchmark in vllm-project/vllm #2497: 1.31 at 64 rows and 1.43
from 256 rows on. Other GPUs have no such runs.
"""

from __future__ import annotations

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.specs.hardware import Hardware
from scylla_sim.stats.estimate import Estimate

MARLIN = "W4A16 kernel"
"""Name of the source of error."""
FRAMEWORKS = ("vllm", "sglang")
"""Frameworks that run Marlin."""
DTYPE = "int4_wo"
"""Weights of 4 bits with 16-bit arithmetic."""
FAMILY = "ampere"
"""Family of the GPU whose runs give the ratio; the value is 1 on others."""

_ROWS, _RATIO = (8.0, 32.0, 48.0, 64.0, 192.0, 384.0), (1.0, 0.9, 0.97, 1.0, 1.07, 1.19)
"""Rows of a GEMM -> time of Marlin over that of the fit."""
_OLDER_ROWS, _OLDER = (16.0, 64.0, 256.0), (1.0, 1.31, 1.43)
"""The same for an older Marlin."""
_SPREAD = 1.13
"""Factor to either end: the fit of 16-bit GEMMs errs by 5 %, which is 13 % of the difference at 1 row."""

NOTE = (
    "int4 GEMMs: kernels of TensorRT-LLM; on Ampere they are scaled to Marlin by runs on an A100, and older "
    "versions may take up to 1.4 times as long beyond 16 rows"
)


def applies(dtype: str, framework: str) -> bool:
    """Return whether an engine runs another kernel than the fitted one for weights of a data type."""
    return dtype == DTYPE and framework in FRAMEWORKS


def kernel_ratio(rows: FloatArray, hardware: Hardware) -> Estimate:
    """Return the time of the engine's kernel over that of the fit.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> kernel_ratio(np.array([8.0, 64.0, 1024.0]), catalog.hardware("a100-sxm")).value.tolist()
    [1.0, 1.0, 1.19]
    """
    value = np.interp(np.log(rows), np.log(_ROWS), _RATIO)
    value = value if hardware.family == FAMILY else np.ones_like(value)
    older = np.interp(np.log(rows), np.log(_OLDER_ROWS), _OLDER)
    return Estimate(value, value / _SPREAD, np.maximum(value * _SPREAD, older))
