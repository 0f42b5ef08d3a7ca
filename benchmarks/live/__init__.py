"""Policies against one another on a live server, each for the same time: `regulus bench live`."""
