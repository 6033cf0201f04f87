"""Serving under load: seconds of an iteration, workloads, and the simulation of continuous batching."""
