"""Command-line basics of ``scylla-sim`` and ``gpu-validate``: parser, exit codes and the three output formats.

Exit codes are 0 for success, 2 for bad input (one line on stderr) and 1 for other errors. Data go to stdout and
messages to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from scylla_sim import __version__
from scylla_sim.checks import InputError, fail, one_line, one_of, show
from scylla_sim.records import dump_json, format_csv, table, write_chunks
from scylla_sim.text.argument_errors import advice, reworded
from scylla_sim.text.blocks import Cells, csv_blocks, json_blocks
from scylla_sim.text.digits import encodable, wrapped
from scylla_sim.text.tables import Column, text_table
from scylla_sim.units import parse_count

FORMATS = ("table", "json", "csv")
"""Output formats of verbs that print rows."""

EXTRAS = {
    "scipy": "fit",
    **dict.fromkeys(("torch", "tokenizers", "pandas", "pyarrow"), "validate"),
    "tabulate": "paper",
}
"""Optional package -> extra that installs it."""


class Parser(argparse.ArgumentParser):
    """Argument parser with one-line errors; usage is printed with ``--help`` only."""

    given: Sequence[str] = ()  # the command line, for advice in errors

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Set up a parser that keeps the line breaks of its epilog and accepts no abbreviated options."""
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise an `InputError` in the grammar of `scylla_sim.checks` instead of printing the usage."""
        hint = advice(self.given, self._option_string_actions) if "arguments" in message else ""
        raise InputError(f"{reworded(message)}{hint}; see {self.prog} --help")


def run(prog: str, call: Callable[[], int | None]) -> int:
    """Run a command and return its exit code.

    Bad input, missing packages and file errors print one line. An interrupt returns 130 without a traceback. A
    closed pipe (``| head``) returns 0 without a message.

    Parameters
    ----------
    prog
        Name of the program, which starts every message.
    call
        The command; ``None`` means exit code 0.
    """
    if sys.stdout is None:  # closed by the shell (>&-): the output is not wanted
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            return run(prog, call)
    try:
        return call() or 0
    except InputError as error:
        print(f"{prog}: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        hint = f"pip install 'scylla-sim[{EXTRAS[error.name]}]'"
        print(f"{prog}: error: the package {error.name} is not installed; {hint}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        named = error.filename is not None
        text = f"error: file={show(error.filename)} {error.strerror}" if named else f"{error.strerror}: stdout"
        print(f"{prog}: {one_line(text)}", file=sys.stderr)
        return 2 if named else 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; finished work is kept", file=sys.stderr)
        return 130


def dispatch(
    prog: str,
    purpose: str,
    verbs: Mapping[str, str],
    execute: Callable[[str, list[str]], int | None],
    argv: Sequence[str] | None,
) -> int:
    """Run a program with verbs: print the overview, print the version, or run one verb.

    Parameters
    ----------
    prog
        Name of the program.
    purpose
        One sentence for the overview.
    verbs
        Verb -> description.
    execute
        Function of a verb and its arguments that returns an exit code. It imports the module of the verb, so other
        verbs cost no time.
    argv
        Command line without the program; default: ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit code, as from `run`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)

    def call() -> int | None:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            width = max(map(len, verbs))
            listed = "\n".join(f"  {name:{width}}  {description}" for name, description in verbs.items())
            print(
                f"usage: {prog} VERB [options]      ({prog} VERB --help shows an example)\n\n{purpose}\n\n{listed}"
            )
            return 0
        if arguments[0] == "--version":
            print(f"{prog} {__version__}")
            return 0
        return execute(one_of("verb", arguments[0], verbs), arguments[1:])

    return run(prog, call)


def execute_module(prog: str, name: str, description: str, arguments: list[str]) -> int | None:
    """Run a verb and return its exit code.

    Parameters
    ----------
    prog
        Name of the program.
    name
        Module of the verb, with ``EPILOG``, ``add_arguments(parser)`` and ``execute(args)``.
    description
        First lines of the help text.
    arguments
        Command line after the verb.
    """
    module = importlib.import_module(name)
    verb = name.rpartition(".")[2].replace("_", "-")
    parser = Parser(prog=f"{prog} {verb}", description=description, epilog=module.EPILOG)
    module.add_arguments(parser)
    parser.given = arguments
    code: int | None = module.execute(parser.parse_args(arguments))
    return code


def note(text: str) -> None:
    """Print a message on stderr; lines are broken at 100 columns in a terminal, and stay whole in a file."""
    sys.stderr.write(wrapped(text, indent="  ") if sys.stderr.isatty() else f"{text}\n")


