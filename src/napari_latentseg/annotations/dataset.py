"""The folder as nnU-Net reads it: `imagesTr`, `labelsTr` and `dataset.json`, made from the journal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_latentseg.annotations.images import ENDING, Layout
from napari_latentseg.annotations.records import Approval, CaseRecord
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput

__all__ = [
    "IMAGES",
    "JSON",
    "LABELS",
    "Target",
    "agreed",
    "dataset_json",
    "ignore_label",
    "state_in",
    "targets",
]

IMAGES, LABELS, JSON = "imagesTr", "labelsTr", "dataset.json"
OURS = "latentseg"
RESERVED = ("background", "ignore")
_COLOURS = ("R", "G", "B", "alpha")


def agreed(known: Sequence[ClassInfo], new: Iterable[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Those of the new classes that are not known yet, once it is sure that none is at odds with the rest.

    Raises
    ------
    BadInput
        Where a number or a name is another class's.
    """
    classes = list(known)
    for one in new:
        what = f"class {one.label} {one.name!r}"
        if one.name.casefold() in RESERVED:
            raise BadInput(what, "nnU-Net uses that name for what is no class", "give it another name")
        of_label = next((c for c in classes if c.label == one.label), None)
        of_name = next((c for c in classes if c.name.casefold() == one.name.casefold()), None)
        if of_label is None and of_name is None:
            classes.append(one)
        elif of_label is not of_name:
            there = of_label or of_name
            why = f"these annotations have {there.label} {there.name!r} already" if there else ""
            raise BadInput(what, why, "use the same number and name, or other annotations")
    return tuple(classes[len(known) :])


@dataclass(frozen=True)
class Target:
    """One image with its mask, as nnU-Net is to find it: a volume or plane of one time.

    Attributes
    ----------
    name
        Of the files.
    case, time
        What it is of.
    approvals
        Those that touch it, with their numbers.
    whole
        Whether every plane is approved.
    """

    name: str
    case: CaseRecord
    time: int | None
    approvals: tuple[tuple[int, Approval], ...]
    whole: bool

    @property
    def images(self) -> list[str]:
        """The names of its image files, one a channel."""
        return [f"{self.name}_{channel:04d}{ENDING}" for channel in range(self.case.channels)]

    @property
    def label(self) -> str:
        """The name of its mask."""
        return f"{self.name}{ENDING}"

    def state(self, ignore: int) -> str:
        """What its mask is made from; a mask that was made from the same is the same."""
        made = "+".join(str(number) for number, _ in self.approvals)
        return made if self.whole else f"{made} ignore {ignore}"


def targets(
    cases: Iterable[CaseRecord], approvals: Sequence[tuple[int, Approval]]
) -> tuple[list[Target], list[Target]]:
    """What nnU-Net is to find, and what it is not to: that of which nothing is approved.

    Parameters
    ----------
    cases
        All.
    approvals
        Those that count, oldest first, with their numbers.
    """
    by_case: dict[str, list[tuple[int, Approval]]] = {}
    for number, approval in approvals:
        by_case.setdefault(approval.case, []).append((number, approval))
    found: list[Target] = []
    hidden: list[Target] = []
    for case in cases:
        layout = Layout(case.spatial_axes, case.spatial_shape)
        own = by_case.get(case.name, [])
        planes: dict[int | None, set[int]] = {}
        for _, approval in own:
            for number in approval.numbers:
                time, z = layout.where(number)
                planes.setdefault(time, set()).add(z)
        depth = layout.planes // len(layout.times)
        for time in layout.times:
            touching = tuple((n, a) for n, a in own if any(part.time == time for part in a.parts))
            whole = len(planes.get(time, ())) == depth
            target = Target(layout.part_name(case.name, time), case, time, touching, whole)
            (found if touching else hidden).append(target)
    return found, hidden


def ignore_label(classes: Sequence[ClassInfo]) -> int:
    """The number for what is not approved: nnU-Net wants it above all others."""
    return max((c.label for c in classes), default=0) + 1


def dataset_json(
    found: Sequence[Target], classes: Sequence[ClassInfo], state: dict[str, Any] | None = None
) -> str:
    """The text of `dataset.json`.

    Parameters
    ----------
    found
        What is there.
    classes
        Of the store. nnU-Net wants numbers without gaps, so a number that is no class's is called unused.
    state
        What each mask was made from; None for a plain data set.
    """
    top = ignore_label(classes)
    names = {c.label: c.name for c in classes}
    labels = {"background": 0} | {names.get(n, f"unused {n}"): n for n in range(1, top)}
    if not all(target.whole for target in found):
        labels["ignore"] = top
    channels = found[0].case.channels if found else 1
    kinds = {target.case.modality for target in found}
    grey = kinds.pop() if len(kinds) == 1 else ""
    if channels in (3, 4):
        called = dict(zip("0123", _COLOURS[:channels], strict=False))
    else:
        called = {str(c): (grey or "image") if channels == 1 else f"channel {c}" for c in range(channels)}
    told: dict[str, Any] = {
        "channel_names": called,
        "labels": labels,
        "numTraining": len(found),
        "file_ending": ENDING,
    }
    if state is not None:
        told[OURS] = {"format": 1, "labels": state}
    return json.dumps(told, indent=2) + "\n"


def state_in(path: Path) -> dict[str, dict[str, str]]:
    """What each mask was made from, and its SHA-256, by the file that `dataset_json` made; {} without one."""
    try:
        found = json.loads(path.read_text("utf-8"))[OURS]["labels"]
        return {str(k): {"of": str(v["of"]), "sha256": str(v["sha256"])} for k, v in found.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
