"""Scans as files of an nnU-Net raw data set, and back: a NIfTI file for each time point and channel."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.records import CaseRecord, GeometryRecord, utc_now
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.errors import BadInput
from napari_latentseg.io import nifti
from napari_latentseg.utils.weights import file_sha256

__all__ = ["NIFTI_SUFFIX", "PlaneLayout", "new_case_record", "read_scan", "write_case", "write_volume"]

NIFTI_SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class PlaneLayout:
    """How the slices of an image are grouped into volumes (or single slices), one for each time point.

    Parameters
    ----------
    axes
        Of the image, without channels, such as ``"tzyx"``.
    shape
        Of these axes.
    """

    axes: str
    shape: tuple[int, ...]

    @property
    def time_axis(self) -> int | None:
        """The index of the time axis; None for an image without one."""
        return self.axes.index("t") if "t" in self.axes else None

    @property
    def timepoints(self) -> list[int | None]:
        """The number of every time point; `[None]` for an image without a time axis."""
        axis = self.time_axis
        return [None] if axis is None else list(range(self.shape[axis]))

    @property
    def plane_count(self) -> int:
        """How many slices there are, of all time points."""
        return math.prod(self.shape[:-2])

    @property
    def volume_axes(self) -> str:
        """The axes of the volume of one time point: `zyx` or `yx`."""
        return self.axes.replace("t", "")

    def locate(self, plane_number: int) -> tuple[int | None, int]:
        """The time point of a slice, and its number in the volume of that time point."""
        if "t" not in self.axes:
            return None, plane_number
        index = dict(
            zip(self.axes[:-2], np.unravel_index(plane_number, self.shape[:-2] or (1,)), strict=False)
        )
        return int(index["t"]), int(index.get("z", 0))

    def timepoint_volume(self, array: Any, time: int | None) -> Any:
        """The part of an array that belongs to one time point; a view."""
        if time is None:
            return array
        index: list[Any] = [slice(None)] * array.ndim
        index[self.axes.index("t")] = time
        return array[tuple(index)]

    def timepoint_name(self, case: str, time: int | None) -> str:
        """How the names of the files of one time point begin."""
        return case if time is None else f"{case}-t{time:03d}"

    def timepoint_geometry(self, geometry: Geometry, time: int | None, first_plane: int = 0) -> Geometry:
        """The geometry of the volume of one time point, from slice `first_plane` on, in units that NIfTI has.

        An image without a physical size is stored as though a pixel were a millimetre, as nnU-Net reads it;
        its true geometry is in the journal.
        """
        matrix = geometry.matrix
        kept_axes = [i for i, a in enumerate(self.axes) if a != "t"]
        if time is not None:
            matrix[:-1, -1] += matrix[:-1, self.axes.index("t")] * time
        if "z" in self.axes:
            matrix[:-1, -1] += matrix[:-1, self.axes.index("z")] * first_plane
        units = [geometry.units[i] for i in kept_axes]
        if not set(units) <= MM_PER_UNIT.keys():
            units = ["mm"] * len(kept_axes)
        rows = [*kept_axes, len(self.axes)]
        labels = tuple(self.volume_axes)
        return Geometry.from_matrix(matrix[np.ix_(rows, rows)], tuple(units), labels, geometry.frame)


def new_case_record(scan: Scan, is_name_used: Callable[[str], bool]) -> CaseRecord:
    """The record of a new case, without its files.

    Parameters
    ----------
    scan
        The image to store.
    is_name_used
        Whether another case has a name.
    """
    geometry_record = GeometryRecord.from_geometry(scan.geometry)
    pixels = scan.content_sha256
    identity = json.dumps([pixels, scan.axes, geometry_record.model_dump(mode="json")])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    length = next(n for n in (8, 16, 32, 64) if n == 64 or not is_name_used(f"scan-{digest[:n]}"))
    return CaseRecord(
        name=f"scan-{digest[:length]}",
        pixels=pixels,
        axes=scan.axes,
        shape=tuple(scan.array.shape),
        dtype=scan.array.dtype.str,
        place=geometry_record,
        modality=scan.modality,
        files={},
        time=utc_now(),
    )


def write_case(scan: Scan, record: CaseRecord, temporary: Callable[[str], Path]) -> dict[str, Path]:
    """Write a scan: a file for each time point and channel.

    Parameters
    ----------
    scan, record
        The image, and its record with the name.
    temporary
        Gives a path for a file with a suffix.

    Returns
    -------
    dict
        The path of each file by the name that it is to have.

    Raises
    ------
    BadInput
        If the values cannot be stored exactly, or a file cannot be written.
    """
    layout = PlaneLayout(record.spatial_axes, record.spatial_shape)
    files_by_name = {}
    for time in layout.timepoints:
        geometry = layout.timepoint_geometry(scan.geometry, time)
        volume = layout.timepoint_volume(scan.array, time)
        for channel in range(record.channels):
            channel_volume = volume[..., channel] if record.axes.endswith(CHANNEL) else volume
            path = temporary(NIFTI_SUFFIX)
            write_volume(path, np.asarray(channel_volume), geometry, dict(scan.properties), scan.name)
            files_by_name[f"{layout.timepoint_name(record.name, time)}_{channel:04d}{NIFTI_SUFFIX}"] = path
    return files_by_name


def write_volume(
    path: Path, array: NDArray[Any], geometry: Geometry, properties: dict[str, Any], name: str
) -> str:
    """Write one NIfTI file.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    BadInput
        If NIfTI cannot hold the values or the geometry exactly (names `name`), or a file cannot be written.
    """
    try:
        nifti.write(path, array, "".join(geometry.axis_labels), geometry, properties)
    except BadInput as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise BadInput(name, f"cannot be kept: it {error.why}", error.remedy) from error
    return file_sha256(path)


def read_scan(record: CaseRecord, find_file: Callable[[str], Path]) -> Scan:
    """A scan as it was when it was stored: its values, dtype and geometry.

    Parameters
    ----------
    record
        Of the case.
    find_file
        Gives the path of a file by its name.

    Raises
    ------
    BadInput
        If a file is missing or damaged.
    """
    layout = PlaneLayout(record.spatial_axes, record.spatial_shape)
    array = np.empty(record.shape, np.dtype(record.dtype))
    for time in layout.timepoints:
        volume = layout.timepoint_volume(array, time)
        for channel in range(record.channels):
            name = f"{layout.timepoint_name(record.name, time)}_{channel:04d}{NIFTI_SUFFIX}"
            path = find_file(name)
            channel_volume = volume[..., channel] if record.axes.endswith(CHANNEL) else volume
            values = np.asarray(nifti.read(path).array)
            if values.size != channel_volume.size:
                raise BadInput(path, "is not the image that was stored", "see annotations verify")
            channel_volume[...] = values.reshape(channel_volume.shape).astype(array.dtype, copy=False)
    return Scan(array, record.axes, record.place.geometry, modality=record.modality, format=nifti.NAME)
