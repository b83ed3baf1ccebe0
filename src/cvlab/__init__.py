"""One YAML file is one computer-vision experiment."""

from __future__ import annotations

__version__ = "0.1.0"
