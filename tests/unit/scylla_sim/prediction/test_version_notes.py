"""Notes on answers that another version of the engine turns."""

import pytest

import scylla_sim
from scylla_sim.prediction.version_notes import older_presets
from scylla_sim.specs import catalog

MOE = {
    "hardware": "h100-sxm",
    "tp": 2,
    "draft": "eagle3",
    "draft_len": 3,
    "tokens_per_cycle": 1.86,
    "batch": [1, 4],
}


def notes(engine: object, model: str = "qwen3-30b-a3b", **changes: object) -> list[str]:
    found = scylla_sim.predict(model, **{**MOE, "engine": engine, **changes}).notes
    return [note for note in found if "preset of your version" in note]


def test_a_speedup_that_an_older_version_turns_is_named():
    """Measured 0.72 and 0.79 with an engine of unknown version (sgl-project/SpecForge #339)."""
    (note,) = notes("sglang")
    assert note.startswith("engine=sglang is read as sglang-2026; sglang-2025 gives a speed-up of 0.")


@pytest.mark.parametrize("engine", ["sglang-2026", "sglang-2025", "ideal", catalog.engine("sglang")])
def test_who_names_a_version_gets_no_note(engine):
    assert notes(engine) == []


def test_many_ranks_name_a_version_outside_the_interval():
    """Measured 2.65 in March 2025 (sgl-project/sglang #4716)."""
    tree = {"draft_len": 8, "top_k": 8, "verify_tokens": 64, "tokens_per_cycle": 5.88, "batch": 1, "context": 400}
    assert len(notes("sglang", "llama-3.3-70b", tp=8, **tree)) == 1


def test_an_answer_of_both_versions_needs_no_note():
    assert notes("vllm", "llama-3.1-8b", tp=1, tokens_per_cycle=2.4) == []
    assert notes("vllm", "llama-3.1-8b", draft="none", draft_len=None, tokens_per_cycle=None) == []


def test_older_presets_come_newest_first():
    assert older_presets("vllm") == ["vllm-2025", "vllm-2023"] and older_presets("trtllm") == []