def name_list(text: str) -> list[str]:
    """Return the names of a comma-separated list, without blanks around them and without empty parts.

    Examples
    --------
    >>> name_list("h100-sxm, a100-sxm,")
    ['h100-sxm', 'a100-sxm']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def assignments(name: str, text: str) -> dict[str, str]:
    """Return the pairs of a comma-separated list ``NAME=VALUE,NAME=VALUE``.

    Raises
    ------
    InputError
        When a part is not ``NAME=VALUE``, or a name occurs twice. The message starts with ``name``.

    Examples
    --------
    >>> assignments("where", "graph=1,role=verify")
    {'graph': '1', 'role': 'verify'}
    """
    found = {}
    for part in name_list(text):
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise fail(name, part, "must be NAME=VALUE")
        if key.strip() in found:
            raise fail(name, part, f"gives {key.strip()} twice")
        found[key.strip()] = value.strip()
    return found


def counts(name: str, text: str) -> list[float]:
    """Return the counts of a comma-separated list; suffixes such as ``K`` and ``Ki`` are allowed.

    Raises
    ------
    InputError
        When a part is not a count. The message starts with ``name``.

    Examples
    --------
    >>> counts("context", "1K,10Ki")
    [1000.0, 10240.0]
    """
    try:
        return [parse_count(part) for part in text.split(",")]
    except ValueError as error:
        hint = "list them, as 1,2,3" if re.fullmatch(r"\s*\d+\s*(-|\.\.|:)\s*\d+\s*", text) else ""
        raise fail(name, text, f"is not understood ({error})", hint) from None


def count(name: str, text: str) -> float:
    """Return one count, by the rules of `counts`.

    Examples
    --------
    >>> count("context", "10Ki")
    10240.0
    """
    values = counts(name, text)
    if len(values) != 1:
        raise fail(name, text, "must be one value")
    return values[0]


def add_output(parser: argparse.ArgumentParser, *, default: str = "table") -> None:
    """Add the options ``--format`` and ``--out``."""
    parser.add_argument("--format", choices=FORMATS, default=default, help=f"default: {default}")
    parser.add_argument("--out", metavar="FILE", help="file to write (atomically); default: stdout")


def emit(
    args: argparse.Namespace,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    columns: Sequence[Column | str] | None = None,
    lead: str = "",
    footer: str = "",
    **facts: Any,
) -> None:
    """Print rows in the format of ``--format``, or write them to ``--out``.

    Parameters
    ----------
    args
        Options of `add_output`.
    name
        Name of the table in the JSON schema, ``scylla-sim/<name>/1``.
    rows
        Rows to print.
    columns
        Columns of the text table, all by default. JSON and CSV always have all keys.
    lead
        Answer in words, above the text table. Without rows it is printed alone.
    footer
        Lines under the text table.
    **facts
        Entries of the provenance in the JSON object.
    """
    if args.format == "json":
        text = dump_json(table(f"scylla-sim/{name}/1", rows, **facts))
    elif args.format == "csv":
        text = format_csv(rows)
    else:
        text = wrapped(lead) + (text_table(rows, columns) if rows or not lead else "") + wrapped(footer)
    emit_text(args, text)


def emit_columns(
    args: argparse.Namespace,
    name: str,
    given: Mapping[str, Sequence[str]],
    added: Mapping[str, NDArray[np.float64]],
    **facts: Any,
) -> None:
    """Print the columns of an input file together with computed columns, in the format of ``--format``.

    Parameters
    ----------
    args, name
        Options of `add_output`, and the name of the table in the JSON schema.
    given
        Columns of the file, as text, which are printed unchanged.
    added
        Computed columns.
    **facts
        Entries of the provenance in the JSON object.
    """
    both: dict[str, Cells] = {**given, **added}
    if args.format == "table":
        texts = (column.tolist() for column in added.values())
        emit(args, name, [dict(zip(both, values)) for values in zip(*given.values(), *texts)], **facts)
    elif args.format == "csv":
        emit_blocks(args, csv_blocks(both))
    else:
        emit_blocks(args, json_blocks(dump_json(table(f"scylla-sim/{name}/1", [], **facts)), both))


def emit_text(args: argparse.Namespace, text: str) -> None:
    """Write text to ``--out``, or to stdout."""
    emit_blocks(args, [text])


def emit_blocks(args: argparse.Namespace, blocks: Iterable[str]) -> None:
    """Write blocks of text to ``--out``, or to stdout."""
    if args.out is not None:
        if not args.out:
            raise fail("out", args.out, "must be the name of a file")
        write_chunks(args.out, (block.encode() for block in blocks))
        note(f"wrote {args.out}")
    else:
        for block in blocks:
            sys.stdout.write(encodable(block, sys.stdout.encoding or "utf-8"))
        sys.stdout.flush()
