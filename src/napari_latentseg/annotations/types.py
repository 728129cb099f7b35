"""An approval as the package uses it, made of its line in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from napari_latentseg.annotations.records import ApprovalRecord, MaskBlock, ModelVersion

__all__ = ["Approval"]


@dataclass(frozen=True)
class Approval:
    """Slices of a case that a person has approved.

    It stands beside `ApprovalRecord`, which is the line on the disk: a line does not hold its own number, nor
    whether a later line revoked it.

    Attributes
    ----------
    id
        The number of its line in the journal.
    record
        That line.
    revoked
        Whether it was taken back.
    """

    id: int
    record: ApprovalRecord
    revoked: bool = False

    @property
    def case(self) -> str:
        """The image's name in the store."""
        return self.record.case

    @cached_property
    def planes(self) -> tuple[int, ...]:
        """Every approved slice, numbered from 0 through the whole image as `Planes` does."""
        return self.record.plane_numbers

    @property
    def blocks(self) -> tuple[MaskBlock, ...]:
        """The files that hold the mask."""
        return self.record.parts

    @property
    def model(self) -> ModelVersion | None:
        """What the mask began from; None where a person drew all of it."""
        return self.record.model

    @property
    def edited(self) -> bool:
        """Whether a person changed the mask of the model."""
        return self.record.edited

    @property
    def reader(self) -> str:
        """Who approved it; empty where nobody said."""
        return self.record.reader

    @property
    def time(self) -> str:
        """When it was approved, UTC, to the second."""
        return self.record.time
