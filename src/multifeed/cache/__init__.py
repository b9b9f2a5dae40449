"""Base images and decoded samples on disk, as Arrow IPC shards."""
