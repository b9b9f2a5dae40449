"""Augmentation: random transforms of base images, arrays and numbers; one file per kind."""
