"""Work in progress: one draft for each image and model, safe from one moment to the next."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.drafts import (
    SUFFIX,
    Draft,
    DraftHeader,
    Packed,
    draft_name,
    read_header,
    read_mask,
)
from napari_latentseg.annotations.durable import settle, sync_folder, told
from napari_latentseg.annotations.records import CaseRecord, ModelVersion, now
from napari_latentseg.annotations.room import DRAFTS, Room
from napari_latentseg.annotations.sessions import is_alive
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.scan import Scan

__all__ = ["Workbench"]


class Workbench:
    """The drafts of a store.

    Parameters
    ----------
    room
        Of the store.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._packed: dict[str, tuple[Packed, DraftHeader]] = {}
        self._taken: dict[str, Path] = {}  # where a draft is that was taken over, by what it was called

    def close(self) -> None:
        """Forget what was packed."""
        self._packed.clear()

    def save(
        self,
        scan: Scan,
        mask: NDArray[np.uint8],
        classes: Sequence[ClassInfo],
        model: ModelVersion | None,
    ) -> Draft:
        """See `AnnotationStore.autosave`."""
        room = self._room
        _ = scan.content_sha256  # reckoned before the lock, for it takes its time
        with room.guard, told(room.folder), room.temporaries() as temporary:
            record, files = room.prepared(scan, temporary)
            place = room.session.folder / draft_name(record.name, model)
            if place.exists():
                header = self._save(place, record, mask, classes, model, temporary)
            else:  # image and draft under one lock, so that nobody takes the image for left over
                self._packed.pop(place.name, None)
                with room.writing():
                    record, _ = room.stored(scan, record, files, temporary)
                    place = room.session.folder / draft_name(record.name, model)
                    header = self._save(place, record, mask, classes, model, temporary)
        return _draft(f"{room.session.token}/{place.name}", header, in_use=True)

    def _save(
        self,
        place: Path,
        record: CaseRecord,
        mask: NDArray[np.uint8],
        classes: Sequence[ClassInfo],
        model: ModelVersion | None,
        temporary: Callable[[str], Path],
    ) -> DraftHeader:
        packed, before = self._packed.get(place.name, (Packed(), None))
        changed = packed.update(mask)
        header = DraftHeader(case=record, model=model, classes=tuple(classes), time=now(), pieces=())
        same = before is not None and before.replace(time=header.time) == header
        if before is not None and same and not changed and place.exists():
            return before
        self._packed.pop(place.name, None)  # should the disk refuse, all of it is written again
        path = temporary(SUFFIX)
        packed.write(path, header.model_dump(mode="json"))
        settle(path, place)
        self._packed[place.name] = (packed, header)
        return header

    def drafts(self) -> list[Draft]:
        """The drafts of all processes, newest first; those not in use were left when a program ended."""
        living: dict[str, bool] = {}
        found = []
        for path, header in self._room.headers().items():
            token = path.parent.name
            if token not in living:
                living[token] = token == self._room.session.token or is_alive(path.parent)
            found.append(_draft(f"{token}/{path.name}", header, in_use=living[token]))
        return sorted(found, key=lambda draft: draft.time, reverse=True)

    def resume(self, draft: Draft) -> tuple[Scan, NDArray[np.uint8]]:
        """Take over a draft that was left: its image, and its mask as it was.

        Raises
        ------
        BadInput
            Where it is in use, is gone or damaged, or this window has one of the same image and model.
        """
        path = self._draft_path(draft)
        own = self._room.session.folder
        with self._room.writing():
            if path.parent != own and path.exists() and is_alive(path.parent):
                raise BadInput("draft", "another window works on it", "go on there, or close it")
            header = read_header(path)
            if header is None:
                raise BadInput("draft", "is not there any more, or is damaged", "choose another")
            mask = read_mask(path)
            scan = self._scan_of(header.case)
            place = self._room.session.begin() / path.name
            if place != path:
                if place.exists():
                    raise BadInput("draft", "this image is being worked on here already", "finish that first")
                settle(path, place)
                self._taken[draft.id] = place
        return scan, mask

    def _scan_of(self, record: CaseRecord) -> Scan:
        records, _ = self._room.counting()
        return self._room.read(records.get(record.name, record))

    def discard(self, draft: Draft) -> None:
        """Remove a draft, and its image where nothing else needs it.

        Raises
        ------
        BadInput
            Where another window works on it.
        """
        path = self._draft_path(draft)
        own = self._room.session.folder
        with self._room.writing():
            if path.parent != own and path.exists() and is_alive(path.parent):
                raise BadInput("draft", "another window works on it", "go on there, or close it")
            path.unlink(missing_ok=True)
            self._packed.pop(path.name, None)
            if path.parent.is_dir():
                sync_folder(path.parent)
                if path.parent != own and not any(path.parent.glob(f"*{SUFFIX}")):
                    shutil.rmtree(path.parent, ignore_errors=True)
            if not self._room.journal.damaged:
                self._room.sweep_waiting()

    def _draft_path(self, draft: Draft) -> Path:
        if not re.fullmatch(r"[0-9a-f]{16}/scan-[0-9a-f]+-[0-9a-f]{8}\.draft", draft.id):
            raise BadInput("draft", "is none of this store", "choose one that it lists")
        return self._taken.get(draft.id, self._room.folder / DRAFTS / draft.id)


def _draft(id: str, header: DraftHeader, *, in_use: bool) -> Draft:
    case = header.case
    return Draft(
        id, case.name, case.pixels, header.model, header.classes, case.axes, case.shape, header.time, in_use
    )
