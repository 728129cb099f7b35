"""Put the files of a result in place together: all of them, or none.

A file system can rename one file at once, but not several. So the complete files lie in a temporary folder
with a list of what is to be done (the journal) before the first of them is moved. A process that fails puts
back what was there; one that is killed leaves the journal, and the next one that writes the same result
finishes its work, but for a file that somebody changed in between, which is refused. The earlier record is
taken away first and the new one comes last, so that other programs, which know no journal, never find a
record beside files that are not its own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from napari_latentseg.errors import BadInput
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.leftovers import remove_leftovers

__all__ = [
    "REPLACE_REMEDY",
    "commit_files",
    "finish_interrupted",
    "interrupted_records",
    "is_abandoned",
    "is_interrupted",
    "remove_abandoned",
    "temporary_folder",
]

_TEMPORARY_PREFIX = ".part-"
_JOURNAL = "commit.json"
# the folders of what is replaced and of what is removed, until all is in place
_EARLIER, _REMOVED = "earlier", "removed"

REPLACE_REMEDY = "choose another case code or folder, or overwrite it (--overwrite)"
"""What to do where something of an earlier result is in the way."""


class _Step(NamedTuple):
    """One name: the new file is moved there, or, without one, the earlier file is removed."""

    name: str
    has_new_file: bool

    def kept(self, temporary: Path) -> Path:
        """Where the earlier file is until all is in place."""
        return temporary / (_EARLIER if self.has_new_file else _REMOVED) / self.name


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder for files that are not complete yet; it is removed unless it is needed to recover."""
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=_TEMPORARY_PREFIX))
    try:
        yield temporary
    finally:
        if not (temporary / _JOURNAL).exists():
            shutil.rmtree(temporary, ignore_errors=True)


class _Journal(NamedTuple):
    """What a process that was killed had begun.

    `earlier` has the hash of each file that was there before; None in a journal of an earlier version.
    """

    temporary: Path
    new: list[str]
    removed: list[str]
    earlier: dict[str, str] | None

    def changed(self, folder: Path) -> str | None:
        """A file still to be replaced or removed that is not what was there when the write began."""
        if self.earlier is None:
            return None
        waiting = [name for name in self.new if os.path.lexists(self.temporary / name)]
        for name in (*waiting, *self.removed):
            path = folder / name
            if os.path.lexists(path) and _hash_or_empty(path) != self.earlier.get(name):
                return name
        return None


def _hash_or_empty(path: Path) -> str:
    """Its hash; empty where it cannot be read, as a link to nothing, which may be replaced all the same."""
    try:
        return path_sha256(path)
    except OSError:
        return ""


def commit_files(
    temporary: Path,
    folder: Path,
    new: Sequence[str],
    removed: Sequence[str],
    hashes: Mapping[str, str] | None = None,
) -> None:
    """Move complete files into a folder and remove others; on an error, everything is as before.

    Parameters
    ----------
    temporary
        A `temporary_folder` that holds the new files.
    folder
        Where they go.
    new
        Names of the new files or folders, in the order in which they are moved. The last is the record, which
        says what belongs together; an earlier one of that name is taken away before anything else.
    removed
        Names of files or folders that are removed once the new files are there, before the record is moved.
    hashes
        `path_sha256` of what is there, by name, where it is known already; the others are read.

    Raises
    ------
    OSError
        If a file cannot be moved.
    """
    journal = temporary / _JOURNAL
    part = journal.with_suffix(".part")
    known = hashes or {}
    earlier = {
        name: known.get(name) or _hash_or_empty(folder / name)
        for name in dict.fromkeys((*new, *removed))
        if os.path.lexists(folder / name)
    }
    part.write_text(json.dumps({"new": list(new), "removed": list(removed), "earlier": earlier}), "utf-8")
    for kept in (_EARLIER, _REMOVED):
        (temporary / kept).mkdir()
    part.replace(journal)
    steps = [
        _Step(new[-1], False),
        *(_Step(name, True) for name in new[:-1]),
        *(_Step(name, False) for name in removed),
        _Step(new[-1], True),
    ]
    done: list[_Step] = []
    try:
        for step in steps:
            done.append(step)
            _keep_earlier(folder / step.name, step.kept(temporary), step)
            if step.has_new_file:
                (temporary / step.name).replace(folder / step.name)
    except OSError:
        if _undo(temporary, folder, done):
            journal.unlink()
        raise
    journal.unlink()


