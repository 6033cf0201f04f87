"""Seconds of a plan by arithmetic: FLOPs, traffic and kernels are those of torch, and scale gpu fits its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tiny_training import plan
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from gpu_validate.models.decoder import Decoder
from gpu_validate.models.eagle import EagleDraft
from gpu_validate.training.estimate import (
    MEASURED_STEPS,
    RATES,
    Cost,
    Stage,
    describe,
    draft_step,
    features_step,
    seconds,
    stages,
    target_step,
    task_step,
)
from gpu_validate.training.plans import MAIN, Arm, Target, Task, plan_of
from gpu_validate.training.sizes import model
from gpu_validate.training.trainer import DraftTraining, FlatWeights, Training
from gpu_validate.training.unroll import target_features, training_loss

HOW = Training(per_domain=2, length=32, tokens=1024, lr=1e-3)
TARGET = Target(MAIN, model("t", 3, 128, head_dim=32, vocab_size=512), HOW)
FREE = {"empty", "empty_like", "new_empty", "empty_strided", "detach", "_unsafe_view"}
"""Operations that move nothing."""


class _Counter(TorchDispatchMode):
    """Kernels, and bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.bytes = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in FREE:
            moved = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
            self.kernels += 1
            self.bytes += sum(x.numel() * x.element_size() for x in moved)
        return out


def counted(step: Callable[[], object]) -> Cost:
    """What torch does in a step."""
    step()
    with FlopCounterMode(display=False) as flops, _Counter() as counter:
        step()
    return Cost(float(flops.get_total_flops()), float(counter.bytes), counter.kernels)


@dataclass(frozen=True)
class _Models:
    target: Decoder
    text: torch.Tensor
    features: torch.Tensor
    probabilities: torch.Tensor


@pytest.fixture(scope="module")
def models() -> _Models:
    target = Decoder(TARGET.spec)
    text = torch.randint(TARGET.spec.vocab_size, (4 * HOW.per_domain, HOW.length + 1))
    with torch.no_grad():
        features, _ = target_features(target, text[:, :-1])
        return _Models(target, text, features, functional.softmax(target.head(features), -1))


def close(estimated: Cost, found: Cost) -> bool:
    """Within a tenth; kernels within a seventh, for versions of torch split operations differently."""
    pairs = ((estimated.flop, found.flop, 0.1), (estimated.bytes, found.bytes, 0.1))
    pairs = (*pairs, (estimated.kernels, found.kernels, 0.15))
    return all(one == pytest.approx(other, rel=rel) for one, other, rel in pairs)


def test_a_step_of_a_target_costs_what_torch_counts(models: _Models) -> None:
    target = Decoder(TARGET.spec)
    flat = FlatWeights(target, 1e-3)

    def step() -> None:
        features, _ = target_features(target, models.text[:, :-1])
        logits = functional.linear(features, target.head.weight)
        loss = functional.cross_entropy(logits.flatten(0, 1), models.text[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        flat.update()

    assert close(target_step(TARGET), counted(step))


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("steps", [(1.0,), (1.0, 0.8)])
def test_a_step_of_a_draft_costs_what_torch_counts(layers: int, steps: tuple[float, ...], models: _Models) -> None:
    spec = model("d", layers, 64, head_dim=32, vocab_size=512)
    arm = Arm(MAIN, layers, DraftTraining(spec, 1e-3, steps, fed=True))
    draft = EagleDraft(spec, models.target)
    flat = FlatWeights(draft, 1e-3)

    def step() -> None:
        loss = training_loss(draft, models.text[:, :-1], models.features, models.probabilities, steps)
        loss.backward()  # type: ignore[no-untyped-call]
        flat.update()

    task = Task("t", MAIN, HOW, (arm,), 0, (1024,))
    assert close(draft_step(arm, TARGET.spec, task), counted(step))


def test_the_pass_that_serves_all_drafts_costs_what_torch_counts(models: _Models) -> None:
    def step() -> None:
        with torch.no_grad():
            features, _ = target_features(models.target, models.text[:, :-1])
            functional.softmax(functional.linear(features, models.target.head.weight), dim=-1)

    task = Task("t", MAIN, HOW, (), 0, (1024,))
    assert close(features_step(TARGET.spec, task), counted(step))


def test_steps_of_scale_gpu_are_estimated_as_they_were_measured() -> None:
    made = plan_of("gpu")
    (target,), (task,) = made.targets, made.tasks
    costs = {"target": target_step(target), "drafts": task_step(task, target.spec)}
    for name, measured_s in MEASURED_STEPS.items():
        assert seconds(costs[name], RATES["cuda"], tf32=True) == pytest.approx(measured_s, rel=0.15)


def test_scale_gpu_fits_nine_minutes_of_an_h100(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan_of("gpu")
    assert stages(made, "cuda")[-1].end_s < 9 * 60 - 60, "a minute is left for what the estimate does not know"
    now = RATES["cuda"]
    slower = {name: getattr(now, name) / 1.25 for name in ("flop_per_s", "tf32_flop_per_s", "bytes_per_s")}
    monkeypatch.setitem(RATES, "cuda", replace(now, **slower, launch_s=1.25 * now.launch_s))
    assert stages(made, "cuda")[-1].end_s < 9 * 60, "steps may take a quarter longer"
    (target,), (task,) = made.targets, made.tasks
    assert 10e6 <= target.spec.parameters <= 30e6
    assert [arm.layers for arm in task.arms] == [1, 2, 4, 8]
    assert task.grid[-1] >= 100 * task.grid[0]
    assert target.training.tf32 and task.training.tf32
    assert all(arm.draft.spec.hidden_size < target.spec.hidden_size for arm in task.arms)


def test_a_step_of_many_small_kernels_takes_the_time_of_their_launches() -> None:
    rates = RATES["cuda"]
    assert seconds(Cost(0.0, 0.0, 1000), rates, tf32=True) == pytest.approx(22e-3)
    assert seconds(Cost(1.5e12, 1.5e12, 1), rates, tf32=True) == pytest.approx(0.51)
    assert seconds(Cost(4.5e12, 0.0, 1), rates, tf32=False) == pytest.approx(0.1)


def test_tasks_wait_for_their_target_and_processes_share_them() -> None:
    made = plan(seeds=(0, 1))
    alone, shared = (stages(made, "cpu", jobs) for jobs in (1, 2))
    assert [(stage.name, stage.tokens) for stage in alone] == [(stage.name, stage.tokens) for stage in shared]
    target_s = shared[0].end_s
    assert all(stage.end_s > target_s for stage in shared[1:])
    assert max(stage.end_s for stage in shared) < max(stage.end_s for stage in alone)


def test_a_limit_leaves_out_the_points_after_it() -> None:
    found = [Stage("a", 1000 << step, 10.0 * (step + 1)) for step in range(3)]
    assert describe(found, 20.0)[-1] == "20 s are too short for a from 4k tokens on"
    assert describe(found, 30.0)[-1] == "30 s are enough"
    assert len(describe(found)) == 1


def test_tf32_changes_the_seconds_of_gemms_only() -> None:
    made = plan_of("gpu")
    exact = tuple(replace(target, training=replace(target.training, tf32=False)) for target in made.targets)
    slower = stages(replace(made, targets=exact), "cuda")
    assert slower[0].end_s > stages(made, "cuda")[0].end_s
