"""Intervals and tests: pure functions of arrays, without a file, a task or a network."""
