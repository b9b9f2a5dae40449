"""`check`: all of a dataset read once before it is trained on, and what is wrong or odd in it."""
