"""Checks of measured rows against the datasheet: unit slips, missing synchronization, repeated shapes."""

import numpy as np
import pytest
from kernel_rows import H100

from scylla_sim.calibration import kernel_table
from scylla_sim.calibration.row_checks import check_rows


def scaled(columns, factor):
    return {**columns, "latency_ms": [repr(float(cell) * factor) for cell in columns["latency_ms"]]}


def checked(columns, hardware=H100):
    return check_rows(kernel_table.from_columns(columns, "rows.csv", measured=True), hardware)


def repeated(columns, factor):
    again = scaled(columns, factor)
    return {name: cells + again[name] for name, cells in columns.items()}


def shapes(times, **columns):
    """GEMM rows of one data type with these times in ms."""
    count = len(times)
    text = {name: [str(int(v)) for v in np.broadcast_to(values, count)] for name, values in columns.items()}
    head = {"op": ["gemm"] * count, "device": ["h100-sxm"] * count, "dtype": ["bf16"] * count}
    return {**head, **text, "latency_ms": [repr(float(value)) for value in times]}


def distinct_rows():
    """64 GEMMs with m = 1 to 64: 3 us and their weights at 80 % of 3.35 TB/s."""
    m = np.arange(1, 65)
    n, k = np.array([4096, 8192, 12288, 16384] * 16), np.array([8192] * 32 + [14336] * 32)
    seconds = 3e-6 + 2 * n * k / (0.8 * 3.35e12)
    return shapes(1e3 * seconds, m=m, n=n, k=k)


def test_plausible_rows_have_no_finding():
    assert checked(distinct_rows()) == ([], [])


@pytest.mark.parametrize(
    ("factor", "unit"), [(1e-3, "seconds"), (1e-6, "seconds"), (1e3, "microseconds"), (1e6, "nanoseconds")]
)
def test_a_wrong_unit_is_named(factor, unit):
    refusals, notes = checked(scaled(distinct_rows(), factor))
    assert len(refusals) == 1
    assert refusals[0].endswith(f"are these {unit}?")
    assert "64 of 64 rows" in refusals[0]
    assert notes == []


def test_times_a_tenth_slower_or_faster_pass():
    for factor in (0.9, 1.1, 5.0):
        assert checked(scaled(distinct_rows(), factor))[0] == []


def test_one_row_faster_than_the_memory_is_refused_with_its_place_and_speed():
    # 16384 x 16384 in bf16 are 537 MB: 160 us at 3.35 TB/s. 80 us would need twice the bandwidth.
    columns = distinct_rows()
    extra = shapes([0.080], m=1, n=16384, k=16384)
    refusals, _ = checked({name: cells + extra[name] for name, cells in columns.items()})
    (line,) = refusals
    assert line.startswith("latency_ms=0.08 is 2.0")
    assert "in row 65 (1 of 65 rows of gemm bfloat16)" in line
    assert "warm cache" in line


def test_weights_in_the_l2_cache_are_noted_not_refused():
    # 4096 x 4096 in bf16 are 33.6 MB, which fit in 50 MB: 10 us at 3.35 TB/s, measured in 5.
    columns = distinct_rows()
    extra = shapes([0.005], m=1, n=4096, k=4096)
    refusals, notes = checked({name: cells + extra[name] for name, cells in columns.items()})
    assert refusals == []
    assert notes == [
        "1 of 65 rows of gemm bfloat16 are faster than the memory of h100-sxm, because their data fit in the L2 "
        "cache; in service they come from memory, so time them with a cold cache"
    ]


def test_constant_times_of_growing_work_are_launches():
    columns = distinct_rows()
    columns["latency_ms"] = ["0.008"] * 64
    (line,) = checked(columns)[0]
    assert "times that differ 1.00-fold" in line
    assert "torch.cuda.synchronize()" in line


def test_constant_times_above_the_datasheet_are_launches_too():
    # Launches of 60 us: none is faster than the datasheet, yet 40 us of reading ought to show beside 3 us.
    times = [0.060 + 0.0001 * index for index in range(12)]
    columns = shapes(times, m=1, n=[1024, 2048, 4096, 8192] * 3, k=[5120] * 4 + [6144] * 4 + [8192] * 4)
    (line,) = checked(columns)[0]
    assert "torch.cuda.synchronize()" in line
    assert "times the datasheet" not in line


def test_equal_times_of_tiny_shapes_are_only_noted():
    columns = shapes([0.005] * 12, m=1, n=[128, 256, 512, 1024] * 3, k=[128] * 4 + [256] * 4 + [512] * 4)
    refusals, notes = checked(columns)
    assert refusals == []
    assert len(notes) == 1
    assert "too small to tell a kernel from its launch" in notes[0]


def test_repeated_shapes_that_differ_are_refused_with_their_ratio():
    (line,) = checked(repeated(distinct_rows(), 2.0))[0]
    assert line.startswith("64 shapes of gemm bfloat16 repeated, times differ 2.00-fold (median)")
    assert "two runs" in line


def test_repeated_shapes_that_agree_are_noted():
    refusals, notes = checked(repeated(distinct_rows(), 1.03))
    assert refusals == []
    assert notes[0].startswith("64 shapes of gemm bfloat16 repeated, times differ 1.03-fold")


def test_same_shape_in_another_library_is_no_repeat():
    columns = repeated(distinct_rows(), 2.0)
    columns["kernel_source"] = ["cutlass"] * 64 + ["cublas"] * 64
    assert checked(columns) == ([], [])


def test_one_slow_row_is_noted():
    columns = distinct_rows()
    columns["latency_ms"][5] = "40.0"
    refusals, notes = checked(columns)
    assert refusals == []
    assert notes[0].startswith("latency_ms=40 is ")
    assert "in row 6 (1 of 64 rows" in notes[0]
    assert "interrupted" in notes[0]


def test_rows_of_a_data_type_without_a_rate_are_left_to_the_fit():
    columns = {**distinct_rows(), "dtype": ["fp8"] * 64}
    a100_like = type(H100)(
        name="h100-sxm",
        family="ampere",
        memory_bytes=80e9,
        memory_bytes_per_s=2e12,
        peak_flop_per_s={"bf16": 312e12},
    )
    assert check_rows(kernel_table.from_columns(columns, "rows.csv", measured=True), a100_like) == ([], [])


def test_one_repeated_shape_among_many_is_noted_although_its_times_differ():
    """Two models may run the same experts, and only one of 65 rows is a repeat."""
    columns = {name: [*values, values[0]] for name, values in distinct_rows().items()}
    columns["latency_ms"][-1] = repr(2.0 * float(columns["latency_ms"][0]))
    refusals, notes = checked(columns)
    assert refusals == []
    assert notes[0].startswith("1 shape of gemm bfloat16 repeated, times differ 2.00-fold")
