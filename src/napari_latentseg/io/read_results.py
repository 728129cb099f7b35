"""Read back what `write_results` wrote: mask, mean, variance and the run record of a segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput, first_validation_error
from napari_latentseg.io.registry import read_scan_lazy, readable_suffixes
from napari_latentseg.io.write_results import class_suffixes

__all__ = ["read_segmentation", "sibling_record"]

_RECORD_NAME = "run.json"
_MAX_UINT16 = 65535  # stands for probability 1 in a PNG; see `photo.write`
_MAX_IN_MEMORY_BYTES = 2**31  # 2 GiB of maps, which a machine that runs napari has to spare


def read_segmentation(path: Path | str) -> Segmentation:
    """Read a result that was written with its run record.

    Parameters
    ----------
    path
        The folder of the result, if it holds one only; else the `..._run.json`, the mask or the mean.

    Returns
    -------
    Segmentation
        As it was written, without `source` and `sample_maps`: the file name of the scan is not recorded, and
        of the samples only the areas or volumes are.

    Raises
    ------
    BadInput
        If there is no run record, a file is missing or does not fit the others, or the result is DICOM-SEG.
    """
    record_path = _find_record(Path(path))
    record = _read_record(record_path)
    name_prefix = record_path.name.removesuffix(_RECORD_NAME)
    folder = record_path.parent
    class_name_suffixes = class_suffixes(record.classes)
    mask = _read_result_lazy(folder, f"{name_prefix}mask")
    means = [
        _read_result_lazy(folder, f"{name_prefix}mean{class_suffix}") for class_suffix in class_name_suffixes
    ]
    variances = [
        _find_result_file(folder, f"{name_prefix}variance{class_suffix}")
        for class_suffix in class_name_suffixes
    ]
    axes = record.input.axes.removesuffix(CHANNEL)
    template = means[0]
    shape = _restore_shape(template, axes, record)
    for file_scan in (mask, *means):
        if file_scan.spatial_shape != template.spatial_shape or file_scan.axes != file_scan.spatial_axes:
            raise BadInput(file_scan.name, "does not have the shape of the mean", "write the result again")
    return Segmentation(
        mask=np.asarray(mask.array).reshape(shape).astype(np.uint8, copy=False),
        mean=_stack_classes(means, shape),
        variance=None
        if None in variances
        else _stack_classes([read_scan_lazy(v) for v in variances if v], shape),
        volumes=_sample_volumes(record),
        axes=axes,
        geometry=_restore_geometry(template, axes, shape, record),
        format=record.input.format,
        properties={},
        classes=record.classes,
        record=record,
    )


def sibling_record(path: Path) -> RunRecord | None:
    """The run record in the folder of a mask or mean that a run wrote; None if there is none.

    Raises
    ------
    BadInput
        If there is one that cannot be read.
    """
    for kind in ("mask", "mean"):
        name_prefix, has_kind, _ = Path(path).name.rpartition(kind)
        record = Path(path).with_name(f"{name_prefix}{_RECORD_NAME}")
        if has_kind and record.is_file():
            return _read_record(record)
    return None


def _find_record(path: Path) -> Path:
    if path.name.endswith(_RECORD_NAME) and path.is_file():
        return path
    if path.is_dir() and not path.name.endswith(".zarr"):
        records = sorted(
            p
            for p in path.glob(f"*{_RECORD_NAME}")
            if p.name == _RECORD_NAME or p.name.endswith(f"_{_RECORD_NAME}")
        )
        if len(records) == 1:
            return records[0]
        if records:
            raise BadInput(path, f"holds {len(records)} results", f"give the _{_RECORD_NAME} of one of them")
        raise BadInput(path, f"holds no {_RECORD_NAME}", "give the folder that a result was written into")
    if not path.exists():
        raise BadInput(path, "no such file or folder", "check the path")
    for kind in ("mask", "mean"):
        name_prefix, has_kind, _ = path.name.rpartition(kind)
        record = path.with_name(f"{name_prefix}{_RECORD_NAME}")
        if has_kind and record.is_file():
            return record
    raise BadInput(path, f"has no {_RECORD_NAME} beside it", "give a result with the record of its run")


def _read_record(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        field, why = first_validation_error(error)
        raise BadInput(path, f"{field or 'the file'}: {why}", "write the result again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, "cannot be read", "write the result again") from error


def _find_result_file(folder: Path, stem: str) -> Path | None:
    return next(
        (folder / f"{stem}{s}" for s in readable_suffixes() if (folder / f"{stem}{s}").exists()), None
    )


def _read_result_lazy(folder: Path, stem: str) -> Scan:
    result_path = _find_result_file(folder, stem)
    if result_path is None:
        raise BadInput(folder, f"holds no {stem}", "give a whole result")
    if result_path.suffix == ".dcm":
        raise BadInput(result_path, "is DICOM-SEG, which is not read back", "write the result as NIfTI too")
    return read_scan_lazy(result_path)


def _restore_shape(scan: Scan, axes: str, record: RunRecord) -> tuple[int, ...]:
    """The spatial shape with the axes of length one that some formats drop."""
    file_shape = scan.spatial_shape
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


def _restore_geometry(scan: Scan, axes: str, shape: tuple[int, ...], record: RunRecord) -> Geometry:
    if len(scan.spatial_shape) == len(axes):
        return scan.geometry
    kept = [i for i, (axis, n) in enumerate(zip(axes, shape, strict=True)) if n > 1 or axis in scan.axes]
    kept = kept[-len(scan.spatial_shape) :]
    matrix = np.diag([*record.input.spacing, 1.0])
    matrix_index = [*kept, len(axes)]
    matrix[np.ix_(matrix_index, matrix_index)] = scan.geometry.matrix
    units = list(record.input.units)
    for i, unit in zip(kept, scan.geometry.units, strict=True):
        units[i] = unit
    return Geometry.from_matrix(matrix, tuple(units), tuple(axes), scan.geometry.frame)


def _stack_classes(scans: list[Scan], shape: tuple[int, ...]) -> Any:
    """Stack the maps of the classes to `(K, *spatial)`, float32; a dask array if they are large."""
    arrays = [scan.array.reshape(shape) for scan in scans]
    if (
        all(isinstance(a, np.ndarray) for a in arrays)
        or sum(a.nbytes for a in arrays) <= _MAX_IN_MEMORY_BYTES
    ):
        return np.stack([_to_probabilities(np.asarray(a)) for a in arrays])
    import dask.array as da

    return da.stack([_to_probabilities(da.asarray(a)) for a in arrays])


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
