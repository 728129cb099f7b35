"""One file a format: each reads a Scan, and writes arrays in a scan's geometry."""

from __future__ import annotations

from napari_latentseg.io.registry import (
    FORMATS,
    Format,
    format_for,
    read_scan,
    read_scan_lazy,
    readable_suffixes,
    stem_of,
)

__all__ = ["FORMATS", "Format", "format_for", "read_scan", "read_scan_lazy", "readable_suffixes", "stem_of"]
