"""The strategies of `scylla_sim.testing` draw objects for which all laws hold."""

from hypothesis import given, settings
from hypothesis import strategies as st
from serving_models import flat_model

from scylla_sim import testing
from scylla_sim.acceptance.draft_shape import chain_shape
from scylla_sim.calibration.device_calibration import shipped
from scylla_sim.kernels.registry import OPERATIONS
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs import catalog
from scylla_sim.testing import strategies

few = settings(max_examples=8, deadline=None)


@few
@given(strategies.hardware(), st.sampled_from(sorted(OPERATIONS)))
def test_drawn_hardware(hardware, op):
    testing.check_operation(OPERATIONS[op], hardware)


@few
@given(strategies.models())
def test_drawn_models(model):
    testing.check_model(model)
    testing.check_deployment(model, Deployment(shipped("h100-sxm"), catalog.engine("ideal")))


@few
@given(strategies.drafts(), strategies.models())
def test_drawn_drafts(draft, model):
    testing.check_draft(draft, model)


@few
@given(strategies.calibrations())
def test_drawn_calibrations(calibration):
    testing.check_calibration(calibration)


@few
@given(strategies.engines())
def test_drawn_engines(engine):
    testing.check_engine(engine)


@few
@given(strategies.speculative_configs(), strategies.deployments())
def test_drawn_configurations(config, deployment):
    assert config.verify_tokens == chain_shape(config.draft_len).verify_tokens
    testing.check_speculation(catalog.model("llama-3.1-8b"), config, deployment)


@settings(deadline=None)
@given(strategies.profiles())
def test_drawn_profiles(rates):
    testing.check_profile(rates)


@settings(deadline=None)
@given(st.data())
def test_drawn_trees(data):
    profile = data.draw(strategies.rank_profiles())
    testing.check_tree(data.draw(strategies.trees_within(profile)), profile)


@few
@given(strategies.position_laws())
def test_drawn_position_laws(law):
    testing.check_position_law(law)


@settings(max_examples=60, deadline=None)
@given(strategies.replicas())
def test_drawn_replicas(replica):
    testing.check_replica(replica)


@settings(max_examples=50, deadline=None)
@given(
    strategies.workloads(),
    st.sampled_from([0.0, 1e-3]),
    st.integers(1, 8),
    st.sampled_from([8, 64, 1000]),
    st.sampled_from([1.0, 700.0, 1e9]),
    st.sampled_from([0.0, 2e-3]),
    st.sampled_from(["mixed", "prefill-first"]),
)
def test_drawn_workloads(requests, row_s, seats, budget, spare, host_s, policy):
    pool = requests.longest + spare
    model = flat_model(decode_row_s=row_s, seats=seats, budget=budget, pool=pool, host_s=host_s)
    testing.check_workload(requests, model, policy=policy)
