"""Laws of batches without refill, for every draft, acceptance and length of the answers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.acceptance.profiles import iid_tokens_per_cycle
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.prediction import ragged_batch
from scylla_sim.specs import catalog

few = settings(max_examples=25, deadline=None)
SIZES = ragged_batch.sizes_up_to(64)
BATCH = np.arange(1.0, 65.0)


def waits(length, rate, output_len, slope):
    tau = float(iid_tokens_per_cycle(rate, length))
    config = SpeculativeConfig(catalog.draft("eagle3"), length, 1, length + 1, tau, tau, tau)
    return ragged_batch.wait(
        config, output_len=output_len, batch=BATCH, sizes=SIZES, cycle_s=1.0 + slope * (SIZES - 1.0)
    )


lengths, rates, outputs = st.integers(1, 7), st.floats(0.05, 0.95), st.integers(1, 300)


@few
@given(lengths, rates, outputs)
def test_a_batch_waits_longer_with_every_sequence_if_all_cycles_take_equally_long(length, rate, output_len):
    found = waits(length, rate, output_len, 0.0)
    assert (np.diff(found.value) >= -1e-9).all() and (found.value >= 1.0 - 1e-9).all()


@few
@given(lengths, rates, outputs, st.floats(0.0, 0.1))
def test_a_batch_takes_no_longer_than_one_token_a_cycle(length, rate, output_len, slope):
    """Every cycle gives at least one token, so the slowest sequence needs at most as many cycles as tokens."""
    tau = float(iid_tokens_per_cycle(rate, length))
    found = waits(length, rate, output_len, slope)
    assert (found.upper <= tau + 1e-6).all()


@few
@given(lengths, rates, outputs, st.floats(0.0, 0.1))
def test_late_cycles_with_few_sequences_never_lengthen_the_batch(length, rate, output_len, slope):
    flat, steep = waits(length, rate, output_len, 0.0), waits(length, rate, output_len, slope)
    assert (steep.value <= flat.value + 1e-9).all()
