"""A model as one zip file: its card and the files that the card names, nothing else."""

from __future__ import annotations

import json
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.install import install_folder, install_path
from napari_latentseg.models.layout import REPLAY_FILE, check_files
from napari_latentseg.models.store import LocatedModel, data_home, locate_model
from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder
from napari_latentseg.utils.size_claims import HARMLESS_BYTES, is_harmless_size

__all__ = ["export_model", "install_archive", "read_archive_card", "unpacked_archive"]

# file types of a model folder; none of them can contain executable code
_WEIGHTS_SUFFIX = ".safetensors"
_SUFFIXES = (_WEIGHTS_SUFFIX, ".json", ".csv", ".png")
# Limits against zip bombs, far above any real model: the largest published configuration (SDSeg in float16)
# has 0.7 GB in about ten files, and a card has some kilobytes.
_MAX_FILES = 256
_MAX_BYTES = 8 << 30
_MAX_CARD_BYTES = 4 << 20
_MAX_RATIO = 200  # of what is large; weights hardly shrink at all
_COPY_BLOCK_BYTES = 1 << 20  # memory used while copying
_REMEDY = "ask for the file again"


def export_model(name: str | Path | LocatedModel, path: Path, *, replay: bool = False) -> Path:
    """Write a model as one zip file, after checking the hash of every file in it.

    Parameters
    ----------
    name
        Name of an installed model, whose current version is exported; or a model folder.
    path
        The zip file to write; its folder must exist. An existing file is replaced.
    replay
        Whether to include the patches of training images that prevent forgetting in later fine-tuning.
        Patients' images can be recognised in them, so they are left out by default.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        If the model is damaged, or the file cannot be written.
    """
    model = locate_model(name)
    folder, card = model.folder, model.card
    check_files(folder, card)
    if not replay and REPLAY_FILE in card.files:
        card = card.replace(files={k: v for k, v in card.files.items() if k != REPLAY_FILE})
    path = Path(path)
    with atomic_path(path) as temporary:
        try:
            with zipfile.ZipFile(temporary, "w") as archive:
                text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
                archive.writestr(_zip_info(card, CARD), text.encode(), zipfile.ZIP_DEFLATED)
                for file in sorted(card.files):
                    with (
                        (folder / file).open("rb") as source,
                        archive.open(_zip_info(card, file), "w") as sink,
                    ):
                        while block := source.read(_COPY_BLOCK_BYTES):
                            sink.write(block)
        except OSError as error:
            raise BadInput(
                path, f"cannot be written ({error.strerror})", "free disk space, or choose another folder"
            ) from error
    return path


