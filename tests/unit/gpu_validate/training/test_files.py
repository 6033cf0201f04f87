"""Files of training: prepared text is checked and does not depend on versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import SOURCES, plan

from gpu_validate.training import files
from gpu_validate.training.corpus import Corpus, prepare
from gpu_validate.training.files import load, save
from gpu_validate.training.work import Work, corpus_of
from scylla_sim.checks import InputError


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return prepare(SOURCES)


def test_prepared_text_that_was_edited_is_refused(tmp_path: Path) -> None:
    work = Work.of(tmp_path, plan(), "cpu")
    corpus_of(work)
    content = load(work.path("corpus.pt"))
    content["arrays"]["prose"][7] ^= 1
    save(work.path("corpus.pt"), content)
    with pytest.raises(InputError, match="does not match its hash"):
        corpus_of(work)


def test_text_is_read_by_another_version_and_from_another_folder(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_portable(tmp_path / "a" / "text.pt", corpus, SOURCES)
    (tmp_path / "a" / "text.pt").rename(tmp_path / "moved.pt")
    before = Work.of(tmp_path, plan(), "cpu", tmp_path / "moved.pt")
    monkeypatch.setattr(torch, "__version__", "9.9")
    monkeypatch.setattr("gpu_validate.training.work.prepare", lambda sources: pytest.fail("the text is there"))
    work = Work.of(tmp_path, plan(), "cpu", tmp_path / "moved.pt")
    assert work.folder != before.folder, "what is trained is not taken over from another version"
    assert corpus_of(work).sha256 == corpus.sha256
    assert corpus_of(work).facts == corpus.facts
    assert not work.folder.exists()


def test_other_text_uses_another_folder(tmp_path: Path, corpus: Corpus) -> None:
    other = Corpus({**corpus.train, "prose": corpus.train["prose"][1:]}, corpus.held_out, corpus.facts)
    for name, text in (("one", corpus), ("two", other)):
        files.write_portable(tmp_path / name, text, SOURCES)
    folders = [Work.of(tmp_path, plan(), "cpu", tmp_path / name).folder for name in ("one", "two")]
    assert folders[0] != folders[1]


def test_text_of_byte_pairs_survives_writing_and_reading(tmp_path: Path) -> None:
    sources = replace(SOURCES, vocab_size=300, window=16)
    pairs = prepare(sources)
    size = files.write_portable(tmp_path / "text.pt", pairs, sources)
    found = files.read_corpus(tmp_path / "text.pt", sources)
    assert found.sha256 == pairs.sha256 and found.train["code"].dtype == np.uint16
    assert size == (tmp_path / "text.pt").stat().st_size
    with pytest.raises(InputError, match="was prepared for another scale"):
        files.read_corpus(tmp_path / "text.pt", SOURCES)


def test_a_full_disk_is_one_error_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, file: object) -> None: ...

        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None: ...

    saved = torch.save
    save(tmp_path / "a.pt", {"a": torch.ones(3)})
    monkeypatch.setattr(torch, "save", lambda content, file: saved(content, Full(file)))
    with pytest.raises(InputError, match=r"a.pt' cannot be written \(No space left on device\); free space"):
        save(tmp_path / "a.pt", {"a": torch.zeros(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    assert load(tmp_path / "a.pt")["a"].tolist() == [1.0, 1.0, 1.0]
