"""Steps against published end-to-end measurements that were not used in any fit."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.checks import InputError
from scylla_sim.ops.draft import draft_ops
from scylla_sim.ops.op import Op
from scylla_sim.prediction import steps
from scylla_sim.prediction.cycle import bound
from scylla_sim.prediction.steps import Deployment, draft_pass, draft_step, target_step
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.hardware import Hardware

IDEAL = catalog.engine("ideal")
H100 = Deployment(device_calibration.shipped("h100-sxm"), IDEAL)
LLAMA8 = catalog.model("llama-3.1-8b")
NONE = no_drafting(catalog.draft("none"))


def test_llama_8b_decode_on_h100_agrees_with_the_published_fit():
    # SpecDecode-Bench (arXiv 2601.11580), predictor.py: 5.886 ms + 21.0 us a token + 39.3 ns a KV token
    batch = np.array([1, 2, 4, 8, 16, 32, 64.0])[:, None]
    context = np.array([512, 1024, 2048.0])
    published = 5.886e-3 + 21.0e-6 * batch + 39.3e-9 * batch * context
    error = target_step(LLAMA8, H100, batch=batch, context=context).seconds / published - 1
    assert np.abs(error).max() < 0.12
    assert np.abs(error).mean() < 0.04


def test_datasheet_roofline_is_a_quarter_too_fast_on_the_same_step():
    step = target_step(LLAMA8, H100, batch=1, context=1024)
    naive = sum(float(np.maximum(part.memory_s, part.compute_s)) for part in step.parts)
    assert 0.65 < naive / float(step.seconds) < 0.85


def test_step_is_the_sum_of_its_parts_and_lies_in_its_interval():
    step = target_step(LLAMA8, H100, batch=8, context=1024, tokens=4)
    assert float(step.seconds) == pytest.approx(sum(float(part.seconds) for part in step.parts))
    assert step.time.lower < step.seconds < step.time.upper


def test_assumption_behind_the_columns_is_a_named_source(monkeypatch):
    def sized(n):
        return {"m": np.asarray(8.0), "n": np.asarray(n), "k": np.asarray(4096.0)}

    def step(*ops):
        monkeypatch.setattr(steps, "forward_ops", lambda *_, **__: ops)
        return target_step(LLAMA8, H100, batch=8, context=1024)

    ends = ({"n": np.asarray(2048.0)}, {"n": np.asarray(16384.0)})
    found = step(Op("up", "gemm", 2, sized(8192.0), {"width": ends}))
    error, (low, high) = found.errors["width"], (step(Op("up", "gemm", 2, sized(n))) for n in (2048.0, 16384.0))
    assert float(error.down) == pytest.approx(float(found.seconds - low.seconds))
    assert float(error.up) == pytest.approx(float(high.seconds - found.seconds))


def test_named_sources_vanish_where_launches_determine_the_time():
    slow = replace(H100, engine=Engine("x", eager=True, launch_s=1.0))
    assert "power" in target_step(LLAMA8, H100, batch=512, context=1024).errors
    assert "power" not in target_step(LLAMA8, slow, batch=512, context=1024).errors


def drafting(draft, deployment=H100, *, draft_len, width=1, **load):
    """All draft passes of one cycle for Llama 3.1 8B."""
    return draft_step(
        draft,
        lambda tokens, scored: draft_pass(draft, LLAMA8, deployment, **load, width=tokens, scored=scored),
        draft_len=draft_len,
        width=width,
    )


def one_pass(name, **options):
    return float(draft_pass(catalog.draft(name), LLAMA8, H100, batch=4, context=100, **options).seconds)


@pytest.mark.parametrize(("name", "tokens"), [("eagle3", 6), ("mtp", 6), ("llama-3.2-1b", 7)])
def test_the_first_pass_reads_the_tokens_just_verified_and_scores_one(name, tokens):
    five = float(drafting(catalog.draft(name), draft_len=5, batch=4, context=100).seconds)
    assert five == pytest.approx(one_pass(name, width=tokens, scored=1) + 4 * one_pass(name))


def test_parallel_heads_take_one_pass_and_the_prompt_takes_none():
    assert float(drafting(catalog.draft("medusa"), draft_len=5, batch=4, context=100).seconds) == one_pass("medusa")
    assert float(drafting(catalog.draft("ngram"), draft_len=5, batch=4, context=100).seconds) == 0.0
    assert float(drafting(catalog.draft("eagle3"), draft_len=0, batch=4, context=100).seconds) == 0.0


@pytest.mark.parametrize("name", ["eagle3", "llama-3.2-1b"])
def test_the_first_pass_adds_rows_to_every_gemm_but_the_vocabulary(name):
    draft = catalog.draft(name)
    rows = {
        width: {
            op.name: float(op.columns["m"])
            for op in draft_ops(draft, LLAMA8, batch=64, context=100, width=width, scored=1)
            if op.kind == "gemm"
        }
        for width in (1, 6)
    }
    for op, count in rows[6].items():
        assert count == rows[1][op] * (1 if op == "lm_head" else 6)


def test_vllm_drafting_overhead_is_near_the_published_draft_phase():
    # SpecDecode-Bench: 2.135 ms a cycle at batch 1; its version and number of passes are not stated
    draft, engine = catalog.draft("eagle3"), catalog.engine("vllm-2025")
    kernels_s = float(drafting(draft, draft_len=3, batch=1, context=512).seconds)
    each = [engine.overhead("draft_pass_host_s"), engine.overhead("fused_pass_host_s")]
    low, high = (kernels_s + 3 * sum(float(getattr(one, end)) for one in each) for end in ("lower", "upper"))
    assert 0.7 * low < 2.135e-3 < high


def test_tensor_parallelism_without_a_link_is_refused(tmp_path):
    file = tmp_path / "gpu.toml"
    file.write_text(
        """[lonely]