def install_archive(
    path: Path,
    name: str | None = None,
    *,
    codec: str | Path | None = None,
    replace: bool = False,
    on_note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Install a model from a zip file of `export_model`, after loading it once as a test.

    The file is not trusted: names cannot lead out of the target folder, sizes are limited, and only the file
    types of a model are unpacked.

    Parameters
    ----------
    path
        The zip file.
    name
        Name to install it under; by default the name in its card.
    codec
        Its codec, where it is not kept on this machine yet; from now on it is.
    replace
        Whether to replace an installed model of that name.
    on_note
        Called with a sentence on the codec, where it is kept from now on.

    Returns
    -------
    Path
        The folder of the installed model.

    Raises
    ------
    BadInput
        If the file is not such an archive, is damaged, or contains other files; nothing is installed then.
    """
    install_path(name or read_archive_card(path).name, replace=replace)  # before the large files
    with unpacked_archive(path) as folder:
        return install_folder(folder, name, codec=codec, replace=replace, on_note=on_note)


def read_archive_card(path: Path) -> ModelCard:
    """The card of a model in a zip file; nothing else is unpacked.

    Raises
    ------
    BadInput
        If the file is not a model that `export_model` has written.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as temporary, _opened_archive(path) as archive:
        return _unpack_card(archive, path, _checked_entries(archive, path), Path(temporary))


@contextmanager
def unpacked_archive(path: Path) -> Iterator[Path]:
    """A temporary folder with the model of a zip file, checked as `install_archive` says.

    Raises
    ------
    BadInput
        If the file is not such an archive, is damaged, or contains other files.
    """
    path = Path(path)
    root = ensure_writable_folder(data_home() / "models")
    with tempfile.TemporaryDirectory(dir=root, prefix=".part-") as temporary:
        folder = Path(temporary)
        with _opened_archive(path) as archive:
            _unpack(archive, path, folder)
        _check_tensors(folder, path)
        yield folder


@contextmanager
def _opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip file, opened; what is wrong with it is said in one line."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(path, "is not a model: it is damaged, or not a zip file", _REMEDY) from error
    except OSError as error:
        why = f"cannot be unpacked ({error.strerror or 'damaged'})"
        raise BadInput(path, why, "free disk space, or ask for the file again") from error


def _zip_info(card: ModelCard, file: str) -> zipfile.ZipInfo:
    """Zip entry with a fixed date and permissions, so that exporting a model twice gives the same bytes."""
    return zipfile.ZipInfo(f"{card.name}/{file}")


def _unpack_card(
    archive: zipfile.ZipFile, path: Path, entries: dict[str, zipfile.ZipInfo], folder: Path
) -> ModelCard:
    """Unpack the card into a folder, and take it out of the entries."""
    if CARD not in entries:
        raise BadInput(path, f"is not a model: it contains no {CARD}", "give a file made by models export")
    _extract_entry(archive, entries.pop(CARD), folder / CARD, path, _MAX_CARD_BYTES)
    try:
        return read_card(folder)
    except BadInput as error:
        raise BadInput(f"{path}, {CARD}", error.why, _REMEDY) from error


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    """Unpack an archive into a folder: the card first, then exactly the files that it names."""
    entries = _checked_entries(archive, path)
    card = _unpack_card(archive, path, entries, folder)
    if unknown_files := sorted(entries.keys() - card.files.keys()):
        raise BadInput(path, f"contains {unknown_files[0]!r}, which its card does not list", _REMEDY)
    if missing_files := sorted(card.files.keys() - entries.keys()):
        raise BadInput(path, f"lacks {missing_files[0]!r}, which its card lists", _REMEDY)
    for file, entry in entries.items():
        _extract_entry(archive, entry, folder / file, path, entry.file_size)
    try:
        check_files(folder, card)
    except BadInput as error:
        raise BadInput(f"{path}, {Path(error.what).name}", error.why, _REMEDY) from error


def _checked_entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries of an archive by file name, after checking that each can be a file of a model."""
    infos = archive.infolist()
    if len(infos) > _MAX_FILES or sum(entry.file_size for entry in infos) > _MAX_BYTES:
        raise BadInput(path, "is larger than any model", "ask where it comes from")
    entries: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for entry in infos:
        if entry.filename.endswith("/"):  # not `is_dir`, which fails at an empty name
            continue
        folder_name, _, file = entry.filename.rpartition("/")
        folders.add(folder_name)
        is_plain_name = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", file) is not None
        if (
            not is_plain_name
            or (folder_name and not re.fullmatch(NAME_PATTERN, folder_name))
            or len(folders) > 1
        ):
            raise BadInput(path, f"contains {entry.filename!r}, which is not a file of a model", _REMEDY)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BadInput(path, f"contains {file!r}, which is a link", _REMEDY)
        if not is_harmless_size(entry.file_size, entry.compress_size, _MAX_RATIO):
            raise BadInput(path, f"contains {file!r}, which unpacks to more than is safe", _REMEDY)
        if not file.endswith(_WEIGHTS_SUFFIX) and entry.file_size > HARMLESS_BYTES:
            raise BadInput(path, f"contains {file!r}, which is larger than any such file", _REMEDY)
        if entry.flag_bits & 1:
            raise BadInput(path, "is encrypted", "ask for a file without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInput(path, f"contains {file!r} with an unsupported compression", _REMEDY)
        if not file.endswith(_SUFFIXES):
            raise BadInput(path, f"contains {file!r}, a file type that no model has", _REMEDY)
        if file in entries:
            raise BadInput(path, f"contains {file!r} twice", _REMEDY)
        entries[file] = entry
    return entries


def _extract_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, path: Path, max_bytes: int
) -> None:
    """Write one file, of at most `max_bytes`: the size in a zip header can be wrong."""
    remaining_bytes = max_bytes
    with archive.open(entry) as source, target.open("xb") as sink:
        while block := source.read(_COPY_BLOCK_BYTES):
            remaining_bytes -= len(block)
            if remaining_bytes < 0:
                raise BadInput(
                    path, f"{target.name} is larger than its header says", "ask where it comes from"
                )
            sink.write(block)


def _check_tensors(folder: Path, path: Path) -> None:
    """Check the headers of all .safetensors files; the other files are checked when they are read."""
    from safetensors import SafetensorError, safe_open

    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="numpy") as opened:
                opened.keys()
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(f"{path}, {file.name}", "is not a safetensors file", _REMEDY) from error
