"""Counts from vLLM's Prometheus series: labels, restarts, models, and contradicting counters."""

import json

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.vllm_metrics import read_vllm_metrics


def page(engines, stamp=""):
    """Return a page; ``engines`` maps labels to drafts and accepted tokens by position."""
    lines = ["# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts."]
    for labels, (drafts, *accepted) in engines.items():
        for name, value in (
            ("drafts_total", drafts),
            ("drafts_created", 1.7567e9),
            ("draft_tokens_total", drafts * len(accepted)),
            ("accepted_tokens_total", sum(accepted)),
        ):
            lines.append(f"vllm:spec_decode_num_{name}{{{labels}}} {float(value)}{stamp}")
        for i, value in enumerate(accepted):
            name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
            lines.append(f'{name}{{{labels},position="{i}"}} {float(value)}{stamp}')
    return "\n".join(lines) + "\n"


ONE = 'engine="0",model_name="m"'
TWO = 'engine="1",model_name="m"'


def read(text, before=None):
    return read_vllm_metrics(TextFile.of(text), None if before is None else TextFile.of(before))


def test_engines_of_a_model_add_up_and_an_earlier_page_is_subtracted():
    (found,) = read(page({ONE: (100, 90, 60, 40), TWO: (66, 49, 51 - 10, 20)}))
    assert (found.found.cycles, found.found.accepted) == (166, (139, 101, 60))
    assert found.notes == ("2 engines are added up",)
    (difference,) = read(page({ONE: (200, 170, 100, 60)}), page({ONE: (100, 90, 60, 40)}))
    assert (difference.found.cycles, difference.found.accepted) == (100, (80, 40, 20))


def test_an_engine_that_restarted_counts_from_zero():
    before = page({ONE: (1000, 700, 400, 200), TWO: (1000, 700, 400, 200)})
    (found,) = read(page({ONE: (200, 100, 30, 10), TWO: (2000, 1400, 800, 400)}), before)
    assert (found.found.cycles, found.found.accepted) == (1200, (800, 430, 210))
    assert found.found.tokens_per_cycle().value == pytest.approx(2.2)
    assert "engine=0" in found.notes[0] and "restarted" in found.notes[0]


def test_a_new_time_of_creation_is_a_restart_even_if_no_counter_fell():
    before = page({ONE: (100, 50, 20), TWO: (100, 50, 20)})
    after = page({ONE: (150, 60, 30), TWO: (200, 100, 40)})
    (plain,) = read(after, before)
    assert plain.found.cycles == 50 + 100
    (created,) = read(after.replace("1756700000.0", "1756799999.0", 1), before)
    assert created.found.cycles == 150 + 100


def test_an_engine_in_one_page_only_is_named():
    (found,) = read(page({ONE: (200, 100, 40), TWO: (10, 5, 1)}), page({ONE: (100, 50, 20)}))
    assert found.found.cycles == 110
    assert "engine=1" in found.notes[0] and "only in the later page" in found.notes[0]


def test_models_and_lengths_are_told_apart():
    llama, qwen = 'engine="0",model_name="llama-8b"', 'engine="0",model_name="qwen-32b"'
    found = read(page({llama: (1000, 700, 400, 200), qwen: (3000, 1200, 300, 60, 20, 5)}))
    assert [item.series for item in found] == ["model_name=llama-8b,draft_len=3", "model_name=qwen-32b,draft_len=5"]
    assert [round(float(item.found.tokens_per_cycle().value), 3) for item in found] == [2.3, 1.528]
    pods = read(page({'pod="a",model_name="m"': (10, 5, 2), 'pod="b",model_name="m"': (10, 5, 2, 1)}))
    assert [item.series for item in pods] == ["model_name=m,draft_len=2", "model_name=m,draft_len=3"]


def test_timestamps_of_federation_are_understood():
    (found,) = read(
        page({'instance="10.0.0.5:8000",model_name="Qwen/Qwen3-8B"': (1000, 700, 400, 200)}, " 1756736798733")
    )
    assert found.found.tokens_per_cycle().value == pytest.approx(2.3)


def test_samples_over_time_give_the_increase():
    text = page({ONE: (100, 50, 20)}, " 1000") + page({ONE: (300, 150, 80)}, " 2000")
    (found,) = read(text)
    assert (found.found.cycles, found.found.accepted) == (200, (100, 60))
    (restarted,) = read(text + page({ONE: (40, 10, 5)}, " 3000"))
    assert (restarted.found.cycles, restarted.found.accepted) == (240, (110, 65))
    assert "began at zero again" in restarted.notes[0]


def api(points, kind):
    results = []
    for name, extra, values in points:
        metric = {"__name__": f"vllm:spec_decode_num_{name}_total", "engine": "0", "model_name": "m", **extra}
        key = "values" if kind == "matrix" else "value"
        pairs = [[1000.0 + 15 * i, str(value)] for i, value in enumerate(values)]
        results.append({"metric": metric, key: pairs if kind == "matrix" else pairs[0]})
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": results}})


def test_answers_of_the_query_api_are_read():
    points = [("drafts", {}, [100, 300]), ("accepted_tokens_per_pos", {"position": "0"}, [50, 150])]
    points += [("accepted_tokens_per_pos", {"position": "1"}, [20, 80])]
    (instant,) = read(api(points, "vector"))
    assert (instant.found.cycles, instant.found.accepted) == (100, (50, 20))
    (over_time,) = read(api(points, "matrix"))
    assert (over_time.found.cycles, over_time.found.accepted) == (200, (100, 60))
    with pytest.raises(InputError, match=r"is the result of a function such as rate\(\); query"):
        read(api(points, "vector").replace("__name__", "name"))


def test_histograms_give_times_of_the_run():
    text = page({ONE: (100, 50, 20)})
    for name, total, count in (
        ("inter_token_latency_seconds", 12.0, 1000),
        ("time_to_first_token_seconds", 4.0, 20),
    ):
        text += f"vllm:{name}_sum{{{ONE}}} {total}\nvllm:{name}_count{{{ONE}}} {count}\n"
    served = read(text)[0].served
    assert (served.itl_s, served.ttft_s) == (0.012, 0.2)


GOOD = page({ONE: (166, 139, 111, 87)})


@pytest.mark.parametrize(
    ("text", "before", "message"),
    [
        (GOOD.replace('position="1"', 'position="4"'), None, r"positions=\[0, 2, 4\] must run from 0"),
        (GOOD.replace("} 111.0", "} 211.0"), None, "accepted_tokens=337 must be 437, the sum over positions"),
        (GOOD[: GOOD.rindex("} 87.0") + 3], None, "accepted_tokens=337 must be 258"),
        (GOOD[: GOOD.rindex("} 87.0")], None, "line=8 of text has no value of its metric; is the page cut"),
        (GOOD + GOOD.replace("} 87.0", "} 88.0"), None, "appears twice in text; give two pages"),
        (
            page({ONE: (100, 50, 20)}),
            page({ONE: (200, 90, 40)}),
            "larger counters than the later page; is the earl",
        ),
        (page({ONE: (100, 50, 20)}), page({ONE: (100, 50, 20)}), "drafts=0 must be at least 1"),
        (GOOD.replace("} 166.0", "} 1e999"), None, "must be a finite number"),
        (GOOD.replace("} 166.0", "} 7.0.0"), None, "has no value of its metric"),
        (GOOD.replace('position="1"', f'position="{"1" * 5000}"'), None, "must be a whole number, the label"),
    ],
)
def test_bad_input_is_named(text, before, message):
    with pytest.raises(InputError, match=message):
        read(text, before)
