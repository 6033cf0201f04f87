"""``gpu-validate train``, ``curves``, ``optimum``, ``measure --suite trained`` as a user types them; tiny plan."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import GRID, plan

from gpu_validate import cli
from gpu_validate.records import record_file
from gpu_validate.training import deadline, files, plans, run
from gpu_validate.training.work import Work
from scylla_sim.cli import main as simulate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny plan was trained through the command, in a worker process."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "plan_of", lambda scale, axis: plan(seeds=(0, 1)))
        assert cli.main(["train", "--jobs", "2", "--device", "cpu", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared text of the tiny plan, for runs that are not about text."""
    path = tmp_path_factory.mktemp("text") / "text.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "plan_of", lambda scale, axis: plan())
        assert cli.main(["train", "--prepare-text", str(path)]) == 0
    assert [one.name for one in path.parent.iterdir()] == ["text.pt"]
    return path


@pytest.fixture(scope="module")
def loops(trained: Path) -> Path:
    """The same folder with its loops measured, a few samples each."""
    from gpu_validate.suites import case, sampling_plans
    from gpu_validate.suites import trained as suite

    with pytest.MonkeyPatch.context() as patch:
        quick = {key: replace(p, min_samples=3, time_limit_s=0.01) for key, p in sampling_plans.PLANS.items()}
        patch.setattr(sampling_plans, "PLANS", quick)
        patch.setitem(case.ROTATION_FACTOR, "cpu", 0.01)  # filling copies beyond the cache takes longer
        patch.setattr(suite, "CONTEXT", 24)
        patch.setattr(suite, "_BATCHES", {"ci": (1, 4)})
        patch.setattr(suite, "_VERIFIED", {"ci": ((1, 4, 16), (1, 4, 16))})
        options = ["--suite", "trained", "--weights", str(trained / "weights"), "--device", "cpu"]
        assert cli.main(["measure", *options, "--out", str(trained)]) == 0
    return trained


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_the_record_says_where_it_comes_from(trained: Path) -> None:
    record = record_file.read(trained / "smallscale.json")
    assert record["evidence"] == "small-scale"
    facts = record["provenance"]
    assert len(facts["corpus"]["sha256"]) == 64 and facts["targets"][0]["nats_per_token"]["code"] > 0
    assert set(facts["cpu_s"]) == {"target-main", "task-main-seed0", "task-main-seed1", "task-broken"}
    assert not (trained / "work").exists()


def test_values_are_within_their_bounds_and_gains_are_over_the_shallowest(trained: Path) -> None:
    for row in record_file.read(trained / "smallscale.json")["values"]:
        if row["op"] == "acceptance":
            assert 1.0 <= row["tokens_per_cycle"] <= row["draft_len"] + 1
            if row["arm"] == "main" and row["decoder_layers"] == 1 and "gain" in row:
                assert row["gain"] == 0.0


def test_trees_accept_more_the_larger_they_are(trained: Path) -> None:
    found: dict[tuple[str, ...], list[float]] = {}
    for row in record_file.read(trained / "smallscale.json")["values"]:
        if row["op"] == "acceptance" and row["drafting"] == "tree":
            found.setdefault((row["seed"], row["decoder_layers"], row["temperature"]), []).append(
                row["tokens_per_cycle"]
            )
    assert len(found) == 8
    assert all(curve[0] < curve[-1] for curve in found.values())


