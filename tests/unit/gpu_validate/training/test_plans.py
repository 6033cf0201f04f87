"""Plans: names, grids, depths and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_validate.training import AXES, SCALES
from gpu_validate.training.plans import MAIN, Task, plan_of
from scylla_sim.checks import InputError


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("axis", [axis for axis in AXES if axis != "joint"])
def test_plans_name_every_task_once_and_cover_what_the_axis_asks(scale: str, axis: str) -> None:
    made = plan_of(scale, axis)
    names = [task.name for task in made.tasks]
    assert len(set(names)) == len(names)
    assert {task.target for task in made.tasks} <= {target.name for target in made.targets}
    main = [task for task in made.tasks if all(a.name == MAIN for a in task.arms)]
    depths = {a.layers for task in main for a in task.arms}
    assert {"tokens": len(depths) == 2, "layers": len(depths) >= 4, "all": len(depths) >= 4, "rates": not main}[
        axis
    ]
    assert all(_doubles(task) for task in main)
    if axis == "rates":
        assert {task.split for task in made.tasks} == {"tune"}
    else:
        assert {task.split for task in made.tasks} == {"test"}


def _doubles(task: Task) -> bool:
    return all(later == 2 * earlier for earlier, later in zip(task.grid, task.grid[1:]))


def test_scale_small_covers_a_decade_and_a_half_with_three_seeds() -> None:
    made = plan_of("small")
    main = [task for task in made.tasks if task.arms[0].name == MAIN]
    assert all(np.log10(task.grid[-1] / task.grid[0]) >= 1.5 for task in main)
    assert {task.seed for task in main} == {0, 1, 2}
    width = made.targets[0].spec.hidden_size
    assert all(a.draft.spec.hidden_size < width for task in main for a in task.arms)


def test_the_joint_plan_adds_a_decade_of_tokens_and_no_counter_example() -> None:
    usual, joint = plan_of("small"), plan_of("small", "joint")
    assert joint.tasks[0].grid[:6] == usual.tasks[0].grid
    assert joint.tasks[0].grid[-1] == 10 * usual.tasks[0].grid[-1] == joint.tasks[0].training.tokens
    assert {arm.name for task in joint.tasks for arm in task.arms} == {MAIN}
    with pytest.raises(InputError, match="axis='joint' has no plan at scale full; scales that have one: ci, small"):
        plan_of("full", "joint")


def test_given_seed_replaces_the_seeds_of_the_plan() -> None:
    made = plan_of("small").with_seed(7)
    assert {task.seed for task in made.tasks} == {7} and {target.seed for target in made.targets} == {7}
