"""The laws by real training at small scale: corpus, target, drafts, accepted tokens measured exactly."""

AXES = ("tokens", "layers", "all", "rates")
"""What ``train --axis`` trains for; here, so that its ``--help`` needs no torch."""

SCALES = ("ci", "small", "full", "gpu")
"""What ``train --scale`` knows; ``gpu`` is a plan for one GPU and a few minutes."""
