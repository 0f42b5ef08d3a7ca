"""Replaying landscapes: every policy, under every scenario, with every seed, and the report of what came out."""
