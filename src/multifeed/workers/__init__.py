"""Ordered, bounded maps over threads. Knows nothing of data."""
