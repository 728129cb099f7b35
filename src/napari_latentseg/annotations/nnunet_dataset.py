"""The store as an nnU-Net raw data set: `imagesTr`, `labelsTr` and `dataset.json`, made from the journal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_latentseg.annotations.case_files import NIFTI_SUFFIX, PlaneLayout
from napari_latentseg.annotations.records import CaseRecord
from napari_latentseg.annotations.types import Approval
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.json_text import load_json

__all__ = [
    "COLOR_CHANNEL_COUNTS",
    "DATASET_JSON",
    "IMAGES_FOLDER",
    "LABELS_FOLDER",
    "NnunetCase",
    "dataset_channels",
    "dataset_json",
    "ignore_label",
    "label_states",
    "new_classes",
    "nnunet_cases",
    "read_dataset_json",
    "read_label_states",
    "timepoint_cases",
]

IMAGES_FOLDER, LABELS_FOLDER, DATASET_JSON = "imagesTr", "labelsTr", "dataset.json"
STATE_KEY = "latentseg"
RESERVED_CLASS_NAMES = ("background", "ignore")
_COLOR_CHANNELS = ("R", "G", "B")
COLOR_CHANNEL_COUNTS = (1, 3, 4)  # grey, RGB and RGBA, which a store and a model take alike


def new_classes(known: Sequence[ClassInfo], candidates: Iterable[ClassInfo]) -> tuple[ClassInfo, ...]:
    """The classes that the store does not have yet, checked against those it has.

    Raises
    ------
    BadInput
        If another class of the store has the same label or the same name.
    """
    classes = list(known)
    for candidate in candidates:
        subject = f"class {candidate.label} {candidate.name!r}"
        if candidate.name.casefold() in RESERVED_CLASS_NAMES:
            raise BadInput(subject, "nnU-Net reserves that name", "give it another name")
        same_label = next((c for c in classes if c.label == candidate.label), None)
        same_name = next((c for c in classes if c.name.casefold() == candidate.name.casefold()), None)
        if same_label is None and same_name is None:
            classes.append(candidate)
        elif same_label is not same_name:
            conflicting = same_label or same_name
            why = (
                f"these annotations have {conflicting.label} {conflicting.name!r} already"
                if conflicting
                else ""
            )
            raise BadInput(subject, why, "use the same number and name, or other annotations")
    return tuple(classes[len(known) :])


@dataclass(frozen=True)
class NnunetCase:
    """The volume or slice of one time with its mask, as files that nnU-Net reads.

    It stands beside `Case`, which is the whole image: nnU-Net has no time axis, so a series of T times is T
    of these, each with an image file for every channel and a label file of its own.

    Attributes
    ----------
    name
        How the names of the files begin.
    case, time
        The image, and its time point.
    approvals
        Those with slices of this time point, oldest first.
    is_fully_approved
        Whether every slice is approved.
    channels
        Of every image of the data set: nnU-Net wants as many in each. Beside images in colour a grey one has
        three equal channels, and alpha is left out.
    """

    name: str
    case: CaseRecord
    time: int | None
    approvals: tuple[Approval, ...]
    is_fully_approved: bool
    channels: int = 1

    @property
    def image_files(self) -> list[str]:
        """The names of its image files, one for each channel."""
        return list(self.image_sources)

    @property
    def image_sources(self) -> dict[str, str]:
        """The file of the store that each of its image files is, or is a copy of, by its name."""
        names = [f"{self.name}_{channel:04d}{NIFTI_SUFFIX}" for channel in range(self.channels)]
        return {name: name if i < self.case.channels else names[0] for i, name in enumerate(names)}

    @property
    def hidden_files(self) -> list[str]:
        """The names of files of this image that nnU-Net must not see: alpha, and copies of a grey channel."""
        most = max(*COLOR_CHANNEL_COUNTS, self.case.channels)
        return [f"{self.name}_{channel:04d}{NIFTI_SUFFIX}" for channel in range(self.channels, most)]

    @property
    def label_file(self) -> str:
        """The name of its label file."""
        return f"{self.name}{NIFTI_SUFFIX}"

    def label_state(self, ignore_label_value: int) -> str:
        """Identifies the content of its label file: the approvals in it, and the ignore label."""
        approval_ids = "+".join(str(approval.id) for approval in self.approvals)
        return approval_ids if self.is_fully_approved else f"{approval_ids} ignore {ignore_label_value}"


def nnunet_cases(
    cases: Iterable[CaseRecord], approvals: Sequence[Approval]
) -> tuple[list[NnunetCase], list[NnunetCase]]:
    """The volumes of the store, as nnU-Net reads them.

    Parameters
    ----------
    cases
        All images.
    approvals
        Those that were not revoked, oldest first.
    """
    by_case: dict[str, list[Approval]] = {}
    for approval in approvals:
        by_case.setdefault(approval.case, []).append(approval)
    cases = list(cases)
    channels = dataset_channels(c.channels for c in cases if c.name in by_case)
    with_approvals: list[NnunetCase] = []
    without_approvals: list[NnunetCase] = []
    for case in cases:
        visible, hidden = timepoint_cases(case, by_case.get(case.name, []), channels)
        with_approvals += visible
        without_approvals += hidden
    return with_approvals, without_approvals


def dataset_channels(channels: Iterable[int]) -> int:
    """How many channels every image of the data set has.

    Parameters
    ----------
    channels
        Of the images of which something is approved.
    """
    most = max(channels, default=1)
    return min(most, 3) if most in COLOR_CHANNEL_COUNTS else most


def timepoint_cases(
    case: CaseRecord, approvals: Sequence[Approval], channels: int
) -> tuple[list[NnunetCase], list[NnunetCase]]:
    """The volumes of one image, as nnU-Net reads them: those with approved slices, and the others.

    Parameters
    ----------
    case
        The image.
    approvals
        Those of it that were not revoked, oldest first.
    channels
        Of every image of the data set.
    """
    layout = PlaneLayout(case.spatial_axes, case.spatial_shape)
    planes: dict[int | None, set[int]] = {}
    for approval in approvals:
        for number in approval.planes:
            time, plane_index = layout.locate(number)
            planes.setdefault(time, set()).add(plane_index)
    depth = layout.plane_count // len(layout.timepoints)
    with_approvals: list[NnunetCase] = []
    without_approvals: list[NnunetCase] = []
    for time in layout.timepoints:
        timepoint_approvals = tuple(a for a in approvals if any(block.time == time for block in a.blocks))
        name = layout.timepoint_name(case.name, time)
        is_fully_approved = len(planes.get(time, ())) == depth
        nnunet_case = NnunetCase(name, case, time, timepoint_approvals, is_fully_approved, channels)
        (with_approvals if timepoint_approvals else without_approvals).append(nnunet_case)
    return with_approvals, without_approvals


def ignore_label(classes: Sequence[ClassInfo]) -> int:
    """The label of slices that are not approved: nnU-Net wants it above all others."""
    return max((c.label for c in classes), default=0) + 1


def dataset_json(
    cases: Sequence[NnunetCase], classes: Sequence[ClassInfo], state: dict[str, Any] | None = None
) -> str:
    """The text of `dataset.json`.

    Parameters
    ----------
    cases
        The volumes in `imagesTr`.
    classes
        Of the store. nnU-Net wants labels without gaps, so a label that is not a class is named "unused".
    state
        What each label file was made from, see `NnunetCase.label_state`; None for a plain data set.
    """
    ignore_value = ignore_label(classes)
    names = {c.label: c.name for c in classes}
    labels = {"background": 0} | {names.get(n, f"unused {n}"): n for n in range(1, ignore_value)}
    if not all(case.is_fully_approved for case in cases):
        labels["ignore"] = ignore_value
    channels = cases[0].channels if cases else 1
    modalities = {case.case.modality for case in cases}
    modality = modalities.pop() if len(modalities) == 1 else ""
    if channels == len(_COLOR_CHANNELS):
        channel_names = dict(zip("012", _COLOR_CHANNELS, strict=True))
    else:
        channel_names = {
            str(c): (modality or "image") if channels == 1 else f"channel {c}" for c in range(channels)
        }
    content: dict[str, Any] = {
        "channel_names": channel_names,
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": NIFTI_SUFFIX,
    }
    text = json.dumps(content, indent=2)
    if state is not None:  # on one line: Python indents slowly, and there may be 10,000 images
        text = f'{text[:-2]},\n  "{STATE_KEY}": {json.dumps({"format": 1, "labels": state})}\n}}'
    return f"{text}\n"


def read_label_states(path: Path) -> dict[str, dict[str, str]]:
    """What each label file was made from, and its SHA-256, read from `dataset.json`; {} without one."""
    return label_states(read_dataset_json(path))


def read_dataset_json(path: Path) -> Any:
    """The content of `dataset.json`; None where it is missing or damaged."""
    try:
        return load_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def label_states(content: Any) -> dict[str, dict[str, str]]:
    """What each label file was made from, and its SHA-256, by the content of `dataset.json`; {} without."""
    try:
        states = content[STATE_KEY]["labels"]
        return {str(k): {"of": str(v["of"]), "sha256": str(v["sha256"])} for k, v in states.items()}
    except (LookupError, TypeError, AttributeError):
        return {}
