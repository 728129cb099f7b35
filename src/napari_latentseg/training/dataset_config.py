"""What a training is told of its classes and data sets."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.data.label_map import LabelTarget

__all__ = ["ClassConfig", "DatasetConfig", "SliceSamplingConfig", "check_patient_pattern"]


def check_patient_pattern(pattern: str | None) -> str | None:
    """The same regular expression, once it is known to be one with a group.

    Raises
    ------
    ValueError
        Where it is none.
    """
    try:
        groups = 1 if pattern is None else re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from error
    if groups < 1:
        raise ValueError("needs parentheses around what tells the patient")
    return pattern


class ClassConfig(FrozenModel):
    """One class of a model with several; its label in a mask is its place in the list, from 1.

    Attributes
    ----------
    name, color
        For people.
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
        For each of its labels the class that it is, or ``{"split": [right, left]}`` where it covers a pair.
        Classes that no label names were not looked for. Empty where the labels are the model's own.
    group_pattern
        In place of that of the split.
    every
        Of volumes, only each so-manieth plane is read.
    name, licence, reference
        What the card says of it.
    """

    labels: dict[int, LabelTarget] = Field(default_factory=dict)
    group_pattern: str | None = None
    every: int = Field(1, ge=1)
    name: str = ""
    licence: str = "not stated"
    reference: str = ""

    _check_pattern = field_validator("group_pattern")(check_patient_pattern)


class SliceSamplingConfig(FrozenModel):
    """Which planes an epoch is made of, where it is not every one of them once.

    Attributes
    ----------
    planes
        How many an epoch has. Each is drawn anew: first the data set, all alike, then the case, then the
        plane.
    active_share
        How often the plane is one in which any class is seen, where the case has any.
    """

    planes: int = Field(ge=1)
    active_share: float = Field(0.75, ge=0, le=1)
