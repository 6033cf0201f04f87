"""Valid and invalid speculative configurations."""

import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.checks import InputError
from scylla_sim.specs import catalog

EAGLE3 = catalog.draft("eagle3")


def test_autoregressive_baseline_emits_one_token():
    config = no_drafting(catalog.draft("none"))
    assert (config.draft_len, config.verify_tokens, config.tokens_per_cycle) == (0, 1, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 2, 1.0, 1.0, 1.0), "verify_tokens=2 must be 1 with draft_len=0"),
        ((3, 1, 1, 1.0, 1.0, 1.0), "verify_tokens=1 must be at least 2"),
        ((3, 1, 4, 4.5, 4.0, 5.0), "tokens_per_cycle=4.5 must lie in"),
        ((3, 1, 4, 2.4, 2.5, 2.6), "must lie in its own interval"),
    ],
)
def test_impossible_configurations_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        SpeculativeConfig(EAGLE3, *values)
