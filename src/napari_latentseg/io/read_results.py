"""Read back what `write_results` wrote: mask, mean, variance, agreement and run record of a segmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io.commit_files import interrupted_records, is_interrupted
from napari_latentseg.io.earlier_results import read_record
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.registry import read_scan_lazy, readable_suffixes
from napari_latentseg.io.result_names import AGREEMENT_NAME, RECORD_NAME, class_suffixes

__all__ = ["case_of_result", "read_segmentation", "sibling_record"]

_MAX_UINT16 = 65535  # stands for probability 1 in a PNG; see `photo.write`
_MAX_IN_MEMORY_BYTES = 2**31  # 2 GiB of maps, which a machine that runs napari has to spare


def read_segmentation(path: Path | str, *, edited: bool = False) -> Segmentation:
    """Read a result that was written with its run record.

    Parameters
    ----------
    path
        The folder of the result, if it holds one only; else the `..._run.json`, the mask or the mean.
    edited
        Whether the mask may have been changed since, in another program. Its record then says so.

    Returns
    -------
    Segmentation
        As it was written, without `source` and `sample_maps`: the file name of the scan is not recorded, and
        of the samples only the areas or volumes are, and their agreement where it was written.

    Raises
    ------
    BadInput
        If there is no run record, a file is missing, was changed after the run or does not fit the others, or
        the result is DICOM-SEG.

    Examples
    --------
    >>> from napari_latentseg import segment, read_segmentation, write_result
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3)
    >>> written = write_result(result, "results", case="phantom-1")
    >>> bool((read_segmentation("results").mask == result.mask).all())
    True
    """
    files = _ResultFiles.find(Path(path))
    record = files.record
    mask_path = files.path("mask")
    is_edited = files.is_changed(mask_path)
    if is_edited and not edited:
        raise BadInput(
            mask_path,
            "was changed after the run that wrote it",
            "if you edited it, add --edited; if not, write the result again",
        )
    mask, means = read_scan_lazy(mask_path), files.maps("mean")
    variances, agreements = (files.maps_if_written(name) for name in ("variance", AGREEMENT_NAME))
    axes = record.input.axes.removesuffix(CHANNEL)
    template = means[0]
    shape = _restore_shape(template, axes, record)
    for file_scan in (mask, *means):
        if file_scan.spatial_shape != template.spatial_shape or file_scan.axes != file_scan.spatial_axes:
            raise BadInput(file_scan.name, "does not have the shape of the mean", "write the result again")
    mask_array = np.asarray(mask.array).reshape(shape)
    if is_edited:
        _check_labels(mask_path, mask_array, record)
        record = record.replace(mask_edited=True, mask_state="corrected", approved_slices=())
    # sizes are set beside the volumes of the samples, and not every format keeps the unit of the scan:
    # MetaImage has millimetres alone, NIfTI no centimetres
    unit = record.volume_unit.rstrip("23")
    return Segmentation(
        mask=mask_array.astype(np.uint8, copy=False),
        mean=_stack_classes(means, shape),
        variance=_stack_classes(variances, shape) if variances else None,
        volumes=_sample_volumes(record),
        axes=axes,
        geometry=_restore_geometry(template, axes, shape, record).in_one_unit(unit),
        format=record.input.format,
        properties={},
        classes=record.classes,
        record=record,
        written_agreement=np.stack([_in_shape(each, shape) for each in agreements]) if agreements else None,
    )


def _check_labels(mask_path: Path, labels: NDArray[Any], record: RunRecord) -> None:
    """Refuse a mask that a person edited to labels of no class."""
    known = [0, *(info.label for info in (*record.classes, *record.added_classes))]
    if not np.isin(np.unique(labels), known).all():
        raise BadInput(mask_path, "holds labels that are not classes of the model", "paint with its classes")


def case_of_result(path: Path | str) -> str:
    """What a result is called in a table of cases: its case code, else the start of its file names.

    Parameters
    ----------
    path
        The folder of the result, its record, its mask or its mean.

    Raises
    ------
    BadInput
        If there is no result, or its record cannot be read.
    """
    files = _ResultFiles.find(Path(path))
    return files.record.case or files.prefix.removesuffix("_") or "result"


def sibling_record(path: Path, *, edited: bool = False) -> RunRecord | None:
    """The run record in the folder of a mask or mean that a run wrote; None if there is none.

    Parameters
    ----------
    path
        The mask or mean.
    edited
        Whether it may have been changed since, in another program.

    Returns
    -------
    RunRecord or None
        None also where the record is there, but of other files: it says nothing of this one.

    Raises
    ------
    BadInput
        If there is one that cannot be read, the file was changed after the run, or the program was killed
        while it wrote the result.
    """
    path = Path(path)
    record_path = _record_beside(path)
    if record_path is None:
        return None
    _check_complete(record_path)
    files = _ResultFiles(record_path, read_record(record_path))
    if not files.owns(path):
        return None
    if files.is_changed(path) and not edited:
        raise BadInput(
            path,
            "was changed after the run that wrote it",
            "if you edited it, add --edited, or name a --model",
        )
    return files.record


@dataclass(frozen=True)
class _ResultFiles:
    """The files of one result, as its record names them; all of the same stem in records of version 0.1.0."""

    record_path: Path
    record: RunRecord

    @classmethod
    def find(cls, path: Path) -> _ResultFiles:
        """The result in a folder, or that of a record, mask or mean."""
        record_path = _find_record(path)
        _check_complete(record_path)
        files = cls(record_path, read_record(record_path))
        if path.is_dir() and not path.name.endswith(".zarr"):
            return files
        if path != record_path and not files.owns(path):
            raise BadInput(
                path, f"is none of the files that {record_path.name} names", "give the whole result"
            )
        return files

    @property
    def prefix(self) -> str:
        """The start of the names on disk."""
        return self.record_path.name.removesuffix(RECORD_NAME)

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes of the files, by name without the stem."""
        return self.record.files

    def owns(self, path: Path) -> bool:
        """Whether a file is one of those that the record names."""
        return not self.hashes or path.name.removeprefix(self.prefix) in self.hashes

    def is_changed(self, path: Path) -> bool:
        """Whether a file is no longer what the run wrote; False where the record does not tell."""
        sha256 = self.hashes.get(path.name.removeprefix(self.prefix))
        return sha256 is not None and path_sha256(path) != sha256

    def maps(self, kind: str) -> list[Scan]:
        """The means, variances or agreements of all classes, with the values left in their files.

        Raises
        ------
        BadInput
            As `path`, and if one was changed after the run.
        """
        suffixes = class_suffixes(self.record.classes)
        return [read_scan_lazy(self._unchanged_path(f"{kind}{suffix}")) for suffix in suffixes]

    def maps_if_written(self, kind: str) -> list[Scan]:
        """As `maps`; none unless the result has them for all classes."""
        suffixes = class_suffixes(self.record.classes)
        has_all = all(self._find(f"{kind}{suffix}") is not None for suffix in suffixes)
        return self.maps(kind) if has_all else []

    def path(self, kind: str) -> Path:
        """The file of a map.

        Raises
        ------
        BadInput
            If it is missing, or DICOM-SEG.
        """
        path = self._find(kind)
        if path is None or not path.exists():
            raise BadInput(self.record_path.parent, f"holds no {self.prefix}{kind}", "give a whole result")
        if path.suffix == ".dcm":
            raise BadInput(path, "is DICOM-SEG, which is not read back", "write the result as NIfTI too")
        return path

    def _unchanged_path(self, kind: str) -> Path:
        path = self.path(kind)
        if self.is_changed(path):
            raise BadInput(path, "was changed after the run that wrote it", "write the result again")
        return path

    def _find(self, kind: str) -> Path | None:
        folder = self.record_path.parent
        for suffix in readable_suffixes():
            path = folder / f"{self.prefix}{kind}{suffix}"
            if f"{kind}{suffix}" in self.hashes or (not self.hashes and path.exists()):
                return path
        return None


