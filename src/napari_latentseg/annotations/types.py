"""What a store tells of itself: plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.records import Approval, ModelVersion
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan

__all__ = ["AnnotatedScan", "ApprovalEntry", "Case"]


@dataclass(frozen=True)
class ApprovalEntry:
    """One approval.

    Attributes
    ----------
    id
        Its line in the journal.
    case
        The image's name in the store.
    planes
        The approved ones, numbered as `Planes` does.
    model
        What the mask began from; None where a person drew all of it.
    edited
        Whether a person changed it.
    time
        UTC.
    revoked
        Whether it was taken back.
    """

    id: int
    case: str
    planes: tuple[int, ...]
    model: ModelVersion | None
    edited: bool
    time: str
    revoked: bool = False

    @classmethod
    def from_record(cls, number: int, approval: Approval, *, revoked: bool = False) -> ApprovalEntry:
        """Of a line of the journal."""
        record = approval
        return cls(
            number, record.case, record.plane_numbers, record.model, record.edited, record.time, revoked
        )


@dataclass(frozen=True)
class Case:
    """An image of the store.

    Attributes
    ----------
    name
        In the store; made from a hash.
    content_hash
        `Scan.content_sha256` of the image.
    approved_planes
        The approved ones.
    """

    name: str
    content_hash: str
    axes: str
    shape: tuple[int, ...]
    modality: str
    geometry: Geometry
    approved_planes: tuple[int, ...]


@dataclass(frozen=True)
class AnnotatedScan:
    """An image with the newest of what was approved of it.

    Attributes
    ----------
    case, content_hash
        As in `Case`.
    scan
        In memory.
    mask
        uint8, in the scan's spatial shape; 0 in planes that are not approved, which say nothing.
    approved_planes
        The approved ones.
    classes
        Of the store.
    """

    case: str
    content_hash: str
    scan: Scan
    mask: NDArray[np.uint8]
    approved_planes: tuple[int, ...]
    classes: tuple[ClassInfo, ...]
