"""What readers may be called where they are compared; beside the comparison, which takes long to import."""

from __future__ import annotations

__all__ = ["RESERVED_NAMES"]

RESERVED_NAMES = ("consensus", "model")
"""What no reader may be called, since pairs have these names beside those of the readers."""
