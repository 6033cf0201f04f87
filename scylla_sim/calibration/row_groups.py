"""Groups of measured rows that share one fitted kernel: an operation, a data type, a framework, a library."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration.kernel_table import KernelTable
from scylla_sim.kernels.operation import FitSettings
from scylla_sim.kernels.registry import operation

UNNAMED = "unnamed"
"""Name of an empty framework or library if other rows of the group have one."""


def group_names(rows: KernelTable) -> NDArray[np.str_]:
    """Return the group of each row, before frameworks and libraries are separated."""
    names = np.full(len(rows), "", dtype="<U64")
    for op in dict.fromkeys(rows.labels["op"].tolist()):
        chosen = rows.labels["op"] == op
        labels = {name: column[chosen] for name, column in rows.labels.items()}
        numbers = {name: column[chosen] for name, column in rows.numbers.items()}
        names[chosen] = operation(op).group_names(labels, numbers)
    return names


def row_groups(rows: KernelTable) -> Iterator[tuple[str, str, KernelTable]]:
    """Yield the operation, name and rows of each group that is fitted on its own.

    The framework of a group's first rows has the plain name; another one is called ``name@framework``. The plain
    name is that of the most common library of that framework; other libraries are called ``name@library``.
    """
    names = group_names(rows)
    for op in dict.fromkeys(rows.labels["op"].tolist()):
        for name in dict.fromkeys(names[rows.labels["op"] == op].tolist()):
            chosen = (rows.labels["op"] == op) & (names == name)
            for order, framework in enumerate(dict.fromkeys(rows.labels["framework"][chosen].tolist())):
                of_framework = chosen & (rows.labels["framework"] == framework)
                suffix = f"@{framework or UNNAMED}" if order else ""
                if not operation(op).per_library:
                    yield op, f"{name}{suffix}", rows.where(of_framework)
                    continue
                libraries, counts = np.unique(rows.labels["kernel_source"][of_framework], return_counts=True)
                for rank, library in enumerate(libraries[np.argsort(-counts, kind="stable")].tolist()):
                    part = rows.where(of_framework & (rows.labels["kernel_source"] == library))
                    yield op, f"{name}@{library or UNNAMED}" if rank else f"{name}{suffix}", part


def problem_of(settings: FitSettings, part: KernelTable) -> str:
    """Return why a group cannot be fitted, or an empty string."""
    count = len(part)
    if count < settings.min_rows:
        return f"{count} rows, at least {settings.min_rows} are needed"
    sizes = np.column_stack([part.numbers[name] for name in settings.size_columns])
    further = [part.numbers[name] for name in settings.distinct_columns]
    distinct = np.unique(np.column_stack([sizes, *further]), axis=0).shape[0]
    if distinct < settings.min_rows // 2:
        return f"only {distinct} distinct shapes in {count} rows"
    work = np.prod(sizes, axis=1)
    if work.max() < 4.0 * work.min():
        return "all shapes are of one size, so latency and bandwidth cannot be told apart"
    return ""
