"""The files of a DICOM folder or zip: found, opened, and bounded."""

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
from napari_latentseg.formats._common import quiet
from napari_latentseg.formats._progress import tell

__all__ = ["Item", "begins_as_dicom", "find_items", "is_dicom", "quiet_dicom", "zip_kept_open"]

MOST_FILES = 100_000
"""More files than this are not looked through."""
MOST_UNPACKED = 64 * 2**30
"""What all members of a zip may come to, in bytes, by what the zip itself declares."""
MOST_RATIO = 200
"""How often larger than packed a large member may be; scans pack two to five times, black slices more."""
_LARGE = 64 * 2**20

_ENDINGS = (".dcm", ".dicom", ".ima")
_GROUPS = {b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"}
_LOGGERS = (
    "pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils", "pylibjpeg", "pylibjpeg.utils",
    "highdicom.base", "highdicom.frame", "highdicom.image", "highdicom.seg.sop", "highdicom.spatial",
)  # fmt: skip


@contextmanager
def quiet_dicom() -> Iterator[None]:
    """Keep the DICOM libraries still: their warnings quote the header, which may name the patient."""
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom|pylibjpeg|openjpeg|libjpeg)(\.|$)")
    with ExitStack() as stack:
        for name in _LOGGERS:
            stack.enter_context(quiet(name))
        yield


_KEPT: ContextVar[tuple[Path, zipfile.ZipFile] | None] = ContextVar("zip", default=None)


@contextmanager
def zip_kept_open(path: Path) -> Iterator[None]:
    """Read a zip's list of members once for this block, not once for each of them; nothing for a folder."""
    if path.is_dir() or not zipfile.is_zipfile(path):
        yield
        return
    try:
        packed = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BadInput(path.name, "is a damaged zip", "copy or pack it again") from error
    with packed:
        token = _KEPT.set((path, packed))
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    kept = _KEPT.get()
    if kept is not None and kept[0] == path:
        yield kept[1]
        return
    with zipfile.ZipFile(path) as packed:
        yield packed


@dataclass(frozen=True)
class Item:
    """One file, on the disk or in a zip; small, so that a lazy array may carry it to another process.

    Attributes
    ----------
    path
        The file, or the zip.
    member
        Its name in the zip; empty for a file on the disk.
    """

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """The file's own name, without folders, which may be called after a patient."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file to read from; of a zip, no more than it declares is ever unpacked."""
        if not self.member:
            with self.path.open("rb") as file:
                yield file
            return
        with _zip(self.path) as packed, packed.open(self.member) as file:
            yield cast(BinaryIO, file)

    @contextmanager
    def loaded(self) -> Iterator[BinaryIO]:
        """As `opened`, but quick to jump about in, also in a zip."""
        if self.member:
            yield BytesIO(_unpacked(self.path, self.member))
        else:
            with self.opened() as file:
                yield file

    def size(self) -> int:
        """In bytes, unpacked."""
        if not self.member:
            return self.path.stat().st_size
        with _zip(self.path) as packed:
            return packed.getinfo(self.member).file_size


@lru_cache(maxsize=1)
def _unpacked(path: Path, member: str) -> bytes:
    """A member of a zip; the last one is kept, for the frames of one file are asked for one by one."""
    with _zip(path) as packed:
        return packed.read(member)


def is_dicom(start: bytes, name: str = "") -> bool:
    """Whether a file is DICOM, from its first 132 bytes.

    Parameters
    ----------
    start
        The bytes.
    name
        The file's name. Old files lack the mark `DICM`; they are believed where they begin with one of the
        groups that every DICOM file begins with, and have its ending or none.
    """
    if start[128:132] == b"DICM":
        return True
    suffix = PurePosixPath(name).suffix.lower()
    return start[:2] in _GROUPS and (suffix in _ENDINGS or not suffix) and len(start) >= 132


def begins_as_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does; False where it cannot be read."""
    try:
        with path.open("rb") if path.is_file() else BytesIO() as file:
            return is_dicom(file.read(132), path.name)
    except (OSError, ValueError):
        return False


def find_items(path: Path) -> tuple[list[Item], list[str]]:
    """The DICOM files of a file, a folder at any depth, or a zip.

    Links to folders are not followed, so no loop of them is entered.

    Parameters
    ----------
    path
        Of any of these.

    Returns
    -------
    items
        In the order of their names.
    notes
        What was left out, in plain words and numbers.

    Raises
    ------
    BadInput
        Where there is none, one is empty or may not be read, or a zip is damaged, encrypted, leads out of
        itself, or declares more than is safe to unpack.
    """
    if path.is_dir():
        items, links = _in_folder(path)
        notes = [f"{links} linked folders were not entered"] if links else []
    elif zipfile.is_zipfile(path):
        items, notes = _in_zip(path), []
    else:
        return [Item(path)], []
    found = []
    for item in items:
        tell(0, len(items))
        if _looked_at(item):
            found.append(item)
    if not found:
        raise BadInput(path.name, "holds no DICOM file", "choose the folder of a series")
    if strays := len(items) - len(found):
        notes.append(f"{strays} files that are not DICOM were passed over")
    return found, notes


def _looked_at(item: Item) -> bool:
    try:
        with item.opened() as file:
            start = file.read(132)
    except PermissionError as error:
        raise BadInput(item.name, "may not be read", "ask for the right to read it") from error
    except OSError as error:  # a link that leads nowhere, a file that went away
        raise BadInput(item.name, "cannot be read", "check the folder") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(item.path.name, "is a damaged zip", "copy or pack it again") from error
    if not start and PurePosixPath(item.name).suffix.lower() in (*_ENDINGS, ""):
        raise BadInput(item.name, "is empty (0 bytes)", "copy it again")
    return is_dicom(start, item.name)


def _in_folder(folder: Path) -> tuple[list[Item], int]:
    items: list[Item] = []
    links = 0

    def refuse(error: OSError) -> None:
        name = Path(error.filename or folder).name
        raise BadInput(name, "may not be looked into", "ask for the right to read it") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        links += sum(Path(parent, name).is_symlink() for name in folders)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            # a pipe would be waited for; a link in a circle is no file
            if not name.startswith(".") and name != "DICOMDIR" and file.is_file():
                items.append(Item(file))
        _not_too_many(folder, len(items))
    return items, links


def _in_zip(path: Path) -> list[Item]:
    try:
        with zipfile.ZipFile(path) as packed:
            members = [info for info in packed.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BadInput(path.name, "is a damaged zip", "copy or pack it again") from error
    _not_too_many(path, len(members))
    total = 0
    for info in members:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise BadInput(path.name, "holds names that lead out of the zip", "pack the folder anew")
        if info.flag_bits & 1:
            raise BadInput(path.name, "is encrypted", "unpack it first")
        total += info.file_size
        if total > MOST_UNPACKED or info.file_size > max(_LARGE, MOST_RATIO * info.compress_size):
            raise BadInput(path.name, "unpacks to more than is safe", "unpack it first, and give the folder")
    names = [i.filename for i in members if not PurePosixPath(i.filename).name.startswith(".")]
    return [Item(path, name) for name in sorted(names) if PurePosixPath(name).name != "DICOMDIR"]


def _not_too_many(path: Path, count: int) -> None:
    if count > MOST_FILES:
        raise BadInput(path.name, f"holds more than {MOST_FILES} files", "give the folder of one study")
