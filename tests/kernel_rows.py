"""Rows of a GEMM table made from a kernel model, and their fit, for the tests of `scylla_sim.calibration`."""

import numpy as np

from scylla_sim.calibration import kernel_table
from scylla_sim.calibration.calibrate import calibrate
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM_TILES
from scylla_sim.kernels.model import evaluate
from scylla_sim.specs import catalog

H100 = catalog.hardware("h100-sxm")


def gemm_rows(count=64, *, noise=0.02, parameters=None, seed=0, device="h100-sxm"):
    """Rows of a GEMM table made from the form itself, with log-normal noise."""
    rng = np.random.default_rng(seed)
    columns = {
        "m": rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], count).astype(float),
        "n": rng.choice([2048, 4096, 5120, 8192, 12288], count).astype(float),
        "k": rng.choice([2048, 3072, 4096, 7168, 8192], count).astype(float),
    }
    form = GEMM_TILES
    seconds = evaluate(form, parameters or form.prior, columns, rates(H100, "bfloat16"))
    seconds = seconds * np.exp(noise * rng.standard_normal(count))
    text = {name: [str(int(value)) for value in column] for name, column in columns.items()}
    return {
        "op": ["gemm"] * count,
        "device": [device] * count,
        "dtype": ["bf16"] * count,
        **text,
        "latency_ms": [repr(1e3 * value) for value in seconds.tolist()],
    }


def fit(columns, **options):
    rows = kernel_table.from_columns(columns, "rows.csv", measured=True)
    return calibrate(rows, H100, evidence="silicon", **options)
