"""``scylla-sim turning-points``: the trend over batches."""

import pytest
from command_line import rows


def test_turning_points_fall_with_batch(capsys):
    command = ["turning-points", "--hardware", "h800-sxm", "--model", "qwen2.5-72b", "--context", "10Ki"]
    found = rows(capsys, *command, "--batch", "1,8,64")
    assert found[0]["k_opt"] > found[1]["k_opt"] > found[2]["k_opt"]
    sparse = rows(capsys, *command, "--batch", "1,8,64", "--peak", "sparse")
    assert sparse[0]["ridge_point"] == pytest.approx(2 * found[0]["ridge_point"])
