"""Mask files for a comparison: their labels, their classes, and which voxels of them say something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.scan import Scan

__all__ = ["classes_in_masks", "classes_of_masks", "read_mask", "segmented_part", "segmented_part_of"]


def read_mask(path: Path) -> Scan:
    """A mask file as labels in its geometry.

    Raises
    ------
    BadInput
        If it cannot be read, or holds no labels.
    """
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.data.mask_file import read_mask_file

    mask = read_mask_file(path)
    return Scan(mask.labels, "".join(mask.geometry.axis_labels), mask.geometry, source=path)


def segmented_part_of(path: Path, scan: Scan) -> tuple[NDArray[np.bool_], str] | None:
    """The voxels of a mask that a run segmented where it left some out, and what they are; None for all.

    Parameters
    ----------
    path
        A mask, with or without the record of a run beside it.
    scan
        Its labels.

    Raises
    ------
    BadInput
        If the record cannot be read, or does not say which slices were segmented.
    """
    import numpy as np

    from napari_latentseg.core.segmented_region import SegmentedRegion, segmented_voxels
    from napari_latentseg.io.read_results import sibling_record

    # whether the file was edited since matters for its classes, not for what was segmented
    record = sibling_record(path, edited=True)
    if record is None:
        return None
    try:
        voxels = segmented_voxels(record, np.asarray(scan.array), scan.geometry)
    except BadInput as error:
        raise BadInput(path, error.why, error.remedy) from error
    return None if voxels is None else (voxels, SegmentedRegion.from_record(record).describe())


def segmented_part(paths: Sequence[Path], scans: Sequence[Scan]) -> tuple[NDArray[np.bool_] | None, str, str]:
    """The voxels to compare where masks are of runs that left some out, in words, and a note for people.

    Masks of different shapes have no common part: `compare` refuses them.

    Parameters
    ----------
    paths, scans
        The masks; the voxels are those of the first.

    Raises
    ------
    BadInput
        As `segmented_part_of`.
    """
    import numpy as np

    from napari_latentseg.core.turn import find_turn

    target = scans[0]
    parts, texts = [], []
    for path, scan in zip(paths, scans, strict=True):
        turn = find_turn(scan.geometry, scan.array.shape, target.geometry, target.array.shape)
        if turn is None and scan.array.shape != target.array.shape:
            return None, "", ""
        part = segmented_part_of(path, scan)
        if part is not None:
            parts.append(part[0] if turn is None else turn.apply(part[0]))
            texts.append(part[1])
    if not parts:
        return None, "", ""
    text = " and ".join(dict.fromkeys(texts))
    return np.logical_and.reduce(parts), text, f"Compared in {text} only: the rest was not segmented."


def classes_of_masks(
    mask: Path, model: str | None, scans: Sequence[Scan], *, edited: bool
) -> tuple[ClassInfo, ...]:
    """The classes of the model, or of the record beside the mask, or one for each label in the masks.

    Parameters
    ----------
    mask
        The first mask.
    model
        Name or folder of a model; None for none.
    scans
        All masks.
    edited
        Whether the mask may have been changed since its run.

    Raises
    ------
    BadInput
        If there is no such model, the mask was changed, or labels are no classes.
    """
    from napari_latentseg.io.read_results import sibling_record

    if model is not None:
        from napari_latentseg.api.models import locate_model

        return locate_model(model).card.classes
    record = sibling_record(mask, edited=edited)
    return record.classes if record is not None else classes_in_masks(mask, [scan.array for scan in scans])


def classes_in_masks(name: Path | str, label_maps: Sequence[Any]) -> tuple[ClassInfo, ...]:
    """One class for each label in any of the label maps; a single one where each of them holds one.

    Parameters
    ----------
    name
        What an error calls the masks.
    label_maps
        The labels.

    Raises
    ------
    BadInput
        If labels are no classes.
    """
    import numpy as np

    from napari_latentseg.core.classes import ClassInfo

    unique_labels: list[Any] = [np.setdiff1d(np.unique(np.asarray(labels)), 0) for labels in label_maps]
    labels = (
        np.unique(np.concatenate(unique_labels))
        if any(len(labels_present) > 1 for labels_present in unique_labels)
        else unique_labels[0][:1]
    )
    if labels.size == 0:
        labels = np.array([1])
    if labels.dtype.kind not in "bui" and not np.array_equal(labels, np.rint(labels)):
        raise BadInput(name, "holds values that are not labels", "give masks, not probabilities")
    if labels.min() < 1 or labels.max() > 255:
        beyond = labels.min() if labels.min() < 1 else labels.max()
        why = f"has the label {int(beyond)}, and classes have 1 to 255"
        raise BadInput(name, why, "renumber an atlas; give all objects of a class one label")
    return tuple(ClassInfo(label=int(n), name=f"label {int(n)}", color="#ffb000") for n in labels)
