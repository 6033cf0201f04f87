"""Errors of predicted against measured rows, on numbers small enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_validate.comparison import errors, join
from scylla_sim.checks import InputError

Write = Callable[[str, str], join.CsvTable]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(name: str, text: str) -> join.CsvTable:
        (tmp_path / name).write_text(text)
        return join.read(str(tmp_path / name))

    return _write


PREDICTED = """op,dtype,m,n,k,predicted_s,naive_s,lower_s,upper_s
gemm,bf16,1,8,8,0.0011,0.0005,0.0010,0.0012
gemm,bf16,2,8,8,0.0020,0.0010,0.0019,0.0021
gemm,fp8,1,8,8,0.0008,0.0005,0.0007,0.0009
gemm,fp8,2,8,8,0.0030,0.0015,0.0001,0.0090
"""
MEASURED = """op,dtype,m,n,k,latency_ms,framework
gemm,fp8,2,8,8,2.0,vllm
gemm,bfloat16,1.0,8.0,8.0,1.0,vllm
gemm,bfloat16,2.0,8.0,8.0,2.0,vllm
gemm,fp8,1,8,8,1.0,vllm
"""


def test_rows_are_joined_by_shape_and_not_by_order(write: Write) -> None:
    rows = errors.compare(write("p.csv", PREDICTED), write("m.csv", MEASURED), by=["dtype"])
    assert [row["group"] for row in rows] == ["bfloat16", "fp8", "all"]
    bf16, fp8, every = rows
    assert bf16["n"] == 2
    assert bf16["median_ape"] == pytest.approx(0.05)
    assert bf16["bias"] == pytest.approx(0.05)
    assert bf16["coverage"] == 1.0
    assert bf16["width"] == pytest.approx((0.0012 / 0.0010 + 0.0021 / 0.0019) / 2)
    assert fp8["median_ape"] == pytest.approx(0.35)
    assert fp8["mape"] == pytest.approx(0.35)
    assert fp8["bias"] == pytest.approx(0.15)
    assert fp8["coverage"] == 0.5
    assert every["n"] == 4
    assert every["median_ape"] == pytest.approx(0.15)
    assert every["naive_bias"] == pytest.approx(-0.5)
    assert every["floor_kind"] is None


def test_files_are_compared_together_and_errors_name_the_one_they_are_in(write: Write, tmp_path: Path) -> None:
    """Each device has its own file; the pooled errors are those of all rows."""
    for device in ("a", "b"):
        for name, text in (("p", PREDICTED), ("m", MEASURED)):
            head, *rows = text.splitlines()
            write(f"{name}-{device}.csv", "\n".join([f"{head},device", *(f"{row},{device}" for row in rows)]))
    predicted, measured = (join.read(*(str(tmp_path / f"{name}-{d}.csv") for d in "ab")) for name in "pm")
    alone = errors.compare(write("p.csv", PREDICTED), write("m.csv", MEASURED))[-1]
    together = errors.compare(predicted, measured)[-1]
    assert together["n"] == 2 * alone["n"]
    for name in ("median_ape", "mape", "bias", "naive_median_ape", "coverage"):
        assert together[name] == pytest.approx(alone[name])
    write("m-c.csv", "op,device,latency_ms\ngemm,c,1\ngemm,c,nothing")
    with pytest.raises(InputError, match=r"latency_ms='nothing' must be a number above 0 on line 3 of .*m-c\.csv"):
        join.read(str(tmp_path / "m-a.csv"), str(tmp_path / "m-c.csv")).numbers("latency_ms")


def test_the_floor_of_a_repeat_is_taken_after_its_median_ratio(write: Write) -> None:
    again = """op,dtype,m,n,k,latency_ms,framework
gemm,bfloat16,1,8,8,1.1,sglang
gemm,bfloat16,2,8,8,2.2,sglang
gemm,fp8,1,8,8,1.21,sglang
"""
    rows = errors.compare(write("p.csv", PREDICTED), write("m.csv", MEASURED), repeat=write("r.csv", again))
    assert rows[-1]["repeat_ratio"] == pytest.approx(1.1)
    assert rows[-1]["floor_n"] == 3
    assert rows[-1]["floor_median"] == pytest.approx(0.0, abs=1e-12)
    assert rows[-1]["floor_p90"] == pytest.approx(0.08)
    assert rows[-1]["floor_kind"] == "repeat"


def test_without_a_repeat_the_measurement_s_own_intervals_are_the_floor(write: Write) -> None:
    measured = """op,dtype,m,n,k,latency_ms,interval_low_ms,interval_high_ms,evidence
