"""The laws by real training at small scale: corpus, target, drafts, accepted tokens measured exactly."""

AXES = ("tokens", "layers", "all", "rates")
"""What ``train --axis`` trains for; here, so that its ``--help`` needs no torch."""
