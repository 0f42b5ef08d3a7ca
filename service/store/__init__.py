"""What is remembered: observations, decisions, incumbents, in SQLite or PostgreSQL."""

from service.store.records import StoredObservation, StoredState
from service.store.store import Store

__all__ = ["Store", "StoredObservation", "StoredState"]