gemm,bfloat16,1,8,8,1.0,0.98,1.02,live
gemm,bfloat16,2,8,8,2.0,1.92,2.08,live
"""
    row = errors.compare(write("p.csv", PREDICTED), write("m.csv", measured))[-1]
    assert row["floor_kind"] == "intervals"
    assert row["floor_median"] == pytest.approx(0.03)
    assert row["evidence"] == "live"


def test_rows_without_a_prediction_are_counted(write: Write) -> None:
    measured = write("m.csv", MEASURED + "gemm,fp8,64,8,8,1.0,vllm\n")
    assert errors.compare(write("p.csv", PREDICTED), measured)[-1]["unmatched"] == 1


def test_an_empty_window_or_q_len_is_its_default(write: Write) -> None:
    predicted = write("p.csv", "op,batch,kv_len,q_len,window,predicted_s\ndecode_attention,1,64,1,0,0.001\n")
    measured = write("m.csv", "op,batch,kv_len,q_len,window,latency_ms\ndecode_attention,1,64,,,1.0\n")
    assert errors.compare(predicted, measured)[-1]["median_ape"] == pytest.approx(0.0)


def test_kernels_of_two_libraries_are_told_apart_by_their_source(write: Write) -> None:
    predicted = write("p.csv", "op,m,kernel_source,predicted_s\ngemm,1,a,0.001\ngemm,1,b,0.002\n")
    measured = write("m.csv", "op,m,kernel_source,latency_ms\ngemm,1,b,2.0\ngemm,1,a,1.0\n")
    assert errors.compare(predicted, measured)[-1]["mape"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("predicted", "measured", "said"),
    [
        ("op,m,naive_s\ngemm,1,1\n", "op,m,latency_ms\ngemm,1,1\n", "predicted_s.*missing"),
        ("op,m,predicted_s\ngemm,1,1\n", "op,m\ngemm,1\n", "latency_ms.*missing"),
        (
            "op,m,predicted_s\ngemm,1,nan\n",
            "op,m,latency_ms\ngemm,1,1\n",
            "s='nan' must be a number above 0",
        ),
        (
            "op,m,predicted_s\ngemm,1,x\n",
            "op,m,latency_ms\ngemm,1,1\n",
            "predicted_s='x' must be a number above 0 on line 2",
        ),
        ("op,m,predicted_s\ngemm,1,1\n", "op,m,latency_ms\ngemm,2,1\n", "no row in common"),
        ("op,m,predicted_s\ngemm,1,1\ngemm,1,2\n", "op,m,latency_ms\ngemm,1,1\n", "m=1 appears twice"),
        ("a,predicted_s\n1,1\n", "b,latency_ms\n1,1\n", "share no shape column"),
    ],
)
def test_files_that_cannot_be_compared_are_refused_in_one_line(
    write: Write, predicted: str, measured: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as error:
        errors.compare(write("p.csv", predicted), write("m.csv", measured))
    assert "\n" not in str(error.value)


CYCLES = """model,draft,batch_size,context_len,draft_len,top_k,verify_tokens,cycle_s,speedup
t,d,1,256,1,1,2,{0},{1}
t,d,1,256,4,1,5,{2},{3}
t,d,8,256,1,1,2,{4},{5}
t,d,8,256,4,1,5,{6},{7}
"""


def test_columns_of_one_name_are_compared_and_the_predicted_choice_is_judged(write: Write) -> None:
    predicted = write("p.csv", CYCLES.format(1.1, 1.2, 2.2, 1.8, 1.1, 1.3, 3.3, 1.2))
    measured = write("m.csv", CYCLES.format(1.0, 1.3, 2.0, 1.9, 1.0, 1.1, 3.0, 1.21))
    rows = errors.compare(predicted, measured, columns=["cycle_s", "speedup"], best="speedup")
    assert [row["quantity"] for row in rows] == ["cycle_s", "speedup"]
    assert rows[0]["median_ape"] == pytest.approx(0.1)
    assert "same_choice" not in rows[0]
    assert rows[1]["situations"] == 2
    assert rows[1]["same_choice"] == 0.5, "at batch 1 both say 4, at batch 8 the prediction says 1"
    assert rows[1]["max_regret"] == pytest.approx(1 - 1.1 / 1.21)


def test_a_measurement_in_several_rows_counts_once_in_the_floor(write: Write) -> None:
    """A plain step beside two drafts in one situation, and three measurements in all."""
    header = "model,draft_len,batch_size,plain_step_s\n"
    first = [("t", 1, 1, 1.0), ("t", 2, 1, 1.0), ("t", 4, 1, 1.0), ("t", 1, 4, 2.0), ("t", 1, 8, 3.0)]
    drawn = {1: 1.0, 4: 1.1, 8: 0.9}
    files = [
        write(name, header + "".join(f"{m},{d},{b},{s * (drawn[b] if again else 1)}\n" for m, d, b, s in first))
        for name, again in (("m.csv", False), ("r.csv", True))
    ]
    row = errors.compare(files[0], files[0], repeat=files[1], columns=["plain_step_s"])[-1]
    assert row["floor_n"] == 3
    assert row["floor_median"] == pytest.approx(0.1)


def test_a_choice_that_loses_less_than_two_measurements_differ_is_within_the_floor(write: Write) -> None:
    """At batch 1 the predicted best loses 5 % and at batch 8 half a percent; the repeat differs by 2 %."""
    predicted = write("p.csv", CYCLES.format(1, 1.5, 1, 1.4, 1, 1.5, 1, 1.4))
    measured = write("m.csv", CYCLES.format(1, 1.9, 1, 2.0, 1, 1.98, 1, 1.99))
    again = write("r.csv", CYCLES.format(1, 1.9 * 1.02, 1, 2.0 * 0.98, 1, 1.98 * 1.02, 1, 1.99 * 0.98))
    rows = errors.compare(predicted, measured, repeat=again, columns=["speedup"], best="speedup")
    assert rows[0]["floor_median"] == pytest.approx(0.02)
    assert rows[0]["same_choice"] == 0.0
    assert rows[0]["within_floor"] == 0.5
    alone = errors.compare(predicted, measured, columns=["speedup"], best="speedup")
    assert alone[0]["within_floor"] is None, "without a repeat there is no floor"


def test_a_repeat_gives_every_column_its_own_floor(write: Write) -> None:
    predicted = write("p.csv", CYCLES.format(1, 1, 1, 1, 1, 1, 1, 1))
    measured = write("m.csv", CYCLES.format(1, 1, 1, 1, 1, 1, 1, 1))
    again = write("r.csv", CYCLES.format(1.1, 1, 0.9, 1, 1.1, 1, 0.9, 1))
    rows = errors.compare(predicted, measured, repeat=again, columns=["cycle_s", "speedup"])
    assert rows[0]["floor_median"] == pytest.approx(0.1)
    assert rows[1]["floor_median"] == pytest.approx(0.0)
