"""How much longer GEMMs may take on a GPU that its power limit slows.

Fits of kernels are made from short runs of one kernel. A GPU that decodes large batches is under load for long,
meets its power limit and lowers its clocks. How much depends on what else the step does, so this is a source of
error and moves no estimate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray

SHARE = 0.2
"""Share by which GEMMs that are bound by compute may take longer than their fit.

Source: ``gpu_validate/recorded/h100-sxm/kernels.json``. After half a second of load at 700 W, bf16 GEMMs of 512
rows and more took 14 % longer than the shipped fit in the median and 20 % at the 90th percentile, at 1,440-1,870
MHz instead of 1,980."""

FROM, FULL = 0.5, 1.0
"""Compute time over memory time at which the limit begins to matter, and from which it matters in full. In the same
record GEMMs of 128 rows (0.4) ran at full clocks, and those of 512 (1.6) did not."""


def share(compute_s: ArrayLike, memory_s: ArrayLike) -> FloatArray:
    """Share of its time that the power limit may add to a GEMM.

    Parameters
    ----------
    compute_s, memory_s
        FLOPs over the peak rate, and bytes over the memory bandwidth, in seconds; broadcast against each other.

    Returns
    -------
    ndarray
        From 0 to `SHARE`; 0 where nothing is moved.

    Examples
    --------
    >>> share([1.0, 3.0, 8.0], 4.0).tolist()
    [0.0, 0.1, 0.2]
    """
    compute, memory = np.broadcast_arrays(np.asarray(compute_s, float), np.asarray(memory_s, float))
    ratio = np.divide(compute, memory, out=np.zeros(compute.shape), where=memory > 0.0)
    added: FloatArray = SHARE * np.clip((ratio - FROM) / (FULL - FROM), 0.0, 1.0)
    return added
