"""Drafts: a mask in one small file, of which only changed chunks are compressed again."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_latentseg.annotations.journal import with_checksum, without_checksum
from napari_latentseg.annotations.records import CaseRecord, ModelVersion
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.segmented_region import SegmentedRegion
from napari_latentseg.errors import BadInput

__all__ = [
    "DRAFT_SUFFIX",
    "ChunkedMask",
    "Draft",
    "DraftHeader",
    "draft_file_name",
    "read_header",
    "read_mask",
]

DRAFT_SUFFIX = ".draft"
# Of a mask, compressed together: a slice of 512 by 512, so that a brush stroke changes one or two chunks.
_CHUNK_BYTES = 1 << 18
_TAG_DIGITS = 8


class DraftHeader(FrozenModel):
    """The first line of a draft.

    Attributes
    ----------
    case
        Of the image, without its files.
    pieces
        Length in bytes and hash of each compressed chunk, in their order.
    segmented_region
        See `Draft`; drafts of earlier versions have none.
    """

    format: int = 1
    case: CaseRecord
    model: ModelVersion | None
    classes: tuple[ClassInfo, ...]
    time: str
    pieces: tuple[tuple[int, str], ...]
    segmented_region: SegmentedRegion | None = None


@dataclass(frozen=True)
class Draft:
    """A mask that somebody is working on, or was when the program ended.

    Attributes
    ----------
    id
        Names it in the store.
    case, key
        The image: its name in the store, and the SHA-256 of its values.
    model
        What the mask began from.
    time
        Of the last save, UTC.
    segmented_region
        The part that had a prediction when the mask was taken over; None where that is not known.
    in_use
        Whether a window that is open works on it.
    """

    id: str
    case: str
    key: str
    model: ModelVersion | None
    classes: tuple[ClassInfo, ...]
    axes: str
    shape: tuple[int, ...]
    time: str
    segmented_region: SegmentedRegion | None
    in_use: bool = field(compare=False)

    @property
    def tag(self) -> str:
        """What keeps it apart from other drafts of the same image and model, see `draft_file_name`."""
        return self.id.removesuffix(DRAFT_SUFFIX)[-_TAG_DIGITS:]


def draft_file_name(case: str, model: ModelVersion | None, tag: str = "") -> str:
    """The file of a draft of an image and a model.

    Parameters
    ----------
    case
        The name of the image in the store.
    model
        What the mask began from.
    tag
        Eight hexadecimal digits that keep drafts apart; by default the same for each image and model.
    """
    model_hash = hashlib.sha256((model.name if model else "").encode()).hexdigest()
    return f"{case}-{tag or model_hash[:_TAG_DIGITS]}{DRAFT_SUFFIX}"


class ChunkedMask:
    """A mask, compressed in chunks; an update compresses the chunks that have changed."""

    def __init__(self) -> None:
        self._chunks: list[tuple[str, bytes]] = []

    def update(self, mask: NDArray[np.uint8]) -> bool:
        """Take the mask as it is now; returns whether it has changed."""
        rows = mask.reshape(-1, mask.shape[-1])
        rows_per_chunk = max(1, _CHUNK_BYTES // rows.shape[1])
        previous_chunks, self._chunks = self._chunks, []
        for number, start in enumerate(range(0, len(rows), rows_per_chunk)):
            # one copy for hash and compression: the person may be painting in the array meanwhile
            values = rows[start : start + rows_per_chunk].tobytes()
            digest = hashlib.sha256(values).hexdigest()[:32]
            if number < len(previous_chunks) and previous_chunks[number][0] == digest:
                self._chunks.append(previous_chunks[number])
            else:
                self._chunks.append((digest, zlib.compress(values, 1)))
        return [digest for digest, _ in previous_chunks] != [digest for digest, _ in self._chunks]

    def write(self, path: Path, header: dict[str, Any]) -> None:
        """Write the chunks after a first line with the header.

        Raises
        ------
        OSError
            If a file cannot be written.
        """
        chunk_index = [[len(compressed), digest] for digest, compressed in self._chunks]
        with path.open("wb") as file:
            file.write(with_checksum({**header, "pieces": chunk_index}).encode() + b"\n")
            for _, data in self._chunks:
                file.write(data)


def read_header(path: Path) -> DraftHeader | None:
    """The header of a draft; None where it is incomplete, or no longer there."""
    try:
        with path.open("rb") as file:
            body = without_checksum(file.readline().rstrip(b"\n"))
        return None if body is None else DraftHeader.model_validate(body)
    except (OSError, ValidationError):
        return None


def read_mask(path: Path) -> NDArray[np.uint8]:
    """The mask of a draft, in its image's spatial shape.

    Raises
    ------
    BadInput
        If the file is missing or damaged.
    """
    header = read_header(path)
    if header is None:
        raise BadInput(path, "is not a draft, or is damaged", "discard it")
    chunks = []
    try:
        with path.open("rb") as file:
            file.readline()
            for length, digest in header.pieces:
                chunk = zlib.decompress(file.read(length))
                if hashlib.sha256(chunk).hexdigest()[:32] != digest:
                    raise ValueError
                chunks.append(chunk)
        mask = np.frombuffer(b"".join(chunks), np.uint8).reshape(header.case.spatial_shape)
    except (OSError, ValueError, zlib.error) as error:
        raise BadInput(path, "is damaged or cut short", "discard it") from error
    return mask.copy()
