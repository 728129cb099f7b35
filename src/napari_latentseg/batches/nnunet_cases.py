"""The cases of a folder of nnU-Net: CASE_0000 and a common ending."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.errors import BadInput
from napari_latentseg.io.find_scans import is_image_file
from napari_latentseg.io.registry import stem_of

__all__ = ["is_nnunet", "nnunet_cases"]

_FOLDER = re.compile(r"images(tr|ts|val)", re.IGNORECASE)
_CHANNEL_STEM = re.compile(r"(.+)_(\d{4})")


def is_nnunet(folder: Path) -> bool:
    """Whether a folder is one of images of nnU-Net: it is called so, and its files number their channels."""
    return bool(_FOLDER.fullmatch(folder.resolve().name)) and any(
        _CHANNEL_STEM.fullmatch(stem_of(path)) for path in folder.iterdir() if is_image_file(path)
    )


def nnunet_cases(folder: Path, passed_over: Counter[str]) -> list[BatchCase]:
    """A case for each name before the number of the channel; those of several channels have a problem.

    Parameters
    ----------
    folder
        Such as `imagesTs`.
    passed_over
        Counts what is left out, by kind.
    """
    channels: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _CHANNEL_STEM.fullmatch(stem_of(path))
        if path.name.startswith(".") or not is_image_file(path):
            passed_over["file that is not an image"] += 1
        elif match is None:
            passed_over["image without the number of a channel"] += 1
        else:
            channels.setdefault(match.group(1), []).append(path)
    cases = []
    for name, paths in channels.items():
        problem = None
        if len(paths) > 1:
            why = f"the case {name} has {len(paths)} channels, and the model takes one"
            problem = BadInput(paths[0], why, "name the files of one channel in a list (--list)")
        cases.append(BatchCase(name, paths[0], problem=problem))
    return cases
