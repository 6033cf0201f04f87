"""Tables, figures and claims of arXiv 2505.07858, printed from result files and published numbers.

The package fits and models nothing. It reads the files that `scylla_sim` and `gpu_validate` wrote, and the numbers
of other authors in ``published/``, and computes the difference between the two.
"""
