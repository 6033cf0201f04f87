"""Models that are timed: decoder, EAGLE head, attention and fused kernels, checkpoints."""
