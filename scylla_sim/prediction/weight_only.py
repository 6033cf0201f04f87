"""GEMMs with 4-bit weights and 16-bit arithmetic: engines run other kernels than the fitted ones.

The rows behind the fits are TensorRT-LLM's. vLLM and SGLang run Marlin, which decodes weights again for every tile
of rows. `slower_kernel` is the time by which it may exceed the fit.

Notes
-----
Source: vllm-project/vllm #2497, Marlin's benchmark. The table gives its speed over 16 bits, and that of the fit of
A100 for the same weights.

==========  ======  =====
Rows        Marlin  Fit
==========  ======  =====
1           3.1     3.9
16          3.2     3.2
64          1.5     1.9
128         1.0     1.3
256         0.7     1.0
1024        0.7     1.0
==========  ======  =====
"""

from __future__ import annotations

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.ops.op import Op
from scylla_sim.stats.estimate import Deviation

MARLIN = "W4A16 kernel"
"""Name of the source of error."""
FRAMEWORKS = ("vllm", "sglang")
"""Frameworks that run Marlin."""
DTYPE = "int4_wo"
"""Weights of 4 bits with 16-bit arithmetic."""

_ROWS, _EXTRA = (16.0, 64.0, 256.0), (0.0, 0.31, 0.4)
"""Rows of a GEMM -> share of the fitted time by which Marlin is slower."""

NOTE = (
    "int4 GEMMs are fitted to kernels of TensorRT-LLM; the kernel of this engine may take up to 1.4 times as long "
    "beyond 16 rows"
)


def applies(dtype: str, framework: str) -> bool:
    """Return whether an engine runs another kernel than the fitted one for weights of a data type."""
    return dtype == DTYPE and framework in FRAMEWORKS


def slower_kernel(op: Op, seconds: FloatArray) -> Deviation:
    """Return the deviation of one execution of a GEMM, which is upwards only.

    Examples
    --------
    >>> gemm = Op("o", "gemm", 1, {"m": np.array([8.0, 64.0]), "n": np.array(4096.0), "k": np.array(4096.0)})
    >>> slower_kernel(gemm, np.array([1.0, 1.0])).up.tolist()
    [0.0, 0.31]
    """
    extra = np.interp(np.log(op.columns["m"]), np.log(_ROWS), _EXTRA)
    return Deviation(np.zeros_like(seconds), seconds * extra)
