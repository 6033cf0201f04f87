"""Suite ``trained``: draft-verify loops of the models that ``train`` wrote, after real prompts.

The acceptance is that of the trained drafts. A call runs the same few cycles after the same prompts. The tokens per
cycle are counted in one pass over all prompts, since the few prompts of a small batch are too noisy. Trees are the
best ones for the draft's rank profile, which was measured on other text than the prompts. The target's pass over
batches and trees of all sizes is timed too, to find where verification stops being free (Theorem 1.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import torch

from gpu_validate.decoding.decode import start_loop
from gpu_validate.decoding.loop import SpeculativeLoop
from gpu_validate.decoding.sequences import Sequences
from gpu_validate.decoding.tree_layout import causal_placement
from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import Device
from gpu_validate.models.decoder import KVCache, placement_after
from gpu_validate.suites.case import Case
from gpu_validate.suites.costs import Cost, draft_widths, head_ops, model_bytes, operations_cost, pass_cost
from gpu_validate.suites.trained_models import Trained, TrainedHead
from scylla_sim.acceptance.tree_search import best_tree
from scylla_sim.acceptance.trees import DraftTree, chain
from scylla_sim.specs.model import Model

CONTEXT = 96
"""Tokens of a prompt."""
CYCLES = 4
"""Number of cycles, or of plain steps, in one call. In a single cycle, the draft would not read the tokens of a
previous cycle."""

_DTYPE = "float32"
"""Dtype of training and inference on every device."""

_BATCHES = {"ci": (1, 8, 32), "small": (1, 2, 4, 8, 16, 32, 64), "full": (1, 2, 4, 8, 16, 32, 64, 128)}
"""Batches by scale."""
_CHAINS = {"ci": (2, 4), "small": (1, 2, 4, 6), "full": (1, 2, 3, 4, 6)}
"""Draft lengths by scale."""
_TREES = {"ci": (8, 24), "small": (4, 8, 16, 32), "full": (4, 8, 16, 32, 64)}
"""Tree sizes by scale."""
_DRAFTS = {"ci": (0, -1), "small": (0, 2, -1), "full": (0, 2, -1)}
"""Indices into the drafts in the order of their layers."""
_VERIFIED = {
    "ci": ((1, 4, 16, 64, 256), (1, 4, 16, 64)),
    "small": ((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)),
    "full": ((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)),
}
"""Batches, and tokens per sequence, of the target's pass."""


def _loop(trained: Trained, head: TrainedHead, tree: DraftTree, batch: int) -> SpeculativeLoop:
    """Return a loop after the prompts of a batch."""
    prompts = trained.prompts[:batch, :CONTEXT]
    return start_loop(trained.target, head.draft, tree, prompts, room=CYCLES * (tree.draft_len + 1))


@torch.inference_mode()
def tokens_per_cycle(trained: Trained, head: TrainedHead, tree: DraftTree) -> float:
    """Return the mean number of tokens per cycle over all prompts, measured in the loop."""
    loop = _loop(trained, head, tree, len(trained.prompts))
    for _ in range(CYCLES):
        loop.cycle()
    return loop.tally.tokens_per_cycle


def _loop_call(trained: Trained, head: TrainedHead, tree: DraftTree, batch: int) -> Sequence[Call]:
    """Return a call of `CYCLES` cycles after the same prompts."""
    loop = _loop(trained, head, tree, batch)
    lengths, held = loop.batch.lengths.clone(), loop.draft_lengths.clone()

    def call() -> None:
        loop.batch.lengths, loop.draft_lengths = lengths.clone(), held.clone()
        for _ in range(CYCLES):
            loop.cycle()

    return [call]


def _plain_call(trained: Trained, batch: int) -> Sequence[Call]:
    """Return a call of `CYCLES` plain steps after the same prompts."""
    target = trained.target
    tokens = torch.zeros(batch, CONTEXT + CYCLES + 1, dtype=torch.int64, device=trained.prompts.device)
    tokens[:, :CONTEXT] = trained.prompts[:batch, :CONTEXT]
    store = KVCache.empty(target.spec, batch, tokens.shape[1], target.norm)
    first = torch.full((batch,), CONTEXT - 1, device=tokens.device)
    one = torch.ones_like(first)
    with torch.inference_mode():
        starts = torch.zeros_like(first)
        target(tokens[:, : CONTEXT - 1], store, causal_placement(starts, CONTEXT - 1, target.spec))

    def call() -> None:
        known = Sequences(tokens, first.clone())
        for _ in range(CYCLES):
            logits = target(known.root(), store, causal_placement(known.lengths, 1, target.spec))
            known.extend(logits.argmax(-1), one)

    return [call]