def _keep_earlier(path: Path, kept: Path, step: _Step) -> None:
    """Keep what is replaced or removed; a file to be replaced gets a second name, so it is never missing."""
    if not os.path.lexists(path):
        return
    if step.has_new_file and not path.is_dir():
        try:
            kept.hardlink_to(path)
            return
        except OSError:  # a file system without hard links
            pass
    path.replace(kept)


def _undo(temporary: Path, folder: Path, steps: Sequence[_Step]) -> bool:
    """Put back what was there; False where that fails, so that the journal has to stay."""
    is_complete = True
    for step in reversed(steps):
        path, kept = folder / step.name, step.kept(temporary)
        try:
            if step.has_new_file and not os.path.lexists(temporary / step.name) and os.path.lexists(path):
                path.replace(temporary / step.name)
            if os.path.lexists(kept):
                kept.replace(path)
        except OSError:
            is_complete = False
    return is_complete


def finish_interrupted(folder: Path, record_name: str, *, overwrite: bool = False) -> None:
    """Finish what a killed process had begun to put in place.

    Parameters
    ----------
    folder
        A folder of results, of which this process holds the lock.
    record_name
        The record of the result in question.
    overwrite
        Replace and remove also what somebody changed since that process was killed.

    Raises
    ------
    BadInput
        If somebody changed a file that is to be replaced or removed; everything is as before then.
    OSError
        If a file cannot be moved.
    """
    for interrupted in _journals(folder, record_name):
        if not overwrite and (name := interrupted.changed(folder)):
            why = "was changed after a write of this result was interrupted, so it stays as it is"
            raise BadInput(folder / name, why, REPLACE_REMEDY)
        temporary, new, removed, _ = interrupted
        if os.path.lexists(temporary / record_name):
            _take_away(folder / record_name, temporary)
        for name in new[:-1]:
            _finish_move(temporary / name, folder / name)
        for name in removed:
            _take_away(folder / name, temporary)
        _finish_move(temporary / record_name, folder / record_name)
        (temporary / _JOURNAL).unlink()
        shutil.rmtree(temporary, ignore_errors=True)


def _finish_move(source: Path, target: Path) -> None:
    """Move a file or folder that has not been moved yet."""
    if os.path.lexists(source):
        if target.is_dir():
            _take_away(target, source.parent)
        source.replace(target)


def _take_away(path: Path, temporary: Path) -> None:
    """Move an earlier file or folder, where it is still there, to what is removed in the end."""
    if os.path.lexists(path):
        path.replace(temporary / f"{_EARLIER}-{path.name}")


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed before their files were complete.

    Those of the last day may belong to a process that is still writing, and those with a journal to a result
    of another name, which the next write of that result finishes.

    Parameters
    ----------
    folder
        A folder of results.
    """
    remove_leftovers(folder, kept_with=_JOURNAL)


def is_abandoned(temporary: Path) -> bool:
    """Whether a temporary folder, whose process has ended, has nothing that is still to be put in place."""
    return not (temporary / _JOURNAL).exists()


def is_interrupted(folder: Path, record_name: str) -> bool:
    """Whether a process was killed while it put the result with this record in place."""
    return bool(_journals(folder, record_name))


def interrupted_records(folder: Path) -> list[str]:
    """Names of the records of all results that a killed process was putting in place; some may be missing."""
    return sorted({journal.new[-1] for journal in _journals(folder) if journal.new})


def _journals(folder: Path, record_name: str | None = None) -> list[_Journal]:
    """Temporary folders whose files are complete, with what is to be done; oldest first."""
    journals = []
    for journal in folder.glob(f"{_TEMPORARY_PREFIX}*/{_JOURNAL}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = load_json(journal.read_text("utf-8"))
            new, removed = list(content["new"]), list(content["removed"])
            earlier = dict(content["earlier"]) if "earlier" in content else None
            if record_name in (None, *new[-1:]) and all(_is_plain(name) for name in (*new, *removed)):
                found = _Journal(journal.parent, new, removed, earlier)
                journals.append((journal.stat().st_mtime, found))
    return [found for _, found in sorted(journals, key=lambda pair: (pair[0], pair[1].temporary))]


def _is_plain(name: object) -> bool:
    """Whether it is the name of a file in the folder itself: the journal may come from anybody."""
    return isinstance(name, str) and Path(name).name == name
