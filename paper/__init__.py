"""PRINTS. The tables, figures and claims of arXiv 2505.07858, out of result files and published numbers.

Nothing is modelled or fitted here: the rows come from the files that `scylla_sim` and `gpu_validate` wrote and from
``published/``, the numbers as other people printed them. What this package computes is their difference.
"""
