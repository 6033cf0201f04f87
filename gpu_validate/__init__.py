"""Measurements of kernels, decoder steps and speculative decoding, on a GPU or on a CPU.

Timing needs only numpy. The suites import torch when they run. A measurement must not depend on a prediction. This
package therefore imports specs, operations and statistics of the simulator, and never its kernel models or
predictions.
"""
