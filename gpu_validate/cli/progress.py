"""Progress: one line that is renewed on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time

LOG_EVERY_S = 15.0
"""A log gets a line of progress this often."""


def line(text: str) -> bool:
    """Show one line that replaces the last one; on what is no terminal say nothing, and return False."""
    if not sys.stderr.isatty():
        return False
    sys.stderr.write(f"\r\x1b[2K{text}")
    sys.stderr.flush()
    return True


class Progress:
    """`line` on a terminal; elsewhere the text of the moment every `LOG_EVERY_S` seconds, the first at once."""

    def __init__(self) -> None:
        self.next_s = 0.0

    def say(self, text: str) -> None:
        """Tell how far a run is."""
        if not line(text) and text and time.monotonic() >= self.next_s:
            self.next_s = time.monotonic() + LOG_EVERY_S
            print(text, file=sys.stderr, flush=True)
