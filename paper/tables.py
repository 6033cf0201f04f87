"""All tables, in the order of the paper's argument: costs, laws, turning points, Table 5.

To add a table, write a function ``Results -> render.Table`` and name it in `TABLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paper import (
    cycle_tables,
    decay_tables,
    endtoend_tables,
    gpu_breakdown_tables,
    gpu_cycle_tables,
    gpu_energy_tables,
    gpu_tables,
    kernel_tables,
    law_tables,
    render,
    rival_tables,
    smallscale_measured,
    smallscale_tables,
    step_tables,
    tree_tables,
    turning_tables,
)
from paper.results import Results
from scylla_sim.checks import InputError, one_of

TABLES: dict[str, Callable[[Results], render.Table]] = {
    "silicon-gemm": kernel_tables.silicon_gemm,
    "silicon-gemm-pooled": kernel_tables.silicon_gemm_pooled,
    "silicon-decode-attention": kernel_tables.silicon_attention,
    "silicon-latent-attention": kernel_tables.silicon_latent,
    "silicon-experts": kernel_tables.silicon_experts,
    "silicon-all-reduce": kernel_tables.silicon_all_reduce,
    "silicon-elementwise": kernel_tables.silicon_elementwise,
    "local": kernel_tables.local,
    "local-cycles": kernel_tables.local_cycles,
    "gpu-kernels": gpu_tables.kernels,
    "gpu-verify-attention": gpu_tables.verify_attention,
    "gpu-steps": gpu_tables.steps,
    "gpu-breakdown": gpu_breakdown_tables.breakdown,
    "gpu-cycles": gpu_cycle_tables.cycles,
    "gpu-best-k": gpu_cycle_tables.best_k,
    "gpu-energy": gpu_energy_tables.energy,
    "gpu-decode": gpu_cycle_tables.decode,
    "gpu-host": gpu_tables.host,
    "transfer": endtoend_tables.transfer,
    "serving-runs": endtoend_tables.serving_runs,
    "serving-runs-fitted": endtoend_tables.serving_runs_fitted,
    "llama-8b-plain": step_tables.llama_plain,
    "llama-8b-verify": step_tables.llama_verify,
    "verify-gap": cycle_tables.verify_gap,
    "specbundle": cycle_tables.specbundle,
    "sglang-ladder": cycle_tables.sglang_ladder,
    "theorem-1.1": law_tables.theorem_1_1,
    "theorem-1.2": law_tables.theorem_1_2,
    "data-elsewhere": law_tables.data_elsewhere,
    "layers-elsewhere": law_tables.layers_elsewhere,
    "epochs-elsewhere": law_tables.epochs_elsewhere,
    "rival-law": rival_tables.rival_law,
    "pretraining-elsewhere": rival_tables.pretraining_elsewhere,
    "positions": law_tables.positions,
    "positions-by-series": law_tables.positions_by_series,
    "ranks": law_tables.ranks,
    "trees-from-rates": tree_tables.trees_from_rates,
    "decay": decay_tables.decay,
    "decay-pairs": decay_tables.decay_pairs,
    "theorem-1.3": turning_tables.theorem_1_3,
    "theorem-1.3-forms": turning_tables.theorem_1_3_forms,
    "theorem-1.3-measured": turning_tables.theorem_1_3_measured,
    "fig5": turning_tables.fig5,
    "small-scale-tokens": smallscale_tables.tokens,
    "small-scale-layers": smallscale_tables.layers,
    "small-scale-domains": smallscale_tables.domains,
    "small-scale-temperature": smallscale_tables.sampled,
    "small-scale-breaks": smallscale_tables.breaks,
    "small-scale-rates": smallscale_measured.rates,
    "small-scale-optimum": smallscale_measured.optimum,
    "small-scale-loops": smallscale_measured.loops,
    "table5": step_tables.table5,
    "table5-ablation": step_tables.table5_ablation,
    "acceptance": step_tables.acceptance,
}


def build(results: Results, names: Sequence[str] = ()) -> list[render.Table]:
    """Build the named tables, or all; nothing is written, so a missing input leaves no half a set.

    Raises
    ------
    InputError
        When a name is unknown, or a result file is missing: the line names the table, the file and its command.
    """
    built = []
    for name in names or TABLES:
        make = TABLES[one_of("table", name, TABLES)]
        try:
            built.append(make(results))
        except InputError as error:
            raise InputError(f"table {name}: {error}") from None
    return built


def write(results: Results, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Build the tables, then write each in every format; return the paths."""
    return [path for table in build(results, names) for path in render.write(table, folder)]
