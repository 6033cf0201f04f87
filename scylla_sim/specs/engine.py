"""Serving engines and the overheads that they add to the kernels of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scylla_sim.checks import fail, in_range, one_of, whole
from scylla_sim.stats.estimate import Estimate

OVERHEADS = ("host_s", "token_s", "draft_host_s", "draft_pass_host_s", "tree_host_s", "launch_s")
"""What an engine may add to the kernels, in seconds."""


@dataclass(frozen=True)
class Engine:
    """What a serving engine adds to the kernels, all of it explicit and in seconds.

    Attributes
    ----------
    host_s
        Scheduler and sampling work of one step, not overlapped with the device.
    token_s
        The same per token handed to the target in a step (b n of them).
    draft_host_s
        Added to every cycle that drafts; ``draft_pass_host_s`` to every sequential draft pass.
    tree_host_s
        Added to every cycle that drafts a tree (top-k above 1): choosing its paths, its mask, moving the cache of
        the accepted one.
    launch_s
        What the host needs to launch one operation of a step that is not a CUDA graph. A GPU works on while the
        host launches, so such a step takes at least as long as its launches; on a CPU they add to it.
    framework
        Whose kernels its steps run, where a calibration holds those of several; empty: the calibration's first.
    eager
        No step is a CUDA graph.
    max_graph_tokens, max_graph_batch
        Tokens, or sequences, up to which steps were captured as CUDA graphs; 0 means no limit.
    intervals
        Lower and upper end of an overhead, in seconds; one without an entry is taken as exact.
    """

    name: str
    host_s: float = 0.0
    token_s: float = 0.0
    draft_host_s: float = 0.0
    draft_pass_host_s: float = 0.0
    tree_host_s: float = 0.0
    launch_s: float = 0.0
    framework: str = ""
    eager: bool = False
    max_graph_tokens: int = 0
    max_graph_batch: int = 0
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in OVERHEADS:
            in_range(name, getattr(self, name), 0)
        for name, (lower, upper) in self.intervals.items():
            value = getattr(self, one_of("overhead", name, OVERHEADS))
            if not 0 <= lower <= value <= upper:
                raise fail(name, value, f"must lie in its own interval, {lower:g} to {upper:g} s")
        whole("max_graph_tokens", self.max_graph_tokens, 0)
        whole("max_graph_batch", self.max_graph_batch, 0)

    def overhead(self, name: str) -> Estimate:
        """Return the seconds of one of `OVERHEADS`, with their interval.

        Examples
        --------
        >>> float(Engine("x", host_s=2e-3, intervals={"host_s": (1e-3, 4e-3)}).overhead("host_s").upper)
        0.004
        """
        value = getattr(self, name)
        return Estimate.of(value, *self.intervals.get(name, (value, value)))
