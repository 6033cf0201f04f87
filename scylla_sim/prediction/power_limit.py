"""Extra time of GEMMs on a GPU that reaches its power limit.

Kernel fits come from short runs of one kernel. A GPU that decodes large batches is under load for longer. It then
reaches its power limit and lowers its clocks. The size of the effect depends on the other kernels of the step, so
it is an error source and does not change the estimate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray

MAX_EXTRA_SHARE = 0.2
"""Largest share by which compute-bound GEMMs may exceed their estimate.

Notes
-----
Source: ``gpu_validate/recorded/h100-sxm/kernels.json``, bf16 GEMMs of 512 rows and more after half a second of
load at 700 W. Compared with the shipped fit they take 14 % longer in the median and 20 % at the 90th percentile.
The clock is 1,440-1,870 MHz instead of 1,980 MHz. The same GEMMs on an H200, to which nothing is fitted, take 9 %
longer in the median and 13 % at the 90th percentile (``gpu_validate/recorded/h200-sxm/kernels.json``).
"""

START_RATIO, FULL_RATIO = 0.5, 1.0
"""Ratio of compute to memory time at which the effect starts, and from which it is complete.

Notes
-----
Source: the same record. GEMMs of 128 rows (ratio 0.4) run at full clocks, GEMMs of 512 rows (ratio 1.6) do not.
"""


def extra_share(compute_s: ArrayLike, memory_s: ArrayLike) -> FloatArray:
    """Return the share of its time that the power limit may add to a GEMM.

    Parameters
    ----------
    compute_s, memory_s
        FLOPs over the peak rate, and bytes over the memory bandwidth, in seconds; they broadcast.

    Returns
    -------
    ndarray
        From 0 to `MAX_EXTRA_SHARE`; 0 where the GEMM reads no memory.

    Examples
    --------
    >>> extra_share([1.0, 3.0, 8.0], 4.0).tolist()
    [0.0, 0.1, 0.2]
    """
    compute, memory = np.broadcast_arrays(np.asarray(compute_s, float), np.asarray(memory_s, float))
    ratio = np.divide(compute, memory, out=np.zeros(compute.shape), where=memory > 0.0)
    added: FloatArray = MAX_EXTRA_SHARE * np.clip((ratio - START_RATIO) / (FULL_RATIO - START_RATIO), 0.0, 1.0)
    return added
