"""What both command lines share: the argument grammar, the exit codes and the three output formats.

Exit codes: 0 done, 2 bad input (one line on stderr), 1 anything else. Data go to stdout, words to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from scylla_sim import __version__
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.records import dump_json, format_columns, format_csv, table, write_text
from scylla_sim.units import parse_count

FORMATS = ("table", "json", "csv")

EXTRAS = {
    "scipy": "fit",
    **dict.fromkeys(("torch", "tokenizers", "pandas", "pyarrow"), "validate"),
    "tabulate": "paper",
}
"""Package that a command may lack -> the extra that installs it."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line; usage is for ``--help`` only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")


def run(prog: str, call: Callable[[], int | None]) -> int:
    """Run a command and turn its outcome into an exit code.

    An interrupt exits 130 without a traceback; a closed pipe (``| head``) ends quietly.
    """
    try:
        return call() or 0
    except InputError as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        hint = f"pip install 'scylla-sim[{EXTRAS[error.name]}]'"
        print(f"{prog}: error: this needs the package {error.name}; {hint}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"{prog}: {error.strerror}: {error.filename or 'stdout'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def dispatch(
    prog: str,
    purpose: str,
    verbs: Mapping[str, str],
    execute: Callable[[str, list[str]], int | None],
    argv: Sequence[str] | None,
) -> int:
    """Entry point of a command with verbs: overview, version, and the verb that was asked for.

    ``execute`` gets the verb and the rest of the command line, and imports what the verb needs, nothing more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)

    def call() -> int | None:
        if not arguments or arguments[0] in ("-h", "--help"):
            width = max(map(len, verbs))
            listed = "\n".join(f"  {name:{width}}  {what}" for name, what in verbs.items())
            usage = f"usage: {prog} VERB [options]      ({prog} VERB --help shows an example)"
            sys.stdout.write(f"{usage}\n\n{purpose}\n\n{listed}\n")
            return 0
        if arguments[0] == "--version":
            print(f"{prog} {__version__}")
            return 0
        return execute(one_of("verb", arguments[0], verbs), arguments[1:])

    return run(prog, call)


def execute_module(prog: str, name: str, description: str, arguments: list[str]) -> int | None:
    """Run a verb that is a module with ``EPILOG``, ``add_arguments`` and ``execute``."""
    module = importlib.import_module(name)
    verb = name.rpartition(".")[2].replace("_", "-")
    parser = Parser(prog=f"{prog} {verb}", description=description, epilog=module.EPILOG)
    module.add_arguments(parser)
    code: int | None = module.execute(parser.parse_args(arguments))
    return code


def note(text: str) -> None:
    """Say something to the person at the terminal, never into the data."""
    print(text, file=sys.stderr)


def counts(name: str, text: str) -> list[float]:
    """Read a comma-separated list of counts with suffixes, naming the argument in any error.

    Examples
    --------
    >>> counts("context", "1K,10Ki")
    [1000.0, 10240.0]
    """
    try:
        values = [parse_count(part) for part in text.split(",")]
    except ValueError as error:
        raise fail(name, text, f"is not understood ({error})") from None
    return values


def count(name: str, text: str) -> float:
    """Read one count with a suffix.

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
    """Add ``--format`` and ``--out`` to a verb that prints rows."""
    parser.add_argument("--format", choices=FORMATS, default=default, help=f"default: {default}")
    parser.add_argument("--out", metavar="FILE", help="write there (whole or not at all) instead of stdout")


def emit(
    args: argparse.Namespace,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    columns: Sequence[str] | None = None,
    footer: str = "",
    **facts: Any,
) -> None:
    """Print rows in the asked format, or write them to ``--out``.

    ``columns`` chooses what the table shows; JSON and CSV always carry every key. ``facts`` go into the
    provenance of the JSON object.
    """
    if args.format == "json":
        text = dump_json(table(f"scylla-sim/{name}/1", rows, **facts))
    elif args.format == "csv":
        text = format_csv(rows)
    else:
        text = format_table(rows, columns) + (f"{footer}\n" if footer else "")
    emit_text(args, text)


def emit_columns(
    args: argparse.Namespace,
    name: str,
    given: Mapping[str, Sequence[str]],
    added: Mapping[str, NDArray[np.float64]],
    **facts: Any,
) -> None:
    """Print the columns of a file as they were, with computed columns added, in the asked format."""
    numbers = {key: column.tolist() for key, column in added.items()}
    if args.format == "csv":
        emit_text(args, format_columns({**given, **numbers}))
        return
    both: dict[str, Sequence[Any]] = {**given, **numbers}
    rows = [dict(zip(both, values)) for values in zip(*both.values())]
    emit(args, name, rows, **facts)


def emit_text(args: argparse.Namespace, text: str) -> None:
    """Write finished text to ``--out``, or to stdout."""
    if args.out:
        write_text(args.out, text)
        note(f"wrote {args.out}")
    else:
        sys.stdout.write(text)
        sys.stdout.flush()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e3 else f"{value:.0f}"
    return str(value)


def format_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as aligned text for a terminal, numbers to the right.

    The base installation has numpy only, so this does not use tabulate; the paper's tables do.
    """
    names = list(columns or dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells), 0) for i, name in enumerate(names)]
    right = [
        any(isinstance(row.get(name), int | float) and not isinstance(row.get(name), bool) for row in rows)
        for name in names
    ]
    lines = [names, ["-" * width for width in widths], *cells]
    return "".join(
        "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right)).rstrip() + "\n"
        for line in lines
    )
