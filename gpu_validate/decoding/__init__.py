"""Speculative decoding: the draft-verify loop, acceptance rules, tree layout, losslessness checks."""
