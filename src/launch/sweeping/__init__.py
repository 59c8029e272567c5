"""Runs a sweep: composes, checks and freezes its jobs, starts them where there is room, keeps the record."""
