"""Metrics that need no framework: NumPy in, numbers out."""