def _verify_call(trained: Trained, batch: int, tokens: int) -> Sequence[Call]:
    """Return one pass of the target over ``tokens`` tokens of each sequence."""
    target = trained.target
    store = KVCache.empty(target.spec, batch, CONTEXT + tokens, target.norm).fill_randomly()
    place = placement_after(CONTEXT, tokens, target.spec, target.norm, batch=batch)
    chosen = torch.randint(target.spec.vocab_size, (batch, tokens), device=target.norm.device)
    return [lambda: target(chosen, store, place)]


def _case(
    trained: Trained, device: Device, op: str, name: str, batch: int, tokens: int, cost: Cost, **shape: Any
) -> dict[str, Any]:
    """Return the arguments that all cases of the suite share."""
    spec = trained.target.spec
    columns: dict[str, Any] = {"op": op, "device": device.hardware, "dtype": _DTYPE, "model": spec.name}
    columns |= {"batch": batch, "context": CONTEXT, "tokens": tokens, "graph": 0, **shape}
    columns |= {"framework": "torch", "version": device.versions["torch"]}
    return {
        "id": f"{name}-b{batch}",
        "shape": columns,
        "flop": cost.flop,
        "bytes": cost.bytes,
        "memory_bytes": model_bytes([spec], batch * (CONTEXT + 2 * tokens), _DTYPE),
    }


def _cycle_cost(target: Model, head: TrainedHead, tree: DraftTree, batch: int) -> Cost:
    """Return the work of one cycle: the target's pass over the tree and the draft's pass over each level."""
    total = pass_cost(target, batch, CONTEXT, tree.verify_tokens, _DTYPE)
    for width in draft_widths(tree):
        ops = head_ops(head.draft.spec, target, batch, CONTEXT, width, fed=head.draft.fed)
        total += operations_cost(ops, _DTYPE)
    return total


def tree_columns(tree: DraftTree) -> dict[str, Any]:
    """Return the columns of a tree: its size, the mean rows of a draft pass, and its rank paths.

    Examples
    --------
    >>> tree_columns(chain(2))
    {'draft_len': 2, 'top_k': 1, 'verify_tokens': 3, 'paths': '0 0.0'}
    """
    expanded = sum(draft_widths(tree))
    return {
        "draft_len": tree.draft_len,
        "top_k": max(1, round(expanded / tree.draft_len)),
        "verify_tokens": tree.verify_tokens,
        "paths": " ".join(".".join(map(str, path)) for path in tree.paths()),
    }


def _loop_case(
    trained: Trained,
    device: Device,
    head: TrainedHead,
    tree: DraftTree,
    batch: int,
    *,
    label: str,
    counted: Callable[[], float],
) -> Case:
    """Return the case of a loop with one draft and one tree."""
    common = _case(
        trained,
        device,
        "loop",
        f"loop-{head.draft.spec.name}-{label}",
        batch,
        tree.verify_tokens,
        _cycle_cost(trained.target.spec, head, tree, batch).times(CYCLES),
        draft=head.draft.spec.name,
        decoder_layers=head.layers,
        drafting=label,
        **tree_columns(tree),
    )
    return Case(
        build=partial(_loop_call, trained, head, tree, batch),
        facts=lambda: {"tokens_per_cycle": counted(), "repeated": CYCLES},
        **common,
    )


def cases(device: Device, scale: str, models: Trained) -> Iterator[Case]:
    """Yield all cases of the suite."""
    spec = models.target.spec
    batches = [batch for batch in _BATCHES[scale] if batch <= len(models.prompts)]
    for batch in batches:
        cost = pass_cost(spec, batch, CONTEXT, 1, _DTYPE).times(CYCLES)
        plain = _case(models, device, "plain", "plain", batch, 1, cost)
        yield Case(build=partial(_plain_call, models, batch), facts=lambda: {"repeated": CYCLES}, **plain)
    places = sorted({place % len(models.heads) for place in _DRAFTS[scale]})
    for head in (models.heads[place] for place in places):
        trees = {f"chain-{length}": chain(length) for length in _CHAINS[scale]}
        best = {f"tree-{nodes}": best_tree(np.asarray(head.ranks), nodes) for nodes in _TREES[scale]}
        trees |= {
            label: tree for label, tree in best.items() if tree not in trees.values()
        }  # the best tree may be a chain
        for label, tree in trees.items():
            counted = cache(partial(tokens_per_cycle, models, head, tree))  # once for all batches and passes
            for batch in batches:
                yield _loop_case(models, device, head, tree, batch, label=label, counted=counted)
    for batch, tokens in product(*_VERIFIED[scale]):
        cost = pass_cost(spec, batch, CONTEXT, tokens, _DTYPE)
        common = _case(models, device, "verify", f"verify-n{tokens}", batch, tokens, cost)
        yield Case(build=partial(_verify_call, models, batch, tokens), **common)
