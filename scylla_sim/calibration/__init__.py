"""Calibrations: kernel models fitted to the measured kernels of one device."""
