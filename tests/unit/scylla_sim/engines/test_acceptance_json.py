"""Content of ``acceptance.json``: its schema, and what was measured at one length and predicted at others."""

import json
from importlib import resources

import jsonschema
import numpy as np
import pytest

from scylla_sim.acceptance import measured, profiles
from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import InputError
from scylla_sim.engines import acceptance_json
from scylla_sim.engines.acceptance_json import content_of
from scylla_sim.engines.counts import Counts
from scylla_sim.engines.measurement import Measurement, choose, merged
from scylla_sim.engines.windows import Totals, Windows

SCHEMA = json.loads((resources.files("scylla_sim") / "data" / "acceptance.schema.json").read_text("utf-8"))
SUFFIX = Counts(467, (158, 68, 33, 18, 14, 13, 11, 10, 10, 10, 10, 9) + (0,) * 12, drafted=1190)
FOUND = {
    "counts": Counts(1000, (760, 562, 433)),
    "shorter": Counts(1000, (760, 562, 433), drafted=2900, whole_drafts=False),
    "varied": SUFFIX,
    "windows": Windows(np.array([2.0, 2.5]), np.array([1.0, 3.0]), draft_len=3),
    "totals": Totals(np.array([300.0]), np.array([180.0]), "why", draft_len=3),
}


@pytest.mark.parametrize("kind", FOUND)
def test_the_content_follows_the_schema_and_keeps_tau(kind):
    item = Measurement("vLLM log", FOUND[kind], engine="vllm", served=MeasuredServing(tpot_s=0.01))
    content = content_of(item, method="eagle3" if kind == "totals" else None)
    jsonschema.validate(content.facts | {"rows": content.rows}, SCHEMA)
    assert set(content.facts) <= set(SCHEMA["properties"]), "every key is documented"
    assert profiles.tokens_per_cycle(content.facts["acceptance_rate"]) == pytest.approx(
        content.facts["tokens_per_cycle"], abs=1e-6
    )
    known = measured.of_content(content.facts, "a.json")
    assert known.draft_len == content.facts["draft_len"] == len(content.facts["acceptance_rate"])


def test_drafts_of_varying_length_count_as_their_mean():
    content = content_of(Measurement("vLLM log", SUFFIX, method="suffix"))
    facts = content.facts
    assert (facts["draft_len"], facts["draft_len_max"], facts["drafted"], facts["position_law"]) == (
        3,
        24,
        1190,
        "ngram",
    )
    assert facts["drafted_per_position"] is None and len(facts["accepted_per_position"]) == 24
    assert content.rows[0]["acceptance_rate"] == pytest.approx(158 / 467)
    assert content.rows[1]["acceptance_rate"] is None, "how many reached it is not known"
    assert "drafts have 2.55 of 24 tokens on average, and count as 3" in content.notes[0]


def test_methods_of_engines_have_laws():
    windows = FOUND["windows"]
    laws = [
        content_of(Measurement("x", windows, method=m)).facts["position_law"] for m in ("NEXTN", "draft-eagle3")
    ]
    assert laws == ["mtp", "eagle3"]
    assert "names the method dream" in content_of(Measurement("x", windows, method="dream")).notes[0]
    assert "names no method" in content_of(Measurement("x", windows)).notes[0]


@pytest.mark.parametrize(
    ("kind", "length", "message"),
    [
        ("counts", 5, "draft_len=5 must be 3, the positions in the file"),
        ("windows", 1, r"tokens_per_cycle=2.375 must be at most draft_len \+ 1 = 2"),
        ("windows", 10**9, "draft_len=1000000000 must lie in"),
        ("windows", 0, "draft_len=0 must lie in"),
    ],
)
def test_a_contradicting_draft_length_is_refused(kind, length, message):
    with pytest.raises(InputError, match=message):
        content_of(Measurement("x", FOUND[kind]), draft_len=length)


def test_a_stated_draft_length_is_used_and_another_is_named():
    item = Measurement("x", FOUND["windows"], method="mtp")
    assert content_of(item).facts["draft_len"] == 3
    content = content_of(item, draft_len=5)
    assert content.facts["draft_len"] == 5 and "draft_len 5 is used; the file says 3" in content.notes[0]


def test_measurements_of_one_configuration_add_up():
    both = merged([Measurement("x", FOUND["counts"], served=MeasuredServing(tpot_s=t)) for t in (0.01, 0.02)])
    assert (both.found.cycles, both.served) == (2000, None)
    assert merged([Measurement("x", FOUND["windows"])] * 2).found.weight.size == 4
    assert merged([Measurement("x", FOUND["totals"])] * 2).found.windows(None).cycles == 200
    with pytest.raises(InputError, match="must name one series: f has a1; a2"):
        choose([Measurement("x", FOUND["counts"], series=name) for name in ("a1", "a2")], "a", "f")
    with pytest.raises(InputError, match="must name one series"):
        choose([Measurement("x", FOUND["counts"])], "a", "f")


def test_a_library_user_reads_a_log(tmp_path):
    file = tmp_path / "counts.csv"
    file.write_text("position;accepted;drafted\n1;760;1000\n2;562;760\n")
    assert acceptance_json.read_acceptance(str(file)).rates.tolist() == [0.76, 562 / 760]
