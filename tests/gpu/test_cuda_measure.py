"""The CUDA path on a real GPU, with the suites and the timer that also run on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from gpu_validate.decoding import decode, lossless  # noqa: E402
from gpu_validate.device import clocks, timer  # noqa: E402
from gpu_validate.device.clocks import EventClock  # noqa: E402
from gpu_validate.device.facts import detect_device, device_state  # noqa: E402
from gpu_validate.device.timer import Plan  # noqa: E402
from gpu_validate.models import attention, checkpoints, decoder, fp8  # noqa: E402
from gpu_validate.suites import collectives, kernels, selfcheck, steps  # noqa: E402
from gpu_validate.suites.measurement import run_case  # noqa: E402
from scylla_sim.acceptance import trees  # noqa: E402
from scylla_sim.specs.model import Model  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="NOT CHECKED ON A GPU: torch finds none, the CUDA path was not run"
    ),
]

TINY = Model(
    name="tiny",
    num_layers=2,
    hidden_size=256,
    intermediate_size=512,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    vocab_size=128,
)
PLAN = Plan(relative_error=0.05, min_samples=5, time_limit_s=1.0)


def test_a_gemm_graph_and_its_eager_calls_take_comparable_device_time() -> None:
    device = detect_device("cuda")
    case = kernels.gemm_case(device, 64, 8192, 4096)
    row, summary = run_case(device, case, PLAN)
    assert summary.clock == "cuda_events"
    assert 0 < row["latency_ms"] < 100
    assert summary.floor_s < summary.median_s


def test_a_longer_kernel_takes_longer() -> None:
    device = detect_device("cuda")
    times = [run_case(device, kernels.gemm_case(device, 512, n, 4096), PLAN)[1].median_s for n in (1024, 16384)]
    assert times[1] > 2 * times[0]


def test_the_flush_is_not_timed() -> None:
    buffer = torch.empty(256 * 2**20, dtype=torch.uint8, device="cuda")
    x = torch.randn(1024, device="cuda")
    clock = EventClock(torch.cuda)
    summary = timer.measure(clock, [lambda: x.add_(1)], PLAN, cache="flushed", flush=buffer.zero_)
    assert summary.median_s < clock.elapsed([buffer.zero_])


@pytest.mark.parametrize("tokens", [1, 4])
def test_a_captured_step_gives_the_logits_of_an_eager_one(tokens: int) -> None:
    model = decoder.Decoder(TINY, device="cuda", dtype=torch.bfloat16)
    chosen = torch.randint(TINY.vocab_size, (2, tokens), device="cuda")
    place = decoder.placement_after(16, tokens, TINY, model.norm, batch=2)
    cache = decoder.KVCache.empty(TINY, 2, 16 + tokens, model.norm).fill_randomly()
    with torch.inference_mode():
        eager = model(chosen, cache, place)
        out = torch.empty_like(eager)
        replay = clocks.capture_graph(torch.cuda, [lambda: out.copy_(model(chosen, cache, place))])
        replay()
    torch.testing.assert_close(out, eager)


NAMED = (attention.TRITON, attention.JOINED, attention.CAUSAL, attention.CUDNN)


@pytest.mark.parametrize("kernel", NAMED)
@pytest.mark.parametrize("queries", [1, 4, 16])
def test_every_named_attention_kernel_gives_what_the_masked_one_gives(kernel: str, queries: int) -> None:
    q = torch.randn(2, 8, queries, 64, device="cuda", dtype=torch.bfloat16)
    pair = [torch.randn(2, 2, 300, 64, device="cuda", dtype=torch.bfloat16) for _ in "kv"]
    (call,) = attention.kernel_calls(kernel, q, [pair])
    masked = attention.masked_attention(q, pair[0], pair[1], attention.causal_mask(queries, 300, 4, q.device))
    torch.testing.assert_close(call(), masked, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("cached", [0, 300])
def test_a_prompt_gives_the_logits_of_its_tokens_read_in_parts(cached: int) -> None:
    """The prompt runs flash attention, and its parts of 64 tokens run the kernel of verification."""
    model = decoder.Decoder(TINY, device="cuda", dtype=torch.bfloat16)
    chosen = torch.randint(TINY.vocab_size, (2, 192), device="cuda")
    caches = [decoder.KVCache.empty(TINY, 2, cached + 192, model.norm) for _ in "ab"]
    for part in ("keys", "values"):
        getattr(caches[0], part).normal_()
        getattr(caches[1], part).copy_(getattr(caches[0], part))
    with torch.inference_mode():
        place = decoder.placement_after(cached, 192, TINY, model.norm, batch=2)
        whole = model.last_logits(chosen, caches[0], place)
        for start in range(0, 192, 64):
            place = decoder.placement_after(cached + start, 64, TINY, model.norm, batch=2)
            parts = model.last_logits(chosen[:, start : start + 64], caches[1], place)
    torch.testing.assert_close(whole, parts, rtol=3e-2, atol=3e-2)
    torch.testing.assert_close(caches[0].keys, caches[1].keys, rtol=3e-2, atol=3e-2)


def test_cudnn_reads_whole_prompts_causally() -> None:
    q, k, v = (torch.randn(2, heads, 300, 64, device="cuda", dtype=torch.bfloat16) for heads in (8, 2, 2))
    masked = attention.masked_attention(q, k, v, attention.causal_mask(300, 300, 4, q.device))
    for kernel in (attention.PROMPT, attention.CUDNN_PROMPT):
        (call,) = attention.kernel_calls(kernel, q, [(k, v)])
        torch.testing.assert_close(call(), masked, rtol=2e-2, atol=2e-2)


def test_kernels_are_what_they_are_called() -> None:
    found = selfcheck.check(detect_device("cuda"))["kernels"]
    assert found[attention.decoder_kernel("cuda")]["as_named"], found
    assert found[attention.PACKED]["as_named"] and found[attention.CAUSAL]["as_named"], found


def test_single_precision_is_not_rounded_to_tf32() -> None:
    """Some images switch it on, and losslessness in single precision would be luck."""
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("tree", [trees.chain(3), trees.full_tree([2, 2])], ids=["chain", "tree"])
def test_a_graphed_cycle_emits_the_tokens_of_eager_ones(tree: trees.DraftTree) -> None:
    target, draft = (decoder.Decoder(TINY, device="cuda", seed=seed) for seed in (0, 0))
    prompts = torch.randint(TINY.vocab_size, (3, 9), device="cuda")
    cycles = 6
    with torch.inference_mode():
        eager, graphed = (
            decode.start_loop(target, draft, tree, prompts, room=4 * cycles * (tree.draft_len + 1)) for _ in "ab"
        )
        before = [part.clone() for part in (graphed.batch.tokens, graphed.batch.lengths)]
        graphed.static = True

        def cycle() -> None:
            graphed.cycle()

        replay = clocks.capture_graph(torch.cuda, [cycle])
        for part, old in zip((graphed.batch.tokens, graphed.batch.lengths), before):
            part.copy_(old)
        for _ in range(cycles):
            eager.cycle()
            replay()
        torch.cuda.synchronize()
    assert torch.equal(eager.batch.lengths, graphed.batch.lengths)
    for row, length in enumerate(eager.batch.lengths.tolist()):
        assert torch.equal(eager.batch.tokens[row, : length + 1], graphed.batch.tokens[row, : length + 1])


@pytest.mark.parametrize("tree", [trees.chain(3), trees.full_tree([2, 2])], ids=["chain", "tree"])
def test_speculative_decoding_on_the_gpu_is_lossless_in_single_precision(tree: trees.DraftTree) -> None:
    target, draft = (decoder.Decoder(TINY, device="cuda", seed=seed) for seed in (0, 1))
    prompts = torch.randint(TINY.vocab_size, (3, 5), device="cuda")
    fast, _ = decode.decode_speculatively(target, draft, tree, prompts, 30)
    assert torch.equal(fast, decode.decode_plain(target, prompts, 30))


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9),
    reason="NOT CHECKED: this GPU does not multiply in 8-bit floating point",
)
def test_gemms_and_steps_in_8_bits_are_close_to_those_in_16_bits() -> None:
    device = detect_device("cuda")
    assert device.has_fp8
    for case in (kernels.fp8_case(device, 1, 4096, 4096), kernels.quantize_case(device, 16, 4096)):
        assert 0 < run_case(device, case, PLAN)[0]["latency_ms"] < 100
    x, weight = (torch.randn(size, 256, device="cuda", dtype=torch.bfloat16) for size in (3, 64))
    found = fp8.gemm(fp8.quantize(x), fp8.quantize(weight), torch.bfloat16).float()
    exact = x.float() @ weight.float().T
    assert float((found - exact).norm() / exact.norm()) < 0.06
    row, _ = run_case(device, steps.step_case(device, TINY, (2, 64, 3), graph=True, fp8=True), PLAN)
    assert row["latency_ms"] > 0


def test_a_checkpoint_decodes_on_the_gpu_as_on_the_cpu(tmp_path: Path) -> None:
    model = decoder.Decoder(TINY, seed=2)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(5.0)
    checkpoints.save(model, tmp_path)
    prompts = torch.randint(TINY.vocab_size, (3, 5))
    loaded = checkpoints.load(tmp_path, device="cuda")
    there = decode.decode_plain(loaded, prompts.cuda(), 16)
    assert torch.equal(there.cpu(), decode.decode_plain(model, prompts, 16))
    half = checkpoints.load(tmp_path, device="cuda", dtype=torch.bfloat16)
    plain = decode.decode_plain(half, prompts.cuda(), 64)
    fast, _ = decode.decode_speculatively(half, half, trees.chain(3), prompts.cuda(), 64)
    assert lossless.compare_outputs(half, prompts.cuda(), fast, plain).verdict in ("exact", "near ties")


@pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="NOT CHECKED: fewer than two GPUs, no all-reduce was measured"
)
def test_two_gpus_sum_a_message_in_a_graph_and_without() -> None:
    device = detect_device("cuda")
    listed = [collectives.all_reduce_case(device, 2, 2.0**20, graph=graph) for graph in (True, False)]
    for _, (row, summary) in collectives.measure_group_cases(device, listed, PLAN):
        assert summary.clock == "cuda_events"
        assert 0 < row["latency_ms"] < 10


def test_a_gpu_tells_its_clocks_and_what_slows_it() -> None:
    now = device_state(detect_device("cuda"))
    assert set(now) == {"nvidia_smi", "throttling"}
