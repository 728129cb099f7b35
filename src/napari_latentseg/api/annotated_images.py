"""The images of a folder that a model is evaluated or calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.utils.argument_types import as_path

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.data.cases import Case
    from napari_latentseg.data.label_names import LabelsOption
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.split import Split
    from napari_latentseg.models.store import LocatedModel

__all__ = ["annotated_images", "cases_by_part", "images_with_masks"]


def annotated_images(
    model: Model | LocatedModel,
    data: str | Path,
    subset: str,
    remedy: str,
    labels: LabelsOption | None,
    on_note: Callable[[str], None],
    lists: str | Path | Iterable[str | Path] | None = None,
) -> tuple[list[Case], list[Case], Split]:
    """All images of a folder, those of the subset, and the split of the model.

    Parameters
    ----------
    model
        Of which the validation images are.
    data
        A folder of any kind that `read_annotated_folder` takes.
    subset
        ``"all"`` or ``"validation"``; with `lists`, also ``"train"`` or ``"test"``.
    remedy
        What to do where the subset is empty.
    labels
        What the labels of the masks mean; None for what the folder or the model says.
    on_note
        Called with what was passed over.
    lists
        Files that name the images of each part, see
        `napari_latentseg.training.split_lists.read_split_lists`; the subset is then theirs, not the model's.

    Raises
    ------
    BadInput
        If the folder holds none, or the lists name images that it does not hold.
    """
    from napari_latentseg.annotations.annotated_folder import cases_for_classes, read_annotated_folder
    from napari_latentseg.data.label_names import parse_label_names
    from napari_latentseg.errors import BadInput
    from napari_latentseg.models.split import read_split

    if subset in ("train", "test") and lists is None:
        raise BadInput("subset", f"{subset!r} needs a list of images", "give one with --split FILE")
    if subset not in ("all", "train", "validation", "test"):
        raise BadInput("subset", f"{subset!r} is not known", "use all, train, validation or test")
    label_names = None if labels is None else parse_label_names(labels)
    annotated = read_annotated_folder(as_path("data", data))
    for note in annotated.notes:
        on_note(note)
    all_cases = cases_for_classes(annotated, model.card.classes, label_names)
    split = read_split(model.folder)
    if lists is not None:
        return all_cases, _listed_cases(all_cases, subset, lists), split
    if subset == "all":
        return all_cases, all_cases, split
    cases = _validation_cases(all_cases, split)
    if not cases:
        raise BadInput(data, f"holds none of the validation images of {model.card.name}", remedy)
    return all_cases, cases, split


def images_with_masks(
    model: Model | LocatedModel, data: str | Path, subset: str, on_note: Callable[[str], None]
) -> tuple[list[Case], Split]:
    """The images of a subset of a folder whatever their labels mean, and the split of the model.

    Parameters
    ----------
    model, data, on_note
        As for `annotated_images`.
    subset
        ``"all"`` or ``"validation"``.

    Raises
    ------
    BadInput
        If the folder holds none.
    """
    from napari_latentseg.annotations.annotated_folder import read_annotated_folder
    from napari_latentseg.errors import BadInput
    from napari_latentseg.models.split import read_split

    if subset not in ("all", "validation"):
        raise BadInput("subset", f"{subset!r} is not known", "use all or validation")
    annotated = read_annotated_folder(as_path("data", data))
    for note in annotated.notes:
        on_note(note)
    split = read_split(model.folder)
    cases = annotated.cases if subset == "all" else _validation_cases(annotated.cases, split)
    if not cases:
        remedy = "give the data it was trained on"
        raise BadInput(data, f"holds none of the validation images of {model.card.name}", remedy)
    return list(cases), split


def _listed_cases(cases: Sequence[Case], subset: str, lists: str | Path | Iterable[str | Path]) -> list[Case]:
    """The cases that lists give to a part, or to any part for the subset all."""
    from napari_latentseg.errors import BadInput
    from napari_latentseg.training.split_lists import read_split_lists

    files = [lists] if isinstance(lists, str | Path) else list(lists)
    split_lists = read_split_lists([as_path("split", file) for file in files])
    if subset != "all" and not any(part == subset and names for part, names in split_lists.names.items()):
        parts = ", ".join(part or "one without a name" for part in split_lists.names)
        raise BadInput(split_lists.subject, f"has no list of {subset} images", f"it has {parts}")
    parts_of_cases = split_lists.part_of_each(cases)
    return [
        case
        for case, part in zip(cases, parts_of_cases, strict=True)
        if part is not None and subset in ("all", part)
    ]


def _validation_cases(cases: Sequence[Case], split: Split) -> list[Case]:
    """The validation images; what was decoded to know them is held for their first use, if there is room."""
    from napari_latentseg.data.held_reads import HeldReads

    held, chosen = HeldReads(), []
    for case in cases:
        decoded: list[Scan] = []
        if _part_of(replace(case, scan_reader=partial(_read_into, case, decoded)), split) == "validation":
            chosen.append(held.hold_image(case, decoded[0]) if decoded else case)
    return chosen


def _read_into(case: Case, decoded: list[Scan]) -> Scan:
    scan = case.scan_reader()
    decoded.append(scan)
    return scan


def cases_by_part(cases: Sequence[Case], split: Split) -> tuple[list[Case], list[Case]]:
    """The training and the validation images among some, each once; those that cannot be read are left out.

    Parameters
    ----------
    cases
        Any images.
    split
        Of the model.
    """
    by_part: dict[str, dict[str, Case]] = {"train": {}, "validation": {}}
    for case in cases:
        if part := _part_of(case, split):  # the hash of the content is asked for only where it is needed
            by_part[part].setdefault(case.content_sha256, case)
    return list(by_part["train"].values()), list(by_part["validation"].values())


def _part_of(case: Case, split: Split) -> str:
    """The part of an image; empty where it is in none, or cannot be read."""
    from napari_latentseg.data.mask_file import UnreadableFile

    try:
        return split.part_of(case)
    except UnreadableFile:
        return ""
