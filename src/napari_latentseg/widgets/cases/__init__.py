"""The Cases widget."""
