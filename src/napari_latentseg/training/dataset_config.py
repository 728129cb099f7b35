"""The classes and data sets of a training configuration."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.data.label_map import LabelTarget

__all__ = ["ClassConfig", "DatasetConfig", "SliceSamplingConfig", "check_patient_pattern"]


def check_patient_pattern(pattern: str | None) -> str | None:
    """Check that a pattern is a regular expression with a group; returns it.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        groups = 1 if pattern is None else re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"is not a regular expression ({error})") from error
    if groups < 1:
        raise ValueError("needs parentheses around the part of the name that is the patient")
    return pattern


class ClassConfig(FrozenModel):
    """One class of a model with several; its label in a mask is its position in the list, from 1.

    Attributes
    ----------
    name, color
        The name, and the colour as ``#rrggbb``.
    includes
        Classes that are parts of it, as a tumour is of its organ.
    """

    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    includes: tuple[str, ...] = ()


class DatasetConfig(FrozenModel):
    """One of several data sets, under the name of its folder.

    Attributes
    ----------
    labels
        The class of each label, or ``{"split": [right, left]}`` for a label of a paired organ. Classes that
        no label names are not annotated in this data set. Empty where the labels are the model's own.
    several_are_one_class
        Whether masks may hold several labels that are all the one class of the model, as of single objects.
    ignore_label
        The label of voxels that nobody annotated; slices that hold it are not trained on.
    group_pattern
        Replaces `SplitConfig.group_pattern`.
    every
        Only every n-th slice of a volume is read.
    reader_masks
        Replaces `TrainingConfig.reader_masks` in this data set; ``["masks"]`` for one with a single mask of
        each image among others with several.
    name, licence, reference
        For the model card.
    """

    labels: dict[int, LabelTarget] = Field(default_factory=dict)
    several_are_one_class: bool = False
    ignore_label: int | None = None
    group_pattern: str | None = None
    every: int = Field(1, ge=1)
    reader_masks: tuple[str, ...] = ()
    name: str = ""
    licence: str = "not stated"
    reference: str = ""

    _check_pattern = field_validator("group_pattern")(check_patient_pattern)


class SliceSamplingConfig(FrozenModel):
    """How the slices of an epoch are sampled, so that no large data set or long volume dominates.

    Attributes
    ----------
    planes
        Slices of an epoch. For each of them a data set is drawn (all with the same probability), then a case
        of it, then a slice.
    active_share
        Probability that the slice has foreground, in a case that has such slices.
    """

    planes: int = Field(ge=1)
    active_share: float = Field(0.75, ge=0, le=1)
