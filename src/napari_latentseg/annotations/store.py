"""AnnotationStore: approved masks with their images, on the disk before an approval is reported as done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.case_files import PlaneLayout
from napari_latentseg.annotations.directory import StoreDirectory
from napari_latentseg.annotations.draft_manager import DraftManager
from napari_latentseg.annotations.drafts import Draft
from napari_latentseg.annotations.durable_io import commit, os_errors_as_bad_input
from napari_latentseg.annotations.export import export_dataset
from napari_latentseg.annotations.mask_files import (
    check_labels,
    checked_mask,
    merge_approvals,
    write_mask_blocks,
)
from napari_latentseg.annotations.nnunet_dataset import COLOR_CHANNEL_COUNTS, new_classes, nnunet_cases
from napari_latentseg.annotations.records import (
    ApprovalRecord,
    CaseRecord,
    ClassesRecord,
    ClassRemoval,
    ModelVersion,
    Record,
    Revocation,
    as_ranges,
    utc_now,
)
from napari_latentseg.annotations.store_folders import store_folder
from napari_latentseg.annotations.summary import approved_in_words, counted
from napari_latentseg.annotations.types import Approval
from napari_latentseg.annotations.verify import IntegrityFinding, find_problems
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmented_region import SegmentedRegion
from napari_latentseg.data.cases import Case
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import file_sha256

__all__ = ["AnnotationStore"]


class AnnotationStore:
    """Approved masks with their images, in a folder that nnU-Net reads.

    `journal.jsonl`, to which lines are only appended, and the files that it names by their hashes are the
    annotations; `labelsTr` and `dataset.json` are made from them. `approve` returns when its line is on the
    disk, which is written last: a process that is killed before has approved nothing, and one that is killed
    after has approved everything.

    Several processes may use one folder. A write holds a lock of the operating system; readers need none.

    Parameters
    ----------
    folder
        Made at the first write. A folder without write access can be read.
    reader
        Who writes: a name or initials, which every line of the journal then has. Empty where nobody says.

    Raises
    ------
    BadInput
        If the folder cannot be read, or is a newer version's.
    """

    def __init__(self, folder: Path | str, reader: str = "") -> None:
        self._directory = StoreDirectory(Path(folder))
        self.reader = reader
        self._draft_manager = DraftManager(self._directory)

    @classmethod
    def for_model(cls, name: str) -> AnnotationStore:
        """The store of a model's annotations, by its name."""
        return cls(store_folder(name))

    @property
    def reader(self) -> str:
        """Who writes; may be changed at any time."""
        return self._directory.reader

    @reader.setter
    def reader(self, name: str) -> None:
        self._directory.reader = " ".join(name.split())

    @property
    def folder(self) -> Path:
        """The folder of the store."""
        return self._directory.folder

    @property
    def notes(self) -> tuple[str, ...]:
        """What was repaired or ignored, in words."""
        return self._directory.notes

    def __enter__(self) -> AnnotationStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the drafts of this process, so that another process may resume them."""
        with self._directory.thread_lock, suppress(OSError):
            self._directory.session.release()
            self._draft_manager.close()

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the store, in the order in which they were added."""
        return self._directory.classes

    def approvals(self, *, revoked: bool = False) -> list[Approval]:
        """The approvals, oldest first.

        Parameters
        ----------
        revoked
            Include approvals that were taken back.
        """
        _, approvals = self._directory.records()
        return [approval for approval in approvals if revoked or not approval.revoked]

    def cases(self) -> list[Case]:
        """The images of the store, oldest first; also those of which nothing is approved any more.

        `Case.annotated_slices` are the approved ones. Image and mask are read when they are asked for: the
        mask as it was approved when this was called, 0 in the other slices.
        """
        self._directory.refresh()
        index = self._directory.index
        return [self._directory.case(r, index.approvals_of(r.name)) for r in index.cases.values()]

    def annotated_cases(self) -> list[Case]:
        """The images of which something is approved, oldest first."""
        return [case for case in self.cases() if case.annotated_slices]

    def case_records(self) -> list[CaseRecord]:
        """What the journal says of the images, oldest first; no image is read for it."""
        records, _ = self._directory.active()
        return list(records.values())

    def count_approved(self) -> tuple[int, int]:
        """How many slices are approved, and of how many images."""
        counts = [len(case.annotated_slices or ()) for case in self.annotated_cases()]
        return sum(counts), len(counts)

    def approved_in_words(self) -> str:
        """What is approved: images, and slices of volumes or of series; empty for nothing."""
        return approved_in_words(self.case_records(), self.annotated_cases())

    def approved_planes(self, scan: Scan) -> tuple[int, ...]:
        """The approved slices of a scan; none for one that is not known."""
        case = self.annotated_case(scan)
        return () if case is None else case.annotated_slices or ()

    def annotated_case(self, scan: Scan, reader: str | None = None) -> Case | None:
        """The case of a scan, with the newest of what was approved of it; None where nothing is.

        Parameters
        ----------
        scan
            Is not read again.
        reader
            Only what this reader has approved, as for a blind second reading; of all readers where None.
        """
        record = self._directory.find_case(scan)
        if record is None:
            return None
        approvals = self._directory.index.approvals_of(record.name)
        if reader is not None:
            approvals = [approval for approval in approvals if approval.reader == reader]
        case = self._directory.case(record, approvals, scan)
        return case if case.annotated_slices else None

    def approve(
        self,
        scan: Scan,
        mask: NDArray[np.uint8],
        *,
        classes: Sequence[ClassInfo],
        planes: Iterable[int] | None = None,
        model: ModelVersion | tuple[str, str, str] | None = None,
        edited: bool = False,
        geometry: Geometry | None = None,
    ) -> Approval:
        """Approve slices of a mask; when this returns they are on the disk.

        Parameters
        ----------
        scan
            The image; it is stored once.
        mask
            Labels, in the scan's spatial shape.
        classes
            What the labels mean. New classes are added to the store.
        planes
            The numbers of the approved slices, from 0 as `Planes` numbers them; None for all.
        model
            Name, version and SHA-256 of the model that the mask was made with; None where there is none.
        edited
            Whether a person changed it.
        geometry
            Of the mask, where it has one of its own; must agree with that of the scan.

        Raises
        ------
        BadInput
            If no slice is given, the mask is not this image's, a label is not a class, a class contradicts
            one of the store, or a file cannot be written. Nothing is approved then; earlier approvals remain.
        """
        values = self._checked_mask(scan, mask, geometry)
        layout = PlaneLayout(scan.spatial_axes, scan.spatial_shape)
        plane_numbers = _checked_plane_numbers(planes, layout.plane_count)
        check_labels((values.reshape(-1, *values.shape[-2:])[n] for n in plane_numbers), classes)
        _ = scan.content_sha256  # computed before the lock is taken: of a large scan it takes a second
        directory = self._directory
        with directory.thread_lock, os_errors_as_bad_input(directory.folder):
            self._check_store_accepts(scan, classes)
            with directory.temporary_files() as temporary:
                record, files = directory.stage_case(scan, temporary)
                blocks = write_mask_blocks(values, plane_numbers, layout, scan.geometry, temporary)
                with directory.write_lock():
                    added_classes = self._check_store_accepts(scan, classes)
                    case, is_new = directory.commit_case(scan, record, files, temporary)
                    for block, path in blocks:
                        object_path = directory.object_path(block.object)
                        if (
                            not object_path.exists() or file_sha256(object_path) != block.object
                        ):  # equal ones are kept once
                            commit(path, object_path)
                    approval = ApprovalRecord(
                        case=case.name,
                        planes=as_ranges(plane_numbers),
                        parts=tuple(block for block, _ in blocks),
                        model=None if model is None else ModelVersion(*model),
                        edited=edited,
                        reader=self.reader,
                        time=utc_now(),
                    )
                    lines: list[Record] = [ClassesRecord(classes=added_classes)] if added_classes else []
                    number = directory.append([*lines, *([case] if is_new else []), approval])
                    directory.sync_nnunet_after(case.name)
        return Approval(number, approval)

    def revoke(self, entry: Approval | int) -> None:
        """Take an approval back: its slices are again as they were approved before it, if they were.

        Raises
        ------
        BadInput
            If there is no such approval, it was taken back before, or a file cannot be written.
        """
        number = entry if isinstance(entry, int) else entry.id
        with self._directory.write_lock():
            _, approvals = self._directory.records()
            revoked_by_id = {approval.id: approval.revoked for approval in approvals}
            if number not in revoked_by_id:
                raise BadInput(
                    "approval", f"there is none with the number {number}", "annotations list shows them"
                )
            if revoked_by_id[number]:
                raise BadInput("approval", f"number {number} was taken back before", "approve it again")
            self._directory.append([Revocation(approval=number, time=utc_now())])
            self._directory.sync_nnunet_after()

    def remove_class(self, label: int) -> None:
        """Remove a class from the store; other classes keep their labels.

        Parameters
        ----------
        label
            Of the class.

        Raises
        ------
        BadInput
            If there is no such class, something approved uses it, or a file cannot be read or written.
        """
        with self._directory.write_lock():
            name = next((c.name for c in self.classes if c.label == label), None)
            if name is None:
                raise BadInput(
                    "class", f"there is none with the label {label}", "annotations list shows them"
                )
            if images := self._directory.count_uses(label):
                why = f"is used in {counted(images, 'approved image')}"
                raise BadInput(f"class {name!r}", why, "unlock what holds it first")
            self._directory.append([ClassRemoval(label=label)])
            self._directory.sync_nnunet_after()

    def _checked_mask(
        self, scan: Scan, mask: NDArray[np.uint8], geometry: Geometry | None
    ) -> NDArray[np.uint8]:
        values = checked_mask(mask, scan.spatial_shape, scan.name)
        if geometry is not None and not geometry.agrees_with(scan.geometry, scan.spatial_shape):
            raise BadInput("mask", f"does not lie where {scan.name} lies", "use the mask of this image")
        return values

    def _check_store_accepts(self, scan: Scan, classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
        """The classes that are new to the store; refuses a scan or classes that do not belong in it."""
        if not classes:
            raise BadInput("classes", "there are none", "name at least one")
        self._directory.check_journal()
        added_classes = new_classes(self.classes, classes)
        channels = scan.array.shape[-1] if scan.axes.endswith(CHANNEL) else 1
        for other_channels, spatial_axes in self._directory.index.channel_layouts:
            # photographs: a model sees three channels of each; a volume beside a photograph is a mistake
            is_alike = {other_channels, channels} <= set(COLOR_CHANNEL_COUNTS) and (
                spatial_axes == len(scan.spatial_axes) == 2
            )
            if other_channels != channels and not is_alike:
                raise BadInput(
                    scan.name,
                    f"has {channels} channels, and the images of these annotations have {other_channels}",
                    "use other annotations for it",
                )
        return added_classes

    def save_draft(
        self,
        scan: Scan,
        mask: NDArray[np.uint8],
        *,
        classes: Sequence[ClassInfo],
        model: ModelVersion | tuple[str, str, str] | None = None,
        segmented_region: SegmentedRegion | None = None,
        geometry: Geometry | None = None,
        tag: str = "",
    ) -> Draft:
        """Save a mask that is being worked on, so that it survives the program.

        It replaces the draft of the same image, model and tag that this process has.

        Only changed parts of the mask are compressed again; a mask that has not changed is not written.

        Parameters
        ----------
        scan, mask, classes, model, segmented_region, geometry
            As for `approve`; labels that are no class are saved too. `segmented_region` is that of `Draft`.
        tag
            Eight hexadecimal digits that keep it apart from other drafts of the same image and model, or
            `Draft.tag` of the one that is gone on with; by default there is one for each image and model.

        Raises
        ------
        BadInput
            If the mask is not this image's, or a file cannot be written; then the last draft remains.
        """
        values, version = self._checked_mask(scan, mask, geometry), model and ModelVersion(*model)
        return self._draft_manager.save(scan, values, classes, version, segmented_region, tag)

    def drafts(self) -> list[Draft]:
        """The drafts of all processes, newest first; those not in use were left when a program ended."""
        return self._draft_manager.drafts()

    def resume_draft(self, draft: Draft) -> tuple[Scan, NDArray[np.uint8]]:
        """Resume a draft whose program has ended: its image and its mask.

        Raises
        ------
        BadInput
            If it is in use, missing or damaged, or this process has one of the same image and model.
        """
        return self._draft_manager.resume(draft)

    def discard_draft(self, draft: Draft) -> None:
        """Remove a draft, and its image where nothing else needs it.

        Raises
        ------
        BadInput
            If another process is editing it.
        """
        self._draft_manager.discard(draft)

    def verify(self) -> list[IntegrityFinding]:
        """Check every file against its hash; returns the problems.

        Raises
        ------
        BadInput
            If the journal cannot be read.
        """
        cases, approvals = self._directory.records()
        visible_cases, _ = nnunet_cases(cases.values(), [a for a in approvals if not a.revoked])
        contents = (cases.values(), approvals, visible_cases, self.classes, self._directory.image_path)
        return list(find_problems(self.folder, self._directory.journal, *contents))

    def export_nnunet(self, folder: Path | str) -> Path:
        """Write a plain nnU-Net raw data set: the images with approved slices, and their masks.

        Slices that are not approved hold the label `ignore`, which nnU-Net leaves out of the loss.

        Parameters
        ----------
        folder
            Must be empty or missing. nnU-Net wants a name such as `Dataset001_Vessels`.

        Raises
        ------
        BadInput
            If nothing is approved, the folder is not empty or cannot be written, or a file is damaged.
        """
        records, approvals = self._directory.active()
        visible_cases, _ = nnunet_cases(records.values(), approvals)
        return export_dataset(
            Path(folder), visible_cases, self.classes, self._directory.image_path,
            lambda t: merge_approvals(t.case, t.time, t.approvals, self._directory.object_path),
        )  # fmt: skip


def _checked_plane_numbers(planes: Iterable[int] | None, count: int) -> list[int]:
    plane_numbers = list(range(count)) if planes is None else sorted({int(n) for n in planes})
    if not plane_numbers:
        raise BadInput("approval", "no slice is chosen", "choose at least one")
    if plane_numbers[0] < 0 or plane_numbers[-1] >= count:
        invalid_number = plane_numbers[0] if plane_numbers[0] < 0 else plane_numbers[-1]
        raise BadInput("approval", f"there is no slice {invalid_number + 1}", f"there are {count}")
    return plane_numbers
