"""Images and reference masks at the size that a paper scores at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.resize import resize, resize_labels
from napari_latentseg.evaluation.protocols import Protocol
from napari_latentseg.models.card import ModelCard

__all__ = ["at_size", "protocol_size"]


def protocol_size(protocol: Protocol, card: ModelCard) -> int | None:
    """Side of the squares that a protocol scores, in pixels; None where it scores files as they are.

    Parameters
    ----------
    protocol
        Which one.
    card
        Of the model, whose working size counts where the protocol says ``"model"``.
    """
    if protocol.size == "file":
        return None
    if protocol.size == "model":
        return card.preprocess.size if card.preprocess.mode == "whole" else None
    return protocol.size


def at_size(
    scan: Scan, reference: NDArray[np.uint8], size: int, window: tuple[float, float] | None = None
) -> tuple[Scan, NDArray[np.uint8]]:
    """A scan and its reference mask, with every slice brought to a square.

    A model that works at that size sees the image as in training: normalised by its window or by the range of
    the whole scan, resized (bilinear, antialiased), and rounded to 8 bits. The mask is resized by nearest
    neighbour.

    Parameters
    ----------
    scan
        Any scan that a model takes.
    reference
        Class numbers `(N, H, W)`, slice by slice.
    size
        Side of the square, in pixels.
    window
        The intensity window of the model, see `Preprocess.window`; the values stay in its unit.

    Raises
    ------
    BadInput
        If the scan has no finite value, the window leaves nothing of it, or it has another number of channels
        than 1, 3 or 4.
    """
    planes = Planes.from_scan(scan, window)
    shape = (size, size)
    whole = slice(None)
    channels = [
        resize(np.round(planes.read_channels(i, whole, whole) * np.float32(255)), shape)
        for i in range(len(planes))
    ]
    pixels: NDArray[Any] = np.stack(channels).round().clip(0, 255)  # (N, C, size, size)
    if window is None:
        pixels = pixels.astype(np.uint8)
    else:  # the model applies its window once more
        low, high = window
        pixels = (low + pixels * ((high - low) / 255)).astype(np.float32)
    spatial_axes, leading = scan.spatial_axes, scan.spatial_shape[:-2]
    if planes.channel_count == 1:
        array, axes = pixels[:, 0].reshape(*leading, *shape), spatial_axes
    else:
        array = pixels.transpose(0, 2, 3, 1).reshape(*leading, *shape, planes.channel_count)
        axes = spatial_axes + CHANNEL
    matrix = scan.geometry.matrix
    for column, length in zip((-3, -2), planes.plane_shape, strict=True):
        matrix[:-1, column] *= length / size
    geometry = Geometry.from_matrix(
        matrix, scan.geometry.units, scan.geometry.axis_labels, scan.geometry.frame
    )
    resized = Scan(array, axes, geometry, modality=scan.modality, source=scan.source)
    return resized, np.stack([resize_labels(mask, shape) for mask in reference])