def test_another_run_on_prepared_text_gives_the_same_numbers(
    trained: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process instead of two workers; the record has the hash of the text, which the run did not prepare."""
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis: plan(seeds=(0, 1)))
    monkeypatch.setattr("gpu_validate.training.work.prepare", lambda sources: pytest.fail("the text is there"))
    monkeypatch.setattr(run, "_run_in_pool", lambda work, jobs, say, deadline: run.run_here(work, say, deadline))
    options = ["--text", str(text), "--jobs", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(["train", *options]) == 0
    first, second = (record_file.read(folder / "smallscale.json") for folder in (trained, tmp_path))
    assert first["values"] == second["values"]
    assert second["provenance"]["corpus"]["sha256"] == first["provenance"]["corpus"]["sha256"]
    assert second["provenance"]["left_out"] == []
    assert text.exists() and not (tmp_path / "work").exists()


def test_preparing_text_prints_its_hash(
    trained: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis: plan())
    monkeypatch.setattr("gpu_validate.training.corpus.prepare", lambda sources: files.read_corpus(text, sources))
    assert cli.main(["train", "--prepare-text", str(tmp_path / "again.pt")]) == 0
    record = record_file.read(trained / "smallscale.json")
    assert record["provenance"]["corpus"]["sha256"] in capsys.readouterr().err


def test_too_large_text_is_refused(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis: plan())
    monkeypatch.setattr("gpu_validate.training.corpus.prepare", lambda sources: files.read_corpus(text, sources))
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 100_000)
    assert cli.main(["train", "--prepare-text", str(tmp_path / "text.pt")]) == 2
    said = capsys.readouterr().err
    assert "must be at most 100000; choose a smaller scale" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def default_interrupt() -> None:
    """Let SIGINT interrupt, also where pytest runs in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_a_record_and_goes_on_from_there(
    signal_number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path, text: Path
) -> None:
    """Struck when the first point is measured and saved; in one process, as on a GPU."""
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis: plan(seeds=(0, 1)))
    default_interrupt()
    monkeypatch.setattr(run, "_run_in_pool", lambda work, jobs, say, deadline: run.run_here(work, say, deadline))
    honest, trained_to = run._advance, []

    def strike(slot: int, share: float) -> None:
        trained_to.append((slot, share))
        if slot > 0 and len({share for at, share in trained_to if at > 0}) == GRID[0] // 128 + 1:
            os.kill(os.getpid(), signal_number)
        honest(slot, share)

    monkeypatch.setattr(run, "_advance", strike)
    options = ["train", "--text", str(text), "--jobs", "1", "--device", "cpu", "--out", str(tmp_path)]
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(options) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    record = record_file.read(tmp_path / "smallscale.json")
    assert {row["train_tokens"] for row in record["values"]} == {GRID[0]}
    missing = record["provenance"]["left_out"]
    assert len(missing) == 2 * 3 - 1 and missing[0] == f"main-seed0-{GRID[1]}"
    assert list((tmp_path / "work").iterdir())

    monkeypatch.setattr(run, "_advance", lambda slot, share: trained_to.append((slot, share)))
    trained_to.clear()
    assert cli.main(options) == 0
    assert all(slot > 0 for slot, _ in trained_to), "the target is not trained again"
    whole, reference = (record_file.read(folder / "smallscale.json") for folder in (tmp_path, trained))
    assert whole["values"] == reference["values"]
    assert not (tmp_path / "work").exists()


