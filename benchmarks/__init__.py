"""Measurements behind docs/performance.md: each module is a command that prints tables in Markdown."""
