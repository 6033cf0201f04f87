"""Training and trained loops on a real GPU: the same path as on the CPU, the same counts up to rounding."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_training import GRID, plan  # noqa: E402

from gpu_validate import cli  # noqa: E402
from gpu_validate.decoding.decode import decode_plain, decode_speculatively  # noqa: E402
from gpu_validate.device.facts import detect_device  # noqa: E402
from gpu_validate.records import record_file  # noqa: E402
from gpu_validate.suites.trained_models import Trained  # noqa: E402
from gpu_validate.training import outcomes, plans, report, run  # noqa: E402
from gpu_validate.training.corpus import DOMAINS, Corpus  # noqa: E402
from gpu_validate.training.estimate import RATES, seconds, target_step, task_step  # noqa: E402
from gpu_validate.training.trainer import DraftRun, gemm_precision, train_target  # noqa: E402
from gpu_validate.training.work import Work, corpus_of  # noqa: E402
from scylla_sim.acceptance.trees import full_tree  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="NOT CHECKED ON A GPU: torch finds none, the CUDA path was not run"
    ),
]


def test_float32_gemms_are_not_rounded_outside_training() -> None:
    """An image that sets the override would make every comparison in float32 luck."""
    assert torch.backends.cuda.matmul.allow_tf32 is False
    a, b = (torch.rand(256, 256, device="cuda") for _ in range(2))
    exact = a.double() @ b.double()
    error = {}
    for tf32 in (False, True):
        with gemm_precision(tf32=tf32):
            error[tf32] = float((a @ b - exact).abs().max() / exact.abs().max())
    assert error[False] < 1e-6 < error[True] < 1e-2, "and rounding rounds"
    assert torch.backends.cuda.matmul.allow_tf32 is False


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny plan was trained on the GPU, in this process."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "plan_of", lambda scale, axis: plan())
        patch.setattr(run, "ProcessPoolExecutor", lambda *args: pytest.fail("one GPU needs one process"))
        assert cli.main(["train", "--device", "cuda", "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_training_on_a_gpu_gives_what_training_on_a_cpu_gives(trained: Path, tmp_path: Path) -> None:
    """A few steps only, so that rounding has not grown: tokens per cycle within a tenth."""
    work = Work.of(tmp_path, plan(), "cpu")
    corpus_of(work)
    run.run_here(work, lambda text: None)
    domains = {"test": corpus_of(work).windows("test")[1]}
    values = {
        "cuda": record_file.read(trained / "smallscale.json")["values"],
        "cpu": [row for row, _ in report.results(list(outcomes.snapshots(work)), domains)],
    }
    found = {
        device: {row["case"]: row["tokens_per_cycle"] for row in rows if row["op"] == "acceptance"}
        for device, rows in values.items()
    }
    assert found["cuda"].keys() == found["cpu"].keys()
    assert all(abs(value - found["cpu"][case]) < 0.1 for case, value in found["cuda"].items())
    assert GRID[-1] in {int(case.split("-")[3]) for case in found["cuda"] if "-main-" in case}


@pytest.mark.slow
def test_trained_drafts_decode_losslessly_on_a_gpu(trained: Path) -> None:
    models = Trained.read(trained / "weights", "cuda")
    prompts = models.prompts[:4, :16]
    for head in models.heads:
        fast, _ = decode_speculatively(models.target, head.draft, full_tree([2, 2]), prompts, 12)
        assert torch.equal(fast, decode_plain(models.target, prompts, 12))


def random_text(vocab_size: int) -> Corpus:
    """Text without meaning, of which a step takes as long as of any other."""
    rng = np.random.default_rng(0)
    train = {name: rng.integers(1, vocab_size, 100_000, dtype=np.uint16) for name in DOMAINS}
    return Corpus(train, {}, {})


def per_step(step: Callable[[], object]) -> float:
    """Seconds of a step, after some that load and choose kernels."""
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(10):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / 10


@pytest.mark.slow
def test_steps_of_scale_gpu_take_no_longer_than_estimated() -> None:
    """A plan that fits nine minutes on paper has to fit them on a GPU of its class; hosts differ by a quarter."""
    if detect_device("cuda").hardware not in ("h100-sxm", "h200-sxm"):
        pytest.skip("the estimate is for an H100")
    made = plans.plan_of("gpu")
    (target,), (task,) = made.targets, made.tasks
    corpus = random_text(target.spec.vocab_size)
    steps = train_target(target.spec, corpus, target.training, seed=0, device="cuda")
    found = {"target": per_step(lambda: next(steps))}
    trained = next(steps)[1].requires_grad_(False)
    drafts = DraftRun(trained, corpus, task.training, [arm.draft for arm in task.arms], seed=0)
    found["drafts"] = per_step(drafts.advance)
    costs = {"target": target_step(target), "drafts": task_step(task, target.spec)}
    limits = {name: 1.25 * seconds(cost, RATES["cuda"], tf32=True) for name, cost in costs.items()}
    print({name: (found[name], limit) for name, limit in limits.items()})
    assert all(found[name] <= limit for name, limit in limits.items()), (found, limits)
