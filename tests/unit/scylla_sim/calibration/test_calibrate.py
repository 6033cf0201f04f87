"""Calibration of a device: fitted groups, refused groups and progress."""

import pytest
from kernel_rows import H100, gemm_rows

from scylla_sim.calibration.calibrate import calibrate
from scylla_sim.calibration.kernel_table import concatenate, from_columns
from scylla_sim.checks import InputError


def table(count, dtype):
    return from_columns(gemm_rows(count) | {"dtype": [dtype] * count}, "rows.csv", measured=True)


def test_groups_that_cannot_be_fitted_are_named_beside_the_fitted_ones():
    lines = []
    result = calibrate(
        concatenate([table(32, "bf16"), table(8, "fp8")]), H100, evidence="published", progress=lines.append
    )
    assert list(result.calibration.kernels["gemm"]) == ["bfloat16"]
    assert result.refused == ["gemm fp8: 8 rows, at least 16 are needed"]
    assert result.calibration.evidence == "published"
    assert result.groups[0].report()["form"] == "gemm_tiles"
    assert lines == [f"gemm bfloat16: 32 rows, held-out median error {result.groups[0].median_error:.1%}"]


def test_rows_without_any_fit_are_refused():
    with pytest.raises(InputError, match="measurements='8 rows' cannot be fitted; gemm fp8: 8 rows"):
        calibrate(table(8, "fp8"), H100, evidence="silicon")
