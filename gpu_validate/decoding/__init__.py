"""Speculative decoding: draft-verify loop, acceptance rules, tree layout and losslessness check."""
