"""Finding the codec of a model: in the package, kept in the user's folder, or in the cache of the hub.

The codec of a card is found by the SHA-256 of its weights alone, never by a folder of its name in the current
folder. What a person gives with `--codec` is a path first. Nothing here needs torch before weights are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.codecs.origin import commit_of, display_name
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.codecs.store import (
    KeptCodec,
    codecs_folder,
    find_codec,
    find_record,
    get_codec,
    keep_codec,
    list_codecs,
    short_hash,
)
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.codecs.base import Codec

__all__ = [
    "EMBEDDED_CODEC",
    "MissingCodec",
    "codec_folder",
    "codec_for",
    "embedded_codec",
    "has_candidate",
    "is_repository",
    "keep_given_codec",
    "locate_codec",
    "open_codec",
]

EMBEDDED_CODEC = "latentseg-compact"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


class MissingCodec(BadInput):
    """The codec of a model is not on this machine.

    Attributes
    ----------
    name, revision, sha256
        As in the card of the model; the hash is empty where any codec of that name will do.
    """

    name = revision = sha256 = ""

    @classmethod
    def of(cls, name: str, revision: str, sha256: str, why: str) -> MissingCodec:
        """The error for a codec, with what a person can do about it."""
        remedy = "add it with `napari-latentseg codecs add FOLDER`, or give its folder with --codec"
        if is_repository(name):
            pinned = f" --revision {revision}" if revision else ""
            remedy += f", or download it with `napari-latentseg codecs add {name}{pinned} --download`"
        error = cls("codec", why, remedy)  # with these three alone, so that it can be pickled
        error.name, error.revision, error.sha256 = name, revision, sha256
        return error


def is_repository(name: str) -> bool:
    """Whether a name can be that of a repository on the Hugging Face hub."""
    return bool(_REPOSITORY.fullmatch(name))


def embedded_codec() -> Path:
    """The folder of the codec that comes with the package."""
    return Path(str(files("napari_latentseg.models"))) / "embedded" / "codec"


def codec_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder or file of a codec that a person or a configuration names. Never downloads.

    Parameters
    ----------
    name
        ``"embedded"``, a folder or file, a kept codec by its name or hash, or a repository on the hub.
    revision
        Commit, tag or branch of the repository.

    Raises
    ------
    BadInput
        If it is not on this machine, or several kept codecs are called so.
    """
    from napari_latentseg.models.hub import cached_snapshot

    text = str(name)
    if text in (EMBEDDED_CODEC, "embedded"):
        return embedded_codec()
    if _exists(name):
        return Path(name).absolute()
    kept = _kept_codec(text)
    if kept is not None:
        if not kept.is_present:
            raise _missing(text, revision or "", kept.sha256)
        return kept.path
    folder = _named_folder(text) or cached_snapshot(text, revision)
    if folder is not None:
        return folder
    raise _missing(text, revision or "", "")


def _exists(name: str | Path) -> bool:
    try:
        return bool(str(name)) and Path(name).exists()
    except (OSError, ValueError):  # too long for a file name, or with a character that none can have
        return False


def _kept_codec(name_or_hash: str) -> KeptCodec | None:
    """The kept codec that is called so; None where none is.

    Raises
    ------
    BadInput
        If several are called so.
    """
    try:
        return get_codec(name_or_hash)
    except BadInput:
        if any(kept.name == name_or_hash for kept in list_codecs()):
            raise
        return None


def _named_folder(name: str) -> Path | None:
    """A folder of that name among the kept codecs, as earlier versions were given codecs by hand."""
    folder = codecs_folder() / name.replace("/", "--")
    is_direct = folder.parent == codecs_folder() and name not in ("", ".", "..")
    return folder if is_direct and folder.is_dir() else None


def _places(spec: CodecSpec) -> Iterator[Path]:
    """Where the codec of a card may be, the most likely first."""
    from napari_latentseg.models.hub import cached_snapshot

    if spec.name == EMBEDDED_CODEC:
        yield embedded_codec()
    kept = find_codec(spec.sha256)
    if kept is not None:
        yield kept
    for place in (_named_folder(spec.name), cached_snapshot(spec.name, spec.revision or None)):
        if place is not None:
            yield place


def has_candidate(spec: CodecSpec) -> bool:
    """Whether there is anything that may be the codec of a card; its weights are not read."""
    return next(_places(spec), None) is not None


