"""Shares of a cycle by level of evidence, and the level of its weakest large part, by hand."""

import numpy as np
import pytest

from scylla_sim.prediction.cycle import Cycle
from scylla_sim.prediction.evidence import (
    WEAKEST_FIRST,
    overhead_evidence,
    shares,
    shares_in_words,
    weakest,
    words_of_each,
)
from scylla_sim.prediction.predict import predict
from scylla_sim.prediction.step_time import EMPTY, OpTime, step_of
from scylla_sim.records import EVIDENCE
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import exact

ENGINE = Engine("x", host_s=1.0, intervals={"host_s": (0.5, 2.0)})


def op(seconds, evidence):
    zero = np.asarray(0.0)
    return OpTime(evidence, "gemm", 1, exact(seconds), zero, zero, evidence)


def cycle(*parts, host=0.0):
    verify = step_of(tuple(op(*part) for part in parts))
    counts = {"host_s": np.asarray(host)}
    return Cycle(exact(1.0), verify, 1, EMPTY, 1, counts, verify.seconds + host)


def test_overheads_and_kernels_share_a_cycle():
    found = shares(cycle((1.0, "theory"), (2.0, "silicon"), (4.0, "silicon"), host=1.0), ENGINE)
    assert {name: float(share) for name, share in found.items()} == {
        "theory": 1 / 8,
        "published": 1 / 8,
        "silicon": 6 / 8,
    }
    assert list(found) == ["theory", "published", "silicon"]


@pytest.mark.parametrize(
    ("seconds", "level"),
    [
        ({"theory": 9.0, "silicon": 91.0}, "silicon"),
        ({"theory": 10.0, "silicon": 90.0}, "theory"),
        ({"theory": 6.0, "transferred": 6.0, "silicon": 88.0}, "transferred"),  # 12 % rest on these or weaker
        ({"live": 1.0}, "live"),
    ],
)
def test_evidence_is_that_of_the_weakest_large_part(seconds, level):
    found = shares(cycle(*((value, name) for name, value in seconds.items())), ENGINE)
    assert weakest(found, ()) == [level]


def test_host_work_is_published_with_an_interval_and_given_without():
    assert overhead_evidence(ENGINE, "host_s") == "published"
    assert overhead_evidence(Engine("x", host_s=1.0), "host_s") == "given"


def test_every_level_of_evidence_has_a_rank():
    assert set(EVIDENCE) <= set(WEAKEST_FIRST)


def test_words_are_ranges_over_the_cycles():
    rows = [{"theory": 0.031, "silicon": 0.969}, {"silicon": 1.0}]
    assert shares_in_words(rows) == "silicon 97-100 %, theory 0-3 %"


def test_words_of_each_point_are_those_of_its_shares_alone():
    random = np.random.default_rng(2)
    cuts = np.sort(np.append(random.uniform(size=(2, 300)), [[0.005] * 3, [0.995] * 3], axis=1), axis=0)
    found = {"theory": cuts[0], "published": cuts[1] - cuts[0], "silicon": 1.0 - cuts[1]}
    points = [dict(zip(found, point)) for point in zip(*found.values())]
    assert words_of_each(found, (303,)) == [shares_in_words([point]) for point in points]
    assert words_of_each({}, (2, 1)) == ["", ""]


def test_evidence_of_a_row_depends_on_its_batch():
    slow = Engine("x", host_s=2e-3, framework="vllm", intervals={"host_s": (1e-3, 3e-3)})
    rows = predict("llama-3.1-8b", hardware="h100-sxm", engine=slow, batch=[1, 512], context=4096).rows()
    assert [row["evidence"] for row in rows] == ["published", "silicon"]


def test_small_part_without_a_fit_does_not_decide():
    # the shared expert's GEMMs of DeepSeek-V3 on B200 were never measured; they are 3 % of a cycle
    (row,) = predict("deepseek-v3", hardware="b200-sxm", tp=8, engine=catalog.engine("ideal")).rows()
    assert row["evidence"] == "silicon"
    assert "theory" in row["evidence_shares"]
