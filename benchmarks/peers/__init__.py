"""Other Python model servers with the same model behind them, each run by an interpreter that has it installed.

All call the embedded server's own session, answer the same two paths as its REST API does, so that the very same client
measures them, and gather batches of up to 32 without waiting where they can be told so.
"""
