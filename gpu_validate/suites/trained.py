"""Suite ``trained``: real draft-verify loops of the models that ``train`` left, after real prompts.

Nothing is given here: the drafts earn their acceptance. A call goes through the same few cycles after the same
prompts again and again. What a cycle emits is counted in one pass over all prompts, for the few of a small batch
would say little. Trees are the best ones for the draft's rank profile, which was measured on other windows than the
prompts come from. The target's pass over batches and trees of
all sizes is timed too: where it stops being free is what Theorem 1.3 is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_validate.decoding.decode import start_loop
from gpu_validate.decoding.loop import SpeculativeLoop
from gpu_validate.decoding.sequences import Sequences
from gpu_validate.decoding.tree_layout import causal_placement
from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import Device
from gpu_validate.models.decoder import Decoder, KVCache, placement_after
from gpu_validate.models.eagle import EagleDraft
from gpu_validate.suites.case import ELEMENT_BYTES, Case
from gpu_validate.suites.costs import Cost, draft_widths, head_ops, operations_cost, pass_cost
from gpu_validate.training.files import load
from scylla_sim.acceptance.tree_search import best_tree
from scylla_sim.acceptance.trees import DraftTree, chain
from scylla_sim.checks import FloatArray, fail
from scylla_sim.specs.model import Model

CONTEXT = 96
"""Tokens of a prompt."""
CYCLES = 4
"""So many cycles, or plain steps, make a call: one alone would not show the draft catching up."""

_DTYPE = "float32"
"""Models are trained and run in single precision on every device."""

_BATCHES = {"ci": (1, 8, 32), "small": (1, 2, 4, 8, 16, 32, 64), "full": (1, 2, 4, 8, 16, 32, 64, 128)}
_CHAINS = {"ci": (2, 4), "small": (1, 2, 4, 6), "full": (1, 2, 3, 4, 6)}
_TREES = {"ci": (8, 24), "small": (4, 8, 16, 32), "full": (4, 8, 16, 32, 64)}
_DRAFTS = {"ci": (0, -1), "small": (0, 2, -1), "full": (0, 2, -1)}
"""Places among the drafts in the order of their layers."""
_VERIFIED = {
    "ci": ((1, 4, 16, 64, 256), (1, 4, 16, 64)),
    "small": ((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)),
    "full": ((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)),
}
"""Batches, and tokens a sequence, of the target's pass."""


@dataclass(frozen=True)
class TrainedHead:
    """A trained draft: its model, and the chance that the target's token is its r-th choice at depth d."""

    draft: EagleDraft
    layers: int
    ranks: FloatArray


@dataclass(frozen=True)
class Trained:
    """What ``train`` left: target, drafts by layers, and prompts ``(n, tokens)`` of held-out text."""

    target: Decoder
    heads: tuple[TrainedHead, ...]
    prompts: Tensor

    def specs(self) -> list[dict[str, Any]]:
        """Shapes of all models, for the record: nobody else knows them."""
        return [asdict(spec) for spec in (self.target.spec, *(head.draft.spec for head in self.heads))]

    @staticmethod
    def read(folder: Path, device: str) -> Trained:
        """Read the folder of weights.

        Raises
        ------
        InputError
            When it is not one.
        """
        if not (folder / "target.pt").is_file():
            raise fail("weights", str(folder), "holds no target.pt", "gpu-validate train leaves it in OUT/weights")
        target, prompts = _target(folder / "target.pt", device)
        heads = [_head(path, target, device) for path in folder.glob("draft-*.pt")]
        if not heads:
            raise fail(
                "weights", str(folder), "holds no draft-*.pt", "gpu-validate train leaves them in OUT/weights"
            )
        return Trained(target, tuple(sorted(heads, key=lambda head: head.layers)), prompts)


def _spec(content: Mapping[str, Any]) -> Model:
    return Model(**{**content, "windows": tuple(content["windows"])})


