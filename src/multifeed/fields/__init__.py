"""Fields: one file for each kind of input or target."""
