"""Reading back what `results` wrote: a folder of mask, mean, variance and the record of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_latentseg.errors import BadInput, first_problem
from napari_latentseg.formats.registry import look_at, readable_suffixes
from napari_latentseg.formats.results import class_endings
from napari_latentseg.record import RunRecord
from napari_latentseg.scan import CHANNEL, Geometry, Scan
from napari_latentseg.segmentation import Segmentation

__all__ = ["read_segmentation", "record_beside"]

_RECORD = "run.json"
_FULL = 65535  # what stands for 1 in a PNG


def read_segmentation(path: Path | str) -> Segmentation:
    """Read a result that was written with its record.

    Parameters
    ----------
    path
        The folder, where it holds one result; or the `..._run.json`, the mask or the mean of one of several.

    Returns
    -------
    Segmentation
        As it was written: the samples themselves are not kept on disk, their areas or volumes are. What the
        record's scan was called or where it lay is not known.

    Raises
    ------
    BadInput
        Where there is no record, a file is missing or does not fit the others, or the result is DICOM-SEG,
        which is not read back.
    """
    record_path = _record_of(Path(path))
    record = _read_record(record_path)
    start = record_path.name.removesuffix(_RECORD)
    folder = record_path.parent
    endings = class_endings(record.classes)
    mask = _look(folder, f"{start}mask")
    means = [_look(folder, f"{start}mean{ending}") for ending in endings]
    variances = [_find(folder, f"{start}variance{ending}") for ending in endings]
    axes = record.input.axes.removesuffix(CHANNEL)
    template = means[0]
    shape = _shape(template, axes, record)
    for one in (mask, *means):
        if one.spatial_shape != template.spatial_shape or one.axes != one.spatial_axes:
            raise BadInput(one.name, "does not have the shape of the mean", "write the result again")
    return Segmentation(
        mask=np.asarray(mask.array).reshape(shape).astype(np.uint8, copy=False),
        mean=_stacked(means, shape),
        variance=None if None in variances else _stacked([look_at(v) for v in variances if v], shape),
        volumes=_volumes(record),
        axes=axes,
        geometry=_geometry(template, axes, shape, record),
        format=record.input.format,
        properties={},
        classes=record.classes,
        record=record,
    )


def record_beside(path: Path) -> RunRecord | None:
    """The record of the run that wrote a mask or a mean; None where none lies beside it.

    Raises
    ------
    BadInput
        Where there is one that cannot be read.
    """
    for kind in ("mask", "mean"):
        start, found, _ = Path(path).name.rpartition(kind)
        record = Path(path).with_name(f"{start}{_RECORD}")
        if found and record.is_file():
            return _read_record(record)
    return None


def _record_of(path: Path) -> Path:
    if path.name.endswith(_RECORD) and path.is_file():
        return path
    if path.is_dir() and not path.name.endswith(".zarr"):
        found = sorted(
            p for p in path.glob(f"*{_RECORD}") if p.name == _RECORD or p.name.endswith(f"_{_RECORD}")
        )
        if len(found) == 1:
            return found[0]
        if found:
            raise BadInput(path, f"holds {len(found)} results", f"give the _{_RECORD} of one of them")
        raise BadInput(path, f"holds no {_RECORD}", "give the folder that a result was written into")
    if not path.exists():
        raise BadInput(path, "no such file or folder", "check the path")
    for kind in ("mask", "mean"):
        start, found_kind, _ = path.name.rpartition(kind)
        record = path.with_name(f"{start}{_RECORD}")
        if found_kind and record.is_file():
            return record
    raise BadInput(path, f"has no {_RECORD} beside it", "give a result with the record of its run")


def _read_record(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        field, why = first_problem(error)
        raise BadInput(path, f"{field or 'the file'}: {why}", "write the result again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, "cannot be read", "write the result again") from error


def _find(folder: Path, stem: str) -> Path | None:
    return next(
        (folder / f"{stem}{s}" for s in readable_suffixes() if (folder / f"{stem}{s}").exists()), None
    )


def _look(folder: Path, stem: str) -> Scan:
    found = _find(folder, stem)
    if found is None:
        raise BadInput(folder, f"holds no {stem}", "give a whole result")
    if found.suffix == ".dcm":
        raise BadInput(found, "is DICOM-SEG, which is not read back", "write the result as NIfTI too")
    return look_at(found)


def _shape(scan: Scan, axes: str, record: RunRecord) -> tuple[int, ...]:
    """The shape of the arrays; some formats drop axes of length one."""
    here = scan.spatial_shape
    if len(here) == len(axes):
        return here
    recorded = record.input.shape[: len(axes)]
    left = list(here)
    shape = tuple(1 if n == 1 and len(left) < len(axes) else left.pop(0) for n in recorded if left or n == 1)
    if len(shape) != len(axes) or int(np.prod(shape)) != int(np.prod(here)):
        raise BadInput(scan.name, f"has shape {here}, and its record {recorded}", "write the result again")
    return shape


def _geometry(scan: Scan, axes: str, shape: tuple[int, ...], record: RunRecord) -> Geometry:
    if len(scan.spatial_shape) == len(axes):
        return scan.geometry
    kept = [i for i, (axis, n) in enumerate(zip(axes, shape, strict=True)) if n > 1 or axis in scan.axes]
    kept = kept[-len(scan.spatial_shape) :]
    matrix = np.diag([*record.input.spacing, 1.0])
    places = [*kept, len(axes)]
    matrix[np.ix_(places, places)] = scan.geometry.matrix
    units = list(record.input.units)
    for i, unit in zip(kept, scan.geometry.units, strict=True):
        units[i] = unit
    return Geometry.from_matrix(matrix, tuple(units), tuple(axes), scan.geometry.frame)


def _stacked(scans: list[Scan], shape: tuple[int, ...]) -> Any:
    """`(K, *spatial)`; float32, and dask where the files are read in parts."""
    arrays = [scan.array.reshape(shape) for scan in scans]
    if all(isinstance(a, np.ndarray) for a in arrays) or sum(a.nbytes for a in arrays) <= 2**31:
        return np.stack([_probabilities(np.asarray(a)) for a in arrays])
    import dask.array as da

    return da.stack([_probabilities(da.asarray(a)) for a in arrays])


def _probabilities(array: Any) -> Any:
    """As real numbers; a PNG holds whole ones."""
    if array.dtype.kind == "u":
        return (array / _FULL).astype(np.float32)
    return array.astype(np.float32)


def _volumes(record: RunRecord) -> NDArray[np.float64]:
    each = [record.volumes.get(info.name, []) for info in record.classes]
    if not each or len({len(values) for values in each}) != 1:
        return np.zeros((0, len(record.classes)))
    return np.array(each, dtype=np.float64).T.reshape(-1, len(record.classes))
