"""A run as a batch job of Slurm: its script, its frozen config, its submission, its end."""
