"""Predictions: steps, draft-verify cycles, throughput, speed-up, and their uncertainty."""
