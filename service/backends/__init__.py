"""Where a configuration goes: the Backend protocol and its adapters."""
