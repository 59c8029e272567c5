"""Learning-rate multipliers as functions of the optimizer step."""
