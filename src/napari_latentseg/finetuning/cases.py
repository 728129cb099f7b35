"""The cases that a model is fine-tuned on: the annotated images of folders, each image once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_latentseg.annotations.annotated_folder import cases_for_classes, read_annotated_folder
from napari_latentseg.data.cases import Case
from napari_latentseg.data.held_reads import HeldReads
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.label_names import LabelNames
from napari_latentseg.data.mask_file import UnreadableFile
from napari_latentseg.data.slices import Slice, check_not_uniform, make_slice
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.io import read_scan_lazy
from napari_latentseg.models.card import ModelCard

__all__ = ["collect_cases", "read_slices", "read_training_slices"]


def collect_cases(
    folders: Sequence[Path],
    card: ModelCard,
    label_names: LabelNames | None = None,
    *,
    reader: str | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    on_left_out: Callable[[BadInput], None] | None = None,
) -> list[Case]:
    """The annotated images of some folders, each image once, whatever its files are called or hold it as.

    Of an image that was given more than once, the first is taken, or the one of `reader`; `Case.copies`
    counts the others, and `Case.copy_names` says which have another mask. Classes of a folder that the model
    does not know are in `Case.unknown_labels`.

    Parameters
    ----------
    folders
        Of any kind that `read_annotated_folder` takes.
    card
        Of the model that is to learn; says which classes it knows.
    label_names
        What the labels mean, where a person says it.
    reader
        Of an image that was given more than once, the first whose file name contains this text is taken,
        whatever the case of its letters; the first of all where none does.
    on_note
        Called with what was passed over, without names of files.
    on_left_out
        Called with the error of each file that cannot be read, whose image is left out; None to refuse it.

    Returns
    -------
    list of Case
        Their `label_map` leads to the classes of the model.

    Raises
    ------
    BadInput
        If a folder is of no such kind, nothing in it is approved, no image can be read, or no file name
        contains `reader`.
    """
    cases_of_image: dict[str, list[Case]] = {}
    cases: dict[str, Case] = {}
    held = HeldReads()
    first_error: UnreadableFile | None = None
    for folder in map(Path, folders):
        annotated = read_annotated_folder(folder)
        for note in annotated.notes:
            on_note(note)
        for case in cases_for_classes(annotated, card.classes, label_names):
            if case.label_map is None:
                case = replace(case, label_map=LabelMap.for_model(card.classes))
            try:
                if case.image_file is not None:
                    case = held.hold_image(case, case.read_scan())
                _check_mask_file(case)
                # a copy under another name would cross the split
                same_image = [*cases_of_image.get(case.content_sha256, ()), case]
                cases[case.content_sha256] = _choose_copy(same_image, reader)
            except UnreadableFile as error:
                if on_left_out is None:
                    raise
                first_error = first_error or error
                on_left_out(error)
                continue
            cases_of_image[case.content_sha256] = same_image
    if first_error is not None and not cases:
        raise first_error
    given = [case for same_image in cases_of_image.values() for case in same_image]
    if reader is not None and not any(_is_of_reader(case, reader) for case in given):
        raise BadInput("reader", f"no file name contains {reader!r}", "give a part of the names of the files")
    return list(cases.values())


def _is_of_reader(case: Case, reader: str) -> bool:
    """Whether the name of the image or of its mask contains the text."""
    return any(reader.casefold() in name.casefold() for name in (case.file_name, case.mask_name))


def _check_mask_file(case: Case) -> None:
    """Read the header of the mask's file, so that a broken one is known before the training."""
    if case.mask_file is None:
        return
    try:
        read_scan_lazy(case.mask_file)
    except BadInput as error:
        raise UnreadableFile.of(error) from error


def read_training_slices(
    cases: Sequence[Case], card: ModelCard, should_stop: Callable[[], bool] = lambda: False
) -> list[Slice]:
    """The annotated slices of all cases, with the numbers of their cases from 1.

    Parameters
    ----------
    cases
        From `collect_cases`.
    card
        Of the model.
    should_stop
        Called before each case; True ends the reading.

    Raises
    ------
    BadInput
        If there is nothing to learn from: no slice is approved, every mask is empty, or the images are
        uniform.
    Cancelled
        If `should_stop` says so.
    """
    slices: list[Slice] = []
    for number, case in enumerate(cases, start=1):
        if should_stop():
            raise Cancelled
        slices += read_slices(case, card, number)
    if not slices:
        raise BadInput("data", "no slice is approved", "approve at least one")
    if not any(s.has_foreground for s in slices):
        raise BadInput("data", "every mask is empty", "mark the target in at least one image")
    check_not_uniform([s.uniform for s in slices], "data")
    return slices


def read_slices(case: Case, card: ModelCard, number: int = 0) -> list[Slice]:
    """The annotated slices of a case, at the size that the model works at.

    Parameters
    ----------
    case
        From `collect_cases`.
    card
        Of the model.
    number
        Of the case, for `Slice.case`.

    Raises
    ------
    BadInput
        If the image or the mask cannot be read, or they do not belong together.
    """
    scan = case.read_scan()
    class_numbers, annotated_slices = case.read_annotation(scan)
    assert case.label_map is not None
    planes = card.preprocess.planes(scan)
    return [
        make_slice(
            np.round(planes[i] * 255).astype(np.uint8),
            class_numbers[i],
            case.label_map,
            card.preprocess,
            planes.spacing,
            content_sha256=case.content_sha256,
            case=number,
        )
        for i in annotated_slices
    ]


def _choose_copy(same_image: Sequence[Case], reader: str | None) -> Case:
    """The case that is used of those of one image, which remembers the others."""
    chosen = same_image[0]
    if reader is not None:
        chosen = next((case for case in same_image if _is_of_reader(case, reader)), chosen)
    others = [case for case in same_image if case is not chosen]
    names = tuple((other.file_name, _has_other_mask(chosen, other)) for other in others)
    return replace(chosen, copies=len(others), copy_names=names)


def _has_other_mask(chosen: Case, copy: Case) -> bool:
    """Whether two cases of one image are annotated in other slices, or with other masks."""
    masks = []
    for case in (chosen, copy):
        assert case.label_map is not None
        masks.append(case.read_class_numbers(case.label_map))
    return not np.array_equal(masks[0], masks[1])