memory = { value = 24, unit = "GiB", source = "box" }
memory_bandwidth = { value = 1, unit = "TB/s", source = "box" }
peak_bf16 = { value = 100, unit = "TFLOP/s", source = "box" }
"""
    )
    hardware = catalog.hardware(str(file))
    calibration = device_calibration.Calibration(device="lonely", hardware=hardware, kernels={})
    with pytest.raises(InputError, match="tp=2 needs a link"):
        target_step(LLAMA8, Deployment(calibration, IDEAL, tp=2), batch=1, context=10)


def test_device_without_calibration_has_transferred_evidence():
    transferred = target_step(
        LLAMA8, Deployment(device_calibration.shipped("rtx-3090"), IDEAL), batch=1, context=10
    )
    measured = target_step(LLAMA8, H100, batch=1, context=10)
    assert {part.evidence for part in transferred.parts if part.kind == "gemm"} == {"transferred"}
    assert {part.evidence for part in measured.parts if part.kind == "gemm"} == {"silicon"}
    assert float(transferred.time.upper / transferred.seconds) > float(measured.time.upper / measured.seconds)


LIMITS = [
    pytest.param({"max_graph_tokens": 8}, 1, [False, False, True, True], id="tokens"),
    pytest.param({"max_graph_tokens": 8}, 4, [False, True, True, True], id="tokens-of-a-tree"),
    pytest.param({"max_graph_batch": 8}, 4, [False, False, True, True], id="sequences"),
    pytest.param({"eager": True}, 1, [True] * 4, id="no-graphs"),
]


@pytest.mark.parametrize(("limit", "tokens", "past"), LIMITS)
@pytest.mark.parametrize("tp", [1, 2])
def test_steps_beyond_the_graph_limit_take_as_long_as_their_launches(limit, tokens, past, tp):
    """Steps within the limit equal steps without a limit; the launches of the others outlast their kernels."""
    batch, slow = np.array([1.0, 8.0, 9.0, 64.0]), 1e-3

    def step(**graphs):
        deployment = replace(H100, engine=Engine("x", launch_s=slow, **graphs), tp=tp)
        return target_step(LLAMA8, deployment, batch=batch, context=512, tokens=tokens)

    mixed, inside, outside = step(**limit), step(), step(eager=True)
    launches = sum(part.count for part in outside.parts if part.kind != "launch")
    assert outside.seconds == pytest.approx(np.full(4, launches * slow))
    assert mixed.seconds.tolist() == np.where(past, outside.seconds, inside.seconds).tolist()
    assert (outside.seconds > inside.seconds).all()


def test_short_launches_add_no_time():
    quick = replace(H100, engine=Engine("x", launch_s=1e-9, eager=True))
    step = target_step(LLAMA8, quick, batch=64, context=512)
    assert float(step.seconds) == float(target_step(LLAMA8, H100, batch=64, context=512).seconds)


def test_waiting_for_launches_has_the_interval_of_a_launch_and_counts_as_overhead():
    engine = Engine("x", launch_s=1e-3, eager=True, intervals={"launch_s": (0.5e-3, 2e-3)})
    step = target_step(LLAMA8, replace(H100, engine=engine), batch=1, context=512)
    (waiting,) = [part for part in step.parts if part.kind == "launch"]
    busy = float(step.seconds - waiting.seconds)
    ends = [float(end) for end in (waiting.time.lower, waiting.time.value, waiting.time.upper)]
    assert ends == pytest.approx([waiting.count * each - busy for each in (0.5e-3, 1e-3, 2e-3)])
    assert bound([step], np.asarray(0.0)) == ["overhead"]


def test_draft_passes_wait_for_their_launches():
    """The first pass of 3 tokens is within the limit, and a later one of 5 candidates beyond it."""
    engine = Engine("x", launch_s=1e-3, max_graph_tokens=32)
    deployment, draft = replace(H100, engine=engine), catalog.draft("eagle3")
    both = drafting(draft, deployment, draft_len=2, width=5, batch=8, context=512)
    first = draft_pass(draft, LLAMA8, deployment, batch=8, context=512, width=3, scored=1)
    launches = sum(part.count for part in first.parts if part.kind != "launch")
    assert float(both.seconds) == pytest.approx(float(first.seconds) + launches * 1e-3)


def test_power_limit_raises_only_the_upper_end_of_steps_with_many_rows() -> None:
    few, many = (target_step(LLAMA8, H100, batch=64, context=512, tokens=n) for n in (1, 16))
    assert "power" not in few.errors
    assert float(many.errors["power"].down) == 0.0
    gemms = sum(float(part.seconds) for part in many.parts if part.kind == "gemm")
    assert float(many.errors["power"].up) == pytest.approx(0.2 * gemms, rel=0.02)
    assert float(many.time.up) > 2 * float(many.time.down)


def test_int4_gemms_of_vllm_have_the_ratio_of_marlin_to_the_fit():
    """Source: a100-factorial, 8 and 64 rows as in the fit and 384 rows 1.19 times as slow; #2497 for the end."""
    model = catalog.model("llama-3.1-8b")
    calibration = device_calibration.shipped("a100-sxm")
    ups, seconds = {}, {}
    for name in ("vllm", "trtllm"):
        deployment = Deployment(calibration, Engine("x", framework=name), dtype="int4_wo")
        step = target_step(model, deployment, batch=np.array([8.0, 64.0, 384.0]), context=512)
        seconds[name] = sum(part.seconds for part in step.parts if part.kind == "gemm" and part.name != "lm_head")
        ups[name] = step.errors["W4A16 kernel"].up if "W4A16 kernel" in step.errors else None
    assert ups["trtllm"] is None
    assert seconds["vllm"] / seconds["trtllm"] == pytest.approx([1.0, 1.0, 1.19])
    assert ups["vllm"][1] / seconds["trtllm"][1] == pytest.approx(0.31, rel=0.2)


