"""Proofs of robustness: odd inputs through every command, faults of the workflow, sweeps, and Slurm."""
