"""The Annotate widget."""
