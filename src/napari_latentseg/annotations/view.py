"""Bringing what nnU-Net reads up to date with the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from napari_latentseg.annotations.dataset import (
    IMAGES,
    JSON,
    LABELS,
    Target,
    dataset_json,
    ignore_label,
    state_in,
)
from napari_latentseg.annotations.durable import settle, sync_folder
from napari_latentseg.annotations.images import Layout, write_volume
from napari_latentseg.annotations.labels import Merged
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput

__all__ = ["mend_view", "write_label"]


def mend_view(
    folder: Path,
    found: Sequence[Target],
    hidden: Sequence[Target],
    classes: Sequence[ClassInfo],
    waiting: Path,
    temporary: Callable[[str], Path],
    merge_of: Callable[[Target], Merged],
) -> list[str]:
    """Make `imagesTr`, `labelsTr` and `dataset.json` what they should be; only under the store's lock.

    Each file is replaced as a whole, and `dataset.json`, which says what each mask was made from, comes
    last: whatever is broken off is done again the next time.

    Parameters
    ----------
    folder
        Of the store.
    found, hidden
        What nnU-Net is to find, and what it is not to.
    classes
        Of the store.
    waiting
        Where the images lie that nnU-Net is not to find.
    temporary
        Gives a name for a file with the ending it is given.
    merge_of
        The mask of a target.

    Returns
    -------
    list of str
        The files that were made or moved.

    Raises
    ------
    BadInput, OSError
        Where the disk refuses.
    """
    images, labels = folder / IMAGES, folder / LABELS
    shown, made = _names(images), _names(labels)
    before = state_in(folder / JSON)
    ignore = ignore_label(classes)
    state = {}
    changed = []
    for target in hidden:
        changed += _move(images, waiting, [name for name in target.images if name in shown])
        if target.label in made:
            (labels / target.label).unlink(missing_ok=True)
            changed.append(target.label)
    for target in found:
        changed += _move(waiting, images, [name for name in target.images if name not in shown])
        of = target.state(ignore)
        now = before.get(target.name)
        if now is None or now["of"] != of or target.label not in made:
            try:
                merged = merge_of(target)
            except BadInput:  # an approved mask is missing or damaged: verify says which; the rest goes on
                if now is not None:
                    state[target.name] = now
                continue
            path = temporary(".nii.gz")
            try:
                now = {"of": of, "sha256": write_label(path, target, merged, ignore)}
                settle(path, labels / target.label)
            finally:
                path.unlink(missing_ok=True)
            changed.append(target.label)
        state[target.name] = now
    text = dataset_json(found, classes, state)
    if not (folder / JSON).is_file() or (folder / JSON).read_text("utf-8") != text:
        path = temporary(".json")
        try:
            path.write_text(text, "utf-8")
            settle(path, folder / JSON)
        finally:
            path.unlink(missing_ok=True)
        changed.append(JSON)
    return changed


def write_label(path: Path, target: Target, merged: Merged, ignore: int) -> str:
    """Write the mask of a target; gives the SHA-256 of the file.

    Raises
    ------
    BadInput
        Where the disk refuses.
    """
    case = target.case
    layout = Layout(case.spatial_axes, case.spatial_shape)
    geometry = layout.geometry(case.place.geometry, target.time)
    return write_volume(path, merged.labelled(ignore), geometry, {}, "mask")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _move(source: Path, to: Path, names: Sequence[str]) -> list[str]:
    moved = [name for name in names if (source / name).is_file()]
    for name in moved:
        settle(source / name, to / name)
    if moved:
        sync_folder(source)
    return moved
