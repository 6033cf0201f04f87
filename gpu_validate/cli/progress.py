"""Progress of a run: one renewed line on a terminal, and a line from time to time in a log."""

from __future__ import annotations

import sys
import time

LOG_EVERY_S = 15.0
"""Seconds between two lines of progress in a log."""


def line(text: str) -> bool:
    """Replace the last line on a terminal and return True. Without a terminal, print nothing and return False."""
    if not sys.stderr.isatty():
        return False
    sys.stderr.write(f"\r\x1b[2K{text}")
    sys.stderr.flush()
    return True


class Progress:
    """Progress of a run: `line` on a terminal, otherwise a line every `LOG_EVERY_S` seconds."""

    def __init__(self) -> None:
        self.next_s = 0.0

    def say(self, text: str) -> None:
        """Report the progress."""
        if not line(text) and text and time.monotonic() >= self.next_s:
            self.next_s = time.monotonic() + LOG_EVERY_S
            print(text, file=sys.stderr, flush=True)
