"""Attention behind one signature, `attend(q, k, v, ...)`; a model takes the function and asks nothing else of it."""
