"""Predicted time of steps and cycles, throughput, speed-up and their intervals.

=======================  ============================================================
Module                   Contents
=======================  ============================================================
``steps``                seconds of a target or draft forward pass, by operation
``overheads``            host work of the engine
``cycle``                one draft-verify cycle
``throughput``           `predict`: throughput and speed-up over batch and context
``uncertainty``          interval of a throughput or a speed-up
``power_limit``          extra time of GEMMs at the power limit of a GPU
``roofline``             compute-bound crossover of verification (Theorem 1.3)
=======================  ============================================================
"""
