"""Notes on images that were given more than once, for example by two readers."""

from __future__ import annotations

from collections.abc import Sequence

from napari_latentseg.data.cases import Case
from napari_latentseg.training.duplicates import copies_left_out

__all__ = ["copy_notes", "second_mask_notes"]

_MAX_NAMES = 5  # of copies, so that the line can be read; how many there are is said in any case


def copy_notes(cases: Sequence[Case], *, has_reader: bool = False) -> list[str]:
    """How many copies of images were left out, without file names, which may be patients'.

    Parameters
    ----------
    cases
        From `collect_cases`.
    has_reader
        Whether a reader was chosen, whose name is not said.
    """
    copies = sum(case.copies for case in cases)
    if not copies:
        return []
    notes = [copies_left_out(copies)]
    other_masks = sum(is_other for case in cases for _, is_other in case.copy_names)
    if other_masks:
        word = "1 copy has" if other_masks == 1 else f"{other_masks} copies have"
        rule = "the chosen reader's, where there is one," if has_reader else "the first mask"
        notes.append(f"{word} another mask than the image that was used: {rule} counts")
    return notes


def second_mask_notes(cases: Sequence[Case]) -> list[str]:
    """Which images were given with a second mask, by the names of their files.

    For the screen of the person who chose the files alone; nothing of it may be stored.

    Parameters
    ----------
    cases
        From `collect_cases`.
    """
    pairs = [
        f"{copy} is the same image as {case.file_name}; its mask is left out"
        for case in cases
        for copy, is_other in case.copy_names
        if is_other
    ]
    more = [f"and {len(pairs) - _MAX_NAMES} more"] if len(pairs) > _MAX_NAMES else []
    return [*pairs[:_MAX_NAMES], *more]
