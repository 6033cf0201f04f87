"""A plan of training that takes seconds, for tests of everything around it."""

from __future__ import annotations

from gpu_validate.training.corpus import Sources
from gpu_validate.training.plans import MAIN, Arm, Plan, Target, Task
from gpu_validate.training.sizes import model
from gpu_validate.training.trainer import DraftTraining, Training

SOURCES = Sources((), bible=False, train_bytes=30_000, window=48, windows=4)
GRID = (1024, 2048)


def arm(layers: int, name: str = MAIN, *, fed: bool = True, steps: tuple[float, ...] = (1.0, 0.8)) -> Arm:
    return Arm(name, layers, DraftTraining(model(f"d{layers}", layers, 8, head_dim=4), 1e-2, steps, fed))


def plan(seeds: tuple[int, ...] = (0,), layers: tuple[int, ...] = (1, 2)) -> Plan:
    training = Training(per_domain=1, length=32, tokens=GRID[-1], lr=0.0)
    target = Target(MAIN, model("t", 2, 16, head_dim=8), Training(1, 32, 4096, 4e-3))
    tasks = tuple(
        Task(f"main-seed{seed}", MAIN, training, tuple(arm(depth) for depth in layers), seed, GRID)
        for seed in seeds
    )
    broken = Task("broken", MAIN, training, (arm(1, "tokens-only", fed=False),), 0, GRID)
    return Plan("ci", SOURCES, (target,), (*tasks, broken), anchors=4, draft_len=4)
