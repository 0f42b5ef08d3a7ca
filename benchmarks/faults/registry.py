"""Registry: all faults, in the order of the table. To import it is to have them all entered."""

from __future__ import annotations

import importlib

from benchmarks.faults.fault import FAULTS

for _module in ("of_servers", "of_agents", "of_control", "of_store", "of_sight", "of_traffic"):
    importlib.import_module(f"benchmarks.faults.{_module}")

__all__ = ["FAULTS"]
