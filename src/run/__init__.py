"""The run folder: status, environment, checkpoints, ledger."""
