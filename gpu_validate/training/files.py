"""Files of training: tensors and prepared text, written atomically.

Prepared text does not depend on the versions of torch, tokenizers and Python. One machine can prepare it for
another.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from gpu_validate.training.corpus import DOMAINS, Corpus, Sources
from gpu_validate.training.documents import SPLITS
from scylla_sim.checks import fail, unwritable

MAX_TEXT_BYTES = 40_000_000
"""Maximum size of text that is prepared for another machine."""
_TEXT_KEYS = {"arrays", "facts", "sha256", "sources"}


def make_folder(folder: Path) -> None:
    """Make a folder.

    Raises
    ------
    InputError
        If the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fail("out", str(folder), f"cannot be created ({error.strerror})") from None


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors atomically: a reader gets the old file or the new one.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            torch.save(content, file)
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        beside.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__context__  # torch hides the error of the system
        if not isinstance(cause, OSError):
            raise
        raise unwritable(path, cause) from None


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a file that `save` wrote.

    Raises
    ------
    InputError
        If the file is missing, truncated or of another kind.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise fail("file", str(path), f"cannot be read ({error.strerror})") from None
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError):
        raise fail("file", str(path), "is truncated, or not a file of train", "delete it and train again") from None
    if not isinstance(content, dict):
        raise fail("file", str(path), "is not a file of train")
    return content


def write_corpus(path: Path, corpus: Corpus, sources: Sources) -> None:
    """Write prepared text, with its hash and its sources."""
    arrays: dict[str, Any] = {name: torch.from_numpy(text.copy()) for name, text in corpus.train.items()}
    for split, parts in corpus.held_out.items():
        arrays |= {f"{split}/{name}": torch.from_numpy(part.copy()) for name, part in parts.items()}
    facts = {"facts": dict(corpus.facts), "sha256": corpus.sha256, "sources": repr(sources)}
    save(path, {"arrays": arrays, **facts})


def read_corpus(path: Path, sources: Sources) -> Corpus:
    """Read a file that `write_corpus` wrote.

    Raises
    ------
    InputError
        If the file is of another kind, was edited, or was prepared from other sources.
    """
    content = load(path)
    if not content.keys() >= _TEXT_KEYS:
        raise fail("text", str(path), "is not prepared text", "train --prepare-text writes it")
    if content["sources"] != repr(sources):
        raise fail("text", str(path), "was prepared for another scale", "prepare it again for this one")
    arrays = {name: part.numpy() for name, part in content["arrays"].items()}
    held_out = {split: {name: arrays[f"{split}/{name}"] for name in DOMAINS} for split in SPLITS[1:]}
    corpus = Corpus({name: arrays[name] for name in DOMAINS}, held_out, content["facts"])
    if corpus.sha256 != content["sha256"]:
        raise fail("corpus", str(path), "does not match its hash", "delete it and train again")
    return corpus


def write_portable(path: Path, corpus: Corpus, sources: Sources) -> int:
    """Write prepared text for another machine.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    InputError
        If the text is larger than `MAX_TEXT_BYTES`.
    """
    parts = [*corpus.train.values(), *(part for split in corpus.held_out.values() for part in split.values())]
    size = sum(part.nbytes for part in parts)
    if size > MAX_TEXT_BYTES:
        raise fail("text_bytes", size, f"must be at most {MAX_TEXT_BYTES}", "choose a smaller scale")
    write_corpus(path, corpus, sources)
    return path.stat().st_size
