"""A pair of checkpoints: measured acceptance, losslessness, and prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_validate import cli
from gpu_validate.decoding import acceptance_rules, lossless
from gpu_validate.decoding.acceptance_rules import Accepted
from gpu_validate.decoding.decode import decode_plain, decode_speculatively
from gpu_validate.decoding.tree_layout import TreeTables
from gpu_validate.models import checkpoints
from gpu_validate.models.decoder import Decoder
from gpu_validate.records import record_file
from gpu_validate.suites import case, model_pair, sampling_plans
from scylla_sim.acceptance.trees import chain, full_tree
from scylla_sim.cli import main as simulate
from scylla_sim.specs.model import Model

SPEC = Model("x", 2, 16, 24, 4, 2, 4, 29, max_context=512)


def pair(dtype: torch.dtype = torch.float32, distance: float = 0.05) -> tuple[Decoder, Decoder]:
    """A target with decided opinions, and the target again with some noise on its weights."""
    target, draft = Decoder(SPEC, dtype=dtype), Decoder(SPEC, dtype=dtype)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for ours, theirs in zip(target.parameters(), draft.parameters()):
            if ours.dim() > 1:
                ours.mul_(10.0)
                theirs.copy_(ours + distance * torch.randn(ours.shape, generator=noise))
    return target, draft


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    for name, model in zip(("big", "little"), pair()):
        checkpoints.save(model, folder / name)
    return str(folder / "big"), str(folder / "little")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few samples of each case, and room for one pair of models at a time."""
    monkeypatch.setattr(
        sampling_plans,
        "PLANS",
        {key: replace(plan, min_samples=2, time_limit_s=0.01) for key, plan in sampling_plans.PLANS.items()},
    )
    monkeypatch.setitem(case.ROTATION_FACTOR, "cpu", 0.01)  # flushing a large cache takes most of the time
    model_pair._load.clear()
    model_pair._texts.clear()


def sloppy(tables: TreeTables, tokens: torch.Tensor, logits: torch.Tensor) -> Accepted:
    """Keeps the first drafted token whatever the target says."""
    outcome = honest(tables, tokens, logits)
    path = outcome.path.clone()
    path[:, 0] = tables.children[0, 0]
    count = (path >= 0).sum(1)
    stopped = (outcome.path[:, 0] != path[:, 0]) | (count == 0)
    path[stopped, 1:] = -1
    last = torch.where(stopped, path[:, 0] + 1, outcome.last)
    return Accepted(path, last, logits.argmax(-1)[torch.arange(len(path)), last])


honest = acceptance_rules.accept_greedy


def measure(tmp_path: Path, target: str, draft: str, *more: str) -> tuple[int, dict[str, Any]]:
    models = ["--target", target, "--draft", draft, *more]
    code = cli.main(["measure", "--suite", "specdecode", "--device", "cpu", *models, "--out", str(tmp_path)])
    return code, record_file.read(tmp_path / "specdecode.json")


