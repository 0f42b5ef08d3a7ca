"""Open-loop load: arrival processes, traces, gRPC and REST clients, honest latencies."""
