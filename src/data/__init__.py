"""Reads reviews, splits them, learns the vocabulary and hands out batches."""
