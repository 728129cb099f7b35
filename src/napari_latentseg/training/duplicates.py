"""Notes on images that were given more than once."""

from __future__ import annotations

__all__ = ["copies_kept_together", "copies_left_out"]


def copies_kept_together(count: int) -> str:
    """The note of a training, which uses every file; empty for no copies.

    Parameters
    ----------
    count
        How many files hold an image that another file holds too.
    """
    if not count:
        return ""
    files = "1 file holds" if count == 1 else f"{count} files hold"
    return f"{files} an image that another file holds too; all of them are on one side of the split"


def copies_left_out(count: int) -> str:
    """The note of a fine-tuning, which uses each image once.

    Parameters
    ----------
    count
        How many further times images were given; 1 or more.
    """
    times = "image was" if count == 1 else "images were"
    return f"{count} {times} given more than once under other names, and left out"
