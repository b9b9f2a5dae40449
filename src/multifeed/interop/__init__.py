"""The neighbours: one file for each library that batches go to, or samples come from."""
