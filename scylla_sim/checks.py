"""Argument checks with one error grammar: ``name=value must RULE; HINT``.

Every bad argument, option or file raises `InputError`. The command lines print it as one line on stderr and exit
with code 2. Nothing else in the project prints errors.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
"""An array of float64, of any shape."""

MAX_WHOLE = 2.0**53
"""Largest whole number up to which float64 represents all whole numbers."""


MAX_FLOAT = sys.float_info.max
"""Largest float64."""


class InputError(ValueError):
    """An argument, option or file that cannot be used. The message is one line and names the value.

    Parameters
    ----------
    problem
        The value and the rule that it breaks.
    hint
        Advice, added after a semicolon.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem, self.hint = problem, hint

    def at(self, place: str) -> InputError:
        """Return the error with a place in a file after the problem; one that names a line stays as it is.

        Examples
        --------
        >>> print(fail("tp", 3, "must divide 64", "give 2 or 4").at("on line 2 of runs.csv"))
        tp=3 must divide 64 on line 2 of runs.csv; give 2 or 4
        """
        return self if " on line " in str(self) else InputError(f"{self.problem} {place}", self.hint)


def show(value: Any) -> str:
    """Return a value as short text of one line, for an error message."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_WHOLE:
        value = int(value)  # counts arrive as float64, but users write them as whole numbers
    text = repr(value) if isinstance(value, str) else f"{value}"
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."


MAX_LINE = 500
"""Characters of an error line; the middle of a longer one is left out."""


def one_line(text: str) -> str:
    r"""Return a message as one line of at most `MAX_LINE` characters, without its middle if it is longer.

    Examples
    --------
    >>> one_line("two\nlines"), len(one_line("columns: " + "x" * 10_000))
    ('two lines', 500)
    """
    line = " ".join(text.split())
    if len(line) <= MAX_LINE:
        return line
    end = MAX_LINE // 4
    return f"{line[: MAX_LINE - end - 5]} ... {line[-end:]}"


def fail(name: str, value: Any, rule: str, hint: str = "") -> InputError:
    """Return the error for a bad value; the caller raises it.

    Parameters
    ----------
    name, value
        Name of the argument, and the bad value.
    rule
        Rule that the value breaks, such as "must be at least 1".
    hint
        Advice, added after a semicolon.

    Examples
    --------
    >>> print(fail("batch", -1, "must be at least 1"))
    batch=-1 must be at least 1
    """
    return InputError(f"{name}={show(value)} {rule}", hint)


_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there and run again; finished files are kept"),
    errno.EROFS: "make its disk writable and run again; finished files are kept",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "allow writing there, or name another folder"),
}
"""Error of the system -> what to do about a file that cannot be written."""


def unwritable(path: object, error: OSError) -> InputError:
    """Return the error for an output that the system does not write, with what to do; the caller raises it.

    Examples
    --------
    >>> print(unwritable("a.csv", OSError(errno.ENOSPC, "No space left on device")))
    out='a.csv' cannot be written (No space left on device); free space there and run again; finished files are kept
    """
    return fail("out", str(path), f"cannot be written ({error.strerror})", _REMEDIES.get(error.errno or 0, ""))


def _numbers(name: str, value: ArrayLike) -> FloatArray:
    """Return ``value`` as an array of finite numbers."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise fail(name, value, "must be a number or an array of numbers") from None
    bad = ~np.isfinite(array)
    if bad.any():
        if any(item is None for item in np.asarray(value, dtype=object).flat):  # numpy reads None as nan
            raise fail(name, value, "must be a number or an array of numbers")
        raise fail(name, array[bad].flat[0], "must be finite")
    return array


def _is_number_in(value: object, low: float, high: float, *, above: bool = False, integer: bool = False) -> bool:
    """Return whether ``value`` is one finite number in a range; arrays are much slower to compare."""
    if not isinstance(value, int | float) or (integer and not isinstance(value, int)):
        return False
    if not -MAX_FLOAT <= value <= MAX_FLOAT:  # a whole number may exceed every float
        return False
    return (low < value if above else low <= value) and value <= high


