"""Regulus: keeps an ML model server inside its latency objective by reconfiguring it while it serves."""

__version__ = "0.1.0"
