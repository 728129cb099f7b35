"""What decides in which formats a result can be written: the header of its image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation

__all__ = ["ImageHeader"]


class ImageHeader(NamedTuple):
    """Format, geometry and source of an image, before or after it was segmented.

    Attributes
    ----------
    format, geometry, properties, source
        As of the scan.
    axes, shape
        Without channels.
    """

    format: str
    axes: str
    geometry: Geometry
    properties: Mapping[str, Any]
    source: Path | None
    shape: tuple[int, ...]

    @classmethod
    def of(cls, image: Scan | Segmentation) -> ImageHeader:
        """The header of a scan, or of the scan of a segmentation."""
        if isinstance(image, Scan):
            axes, shape = image.spatial_axes, image.spatial_shape
        else:
            axes, shape = image.axes, tuple(image.mask.shape)
        return cls(image.format, axes, image.geometry, image.properties, image.source, shape)
