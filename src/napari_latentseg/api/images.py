"""The image that a function of the API is given: a file, a scan, an array, an image of another library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import number, shown, whole_number

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan

__all__ = ["ImageLike", "open_image", "spacing_numbers"]

ImageLike = Any
"""What `segment` takes, see `napari_latentseg.io.memory_images.as_scan`; the libraries may be missing."""


def open_image(
    image: ImageLike,
    *,
    series: int | None = None,
    channel: int | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: str | None = None,
) -> Scan:
    """Make a scan of an image, with the channel and the spacing that were asked for.

    Parameters
    ----------
    image, series, channel, spacing, axes
        As for `napari_latentseg.segment`.

    Raises
    ------
    BadInput
        If it is not an image, cannot be read, or an argument does not fit it.
    """
    from napari_latentseg.core.given_spacing import give_spacing
    from napari_latentseg.core.reorient import select_channel
    from napari_latentseg.io.memory_images import as_scan

    chosen_channel = None if channel is None else whole_number("channel", channel)
    chosen_series = None if series is None else whole_number("series", series)
    steps = None if spacing is None else spacing_numbers(spacing)
    scan = as_scan(image, axes=axes, series=chosen_series)
    if chosen_channel is not None:
        scan = select_channel(scan, chosen_channel)
    return scan if steps is None else give_spacing(scan, steps)


def spacing_numbers(spacing: Any) -> list[float]:
    """The spacing that was given, one number or one for each axis.

    Raises
    ------
    BadInput
        If it is not a number.
    """
    if isinstance(spacing, str):
        raise BadInput("spacing", f"{shown(spacing)} is text", "write numbers: 0.2, or (5, 0.2, 0.2)")
    is_single = not isinstance(spacing, Iterable) or getattr(spacing, "ndim", None) == 0
    return [number("spacing", value) for value in ([spacing] if is_single else spacing)]
