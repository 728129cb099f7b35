"""Drafts: unapproved masks that are being edited, each in a file of its own, saved every few seconds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.directory import DRAFTS_FOLDER, StoreDirectory
from napari_latentseg.annotations.drafts import (
    DRAFT_SUFFIX,
    ChunkedMask,
    Draft,
    DraftHeader,
    draft_file_name,
    read_header,
    read_mask,
)
from napari_latentseg.annotations.durable_io import commit, os_errors_as_bad_input, sync_folder
from napari_latentseg.annotations.records import CaseRecord, ModelVersion, utc_now
from napari_latentseg.annotations.session_lock import is_alive
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmented_region import SegmentedRegion
from napari_latentseg.errors import BadInput

__all__ = ["DraftManager"]


class DraftManager:
    """The drafts of a store.

    Parameters
    ----------
    directory
        The folder of the store on disk, with its locks.
    """

    def __init__(self, directory: StoreDirectory) -> None:
        self._directory = directory
        self._chunked_masks: dict[str, tuple[ChunkedMask, DraftHeader]] = {}
        self._resumed_paths: dict[str, Path] = {}  # where resumed drafts of other sessions are now, by old id

    def close(self) -> None:
        """Free the compressed masks."""
        self._chunked_masks.clear()

    def save(
        self,
        scan: Scan,
        mask: NDArray[np.uint8],
        classes: Sequence[ClassInfo],
        model: ModelVersion | None,
        segmented_region: SegmentedRegion | None = None,
        tag: str = "",
    ) -> Draft:
        """See `AnnotationStore.save_draft`."""
        directory = self._directory
        fields: dict[str, Any] = {
            "model": model, "classes": tuple(classes), "segmented_region": segmented_region
        }  # fmt: skip
        _ = scan.content_sha256  # cached before the lock is taken: for a large scan it takes about a second
        with (
            directory.thread_lock,
            os_errors_as_bad_input(directory.folder),
            directory.temporary_files() as temporary,
        ):
            record, files = directory.stage_case(scan, temporary)
            draft_path = directory.session.folder / draft_file_name(record.name, model, tag)
            if draft_path.exists():
                header = self._save(draft_path, record, mask, fields, temporary)
            else:  # image and draft under one lock, so that no other process removes the image as unused
                self._chunked_masks.pop(draft_path.name, None)
                with directory.write_lock():
                    record, _ = directory.commit_case(scan, record, files, temporary)
                    draft_path = directory.session.folder / draft_file_name(record.name, model, tag)
                    header = self._save(draft_path, record, mask, fields, temporary)
        return _draft_of(f"{directory.session.token}/{draft_path.name}", header, in_use=True)

    def _save(
        self,
        draft_path: Path,
        record: CaseRecord,
        mask: NDArray[np.uint8],
        fields: dict[str, Any],
        temporary: Callable[[str], Path],
    ) -> DraftHeader:
        """Write a draft unless neither mask nor header has changed; returns its header."""
        chunked, previous_header = self._chunked_masks.get(draft_path.name, (ChunkedMask(), None))
        changed = chunked.update(mask)
        header = DraftHeader(case=record, time=utc_now(), pieces=(), **fields)
        is_unchanged_header = (
            previous_header is not None and previous_header.replace(time=header.time) == header
        )
        if previous_header is not None and is_unchanged_header and not changed and draft_path.exists():
            return previous_header
        self._chunked_masks.pop(draft_path.name, None)  # after a failed write, the whole mask is written
        path = temporary(DRAFT_SUFFIX)
        chunked.write(path, header.model_dump(mode="json"))
        commit(path, draft_path)
        self._chunked_masks[draft_path.name] = (chunked, header)
        return header

    def drafts(self) -> list[Draft]:
        """The drafts of all processes, newest first; those not in use remained when their program ended."""
        alive_by_token: dict[str, bool] = {}
        drafts = []
        for path, header in self._directory.draft_headers().items():
            token = path.parent.name
            if token not in alive_by_token:
                alive_by_token[token] = token == self._directory.session.token or is_alive(path.parent)
            drafts.append(_draft_of(f"{token}/{path.name}", header, in_use=alive_by_token[token]))
        return sorted(drafts, key=lambda draft: draft.time, reverse=True)

    def resume(self, draft: Draft) -> tuple[Scan, NDArray[np.uint8]]:
        """Resume a draft whose program has ended: its image and its mask.

        Raises
        ------
        BadInput
            If it is in use, missing or damaged, or this process has a draft of the same image and model.
        """
        path = self._draft_path(draft)
        own_folder = self._directory.session.folder
        with self._directory.write_lock():
            if path.parent != own_folder and path.exists() and is_alive(path.parent):
                raise BadInput("draft", "is being edited in another window", "go on there, or close it")
            header = read_header(path)
            if header is None:
                raise BadInput("draft", "is missing or damaged", "choose another")
            mask = read_mask(path)
            scan = self._scan_of(header.case)
            draft_path = self._directory.session.claim() / path.name
            if draft_path != path:
                if draft_path.exists():
                    raise BadInput("draft", "this image is being edited here already", "finish that first")
                commit(path, draft_path)
                self._resumed_paths[draft.id] = draft_path
        return scan, mask

    def _scan_of(self, record: CaseRecord) -> Scan:
        records, _ = self._directory.active()
        return self._directory.read_case(records.get(record.name, record))

    def discard(self, draft: Draft) -> None:
        """Remove a draft, and its image if nothing else needs it.

        Raises
        ------
        BadInput
            If another process is editing it.
        """
        path = self._draft_path(draft)
        own_folder = self._directory.session.folder
        with self._directory.write_lock():
            if path.parent != own_folder and path.exists() and is_alive(path.parent):
                raise BadInput("draft", "is being edited in another window", "go on there, or close it")
            path.unlink(missing_ok=True)
            self._chunked_masks.pop(path.name, None)
            if path.parent.is_dir():
                sync_folder(path.parent)
                if path.parent != own_folder and not any(path.parent.glob(f"*{DRAFT_SUFFIX}")):
                    shutil.rmtree(path.parent, ignore_errors=True)
            # with a damaged journal it is not known which images are needed
            if not self._directory.journal.damaged_lines:
                self._directory.remove_unused_pending()

    def _draft_path(self, draft: Draft) -> Path:
        if not re.fullmatch(r"[0-9a-f]{16}/scan-[0-9a-f]+-[0-9a-f]{8}\.draft", draft.id):
            raise BadInput("draft", "does not belong to this store", "choose one of its drafts")
        return self._resumed_paths.get(draft.id, self._directory.folder / DRAFTS_FOLDER / draft.id)


def _draft_of(id: str, header: DraftHeader, *, in_use: bool) -> Draft:
    case = header.case
    return Draft(
        id, case.name, case.pixels, header.model, header.classes, case.axes, case.shape, header.time,
        header.segmented_region, in_use,
    )  # fmt: skip
