"""Segment a folder: the command `batch` in a child process, and the table of its cases."""
