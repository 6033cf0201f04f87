"""Tables by name, in the order of the argument: costs, measured GPUs, laws, Table 5.

The files ``table-NAME.*`` come from the entry ``NAME`` of `TABLES`. To add a table, write a function
``Results -> Table`` in a module of this folder and add one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paper.render import formats
from paper.render.table import Table
from paper.sources.results import Results
from paper.tables import (
    acceptance,
    closed_form,
    closed_loops,
    decay,
    design_by_law,
    elsewhere,
    fig5,
    gpu_best_k,
    gpu_breakdown,
    gpu_cycles,
    gpu_energy,
    gpu_kernels,
    gpu_loop,
    gpu_prompts,
    gpu_steps,
    joint_fig1,
    llama_8b,
    local,
    published_cycles,
    rivals,
    served,
    served_left_out,
    serving_runs,
    silicon,
    small_scale,
    small_scale_joint,
    small_scale_measured,
    small_scale_profiles,
    table5,
    table5_sensitivity,
    theorem_1_1,
    theorem_1_2,
    theorem_1_3,
    transfer,
    trees,
    verify_attention,
)
from scylla_sim.checks import InputError, one_of

TABLES: dict[str, Callable[[Results], Table]] = {
    "silicon-gemm": silicon.silicon_gemm,
    "silicon-gemm-pooled": silicon.silicon_gemm_pooled,
    "silicon-gemm-low-bits": silicon.silicon_gemm_low_bits,
    "silicon-decode-attention": silicon.silicon_attention,
    "silicon-context-attention": silicon.silicon_context_attention,
    "silicon-latent-attention": silicon.silicon_mla,
    "silicon-experts": silicon.silicon_moe,
    "silicon-experts-low-bits": silicon.silicon_moe_low_bits,
    "silicon-all-reduce": silicon.silicon_all_reduce,
    "silicon-elementwise": silicon.silicon_elementwise,
    "verify-attention": verify_attention.verify_attention,
    "local": local.local,
    "local-cycles": local.local_cycles,
    "gpu-kernels": gpu_kernels.kernels,
    "gpu-verify-attention": gpu_kernels.verify_attention,
    "gpu-steps": gpu_steps.steps,
    "gpu-breakdown": gpu_breakdown.breakdown,
    "gpu-cycles": gpu_cycles.cycles,
    "gpu-loop": gpu_loop.loop,
    "gpu-best-k": gpu_best_k.best_k,
    "gpu-prompts": gpu_prompts.prompts,
    "gpu-prompt-attention": gpu_prompts.attention,
    "gpu-energy": gpu_energy.energy,
    "gpu-decode": gpu_cycles.decode,
    "gpu-host": gpu_steps.host,
    "transfer": transfer.transfer,
    "serving-runs": serving_runs.serving_runs,
    "serving-runs-fitted": serving_runs.serving_runs_fitted,
    "serving-runs-left-out": serving_runs.left_out,
    "serving-speculation": closed_loops.serving_speculation,
    "closed-form": closed_form.closed_form,
    **served.SCORES,
    "served-regret": served.regret,
    "served-left-out": served_left_out.left_out,
    "llama-8b-plain": llama_8b.llama_plain,
    "llama-8b-verify": llama_8b.llama_verify,
    "verify-gap": llama_8b.verify_gap,
    "specbundle": published_cycles.specbundle,
    "sglang-ladder": published_cycles.sglang_ladder,
    "theorem-1.1": theorem_1_1.theorem_1_1,
    "theorem-1.2": theorem_1_2.theorem_1_2,
    "data-elsewhere": elsewhere.data_elsewhere,
    "layers-elsewhere": elsewhere.layers_elsewhere,
    "epochs-elsewhere": elsewhere.epochs_elsewhere,
    "joint-fig1": joint_fig1.joint_fig1,
    "rival-law": rivals.rival_law,
    "pretraining-elsewhere": rivals.pretraining_elsewhere,
    "positions": elsewhere.positions,
    "positions-by-series": elsewhere.positions_by_series,
    "ranks": elsewhere.ranks,
    "trees-from-rates": trees.trees_from_rates,
    "decay": decay.decay,
    "decay-pairs": decay.decay_pairs,
    "decay-sources": decay.decay_sources,
    "theorem-1.3": theorem_1_3.theorem_1_3,
    "theorem-1.3-forms": theorem_1_3.theorem_1_3_forms,
    "theorem-1.3-measured": theorem_1_3.theorem_1_3_measured,
    "fig5": fig5.fig5,
    "small-scale-tokens": small_scale.tokens,
    "small-scale-layers": small_scale.layers,
    "small-scale-joint": small_scale_joint.joint,
    "small-scale-profiles": small_scale_profiles.profiles,
    "design-by-law": design_by_law.design_by_law,
    "small-scale-domains": small_scale.domains,
    "small-scale-temperature": small_scale.sampled,
    "small-scale-breaks": small_scale.breaks,
    "small-scale-rates": small_scale_measured.rates,
    "small-scale-optimum": small_scale_measured.optimum,
    "small-scale-loops": small_scale_measured.loops,
    "table5": table5.table5,
    "table5-sensitivity": table5_sensitivity.table5_sensitivity,
    "table5-ablation": table5.table5_ablation,
    "acceptance": acceptance.acceptance,
}
"""Name -> function that makes the table."""


def build(results: Results, names: Sequence[str] = ()) -> list[Table]:
    """Return the named tables, or all of them, without writing any file.

    Raises
    ------
    InputError
        If a name is unknown or a result file is missing. The message names the table and the file.
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
    """Build the tables, write each in every format, and return the paths.

    Nothing is written if a table cannot be built.
    """
    return [path for table in build(results, names) for path in formats.write(table, folder)]