@contextmanager
def _belonging(path: Path) -> Iterator[None]:
    """Say which file lacks something, or holds weights that its shapes do not."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise fail("weights", str(path), "holds no model of train that fits its shapes", "train again") from None


def _target(path: Path, device: str) -> tuple[Decoder, Tensor]:
    content = load(path, device)
    with _belonging(path):
        target = Decoder(_spec(content["spec"]), device=device)
        target.load_state_dict(content["weights"])
        return target, content["prompts"].to(device)


def _head(path: Path, target: Decoder, device: str) -> TrainedHead:
    content = load(path, device)
    with _belonging(path):
        draft = EagleDraft(_spec(content["spec"]), target, fed=bool(content["fed"])).requires_grad_(False)
        held, wanted = content["weights"].numel(), sum(part.numel() for part in draft.parameters())
        if held != wanted:
            raise fail("weights", str(path), f"holds {held} weights, and its shapes take {wanted}", "train again")
        torch.nn.utils.vector_to_parameters(content["weights"], draft.parameters())
        return TrainedHead(draft, draft.spec.num_layers, content["ranks"].double().cpu().numpy())


def _loop(trained: Trained, head: TrainedHead, tree: DraftTree, batch: int) -> SpeculativeLoop:
    prompts = trained.prompts[:batch, :CONTEXT]
    return start_loop(trained.target, head.draft, tree, prompts, room=CYCLES * (tree.draft_len + 1))


@torch.inference_mode()
def tokens_per_cycle(trained: Trained, head: TrainedHead, tree: DraftTree) -> float:
    """Mean tokens of a cycle over all prompts, in the loop itself."""
    loop = _loop(trained, head, tree, len(trained.prompts))
    for _ in range(CYCLES):
        loop.cycle()
    return loop.tally.tokens_per_cycle


def _loop_call(trained: Trained, head: TrainedHead, tree: DraftTree, batch: int) -> Sequence[Call]:
    """`CYCLES` cycles after the same prompts."""
    loop = _loop(trained, head, tree, batch)
    lengths, held = loop.batch.lengths.clone(), loop.draft_lengths.clone()

    def call() -> None:
        loop.batch.lengths, loop.draft_lengths = lengths.clone(), held.clone()
        for _ in range(CYCLES):
            loop.cycle()

    return [call]


def _plain_call(trained: Trained, batch: int) -> Sequence[Call]:
    """`CYCLES` plain steps after the same prompts."""
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
    """One pass of the target over so many tokens a sequence."""
    target = trained.target
    store = KVCache.empty(target.spec, batch, CONTEXT + tokens, target.norm).fill_randomly()
    place = placement_after(CONTEXT, tokens, target.spec, target.norm, batch=batch)
    chosen = torch.randint(target.spec.vocab_size, (batch, tokens), device=target.norm.device)
    return [lambda: target(chosen, store, place)]


def _case(
    trained: Trained, device: Device, op: str, name: str, batch: int, tokens: int, cost: Cost, **shape: Any
) -> dict[str, Any]:
    """What all cases of the suite have in common."""
    spec = trained.target.spec
    element = ELEMENT_BYTES[_DTYPE]
    columns: dict[str, Any] = {"op": op, "device": device.hardware, "dtype": _DTYPE, "model": spec.name}
    columns |= {"batch": batch, "context": CONTEXT, "tokens": tokens, "graph": 0, **shape}
    columns |= {"framework": "torch", "version": device.versions["torch"]}
    memory = element * (spec.parameters + spec.kv_elements_per_token * batch * (CONTEXT + 2 * tokens))
    return {
        "id": f"{name}-b{batch}",
        "shape": columns,
        "flop": cost.flop,
        "bytes": cost.bytes,
        "memory_bytes": memory,
    }


def _cycle_cost(target: Model, head: TrainedHead, tree: DraftTree, batch: int) -> Cost:
    """Return the work of one cycle: the target's pass over the tree and the draft's pass over each level."""
    total = pass_cost(target, batch, CONTEXT, tree.verify_tokens, _DTYPE)
    for width in draft_widths(tree):
        ops = head_ops(head.draft.spec, target, batch, CONTEXT, width, fed=head.draft.fed)
        total += operations_cost(ops, _DTYPE)
    return total


def tree_columns(tree: DraftTree) -> dict[str, Any]:
    """A tree as columns of a row: its size, the rows a draft pass has on average, and its rank paths.

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
    """All cases of the suite."""
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
        trees |= {label: tree for label, tree in best.items() if tree not in trees.values()}  # it may be a chain
        for label, tree in trees.items():
            counted = cache(partial(tokens_per_cycle, models, head, tree))  # once, whatever the batches and passes
            for batch in batches:
                yield _loop_case(models, device, head, tree, batch, label=label, counted=counted)
    for batch, tokens in product(*_VERIFIED[scale]):
        cost = pass_cost(spec, batch, CONTEXT, tokens, _DTYPE)
        common = _case(models, device, "verify", f"verify-n{tokens}", batch, tokens, cost)
        yield Case(build=partial(_verify_call, models, batch, tokens), **common)
