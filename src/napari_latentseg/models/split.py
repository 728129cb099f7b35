"""Training and validation images of a model, by their hashes: `split.json` of a model folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from napari_latentseg.errors import BadInput
from napari_latentseg.models.layout import SPLIT_FILE
from napari_latentseg.utils.json_text import load_json

__all__ = ["Identified", "Part", "Split", "read_split"]

_FORMAT = 2
_REMEDY = "install the model again"

Part = Literal["train", "validation", ""]


class Identified(Protocol):
    """An image that can be looked up in a split, by the hash of its content or of its file."""

    @property
    def content_sha256(self) -> str:
        """`Scan.content_sha256` of the image."""

    @property
    def file_sha256(self) -> str | None:
        """SHA-256 of the image's file; None where it is a case of an annotation store."""


@dataclass(frozen=True)
class Split:
    """Training and validation images, by their hashes, since file names may contain patients' names.

    Attributes
    ----------
    train, validation
        `Scan.content_sha256` of the training images, and of the validation images used for selecting weights.
    earlier_train, earlier_validation
        Hashes from splits of format 1: SHA-256 of the *file* for images from a folder, and of the content for
        cases of an annotation store, without saying which.
    """

    train: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    earlier_train: frozenset[str] = frozenset()
    earlier_validation: frozenset[str] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether the training images are known."""
        return bool(self.train or self.earlier_train)

    def __len__(self) -> int:
        """Number of training and validation images."""
        return sum(map(len, (self.train, self.validation, self.earlier_train, self.earlier_validation)))

    def part_of(self, image: Identified) -> Part:
        """``"train"`` or ``"validation"``; empty for an image that the model has not seen.

        An image in both parts (a validation image by the file hash of an older split, later trained on under
        another name) counts as a training image.

        Parameters
        ----------
        image
            Its hashes are only asked for where they are needed: the content hash may require decoding the
            image, the file hash reading the file.
        """
        parts: tuple[tuple[Part, frozenset[str], frozenset[str]], ...] = (
            ("train", self.train, self.earlier_train),
            ("validation", self.validation, self.earlier_validation),
        )
        for part, keys, earlier in parts:
            if earlier and image.file_sha256 in earlier:
                return part
            if (keys or earlier) and (image.content_sha256 in keys or image.content_sha256 in earlier):
                return part
        return ""

    def extended(self, train: Iterable[Identified], validation: Iterable[Identified]) -> Split:
        """The split after fine-tuning; an image once trained on is never one for validation.

        Parameters
        ----------
        train, validation
            Training and validation images of the fine-tuning.
        """
        new_images = list(train)
        new_train = {image.content_sha256 for image in new_images}
        new_files = {image.file_sha256 for image in new_images} if self.earlier_validation else set()
        new_validation = {image.content_sha256 for image in validation if self.part_of(image) != "train"}
        return Split(
            self.train | new_train,
            (self.validation | new_validation) - new_train,
            self.earlier_train,
            self.earlier_validation - new_train - new_files,
        )

    def joined(self, other: Split) -> Split:
        """The split of two models; an image that either was trained on counts as a training image."""
        return Split(
            self.train | other.train,
            self.validation | other.validation,
            self.earlier_train | other.earlier_train,
            self.earlier_validation | other.earlier_validation,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of `split.json`."""
        content: dict[str, Any] = {
            "format": _FORMAT,
            "train": sorted(self.train),
            "validation": sorted(self.validation),
        }
        if self.earlier_train or self.earlier_validation:
            content["earlier"] = {
                "train": sorted(self.earlier_train),
                "validation": sorted(self.earlier_validation),
            }
        return content


def read_split(folder: Path) -> Split:
    """The split of a model folder; empty if the folder has no `split.json`.

    Parameters
    ----------
    folder
        A model folder; its `split.json` may have format 1 (without a "format" key) or 2.

    Raises
    ------
    BadInput
        If the file is damaged, or of a newer format.
    """
    path = Path(folder) / SPLIT_FILE
    if not path.is_file():
        return Split()
    try:
        content = load_json(path.read_text("utf-8"))
        version = int(content.get("format", 1))
        train, validation = _parts(content)
        earlier = _parts(content.get("earlier", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(path, "is not a list of training and validation images", _REMEDY) from error
    if version > _FORMAT:
        raise BadInput(path, f"has format {version}, which is newer than this version", "update the plugin")
    if version == 1:
        return Split(earlier_train=train, earlier_validation=validation)
    return Split(train, validation, *earlier)


def _parts(content: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The hashes of training and of validation images."""
    train, validation = (frozenset(map(str, content.get(part, []))) for part in ("train", "validation"))
    return train, validation
