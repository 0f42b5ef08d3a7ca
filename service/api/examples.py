"""Examples for the OpenAPI document: one coherent moment of one model. Tests check each against its schema."""

from __future__ import annotations

from typing import Any

MODEL = "mobilenet_v2"

SLO: dict[str, Any] = {"bound_seconds": 0.05, "percentile": 0.99, "target_ratio": 0.99}

MODE: dict[str, Any] = {"mode": "recommend"}

KILL_SWITCH: dict[str, Any] = {"on": True}

WORKLOAD: dict[str, Any] = {"rate_per_second": 120.0, "cv": 1.0, "examples_per_request": 1.0}

INTERVAL: dict[str, Any] = {"low": 0.0221, "value": 0.0264, "high": 0.0312}

CONFIG: dict[str, Any] = {
    "enable_batching": True,
    "max_batch_size": 16,
    "batch_timeout_micros": 1000,
    "num_batch_threads": 2,
    "max_enqueued_batches": 64,
    "allowed_batch_sizes": [],
    "tensorflow_inter_op_parallelism": 1,
    "tensorflow_intra_op_parallelism": 2,
    "instances": 1,
}

DEFAULT_CONFIG: dict[str, Any] = {
    "enable_batching": False,
    "max_batch_size": 1000,
    "batch_timeout_micros": 0,
    "num_batch_threads": 1,
    "max_enqueued_batches": 10,
    "allowed_batch_sizes": [],
    "tensorflow_inter_op_parallelism": 0,
    "tensorflow_intra_op_parallelism": 0,
    "instances": 1,
}

CHANGES: dict[str, Any] = {
    "enable_batching": {"before": False, "after": True},
    "max_batch_size": {"before": 1000, "after": 16},
    "batch_timeout_micros": {"before": 0, "after": 1000},
    "num_batch_threads": {"before": 1, "after": 2},
    "max_enqueued_batches": {"before": 10, "after": 64},
    "tensorflow_inter_op_parallelism": {"before": 0, "after": 1},
    "tensorflow_intra_op_parallelism": {"before": 0, "after": 2},
}

CONFIG_STATE: dict[str, Any] = {
    "config": CONFIG,
    "generation": 4,
    "in_force_since": 1767225600.0,
    "phase": "serving",
    "last_known_good": CONFIG,
}

WHAT_IF: dict[str, Any] = {"workload": {"rate_per_second": 240.0, "cv": 1.5, "examples_per_request": 1.0}, "slo": SLO}

RANGE: dict[str, Any] = {"low": 8, "high": 32}

RECOMMENDATION: dict[str, Any] = {
    "config": CONFIG,
    "intent": "exploit",
    "explanation": "Measured 6 times near this load; its p99 of 26 ms is the lowest of those that meet the objective.",
    "workload": WORKLOAD,
    "slo": SLO,
    "predicted_tail": INTERVAL,
    "confidence": 0.82,
    "acceptable": {"max_batch_size": RANGE, "batch_timeout_micros": {"low": 500, "high": 2000}},
    "in_force": DEFAULT_CONFIG,
    "changes": CHANGES,
}

DECISION: dict[str, Any] = {
    "id": 118,
    "decided_at": 1767225600.0,
    "model": MODEL,
    "mode": "auto",
    "action": "apply",
    "reason": "slo_violated",
    "explanation": "p99 was 84 ms (71 to 96) against 50 ms; batches of up to 16 are predicted to give 26 ms.",
    "config_before": DEFAULT_CONFIG,
    "config_after": CONFIG,
    "changes": CHANGES,
    "generation": 4,
    "recommendation": {name: value for name, value in RECOMMENDATION.items() if name not in ("in_force", "changes")},
    "inputs": {
        "window": "p99 84 ms (71…96) against 50 ms at 120 requests/s",
        "verdict": "violated",
        "gates": {"mode_allows_choosing": "open", "worth_a_switch": "open"},
    },
}

WINDOW: dict[str, Any] = {
    "started_at": 1767225605.0,
    "duration_seconds": 5.0,
    "quality": "good",
    "workload": WORKLOAD,
    "succeeded": 600,
    "rejected": 0,
    "failed": 0,
    "throughput_per_second": 120.0,
    "p50_seconds": 0.0131,
    "tail": INTERVAL,
    "violation_ratio": 0.0,
    "mean_batch_size": 3.4,
    "mean_queueing_seconds": 0.0011,
}

OBSERVATION: dict[str, Any] = {
    "id": 502,
    "observed_at": 1767225610.0,
    "model": MODEL,
    "config": CONFIG,
    "window": WINDOW,
}

SUPPORT: dict[str, Any] = {"bounds": {"max_batch_size": [1, 1024]}, "cpus": 4.0, "memory_bytes": 8589934592}

ERROR_BUDGET: dict[str, Any] = {
    "remaining_ratio": 0.91,
    "burn": "healthy",
    "rates": {"5m": 0.0, "1h": 0.4, "30m": 0.1, "6h": 0.7},
    "known_seconds": 86400.0,
}

QUARANTINE: dict[str, Any] = {
    "config": CONFIG | {"instances": 4},
    "until": 1767226500.0,
    "reason": "apply_failed",
    "explanation": "it was not ready in time",
}

LEDGER_ENTRY: dict[str, Any] = {
    "decision_id": 118,
    "decided_at": 1767225600.0,
    "reason": "slo_violated",
    "kept": DEFAULT_CONFIG,
    "changes": CHANGES,
    "predicted_tail": INTERVAL,
    "windows": 12,
    "violated": 11,
    "measured_tail": 0.084,
    "predicted_gain": 0.69,
}

LEDGER: dict[str, Any] = {
    "slo": SLO,
    "windows": 12,
    "violated": 11,
    "avoidable": 11,
    "predicted_gain": 0.69,
    "entries": [LEDGER_ENTRY],
}

STATUS: dict[str, Any] = {
    "name": MODEL,
    "mode": "auto",
    "slo": SLO,
    "verdict": "met",
    "problem": None,
    "config": CONFIG,
    "generation": 4,
    "in_force_since": 1767225600.0,
    "phase": "serving",
    "last_known_good": CONFIG,
    "verifying": False,
    "workload": WORKLOAD,
    "window": WINDOW,
    "judged": WINDOW,
    "recommendation": {name: value for name, value in RECOMMENDATION.items() if name not in ("in_force", "changes")},
    "last_decision": DECISION,
    "hold_reason": "incumbent_best",
    "hold_explanation": "The configuration in force is the best one known for this load.",
    "agent_reachable": True,
    "metrics_age_seconds": 0.3,
    "observations": 41,
    "switches_left": 57,
    "spike_seconds": 1.5,
    "spike_seconds_allowed": 120.0,
    "error_budget": ERROR_BUDGET,
    "frozen_seconds": 0.0,
    "kill_switch": False,
    "maintenance": None,
    "learning": None,
    "quarantine": [QUARANTINE],
    "support": SUPPORT,
    "knobs": {"max_batch_size": [0, 2, 4, 8, 16, 32, 64, 128], "instances": [1, 2, 4]},
    "server_kind": "regulus-embedded",
    "server_version": "0.1.0",
}
