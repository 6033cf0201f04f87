"""Speculative decoding of a named pair: checkpoints with real weights, or catalog models with random weights.

The acceptance of checkpoints is measured. The pair decodes greedily after prompts, and the output is compared with
autoregressive decoding. Cycles are then timed at the acceptance by depth and rank. Without prompts of the user, the
target writes them, sampled at temperature 1. Such prompts follow the target's own distribution and need no
tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from gpu_validate.decoding import lossless
from gpu_validate.decoding.decode import decode_plain, decode_speculatively
from gpu_validate.decoding.sequences import SamplingPolicy, Tally
from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.models import checkpoints
from gpu_validate.models.decoder import Decoder
from gpu_validate.suites.case import Case
from gpu_validate.suites.cycles import PARTS, Acceptance, part_case, plain_case, trees
from gpu_validate.suites.last_results import LastResults
from gpu_validate.suites.random_models import random_pair
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.checks import fail
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model

GRIDS = {
    ("cuda", "ci"): ((1, 8), (128,)),
    ("cuda", "small"): ((1, 8, 32), (128, 1024)),
    ("cuda", "full"): ((1, 2, 4, 8, 16, 32, 64), (128, 1024, 4096)),
    ("cpu", "ci"): ((1, 4), (32,)),
    ("cpu", "small"): ((1, 4), (128,)),
    ("cpu", "full"): ((1, 2, 4, 8), (128, 1024)),
}
"""Batches, and tokens of a prompt, by kind of device and scale."""

Prompts = tuple[tuple[int, ...], ...] | None
"""Prompts of the user; ``None`` if not given."""

NEW_TOKENS = {"ci": 32, "small": 128, "full": 256}
"""Tokens that are decoded after each prompt to measure acceptance, by scale."""


def _is_checkpoint(name: str) -> bool:
    """Return whether a name is a folder with a checkpoint."""
    return (Path(name) / "config.json").is_file()


def _specs(target: str, draft: str) -> tuple[tuple[Model, Model], bool]:
    """Return the shapes of the two models, and whether they are checkpoints."""
    real = [_is_checkpoint(name) for name in (target, draft)]
    if real[0] != real[1]:
        rule = "and the target must both be folders with config.json, or both be names of the catalog"
        raise fail("draft", draft, rule, f"target={target!r}")
    specs = tuple(catalog.model(name) for name in (target, draft))
    if specs[0].vocab_size != specs[1].vocab_size:
        rule = f"tokens of {draft} must be the {specs[0].vocab_size} of {target}"
        raise fail("vocab_size", specs[1].vocab_size, rule, "a draft shares its target's tokenizer")
    return (specs[0], specs[1]), all(real)


@LastResults
def _load(target: str, draft: str, device: str, dtype: torch.dtype) -> tuple[Decoder, Decoder]:
    """Load the two checkpoints."""
    first, second = (checkpoints.load(name, device=device, dtype=dtype) for name in (target, draft))
    return first, second


def read_prompts(path: str, vocab_size: int) -> list[list[int]]:
    """Read prompts from a file with a JSON list of token ids on each line.

    Raises
    ------
    InputError
        When the file cannot be read, or a line is not a list of tokens of the vocabulary.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise fail("prompts", path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    found: list[list[int]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            tokens = json.loads(line)
        except ValueError:
            tokens = None
        if not isinstance(tokens, list) or not tokens or not all(type(token) is int for token in tokens):
            raise fail("prompts", path, f"must hold a JSON list of token ids on line {number}")
        if not 0 <= min(tokens) <= max(tokens) < vocab_size:
            raise fail("prompts", path, f"holds a token outside [0, {vocab_size}) on line {number}")
        found.append(tokens)
    if not found:
        raise fail("prompts", path, "holds no prompt")
    return found


def select_prompts(prompts: Sequence[Sequence[int]], batch: int, context: int, device: str) -> Tensor:
    """Return the last ``context`` tokens of ``batch`` prompts, repeating the file where it is short."""
    long = [tokens[-context:] for tokens in prompts if len(tokens) >= context]
    return torch.tensor([long[index % len(long)] for index in range(batch)], device=device)


def sample_prompts(target: Decoder, batch: int, context: int) -> Tensor:
    """Return prompts that the target samples at temperature 1 after one random token each."""
    device = target.norm.device
    generator = torch.Generator(device=device).manual_seed(0)
    first = torch.randint(target.spec.vocab_size, (batch, 1), generator=generator, device=device)
    if context == 1:
        return first
    policy = SamplingPolicy(temperature=1.0)
    return torch.cat((first, decode_plain(target, first, context - 1, policy=policy, generator=generator)), dim=1)


def acceptance_rates(tally: Tally) -> list[list[float]]:
    """Return the conditional acceptance ``[depth][rank]`` of counts; 0 at depths that no path reached."""
    rates: list[list[float]] = (tally.accepted / tally.attempts.clamp(min=1)[:, None]).tolist()
    return rates


@dataclass(frozen=True)
class Texts:
    """Prompts of one batch and context and the target's plain continuation, ``(batch, n)`` each."""

    prompts: Tensor
    plain: Tensor


@LastResults
def _texts(
    make: Callable[[], tuple[Decoder, Decoder]], given: Prompts, batch: int, context: int, new_tokens: int
) -> Texts:
    """Return prompts and plain continuations, which all trees share."""
    target, _ = make()
    device = str(target.norm.device)
    if given is None:
        prompts = sample_prompts(target, batch, context)
    else:
        prompts = select_prompts(given, batch, context, device)
    return Texts(prompts, decode_plain(target, prompts, new_tokens))


def decode_pair(pair: tuple[Decoder, Decoder], texts: Texts, tree: DraftTree) -> Acceptance:
    """Decode with drafts. Return the measured acceptance and the result of the losslessness check."""
    target, draft = pair
    fast, tally = decode_speculatively(target, draft, tree, texts.prompts, texts.plain.shape[1])
    judged = lossless.compare_outputs(target, texts.prompts, fast, texts.plain)
    facts = {f"lossless_{name}": value for name, value in asdict(judged).items()}
    counts = {"accepted": tally.accepted.tolist(), "chances": tally.attempts.tolist()}
    return Acceptance(acceptance_rates(tally), tally.tokens_per_cycle, {**facts, **counts})


def cases(
    device: Device, scale: str, *, target: str | None, draft: str | None, prompts: str | None = None
) -> Iterator[Case]:
    """Yield plain steps, parts and cycles of one pair of models.

    Raises
    ------
    InputError
        When one of the two is missing, they do not match, or no prompt is long enough.
    """
    if not target or not draft:
        raise fail("draft" if target else "target", None, "is required: --target and --draft name a pair")
    specs, real = _specs(target, draft)
    if prompts is not None and not real:
        raise fail("prompts", prompts, "needs checkpoints", "models of the catalog have random weights")
    batches, contexts = GRIDS[device.kind, scale]
    given = None if prompts is None else tuple(map(tuple, read_prompts(prompts, specs[0].vocab_size)))
    if given is not None:
        longest = max(map(len, given))
        contexts = tuple(length for length in contexts if length <= longest) or (longest,)
    make: Callable[[], tuple[Decoder, Decoder]] = (
        partial(_load, target, draft, device.kind, torch_dtype(device))
        if real
        else partial(random_pair, specs, device.kind, torch_dtype(device))
    )
    names = (target, draft)
    for batch, context in product(batches, contexts):
        yield plain_case(device, specs, make, batch, context, names=names)
        for tree in trees(scale):
            accept = _accept(make, given, (batch, context), tree, NEW_TOKENS[scale]) if real else None
            for part in PARTS:
                yield part_case(device, specs, make, (batch, context), tree, part, names=names, accept=accept)


def _accept(
    make: Callable[[], tuple[Decoder, Decoder]],
    given: Prompts,
    shape: tuple[int, int],
    tree: DraftTree,
    new_tokens: int,
) -> Callable[[], Acceptance]:
    """Return a function that measures the acceptance of one configuration once and keeps it for the second pass."""
    return lru_cache(maxsize=1)(lambda: decode_pair(make(), _texts(make, given, *shape, new_tokens), tree))
