"""A prediction beside a made-up measurement: which part explains the difference."""

import numpy as np
import pytest

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.prediction import compare
from scylla_sim.prediction.compare import ACCEPTANCE, HOST, KERNELS, PREFILLS
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog

CONFIG = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.0, 2.8)
WHERE = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("vllm"))


def predicted(load=None):
    return predict(catalog.model("llama-3.1-8b"), CONFIG, WHERE, batch=[16], context=728, load=load)


def compared(out, **measured):
    return compare.compare(out, MeasuredServing(**measured))


def shares(found):
    return {part.name: part.share for part in found.parts}


OUT = predicted(ServedLoad(600, 256))
TPOT = float(OUT.tpot_s[0])
CYCLE = float(OUT.cycle.decoding.seconds[0])


def test_a_measurement_that_is_the_prediction_agrees():
    found = compared(OUT, tpot_s=TPOT, itl_median_s=CYCLE, output_tokens_per_s=16 / TPOT, concurrency=16.0)
    assert found.agrees
    assert all(item.ratio == pytest.approx(1.0) and item.inside for item in found.quantities)
    assert set(shares(found).values()) == {0.0}
    assert found.verdict() == "Prediction and measurement agree within 2 %."


def test_a_slower_token_with_the_predicted_cycle_is_acceptance_or_prefills():
    found = compared(OUT, tpot_s=1.1 * TPOT, itl_median_s=CYCLE)
    assert {name for name, share in shares(found).items() if share <= 1.0} == {ACCEPTANCE, PREFILLS}
    assert np.isinf(shares(found)[HOST]) and np.isinf(shares(found)[KERNELS])


def test_a_slower_cycle_is_neither_acceptance_nor_prefills():
    host = next(part for part in compared(OUT, tpot_s=TPOT).parts if part.name == HOST)
    tau, added = CONFIG.tokens_per_cycle, 0.8 * host.upper
    found = compared(OUT, tpot_s=TPOT + added, itl_median_s=CYCLE + tau * added)
    assert shares(found)[HOST] < 1.0
    assert np.isinf(shares(found)[ACCEPTANCE]) and np.isinf(shares(found)[PREFILLS])
    assert "would explain the difference" in found.verdict()
    assert "engine overhead" in found.verdict().lower()


def test_the_share_is_that_of_the_end_of_the_interval():
    host = next(part for part in compared(OUT, tpot_s=TPOT).parts if part.name == HOST)
    measured = (TPOT + host.upper) / (1.0 - compare.SAME)  # the whole interval, and the tolerance
    assert shares(compared(OUT, tpot_s=measured))[HOST] == pytest.approx(1.0)


def test_no_part_explains_a_time_three_times_as_long():
    found = compared(OUT, tpot_s=3 * TPOT, itl_median_s=3 * CYCLE)
    assert not any(part.explains for part in found.parts)
    assert found.verdict().startswith("No single part explains the difference within its interval.")


def test_throughput_counts_only_without_a_time():
    both = compared(OUT, tpot_s=TPOT, output_tokens_per_s=0.7 * 16 / TPOT, concurrency=16.0)
    assert both.agrees
    assert "Only 70 % of the requests in flight decode" in both.verdict()
    assert not compared(OUT, output_tokens_per_s=0.7 * 16 / TPOT).agrees


def test_prefills_are_a_part_only_with_a_load():
    assert PREFILLS not in shares(compared(predicted(), tpot_s=TPOT))


def test_a_file_without_a_predicted_quantity_is_refused():
    with pytest.raises(InputError, match="must state a time per token"):
        compared(OUT, ttft_s=0.1, concurrency=4.0)