def test_checkpoints_decode_and_their_acceptance_is_what_cycles_are_timed_at(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    code, record = measure(tmp_path, *folders)
    assert code == 0
    cycles = [row for row in record["values"] if row["op"] == "cycle" and row["pass"] == 1]
    assert len(cycles) == len(model_pair.GRIDS["cpu", "ci"][0]) * len(model_pair.trees("ci"))
    assert {row["lossless_verdict"] for row in cycles} == {"exact"}
    row = next(row for row in cycles if row["batch"] == 4 and row["draft_len"] == 4)
    target, draft = (checkpoints.load(folder) for folder in folders)
    _, tally = decode_speculatively(target, draft, chain(4), model_pair.sample_prompts(target, 4, 32), 32)
    assert row["tokens_per_cycle"] == tally.tokens_per_cycle
    assert row["accepted"] == tally.accepted.tolist()
    assert 1 < row["tokens_per_cycle"] < 5, "some are kept and some are not"
    assert record["provenance"]["models"] == list(folders)


def test_rows_of_checkpoints_are_what_the_simulator_predicts(folders: tuple[str, str], tmp_path: Path) -> None:
    measure(tmp_path, *folders)
    table, out = tmp_path / "cycles.csv", tmp_path / "predicted.csv"
    record = ["--record", str(tmp_path / "specdecode.json"), "--device", "h100-sxm"]
    assert cli.main(["rows", *record, "--out", str(table)]) == 0
    assert simulate(["cycles", "--shapes", str(table), "--format", "csv", "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == len(table.read_text().splitlines())


def test_a_loop_that_keeps_rejected_tokens_fails_the_campaign(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(acceptance_rules, "accept_greedy", sloppy)
    code, record = measure(tmp_path, *folders)
    assert code == 1
    assert {row["lossless_verdict"] for row in record["values"] if row["op"] == "cycle"} == {"different"}
    assert "ERROR: not lossless" in capsys.readouterr().err


@pytest.mark.parametrize("tree", [chain(3), full_tree([2, 2])], ids=["chain", "tree"])
def test_low_precision_differs_at_near_ties_only(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16, 96 tokens of 16 sequences: the stated tolerance holds, and a rejected token is far beyond it."""
    target, draft = pair(torch.bfloat16)
    prompts = torch.randint(29, (16, 4), generator=torch.Generator().manual_seed(0))
    plain = decode_plain(target, prompts, 96)
    fast, _ = decode_speculatively(target, draft, tree, prompts, 96)
    assert lossless.compare_outputs(target, prompts, fast, plain).verdict in ("exact", "near ties")
    monkeypatch.setattr(acceptance_rules, "accept_greedy", sloppy)
    wrong, _ = decode_speculatively(target, draft, tree, prompts, 96)
    judged = lossless.compare_outputs(target, prompts, wrong, plain)
    assert judged.verdict == "different"
    assert judged.worst > 3 * lossless.NEAR_TIE


def test_a_tie_is_near_and_another_token_is_different() -> None:
    target, _ = pair(torch.bfloat16)
    prompts = torch.randint(29, (2, 4), generator=torch.Generator().manual_seed(0))
    plain = decode_plain(target, prompts, 8)
    assert lossless.compare_outputs(target, prompts, plain, plain).verdict == "exact"
    other = plain.clone()
    other[0, -1] = (other[0, -1] + 1) % 29
    judged = lossless.compare_outputs(target, prompts, other, plain)
    assert (judged.verdict, judged.differing) == ("different", 1)
    with torch.no_grad():  # two tokens with the same logit everywhere
        target.head.weight[:] = target.head.weight[:1]
    tied = torch.randint(29, plain.shape)
    assert lossless.compare_outputs(target, prompts, tied, plain).verdict == "near ties"


def test_models_of_the_catalog_have_random_weights_and_given_acceptance() -> None:
    from gpu_validate.device.facts import catalog_device

    listed = list(model_pair.cases(catalog_device("h100-sxm"), "ci", target="llama-2-7b", draft="tinyllama-1.1b"))
    assert {case.shape["model"] for case in listed} == {"llama-2-7b"}
    assert len(listed) == 2 * (1 + 3 * len(model_pair.trees("ci")))


def test_prompts_of_the_user_are_cut_to_what_is_measured_and_repeated(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("[1, 2, 3, 4]\n\n[5, 6, 7]\n[8]\n")
    read = model_pair.read_prompts(str(file), 29)
    assert model_pair.select_prompts(read, 3, 3, "cpu").tolist() == [[2, 3, 4], [5, 6, 7], [2, 3, 4]]


def test_prompts_are_used(folders: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps([1, 2, 3, 4]) + "\n")
    _, record = measure(tmp_path, *folders, "--prompts", str(file))
    assert {row["context"] for row in record["values"]} == {4}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 29]", r"outside \[0, 29\) on line 1"),
        ("[1]\n[1.5]", "token ids on line 2"),
        ("[true]", "token ids on line 1"),
        ("hello", "token ids on line 1"),
        ("[]", "token ids on line 1"),
        ("", "holds no prompt"),
    ],
)
def test_invalid_prompts_are_refused(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(text)
    refused(["--target", folders[0], "--draft", folders[1], "--prompts", str(file)], said, capsys)


def refused(options: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    capsys.readouterr()
    assert cli.main(["measure", "--suite", "specdecode", "--device", "cpu", "--out", "x", *options]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert re.search(said, printed.err), printed.err


def test_mismatched_pairs_are_refused(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    big, little = folders
    checkpoints.save(Decoder(replace(SPEC, vocab_size=30)), tmp_path / "other")
    refused(["--target", big], "draft=None is required", capsys)
    refused(["--draft", little], "target=None is required", capsys)
    refused(["--target", big, "--draft", "llama-68m"], "must both be folders", capsys)
    refused(["--target", big, "--draft", str(tmp_path / "other")], "vocab_size=30 .* must be the 29", capsys)
    refused(["--target", big, "--draft", str(tmp_path)], "must both be folders", capsys)
    refused(["--target", "llama-2-7b", "--draft", "llama-68m", "--prompts", "p"], "needs checkpoints", capsys)
    refused(["--target", big, "--draft", little, "--suite", "all"], "suite='all' cannot be combined with", capsys)
