"""What happens around the steps: checkpoints, console lines, seeds."""
