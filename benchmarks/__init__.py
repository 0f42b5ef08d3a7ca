"""Measurements that can be repeated: how fast the embedded server is, and what a switch costs its clients."""
