"""The cases of a BIDS data set: its raw images, by the names that BIDS gives them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.errors import BadInput
from napari_latentseg.io.find_scans import is_image_file
from napari_latentseg.io.registry import stem_of
from napari_latentseg.utils.json_text import load_json

__all__ = ["DATASET_DESCRIPTION", "bids_cases", "bids_root", "is_bids", "place_in_data_set"]

DATASET_DESCRIPTION = "dataset_description.json"
# Images of structure. Those of function, diffusion, perfusion and field maps are taken where a pattern names
# them: no model here was made for them, and a data set may hold many.
_DATA_TYPES = ("anat", "pet", "micr")
# Masks of raw data sets, which are no images.
_MASK_SUFFIXES = ("mask", "defacemask", "dseg", "probseg")


def is_bids(folder: Path) -> bool:
    """Whether a folder is a BIDS data set: a file says so."""
    try:
        content = load_json((folder / DATASET_DESCRIPTION).read_text("utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "BIDSVersion" in content


def bids_root(path: Path) -> Path | None:
    """The BIDS data set that holds a file; None where none does."""
    return next((parent for parent in path.absolute().parents if is_bids(parent)), None)


def bids_cases(root: Path, passed_over: Counter[str]) -> list[BatchCase]:
    """The raw images of the subjects, in every session; derivatives are another data set.

    Parameters
    ----------
    root
        The data set.
    passed_over
        Counts what is left out, by kind.

    Raises
    ------
    BadInput
        If a folder cannot be read.
    """
    cases = []
    try:
        for pattern in ("sub-*/*/*", "sub-*/ses-*/*/*"):
            for path in sorted(root.glob(pattern)):
                folder = path.parent.name
                if folder.startswith("ses-") or path.name.startswith("."):
                    continue
                is_folder_image = path.is_dir() and path.name.endswith(".ome.zarr")
                if not is_folder_image and not is_image_file(path):  # a sidecar, a table
                    continue
                if folder not in _DATA_TYPES:
                    passed_over[f"image in {folder}/, which a pattern can name"] += 1
                elif stem_of(path).rpartition("_")[2] in _MASK_SUFFIXES:
                    passed_over["mask"] += 1
                else:
                    cases.append(place_in_data_set(path, root))
    except OSError as error:
        raise BadInput(
            root, f"cannot be read ({error.strerror})", "check the permission to read it"
        ) from error
    return cases


def place_in_data_set(path: Path, root: Path) -> BatchCase:
    """The case of an image of a data set."""
    folder = path.absolute().parent.relative_to(root.absolute()).as_posix()
    return BatchCase(stem_of(path), path, folder=folder)
