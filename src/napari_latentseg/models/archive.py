"""A model as one file: a zip of its card and of the files that the card names, and nothing else."""

from __future__ import annotations

import json
import re
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.files import atomic_path, usable_folder
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.install import install_folder, installed_place
from napari_latentseg.models.layout import REPLAY, check_files
from napari_latentseg.models.store import find_model, home

__all__ = ["export_model", "install_archive"]

_SUFFIXES = (".safetensors", ".json", ".csv", ".png")
_MOST_FILES = 256
_MOST_BYTES = 8 << 30
_MOST_CARD = 4 << 20
_BLOCK = 1 << 20
_AGAIN = "ask for the file again"


def export_model(name: str | Path, path: Path, *, replay: bool = False) -> Path:
    """Write a model as one file, after every file of it was held against its hash.

    Parameters
    ----------
    name
        Of a model, in the version that is in use; or a folder.
    path
        The zip to be; its folder must be there. A file of that name is replaced.
    replay
        Whether the pieces of its training images go along that keep it from forgetting when it is taught.
        An image can be made out again from them, so they stay at home unless they are asked for.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        Where the model is damaged, or the file cannot be written.
    """
    folder = find_model(name)
    card = read_card(folder)
    check_files(folder, card)
    if not replay and REPLAY in card.files:
        card = card.replace(files={k: v for k, v in card.files.items() if k != REPLAY})
    path = Path(path)
    with atomic_path(path) as temporary:
        try:
            with zipfile.ZipFile(temporary, "w") as archive:
                text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
                archive.writestr(_entry(card, CARD), text.encode(), zipfile.ZIP_DEFLATED)
                for file in sorted(card.files):
                    with (folder / file).open("rb") as source, archive.open(_entry(card, file), "w") as sink:
                        while block := source.read(_BLOCK):
                            sink.write(block)
        except OSError as error:
            raise BadInput(path, f"cannot be written ({error.strerror})", "make room") from error
    return path


def install_archive(
    path: Path, name: str | None = None, *, codec: Path | None = None, replace: bool = False
) -> Path:
    """Install a model from one file, after it has been loaded once to see that all of it fits.

    No name in the file can lead out of the folder that it is unpacked to, no more is unpacked than the file
    says and than any model needs, and only the kinds of file that a model is made of are.

    Parameters
    ----------
    path
        From `export_model`.
    name
        In place of the card's.
    codec
        The folder of its codec, where it lies in a place of its own.
    replace
        Whether an installed model of that name is replaced.

    Returns
    -------
    Path
        Where it was installed.

    Raises
    ------
    BadInput
        Where the file is no such archive, is damaged, or holds what no model has; nothing is installed then.
    """
    path = Path(path)
    root = usable_folder(home() / "models")
    with tempfile.TemporaryDirectory(dir=root, prefix=".part-") as temporary:
        folder = Path(temporary)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, folder, name, replace)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise BadInput(path, "is damaged, or no zip file", _AGAIN) from error
        except OSError as error:
            why = f"cannot be unpacked ({error.strerror or 'damaged'})"
            raise BadInput(path, why, "make room, or ask for the file again") from error
        _check_tensors(folder, path)
        return install_folder(folder, name, codec=codec, replace=replace)


def _entry(card: ModelCard, file: str) -> zipfile.ZipInfo:
    """Without the day and the rights, so that the same model gives the same file."""
    return zipfile.ZipInfo(f"{card.name}/{file}")


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path, name: str | None, replace: bool) -> None:
    """Write the files of an archive into a folder, the card first, and the others only as it names them."""
    entries = _entries(archive, path)
    if CARD not in entries:
        raise BadInput(path, f"holds no {CARD}", "give a model that was exported")
    _write(archive, entries.pop(CARD), folder / CARD, path, _MOST_CARD)
    try:
        card = read_card(folder)
    except BadInput as error:
        raise BadInput(f"{path}, {CARD}", error.why, _AGAIN) from error
    installed_place(name or card.name, replace=replace)
    if unknown := sorted(entries.keys() - card.files.keys()):
        raise BadInput(path, f"holds {unknown[0]!r}, of which its card knows nothing", _AGAIN)
    if missing := sorted(card.files.keys() - entries.keys()):
        raise BadInput(path, f"lacks {missing[0]!r}, which its card names", _AGAIN)
    for file, entry in entries.items():
        _write(archive, entry, folder / file, path, entry.file_size)
    try:
        check_files(folder, card)
    except BadInput as error:
        raise BadInput(f"{path}, {Path(error.what).name}", error.why, _AGAIN) from error


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries by the name of their file, once all of them are such as a model has."""
    listed = archive.infolist()
    if len(listed) > _MOST_FILES or sum(entry.file_size for entry in listed) > _MOST_BYTES:
        raise BadInput(path, "is larger than any model", "ask where it comes from")
    found: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for entry in listed:
        if entry.is_dir():
            continue
        place, _, file = entry.filename.rpartition("/")
        folders.add(place)
        is_plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", file) is not None
        if not is_plain or (place and not re.fullmatch(NAME_PATTERN, place)) or len(folders) > 1:
            raise BadInput(path, f"holds {entry.filename!r}, which is no file of a model", _AGAIN)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BadInput(path, f"holds {file!r}, which is a link", _AGAIN)
        if entry.flag_bits & 1:
            raise BadInput(path, "is locked with a password", "ask for one without")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInput(path, f"holds {file!r}, packed in a way that is not read", _AGAIN)
        if not file.endswith(_SUFFIXES):
            raise BadInput(path, f"holds {file!r}; of that kind nothing is read", _AGAIN)
        if file in found:
            raise BadInput(path, f"holds {file!r} twice", _AGAIN)
        found[file] = entry
    return found


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path, path: Path, most: int) -> None:
    """Write one file, and no more of it than it was said to have."""
    left = most
    with archive.open(entry) as source, to.open("xb") as sink:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise BadInput(path, f"{to.name} is larger than it says", "ask where it comes from")
            sink.write(block)


def _check_tensors(folder: Path, path: Path) -> None:
    """Whether everything that is called safetensors is; what else is loaded is looked at when it is."""
    from safetensors import SafetensorError, safe_open

    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="numpy") as opened:
                opened.keys()
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(f"{path}, {file.name}", "is not a safetensors file", _AGAIN) from error