def test_a_step_whose_attention_no_row_describes_may_take_twice_as_long():
    deployment = Deployment(device_calibration.shipped("l40s"), Engine("x", framework="vllm"), kv_dtype="fp8")
    step = target_step(catalog.model("llama-3.1-8b"), deployment, batch=4, context=512, tokens=4)
    (name,) = (name for name in step.errors if "without published rows" in name)
    assert float(step.errors[name].up) == pytest.approx(float(step.seconds))
    assert step.attention_backend.undecided


def test_eagle3_fuses_the_features_of_the_target_once_per_cycle():
    """Source: vLLM, v1/spec_decode/eagle.py: `combine_hidden_states` runs before the loop over passes."""
    target = catalog.model("llama-3.1-8b")
    for name, fusions in (("eagle3", 1), ("eagle", 4)):
        config = SpeculativeConfig(catalog.draft(name), 4, 1, 5, 2.5, 2.5, 2.5)
        out = predict(target, config, H100, batch=[1], context=512)
        assert {part.name: part.count for part in out.draft.parts}["fuse_features"] == fusions


def test_an_fp8_cache_without_fp8_arithmetic_is_cast_for_every_number_of_query_tokens():
    model = catalog.model("llama-3.1-8b")
    engines = {name: Engine("x", framework=name) for name in ("vllm", "")}
    seconds = {}
    for name, engine in engines.items():
        where = Deployment(device_calibration.shipped("a100-sxm"), engine, kv_dtype="fp8")
        steps = (target_step(model, where, batch=64, context=844, tokens=tokens) for tokens in (1, 6))
        seconds[name] = [float(part.seconds) for step in steps for part in step.parts if part.name == "attention"]
    extra = 32 * 25e-6
    assert seconds["vllm"] == pytest.approx([1.2 * seconds[""][0] + extra, 3.4 * seconds[""][1] + extra])


