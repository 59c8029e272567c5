"""Refuses a wrong config before any data is read."""
