"""Opening the masks for a comparison of readers: arrays, scans, files, and annotation stores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.mask_files import classes_in_masks, read_mask, segmented_part_of
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.core.scan import Scan

__all__ = ["OpenedMasks", "mask_titles", "open_masks"]

_AXES_BY_COUNT = {2: "yx", 3: "zyx", 4: "tzyx"}
_REMEDY = "give masks of the same image"


@dataclass(frozen=True, eq=False)
class OpenedMasks:
    """The masks of all readers, index on index with the first.

    Attributes
    ----------
    readers
        Their names.
    label_maps
        One for each reader.
    geometry
        Of the first mask.
    classes
        What their labels mean.
    compared, segmented
        The voxels on which all of them say something, and what these are in words; None and empty for all.
    """

    readers: tuple[str, ...]
    label_maps: tuple[NDArray[Any], ...]
    geometry: Geometry
    classes: tuple[ClassInfo, ...]
    compared: NDArray[np.bool_] | None
    segmented: str


@dataclass(frozen=True, eq=False)
class _OpenedMask:
    """One mask, in its own geometry; None where an array has none of its own."""

    what: str
    labels: NDArray[Any]
    geometry: Geometry | None
    part: tuple[NDArray[np.bool_], str] | None = None
    classes: tuple[ClassInfo, ...] = ()


def open_masks(
    masks: Sequence[Any] | Mapping[str, Any],
    *,
    readers: Sequence[str] | None,
    classes: Sequence[ClassInfo] | None,
    geometry: Geometry | None,
    image: Scan | None,
    edited: bool = False,
) -> OpenedMasks:
    """Open the masks of two to eight readers.

    Parameters
    ----------
    masks, readers, classes, geometry
        As for `napari_latentseg.compare_readers`.
    image
        The image, by which its mask is found in an annotation store; None where none is given.
    edited
        Whether a file may have been changed after the run that wrote it.

    Raises
    ------
    BadInput
        As `napari_latentseg.compare_readers`.
    """
    import numpy as np

    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.evaluation.label_maps import placed_on

    names, given = _names_and_masks(masks, readers)
    # who has given names to the masks knows them by these, as the files of a list have names of digits
    titles = [f"the mask of {name}" for name in names] if isinstance(masks, Mapping) else mask_titles(given)
    opened = [
        _open(mask, title, geometry, image, edited=edited) for mask, title in zip(given, titles, strict=True)
    ]
    first = opened[0]
    shape = first.labels.shape
    target = first.geometry
    if target is None:
        target = geometry or Geometry.from_spacing(_axes(first))
    if target.ndim != len(shape):
        raise BadInput(
            "geometry", f"has {target.ndim} axes, {first.what} {len(shape)}", "give that of the masks"
        )
    options = {"target_name": first.what, "remedy": _REMEDY}
    label_maps, parts, texts = [], [], []
    for mask in opened:
        label_maps.append(placed_on(mask.what, mask.labels, mask.geometry, target, shape, **options))
        if mask.part is not None:
            parts.append(placed_on(mask.what, mask.part[0], mask.geometry, target, shape, **options))
            texts.append(mask.part[1])
    recorded = next((mask.classes for mask in opened if mask.classes), ())
    return OpenedMasks(
        names,
        tuple(label_maps),
        target,
        tuple(classes or recorded or classes_in_masks(first.what, label_maps)),
        np.logical_and.reduce(parts) if parts else None,
        " and ".join(dict.fromkeys(texts)),
    )


def mask_titles(masks: Sequence[Any]) -> list[str]:
    """What errors and notes call each mask: its file, with the folder where another one has the same name."""
    paths = [Path(mask) if isinstance(mask, str | os.PathLike) else None for mask in masks]
    names = [f"mask {number}" if path is None else path.name for number, path in enumerate(paths, 1)]
    return [
        name if path is None or names.count(name) == 1 else f"{path.absolute().parent.name}/{name}"
        for path, name in zip(paths, names, strict=True)
    ]


def _names_and_masks(
    masks: Sequence[Any] | Mapping[str, Any], readers: Sequence[str] | None
) -> tuple[tuple[str, ...], list[Any]]:
    from napari_latentseg.evaluation.reader_comparison import MAX_READERS
    from napari_latentseg.evaluation.reader_names import RESERVED_NAMES

    if isinstance(masks, str | os.PathLike):
        raise BadInput("masks", "is a single path", "give two to eight masks")
    given = list(masks.values() if isinstance(masks, Mapping) else masks)
    if not 2 <= len(given) <= MAX_READERS:
        count = f"{len(given)} mask was" if len(given) == 1 else f"{len(given)} masks were"
        raise BadInput("masks", f"{count} given", f"give 2 to {MAX_READERS}")
    if isinstance(masks, Mapping):
        names = [str(name) for name in masks]
    elif readers is None:
        names = [f"reader {number}" for number in range(1, len(given) + 1)]
    else:
        names = [str(name).strip() for name in readers]
    if len(names) != len(given):
        raise BadInput("names", f"{len(names)} names for {len(given)} masks", "give a name for each mask")
    for name in names:
        if not name or name in RESERVED_NAMES or names.count(name) > 1:
            why = "one is empty" if not name else f"{name!r} is there twice or means something else"
            raise BadInput("names", why, "give each reader a name of their own")
    return tuple(names), given


def _open(
    mask: Any, what: str, geometry: Geometry | None, image: Scan | None, *, edited: bool
) -> _OpenedMask:
    import numpy as np

    from napari_latentseg.annotations.directory import is_store
    from napari_latentseg.evaluation.label_maps import check_labels
    from napari_latentseg.io.memory_images import as_scan
    from napari_latentseg.io.read_results import sibling_record

    if isinstance(mask, str | os.PathLike):
        path = Path(mask)
        if is_store(path):
            return _open_from_store(path, what, image)
        scan = read_mask(path)
        record = sibling_record(path, edited=edited)
        return _OpenedMask(
            what, np.asarray(scan.array), scan.geometry, segmented_part_of(path, scan),
            () if record is None else record.classes,
        )  # fmt: skip
    if isinstance(mask, np.ndarray):
        return _OpenedMask(what, check_labels(what, mask), geometry)
    scan = as_scan(mask)
    if scan.axes != scan.spatial_axes:
        raise BadInput(what, "has channels, but a mask has none", "give a mask of labels")
    return _OpenedMask(what, check_labels(what, scan.array), scan.geometry)


def _axes(mask: _OpenedMask) -> str:
    axes = _AXES_BY_COUNT.get(mask.labels.ndim)
    if axes is None:
        raise BadInput(mask.what, f"has {mask.labels.ndim} axes", "give a label map of two to four axes")
    return axes


def _open_from_store(folder: Path, what: str, image: Scan | None) -> _OpenedMask:
    """The approved mask of an image in an annotation store; of its only image where none is given."""
    import numpy as np

    from napari_latentseg.annotations.store import AnnotationStore

    with AnnotationStore(folder) as store:
        if image is None:
            cases = store.annotated_cases()
            if len(cases) != 1:
                why = f"is an annotation store with {len(cases)} images"
                raise BadInput(what, why, "say which image is meant (--image)")
            case, scan = cases[0], cases[0].read_scan()
        else:
            annotated, scan = store.annotated_case(image), image
            if annotated is None:
                raise BadInput(what, "has no approved mask of this image", "approve one, or leave it out")
            case = annotated
        classes = store.classes
    labels = case.read_mask().reshape(scan.spatial_shape)
    slices = case.annotated_slices or ()
    count = int(np.prod(scan.spatial_shape[:-2], dtype=int))
    if len(slices) == count:
        return _OpenedMask(what, labels, scan.geometry, None, classes)
    is_approved = np.zeros((count, *scan.spatial_shape[-2:]), bool)
    is_approved[list(slices)] = True
    part = is_approved.reshape(scan.spatial_shape), f"{len(slices)} of {count} slices"
    return _OpenedMask(what, labels, scan.geometry, part, classes)
