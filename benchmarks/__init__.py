"""Measurements of the whole at full size."""
