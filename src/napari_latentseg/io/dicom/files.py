"""Find and open the DICOM files of a folder or zip, within limits of number and size."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import silence_logger
from napari_latentseg.io._progress import report_progress
from napari_latentseg.utils.counts import count_text
from napari_latentseg.utils.size_claims import is_harmless_size

__all__ = [
    "DicomFile",
    "begins_as_dicom",
    "find_dicom_files",
    "is_dicom",
    "silence_dicom_loggers",
    "zip_kept_open",
]

MAX_FILES = 100_000
"""Folders with more files are refused: a study has a few thousand, a whole disk would take hours."""
MAX_UNPACKED_BYTES = 64 * 2**30
"""Limit of the total unpacked size of a zip, in bytes, as the zip declares it."""
MAX_COMPRESSION_RATIO = 200
"""Limit of the compression of large data in a zip; scans reach 2 to 5, black slices more."""

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_FIRST_TAG_GROUPS = {b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"}
# of zipfile: NotImplementedError for a version or compression that it does not know, RuntimeError for a
# member that is encrypted
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError
)  # fmt: skip
_LOGGERS = (
    "pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils", "pylibjpeg", "pylibjpeg.utils",
    "highdicom.base", "highdicom.frame", "highdicom.image", "highdicom.seg.sop", "highdicom.spatial",
)  # fmt: skip


@contextmanager
def silence_dicom_loggers() -> Iterator[None]:
    """Suppress warnings and logs of the DICOM libraries: they quote headers, which may name patients."""
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom|pylibjpeg|openjpeg|libjpeg)(\.|$)")
    with ExitStack() as stack:
        for name in _LOGGERS:
            stack.enter_context(silence_logger(name))
        yield


_OPEN_ZIP: ContextVar[tuple[Path, zipfile.ZipFile] | None] = ContextVar("zip", default=None)


@contextmanager
def zip_kept_open(path: Path) -> Iterator[None]:
    """Keep a zip open during this block, so that its directory is read once and not for each member."""
    if path.is_dir() or not zipfile.is_zipfile(path):
        yield
        return
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise _damaged_zip(path) from error
    with archive:
        token = _OPEN_ZIP.set((path, archive))
        try:
            yield
        finally:
            _OPEN_ZIP.reset(token)


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    open_zip = _OPEN_ZIP.get()
    if open_zip is not None and open_zip[0] == path:
        yield open_zip[1]
        return
    with zipfile.ZipFile(path) as archive:
        yield archive


def _damaged_zip(path: Path) -> BadInput:
    return BadInput(path.name, "is a damaged zip", "copy or pack it again")


@dataclass(frozen=True)
class DicomFile:
    """A file on disk or in a zip; picklable, so that lazy arrays can go to other processes.

    Attributes
    ----------
    path
        The file, or the zip.
    member
        Name in the zip; empty for a file on disk.
    """

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """The file name without folders, whose names may be those of patients."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def folder(self) -> str:
        """The folder that the file is in, on disk or in the zip; to group files, not to be shown."""
        return str(PurePosixPath(self.member).parent) if self.member else str(self.path.parent)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open for reading; no more is unpacked from a zip than it declares."""
        if not self.member:
            with self.path.open("rb") as file:
                yield file
            return
        with _open_zip(self.path) as archive, archive.open(self.member) as file:
            yield cast(BinaryIO, file)

    @contextmanager
    def open_seekable(self) -> Iterator[BinaryIO]:
        """As `open`, but seeking is fast in a zip, too: the member is unpacked into memory."""
        if self.member:
            yield BytesIO(_read_member(self.path, self.member))
        else:
            with self.open() as file:
                yield file

    def size(self) -> int:
        """Size in bytes, unpacked."""
        if not self.member:
            return self.path.stat().st_size
        with _open_zip(self.path) as archive:
            return archive.getinfo(self.member).file_size


@lru_cache(maxsize=1)
def _read_member(path: Path, member: str) -> bytes:
    """A member of a zip, unpacked. The last one is cached: frames of a file are read one by one."""
    with _open_zip(path) as archive:
        return archive.read(member)


def is_dicom(first_bytes: bytes, name: str = "") -> bool:
    """Whether a file is DICOM, from its first 132 bytes.

    Parameters
    ----------
    first_bytes
        The bytes.
    name
        The file name. Old files lack the prefix `DICM`. They count as DICOM if they begin with one of the
        first tag groups of DICOM, and have a DICOM suffix or none.
    """
    if first_bytes[128:132] == b"DICM":
        return True
    suffix = PurePosixPath(name).suffix.lower()
    return (
        first_bytes[:2] in _FIRST_TAG_GROUPS
        and (suffix in _DICOM_SUFFIXES or not suffix)
        and len(first_bytes) >= 132
    )


def begins_as_dicom(path: Path) -> bool:
    """Whether the first bytes of a file are those of DICOM; False if it cannot be read."""
    try:
        with path.open("rb") if path.is_file() else BytesIO() as file:
            return is_dicom(file.read(132), path.name)
    except (OSError, ValueError):
        return False


def find_dicom_files(path: Path) -> tuple[list[DicomFile], list[str]]:
    """The DICOM files of a folder (at any depth) or zip, or the file itself.

    Symbolic links to folders are not followed: they might form a loop.

    Parameters
    ----------
    path
        A file, folder or zip.

    Returns
    -------
    items : list of DicomFile
        Sorted by name.
    notes : list of str
        What was left out, in words for people.

    Raises
    ------
    BadInput
        If there is no DICOM file, one is empty, damaged or may not be read, or a zip is damaged, encrypted,
        has paths that lead out of it, or is too large to unpack safely.
    """
    if path.is_dir():
        items, linked_folders = _files_in_folder(path)
        notes = [f"{linked_folders} linked folders were not entered"] if linked_folders else []
    elif zipfile.is_zipfile(path):
        items, notes = _files_in_zip(path), []
    else:
        return [DicomFile(path)], []
    dicom_files = []
    for item in items:
        report_progress(0, len(items))
        if _probe(item):
            dicom_files.append(item)
    if not dicom_files:
        raise BadInput(path.name, "holds no DICOM file", "choose the folder of a series")
    if skipped_count := len(items) - len(dicom_files):
        notes.append(f"skipped {count_text(skipped_count, 'file')}: no DICOM")
    return dicom_files, notes


def _probe(item: DicomFile) -> bool:
    try:
        with item.open() as file:
            first_bytes = file.read(132)
    except PermissionError as error:
        raise BadInput(
            item.name, "cannot be read (permission denied)", "ask for permission to read it"
        ) from error
    except OSError as error:  # a broken link, or a file deleted meanwhile
        raise BadInput(item.name, "cannot be read", "check the folder") from error
    except _ZIP_ERRORS as error:
        raise _damaged_zip(item.path) from error
    if is_dicom(first_bytes, item.name):
        return True
    # it may have been a slice, without which the others would make a volume of another spacing
    suffix = PurePosixPath(item.name).suffix.lower()
    if not first_bytes and suffix in (*_DICOM_SUFFIXES, ""):
        raise BadInput(item.name, "is empty (0 bytes)", "copy it again")
    if suffix in _DICOM_SUFFIXES or (not suffix and not any(first_bytes)):
        raise BadInput(item.name, "is not a DICOM file, or is damaged", "copy it again, or remove it")
    return False


def _files_in_folder(folder: Path) -> tuple[list[DicomFile], int]:
    items: list[DicomFile] = []
    linked_folders = 0

    def refuse(error: OSError) -> None:
        name = Path(error.filename or folder).name
        raise BadInput(name, "cannot be read (permission denied)", "ask for permission to read it") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        linked_folders += sum(Path(parent, name).is_symlink() for name in folders)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            # is_file: opening a pipe would block, and a circular link is not a file
            if not name.startswith(".") and name != "DICOMDIR" and file.is_file():
                items.append(DicomFile(file))
        _check_file_count(folder, len(items))
    return items, linked_folders


def _files_in_zip(path: Path) -> list[DicomFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            # not `is_dir`, which fails at an empty name
            members = [info for info in archive.infolist() if not info.filename.endswith("/")]
    except _ZIP_ERRORS as error:
        raise _damaged_zip(path) from error
    _check_file_count(path, len(members))
    total = 0
    for info in members:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if not name.parts or name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise BadInput(path.name, "holds names that lead out of the zip", "pack the folder anew")
        if info.flag_bits & 1:
            raise BadInput(path.name, "is encrypted", "unpack it first")
        total += info.file_size
        if total > MAX_UNPACKED_BYTES or not is_harmless_size(
            info.file_size, info.compress_size, MAX_COMPRESSION_RATIO
        ):
            raise BadInput(path.name, "unpacks to more than is safe", "unpack it first, and give the folder")
    names = [i.filename for i in members if not PurePosixPath(i.filename).name.startswith(".")]
    return [DicomFile(path, name) for name in sorted(names) if PurePosixPath(name).name != "DICOMDIR"]


def _check_file_count(path: Path, count: int) -> None:
    if count > MAX_FILES:
        raise BadInput(path.name, f"holds more than {MAX_FILES} files", "give the folder of one study")
