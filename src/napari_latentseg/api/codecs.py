"""Keep the codecs of models in the user's folder, list and remove them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.utils.argument_types import as_path

if TYPE_CHECKING:
    from napari_latentseg.codecs.store import KeptCodec
    from napari_latentseg.models.store import LocatedModel

__all__ = ["add_codec", "check_codec", "find_codec", "list_codecs", "remove_codec"]


def add_codec(
    source: str | Path,
    name: str | None = None,
    *,
    revision: str | None = None,
    download: bool = False,
    pointer: bool = False,
    sha256: str | None = None,
) -> KeptCodec:
    """Keep a codec, so that every model that needs it finds it from then on.

    Small weights are copied. Large ones become a hard link to the file that was given, which takes no further
    space; where no link is possible they are copied, and where the disk lacks the room, a pointer is kept.

    Parameters
    ----------
    source
        A folder or file of an autoencoder, or a repository on the Hugging Face hub.
    name
        What it is called; by default that of the folder, file or repository.
    revision
        Commit, tag or branch of a repository.
    download
        Whether a repository may be downloaded; otherwise there is no network access.
    pointer
        Keep a pointer to `source` in place of its files; it must stay where it is.
    sha256
        Refuse a codec with other weights than these.

    Returns
    -------
    KeptCodec
        What is kept; of a codec that was kept before, what that is.

    Raises
    ------
    BadInput
        If there is no such codec, it is damaged or has other weights than `sha256`, or it cannot be kept.
        Nothing is kept then.

    Examples
    --------
    >>> from napari_latentseg import add_codec
    >>> from napari_latentseg.models.store import embedded_codec  # any folder of an autoencoder
    >>> codec = add_codec(embedded_codec(), "my-codec")
    >>> codec.name, codec.kind, codec.channels
    ('my-codec', 'compact', 48)
    """
    from napari_latentseg.codecs.store import add_codec as add
    from napari_latentseg.models.codec_lookup import MissingCodec, codec_folder, is_repository

    as_path("source", source)  # refuses what is none
    text = str(source)
    try:
        path = codec_folder(source, revision)
    except MissingCodec:
        if not is_repository(text) or not download:
            raise
        from napari_latentseg.models.hub import download_codec

        path = download_codec(text, revision)
    return add(path, name, pointer=pointer, sha256=sha256)


def list_codecs() -> list[KeptCodec]:
    """The codecs that are kept on this machine, by name.

    Returns
    -------
    list of KeptCodec
        Without the embedded codec, and without those that only the cache of the Hugging Face hub holds.

    Examples
    --------
    >>> from napari_latentseg import add_codec, list_codecs
    >>> from napari_latentseg.models.store import embedded_codec  # any folder of an autoencoder
    >>> codec = add_codec(embedded_codec(), "my-codec")
    >>> [codec.name for codec in list_codecs()]
    ['my-codec']
    """
    from napari_latentseg.codecs.store import list_codecs as list_kept

    return list_kept()


def find_codec(sha256: str) -> Path | None:
    """The folder or file of the codec that is kept under the hash of its weights.

    Parameters
    ----------
    sha256
        SHA-256 of its weights, as in the card of a model.

    Returns
    -------
    Path or None
        None where no such codec is kept, or its pointer leads nowhere.

    Raises
    ------
    BadInput
        If `sha256` is not text.

    Examples
    --------
    >>> from napari_latentseg import find_codec
    >>> find_codec("0" * 64) is None
    True
    """
    from napari_latentseg.codecs.store import find_codec as find
    from napari_latentseg.errors import BadInput
    from napari_latentseg.utils.argument_types import shown

    if not isinstance(sha256, str):
        raise BadInput("sha256", f"{shown(sha256)} is not text", "give the 64 digits of a SHA-256")
    return find(sha256)


def remove_codec(codec: str, *, force: bool = False) -> KeptCodec:
    """Remove a kept codec; the folder or file that it was added from stays.

    Parameters
    ----------
    codec
        Its name, its SHA-256, or the first six or more digits of that.
    force
        Remove it although models on this machine need it.

    Returns
    -------
    KeptCodec
        What was kept.

    Raises
    ------
    BadInput
        If there is no such codec, or models need it and `force` is not set.

    Examples
    --------
    >>> from napari_latentseg import add_codec, list_codecs, remove_codec
    >>> from napari_latentseg.models.store import embedded_codec  # any folder of an autoencoder
    >>> codec = add_codec(embedded_codec(), "my-codec")
    >>> remove_codec("my-codec").sha256 == codec.sha256
    True
    >>> list_codecs()
    []
    """
    from napari_latentseg.codecs.store import get_codec
    from napari_latentseg.codecs.store import remove_codec as remove
    from napari_latentseg.errors import BadInput
    from napari_latentseg.models.codec_use import models_by_codec

    kept = get_codec(str(codec))
    models = models_by_codec().get(kept.sha256, [])
    if models and not force:
        raise BadInput(
            f"codec {kept.name}",
            f"is needed by {', '.join(models)}",
            "remove these models first, or add --force",
        )
    return remove(kept.sha256)


def check_codec(model: LocatedModel | str | Path) -> None:
    """Refuse a model whose codec is not on this machine, before anything is computed with it.

    Parameters
    ----------
    model
        A model that was located, or its name or folder.

    Raises
    ------
    BadInput
        If there is no such model, or its codec is missing or damaged.

    Examples
    --------
    >>> from napari_latentseg import check_codec
    >>> check_codec("breast-ultrasound")  # nothing is said: it is complete
    """
    from napari_latentseg.models.codec_lookup import locate_codec
    from napari_latentseg.models.store import locate_model

    spec = locate_model(model).card.codec
    if spec is not None:
        locate_codec(spec)
