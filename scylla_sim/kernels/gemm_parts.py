"""Parts that models of GEMMs and MoE layers share: tiles, waves, weights in L2, quantizer, sustained rate."""

from __future__ import annotations

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.ops.op import Columns, gemm_bytes, gemm_flops

TILES = ((64, 64), (64, 128), (128, 128), (128, 256))
"""Rows and columns of the tiles among which a library with an unknown tile table is assumed to choose."""

QUANTIZER_BYTES = 5.0
"""Bytes moved per input value to quantize it: 2 read for the scale, then 2 read and 1 written."""

_RESIDENCY_ORDER = 6.0
"""Sharpness of the step between weights that stay in L2 and weights that do not."""


def gemm_moved_bytes(c: Columns, r: Rates, copies: float, l2_ratio: float) -> FloatArray:
    """Return the bytes of a GEMM, with the weights that stay in L2 divided by the speed-up of L2.

    Parameters
    ----------
    copies
        Number of copies of the weights that the benchmark cycles through. Few copies of small weights stay in L2.
    l2_ratio
        Speed of L2 over memory; 1 for serving, where no weights stay in L2.
    """
    weights = r.size.stored * c["n"] * c["k"]
    warm = 1.0 / (1.0 + (copies * weights / r.l2_bytes) ** _RESIDENCY_ORDER)
    moved: FloatArray = gemm_bytes(c, r.size) - weights * warm * (1.0 - 1.0 / l2_ratio)
    return moved


LONG_S = 1e-3
"""Seconds at the peak rate at which a GEMM pays half of ``throttle``; a choice, not a fit."""


def throttled_math_seconds(c: Columns, r: Rates, *, sustained_fraction: float, throttle: float) -> FloatArray:
    """Return the seconds of the FLOPs at the rate that a device sustains.

    Few tiles run at the full clock. A device that computes on all SMs reaches its power limit, which reduces the
    rate to ``sustained_fraction`` of the peak. The limit acts with a delay, so long GEMMs take up to
    ``1 + throttle`` times as long.
    """
    peak_s = gemm_flops(c) / r.flop_per_s
    seconds: FloatArray = peak_s / sustained_fraction * (1.0 + throttle * peak_s / (peak_s + LONG_S))
    return seconds


def tile_waves(weight: float, tiles_per_sm: FloatArray) -> FloatArray:
    """Return the effective number of waves of tiles, never less than one.

    Parameters
    ----------
    weight
        Weight 1 charges a partial wave in full, weight 0 in proportion to its tiles. Values above 1 count as 1,
        because a fuller wave would otherwise be cheaper.
    tiles_per_sm
        Tiles divided by SMs.

    Examples
    --------
    >>> tile_waves(1.0, np.array([0.5, 1.2])).tolist(), tile_waves(0.0, np.array([0.5, 1.2])).tolist()
    ([1.0, 2.0], [1.0, 1.2])
    """
    whole = np.minimum(weight, 1.0)
    waves: FloatArray = whole * np.ceil(tiles_per_sm) + (1.0 - whole) * np.maximum(tiles_per_sm, 1.0)
    return waves
