"""Write files and folders completely or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_latentseg.errors import DISK_ERRORS, BadInput
from napari_latentseg.utils.path_lock import path_lock

__all__ = [
    "atomic_folder",
    "atomic_path",
    "bring_back_replaced",
    "check_output_file",
    "check_unused_folder",
    "check_writable_folder",
    "ensure_writable_folder",
    "make_private_folder",
    "remove_folder",
]


def check_output_file(path: Path, suffixes: Sequence[str], *, overwrite: bool = False) -> None:
    """Refuse, before anything is computed, a file that must not or cannot be written.

    Parameters
    ----------
    path
        The file to write. Its folder need not exist.
    suffixes
        The endings that the file may have, lower case.
    overwrite
        Whether a file that is there may be replaced.

    Raises
    ------
    BadInput
        If its ending is another, it is a folder or already exists, or its folder cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(tuple(suffixes)):
        raise BadInput(path, f"does not end in {' or '.join(suffixes)}", "choose another name")
    try:
        is_folder, is_taken = path.is_dir(), os.path.lexists(path)
        path.exists()  # raises where the name is too long
    except (OSError, ValueError) as error:
        raise BadInput(path, "is not a possible file name", "choose another name") from error
    if is_folder:
        raise BadInput(path, "is a folder", "give the name of a file")
    if is_taken and not overwrite:
        raise BadInput(path, "already exists", "choose another name, or replace it (--overwrite)")
    check_writable_folder(path.absolute().parent)


# the beginning of an address (``http:``), which a path has as a folder; one letter is a drive of Windows
_SCHEME = re.compile(r"[A-Za-z][\w+.-]+:")
_REPLACED = re.compile(r"\.part-[0-9a-f]{16}-former-(.+)")
_SWAP_LOCK = ".part.lock"


def ensure_writable_folder(folder: Path, *, what: str = "output folder") -> Path:
    """Create the folder where it is missing, and test it by writing a temporary file.

    Parameters
    ----------
    folder
        With its parents.
    what
        What the folder is, for the message.

    Raises
    ------
    BadInput
        If it cannot be created or written.
    """
    folder = Path(folder)
    _refuse_what_is_no_folder(folder, what)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise _file_in_the_way(folder, what) from error
    except OSError as error:
        raise BadInput(
            folder, f"the {what} cannot be written ({error.strerror})", "choose another folder"
        ) from error
    return folder


def _refuse_what_is_no_folder(folder: Path, what: str) -> None:
    """Refuse an address, or a ``~`` that no shell has replaced: folders of these names would be made here."""
    if any(map(_SCHEME.fullmatch, folder.parts)) and not os.path.lexists(folder):
        raise BadInput(folder, f"cannot be the {what}: it is an address", "choose a folder of this machine")
    if "~" in folder.parts and not os.path.lexists(folder):
        why = f"cannot be the {what}: ~ stands for your folder in a shell alone"
        raise BadInput(folder, why, "write the whole path")


def make_private_folder(folder: Path) -> None:
    """Create a folder that only this user can read, for images of patients; one that is there stays as it is.

    Raises
    ------
    OSError
        If it cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _file_in_the_way(folder: Path, what: str) -> BadInput:
    file = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    place = "it" if file == folder else f"{file.name} above it"
    return BadInput(folder, f"cannot be the {what}: {place} is a file", "choose a folder")


def check_writable_folder(folder: Path, *, what: str = "output folder") -> None:
    """Test whether a folder can be created and written, without creating it.

    Raises
    ------
    BadInput
        If it cannot; the message names this folder, not the parent that could not be written.
    """
    folder = Path(folder)
    _refuse_what_is_no_folder(folder, what)
    nearest = folder.absolute()
    try:
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise _file_in_the_way(folder, what)
        ensure_writable_folder(nearest, what=what)
    except BadInput as error:
        raise BadInput(folder, error.why, error.remedy) from error
    except OSError as error:
        raise BadInput(
            folder, f"the {what} cannot be written ({error.strerror})", "choose another folder"
        ) from error


def check_unused_folder(folder: Path) -> None:
    """Refuse a folder that is not empty or cannot be created; nothing is created yet.

    Raises
    ------
    BadInput
        If it is not empty, is a file, or cannot be created.
    """
    try:
        is_occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise BadInput(folder, f"cannot be used ({error.strerror})", "choose another folder") from error
    if is_occupied:
        raise BadInput(folder, "already exists", "choose another folder")
    check_writable_folder(folder)


@contextmanager
def atomic_path(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary path beside `path`: moved to `path` when the block succeeds, removed when it fails.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    suffix
        The ending of the temporary name, for writers that go by it.

    Raises
    ------
    BadInput
        If no file can be written there.
    """
    path = Path(path)
    temporary = path.parent / f".part-{secrets.token_hex(8)}{suffix or path.suffix}"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less what the umask takes
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        try:
            yield temporary
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise _write_error(path, error) from error
        try:
            temporary.replace(path)
        except OSError as error:
            raise _write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, *, replace: bool = False, is_private: bool = False) -> Iterator[Path]:
    """A temporary folder beside `folder`: moved to `folder` when the block succeeds, removed when it fails.

    Parameters
    ----------
    folder
        Must not exist, or be empty, unless `replace`.
    replace
        Replace an existing folder when the block succeeds. `bring_back_replaced` undoes what a process that
        was killed in between has left.
    is_private
        Only this user can read it.

    Raises
    ------
    BadInput
        If `folder` exists and is not empty, or its parent cannot be written.
    """
    folder = Path(folder)
    if not replace and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(folder, "already exists", "choose another name")
    parent = ensure_writable_folder(folder.absolute().parent)
    temporary = parent / f".part-{secrets.token_hex(8)}"
    previous = temporary.with_name(f"{temporary.name}-former-{folder.name}")
    temporary.mkdir(mode=0o700 if is_private else 0o777)
    try:
        yield temporary
        try:
            if replace and folder.exists():
                with path_lock(parent / _SWAP_LOCK, folder):
                    folder.rename(previous)
                    temporary.rename(folder)
            else:
                if folder.exists():
                    folder.rmdir()
                temporary.rename(folder)
        except OSError as error:
            if previous.exists() and not folder.exists():
                previous.rename(folder)
            raise _write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)


def bring_back_replaced(parent: Path) -> None:
    """Give a folder its name back where a process was killed while `atomic_folder` replaced it.

    Parameters
    ----------
    parent
        Holds the folders that were being replaced. Where it cannot be written, all stays as it is.
    """
    with suppress(OSError, BadInput):
        matches = [(path, match[1]) for path in parent.iterdir() if (match := _REPLACED.fullmatch(path.name))]
        if not matches:
            return
        with path_lock(parent / _SWAP_LOCK, parent):
            for former, name in matches:
                if (parent / name).exists():
                    shutil.rmtree(former, ignore_errors=True)
                elif former.exists():
                    former.rename(parent / name)


def remove_folder(folder: Path) -> None:
    """Remove a folder. It is first renamed to a hidden name, so that nothing half-removed is ever listed.

    Raises
    ------
    BadInput
        If it cannot be renamed.
    """
    hidden = folder.with_name(f".part-{secrets.token_hex(8)}")
    try:
        folder.rename(hidden)
    except OSError as error:
        raise BadInput(folder, f"cannot be removed ({error.strerror})", "check who owns it") from error
    shutil.rmtree(hidden, ignore_errors=True)


def _write_error(path: Path, error: OSError) -> BadInput:
    return BadInput(path, f"cannot be written ({error.strerror})", "choose another folder or name")
