"""The list of the worst images of an evaluation, which lie in a folder with their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput

__all__ = ["WORST_COUNT", "WorstImage", "read_worst_images", "write_worst_images"]

WORST_COUNT = 10
"""How many images are kept: more than a person looks through, and few enough to keep of any data set."""

_LIST_NAME = "worst.json"


class WorstImage(FrozenModel):
    """An image with a low Dice.

    Attributes
    ----------
    name, dsc, iou, hd95
        Of the image, as in `ImageResult`.
    image
        Path of the image's file.
    result, reference
        Paths of the record of its segmentation, and of the reference mask with the labels of the model,
        relative to the folder.
    worst_slice
        The slice of a volume with the most wrong voxels, counted from 1, behind its time point where there
        is one (``"3/17"``); empty for a single image.
    """

    name: str
    dsc: float
    iou: float
    hd95: float
    image: str
    result: str
    reference: str
    worst_slice: str = ""


_LIST: TypeAdapter[list[WorstImage]] = TypeAdapter(list[WorstImage])


def write_worst_images(folder: Path, images: Sequence[WorstImage]) -> Path:
    """Write the list into its folder; returns its file."""
    path = folder / _LIST_NAME
    path.write_bytes(_LIST.dump_json(list(images), indent=2) + b"\n")
    return path


def read_worst_images(folder: Path) -> list[WorstImage]:
    """The list of a folder, in ascending order of Dice.

    Raises
    ------
    BadInput
        If the folder holds none, or it cannot be read.
    """
    path = folder / _LIST_NAME
    try:
        return _LIST.validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})", "evaluate the model again") from error
    except ValidationError as error:
        raise BadInput(path, "is not a list of images", "evaluate the model again") from error