def _check_complete(record_path: Path) -> None:
    if is_interrupted(record_path.parent, record_path.name):
        raise BadInput(record_path, "was being written when the program ended", "write the result again")


def _has_record(record_path: Path) -> bool:
    """Whether there is a record, or will be once a write that was interrupted is finished."""
    return record_path.is_file() or is_interrupted(record_path.parent, record_path.name)


def _find_record(path: Path) -> Path:
    if path.name.endswith(RECORD_NAME) and _has_record(path):
        return path
    if path.is_dir() and not path.name.endswith(".zarr"):
        names = {*(p.name for p in path.glob(f"*{RECORD_NAME}")), *interrupted_records(path)}
        records = sorted(
            path / name for name in names if name == RECORD_NAME or name.endswith(f"_{RECORD_NAME}")
        )
        if len(records) == 1:
            return records[0]
        if records:
            raise BadInput(path, f"holds {len(records)} results", f"give the _{RECORD_NAME} of one of them")
        raise BadInput(path, f"holds no {RECORD_NAME}", "give the folder that a result was written into")
    if not path.exists():
        raise BadInput(path, "no such file or folder", "check the path")
    record = _record_beside(path)
    if record is None:
        raise BadInput(path, f"has no {RECORD_NAME} beside it", "give a result with the record of its run")
    return record


