"""Image formats, one module each: read a file as a `Scan`, write an array in the geometry of a scan."""

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
