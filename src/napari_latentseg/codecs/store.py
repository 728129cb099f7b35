"""The codecs that are kept in the user's folder, each under the SHA-256 of its weights.

A model card names its codec by that hash, so a kept codec is found from any current folder, and two folders
of the same name are two codecs. Small weights are copied. Large ones become a hard link to the file that was
given, which takes no further space and stays when the file is deleted; where no such link is possible they
are copied, and where the disk lacks the room, a pointer with the hash is kept. Nothing here needs torch
before weights are read.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from napari_latentseg.codecs.origin import commit_of, display_name
from napari_latentseg.codecs.spec import CodecSpec, Kind
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import FULL_DISK_ERRORS, BadInput, choose_from
from napari_latentseg.utils.atomic import (
    atomic_folder,
    atomic_path,
    bring_back_replaced,
    ensure_writable_folder,
    remove_folder,
)
from napari_latentseg.utils.leftovers import remove_leftovers
from napari_latentseg.utils.path_lock import path_lock
from napari_latentseg.utils.paths import data_home

__all__ = [
    "SHORT_HASH",
    "KeptCodec",
    "Storage",
    "add_codec",
    "codecs_folder",
    "find_codec",
    "find_record",
    "get_codec",
    "keep_codec",
    "list_codecs",
    "remove_codec",
    "short_hash",
    "size_text",
]

Storage = Literal["copy", "hard link", "pointer"]

RECORD = "kept.json"
SHORT_HASH = 12
"""Digits of a hash in messages: enough to tell the codecs of one machine apart."""

_LARGE_BYTES = 64 * 2**20  # TAESD has 10 MB, SD-VAE 335 MB
_RESERVE_BYTES = 2**30  # what a copy must leave free for results and models
_LOCK_TIMEOUT_S = 600.0  # copying and hashing some hundred MB on a slow disk
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MIN_PREFIX = 6  # digits of a hash that may be given in place of all


class KeptCodec(FrozenModel):
    """A codec that is kept in the user's folder.

    Attributes
    ----------
    sha256
        SHA-256 of its weights, by which models name it.
    name
        What it is called in lists and model cards; several codecs may have the same.
    kind, channels, scale
        As in a model card: ``"compact"``, ``"kl"``, ``"tiny"`` or ``"taef2"``, the number of latent channels,
        and the factor of its latents.
    revision
        Commit of the repository on the Hugging Face hub; empty for a codec from elsewhere.
    storage
        ``"copy"``; ``"hard link"`` to the file that was given, which takes no further space; or ``"pointer"``
        to `source`, which must stay where it is.
    source
        The folder or file that was given.
    file
        Name of its file, where it is a single file and no folder.
    size_bytes
        Of its weights.

    Examples
    --------
    >>> from napari_latentseg import add_codec
    >>> from napari_latentseg.models.store import embedded_codec  # any folder of an autoencoder
    >>> codec = add_codec(embedded_codec(), "my-codec")
    >>> codec.storage, codec.is_present, codec.path.name == codec.sha256
    ('copy', True, True)
    """

    format: Literal[1] = 1
    sha256: str
    name: str
    kind: Kind
    channels: int
    scale: float = 1.0
    revision: str = ""
    storage: Storage = "copy"
    source: str = ""
    file: str = ""
    size_bytes: int = 0

    @property
    def folder(self) -> Path:
        """Where its record is kept."""
        return codecs_folder() / self.sha256

    @property
    def path(self) -> Path:
        """The folder or file that it is loaded from."""
        return Path(self.source) if self.storage == "pointer" else self.folder / self.file

    @property
    def is_present(self) -> bool:
        """Whether its files are there; those of a pointer may have been moved or removed."""
        return self.path.exists()

    def describe(self) -> str:
        """What is kept, where and how large, in one sentence."""
        size = size_text(self.size_bytes)
        if self.storage == "pointer":
            return f"codec {self.name} ({size}) is kept as a pointer: leave it in {self.source}"
        how = "a copy" if self.storage == "copy" else "a hard link, which takes no further space"
        return f"codec {self.name} is kept in {self.folder} ({how}, {size})"


def codecs_folder() -> Path:
    """Where codecs are kept; need not exist."""
    return data_home() / "codecs"


def short_hash(sha256: str) -> str:
    """The first digits of a hash, for messages."""
    return sha256[:SHORT_HASH]


def size_text(size_bytes: int) -> str:
    """A size in MB.

    Examples
    --------
    >>> size_text(9_793_292), size_text(334_643_276)
    ('9.8 MB', '335 MB')
    """
    megabytes = size_bytes / 1e6
    return f"{megabytes:.1f} MB" if megabytes < 100 else f"{megabytes:.0f} MB"


def add_codec(
    path: Path, name: str | None = None, *, pointer: bool = False, sha256: str | None = None
) -> KeptCodec:
    """Keep a codec, after loading it once as a check.

    Parameters
    ----------
    path
        The folder or file of an autoencoder, see `load_codec`.
    name
        What it is called; by default that of the folder or file.
    pointer
        Keep a pointer to `path` in place of its files.
    sha256
        Refuse a codec with other weights than these.

    Returns
    -------
    KeptCodec
        What is kept; of a codec that was kept before, what that is.

    Raises
    ------
    BadInput
        If it is no codec, has other weights than `sha256`, or cannot be kept. Nothing is kept then.
    """
    from napari_latentseg.codecs.loading import load_codec, weights_hash

    weights_sha256 = weights_hash(path)
    if sha256 is not None and weights_sha256 != sha256:
        raise BadInput(
            path,
            f"is another codec (SHA-256 {short_hash(weights_sha256)}) than the one that is needed"
            f" ({short_hash(sha256)})",
            "give the folder of that codec",
        )
    codec = load_codec(path)
    spec = CodecSpec(
        kind=codec.kind, name=name or display_name(path), channels=codec.channels, scale=codec.scale,
        sha256=weights_sha256, revision=commit_of(path),
    )  # fmt: skip
    return keep_codec(path, spec, pointer=pointer, rename=name is not None)[0]


def keep_codec(
    path: Path, spec: CodecSpec, *, pointer: bool = False, rename: bool = False
) -> tuple[KeptCodec, bool]:
    """Keep a codec that was loaded; processes that keep the same one at once wait for each other.

    Parameters
    ----------
    path
        Its folder or file.
    spec
        What it is; `sha256` is the hash of the weights in `path`.
    pointer
        Keep a pointer to `path` in place of its files.
    rename
        Whether a codec that was kept before gets the name in `spec`.

    Returns
    -------
    kept, is_new
        What is kept, and whether it was not before.

    Raises
    ------
    BadInput
        If it cannot be written, or the same weights are kept with other settings. Nothing is kept then.
    """
    root = ensure_writable_folder(codecs_folder(), what="folder of codecs")
    target = root / spec.sha256
    try:
        with path_lock(root / f".{spec.sha256}.lock", target, _LOCK_TIMEOUT_S):
            previous = find_record(spec.sha256)
            if previous is not None and _is_intact(previous):
                _check_same_settings(path, previous, spec)
                if previous.storage != "pointer" or pointer:
                    return (_rename(previous, spec.name) if rename else previous), False
            kept = _write(path, target, spec, pointer=pointer)
            return kept, previous is None or previous.storage != kept.storage
    except OSError as error:
        raise BadInput(
            target, f"the codec cannot be kept ({error.strerror})", "free disk space, or keep it elsewhere"
            " by setting NAPARI_LATENTSEG_HOME",
        ) from error  # fmt: skip


def _is_intact(kept: KeptCodec) -> bool:
    """Whether the files that are kept still have the weights of the record."""
    from napari_latentseg.codecs.loading import weights_hash

    try:
        return weights_hash(kept.path) == kept.sha256
    except BadInput:
        return False


def _check_same_settings(path: Path, kept: KeptCodec, spec: CodecSpec) -> None:
    """Refuse a codec whose weights are kept with another scale: settings are not part of the hash."""
    for field in ("kind", "channels", "scale"):
        old, new = getattr(kept, field), getattr(spec, field)
        if old != new:
            raise BadInput(
                path,
                f"has the weights of the kept codec {kept.name} ({short_hash(kept.sha256)}), but its {field}"
                f" is {new}, not {old}",
                f"correct its configuration, or `codecs remove {short_hash(kept.sha256)}` first",
            )


def _rename(kept: KeptCodec, name: str) -> KeptCodec:
    if kept.name == name:
        return kept
    renamed = kept.replace(name=name)
    with atomic_path(kept.folder / RECORD) as temporary:
        temporary.write_text(renamed.model_dump_json(indent=2) + "\n", "utf-8")
    return renamed


def _write(path: Path, target: Path, spec: CodecSpec, *, pointer: bool) -> KeptCodec:
    """Write the folder of a codec, completely or not at all."""
    from napari_latentseg.codecs.formats.find import find_codec_files
    from napari_latentseg.codecs.loading import weights_hash

    files = find_codec_files(path)
    weights = files.weights
    size_bytes = sum(file.stat().st_size for file in weights)
    kept = KeptCodec(
        sha256=spec.sha256, name=spec.name, kind=spec.kind, channels=spec.channels, scale=spec.scale,
        revision=spec.revision, storage="pointer", source=str(path.absolute()),
        file=path.name if path.is_file() else "", size_bytes=size_bytes,
    )  # fmt: skip
    with atomic_folder(target, replace=target.exists()) as temporary:
        if not pointer:
            kept = kept.replace(storage=_copy_weights(weights, temporary, size_bytes))
        if kept.storage != "pointer":
            for file in files.all_files:
                if file not in weights:
                    shutil.copyfile(file, temporary / file.name)
            if weights_hash(temporary / kept.file) != spec.sha256:
                raise BadInput(path, "was changed while it was read", "try again")
        (temporary / RECORD).write_text(kept.model_dump_json(indent=2) + "\n", "utf-8")
    return kept


def _copy_weights(weights: tuple[Path, ...], folder: Path, size_bytes: int) -> Storage:
    """Link or copy weights; nothing is left, and a pointer is what remains, where large ones do not fit."""
    sources = [path.resolve() for path in weights]  # the hub's cache holds links to its files
    targets = [folder / path.name for path in weights]
    if is_large := size_bytes > _LARGE_BYTES:
        try:
            for source, target in zip(sources, targets, strict=True):
                os.link(source, target)
        except OSError:  # another disk, a disk without links, or a file of another user
            for target in targets:
                target.unlink(missing_ok=True)
        else:
            return "hard link"
        if shutil.disk_usage(folder).free < size_bytes + _RESERVE_BYTES:
            return "pointer"
    try:
        for source, target in zip(sources, targets, strict=True):
            shutil.copyfile(source, target)
    except OSError as error:
        if not is_large or error.errno not in FULL_DISK_ERRORS:
            raise
        for target in targets:
            target.unlink(missing_ok=True)
        return "pointer"
    return "copy"


def find_record(sha256: str) -> KeptCodec | None:
    """What is kept under a hash; None where nothing is. Its files are not looked at."""
    if not _SHA256.fullmatch(sha256):  # it may be from a card, and lead elsewhere
        return None
    try:
        kept = KeptCodec.model_validate_json((codecs_folder() / sha256 / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return kept if kept.sha256 == sha256 and Path(kept.file).name == kept.file else None


def find_codec(sha256: str) -> Path | None:
    """The folder or file of the codec that is kept under a hash; None where there is none.

    Parameters
    ----------
    sha256
        SHA-256 of its weights, from a model card.
    """
    kept = find_record(sha256)
    return kept.path if kept is not None and kept.is_present else None


def list_codecs() -> list[KeptCodec]:
    """The kept codecs, by name."""
    root = codecs_folder()
    if not root.is_dir():
        return []
    bring_back_replaced(root)
    remove_leftovers(root)
    records = [find_record(folder.name) for folder in root.iterdir()]
    return sorted((kept for kept in records if kept is not None), key=lambda kept: (kept.name, kept.sha256))


def get_codec(name_or_hash: str) -> KeptCodec:
    """A kept codec by its name, its hash, or the first six or more digits of its hash.

    Raises
    ------
    BadInput
        If no kept codec is called so, or several are.
    """
    codecs = list_codecs()
    is_prefix = len(name_or_hash) >= _MIN_PREFIX
    matches = [c for c in codecs if is_prefix and c.sha256.startswith(name_or_hash.lower())]
    matches = matches or [c for c in codecs if c.name == name_or_hash]
    if len(matches) == 1:
        return matches[0]
    if matches:
        hashes = ", ".join(short_hash(codec.sha256) for codec in matches)
        why = f"{len(matches)} kept codecs are called {name_or_hash!r}"
        raise BadInput("codec", why, f"give one of {hashes}")
    remedy = choose_from(name_or_hash, sorted({c.name for c in codecs})) if codecs else "none is kept"
    raise BadInput("codec", f"no codec {name_or_hash!r} is kept", remedy)


def remove_codec(name_or_hash: str) -> KeptCodec:
    """Remove a kept codec; the folder or file that it was added from stays.

    Parameters
    ----------
    name_or_hash
        As for `get_codec`.

    Returns
    -------
    KeptCodec
        What was kept.

    Raises
    ------
    BadInput
        If there is no such codec, or it cannot be removed.
    """
    kept = get_codec(name_or_hash)
    remove_folder(kept.folder)
    return kept
