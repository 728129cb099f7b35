"""Which images a model has learned from, and which it kept apart: `split.json` of a model folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from napari_latentseg.errors import BadInput
from napari_latentseg.models.layout import SPLIT_FILE

__all__ = ["Identified", "Split", "read_split"]

_FORMAT = 2
_REMEDY = "install the model again"

Part = Literal["train", "validation", ""]


class Identified(Protocol):
    """An image that can be looked up in a split: a `Pair`, or an annotated scan of any folder."""

    @property
    def content_sha256(self) -> str:
        """`Scan.content_sha256` of the image."""

    @property
    def file_sha256(self) -> str | None:
        """SHA-256 of the image's file; None where it is a case of an annotation store."""


@dataclass(frozen=True)
class Split:
    """The images that a model has seen, by their hashes; names may be patients'.

    Attributes
    ----------
    train, validation
        `Scan.content_sha256` of the images learned from, and of those kept apart to judge and choose by.
    earlier_train, earlier_validation
        From splits of format 1, which knew an image of a folder by the SHA-256 of its *file* and one of an
        annotation store by its content, and did not say which was which.
    """

    train: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    earlier_train: frozenset[str] = frozenset()
    earlier_validation: frozenset[str] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether the model says what it learned from."""
        return bool(self.train or self.earlier_train)

    def __len__(self) -> int:
        """How many images there are in both parts."""
        return sum(map(len, (self.train, self.validation, self.earlier_train, self.earlier_validation)))

    def part_of(self, image: Identified) -> Part:
        """The part that an image belongs to; empty where the model has not seen it.

        An image that an older split kept apart under the hash of its file, and that was learned from since
        under another name, counts as learned from. Its file is hashed only where there is an older split.

        Parameters
        ----------
        image
            Is decoded for its key where that is not known yet, unless nothing could be found by it.
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
        """That of a model that was taught further; what it ever learned from is never kept apart.

        Parameters
        ----------
        train, validation
            What was learned from, and what was kept apart, this time.
        """
        learned = list(train)
        keys = {image.content_sha256 for image in learned}
        files = {image.file_sha256 for image in learned} if self.earlier_validation else set()
        apart = {image.content_sha256 for image in validation if self.part_of(image) != "train"}
        return Split(
            self.train | keys,
            (self.validation | apart) - keys,
            self.earlier_train,
            self.earlier_validation - keys - files,
        )

    def to_json(self) -> dict[str, Any]:
        """As `split.json` holds it."""
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
    """The split of a model folder; empty where it does not say.

    Parameters
    ----------
    folder
        Of a model, whose `split.json` may be of format 1 (no number in it) or 2.

    Raises
    ------
    BadInput
        Where there is such a file, but not a readable one, or one of a newer version.
    """
    path = Path(folder) / SPLIT_FILE
    if not path.is_file():
        return Split()
    try:
        content = json.loads(path.read_text("utf-8"))
        version = int(content.get("format", 1))
        train, validation = _parts(content)
        earlier = _parts(content.get("earlier", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(path, "is no list of images for training and validation", _REMEDY) from error
    if version > _FORMAT:
        raise BadInput(path, f"has format {version}, which is newer than this version", "update the plugin")
    if version == 1:
        return Split(earlier_train=train, earlier_validation=validation)
    return Split(train, validation, *earlier)


def _parts(content: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The keys of training and validation."""
    train, validation = (frozenset(map(str, content.get(part, []))) for part in ("train", "validation"))
    return train, validation
