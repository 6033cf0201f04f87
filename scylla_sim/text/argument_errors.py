"""Errors of the command line: messages of argparse in our grammar, and advice for options of other programs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

BAD_VALUE = re.compile(
    r"argument (?P<option>\S+): "
    r"(?:invalid (?P<type>int|float) value: (?P<value>.*)"
    r"|invalid choice: (?P<choice>.*) \(choose from (?P<choices>.*)\))"
)
"""Message of argparse about a value that it cannot convert, or that is not among the choices."""

OTHER_OPTIONS = {
    **dict.fromkeys(("--tensor-parallel-size", "--tp-size", "--gpus", "--num-gpus"), "--tp"),
    **dict.fromkeys(("--gpu", "--device"), "--hardware"),
    **dict.fromkeys(("--num-speculative-tokens", "--speculative-num-steps", "--num-steps", "--k"), "--draft-len"),
    **dict.fromkeys(("--speculative-model", "--speculative-draft-model-path", "--draft-model"), "--draft"),
    **dict.fromkeys(("--speculative-eagle-topk", "--topk"), "--top-k"),
    "--speculative-num-draft-tokens": "--verify-tokens",
    **dict.fromkeys(("--quantization", "--dtype", "--weights"), "--precision"),
    **dict.fromkeys(("--kv-cache-dtype", "--kv-dtype", "--kv-cache-precision"), "--kv-precision"),
    **dict.fromkeys(("--batch-size", "--bs"), "--batch"),
    **dict.fromkeys(("--context-len", "--context-length", "--seq-len"), "--context"),
    **dict.fromkeys(("--gpu-memory-utilization", "--mem-fraction-static"), "--memory-share"),
    **dict.fromkeys(("--acceptance-rate", "--alpha"), "--acceptance"),
    **dict.fromkeys(("--tau", "--acceptance-length"), "--tokens-per-cycle"),
    **dict.fromkeys(("--request-rate", "--qps", "--rps"), "--rate"),
    **dict.fromkeys(("--isl", "--prompt-len", "--random-input-len"), "--input-len"),
    **dict.fromkeys(("--osl", "--max-tokens", "--random-output-len"), "--output-len"),
    **dict.fromkeys(("--max-concurrency", "--clients"), "--concurrency"),
    "--enforce-eager": "--eager",
    "--backend": "--engine",
}
"""Option of another program -> option here."""
SIMILAR = 0.75
"""Least similarity of an option that is suggested for one that no program has."""


def advice(given: Iterable[str], known: Collection[str]) -> str:
    """Return "; for OTHER write OPTION" for the first option that a verb does not have; empty without advice.

    Parameters
    ----------
    given
        Words of a command line.
    known
        Options of the verb.

    Examples
    --------
    >>> advice(["--model", "m", "--gpu", "h100"], ["--model", "--hardware"])
    '; for --gpu write --hardware'
    >>> advice(["--hardwear=h100"], ["--model", "--hardware"])
    '; for --hardwear write --hardware'
    """
    for option in (word.partition("=")[0] for word in given if word.startswith("--")):
        if option in known or option == "--":
            continue
        import difflib  # errors only, so that good input does not wait for it

        near = difflib.get_close_matches(option, known, n=1, cutoff=SIMILAR)
        meant = OTHER_OPTIONS.get(option, "")
        meant = meant if meant in known else "".join(near)
        if meant:
            return f"; for {option} write {meant}"
    return ""


def reworded(message: str) -> str:
    """Return a message of argparse about a value as ``name=value rule``; return other messages unchanged.

    Examples
    --------
    >>> reworded("argument --top-k: invalid int value: 'x'")
    "top_k='x' must be a whole number"
    """
    found = BAD_VALUE.fullmatch(message)
    if found is None:
        return message
    name = found["option"].rpartition("/")[2].lstrip("-").replace("-", "_")
    if found["choices"]:
        return f"{name}={found['choice']} is not known; known: {found['choices'].replace(chr(39), '')}"
    return f"{name}={found['value']} must be {'a whole number' if found['type'] == 'int' else 'a number'}"
