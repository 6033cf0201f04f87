"""All tables, in the order of the paper's argument: costs, laws, turning points, Table 5.

To add a table, write a function ``Results -> render.Table`` and name it in `TABLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paper.render import table as render_table
from paper.sources.results import Results
from paper.tables import (
    cycles,
    gpu_breakdown,
    gpu_cycles,
    gpu_energy,
    gpu_steps,
    kernels,
    laws,
    positions,
    rivals,
    serving,
    small_scale,
    small_scale_measured,
    steps,
    trees,
    turning_points,
)
from scylla_sim.checks import InputError, one_of

TABLES: dict[str, Callable[[Results], render_table.Table]] = {
    "silicon-gemm": kernels.silicon_gemm,
    "silicon-gemm-pooled": kernels.silicon_gemm_pooled,
    "silicon-decode-attention": kernels.silicon_attention,
    "silicon-latent-attention": kernels.silicon_latent,
    "silicon-experts": kernels.silicon_experts,
    "silicon-all-reduce": kernels.silicon_all_reduce,
    "silicon-elementwise": kernels.silicon_elementwise,
    "local": kernels.local,
    "local-cycles": kernels.local_cycles,
    "gpu-kernels": gpu_steps.kernels,
    "gpu-verify-attention": gpu_steps.verify_attention,
    "gpu-steps": gpu_steps.steps,
    "gpu-breakdown": gpu_breakdown.breakdown,
    "gpu-cycles": gpu_cycles.cycles,
    "gpu-best-k": gpu_cycles.best_k,
    "gpu-energy": gpu_energy.energy,
    "gpu-decode": gpu_cycles.decode,
    "gpu-host": gpu_steps.host,
    "transfer": serving.transfer,
    "serving-runs": serving.serving_runs,
    "serving-runs-fitted": serving.serving_runs_fitted,
    "llama-8b-plain": steps.llama_plain,
    "llama-8b-verify": steps.llama_verify,
    "verify-gap": cycles.verify_gap,
    "specbundle": cycles.specbundle,
    "sglang-ladder": cycles.sglang_ladder,
    "theorem-1.1": laws.theorem_1_1,
    "theorem-1.2": laws.theorem_1_2,
    "data-elsewhere": laws.data_elsewhere,
    "layers-elsewhere": laws.layers_elsewhere,
    "epochs-elsewhere": laws.epochs_elsewhere,
    "rival-law": rivals.rival_law,
    "pretraining-elsewhere": rivals.pretraining_elsewhere,
    "positions": laws.positions,
    "positions-by-series": laws.positions_by_series,
    "ranks": laws.ranks,
    "trees-from-rates": trees.trees_from_rates,
    "decay": positions.decay,
    "decay-pairs": positions.decay_pairs,
    "theorem-1.3": turning_points.theorem_1_3,
    "theorem-1.3-forms": turning_points.theorem_1_3_forms,
    "theorem-1.3-measured": turning_points.theorem_1_3_measured,
    "fig5": turning_points.fig5,
    "small-scale-tokens": small_scale.tokens,
    "small-scale-layers": small_scale.layers,
    "small-scale-domains": small_scale.domains,
    "small-scale-temperature": small_scale.sampled,
    "small-scale-breaks": small_scale.breaks,
    "small-scale-rates": small_scale_measured.rates,
    "small-scale-optimum": small_scale_measured.optimum,
    "small-scale-loops": small_scale_measured.loops,
    "table5": steps.table5,
    "table5-ablation": steps.table5_ablation,
    "acceptance": steps.acceptance,
}


def build(results: Results, names: Sequence[str] = ()) -> list[render_table.Table]:
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
    return [path for table in build(results, names) for path in render_table.write(table, folder)]
