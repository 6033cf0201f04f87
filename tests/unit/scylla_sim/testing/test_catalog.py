"""The laws of `scylla_sim.testing` hold for the whole catalog: every GPU, model, draft, engine, fit and law."""

from __future__ import annotations

import pytest

from scylla_sim.acceptance import positions
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration.device_calibration import shipped, shipped_devices
from scylla_sim.laws.forms import ALL_FORMS
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs import catalog
from scylla_sim.testing import (
    check_calibration,
    check_deployment,
    check_draft,
    check_engine,
    check_hardware,
    check_law,
    check_model,
    check_position_law,
    check_speculation,
)

TARGETS = ("llama-3.1-8b", "deepseek-v3", "qwen3-30b-a3b")


@pytest.mark.parametrize("name", catalog.names("hardware"))
def test_every_device(name: str) -> None:
    check_hardware(catalog.hardware(name))
    for model in ("llama-3.1-8b", "qwen3-30b-a3b"):
        check_deployment(catalog.model(model), Deployment(shipped(name), catalog.engine("ideal")))


@pytest.mark.parametrize("name", shipped_devices())
def test_every_calibration(name: str) -> None:
    check_calibration(shipped(name))


@pytest.mark.parametrize("name", catalog.names("models"))
def test_every_model(name: str) -> None:
    model = catalog.model(name)
    check_model(model)
    check_deployment(model, Deployment(shipped("h100-sxm"), catalog.engine("vllm")))


@pytest.mark.parametrize("name", catalog.names("drafts"))
def test_every_draft(name: str) -> None:
    draft = catalog.draft(name)
    for target in (catalog.model(one) for one in TARGETS):
        if draft.target_hidden_size in (0, target.hidden_size):
            check_draft(draft, target)


@pytest.mark.parametrize("name", catalog.names("engines"))
def test_every_engine(name: str) -> None:
    check_engine(catalog.engine(name))
    for draft in ("eagle3", "ngram", "llama-3.2-1b"):
        config = SpeculativeConfig(catalog.draft(draft), 3, 1, 4, 2.4, 2.2, 2.6)
        where = Deployment(shipped("h100-sxm"), catalog.engine(name))
        check_speculation(catalog.model("llama-3.1-8b"), config, where)


@pytest.mark.parametrize("name", ALL_FORMS)
def test_every_law(name: str) -> None:
    check_law(name, ALL_FORMS[name])


@pytest.mark.parametrize("name", positions.laws())
def test_every_law_over_positions(name: str) -> None:
    check_position_law(positions.laws()[name])
