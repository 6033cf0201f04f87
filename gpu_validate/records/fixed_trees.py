"""Trees that every draft of a joint plan is measured with, whatever its profile."""

from __future__ import annotations

from functools import cache

import numpy as np

from scylla_sim.acceptance.tree_search import best_tree
from scylla_sim.acceptance.trees import DraftTree

FIXED_NODES = (4, 8, 16, 24, 32, 48, 60)
"""Nodes of the trees that every draft of a joint plan is measured with."""
FIXED_RATE, FIXED_RATIO = 0.55, 0.35
"""Probability of the first choice, and ratio of one choice to the one before, for which `fixed_tree` is best."""
FIXED_WIDTH = 8
"""Choices of a node in `fixed_tree`."""


@cache
def fixed_tree(nodes: int, draft_len: int) -> DraftTree:
    """Return the tree of a number of nodes that every draft of ``--axis joint`` is measured with.

    It is the best tree of one profile: the choice of rank r is right with probability 0.55 * 0.35^r at every depth.
    The same tree at every point shows how its tokens move with the training.

    Examples
    --------
    >>> fixed_tree(16, 6).draft_len
    5
    """
    profile = FIXED_RATE * FIXED_RATIO ** np.arange(FIXED_WIDTH)
    return best_tree(np.tile(profile, (draft_len, 1)), nodes)
