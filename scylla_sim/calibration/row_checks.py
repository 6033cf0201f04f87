"""Checks of measured kernel rows against the datasheet, before a calibration fits them.

A wrong unit or a missing synchronization gives rows that fit well and mean nothing. `check_rows` compares every
group of rows with the roofline of the device, and names the likely mistake.

==============================  ========================================  ===============================
Finding                         Likely mistake                            Result
==============================  ========================================  ===============================
times do not grow with work     launches were timed, not kernels          refused
times of tiny shapes are equal  all shapes are bound by their launch      noted
faster than the datasheet       seconds in the column, or a warm cache    refused
far slower than the datasheet   microseconds or nanoseconds               refused
shapes repeated, times differ   two runs in one file                      refused
shapes repeated, times agree    none                                      noted
few shapes repeated             two models with one shape                 noted
few rows far slower             an interrupted measurement, mixed units   noted
data in L2, faster than memory  a warm cache                              noted
==============================  ========================================  ===============================

Notes
-----
Source of the limits: the kernel tables of aiconfigurator-core for H100, H200, A100, L40S and B200, as
``gpu-validate silicon`` exports them.

=============================================  ===============  ==================================
Quantity                                       Range in tables  Limit
=============================================  ===============  ==================================
roofline / time, data beyond twice the L2      at most 1.30     `MAX_SPEED`
roofline / time, data in the L2                at most 6.4      `MAX_SPEED_IN_L2`
time / (roofline + floor), median of a group   0.06 to 7.6      `MIN_SLOWDOWN`, `MAX_SLOWDOWN`
time / (roofline + floor), one row             at most 192      `MAX_ROW_SLOWDOWN`
ratio of repeated shapes, median of a group    at most 1.07     `MAX_REPEAT_RATIO`
=============================================  ===============  ==================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration.kernel_table import LATENCY, KernelTable
from scylla_sim.calibration.row_groups import group_names
from scylla_sim.checks import FloatArray, InputError
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.registry import operation
from scylla_sim.specs.hardware import Hardware
from scylla_sim.units import MILLI

MAX_SPEED = 1.5
"""Largest roofline time over measured time, for data that do not fit in the L2 cache."""
MAX_SPEED_IN_L2 = 10.0
"""Largest roofline time over measured time, for data that may stay in the L2 cache."""
L2_SHARE = 2.0
"""Bytes of a shape over the bytes of the L2 cache, up to which the data may partly stay there."""
WARM_SPEED = 1.05
"""Roofline time over measured time, above which data in the L2 cache are noted."""

FLOOR_S = 20e-6
"""Seconds added to a roofline for launch and small shapes; the slowest eager all-reduces take about this long."""
MIN_SLOWDOWN, MAX_SLOWDOWN = 0.01, 100.0
"""Accepted range of the median of time / (roofline + floor) over a group."""
MICROSECONDS_SLOWDOWN = 2e4
"""Median slowdown above which times are nanoseconds rather than microseconds."""
MAX_ROW_SLOWDOWN = 300.0
"""Largest time / (roofline + floor) of one row without a note."""

MIN_GROWTH_ROWS = 8
"""Rows below which growth with the work is not checked."""
MIN_WORK_SPREAD, MIN_TIME_SPREAD = 4.0, 1.5
"""Ratios of the 95 % to the 5 % quantile: work that grows this much needs times that grow this much."""
MIN_ROOFLINE_SHARE = 0.25
"""Largest roofline (95 % quantile) over the median time, below which launch time may hide the growth."""

MAX_REPEAT_RATIO = 1.25
"""Largest median ratio between the times of a repeated shape."""
MIN_REPEAT_SHARE = 0.05
"""Smallest share of a group's rows that repeat a shape in a file of two runs.

