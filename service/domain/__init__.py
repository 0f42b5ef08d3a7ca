"""The words all of Regulus speaks: configurations, objectives, workloads, windows, decisions.

Pure values without I/O. Nothing here imports anything else of Regulus.
"""