def _record_beside(path: Path) -> Path | None:
    """The run record in the folder of a mask or mean."""
    for kind in ("mask", "mean"):
        name_prefix, has_kind, _ = path.name.rpartition(kind)
        record = path.with_name(f"{name_prefix}{RECORD_NAME}")
        if has_kind and _has_record(record):
            return record
    return None


def _restore_shape(scan: Scan, axes: str, record: RunRecord) -> tuple[int, ...]:
    """The spatial shape with the axes of length one that some formats drop, without those that NIfTI adds."""
    file_shape = scan.spatial_shape
    if (shape := _shape_by_names(scan, axes, record)) is not None:
        return shape
    if len(file_shape) == len(axes):
        return file_shape
    recorded = record.input.shape[: len(axes)]
    remaining = list(file_shape)
    shape = tuple(
        1 if n == 1 and len(remaining) < len(axes) else remaining.pop(0)
        for n in recorded
        if remaining or n == 1
    )
    if len(shape) != len(axes) or int(np.prod(shape)) != int(np.prod(file_shape)):
        raise BadInput(
            scan.name, f"has shape {file_shape}, and its record {recorded}", "write the result again"
        )
    return shape


def _shape_by_names(scan: Scan, axes: str, record: RunRecord) -> tuple[int, ...] | None:
    """The shape along the axes of the record; None where it is not the file's but for axes of length one.

    NIfTI has no time without a third axis: the film of an ultrasound is stored as slices one thick.
    """
    lengths = dict(zip(scan.spatial_axes, scan.spatial_shape, strict=True))
    recorded = dict(zip(axes, record.input.shape, strict=False))
    added = [n for axis, n in lengths.items() if axis not in axes]
    dropped = [recorded.get(axis) for axis in axes if axis not in lengths]
    if any(n != 1 for n in (*added, *dropped)):
        return None
    return tuple(lengths.get(axis, 1) for axis in axes)


def _restore_geometry(scan: Scan, axes: str, shape: tuple[int, ...], record: RunRecord) -> Geometry:
    file_axes = scan.spatial_axes
    has_own_names = _shape_by_names(scan, axes, record) is not None
    if file_axes == axes or (len(file_axes) == len(axes) and not has_own_names):
        return scan.geometry
    if has_own_names:
        kept = [i for i, axis in enumerate(axes) if axis in file_axes]
        stored = [file_axes.index(axes[i]) for i in kept]
    else:
        kept = [i for i, (axis, n) in enumerate(zip(axes, shape, strict=True)) if n > 1 or axis in scan.axes]
        kept, stored = kept[-len(file_axes) :], list(range(len(file_axes)))
    matrix = np.diag([*record.input.spacing, 1.0])
    index, stored_index = [*kept, len(axes)], [*stored, len(file_axes)]
    matrix[np.ix_(index, index)] = scan.geometry.matrix[np.ix_(stored_index, stored_index)]
    units = list(record.input.units)
    for i, k in zip(kept, stored, strict=True):
        units[i] = scan.geometry.units[k]
    frame = scan.geometry.frame if len(stored) == len(file_axes) else ""
    return Geometry.from_matrix(matrix, tuple(units), tuple(axes), frame)


def _stack_classes(scans: list[Scan], shape: tuple[int, ...]) -> Any:
    """Stack the maps of the classes to `(K, *spatial)`, float32; a dask array if they are large."""
    arrays = [_in_shape(scan, shape) for scan in scans]
    if (
        all(isinstance(a, np.ndarray) for a in arrays)
        or sum(a.nbytes for a in arrays) <= _MAX_IN_MEMORY_BYTES
    ):
        return np.stack([_to_probabilities(np.asarray(a)) for a in arrays])
    import dask.array as da

    return da.stack([_to_probabilities(da.asarray(a)) for a in arrays])


def _in_shape(scan: Scan, shape: tuple[int, ...]) -> Any:
    if math.prod(scan.array.shape) != math.prod(shape):
        raise BadInput(scan.name, "does not have the shape of the mean", "write the result again")
    return scan.array.reshape(shape)


def _to_probabilities(array: Any) -> Any:
    """Convert to float32 in [0, 1]; a PNG holds multiples of 1/65535."""
    if array.dtype.kind == "u":
        return (array / _MAX_UINT16).astype(np.float32)
    return array.astype(np.float32)


def _sample_volumes(record: RunRecord) -> NDArray[np.float64]:
    volumes_by_class = [record.volumes.get(info.name, []) for info in record.classes]
    if not volumes_by_class or len({len(values) for values in volumes_by_class}) != 1:
        return np.zeros((0, len(record.classes)))
    return np.array(volumes_by_class, dtype=np.float64).T.reshape(-1, len(record.classes))