Fewer repeated shapes are noted. In silicon data, two models with one number of experts in use may have one shape.
"""


@dataclass(frozen=True)
class _Group:
    """Rows of one operation, data type, framework and library.

    ``at`` holds the places in the table; ``seconds`` and ``roofline`` are in seconds. ``in_l2`` marks shapes whose
    data may partly stay in the L2 cache.
    """

    name: str
    at: NDArray[np.intp]
    seconds: FloatArray
    roofline: FloatArray
    in_l2: NDArray[np.bool_]
    table: KernelTable
    device: str
    reuse_expected: bool

    @property
    def speed(self) -> FloatArray:
        """Roofline time over measured time."""
        return self.roofline / self.seconds

    @property
    def slowdown(self) -> FloatArray:
        """Measured time over roofline time plus floor."""
        return self.seconds / (self.roofline + FLOOR_S)


def check_rows(
    rows: KernelTable, hardware: Hardware, *, place: Callable[[int], str] = lambda index: f"in row {index + 1}"
) -> tuple[list[str], list[str]]:
    """Return the findings that rule a fit out, and those that only need a note.

    Parameters
    ----------
    rows
        Measured rows of one device. Rows with a sliding window are not checked, because they are not fitted.
    hardware
        Datasheet of the device, or the rates that were measured on it.
    place
        Index of a row -> its place in a file, for example ``on line 2 of rows.csv``.

    Returns
    -------
    refusals, notes
        One line each: the row, the rule, and the likely mistake. A group yields at most one refusal.

    Examples
    --------
    >>> from scylla_sim.calibration import kernel_table
    >>> from scylla_sim.specs import catalog
    >>> shape = {"op": ["gemm"], "dtype": ["bf16"], "m": ["1"], "n": ["16384"], "k": ["8192"]}
    >>> text = {**shape, "latency_ms": ["8e-5"]}
    >>> rows = kernel_table.from_columns(text, "rows.csv", device="h100-sxm", measured=True)
    >>> print(check_rows(rows, catalog.hardware("h100-sxm"))[0][0])
    latency_ms=8e-05 is 1002 times faster than the datasheet of h100-sxm allows in row 1 (1 of 1 rows of gemm \
bfloat16); are these seconds?
    """
    refusals, notes = list[str](), list[str]()
    for group in _groups(rows, hardware):
        found = next(filter(None, (check(group, place) for check in _REFUSALS)), "")
        if found:
            refusals.append(found)
        else:
            notes += filter(None, (check(group, place) for check in _NOTES))
    return refusals, notes


def _groups(rows: KernelTable, hardware: Hardware) -> Iterator[_Group]:
    """Yield the groups of rows; data types without a rate on the device are left to the fit, which refuses them."""
    names = group_names(rows)
    labels = (rows.labels["op"], names, *(rows.labels[name] for name in ("dtype", "kv_dtype")))
    labels = (*labels, rows.labels["framework"], rows.labels["kernel_source"])
    members: dict[tuple[str, ...], list[int]] = {}
    used = rows.without_window()
    for index, key in enumerate(zip(*(column.tolist() for column in labels))):
        if used[index]:
            members.setdefault(key, []).append(index)
    for (op, name, dtype, kv_dtype, _, library), indices in members.items():
        kernel_op, at = operation(op), np.asarray(indices, dtype=np.intp)
        try:
            r = rates(hardware, dtype or "bfloat16", kv_dtype if kernel_op.reads_kv else "")
        except InputError:
            continue
        roofline = kernel_op.roofline_seconds({key: column[at] for key, column in rows.numbers.items()}, r)
        moved = roofline * hardware.memory_bytes_per_s
        yield _Group(
            name=" ".join(filter(None, (op, name, library))),
            at=at,
            seconds=MILLI * rows.numbers[LATENCY][at],
            roofline=roofline,
            in_l2=moved <= L2_SHARE * hardware.l2_bytes,
            table=rows,
            device=hardware.name,
            reuse_expected=kernel_op.l2_reuse_in_serving,
        )


def _latency(group: _Group, place: Callable[[int], str], first: int, rule: str, count: int) -> str:
    """Return the start of a finding: a latency, the rule it breaks, its place, and the number of such rows."""
    value = group.table.numbers[LATENCY][group.at[first]]
    where = place(int(group.at[first]))
    return f"{LATENCY}={value:g} {rule} {where} ({count} of {group.at.size} rows of {group.name})"


# -- Findings that rule a fit out ------------------------------------------------------------------------------


def _spread(values: FloatArray) -> float:
    """Return the ratio of the 95 % to the 5 % quantile."""
    low, high = np.quantile(values, (0.05, 0.95))
    return float(high / low)


def _flat(group: _Group) -> tuple[float, float, bool] | None:
    """Return the spreads of work and times of a group whose times do not grow, and whether they ought to."""
    if group.at.size < MIN_GROWTH_ROWS or not group.roofline.min() > 0.0:
        return None
    work, times = _spread(group.roofline), _spread(group.seconds)
    if work < MIN_WORK_SPREAD or times > MIN_TIME_SPREAD:
        return None
    share = float(np.quantile(group.roofline, 0.95) / np.median(group.seconds))
    return work, times, share >= MIN_ROOFLINE_SHARE


def _constant(group: _Group, place: Callable[[int], str]) -> str:
    """Return the finding for times that do not grow with the work, or an empty text."""
    flat = _flat(group)
    if flat is None or not flat[2]:
        return ""
    work, times, _ = flat
    fastest = int(np.argmax(group.speed))
    rule = f"belongs to times that differ {times:.2f}-fold for work that differs {work:.0f}-fold"
    peak = group.speed[fastest]
    beyond = f", up to {peak:.3g} times the datasheet of {group.device}" if peak > MAX_SPEED else ""
    found = _latency(group, place, fastest, rule + beyond, group.at.size)
    return f"{found}; were launches timed without torch.cuda.synchronize()?"


def _too_fast(group: _Group, place: Callable[[int], str]) -> str:
    """Return the finding for times below the datasheet, or an empty text."""
    limit = np.where(group.in_l2, MAX_SPEED_IN_L2, MAX_SPEED)
    fast = np.flatnonzero(group.speed > limit)
    small = float(np.median(group.slowdown)) < MIN_SLOWDOWN
    if not fast.size and not small:
        return ""
    if fast.size:
        first, count = int(fast[0]), fast.size
        rule = f"is {group.speed[first]:.4g} times faster than the datasheet of {group.device} allows"
    else:
        first, count = 0, group.at.size
        rule = f"is less than {MIN_SLOWDOWN:g} of the usual time on {group.device}"
    cause = "do the data stay in a warm cache, or is a column such as dtype or m wrong?"
    return f"{_latency(group, place, first, rule, count)}; {'are these seconds?' if small else cause}"


def _too_slow(group: _Group, place: Callable[[int], str]) -> str:
    """Return the finding for times far above the datasheet, or an empty text."""
    typical = float(np.median(group.slowdown))
    if typical < MAX_SLOWDOWN:
        return ""
    slow = np.flatnonzero(group.slowdown >= MAX_SLOWDOWN)
    rule = f"is {group.slowdown[slow[0]]:.4g} times slower than the datasheet of {group.device} suggests"
    unit = "microseconds" if typical < MICROSECONDS_SLOWDOWN else "nanoseconds"
    return f"{_latency(group, place, int(slow[0]), rule, slow.size)}; are these {unit}?"


@dataclass(frozen=True)
class _Repeats:
    """Repeated shapes of a group.

    ``shapes`` is their number, ``ratio`` the median ratio of the longest to the shortest time of a shape, and
    ``pair`` the places of the two rows that differ most.
    """

    shapes: int
    ratio: float
    pair: tuple[int, int]


def _repeats(group: _Group) -> _Repeats | None:
    """Return the repeated shapes of a group, or ``None``. Rows differ if any number but the latency differs."""
    columns = [column[group.at] for name, column in group.table.numbers.items() if name != LATENCY]
    keys = np.nan_to_num(np.column_stack(columns), nan=-1.0)
    _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    order = np.lexsort((group.seconds, inverse.reshape(-1)))
    ends = np.cumsum(counts)
    first, last = order[(ends - counts)[counts > 1]], order[(ends - 1)[counts > 1]]
    if not first.size:
        return None
    ratios = group.seconds[last] / group.seconds[first]
    worst = int(np.argmax(ratios))
    return _Repeats(first.size, float(np.median(ratios)), (int(group.at[first[worst]]), int(group.at[last[worst]])))


def _describe(group: _Group, found: _Repeats, place: Callable[[int], str]) -> str:
    """Return the number of repeated shapes, their ratio, and the two rows that differ most."""
    shapes = f"{found.shapes} shape{'s' if found.shapes > 1 else ''} of {group.name}"
    first, second = map(place, found.pair)
    return f"{shapes} repeated, times differ {found.ratio:.2f}-fold (median), most {first} and {second}"


def _repeats_differ(group: _Group, place: Callable[[int], str]) -> str:
    """Return the finding for repeated shapes whose times differ, or an empty text."""
    found = _repeats(group)
    few = found is None or found.shapes < MIN_REPEAT_SHARE * group.at.size
    if found is None or few or found.ratio <= MAX_REPEAT_RATIO:
        return ""
    return f"{_describe(group, found, place)}; does the file hold two runs?"


# -- Findings to note ------------------------------------------------------------------------------------------


def _repeats_agree(group: _Group, place: Callable[[int], str]) -> str:
    """Return the note on repeated shapes whose times agree, or an empty text."""
    found = _repeats(group)
    return "" if found is None else f"{_describe(group, found, place)}; all are fitted"


def _launch_bound(group: _Group, place: Callable[[int], str]) -> str:
    """Return the note on times that do not grow because the shapes are small, or an empty text."""
    flat = _flat(group)
    if flat is None or flat[2]:
        return ""
    return (
        f"the times of {group.name} differ {flat[1]:.2f}-fold for work that differs {flat[0]:.0f}-fold; all shapes "
        "are too small to tell a kernel from its launch, so add larger ones"
    )


def _slow_rows(group: _Group, place: Callable[[int], str]) -> str:
    """Return the note on single slow rows, or an empty text."""
    slow = np.flatnonzero(group.slowdown > MAX_ROW_SLOWDOWN)
    if not slow.size:
        return ""
    rule = f"is {group.slowdown[slow[0]]:.4g} times slower than the datasheet of {group.device} suggests"
    found = _latency(group, place, int(slow[0]), rule, slow.size)
    return f"{found}; was the measurement interrupted, or are units mixed?"


def _warm(group: _Group, place: Callable[[int], str]) -> str:
    """Return the note on data that stay in the L2 cache, or an empty text."""
    warm = np.flatnonzero(group.in_l2 & (group.speed > WARM_SPEED))
    if group.reuse_expected or not warm.size:
        return ""
    return (
        f"{warm.size} of {group.at.size} rows of {group.name} are faster than the memory of {group.device}, "
        "because their data fit in the L2 cache; in service they come from memory, so time them with a cold cache"
    )


_REFUSALS = (_constant, _too_fast, _too_slow, _repeats_differ)
_NOTES = (_repeats_agree, _launch_bound, _slow_rows, _warm)
