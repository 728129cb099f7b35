"""Which images are kept apart, by patient or by likeness, repeatably."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = ["groups_by_block", "groups_by_dhash", "groups_by_hash", "groups_by_name", "hold_out"]


def groups_by_name(names: Sequence[str], pattern: str | None) -> list[str]:
    """The group of each name: what the pattern's first parentheses catch, or the name itself.

    Parameters
    ----------
    names
        File stems.
    pattern
        A regular expression whose first group is the patient, such as ``"^(Image_..)[LR]"``.
    """
    if pattern is None:
        return list(names)
    matches = [re.match(pattern, name) for name in names]
    return [(m.group(1) if m else None) or name for m, name in zip(matches, names, strict=True)]


def groups_by_block(names: Sequence[str], block: int) -> list[str]:
    """So many names in a row are a group; in their natural order, in which 9 comes before 10.

    Parameters
    ----------
    names
        File stems, in any order.
    block
        How many make a group; the last may have fewer.
    """
    order = sorted(range(len(names)), key=lambda i: _natural_sort_key(names[i]))
    groups = [""] * len(names)
    for position, i in enumerate(order):
        groups[i] = f"block {position // block}"
    return groups


def _natural_sort_key(name: str) -> list[tuple[bool, int, str]]:
    """A key to sort by, with numbers as numbers."""
    parts = re.findall(r"\d+|\D+", name)
    return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts]


def groups_by_hash(groups: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Join the groups of equal images, so that a copy under another name cannot cross the split.

    Parameters
    ----------
    groups
        The group of each image so far.
    keys
        `Scan.content_sha256` of each image.
    """
    names = list(groups)
    first_index: dict[str, int] = {}
    for i, key in enumerate(keys):
        earlier = first_index.setdefault(key, i)
        if names[earlier] != names[i]:
            names = _merge_groups(names, names[i], names[earlier])
    return names


def _merge_groups(names: list[str], old: str, new: str) -> list[str]:
    return [new if name == old else name for name in names]


def groups_by_dhash(
    images: Sequence[NDArray[np.uint8]], groups: Sequence[str], *, max_hamming_distance: int = 12
) -> list[str]:
    """Join the groups of images that look the same, so that a near duplicate cannot cross the split.

    The likeness is the Hamming distance of 256-bit difference hashes.

    Parameters
    ----------
    images
        uint8 `(H, W, 3)`.
    groups
        The group of each image so far.
    max_hamming_distance
        Up to this distance, two images count as one.
    """
    hashes = np.stack([_difference_hash(image) for image in images])
    names = list(groups)
    for i in range(len(hashes)):
        duplicates = (
            np.flatnonzero((hashes[i + 1 :] != hashes[i]).sum(axis=1) <= max_hamming_distance) + i + 1
        )
        for j in duplicates:
            if names[j] != names[i]:
                names = _merge_groups(names, names[j], names[i])
    return names


def _difference_hash(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    from PIL import Image

    thumbnail = np.asarray(Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX))
    return (thumbnail[:, 1:] > thumbnail[:, :-1]).ravel()


def hold_out(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """True for the images kept apart: whole groups, in an order drawn from the seed.

    Groups are taken until at least the fraction of the images is reached, and at least one is left
    on each side.

    Raises
    ------
    BadInput
        Where there is only one group.
    """
    unique = sorted(set(groups))
    if len(unique) < 2:
        raise BadInput("data", "fewer than two patients or images", "add more, to judge by one of them")
    unique.sort(key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).hexdigest())
    wanted_count = fraction * len(groups)
    held_out_groups: set[str] = set()
    held_out_count = 0
    for group in unique[:-1]:
        if held_out_groups and held_out_count >= wanted_count:
            break
        held_out_groups.add(group)
        held_out_count += sum(g == group for g in groups)
    return np.array([g in held_out_groups for g in groups])