def in_range(
    name: str,
    value: ArrayLike,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    above: bool = False,
    hint: str = "",
) -> FloatArray:
    """Return ``value`` as float64 and check that every element lies in ``[low, high]``.

    Parameters
    ----------
    above
        Whether ``low`` itself is excluded.
    hint
        Advice for the error message.

    Raises
    ------
    InputError
        At the first element that is not a finite number in the range.

    Examples
    --------
    >>> in_range("acceptance_rate", [0.5, 1.2], 0, 1)
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: acceptance_rate=1.2 must lie in [0, 1]
    """
    if _is_number_in(value, low, high, above=above):
        return np.array(value, dtype=np.float64)
    array = _numbers(name, value)
    bad = (array <= low if above else array < low) | (array > high)
    if not bad.any():
        return array
    if np.isinf(high):
        rule = f"must be above {low:g}" if above else f"must be at least {low:g}"
    elif np.isinf(low):
        rule = f"must be at most {high:g}"
    else:
        rule = f"must lie in {'(' if above else '['}{low:g}, {high:g}]"
    raise fail(name, array[bad].flat[0], rule, hint)


def positive(name: str, value: ArrayLike, *, hint: str = "") -> FloatArray:
    """Return ``value`` as float64 and check that every element is finite and above zero."""
    return in_range(name, value, 0.0, above=True, hint=hint)


def whole(
    name: str, value: ArrayLike, low: float = -np.inf, high: float = np.inf, *, hint: str = ""
) -> NDArray[np.int64]:
    """Return ``value`` as int64 and check that every element is a whole number in ``[low, high]``."""
    if _is_number_in(value, low, min(high, MAX_WHOLE), integer=True):
        return np.array(value, dtype=np.int64)
    array = in_range(name, value, low, high, hint=hint)
    in_range(name, array, high=MAX_WHOLE, hint=hint)
    bad = array != np.floor(array)
    if bad.any():
        raise fail(name, array[bad].flat[0], "must be a whole number", hint)
    return array.astype(np.int64)


def label(name: str, text: str) -> str:
    """Return a text of the user for the cells of a table, and check that no reader takes it as a number.

    Examples
    --------
    >>> label("device", "nan")
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: device='nan' must be a name, not a number
    """
    try:
        float(text)
    except ValueError:
        return text
    raise fail(name, text, "must be a name, not a number")


def number(name: str, value: ArrayLike, low: float = -np.inf, high: float = np.inf, *, hint: str = "") -> float:
    """Return ``value`` as one float and check that it lies in ``[low, high]``.

    Examples
    --------
    >>> number("tokens_per_cycle", [2.0, 3.0], 1)
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: tokens_per_cycle=[2.0, 3.0] must be one number
    """
    array = in_range(name, value, low, high, hint=hint)
    if array.ndim:
        raise fail(name, value, "must be one number", hint)
    return float(array)


def one_of(name: str, value: str, known: Iterable[str], *, hint: str = "") -> str:
    """Return ``value`` if it is known; otherwise raise an error that lists the known names.

    The error suggests the most similar known name with the same first letter, regardless of case.

    Examples
    --------
    >>> one_of("hardware", "h100", ["h100-sxm", "l40s"])
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: hardware='h100' is not known; did you mean h100-sxm? known: h100-sxm, l40s
    """
    names = list(known)
    if value in names:
        return value
    import difflib  # errors only, so that good input does not wait for it

    by_lower = {known_name.lower(): known_name for known_name in names}
    wanted = str(value).lower()
    near = difflib.get_close_matches(wanted, [name for name in by_lower if name[:1] == wanted[:1]], n=1, cutoff=0.5)
    guess = f"did you mean {by_lower[near[0]]}? " if near else ""
    raise fail(name, value, "is not known", f"{guess}known: {', '.join(names)}" + (f"; {hint}" if hint else ""))
