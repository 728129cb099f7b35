"""Convert an image to another format with the same values at the same positions, or refuse."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.given_spacing import give_spacing
from napari_latentseg.core.reorient import select_channel
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io.commit_files import remove_abandoned
from napari_latentseg.io.registry import format_for, read_scan_lazy
from napari_latentseg.io.result_format import write_small_array
from napari_latentseg.utils.atomic import ensure_writable_folder

__all__ = ["convert", "write_scan"]

# A tenth of a micrometre, far below what a scanner resolves: float32 headers pass, headers rounded for
# printing do not, whatever the slice thickness.
_EXACT_MM = 1e-4
_NRRD_UNIT_NOTE = (
    "ITK programs (3D Slicer, ITK-SNAP) ignore the unit of length of an NRRD file, and take it as millimetres"
)


def convert(
    source: Path | str,
    target: Path | str,
    *,
    series: int | None = None,
    channel: int | None = None,
    spacing: Sequence[float] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Read an image and write it in another format.

    Parameters
    ----------
    source
        A file or folder that `read_scan` reads.
    target
        The file or folder to write; its suffix determines the format.
    series, channel
        Which of several images and channels, counted from 1.
    spacing
        In mm, for an image whose file states none; see `napari_latentseg.core.given_spacing.give_spacing`.
    overwrite
        Replace files that already exist.

    Returns
    -------
    tuple of str
        Notes for the user: what was assumed in reading, what the new format cannot hold.

    Raises
    ------
    BadInput
        If it cannot be read, something is there that must not be replaced, or the new format cannot hold the
        geometry; nothing is written then.
    """
    target = Path(target)
    format_for(target)
    scan = read_scan_lazy(source, series=series)
    if os.path.lexists(target) and not overwrite:  # also a link that leads nowhere
        raise _exists(target)
    if channel is not None:
        scan = select_channel(scan, channel)
    if spacing is not None:
        scan = give_spacing(scan, spacing)
    return write_scan(scan, target, overwrite=overwrite)


def _exists(path: Path) -> BadInput:
    return BadInput(path, "already exists", "choose another name, or replace it (--overwrite)")


def write_scan(scan: Scan, target: Path, *, overwrite: bool = True) -> tuple[str, ...]:
    """Write a scan, and verify the geometry by reading the header of the new file.

    Parameters
    ----------
    scan
        The scan.
    target
        As for `convert`.
    overwrite
        Replace files that already exist.

    Returns
    -------
    tuple of str
        Notes, as for `convert`.

    Raises
    ------
    BadInput
        As `convert`.
    """
    target_format = format_for(target)
    try:  # before the values are read, which may take minutes
        write_small_array(
            target.name, scan.axes, scan.array.shape, scan.array.dtype, scan.geometry, scan.properties
        )
    except BadInput as error:
        raise BadInput(target, error.why, error.remedy) from error
    folder = ensure_writable_folder(target.absolute().parent)
    remove_abandoned(folder)
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
                f"{target_format.NAME} keeps the positions, but cannot say that they are patient coordinates"
            )
        if target_format.NAME == "nrrd" and not {"mm", "pixel"} >= set(_length_units(written_scan.geometry)):
            notes.append(_NRRD_UNIT_NOTE)
        del written_scan  # a lazy array may keep the file open
        written_paths = sorted(Path(temporary).iterdir(), key=lambda p: p == path)
        for written_path in written_paths:
            if os.path.lexists(folder / written_path.name) and not overwrite:  # also that of the values alone
                raise _exists(folder / written_path.name)
        for written_path in written_paths:
            final_path = folder / written_path.name
            if final_path.is_dir():
                raise BadInput(target, "already exists", "choose another name")
            written_path.replace(final_path)
    return tuple(notes)


def _length_units(geometry: Geometry) -> list[str]:
    return [unit for label, unit in zip(geometry.axis_labels, geometry.units, strict=True) if label != "t"]


def _check_same_geometry(target: Path, scan: Scan, written_scan: Scan) -> None:
    """Refuse a file with another geometry than the scan; axes of length one may be missing."""
    names = scan.geometry.axis_labels
    shared_axes = [n for n in names if n in written_scan.geometry.axis_labels]
    lost_axis = any(n not in shared_axes and scan.spatial_shape[names.index(n)] > 1 for n in names)
    shape = tuple(scan.spatial_shape[names.index(n)] for n in shared_axes)
    written = _restrict(written_scan.geometry, shared_axes)
    # A format that cannot name the frame is no error (there is a note), and in a format that needs a unit of
    # length, pixels are written as that unit.
    given = _restrict(scan.geometry, shared_axes, written.frame)
    units = tuple(w if g == "pixel" else g for g, w in zip(given.units, written.units, strict=True))
    given = replace(given, units=units)
    if lost_axis or not given.agrees_with(written, shape, atol=_EXACT_MM):
        raise BadInput(
            target, "would not have the geometry of the image", "choose another format, NRRD for example"
        )


def _restrict(geometry: Geometry, names: list[str], frame: str | None = None) -> Geometry:
    """The geometry of some of the axes; the others must have length one."""
    axes = [geometry.axis_labels.index(n) for n in names]
    rows = [*axes, geometry.ndim]
    return Geometry.from_matrix(
        geometry.matrix[np.ix_(rows, rows)],
        tuple(geometry.units[i] for i in axes),
        tuple(names),
        geometry.frame if frame is None else frame,
    )
