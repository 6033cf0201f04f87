"""Models: parameters against published numbers, and refused combinations."""

from dataclasses import replace

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.layers import MLA, MoE

MIXTRAL = catalog.model("mixtral-8x7b")


@pytest.mark.parametrize(
    ("name", "total", "active", "embedding_counted"),
    [  # billions: Mixtral arXiv 2401.04088 and mistral.ai, Qwen3 arXiv 2505.09388, gpt-oss model card (arXiv
        # 2508.10925, table 1: the embedding is not active), DeepSeek-V3 arXiv 2412.19437
        ("mixtral-8x7b", 46.7, 12.9, True),
        ("qwen3-30b-a3b", 30.5, 3.3, True),
        ("qwen3-235b-a22b", 235, 22, True),
        ("gpt-oss-20b", 20.91, 3.61, False),
        ("gpt-oss-120b", 116.83, 5.13, False),
        ("deepseek-v3", 671, 37, True),
    ],
)
def test_parameters_are_those_in_print(name, total, active, embedding_counted):
    model = catalog.model(name)
    assert model.parameters / 1e9 == pytest.approx(total, rel=0.002)
    met = model.active_parameters - (0 if embedding_counted else model.head_parameters)
    assert met / 1e9 == pytest.approx(active, rel=0.017)


def test_every_weight_of_a_dense_model_is_active():
    dense = catalog.model("qwen2.5-72b")
    assert dense.active_parameters == dense.parameters


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"moe": MoE(8, 2, 64, dense_layers=32)}, "dense_layers=32 must be below num_layers=32"),
        ({"windows": (128,)}, "windows=1 must have num_layers=32 entries"),
        ({"windows": (128,) * 32, "mla": MLA(8, 8, 8, 8)}, "cannot be combined with MLA"),
    ],
)
def test_models_that_cannot_be_are_refused(change, line):
    with pytest.raises(InputError, match=line):
        replace(MIXTRAL, **change)


@pytest.mark.parametrize(
    ("name", "billions"),
    [  # parameter counts printed on the model cards
        ("llama-2-7b", 6.74),
        ("llama-2-13b", 13.02),
        ("llama-2-70b", 68.98),
        ("llama-3.1-8b", 8.03),
        ("llama-3.1-70b", 70.55),
        ("llama-3.2-1b", 1.24),
        ("qwen2.5-0.5b", 0.49),
        ("qwen2.5-7b", 7.61),
        ("qwen2.5-72b", 72.7),
        ("qwen3-8b", 8.19),
        ("tinyllama-1.1b", 1.10),
        ("vicuna-33b", 32.5),
    ],
)
def test_parameters_are_those_of_the_model_card(name, billions):
    assert catalog.model(name).parameters / 1e9 == pytest.approx(billions, abs=0.011 * billions)
