"""Faults: what becomes of requests, decisions and the loop when parts of the real system die, hang, fill up or lie."""
