"""Measurements that can be repeated: how fast the embedded server is, and what a switch costs its clients."""

import os

# Processes are started while gRPC's threads run. They begin anew and need none of its state, and its handlers of forks
# have crashed one before it began. gRPC reads this when it is imported, so it stands here.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
