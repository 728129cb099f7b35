"""The records on disk: cases, classes, approvals and revocations, each a line of the journal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter, model_validator

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.ranges import as_ranges
from napari_latentseg.core.scan import CHANNEL

__all__ = [
    "RECORD_ADAPTER",
    "ApprovalRecord",
    "CaseRecord",
    "ClassRemoval",
    "ClassesRecord",
    "GeometryRecord",
    "MaskBlock",
    "ModelVersion",
    "Record",
    "Revocation",
    "as_ranges",
    "utc_now",
]

SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelVersion(NamedTuple):
    """The version of a model that a mask was made with."""

    name: str
    version: str
    sha256: str


class GeometryRecord(FrozenModel):
    """A geometry as it is written to disk, without rounding."""

    affine: tuple[tuple[float, ...], ...]
    units: tuple[str, ...]
    axis_labels: tuple[str, ...]
    frame: str = ""

    @classmethod
    def from_geometry(cls, geometry: Geometry) -> GeometryRecord:
        """The record of a geometry."""
        return cls(
            affine=geometry.affine,
            units=geometry.units,
            axis_labels=geometry.axis_labels,
            frame=geometry.frame,
        )

    @property
    def geometry(self) -> Geometry:
        """The geometry that was recorded."""
        return Geometry(self.affine, self.units, self.axis_labels, self.frame)


class JournalRecord(FrozenModel):
    """What every line of the journal may say.

    Attributes
    ----------
    reader
        Who wrote it; empty where nobody said, as in journals of earlier versions.
    """

    reader: str = ""


class CaseRecord(JournalRecord):
    """An image of the store, as it is written to disk. `AnnotationStore.cases` makes a `Case` of it.

    Attributes
    ----------
    name
        Made from the hash of its values and geometry.
    pixels
        `Scan.content_sha256`.
    shape, dtype
        Of the array.
    place
        Its geometry.
    files
        SHA-256 of each of its files, by name.
    """

    kind: Literal["case"] = "case"
    name: str = Field(pattern=r"^scan-[0-9a-f]{8,64}$")
    pixels: SHA256
    axes: str
    shape: tuple[int, ...]
    dtype: str
    place: GeometryRecord
    modality: str = ""
    files: dict[str, SHA256]
    time: str

    @model_validator(mode="after")
    def _check_axes(self) -> CaseRecord:
        if len(self.axes) != len(self.shape):
            raise ValueError(f"{len(self.axes)} axes do not fit a shape of {len(self.shape)}")
        return self

    @property
    def spatial_axes(self) -> str:
        """Without channels."""
        return self.axes.removesuffix(CHANNEL)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Without channels."""
        return self.shape[: len(self.spatial_axes)]

    @property
    def channels(self) -> int:
        """How many; 1 for a grey image without an axis of channels."""
        return self.shape[-1] if self.axes.endswith(CHANNEL) else 1


class ClassesRecord(JournalRecord):
    """Classes that were added to the store."""

    kind: Literal["classes"] = "classes"
    classes: tuple[ClassInfo, ...] = Field(min_length=1)


class ClassRemoval(JournalRecord):
    """Takes a class out of the store, by its label; nothing approved uses it."""

    kind: Literal["class removal"] = "class removal"
    label: int


class MaskBlock(FrozenModel):
    """The file that holds the approved slices of one time point.

    Attributes
    ----------
    time
        None for an image without a time axis.
    first, count
        Number of its first slice in the volume of that time point, and how many slices it has.
    object
        SHA-256 of the file, which is also its name.
    """

    time: int | None = None
    first: int
    count: int
    object: SHA256


class ApprovalRecord(JournalRecord):
    """Slices of a case that a person has approved, as they are written to disk; see `Approval`.

    Attributes
    ----------
    case
        The name of the case.
    planes
        First and last slice of each range, numbered from 0 through all time points.
    parts
        The files of the mask.
    model
        What the mask was made with; None where a person drew all of it.
    edited
        Whether a person changed it.
    time
        UTC.
    """

    kind: Literal["approval"] = "approval"
    case: str
    planes: tuple[tuple[int, int], ...] = Field(min_length=1)
    parts: tuple[MaskBlock, ...] = Field(min_length=1)
    model: ModelVersion | None = None
    edited: bool = False
    time: str

    @property
    def plane_numbers(self) -> tuple[int, ...]:
        """The number of every approved slice."""
        return tuple(n for first, last in self.planes for n in range(first, last + 1))


class Revocation(JournalRecord):
    """Takes an approval back, by the number of its line."""

    kind: Literal["revocation"] = "revocation"
    approval: int
    time: str


Record = CaseRecord | ClassesRecord | ClassRemoval | ApprovalRecord | Revocation
RECORD_ADAPTER: TypeAdapter[Any] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def utc_now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
