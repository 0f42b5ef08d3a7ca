"""The loop: observe, judge, decide, apply, verify; modes and guardrails."""
