"""Notes for the user on copies of images: files of other names with the same values."""

from __future__ import annotations

__all__ = ["copies_kept_together", "copies_left_out"]


def copies_kept_together(count: int, other_masks: int = 0) -> str:
    """Note of a training, which uses every file; empty without copies.

    Parameters
    ----------
    count
        Number of files whose image is also in another file.
    other_masks
        How many of them have another mask than the first file of the image.
    """
    if not count:
        return ""
    files = "1 file holds" if count == 1 else f"{count} files hold"
    note = (
        f"{files} an image that another file holds too; all copies of an image are on one side of the split"
    )
    if not other_masks:
        return note
    have = "1 of them has" if other_masks == 1 else f"{other_masks} of them have"
    return f"{note}; {have} another mask, as of a second reader: the masks of all readers are learned"


def copies_left_out(count: int) -> str:
    """Note of a fine-tuning, which uses each image once.

    Parameters
    ----------
    count
        Number of copies, without the file of each image that is used; 1 or more.
    """
    if count == 1:
        return "1 copy of an image under another name was left out"
    return f"{count} copies of images under other names were left out"
