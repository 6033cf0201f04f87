"""Hypothesis strategies for the objects of a prediction: hardware, models, drafts, engines, acceptance and load.

Every object that a strategy draws is valid. Numbers span what users ask for, not all that the checks accept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scylla_sim.acceptance import trees as draft_trees
from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.calibration.device_calibration import Calibration, shipped
from scylla_sim.calibration.fitted_kernel import Band, FittedKernel
from scylla_sim.checks import FloatArray
from scylla_sim.kernels.model import KernelModel, values_of
from scylla_sim.kernels.registry import OPERATIONS
from scylla_sim.prediction.steps import Deployment
from scylla_sim.serving.loop_state import Replica
from scylla_sim.serving.workload import Requests, closed_loop_arrivals
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import OVERHEADS, Engine
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.layers import MoE
from scylla_sim.specs.model import Model

_HEAD_DIMS = (64, 128)
_GROUPS = (1, 2, 4, 8)
_REPLICA_ROWS = np.unique(np.round(np.geomspace(1.0, 512.0, 60)))


# -- What runs, and where --------------------------------------------------------------------------------------


def catalog_hardware(*, gpus: bool = True) -> st.SearchStrategy[Hardware]:
    """Draw a device of the catalog; with ``gpus``, one that has streaming multiprocessors."""
    found = [catalog.hardware(name) for name in catalog.names("hardware")]
    return st.sampled_from([one for one in found if one.sm_count or not gpus])


@st.composite
def hardware(draw: st.DrawFn) -> Hardware:
    """Draw a GPU with a link, whose narrower precisions are at least as fast as wider ones."""
    peak = draw(st.floats(5e13, 3e15))
    peaks = {"fp32": peak / draw(st.floats(2.0, 16.0)), "bf16": peak}
    if draw(st.booleans()):
        peaks |= {"fp8": peak * draw(st.sampled_from([1.0, 2.0])), "int8": peak * draw(st.sampled_from([1.0, 2.0]))}
    return Hardware(
        name="drawn",
        family=draw(st.sampled_from(["ampere", "ada", "hopper", "blackwell"])),
        memory_bytes=draw(st.floats(2e10, 3e11)),
        memory_bytes_per_s=draw(st.floats(3e11, 8e12)),
        peak_flop_per_s=peaks,
        sm_count=draw(st.integers(40, 200)),
        l2_bytes=draw(st.floats(4e6, 2e8)),
        link=draw(st.sampled_from(["nvlink", "pcie"])),
        link_bytes_per_s=draw(st.floats(2e10, 9e11)),
        gpus_per_node=8,
    )


@st.composite
def experts(draw: st.DrawFn, *, max_experts: int = 512) -> MoE:
    """Draw the experts of an MoE layer, with a uniform or a skewed router."""
    count = draw(st.integers(1, max_experts))
    return MoE(count, draw(st.integers(1, count)), 64, router_skew=draw(st.floats(0, 4)))


@st.composite
def models(draw: st.DrawFn, *, moe: bool | None = None) -> Model:
    """Draw a decoder of grouped-query attention; with experts, without them, or (``None``) either."""
    kv_heads, group = draw(st.sampled_from(_GROUPS)), draw(st.sampled_from(_GROUPS))
    head_dim = draw(st.sampled_from(_HEAD_DIMS))
    mixed = draw(st.booleans()) if moe is None else moe
    layers = draw(st.integers(1, 80))
    window = draw(st.sampled_from([0, 0, 512, 4096]))
    widths = st.integers(2, 64).map(lambda size: 64 * size)
    few_experts = st.builds(MoE, st.integers(1, 16).map(lambda count: 8 * count), st.integers(1, 8), widths)
    return Model(
        name="drawn",
        num_layers=layers,
        hidden_size=64 * draw(st.integers(4, 128)),
        intermediate_size=64 * draw(st.integers(8, 256)),
        num_heads=kv_heads * group,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=draw(st.integers(1000, 200_000)),
        tied_embeddings=draw(st.booleans()),
        windows=tuple(window * (at % 2) for at in range(layers)) if window else (),
        moe=draw(few_experts) if mixed else None,
    )


def drafts() -> st.SearchStrategy[Draft]:
    """Draw a draft that fits any target: a head, Medusa heads, an MLP speculator, a model, or n-grams."""
    heads = st.builds(
        Draft,
        st.just("drawn"),
        st.just("head"),
        num_layers=st.integers(1, 5),
        fused_features=st.sampled_from([1, 3]),
        vocab_size=st.sampled_from([0, 32_000]),
    )
    names = ("ngram", "medusa", "eagle", "eagle3", "mtp", "llama-68m")
    return st.one_of(heads, st.sampled_from(names).map(catalog.draft))


@st.composite
def engines(draw: st.DrawFn) -> Engine:
    """Draw an engine with overheads of a millisecond or less, their intervals and sources."""
    chosen = draw(st.lists(st.sampled_from([one for one in OVERHEADS if one != "launch_s"]), unique=True))
    values: dict[str, Any] = {name: draw(st.floats(0.0, 1e-3 if name != "token_s" else 5e-5)) for name in chosen}
    widths = {name: draw(st.floats(0.0, 1.0)) for name in chosen}
    return Engine(
        name="drawn",
        framework=draw(st.sampled_from(["", "vllm", "sglang"])),
        max_graph_batch=draw(st.sampled_from([0, 160, 512])),
        memory=catalog.engine("vllm").memory,
        intervals={name: ((1.0 - widths[name]) * one, (1.0 + widths[name]) * one) for name, one in values.items()},
        sources=dict.fromkeys(chosen, "drawn"),
        **values,
    )


def _moved(model: KernelModel, steps: Sequence[float]) -> FittedKernel:
    """Return a kernel model with parameters some tenths of a prior spread away from the prior."""
    spreads = np.array([item.spread for item in model.parameters])
    logs = np.log(values_of(model.prior)) + 0.3 * np.resize(steps, spreads.size) * spreads
    parameters = model.with_values(np.exp(logs).tolist())
    return FittedKernel(model, parameters, Band(0.8, 1.3), Band(0.7, 1.5), 1e-5, "silicon")


@st.composite
def calibrations(draw: st.DrawFn, *, on: st.SearchStrategy[Hardware] | None = None) -> Calibration:
    """Draw a calibration whose 16-bit kernels have parameters around their priors.

    Parameters
    ----------
    on
        Devices; default: those of `hardware`.
    """
    device = draw(hardware() if on is None else on)
    steps = draw(st.lists(st.floats(-1.0, 1.0), min_size=5, max_size=5))
    groups = {
        "gemm": "bfloat16",
        "decode_attention": "bfloat16/128",
        "context_attention": "bfloat16/128",
        "experts": "bfloat16",
        "all_reduce": "graph",
        "elementwise": "copy",
    }
    kernels = {
        op: {group: _moved(OPERATIONS[op].models_for("bfloat16", device, "")[0], steps)}
        for op, group in groups.items()
    }
    return Calibration(device.name, device, kernels, "silicon", "drawn")


def deployments(*, engines: Sequence[str] = ("ideal", "vllm", "sglang")) -> st.SearchStrategy[Deployment]:
    """Draw where a model runs: a GPU of the catalog with its calibration, and an engine preset.

    Parameters
    ----------
    engines
        Names of the presets.
    """
    return st.builds(
        Deployment,
        catalog_hardware().map(lambda one: shipped(one.name)),
        st.sampled_from(list(engines)).map(catalog.engine),
    )


# -- Acceptance ------------------------------------------------------------------------------------------------

rates = st.floats(0, 1)
"""Conditional acceptance rates."""


def profiles(*, max_len: int = 8) -> st.SearchStrategy[FloatArray]:
    """Draw conditional acceptance rates over positions, shape (positions,)."""
    return hnp.arrays(np.float64, st.integers(1, max_len), elements=rates)


@st.composite
def rank_profiles(draw: st.DrawFn, *, max_depth: int = 5, max_ranks: int = 4, min_ranks: int = 1) -> FloatArray:
    """Draw rank probabilities, not sorted, each depth summing to at most 1; shape (depth, ranks)."""
    shape = (draw(st.integers(1, max_depth)), draw(st.integers(min_ranks, max_ranks)))
    raw = draw(hnp.arrays(np.float64, shape, elements=rates))
    total = draw(hnp.arrays(np.float64, (shape[0], 1), elements=rates))
    return np.asarray(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-12) * total)


@st.composite
def trees(draw: st.DrawFn, *, depth: int = 5, ranks: int = 4, max_nodes: int = 12) -> DraftTree:
    """Draw a tree of at most ``depth`` levels whose nodes have ranks below ``ranks``."""
    paths: list[tuple[int, ...]] = []
    free: list[tuple[int, ...]] = [(rank,) for rank in range(ranks)]
    for _ in range(draw(st.integers(1, max_nodes))):
        if not free:
            break
        path = free.pop(draw(st.integers(0, len(free) - 1)))
        paths.append(path)
        if len(path) < depth:
            free += [(*path, rank) for rank in range(ranks)]
    return draft_trees.from_paths(paths)


def trees_within(profile: FloatArray, *, max_nodes: int = 12) -> st.SearchStrategy[DraftTree]:
    """Draw a tree that rank probabilities of shape (depth, ranks) cover."""
    return trees(depth=profile.shape[0], ranks=profile.shape[1], max_nodes=max_nodes)


def position_laws() -> st.SearchStrategy[PositionLaw]:
    """Draw a law over positions with an exponent, or with two states."""
    falling = st.builds(PositionLaw, st.just("drawn"), st.floats(0, 2), st.floats(0, 0.5))
    matches = st.builds(PositionLaw, st.just("drawn"), st.just(0.0), st.floats(0, 0.5), st.floats(0.05, 0.95))
    return st.one_of(falling, matches)


@st.composite
def speculative_configs(draw: st.DrawFn) -> SpeculativeConfig:
    """Draw a chain of an EAGLE-3 head, with its tokens per cycle and their interval."""
    length = draw(st.integers(1, 8))
    share = draw(rates)
    low, tau, high = (1.0 + part * share * length for part in (0.9, 1.0, 1.1))
    return SpeculativeConfig(catalog.draft("eagle3"), length, 1, length + 1, tau, low, min(high, length + 1.0))


# -- Load ------------------------------------------------------------------------------------------------------


@st.composite
def workloads(draw: st.DrawFn, *, max_requests: int = 30) -> Requests:
    """Draw requests with random lengths, in an open load (Poisson) or in a closed loop."""
    count = draw(st.integers(1, max_requests))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    prompt, answer = rng.integers(1, 300, count), rng.integers(1, 60, count)
    cached = np.minimum(rng.integers(0, 100, count), prompt - 1)
    arrival = np.cumsum(rng.exponential(draw(st.sampled_from([1e-3, 0.02, 0.5])), count)) - 1e-9
    arrival[0] = 0.0
    if draw(st.booleans()):
        arrival = closed_loop_arrivals(count, draw(st.integers(1, 8)))
    return Requests(arrival, prompt, cached, answer, 0 * prompt)


@st.composite
def replicas(draw: st.DrawFn) -> Replica:
    """Draw the iterations of a replica: they grow with the requests, and it speculates or not."""
    base, slope = draw(st.floats(2e-3, 3e-2)), draw(st.floats(1e-6, 3e-4))
    prompt, cycles = draw(st.floats(1e-4, 0.3)), draw(st.integers(10, 1000))
    prompts = np.full(_REPLICA_ROWS.size, prompt)
    return Replica(
        rows=_REPLICA_ROWS,
        cycle_s=base + slope * _REPLICA_ROWS,
        cycles=np.full(_REPLICA_ROWS.size, float(cycles)),
        prompt_s=prompts,
        next_prompt_s=prompts * draw(st.floats(1.0, 1.2)),
        alone_s=np.array(prompt),
        output_len=np.array(cycles * draw(st.floats(1.0, 4.0)) + 1.0),
        max_rows=np.array(256.0),
        cycles_cv=np.array(draw(st.floats(0.0, 0.1))),
    )
