"""AnnotationStore: what a person has approved, on the disk before they are told so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.dataset import agreed, targets
from napari_latentseg.annotations.drafts import SUFFIX, Draft
from napari_latentseg.annotations.durable import settle, told
from napari_latentseg.annotations.export import export
from napari_latentseg.annotations.facts import AnnotatedScan, Case, Entry
from napari_latentseg.annotations.images import Layout
from napari_latentseg.annotations.labels import as_mask, check_labels, merge, write_parts
from napari_latentseg.annotations.records import (
    Approval,
    CaseRecord,
    Classes,
    ModelVersion,
    Record,
    Revocation,
    now,
    ranges,
)
from napari_latentseg.annotations.room import DRAFTS, JOURNAL, Room
from napari_latentseg.annotations.verify import Finding, findings
from napari_latentseg.annotations.workbench import Workbench
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.places import home
from napari_latentseg.scan import CHANNEL, Geometry, Scan
from napari_latentseg.weights import sha256_of

__all__ = ["AnnotationStore", "store_folder", "stores"]

_NAME = r"[a-z0-9][a-z0-9._-]*"


def store_folder(name: str) -> Path:
    """Where the annotations for a model lie: one store a name, since the classes differ.

    Raises
    ------
    BadInput
        Where no model can have the name.
    """
    if not re.fullmatch(_NAME, name):
        raise BadInput("name", f"{name!r} is no model's", "use small letters, digits, dots and dashes")
    return home() / "annotations" / name


def stores() -> dict[str, Path]:
    """The folders of all stores in which something was approved or is being worked on, by name.

    Raises
    ------
    BadInput
        Where the folder that they are in cannot be read.
    """
    root = home() / "annotations"
    try:
        found = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise BadInput(root, f"cannot be read ({error.strerror})", "ask for the right to read it") from error
    return {
        folder.name: folder
        for folder in found
        if (folder / JOURNAL).is_file() or any((folder / DRAFTS).glob(f"*/*{SUFFIX}"))
    }


class AnnotationStore:
    """Approved masks with their images, in a folder that nnU-Net reads.

    The truth is in `journal.jsonl`, to which lines are added and in which none is changed, with the files
    that it names by their hashes; `labelsTr` and `dataset.json` are made from it. An approval returns when
    its line is on the disk, which is the last thing that is written: a process that is killed before has
    approved nothing, one that is killed after has approved all of it.

    Several processes may use one folder. Each write holds a lock of the system's for its moment; readers
    need none.

    Parameters
    ----------
    folder
        Made at the first write. One that may not be written can be read.

    Raises
    ------
    BadInput
        Where the folder cannot be read, or is a newer version's.
    """

    def __init__(self, folder: Path | str) -> None:
        self._room = Room(Path(folder))
        self._bench = Workbench(self._room)

    @classmethod
    def for_model(cls, name: str) -> AnnotationStore:
        """The store of a model's annotations, by its name."""
        return cls(store_folder(name))

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._room.folder

    @property
    def notes(self) -> tuple[str, ...]:
        """What was mended or passed over, in plain words."""
        return self._room.notes

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
        """Let go of this process's drafts, so that another may take them over."""
        with self._room.guard, suppress(OSError):
            self._room.session.end()
            self._bench.close()

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Those of the store, in the order in which they came."""
        return self._room.classes

    def entries(self, *, revoked: bool = False) -> list[Entry]:
        """The approvals, oldest first.

        Parameters
        ----------
        revoked
            With those that were taken back.
        """
        _, approvals, taken_back = self._room.records()
        found = [Entry.of(n, a, revoked=n in taken_back) for n, a in approvals]
        return [entry for entry in found if revoked or not entry.revoked]

    def cases(self) -> list[Case]:
        """The images of the store, oldest first; also those of which nothing is approved any more."""
        records, approvals = self._room.counting()
        planes: dict[str, set[int]] = {name: set() for name in records}
        for _, approval in approvals:
            planes[approval.case].update(approval.numbers)
        return [
            Case(
                r.name, r.pixels, r.axes, r.shape, r.modality, r.place.geometry, tuple(sorted(planes[r.name]))
            )
            for r in records.values()
        ]

    def counts(self) -> tuple[int, int]:
        """How many planes are approved, and of how many images."""
        planes = [len(case.planes) for case in self.cases() if case.planes]
        return sum(planes), len(planes)

    def approved_planes(self, scan: Scan) -> tuple[int, ...]:
        """The approved planes of a scan; none for one that is not known."""
        records, approvals = self._room.counting()
        record = self._room.known(scan, records.values())
        return () if record is None else _planes_of(record, approvals)

    def annotated(self, scan: Scan) -> AnnotatedScan | None:
        """The newest of what was approved of a scan, or None.

        Raises
        ------
        BadInput
            Where a file is missing or damaged.
        """
        records, approvals = self._room.counting()
        record = self._room.known(scan, records.values())
        if record is None or not _planes_of(record, approvals):
            return None
        return self._annotated(record, approvals, scan)

    def examples(self) -> Iterator[AnnotatedScan]:
        """Every image of which something is approved, read one after another.

        Raises
        ------
        BadInput
            Where a file is missing or damaged.
        """
        records, approvals = self._room.counting()
        for record in records.values():
            if _planes_of(record, approvals):
                yield self._annotated(record, approvals, self._room.read(record))

    def _annotated(
        self, record: CaseRecord, approvals: Sequence[tuple[int, Approval]], scan: Scan
    ) -> AnnotatedScan:
        layout = Layout(record.spatial_axes, record.spatial_shape)
        own = [(n, a) for n, a in approvals if a.case == record.name]
        mask = np.zeros(record.spatial_shape, np.uint8)
        for time in layout.times:
            layout.volume(mask, time)[...] = merge(record, time, own, self._room.object_of).mask
        planes = _planes_of(record, approvals)
        return AnnotatedScan(record.name, record.pixels, scan, mask, planes, self.classes)

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
    ) -> Entry:
        """Keep planes of a mask as right; when this returns they are on the disk.

        Parameters
        ----------
        scan
            The image; it is stored once.
        mask
            Class numbers, in the scan's spatial shape.
        classes
            What the numbers mean. New ones are added to the store's.
        planes
            Which planes are approved, as `Planes` numbers them; None for all.
        model
            Name, version and SHA-256 of what the mask began from.
        edited
            Whether a person changed it.
        geometry
            Of the mask, where it has one of its own; held against the scan's.

        Raises
        ------
        BadInput
            Where no plane is chosen, the mask is not this image's, a label is no class, a class is at odds
            with the store's, or the disk refuses; nothing is approved then, and what was is there.
        """
        values = self._checked(scan, mask, geometry)
        layout = Layout(scan.spatial_axes, scan.spatial_shape)
        chosen = _chosen(planes, layout.planes)
        check_labels((values.reshape(-1, *values.shape[-2:])[n] for n in chosen), classes)
        _ = scan.content_sha256  # reckoned before the lock, for it takes its time
        room = self._room
        with room.guard, told(room.folder):
            self._check_fits(scan, classes)
            with room.temporaries() as temporary:
                record, files = room.prepared(scan, temporary)
                pieces = write_parts(values, chosen, layout, scan.geometry, temporary)
                with room.writing():
                    new = self._check_fits(scan, classes)
                    case, is_new = room.stored(scan, record, files, temporary)
                    for part, path in pieces:
                        place = room.object_of(part.object)
                        if not place.exists() or sha256_of(place) != part.object:  # equal ones are kept once
                            settle(path, place)
                    approval = Approval(
                        case=case.name,
                        planes=ranges(chosen),
                        parts=tuple(part for part, _ in pieces),
                        model=None if model is None else ModelVersion(*model),
                        edited=edited,
                        time=now(),
                    )
                    lines: list[Record] = [Classes(classes=new)] if new else []
                    number = room.journal.append([*lines, *([case] if is_new else []), approval])
                    room.show_after(case.name)
        return Entry.of(number, approval)

    def revoke(self, entry: Entry | int) -> None:
        """Take an approval back: the planes are again what they were before it. Nothing is removed.

        Raises
        ------
        BadInput
            Where there is no such approval, it was taken back before, or the disk refuses.
        """
        number = entry if isinstance(entry, int) else entry.id
        with self._room.writing():
            _, approvals, revoked = self._room.records()
            if number not in {n for n, _ in approvals}:
                raise BadInput(
                    "approval", f"there is none with the number {number}", "annotations list shows them"
                )
            if number in revoked:
                raise BadInput("approval", f"number {number} was taken back before", "approve it again")
            self._room.journal.append([Revocation(approval=number, time=now())])
            self._room.show_after()

    def _checked(self, scan: Scan, mask: NDArray[np.uint8], geometry: Geometry | None) -> NDArray[np.uint8]:
        values = as_mask(mask, scan.spatial_shape, scan.name)
        if geometry is not None and not geometry.agrees_with(scan.geometry, scan.spatial_shape):
            raise BadInput("mask", f"does not lie where {scan.name} lies", "use the mask of this image")
        return values

    def _check_fits(self, scan: Scan, classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
        """The classes that are new, once it is sure that scan and classes belong in this store."""
        if not classes:
            raise BadInput("classes", "there are none", "name at least one")
        new = agreed(self.classes, classes)
        records, _ = self._room.counting()
        channels = scan.array.shape[-1] if scan.axes.endswith(CHANNEL) else 1
        for record in records.values():
            if record.channels != channels:
                raise BadInput(
                    scan.name,
                    f"has {channels} channels, and the images of these annotations have {record.channels}",
                    "use other annotations for it",
                )
        return new

    def autosave(
        self,
        scan: Scan,
        mask: NDArray[np.uint8],
        *,
        classes: Sequence[ClassInfo],
        model: ModelVersion | tuple[str, str, str] | None = None,
        geometry: Geometry | None = None,
    ) -> Draft:
        """Keep a mask that is being worked on, should the program end; one for each image and model.

        What has not changed since the last time is neither packed nor written again.

        Parameters
        ----------
        scan, mask, classes, model, geometry
            As for `approve`; labels that are no class's are kept too.

        Raises
        ------
        BadInput
            Where the mask is not this image's, or the disk refuses; the last draft is there then.
        """
        values = self._checked(scan, mask, geometry)
        return self._bench.save(scan, values, classes, None if model is None else ModelVersion(*model))

    def drafts(self) -> list[Draft]:
        """The drafts of all processes, newest first; those not in use were left when a program ended."""
        return self._bench.drafts()

    def resume(self, draft: Draft) -> tuple[Scan, NDArray[np.uint8]]:
        """Take over a draft that was left: its image, and its mask as it was.

        Raises
        ------
        BadInput
            Where it is in use, is gone or damaged, or this window has one of the same image and model.
        """
        return self._bench.resume(draft)

    def discard_draft(self, draft: Draft) -> None:
        """Remove a draft, and its image where nothing else needs it.

        Raises
        ------
        BadInput
            Where another window works on it.
        """
        self._bench.discard(draft)

    def verify(self) -> list[Finding]:
        """Hold every file against its hash; what is not as it should be, file by file.

        Raises
        ------
        BadInput
            Where the journal cannot be read.
        """
        cases, approvals, revoked = self._room.records()
        found, _ = targets(cases.values(), [(n, a) for n, a in approvals if n not in revoked])
        about = (cases.values(), approvals, found, self.classes, self._room.image)
        return list(findings(self.folder, self._room.journal, *about))

    def export_nnunet(self, folder: Path | str) -> Path:
        """A plain copy as a raw data set of nnU-Net: images and masks of which something is approved.

        Planes that are not approved hold the label `ignore`, which nnU-Net passes over.

        Parameters
        ----------
        folder
            To be; must not hold anything. nnU-Net wants it to be called like `Dataset001_Vessels`.

        Raises
        ------
        BadInput
            Where nothing is approved, the folder is taken or cannot be written, or a file here is damaged.
        """
        records, approvals = self._room.counting()
        found, _ = targets(records.values(), approvals)
        return export(
            Path(folder), found, self.classes, self._room.image,
            lambda t: merge(t.case, t.time, t.approvals, self._room.object_of),
        )  # fmt: skip


def _planes_of(record: CaseRecord, approvals: Iterable[tuple[int, Approval]]) -> tuple[int, ...]:
    return tuple(sorted({n for _, a in approvals if a.case == record.name for n in a.numbers}))


def _chosen(planes: Iterable[int] | None, count: int) -> list[int]:
    chosen = list(range(count)) if planes is None else sorted({int(n) for n in planes})
    if not chosen:
        raise BadInput("approval", "no slice is chosen", "choose at least one")
    if chosen[0] < 0 or chosen[-1] >= count:
        wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise BadInput("approval", f"there is no slice {wrong + 1}", f"there are {count}")
    return chosen