def locate_codec(spec: CodecSpec) -> Path:
    """The folder or file of the codec of a card, whose weights have the hash in the card.

    Parameters
    ----------
    spec
        From the card.

    Raises
    ------
    MissingCodec
        If it is not on this machine, or only with other weights.
    """
    from napari_latentseg.codecs.loading import weights_hash

    refusal: BadInput | None = None
    for place in _places(spec):
        try:
            if weights_hash(place) == spec.sha256:
                return place
            refusal = refusal or BadInput(place, "has other weights")
        except BadInput as error:
            refusal = refusal or error
    raise _missing(spec.name, spec.revision, spec.sha256, refusal)


def _missing(name: str, revision: str, sha256: str, refusal: BadInput | None = None) -> MissingCodec:
    label = f"{name} (revision {revision})" if revision else name
    digits = f" (SHA-256 {short_hash(sha256)})" if sha256 else ""
    kept = find_record(sha256)
    if kept is not None and not kept.is_present:
        folder = Path(kept.source).name  # not the path: what `doctor` prints is sent to other people
        why = f"{label}{digits} was kept as a pointer to {folder!r}, which is not there any more"
    elif refusal is not None:
        why = f"{label} {refusal.why} on this machine{digits}"
    else:
        why = f"{label} is not on this machine{digits}"
    return MissingCodec.of(name, revision, sha256, why)


def codec_for(spec: CodecSpec, codec: str | Path | None = None) -> Codec:
    """Load the codec of a model card, with exactly the weights in the card.

    Latents of another codec have the same shape but give wrong masks, so the hash of the weights must agree.

    Parameters
    ----------
    spec
        From the card.
    codec
        As for `codec_folder`; found by the hash in the card where not given.

    Raises
    ------
    BadInput
        If the codec is not on this machine, or has other weights.
    """
    from napari_latentseg.codecs.loading import weights_hash

    if codec is None:
        return _load_cached(locate_codec(spec), spec.sha256)
    folder = codec_folder(codec)
    sha256 = weights_hash(folder)
    if sha256 != spec.sha256:
        raise BadInput(
            folder,
            f"has other weights (SHA-256 {short_hash(sha256)}) than {spec.name}"
            f" ({short_hash(spec.sha256)}), which the model was trained with",
            "give the folder of that codec with --codec",
        )
    return _load_cached(folder, sha256)


# The embedded codec and one other, so that models that share a codec share its memory.
@lru_cache(maxsize=2)
def _load_cached(folder: Path, sha256: str) -> Codec:
    from napari_latentseg.codecs.loading import load_codec

    return load_codec(folder)


def open_codec(
    name: str | Path, *, revision: str | None = None, download: bool = False
) -> tuple[Codec, CodecSpec]:
    """Load a codec that a person or a configuration names, with its entry for a model card.

    Parameters
    ----------
    name
        As for `codec_folder`.
    revision
        Commit, tag or branch of a repository.
    download
        Whether a codec that is not on this machine may be downloaded; otherwise there is no network access.

    Raises
    ------
    BadInput
        If it is not on this machine and cannot be downloaded, or is damaged.
    """
    from napari_latentseg.models.hub import download_codec

    try:
        folder = codec_folder(name, revision)
    except MissingCodec:
        if not download or "/" not in str(name):
            raise
        folder = download_codec(str(name), revision)
    from napari_latentseg.codecs.loading import load_codec, weights_hash  # torch: not before it is needed

    codec, sha256 = load_codec(folder), weights_hash(folder)
    kept = find_record(sha256) if codecs_folder() in folder.parents else None
    spec = CodecSpec(
        kind=codec.kind,
        name=_name_in_card(name, folder) if kept is None else kept.name,
        channels=codec.channels,
        scale=codec.scale,
        sha256=sha256,
        revision=commit_of(folder) if kept is None else kept.revision,
    )
    return codec, spec


def _name_in_card(name: str | Path, folder: Path) -> str:
    """Name of a codec in a card: that of its folder or file where a path was given."""
    if folder == embedded_codec():
        return EMBEDDED_CODEC
    return display_name(folder) if _exists(name) else str(name)


def keep_given_codec(codec: str | Path | None, spec: CodecSpec | None) -> KeptCodec | None:
    """Keep the codec of a model where a folder or file was given, so that the model finds it later.

    Parameters
    ----------
    codec
        As it was given; None where it was found.
    spec
        From the card of the model; None for a model with its own codec.

    Returns
    -------
    KeptCodec or None
        What is kept now and was not before.

    Raises
    ------
    BadInput
        If it cannot be kept.
    """
    # what is given by another name is in the package, kept already, or in the cache of the hub
    if codec is None or spec is None or not _exists(codec):
        return None
    path = codec_folder(codec)
    if codecs_folder().absolute() in path.parents or path == embedded_codec():
        return None
    kept, is_new = keep_codec(path, spec)
    return kept if is_new else None
