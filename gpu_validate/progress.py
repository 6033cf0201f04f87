"""Progress on a terminal."""

from __future__ import annotations

import sys


def line(text: str) -> bool:
    """Show one line that replaces the last one; on what is no terminal say nothing, and return False."""
    if not sys.stderr.isatty():
        return False
    sys.stderr.write(f"\r\x1b[2K{text}")
    sys.stderr.flush()
    return True
