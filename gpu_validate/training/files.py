"""Files of training: tensors and prepared text, written whole or not at all.

Prepared text is independent of the versions of torch and Python, so one machine can prepare it for another.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from gpu_validate.training.corpus import DOMAINS, Corpus, Sources
from gpu_validate.training.documents import SPLITS
from scylla_sim.checks import fail

MAX_TEXT_BYTES = 40_000_000
"""Largest file of text that is prepared for another machine."""
_TEXT_KEYS = {"arrays", "facts", "sha256", "sources"}


def make_folder(folder: Path) -> None:
    """Make a folder, or fail with one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fail("out", str(folder), f"cannot be made ({error.strerror})") from None


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors whole or not at all."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(content, beside)
        beside.replace(path)
    except OSError as error:
        raise fail("out", str(path), f"cannot be written ({error.strerror})") from None


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; refuse what is missing, cut off or something else with one line."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise fail("file", str(path), f"cannot be read ({error.strerror})") from None
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError):
        raise fail("file", str(path), "is cut off, or no file of train", "delete it and train again") from None
    if not isinstance(content, dict):
        raise fail("file", str(path), "is no file of train")
    return content


def write_corpus(path: Path, corpus: Corpus, sources: Sources) -> None:
    """Write prepared text with its hash and the sources that it was prepared from."""
    arrays: dict[str, Any] = {name: torch.from_numpy(text.copy()) for name, text in corpus.train.items()}
    for split, parts in corpus.held_out.items():
        arrays |= {f"{split}/{name}": torch.from_numpy(part.copy()) for name, part in parts.items()}
    facts = {"facts": dict(corpus.facts), "sha256": corpus.sha256, "sources": repr(sources)}
    save(path, {"arrays": arrays, **facts})


def read_corpus(path: Path, sources: Sources) -> Corpus:
    """Read what `write_corpus` wrote.

    Raises
    ------
    InputError
        When the file is something else, was edited, or was prepared from other sources.
    """
    content = load(path)
    if not content.keys() >= _TEXT_KEYS:
        raise fail("text", str(path), "is no prepared text", "train --prepare-text makes it")
    if content["sources"] != repr(sources):
        raise fail("text", str(path), "was prepared for another scale", "prepare it again for this one")
    arrays = {name: part.numpy() for name, part in content["arrays"].items()}
    held_out = {split: {name: arrays[f"{split}/{name}"] for name in DOMAINS} for split in SPLITS[1:]}
    corpus = Corpus({name: arrays[name] for name in DOMAINS}, held_out, content["facts"])
    if corpus.sha256 != content["sha256"]:
        raise fail("corpus", str(path), "does not match its hash", "delete it and train again")
    return corpus


def write_portable(path: Path, corpus: Corpus, sources: Sources) -> int:
    """Write prepared text for another machine; returns the file's bytes.

    Raises
    ------
    InputError
        When the text is larger than `MAX_TEXT_BYTES`.
    """
    parts = [*corpus.train.values(), *(part for split in corpus.held_out.values() for part in split.values())]
    size = sum(part.nbytes for part in parts)
    if size > MAX_TEXT_BYTES:
        raise fail("text_bytes", size, f"must be at most {MAX_TEXT_BYTES}", "choose a smaller scale")
    write_corpus(path, corpus, sources)
    return path.stat().st_size