def test_launches_on_a_cpu_add_to_its_operations():
    """One operation a millisecond: a step takes longer by as many milliseconds as it has operations."""
    cpu = Hardware("cpu", "cpu", 1e11, 1e11, {"fp32": 1e12})
    where = Deployment(Calibration("cpu", cpu, {}), Engine("x", eager=True), dtype="float32", kv_dtype="float32")
    model = catalog.model("llama-3.2-1b")
    free, paid = (
        target_step(model, replace(where, engine=replace(where.engine, launch_s=seconds)), batch=1, context=10)
        for seconds in (0.0, 1e-3)
    )
    count = sum(part.count for part in free.parts)
    assert float(paid.seconds - free.seconds) == pytest.approx(1e-3 * count)


@pytest.mark.parametrize(
    ("model", "device", "engine", "dtype", "tp"),
    [
        ("llama-3.1-8b", "h100-sxm", "vllm", "bfloat16", 1),
        ("llama-3.1-8b", "a100-sxm", "sglang", "int4_wo", 1),  # the kernel that the engine runs
        ("qwen3-30b-a3b", "b200-sxm", "vllm", "fp8", 2),  # assumed experts, all-reduce inside and outside a graph
        ("llama-3.2-1b", "l40s", "vllm", "bfloat16", 1),  # eager steps wait for launches
    ],
)
@pytest.mark.parametrize("tokens", [1, 4])
def test_seconds_without_intervals_are_the_same(model, device, engine, dtype, tp, tokens):
    where = Deployment(device_calibration.shipped(device), catalog.engine(engine), dtype, tp=tp)
    shape = {"batch": np.array([1.0, 7.0, 300.0]), "context": np.array(900.0), "tokens": tokens}
    whole = target_step(catalog.model(model), where, **shape)
    found = target_step(catalog.model(model), replace(where, intervals=False), **shape)
    np.testing.assert_array_equal(found.seconds, whole.seconds)
    assert found.time.is_exact
    assert not found.errors
    assert (whole.time.upper > whole.time.value).all()
