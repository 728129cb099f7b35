"""Whether an image is the one that a result was made from."""

from __future__ import annotations

from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.reorient import reorient
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

__all__ = ["check_same_image"]


def check_same_image(scan: Scan, record: RunRecord) -> None:
    """Refuse an image that is not the one of a result, which may be another patient's.

    The values are compared by their hash, as the run identified them: along its slices, and within its crop
    box. The name of the file does not count.

    Parameters
    ----------
    scan
        The image, with the channel that was segmented; it may be lazy, and is read part by part.
    record
        The record of the run.

    Raises
    ------
    BadInput
        If it is another image, or a copy with other values or another data type.
    """
    reoriented, _ = reorient(scan, record.plane)
    *_, sha256 = reoriented.iter_sha256(record.box)
    if sha256 != record.input.sha256:
        raise BadInput(
            scan.name,
            "is not the image that was segmented",
            "give that one, unchanged, with the same channel",
        )
