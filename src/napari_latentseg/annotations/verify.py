"""Holding every file of a store against its hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.annotations.dataset import IMAGES, JSON, LABELS, Target, ignore_label, state_in
from napari_latentseg.annotations.drafts import SUFFIX, read_header
from napari_latentseg.annotations.images import ENDING
from napari_latentseg.annotations.journal import Journal
from napari_latentseg.annotations.records import Approval, CaseRecord
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.weights import sha256_of

__all__ = ["Finding", "findings"]


@dataclass(frozen=True)
class Finding:
    """One file that is not as it should be.

    Attributes
    ----------
    file
        Its name in the store.
    what
        What is wrong, in plain words.
    serious
        Whether something that was approved is missing or damaged, or a mask that nnU-Net would read is not
        what was approved; False for what is left over.
    """

    file: str
    what: str
    serious: bool = True


def findings(
    folder: Path,
    journal: Journal,
    cases: Iterable[CaseRecord],
    approvals: Sequence[tuple[int, Approval]],
    found: Sequence[Target],
    classes: Sequence[ClassInfo],
    image: Callable[[str], Path],
) -> Iterator[Finding]:
    """Everything that is not as it should be.

    Parameters
    ----------
    folder, journal
        Of the store.
    cases, approvals
        All, also those that were revoked.
    found
        What nnU-Net is to find.
    classes
        Of the store.
    image
        Where an image file lies.
    """
    for number in journal.damaged:
        yield Finding(
            journal.path.name,
            f"line {number} is damaged: what was approved with it does not count (its files are still there)",
        )
    for number, approval in approvals:
        for part in approval.parts:
            path = folder / "objects" / f"{part.object}{ENDING}"
            if why := _wrong(path, part.object):
                yield Finding(f"objects/{path.name}", f"the mask of approval {number} {why}")
    for case in cases:
        for name, sha256 in case.files.items():
            path = image(name)
            if why := _wrong(path, sha256):
                yield Finding(f"{path.parent.name}/{name}", f"the image {why}")
    yield from _of_view(folder, found, ignore_label(classes))
    yield from _left_over(folder, approvals, found)


def _of_view(folder: Path, found: Sequence[Target], ignore: int) -> Iterator[Finding]:
    state = state_in(folder / JSON)
    if found and not state:
        yield Finding(JSON, "is missing or damaged; the next opening makes it again")
        return
    for target in found:
        now = state.get(target.name, {"of": "", "sha256": ""})
        if now["of"] != target.state(ignore):
            yield Finding(f"{LABELS}/{target.label}", "is behind the journal; the next opening mends it")
        elif why := _wrong(folder / LABELS / target.label, now["sha256"]):
            yield Finding(
                f"{LABELS}/{target.label}", f"{why}; remove it, and the next opening makes it again"
            )
        for name in target.images:
            if not (folder / IMAGES / name).exists():
                yield Finding(f"{IMAGES}/{name}", "is not in its place; the next opening mends it")


def _left_over(
    folder: Path, approvals: Sequence[tuple[int, Approval]], found: Sequence[Target]
) -> Iterator[Finding]:
    known = {
        "objects": {f"{part.object}{ENDING}" for _, approval in approvals for part in approval.parts},
        IMAGES: {name for target in found for name in target.images},
        LABELS: {target.label for target in found},
    }
    for part, names in known.items():
        for path in sorted((folder / part).iterdir()) if (folder / part).is_dir() else []:
            if path.name not in names:
                yield Finding(f"{part}/{path.name}", "is part of no approval", serious=False)
    for path in sorted((folder / "drafts").glob(f"*/*{SUFFIX}")):
        if read_header(path) is None and path.exists():
            yield Finding(
                f"drafts/{path.parent.name}/{path.name}", "the draft is damaged; remove it", serious=False
            )


def _wrong(path: Path, sha256: str) -> str:
    if not path.exists():
        return "is missing"
    try:
        return "" if sha256_of(path) == sha256 else "is damaged or was changed"
    except BadInput:
        return "cannot be read"
