"""Checking every file of a store against its hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.annotations.case_files import NIFTI_SUFFIX
from napari_latentseg.annotations.drafts import DRAFT_SUFFIX, read_header
from napari_latentseg.annotations.journal import Journal
from napari_latentseg.annotations.nnunet_dataset import (
    DATASET_JSON,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    NnunetCase,
    ignore_label,
    read_label_states,
)
from napari_latentseg.annotations.records import CaseRecord, Record
from napari_latentseg.annotations.types import Approval
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import file_sha256

__all__ = ["IntegrityFinding", "find_problems"]


@dataclass(frozen=True)
class IntegrityFinding:
    """One problem with one file.

    Attributes
    ----------
    file
        Its name in the store.
    description
        What is wrong, in words.
    is_serious
        Whether something that was approved is missing or damaged, or a label file differs from what was
        approved; False for files that nothing needs.
    """

    file: str
    description: str
    is_serious: bool = True


def find_problems(
    folder: Path,
    journal: Journal[Record],
    cases: Iterable[CaseRecord],
    approvals: Sequence[Approval],
    cases_in_view: Sequence[NnunetCase],
    classes: Sequence[ClassInfo],
    image_path: Callable[[str], Path],
) -> Iterator[IntegrityFinding]:
    """Every problem of a store.

    Parameters
    ----------
    folder, journal
        Of the store.
    cases, approvals
        All of them, also revoked approvals.
    cases_in_view
        The volumes that nnU-Net is to see.
    classes
        Of the store.
    image_path
        Gives the path of an image file by its name.
    """
    objects = folder / "objects"
    if not journal.path.exists() and objects.is_dir() and any(objects.iterdir()):
        yield IntegrityFinding(
            journal.path.name,
            "is missing: nothing counts as approved without it; put it back from a backup",
        )
    for number in journal.damaged_lines:
        yield IntegrityFinding(
            journal.path.name,
            f"line {number} is damaged or missing: what was approved with it does not count (its files are"
            " still there)",
        )
    for approval in approvals:
        for block in approval.blocks:
            path = folder / "objects" / f"{block.object}{NIFTI_SUFFIX}"
            if why := _hash_problem(path, block.object):
                yield IntegrityFinding(f"objects/{path.name}", f"the mask of approval {approval.id} {why}")
    for case in cases:
        for name, sha256 in case.files.items():
            path = image_path(name)
            if why := _hash_problem(path, sha256):
                yield IntegrityFinding(f"{path.parent.name}/{name}", f"the image {why}")
    yield from _check_nnunet_view(folder, cases_in_view, ignore_label(classes))
    yield from _find_orphans(folder, approvals, cases_in_view)


def _check_nnunet_view(
    folder: Path, cases: Sequence[NnunetCase], ignore_value: int
) -> Iterator[IntegrityFinding]:
    state = read_label_states(folder / DATASET_JSON)
    if cases and not state:
        yield IntegrityFinding(DATASET_JSON, "is missing or damaged; the next opening makes it again")
        return
    for case in cases:
        recorded = state.get(case.name, {"of": "", "sha256": ""})
        if recorded["of"] != case.label_state(ignore_value):
            yield IntegrityFinding(
                f"{LABELS_FOLDER}/{case.label_file}",
                "is older than the journal; the next opening makes it again",
            )
        elif why := _hash_problem(folder / LABELS_FOLDER / case.label_file, recorded["sha256"]):
            yield IntegrityFinding(
                f"{LABELS_FOLDER}/{case.label_file}", f"{why}; remove it, and the next opening makes it again"
            )
        for name, source in case.image_sources.items():
            path = folder / IMAGES_FOLDER / name
            if not path.exists():
                yield IntegrityFinding(
                    f"{IMAGES_FOLDER}/{name}", "is missing in this folder; the next opening repairs that"
                )
            elif name != source and (why := _hash_problem(path, case.case.files.get(source, ""))):
                yield IntegrityFinding(
                    f"{IMAGES_FOLDER}/{name}", f"{why}; remove it, and the next opening makes it again"
                )


def _find_orphans(
    folder: Path, approvals: Sequence[Approval], cases: Sequence[NnunetCase]
) -> Iterator[IntegrityFinding]:
    known_files = {
        "objects": {f"{block.object}{NIFTI_SUFFIX}" for approval in approvals for block in approval.blocks},
        IMAGES_FOLDER: {name for case in cases for name in case.image_files},
        LABELS_FOLDER: {case.label_file for case in cases},
    }
    for part, names in known_files.items():
        for path in sorted((folder / part).iterdir()) if (folder / part).is_dir() else []:
            if path.name not in names:
                yield IntegrityFinding(f"{part}/{path.name}", "is part of no approval", is_serious=False)
    for path in sorted((folder / "drafts").glob(f"*/*{DRAFT_SUFFIX}")):
        if read_header(path) is None and path.exists():
            yield IntegrityFinding(
                f"drafts/{path.parent.name}/{path.name}", "the draft is damaged; remove it", is_serious=False
            )


def _hash_problem(path: Path, sha256: str) -> str:
    if not path.exists():
        return "is missing"
    try:
        return "" if file_sha256(path) == sha256 else "is damaged or was changed"
    except BadInput:
        return "cannot be read"
