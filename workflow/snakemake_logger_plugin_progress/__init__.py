"""Logger of Snakemake for ``snakemake --logger progress``: one line with finished jobs, time left and stage.

Snakemake finds this package by its name on ``PYTHONPATH``. Warnings, errors and the logs of failed jobs are printed
as always. A dry run prints its plan.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_progress.line import WIDTH, Progress

JOB_SECONDS = Path(__file__).parent / "job_seconds.json"
"""Seconds of one core that a job takes, by rule, for the rules that take longest.

Source: the first five minutes of a run from a clean clone on a shared machine of two cores. The rules that measure,
train, compare and print ran later, beside other work, and have estimates; each value may be off by a factor of two.
Only the time left depends on them, and its estimate follows the speed of the run.
"""
LINE_EVERY_S = 15.0
"""Seconds between two lines where no terminal can rewrite one."""


class LogHandler(LogHandlerBase):
    """Handler that Snakemake gives all records of its log."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Start the clock, and rewrite the line every second on a terminal."""
        self.progress = Progress(json.loads(JOB_SECONDS.read_text(encoding="utf-8")), time.monotonic())
        given = self.common_settings
        self.formatter = DefaultFormatter(given.quiet, given.show_failed_logs)
        self.usual = DefaultFilter(given.quiet, given.debug_dag, given.verbose, given.dryrun, given.printshellcmds)
        self.rewrites = sys.stderr.isatty()
        self.printed_s = float("-inf")
        if self.rewrites and not self.common_settings.dryrun:
            threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while True:
            time.sleep(1)
            self.acquire()
            if self.progress.running:
                self._show()
            self.release()

    def _show(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if self.rewrites:
            sys.stderr.write(f"\r{self.progress.line(now_s):{WIDTH}}" + "\n" * last)
        elif last or now_s - self.printed_s >= LINE_EVERY_S:
            sys.stderr.write(f"{self.progress.line(now_s)}\n")
            self.printed_s = now_s
        sys.stderr.flush()

    def _say(self, record: logging.LogRecord) -> None:
        text = self.format(record) if self.usual.filter(record) else ""
        if text and text != "None":
            sys.stderr.write(("\r" + " " * WIDTH + "\r") * self.rewrites + f"{text}\n")

    def emit(self, record: logging.LogRecord) -> None:
        """Follow the events of the run, and print the other records that a user needs."""
        event: Any = getattr(record, "event", None)
        facts: dict[str, Any] = record.__dict__
        if self.common_settings.dryrun or record.levelno >= logging.WARNING:
            self._say(record)
        elif event == LogEvent.RUN_INFO:
            self.progress.plan(facts["stats"])
        elif event == LogEvent.JOB_INFO:
            self.progress.begin(
                facts["jobid"], facts["rule_name"], dict(facts["wildcards"] or {}), time.monotonic()
            )
            self._show()
        elif event == LogEvent.JOB_FINISHED:
            self.progress.end(facts["job_id"])
            self._show(last=self.progress.done == self.progress.total)
        elif event is None and str(record.msg).startswith("Nothing to be done"):
            self._say(record)
