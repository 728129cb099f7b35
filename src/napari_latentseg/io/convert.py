"""From any format that is read to any that is written: the same values in the same place, or a refusal."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.reorient import select_channel
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io.registry import format_for, read_scan_lazy
from napari_latentseg.utils.atomic import ensure_writable_folder

__all__ = ["convert", "write_scan"]

# A tenth of a micrometre, far below what a scanner resolves: a header of float32 numbers passes, and one
# that was rounded to print does not, however thick the slices are.
_EXACT_MM = 1e-4


def convert(
    source: Path | str, target: Path | str, *, series: int | None = None, channel: int | None = None
) -> tuple[str, ...]:
    """Read an image and write it in another format.

    Parameters
    ----------
    source
        What `read_scan` reads.
    target
        The file or folder to be; its ending says the format. A file of that name is replaced.
    series, channel
        Which of several images and channels, both counted from 1.

    Returns
    -------
    tuple of str
        What one should know: what was assumed in reading, what the new format cannot say.

    Raises
    ------
    BadInput
        Where it cannot be read, or the new format cannot say the geometry; nothing is written then.
    """
    target = Path(target)
    format_for(target)
    scan = read_scan_lazy(source, series=series)
    if channel is not None:
        scan = select_channel(scan, channel)
    return write_scan(scan, target)


def write_scan(scan: Scan, target: Path) -> tuple[str, ...]:
    """Write a scan, read its header again, and see that it lies where it lay.

    Parameters
    ----------
    scan
        In any geometry.
    target
        As for `convert`.

    Raises
    ------
    BadInput
        As `convert` does.
    """
    target_format = format_for(target)
    folder = ensure_writable_folder(target.absolute().parent)
    array: Any = scan.array if target_format.NAME == "omezarr" else np.asarray(scan.array)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        path = Path(temporary) / target.name
        try:
            target_format.write(path, array, scan.axes, scan.geometry, scan.properties)
            written_scan = read_scan_lazy(path)
        except BadInput as error:
            faulty_path = target if ".part-" in error.what else error.what
            raise BadInput(faulty_path, error.why, error.remedy) from error
        _check_same_geometry(target, scan, written_scan)
        notes = [*scan.notes]
        if scan.geometry.frame and not written_scan.geometry.frame:
            notes.append(
                f"{target_format.NAME} does not say that this place is the patient's, only where it is"
            )
        del written_scan  # which may hold the file open
        for written_path in sorted(Path(temporary).iterdir(), key=lambda p: p == path):
            final_path = folder / written_path.name
            if final_path.is_dir():
                raise BadInput(target, "is there already", "choose another name")
            written_path.replace(final_path)
    return tuple(notes)


def _check_same_geometry(target: Path, scan: Scan, written_scan: Scan) -> None:
    """Refuse a file that lies elsewhere than its scan; an axis of length one may be lost."""
    names = scan.geometry.axis_labels
    shared_axes = [n for n in names if n in written_scan.geometry.axis_labels]
    lost_axis = any(n not in shared_axes and scan.spatial_shape[names.index(n)] > 1 for n in names)
    shape = tuple(scan.spatial_shape[names.index(n)] for n in shared_axes)
    written = _along(written_scan.geometry, shared_axes)
    # A format that cannot name the frame is told about in a note, and one that has to name a unit gets the
    # numbers as they are.
    given = _along(scan.geometry, shared_axes, written.frame)
    units = tuple(w if g == "pixel" else g for g, w in zip(given.units, written.units, strict=True))
    given = replace(given, units=units)
    if lost_axis or not given.agrees_with(written, shape, atol=_EXACT_MM):
        raise BadInput(target, "would not lie where the image does", "choose a format that can say its place")


def _along(geometry: Geometry, names: list[str], frame: str | None = None) -> Geometry:
    """A geometry along the axes of these names alone; the others have a single element, at index 0."""
    places = [geometry.axis_labels.index(n) for n in names]
    rows = [*places, geometry.ndim]
    return Geometry.from_matrix(
        geometry.matrix[np.ix_(rows, rows)],
        tuple(geometry.units[i] for i in places),
        tuple(names),
        geometry.frame if frame is None else frame,
    )
