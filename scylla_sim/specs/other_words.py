"""Errors for words that other projects use: what to write here instead, from ``data/other_words.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import resources

from scylla_sim.checks import fail, one_of

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME, as on Hugging Face."""


def advice_for(kind: str, word: str) -> str:
    """Return what to write for a word of another project; empty for a word without advice.

    Parameters
    ----------
    kind
        Table of the file, such as ``precision``.

    Examples
    --------
    >>> advice_for("precision", "AWQ")
    'AWQ is int4: 4-bit weights with 16-bit arithmetic'
    """
    text = (resources.files("scylla_sim") / "data" / "other_words.toml").read_text("utf-8")
    plain = "-".join(word.lower().replace("_", "-").split())
    patterns: dict[str, str] = tomllib.loads(text).get(kind, {})
    return next((said for pattern, said in patterns.items() if fnmatchcase(plain, pattern)), "")


def known_word(name: str, value: str, known: Iterable[str], *, kind: str = "", hint: str = "") -> str:
    """Return ``value`` if it is known; otherwise raise an error with advice, or with the known name most similar.

    Parameters
    ----------
    name
        Name of the option.
    kind
        Table of the file, if it is not named like the option; see `advice_for`.

    Raises
    ------
    InputError
        For a value that is not known.
    """
    names = list(known)
    if value in names:
        return value
    if REPOSITORY.fullmatch(value):
        fetch = f"fetch a repository with hf download {value} config.json --local-dir DIR, and give DIR"
        raise fail(name, value, "is no name or folder here", fetch)
    advice = "" if value.lower() in names else advice_for(kind or name, value)
    if not advice:
        return one_of(name, value, names, hint=hint)
    raise fail(name, value, "is not known", f"{advice}; known: {', '.join(names)}")
