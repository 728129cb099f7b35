"""Splitting images into training and validation, by patient and without near duplicates across the split."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = [
    "difference_hash",
    "groups_by_block",
    "groups_by_dhash",
    "groups_by_hash",
    "groups_by_likeness",
    "groups_by_name",
    "hold_out",
]


def groups_by_name(names: Sequence[str], pattern: str | None) -> list[str]:
    """The group of each file: the first group of the pattern in its name, or the name itself.

    Parameters
    ----------
    names
        File stems.
    pattern
        A regular expression whose first group is the patient, such as ``"^(Image_..)[LR]"``; None for none.
    """
    if pattern is None:
        return list(names)
    matches = [re.match(pattern, name) for name in names]
    return [(m.group(1) if m else None) or name for m, name in zip(matches, names, strict=True)]


def groups_by_block(names: Sequence[str], block: int) -> list[str]:
    """Blocks of consecutive files are groups, in natural order: 9 before 10.

    Parameters
    ----------
    names
        File stems, in any order.
    block
        Files of a group; the last may have fewer.
    """
    order = sorted(range(len(names)), key=lambda i: _natural_sort_key(names[i]))
    groups = [""] * len(names)
    for position, i in enumerate(order):
        groups[i] = f"block {position // block}"
    return groups


def _natural_sort_key(name: str) -> list[tuple[bool, int, str]]:
    """A sort key that compares numbers as numbers."""
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
    """Join the groups of images that look alike, so that a near duplicate cannot cross the split.

    Images are compared by the Hamming distance of their 256-bit difference hashes (dHash).

    Parameters
    ----------
    images
        uint8 `(H, W, 3)`.
    groups
        The group of each image so far.
    max_hamming_distance
        In bits; up to this distance, two images are near duplicates.
    """
    return groups_by_likeness([difference_hash(image) for image in images], groups, max_hamming_distance)


def groups_by_likeness(
    difference_hashes: Sequence[NDArray[np.bool_]], groups: Sequence[str], max_hamming_distance: int
) -> list[str]:
    """Join the groups of images that look alike, by the difference hash of each; see `groups_by_dhash`."""
    hashes = np.stack(difference_hashes)
    names = list(groups)
    for i in range(len(hashes)):
        duplicates = (
            np.flatnonzero((hashes[i + 1 :] != hashes[i]).sum(axis=1) <= max_hamming_distance) + i + 1
        )
        for j in duplicates:
            if names[j] != names[i]:
                names = _merge_groups(names, names[j], names[i])
    return names


def difference_hash(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each of 16 x 16 blocks of an image `(H, W, 3)` is brighter than the one on its left."""
    from PIL import Image

    thumbnail = np.asarray(Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX))
    return (thumbnail[:, 1:] > thumbnail[:, :-1]).ravel()


def hold_out(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Draw the validation images: True for each of them; whole groups, in an order drawn from the seed.

    Groups are drawn until they hold at least the fraction of the images. At least one group is left for
    training.

    Parameters
    ----------
    groups
        Of each image.
    fraction
        Of the images that are to be validation images, in (0, 1).
    seed
        Draws the order of the groups.

    Returns
    -------
    ndarray
        bool `(N,)`.

    Raises
    ------
    BadInput
        If there is only one group.
    """
    counts = Counter(groups)
    unique = sorted(counts)
    if len(unique) < 2:
        raise BadInput(
            "data", "fewer than two patients or images", "add more, so that one is left for validation"
        )
    unique.sort(key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).hexdigest())
    wanted_count = fraction * len(groups)
    held_out_groups: set[str] = set()
    held_out_count = 0
    for group in unique[:-1]:
        if held_out_groups and held_out_count >= wanted_count:
            break
        held_out_groups.add(group)
        held_out_count += counts[group]
    return np.array([g in held_out_groups for g in groups])
