"""Training and trained loops on a real GPU: the same path as on the CPU, the same counts up to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tiny_training import GRID, plan  # noqa: E402

from gpu_validate import cli, records  # noqa: E402
from gpu_validate.smallscale import plans  # noqa: E402
from gpu_validate.smallscale.loops import Trained  # noqa: E402
from gpu_validate.specdecode import decode_plain, decode_speculatively  # noqa: E402
from scylla_sim.trees import full_tree  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="NOT CHECKED ON A GPU: torch sees none, the CUDA path was not run"
    ),
]


def test_training_on_a_gpu_gives_what_training_on_a_cpu_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few steps only, so that rounding has not grown: tokens per cycle within a tenth."""
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis, kind: plan())
    found = {}
    for device in ("cuda", "cpu"):
        assert cli.main(["train", "--device", device, "--out", str(tmp_path / device)]) == 0
        values = records.read(tmp_path / device / "smallscale.json")["values"]
        found[device] = {row["case"]: row["tokens_per_cycle"] for row in values if row["op"] == "acceptance"}
    assert found["cuda"].keys() == found["cpu"].keys()
    assert all(abs(value - found["cpu"][case]) < 0.1 for case, value in found["cuda"].items())
    assert GRID[-1] in {int(case.split("-")[3]) for case in found["cuda"] if "-main-" in case}


def test_trained_drafts_decode_losslessly_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis, kind: plan())
    assert cli.main(["train", "--device", "cuda", "--out", str(tmp_path)]) == 0
    models = Trained.read(tmp_path / "weights", "cuda")
    prompts = models.prompts[:4, :16]
    for head in models.heads:
        fast, _ = decode_speculatively(models.target, head.draft, full_tree([2, 2]), prompts, 12)
        assert torch.equal(fast, decode_plain(models.target, prompts, 12))
