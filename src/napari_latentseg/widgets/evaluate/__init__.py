"""Evaluate a model on annotated images: the command `evaluate` in a child process, and its figures."""
