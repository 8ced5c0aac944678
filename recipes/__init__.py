"""Whole experiments: a folder for each corpus, and what they share in ``experiment``."""
