"""Training of small targets and drafts, and exact measurement of the tokens that a target accepts."""

AXES = ("tokens", "layers", "all", "joint", "rates")
"""Values of ``train --axis``; defined here, so that ``--help`` does not import torch."""

SCALES = ("ci", "small", "full", "gpu")
"""Values of ``train --scale``; ``gpu`` takes one GPU and a few minutes."""

FINISHED = ".done"
"""End of the name of a folder of intermediate files whose plan is finished; a killed run leaves it behind."""