def test_a_deadline_leaves_a_valid_record_and_weights_of_what_is_measured(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Ten minutes pass while the first point is measured."""
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis: plan())
    monkeypatch.setattr(run, "_run_in_pool", lambda work, jobs, say, deadline: run.run_here(work, say, deadline))
    honest = run._measured

    def slow(*args: object) -> object:
        monkeypatch.setattr(deadline, "clock", lambda: time.monotonic() + 600.0)
        return honest(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "_measured", slow)
    options = ["--text", str(text), "--jobs", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(["train", "--minutes", "9", *options]) == 0
    said = capsys.readouterr().err
    assert "target main: 4.1k tokens by" in said and "530 s are enough" in said
    assert "3 points are left out; the same command resumes from here" in said
    record = record_file.read(tmp_path / "smallscale.json")
    assert record["provenance"]["left_out"] == [f"main-seed0-{GRID[1]}", *(f"broken-{tokens}" for tokens in GRID)]
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {"target.pt", "draft-1l.pt", "draft-2l.pt"}
    assert cli.main(["curves", "--record", str(tmp_path / "smallscale.json"), "--table", "acceptance", "--out",
                     str(tmp_path / "acceptance.csv")]) == 0  # fmt: skip
    assert {row["last"] for row in rows(tmp_path / "acceptance.csv")} == {"yes"}


def test_time_that_holds_no_draft_leaves_no_record(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis: plan())
    options = ["--text", str(text), "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(["train", "--minutes", "0.001", *options]) == 2
    said = capsys.readouterr().err
    assert "0 s are too short for target main from 4.1k tokens on" in said
    assert "target='main' cannot be trained before the deadline; it needs" in said.splitlines()[-1]
    assert not (tmp_path / "smallscale.json").exists()


def test_a_record_of_training_that_was_edited_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record = json.loads((trained / "smallscale.json").read_text())
    record["values"][0]["tokens_per_cycle"] += 1.0
    (tmp_path / "edited.json").write_text(json.dumps(record))
    options = ["--record", str(tmp_path / "edited.json"), "--table", "acceptance", "--out", str(tmp_path / "a.csv")]
    assert cli.main(["curves", *options]) == 2
    said = capsys.readouterr().err
    assert "does not match its checksum" in said and said.count("\n") == 1
    assert not (tmp_path / "a.csv").exists()


def test_curves_are_what_laws_reads(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "acceptance.csv"
    assert (
        cli.main(
            ["curves", "--record", str(trained / "smallscale.json"), "--table", "acceptance", "--out", str(out)]
        )
        == 0
    )
    chains = [row for row in rows(out) if (row["arm"], row["drafting"], row["domain"]) == ("main", "chain", "all")]
    assert {int(row["train_tokens"]) for row in chains} == set(GRID)
    assert {row["last"] for row in chains if int(row["train_tokens"]) == GRID[-1]} == {"yes"}
    assert {row["evidence"] for row in chains} == {"small-scale"}


def test_loops_are_predicted_from_the_rank_profile_and_overheads_of_the_other_half(
    loops: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record, timed = loops / "smallscale.json", loops / "trained.json"
    for source, table in ((record, "ranks"), (record, "acceptance"), (timed, "loops"), (timed, "verify")):
        options = ["--record", str(source), "--table", table, "--out", str(tmp_path / f"{table}.csv")]
        options += ["--models", str(tmp_path / "models"), "--device", "h100-sxm"] if table == "loops" else []
        assert cli.main(["curves", *options]) == 0
    predicted = tmp_path / "predicted.csv"
    options = ["--shapes", str(tmp_path / "loops.csv"), "--ranks", str(tmp_path / "ranks.csv"), "--fit-overheads"]
    assert simulate(["cycles", *options, "--out", str(predicted)]) == 0
    assert "overheads fitted on" in capsys.readouterr().err
    by_hand = {
        (int(row["depth"]), int(row["rank"])): float(row["probability"])
        for row in rows(tmp_path / "ranks.csv")
        if row["decoder_layers"] == "1"
    }
    chain_2 = next(row for row in rows(predicted) if row["paths"] == "0 0.0" and row["draft"].endswith("d1"))
    wanted = 1 + by_hand[1, 0] * (1 + by_hand[2, 0])
    assert float(chain_2["tokens_per_cycle"]) == pytest.approx(wanted)
    assert {row["half"] for row in rows(predicted)} == {"fit", "held out"}
    best = tmp_path / "optimum.csv"
    files = ["--acceptance", str(tmp_path / "acceptance.csv"), "--verify", str(tmp_path / "verify.csv")]
    assert cli.main(["optimum", *files, "--out", str(best)]) == 0
    assert [row["batch_size"] for row in rows(best)] == ["1", "4", "16"]


def test_trained_models_decode_losslessly(trained: Path) -> None:
    from gpu_validate.decoding.decode import decode_plain, decode_speculatively
    from gpu_validate.suites.trained_models import Trained
    from scylla_sim.acceptance.trees import full_tree

    models = Trained.read(trained / "weights", "cpu")
    assert [head.layers for head in models.heads] == [1, 2]
    prompts = models.prompts[:4, :16]
    for head in models.heads:
        fast, _ = decode_speculatively(models.target, head.draft, full_tree([2, 2]), prompts, 12)
        assert torch.equal(fast, decode_plain(models.target, prompts, 12))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--jobs", "-1", "--out", "x"], "jobs=-1 must be at least 1"),
        (["train", "--seed", "-2", "--out", "x"], "seed=-2"),
        (["train", "--minutes", "0", "--out", "x"], "minutes=0 must be above 0"),
        (["train", "--minutes", "nan", "--out", "x"], "minutes=nan must be finite"),
        (["train"], "out is required, the folder of the record"),
        (["train", "--prepare-text", "t", "--out", "x"], "out='x' does not go with --prepare-text"),
        (["train", "--prepare-text", "t", "--text", "x"], "text='x' does not go with --prepare-text"),
        (["train", "--text", "nowhere.pt", "--out", "x"], "file='nowhere.pt' cannot be read (No such file"),
        (["measure", "--scale", "gpu", "--out", "x"], "scale='gpu' is not known"),
        (["measure", "--suite", "trained", "--out", "x"], "is needed by --suite trained"),
        (["measure", "--suite", "trained", "--weights", "nowhere", "--out", "x"], "holds no target.pt"),
        (["measure", "--suite", "step", "--weights", "w", "--out", "x"], "is needed by --suite trained"),
    ],
)
def test_unusable_options_are_refused_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_curves_of_the_wrong_record_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ["--record", str(trained / "smallscale.json"), "--table", "loops", "--out", str(tmp_path / "x.csv")]
    assert cli.main(["curves", *options]) == 2
    assert "is of suite smallscale, loops needs trained" in capsys.readouterr().err
    assert cli.main(["rows", "--record", str(trained / "smallscale.json")]) == 2
    assert "use gpu-validate curves" in capsys.readouterr().err


def test_a_record_of_another_version_is_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record = record_file.read(trained / "smallscale.json")
    for row in record["values"]:
        row.pop("train_tokens", None)
    record["sha256"] = record_file.checksum(record)
    record_file.write(tmp_path / "old.json", record)
    options = ["--record", str(tmp_path / "old.json"), "--table", "acceptance", "--out", str(tmp_path / "x.csv")]
    assert cli.main(["curves", *options]) == 2
    said = capsys.readouterr().err
    assert "lacks '" in said and "another version" in said and said.count("\n") == 1


def _cut(folder: Path) -> None:
    path = folder / "draft-1l.pt"
    path.write_bytes(path.read_bytes()[:1000])


def _without_drafts(folder: Path) -> None:
    for path in folder.glob("draft-*.pt"):
        path.unlink()


def _other_shape(folder: Path) -> None:
    content = torch.load(folder / "target.pt")
    content["spec"]["hidden_size"] *= 2
    torch.save(content, folder / "target.pt")


def _too_long(folder: Path) -> None:
    content = torch.load(folder / "draft-1l.pt")
    torch.save({**content, "weights": content["weights"].repeat(2)}, folder / "draft-1l.pt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "is truncated, or not a file of train; delete it and train again"),
        (lambda folder: (folder / "target.pt").write_text("hi"), "is truncated, or not a file of train"),
        (lambda folder: torch.save({"a": 1}, folder / "target.pt"), "holds no model of train that fits its shapes"),
        (_without_drafts, "holds no draft-*.pt"),
        (_other_shape, "holds no model of train that fits its shapes"),
        (_too_long, "and its shapes take"),
    ],
)
def test_damaged_weights_are_one_line(
    damage: Callable[[Path], None], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = shutil.copytree(trained / "weights", tmp_path / "weights")
    damage(weights)
    options = ["--suite", "trained", "--weights", str(weights), "--device", "cpu", "--out", str(tmp_path / "new")]
    assert cli.main(["measure", *options]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["train", "--device", "cpu", "--out", str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert "cannot be written (File exists)" in said and said.count("\n") == 1


def test_an_interrupt_ends_the_worker_processes(tmp_path: Path) -> None:
    def interrupt(text: str) -> None:
        if text.startswith("trained"):
            workers.extend(multiprocessing.active_children())
            raise KeyboardInterrupt

    workers: list[multiprocessing.process.BaseProcess] = []
    with pytest.raises(KeyboardInterrupt):
        run.run_plan(Work.of(tmp_path, plan(seeds=(0,)), "cpu"), 2, interrupt)
    limit = time.monotonic() + 60.0
    while any(worker.exitcode is None for worker in workers) and time.monotonic() < limit:
        time.sleep(0.05)  # the pool's own thread may be the one that learns it: joining here returns before it has
    assert workers and all(worker.exitcode is not None and worker.exitcode < 0 for worker in workers)


def test_workers_leave_an_interrupt_from_the_keyboard_to_the_command() -> None:
    struck = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('unmoved')"
    with run._interrupts_blocked():
        said = subprocess.run([sys.executable, "-c", struck], capture_output=True, text=True, check=True)
    assert said.stdout == "unmoved\n"


ACCEPTED = "drafting,temperature,nodes,tokens_per_cycle\ntree,0,3,2.0\ntree,0,7,2.5\n"
TIMED = "batch_size,tokens,verify_s\n1,1,0.1\n1,8,0.2\n"


@pytest.mark.parametrize(
    ("accepted", "timed", "message"),
    [
        (
            ACCEPTED.replace("2.5", "nan"),
            TIMED,
            "'nan' must be a number of at least 1 on line 3 of a.csv",
        ),
        (ACCEPTED.replace("2.5", ""), TIMED, "tokens_per_cycle='' must be a number"),
        (ACCEPTED.replace(",7,", ",x,"), TIMED, "nodes='x' must be a whole number of at least 1 on line 3"),
        (ACCEPTED.replace("tree", "chain"), TIMED, "has no row of drafting=tree"),
        (ACCEPTED, TIMED.replace("0.2", "-0.2"), "verify_s='-0.2' must be a number above 0 on line 3 of v.csv"),
        (ACCEPTED, TIMED.replace("1,8", "0,8"), "batch_size='0' must be a whole number of at least 1"),
        (ACCEPTED, TIMED.replace("1,8", "1,8.5"), "tokens='8.5' must be a whole number of at least 1 on line 3"),
        (ACCEPTED, TIMED + "1,8,0.3\n", "tokens=8 appears twice for its batch on line 4"),
        (ACCEPTED, TIMED.replace("1,1,0.1\n", ""), "batch_size=1 has no pass of tokens=1"),
        (ACCEPTED, "batch_size,tokens,verify_s\n", "verify has no row"),
    ],
)
def test_an_optimum_of_unusable_numbers_is_refused(
    accepted: str, timed: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text(accepted)
    (tmp_path / "v.csv").write_text(timed)
    files = ["--acceptance", str(tmp_path / "a.csv"), "--verify", str(tmp_path / "v.csv")]
    assert cli.main(["optimum", *files, "--out", str(tmp_path / "o.csv")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "o.csv").exists()
